/* semun.h - the fourth argument of semctl, which only some commands have. */
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <sys/sem.h>

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

/* What a program passes: the union semun that semctl(2) makes it define, by value. */
union semun_passed {
	int val;
	void *pointer;
};

/* As sem_ctl() wants it. A command without an argument must not have one read: there may be none. */
static inline uintptr_t semun_take(int command, va_list args)
{
	union semun_passed passed;

	switch (command) {
	case SETVAL:
		passed = va_arg(args, union semun_passed);
		return (unsigned)passed.val;
	case GETALL:
	case SETALL:
	case IPC_STAT:
	case IPC_SET:
	case IPC_INFO:
	case SEM_INFO:
	case SEM_STAT:
	case SEM_STAT_ANY:
		passed = va_arg(args, union semun_passed);
		return (uintptr_t)passed.pointer;
	default:
		return 0;
	}
}
