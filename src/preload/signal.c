/*
 * signal.c - the program's signal handlers don't run inside our critical sections.
 *
 * Each handler is installed as `wrapper`, which hands the signal over, or keeps it until the section
 * has been left (base/critical.h). What the program reads back is what it set. SA_RESETHAND is done here:
 * the kernel would reset the disposition when a signal is kept, and the second sending would kill.
 */
#include "preload/calls.h"
#include "preload/real.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

typedef void handler_fn(int sig, siginfo_t *info, void *context);

static struct {
	handler_fn *handler;
	int flags;
} table[_NSIG];

static void wrapper(int sig, siginfo_t *info, void *context)
{
	handler_fn *handler;

	if (critical_defer(info, context))
		return;
	handler = __atomic_load_n(&table[sig].handler, __ATOMIC_ACQUIRE);
	if (__atomic_load_n(&table[sig].flags, __ATOMIC_RELAXED) & SA_RESETHAND) {
		struct sigaction reset;

		memset(&reset, 0, sizeof(reset));
		reset.sa_handler = SIG_DFL;
		REAL(sigaction)(sig, &reset, NULL);
	}
	handler(sig, info, context);
}

static bool is_handler(const struct sigaction *act)
{
	return act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN;
}

VEE_EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *ret_old)
{
	struct sigaction ours, old;
	handler_fn *old_handler = NULL;
	int old_flags = 0, ret;
	bool known = sig > 0 && sig < _NSIG;

	if (known) {
		old_handler = __atomic_load_n(&table[sig].handler, __ATOMIC_ACQUIRE);
		old_flags = __atomic_load_n(&table[sig].flags, __ATOMIC_RELAXED);
	}
	if (act && known && is_handler(act)) {
		ours = *act;
		ours.sa_sigaction = wrapper;
		ours.sa_flags = (act->sa_flags | SA_SIGINFO) & ~SA_RESETHAND;
		__atomic_store_n(&table[sig].flags, act->sa_flags, __ATOMIC_RELAXED);
		__atomic_store_n(&table[sig].handler, (handler_fn *)act->sa_sigaction,
				 __ATOMIC_RELEASE);
		ret = REAL(sigaction)(sig, &ours, &old);
		if (ret < 0) {
			__atomic_store_n(&table[sig].handler, old_handler, __ATOMIC_RELEASE);
			__atomic_store_n(&table[sig].flags, old_flags, __ATOMIC_RELAXED);
		}
	} else {
		ret = REAL(sigaction)(sig, act, &old);
	}
	if (ret == 0 && ret_old) {
		*ret_old = old;
		if (known && old.sa_sigaction == wrapper) {
			ret_old->sa_sigaction = old_handler;
			ret_old->sa_flags = (old.sa_flags & ~(SA_SIGINFO | SA_RESETHAND)) |
					    (old_flags & (SA_SIGINFO | SA_RESETHAND));
		}
	}
	return ret;
}

static sighandler_t set_handler(int sig, sighandler_t handler, int flags)
{
	struct sigaction act, old;

	memset(&act, 0, sizeof(act));
	act.sa_handler = handler;
	act.sa_flags = flags;
	if (!(flags & SA_NODEFER))
		sigaddset(&act.sa_mask, sig);
	return sigaction(sig, &act, &old) < 0 ? SIG_ERR : old.sa_handler;
}

VEE_EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, SA_RESTART);
}

VEE_EXPORT sighandler_t bsd_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, SA_RESTART);
}

VEE_EXPORT sighandler_t ssignal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, SA_RESTART);
}

VEE_EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, SA_RESETHAND | SA_NODEFER);
}

/* What <signal.h> makes of signal() in a program that asks for System V semantics. */
VEE_EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, SA_RESETHAND | SA_NODEFER);
}
