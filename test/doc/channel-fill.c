/* channel-fill NAME COUNT SIZE - writes `message N` so often, each with zeros up to SIZE bytes, into a ring of 64 KiB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vee/channel.h>

int main(int argc, char **argv)
{
	struct vee_channel_create_options options = {.ring_size = 65536, .stamp_every = 3};
	struct vee_channel *channel = argc == 4 ? vee_channel_create(argv[1], &options) : NULL;
	struct vee_channel_stat stat;
	char text[16384] = "";

	if (!channel || vee_channel_stat(channel, &stat) < 0)
		return 1;
	for (int i = 1; i <= atoi(argv[2]); i++) {
		snprintf(text, sizeof(text), "message %d", (int)stat.written + i);
		if (vee_channel_write(channel, text, (size_t)atoi(argv[3])) < 0)
			return 1;
	}
	return vee_channel_close(channel);
}
