# vee: a thin front for Meson and Ninja. `make help` lists the targets.
# Variables: BUILDDIR (build), PREFIX (/usr/local), DESTDIR, CC, MESON_ARGS (for the first configuration), V=1;
# PROGRAMS (../shared/programs), CASES (all): for `make programs`.

BUILDDIR ?= build
PREFIX ?= /usr/local
MESON ?= meson
NINJA ?= ninja
MESON_ARGS ?=
CLANG_FORMAT ?= clang-format
PROGRAMS ?= ../shared/programs
CASES ?=
SOURCES = $(shell find src include test bench examples fuzz kmod -name '*.[ch]' 2>/dev/null)

export BUILDDIR

.DEFAULT_GOAL := all
.NOTPARALLEL:
.PHONY: all run check bench crash differential model programs install uninstall clean distclean format format-check help
.PHONY: asan ubsan tsan clang musl check-asan check-ubsan check-tsan check-clang

all: $(BUILDDIR)/build.ninja ## build vee, libvee.so and libvee-sysv.so in BUILDDIR
	@$(NINJA) -C $(BUILDDIR) $(if $(V),-v)

$(BUILDDIR)/build.ninja:
	@command -v $(MESON) >/dev/null || { echo "make: no meson; run: tools/install-deps build" >&2; exit 1; }
	$(MESON) setup $(BUILDDIR) $(MESON_ARGS)

run: ## install what is missing, build, and show vee at work
	@tools/install-deps run
	@$(MAKE) --no-print-directory all
	@tools/demo

check: ## install what is missing, build, test; the last line is the count
	@tools/install-deps check
	@$(MAKE) --no-print-directory all
	@tools/run-tests

# Libraries that have come since the build folder was set up are found by another look.
bench: ## install what is missing, build, and measure: against the kernel, and channels against their peers
	@tools/install-deps bench || echo "make: some of the channels' peers are missing" >&2
	@[ ! -e $(BUILDDIR)/build.ninja ] || for peer in zmq nng iceoryx; do \
		[ -e $(BUILDDIR)/bench/bench-chan-$$peer ] || { $(MESON) setup --reconfigure $(BUILDDIR) >/dev/null; break; }; \
	done
	@$(MAKE) --no-print-directory all
	@bench/run; ret=$$?; bench/run-chan || ret=$$?; exit $$ret

crash: all ## kill every operation on semaphores and queues at every step
	@$(BUILDDIR)/test/crash/crash-sem all
	@$(BUILDDIR)/test/crash/crash-msg all

model: ## search the models of the semaphore word's and the channel's protocol, and each bug seeded in them
	@tools/install-deps check
	@test/model/run

differential: all ## a million random operations on semaphores, and on queues, on the kernel and on vee, side by side
	@test/differential/run --ops 1000000 --seed clock
	@test/differential/run --mechanism msg --ops 1000000 --seed clock

programs: all ## run the real programs of the folder PROGRAMS on vee, and print a table of them
	@PROGRAMS='$(PROGRAMS)' tools/programs $(CASES)

install: all ## install below PREFIX (DESTDIR is honoured)
	$(MESON) configure $(BUILDDIR) -Dprefix=$(PREFIX)
	$(NINJA) -C $(BUILDDIR)
	$(MESON) install -C $(BUILDDIR) --no-rebuild $(if $(DESTDIR),--destdir '$(abspath $(DESTDIR))')

uninstall: ## remove what `make install` put there
	$(NINJA) -C $(BUILDDIR) uninstall

clean: ## remove what was built in BUILDDIR
	@if [ -e $(BUILDDIR)/build.ninja ]; then $(NINJA) -C $(BUILDDIR) clean; fi

distclean: ## remove every build folder
	rm -rf $(BUILDDIR) build-asan build-ubsan build-tsan build-clang build-musl

# Other ways to build, each in a folder of its own: `make asan` builds, `make check-asan` tests too.
SETUP_asan  = CC=gcc $(MESON) setup build-asan -Db_sanitize=address -Db_lundef=false
SETUP_ubsan = CC=gcc $(MESON) setup build-ubsan -Db_sanitize=undefined -Db_lundef=false
SETUP_tsan  = CC=clang $(MESON) setup build-tsan -Db_sanitize=thread -Db_lundef=false
SETUP_clang = CC=clang $(MESON) setup build-clang
SETUP_musl  = CC=musl-gcc $(MESON) setup build-musl -Dprograms=false

# What ThreadSanitizer is for: it sees no other process, and can't be in a library that is loaded into strangers.
TESTS_tsan = --suite unit --suite threads

asan ubsan tsan clang musl: ## build another way, in build-asan …
	@case $@ in tsan|clang) tools/install-deps build dev;; musl) tools/install-deps check;; *) tools/install-deps build;; esac
	@[ -e build-$@/build.ninja ] || { $(SETUP_$@) $(MESON_ARGS); }
	@$(NINJA) -C build-$@ $(if $(V),-v)

check-asan check-ubsan check-tsan check-clang: check-%: % ## … and test it; tsan: what one process can show
	@BUILDDIR=build-$* tools/run-tests $(TESTS_$*)

format: ## put the C code in vee's format
	@$(CLANG_FORMAT) -i $(SOURCES)

format-check: ## say where the C code is not in vee's format
	@$(CLANG_FORMAT) --dry-run -Werror $(SOURCES)

help: ## this list
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS="$$(printf '\t')" read -r name what; do printf '  %-28s %s\n' "$$name" "$$what"; done
