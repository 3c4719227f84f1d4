/*
 * cell.c - the page that coordinator and workers share, and waiting on its words.
 *
 * The page is a memfd, so that it outlives exec: the new program gets its number. An order is given by counting `go` up
 * and is obeyed when `done` has the same value; each worker then rings the one bell that the coordinator waits on.
 */
#include "diff.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct page *page;
int page_fd;

static void fail(const char *what)
{
	dprintf(2, "%s: %s: %s\n", program_name, what, strerror(errno));
	_exit(2);
}

void page_attach(int fd)
{
	page_fd = fd;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		fail("mmap of the shared page");
}

void page_make(void)
{
	int fd = memfd_create(program_name, 0);

	if (fd < 0 || ftruncate(fd, sizeof(*page)) < 0)
		fail("memfd_create");
	page_attach(fd);
	page->coordinator = getpid();
}

/* Waits while the word has this value; timeout_ns < 0: without end. May return for no reason. */
void word_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns)
{
	struct timespec time = {timeout_ns / NSEC_PER_SEC, timeout_ns % NSEC_PER_SEC};

	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns < 0 ? NULL : &time, NULL, 0);
}

void word_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void cell_give(struct cell *cell)
{
	atomic_fetch_add(&cell->go, 1);
	word_wake(&cell->go);
}

bool cell_is_done(const struct cell *cell)
{
	return atomic_load(&cell->done) == atomic_load(&cell->go);
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}
