/*
 * hello-shm - a note in shared memory, as any program of the last forty years would leave it
 *
 *     hello-shm write TEXT      leave TEXT in the segment, which is made if there is none
 *     hello-shm read            print it
 *     hello-shm remove          remove the segment
 *     hello-shm key             print the segment's key, for other programs
 *
 * Nothing here knows of vee. The key is ftok() of a path, $HELLO_SHM_PATH or else /, so that unrelated programs
 * find the same segment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#define SIZE_BYTES 4096

static int fail(const char *call)
{
	perror(call);
	return 1;
}

static key_t note_key(void)
{
	const char *path = getenv("HELLO_SHM_PATH");

	return ftok(path ? path : "/", 'v');
}

static int note_write(key_t key, const char *text)
{
	int id = shmget(key, SIZE_BYTES, IPC_CREAT | 0600);
	char *note;

	if (id < 0)
		return fail("shmget");
	note = shmat(id, NULL, 0);
	if (note == (void *)-1)
		return fail("shmat");
	snprintf(note, SIZE_BYTES, "%s", text);
	printf("segment %d, key 0x%08x: wrote \"%s\"\n", id, (unsigned)key, note);
	return shmdt(note) < 0 ? fail("shmdt") : 0;
}

static int note_read(key_t key)
{
	int id = shmget(key, 0, 0);
	const char *note;

	if (id < 0)
		return fail("shmget");
	note = shmat(id, NULL, SHM_RDONLY);
	if (note == (const void *)-1)
		return fail("shmat");
	printf("%.*s\n", (int)strnlen(note, SIZE_BYTES), note);
	return shmdt(note) < 0 ? fail("shmdt") : 0;
}

static int note_remove(key_t key)
{
	int id = shmget(key, 0, 0);

	if (id < 0)
		return fail("shmget");
	return shmctl(id, IPC_RMID, NULL) < 0 ? fail("shmctl") : 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	key_t key = note_key();

	if (key == (key_t)-1)
		return fail("ftok");
	if (argc == 3 && strcmp(verb, "write") == 0)
		return note_write(key, argv[2]);
	if (argc == 2 && strcmp(verb, "read") == 0)
		return note_read(key);
	if (argc == 2 && strcmp(verb, "remove") == 0)
		return note_remove(key);
	if (argc == 2 && strcmp(verb, "key") == 0)
		return printf("%d\n", (int)key) < 0;
	fprintf(stderr, "usage: hello-shm write TEXT | read | remove | key\n");
	return 2;
}
