/* channel-layout.c - prints where the fields of a channel's records lie, as compiled: for channel-layout, which compares. */
#include "chan/layout.h"

#include <stddef.h>
#include <stdio.h>

#define FIELD(record, field)                                                       \
	printf("%s %s %zu %zu\n", #record, #field, offsetof(struct record, field), \
	       sizeof(((struct record *)0)->field))
#define RECORD(record)	 printf("%s . 0 %zu\n", #record, sizeof(struct record))
#define CONSTANT(number) printf("%s = %llu\n", #number, (unsigned long long)(number))

int main(void)
{
	RECORD(chan_section);
	FIELD(chan_section, pos);
	FIELD(chan_section, seq);
	FIELD(chan_section, time);
	FIELD(chan_section, epoch);

	RECORD(chan_doorbell);
	FIELD(chan_doorbell, mutex);

	RECORD(chan_header);
	FIELD(chan_header, magic);
	FIELD(chan_header, version);
	FIELD(chan_header, libc_word);
	FIELD(chan_header, ring_size);
	FIELD(chan_header, signature);
	FIELD(chan_header, uid);
	FIELD(chan_header, mode);
	FIELD(chan_header, state);
	FIELD(chan_header, epoch);
	FIELD(chan_header, pid);
	FIELD(chan_header, doorbell);
	FIELD(chan_header, start);
	FIELD(chan_header, pid_ns);
	FIELD(chan_header, asymmetric);
	FIELD(chan_header, writer_uid);
	FIELD(chan_header, others_reliable);
	FIELD(chan_header, image);
	FIELD(chan_header, floor);
	FIELD(chan_header, intent);
	FIELD(chan_header, wait_pos);
	FIELD(chan_header, streamed);
	FIELD(chan_header, wake);
	FIELD(chan_header, seq);
	FIELD(chan_header, bytes);
	FIELD(chan_header, time);
	FIELD(chan_header, sections);
	FIELD(chan_header, doorbells);
	FIELD(chan_header, claim);

	RECORD(chan_desk);
	FIELD(chan_desk, magic);
	FIELD(chan_desk, version);
	FIELD(chan_desk, seats_ready);
	FIELD(chan_desk, announced);
	FIELD(chan_desk, wanted);
	FIELD(chan_desk, armed);
	FIELD(chan_desk, reliable);
	FIELD(chan_desk, seats_used);
	FIELD(chan_desk, claim);

	RECORD(chan_seat);
	FIELD(chan_seat, doorbell);
	FIELD(chan_seat, state);
	FIELD(chan_seat, pid);
	FIELD(chan_seat, start);
	FIELD(chan_seat, pid_ns);
	FIELD(chan_seat, tid);
	FIELD(chan_seat, stall);
	FIELD(chan_seat, stall_ns);
	FIELD(chan_seat, since);
	FIELD(chan_seat, generation);
	FIELD(chan_seat, image);
	FIELD(chan_seat, cursor);
	FIELD(chan_seat, next);
	FIELD(chan_seat, received);
	FIELD(chan_seat, lost);
	FIELD(chan_seat, armed);
	FIELD(chan_seat, turns);
	FIELD(chan_seat, socket);

	RECORD(chan_hall);
	FIELD(chan_hall, joined);

	CONSTANT(CHAN_VERSION);
	CONSTANT(CHAN_RING_AT);
	CONSTANT(CHAN_LINE);
	CONSTANT(CHAN_SECTIONS);
	CONSTANT(CHAN_DOORBELLS);
	CONSTANT(CHAN_RING_LEAST);
	CONSTANT(CHAN_RING_MOST);
	CONSTANT(CHAN_ALIGN_FROM);
	CONSTANT(CHAN_SEATS_AT);
	CONSTANT(CHAN_SEATS);
	CONSTANT(CHAN_SEAT_SIZE);
	return 0;
}
