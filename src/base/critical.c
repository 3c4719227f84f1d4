/* critical.c - keep a signal that came inside a critical section, and send it again after it. */
#include "base/critical.h"
#include "base/os.h"

#include <string.h>
#include <ucontext.h>

VEE_TLS struct critical critical_here;

bool critical_defer(const siginfo_t *info, void *ucontext)
{
	struct critical *here = &critical_here;
	ucontext_t *context = ucontext;

	if (here->depth == 0)
		return false;
	/* Faults of this very instruction can't wait: the instruction would run again. */
	if (info->si_code > 0 &&
	    (info->si_signo == SIGSEGV || info->si_signo == SIGBUS || info->si_signo == SIGFPE ||
	     info->si_signo == SIGILL || info->si_signo == SIGTRAP))
		return false;
	here->info = *info;
	memcpy(&here->mask, &context->uc_sigmask, sizeof(here->mask));
	memset(&context->uc_sigmask, 0xff, sizeof(here->mask));
	here->pending = true;
	if (here->sleeps_on)
		__atomic_fetch_or(here->sleeps_on, CRITICAL_SIGNAL, __ATOMIC_RELAXED);
	return true;
}

void critical_deliver(void)
{
	struct critical *here = &critical_here;

	while (here->pending) {
		siginfo_t info = here->info;
		uint64_t mask = here->mask;

		here->pending = false;
		/* Sent while it is still blocked, so that it arrives when the mask goes back, once. */
		os_tgsigqueueinfo(info.si_signo, &info);
		os_sigprocmask_raw(SIG_SETMASK, &mask);
	}
}
