# lib.sh - what the tests of the command share. $1 of each: the build folder. A namespace of the test's own, and,
# for root, kernel IPC of its own, so that nothing that slips past vee changes the machine.
set -uo pipefail
if [ -z "${VEE_TEST_ALONE-}" ] && unshare --ipc true 2>/dev/null; then
	VEE_TEST_ALONE=1 exec unshare --ipc -- "$0" "$@"
fi
build=$1
vee=$build/vee
no_kernel=$build/test/no-kernel/no-kernel
unset VEE_NS LD_PRELOAD
VEE_DIR=$(mktemp -d /dev/shm/vee-test.XXXXXX) || exit 99
export VEE_DIR LC_ALL=C
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$VEE_DIR"' EXIT
trap 'exit 143' TERM INT HUP
n_wrong=0

run=("$no_kernel" "$vee" run --) # on vee, with the kernel's own System V IPC refused; the pid stays
on_vee() { # CMD...
	"${run[@]}" "$@"
}
same() { # WHAT GOT WANTED
	[ "$2" = "$3" ] && return
	printf 'not ok: %s\n  got:    %q\n  wanted: %q\n' "$1" "$2" "$3" >&2
	n_wrong=$((n_wrong + 1))
}
has() { # WHAT TEXT REGEX: a line matches
	grep -Eq -- "$3" <<<"$2" && return
	printf 'not ok: %s: no /%s/ in\n%s\n' "$1" "$3" "$2" >&2
	n_wrong=$((n_wrong + 1))
}
has_not() { # WHAT TEXT REGEX
	grep -Eq -- "$3" <<<"$2" || return
	printf 'not ok: %s: /%s/ is in\n%s\n' "$1" "$3" "$2" >&2
	n_wrong=$((n_wrong + 1))
}
status_is() { # WHAT WANTED CMD...
	local what=$1 wanted=$2
	shift 2
	"$@" >/dev/null 2>&1
	same "$what: exit status" $? "$wanted"
}
until_has() { # REGEX CMD...: waits until its output has it
	local regex=$1 i
	shift
	for ((i = 0; i < 100; i++)); do
		"$@" 2>/dev/null | grep -Eq -- "$regex" && return
		sleep 0.05
	done
	printf 'not ok: %s never had /%s/\n' "$*" "$regex" >&2
	n_wrong=$((n_wrong + 1))
}
json() { # PYTHON-EXPRESSION, of `it`, which standard input holds
	/usr/bin/python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}
finish() {
	[ "$n_wrong" = 0 ] || { echo "$n_wrong wrong" >&2; exit 1; }
	exit 0
}
