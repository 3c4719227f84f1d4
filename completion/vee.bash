# bash completion for vee(1)

_vee_namespaces()
{
	vee ns ls 2>/dev/null | awk 'NR > 1 { print $1 }'
}

# $1: -m, -s or -q; $2: the column of `vee ls` (1 key, 2 id); $3: the namespace, or nothing
_vee_objects()
{
	vee ls "$1" ${3:+--ns "$3"} 2>/dev/null |
		awk -v column="$2" 'NF == 0 { exit } NR > 1 && $column != "0x00000000" { print $column }'
}

# $1: the namespace, or nothing. Not by `vee chan ls`, which looks into each.
_vee_channels()
{
	local dir=${VEE_DIR:-/dev/shm/vee-$EUID}
	ls -- "$dir/${1:-${VEE_NS:-default}}/chan" 2>/dev/null
}

# Where the command that `vee run` runs stands on the line; nothing if it is not there yet.
_vee_run_command_at()
{
	local i=2
	while ((i < COMP_CWORD)); do
		case ${COMP_WORDS[i]} in
		--)
			echo $((i + 1))
			return
			;;
		-n | --ns) ((i += 2)) ;;
		-*) ((i += 1)) ;;
		*)
			echo "$i"
			return
			;;
		esac
	done
}

_vee()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} words='' ns='' last='' i

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'run ls rm msg chan ns limits check gc --help --version' -- "$cur")
		return
	fi
	if [[ $command == run ]]; then
		i=$(_vee_run_command_at)
		if [[ -n $i ]]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset "$i"
			else
				mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
			fi
			return
		fi
	fi
	if [[ $prev == --ns || ($prev == -n && $command != chan) ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_vee_namespaces)" -- "$cur")
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-n) [[ $command == chan ]] || ns=${COMP_WORDS[i + 1]} ;;
		--ns) ns=${COMP_WORDS[i + 1]} ;;
		-[mMsSqQ] | --shmem-id | --shmem-key | --semaphore-id | --semaphore-key | --queue-id | --queue-key)
			last=${COMP_WORDS[i]}
			;;
		esac
	done
	case $command in
	run)
		if [[ $cur != -* ]]; then
			mapfile -t COMPREPLY < <(compgen -c -- "$cur")
			return
		fi
		words='--ns --private --verbose --help'
		;;
	ls) words='--shmems --semaphores --queues --channels --json --ns --help' ;;
	rm)
		words='--shmem-id --shmem-key --semaphore-id --semaphore-key --queue-id --queue-key --all --ns --help'
		if [[ $cur != -* ]]; then
			case $last in
			-m | --shmem-id) words=$(_vee_objects -m 2 "$ns") ;;
			-M | --shmem-key) words=$(_vee_objects -m 1 "$ns") ;;
			-s | --semaphore-id) words=$(_vee_objects -s 2 "$ns") ;;
			-S | --semaphore-key) words=$(_vee_objects -s 1 "$ns") ;;
			-q | --queue-id) words=$(_vee_objects -q 2 "$ns") ;;
			-Q | --queue-key) words=$(_vee_objects -q 1 "$ns") ;;
			esac
		fi
		;;
	msg)
		case $prev in
		-q | --id) words=$(_vee_objects -q 2 "$ns") ;;
		-Q | --key) words=$(_vee_objects -q 1 "$ns") ;;
		--mode) words='0600 0640 0660 0666' ;;
		-t | --type | -s | --size | -T | --timeout) return ;;
		*)
			case ${COMP_WORDS[2]} in
			send) ((COMP_CWORD > 2)) && words='--key --id --create --mode --type --nowait --timeout --ns --help' ;;
			recv)
				((COMP_CWORD > 2)) && words='--key --id --create --mode --type --except --size --noerror
					--nowait --timeout --json --ns --help'
				;;
			peek) ((COMP_CWORD > 2)) && words='--key --id --type --except --json --ns --help' ;;
			esac
			((COMP_CWORD == 2)) && words='send recv peek --help'
			;;
		esac
		;;
	chan)
		case ${COMP_WORDS[2]}:$prev in
		*:--size) words='64K 1M 4M 16M 64M 256M 1G' ;;
		*:--mode) words='0600 0640 0644 0660 0666' ;;
		*:--from) words='oldest last now' ;;
		*:--on-stall) words='wait drop disconnect' ;;
		*:--stall | *:--stamp-every | *:-T | *:--timeout | *:-n | *:--count | *:-d | *:--delay) return ;;
		*)
			case ${COMP_WORDS[2]} in
			write)
				words='--lines --raw --framed --size --mode --new --stall --others-reliable --timeout
					--stamp-every --ns --help'
				;;
			read)
				words='--lines --raw --framed --json --sequence --time --from --count --timeout --follow --no-wait
					--reliable --on-stall --stall --lost --ns --help'
				;;
			ls) words='--json --noheadings --ns --help' ;;
			stat) words='--json --ns --help' ;;
			top) words='--delay --count --json --ns --help' ;;
			rm) words='--all --ns --help' ;;
			esac
			if ((COMP_CWORD == 2)); then
				words='write read ls stat top rm --help'
			elif [[ $cur == */* ]]; then
				compopt -o filenames
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
				return
			elif [[ $cur != -* && ${COMP_WORDS[2]} != ls ]]; then
				words=$(_vee_channels "$ns")
			fi
			;;
		esac
		;;
	ns)
		if ((COMP_CWORD == 2)); then
			words='ls create rm --help'
		else
			case ${COMP_WORDS[2]}:$prev in
			create:--mode) words='0600 0660 0666' ;;
			create:--group)
				mapfile -t COMPREPLY < <(compgen -g -- "$cur")
				return
				;;
			create:*) words='--mode --group --shmmni --shmmax --shmall --help' ;;
			ls:*) words='--json --help' ;;
			rm:*) words="--force --help $(_vee_namespaces)" ;;
			esac
		fi
		;;
	limits)
		words='--json --ns --help'
		if [[ $cur != -* ]]; then
			words='shmmax= shmall= shmmni= shm_rmid_forced= semmsl= semmns= semopm= semmni= msgmax= msgmnb= msgmni='
			compopt -o nospace
		fi
		;;
	check) words='--ns --help' ;;
	gc) words='--all --ns --help' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _vee vee
