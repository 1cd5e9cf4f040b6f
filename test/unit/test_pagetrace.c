// test_pagetrace.c - what the kernel says of an event's bytes, and rings of events: whole, round the end, lost, damaged
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/pagetrace.c"

#include "tap.h"

#define HEAD "name: mm_filemap_add_to_page_cache\nID: 600\nformat:\n"
#define COMMON "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
#define INO "\tfield:unsigned long i_ino;\toffset:16;\tsize:8;\tsigned:0;\n"
#define INDEX "\tfield:unsigned long index;\toffset:24;\tsize:8;\tsigned:0;\n"
#define DEV "\tfield:dev_t s_dev;\toffset:32;\tsize:4;\tsigned:0;\n"
#define ORDER "\tfield:unsigned char order;\toffset:36;\tsize:1;\tsigned:0;\n"

static void test_layout(void)
{
	struct layout l;

	ok(!parse_layout(HEAD COMMON INO INDEX DEV ORDER, &l) && l.id == 600 && l.ino.off == 16 &&
			l.ino.size == 8 && l.index.off == 24 && l.order.off == 36 &&
			l.order.size == 1,
		"Linux 6.18's event");
	ok(!parse_layout(HEAD COMMON INO INDEX DEV, &l) && !l.order.size, "one without an order");
	ok(parse_layout(HEAD COMMON INDEX DEV, &l) == -EPROTO, "one without an inode");
	ok(parse_layout(HEAD COMMON INO DEV, &l) == -EPROTO, "one without an index");
	ok(parse_layout(HEAD COMMON INO INDEX, &l) == -EPROTO, "one without a device");
	ok(parse_layout(COMMON INO INDEX DEV, &l) == -EPROTO, "one without a number");
	ok(parse_layout(HEAD "\tfield:char i_ino;\toffset:16;\tsize:3;\n" INDEX DEV, &l) == -EPROTO,
		"an inode of three bytes");
	ok(parse_layout("", &l) == -EPROTO, "nothing");
}

// ---- a ring as the kernel fills it ----

#define RING 4096u

static struct pagetrace *new_trace(void)
{
	struct pagetrace *p = xcalloc(1, sizeof *p);

	if (parse_layout(HEAD COMMON INO INDEX DEV ORDER, &p->layout))
		abort();
	p->ring = xcalloc(1, sizeof *p->ring);
	p->ring_bytes = RING;
	p->ring[0] = (struct ring){
		.fd = -1, .head = xcalloc(1, (size_t)sysconf(_SC_PAGESIZE) + RING), .last = SIZE_MAX
	};
	return p;
}

static void free_trace(struct pagetrace *p)
{
	free(p->ring[0].head);
	pagetrace_free(p);
}

static void put(struct pagetrace *p, const void *bytes, size_t n)
{
	uint8_t *data = (uint8_t *)p->ring[0].head + sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < n; i++)
		data[p->ring[0].head->data_head++ % RING] = ((const uint8_t *)bytes)[i];
}

static void put_page(struct pagetrace *p, uint64_t ns, uint64_t ino, uint64_t page, uint8_t order)
{
	struct {
		struct perf_event_header h;
		uint64_t time;
		uint32_t raw_len;
		uint8_t raw[44];
	} __attribute__((packed))
	s = { .h = { PERF_RECORD_SAMPLE, 0, sizeof s }, .time = ns, .raw_len = 44 };

	memcpy(s.raw + 16, &ino, 8);
	memcpy(s.raw + 24, &page, 8);
	s.raw[36] = order;
	put(p, &s, sizeof s);
}

static bool is_run(
	const struct pagetrace *p, size_t i, uint64_t ns, uint64_t ino, uint64_t page, uint32_t n)
{
	const struct run *r = &p->run[i];

	return i < p->n && r->ns == ns && r->ino == ino && r->page == page && r->n == n;
}

static void test_runs(void)
{
	struct pagetrace *p = new_trace();

	put_page(p, 10, 7, 100, 0);
	put_page(p, 11, 7, 101, 0);
	put_page(p, 12, 8, 102, 0);
	put_page(p, 13, 8, 104, 2);
	take_ring(p, &p->ring[0]);
	put_page(p, 14, 8, 108, 0);
	take_ring(p, &p->ring[0]);
	ok(p->n == 3 && is_run(p, 0, 10, 7, 100, 2) && is_run(p, 1, 12, 8, 102, 1) &&
			is_run(p, 2, 13, 8, 104, 5),
		"neighbours are joined, of one file, also over two visits");
	ok(p->last == 14 && !p->lost, "the last one's time");
	ok(p->ring[0].head->data_tail == p->ring[0].head->data_head, "the room is given back");
	free_trace(p);
}

static void test_round_the_end(void)
{
	struct pagetrace *p = new_trace();
	bool good = true;

	// 8 bytes of another kind, so that a record lies across the end
	put(p, &(struct perf_event_header){ PERF_RECORD_THROTTLE, 0, 8 }, 8);
	for (uint64_t i = 0; i < 1000; i++) {
		put_page(p, i, 1000 + i, i, 0);
		take_ring(p, &p->ring[0]);
		good &= is_run(p, i, i, 1000 + i, i, 1);
	}
	ok(good && p->n == 1000, "a thousand, round the end of the ring");
	free_trace(p);
}

static void test_lost(void)
{
	struct pagetrace *p = new_trace();
	const struct {
		struct perf_event_header h;
		uint64_t id, lost;
	} lost = { { PERF_RECORD_LOST, 0, sizeof lost }, 1, 42 };
	const struct {
		struct perf_event_header h;
		uint64_t time;
		uint32_t raw_len, rest;
	} liar = { { PERF_RECORD_SAMPLE, 0, sizeof liar }, 1, 4000, 0 };

	put(p, &lost, sizeof lost);
	put(p, &liar, sizeof liar);
	put(p, &(struct perf_event_header){ PERF_RECORD_SAMPLE, 0, 8 }, 8);
	put_page(p, 5, 6, 7, 0);
	take_ring(p, &p->ring[0]);
	ok(p->lost == 42 && p->n == 1 && is_run(p, 0, 5, 6, 7, 1),
		"lost ones are counted, short ones and liars left out");
	put(p, &(struct perf_event_header){ PERF_RECORD_SAMPLE, 0, 0 }, 8);
	take_ring(p, &p->ring[0]);
	put(p, &(struct perf_event_header){ PERF_RECORD_SAMPLE, 0, 800 }, 8);
	take_ring(p, &p->ring[0]);
	put_page(p, 6, 6, 9, 0);
	take_ring(p, &p->ring[0]);
	ok(p->n == 2 && is_run(p, 1, 6, 6, 9, 1), "records of no length, and of too much");
	free_trace(p);
}

static void test_rings(void)
{
	ok(ring_bytes(1) == RING_MAX && ring_bytes(2) == RING_MAX &&
			ring_bytes(CPUS_MAX) == RING_MIN,
		"size of the rings: from most to least");
	ok(ring_bytes(64) * 64 <= RINGS_BYTES && ring_bytes(64) * 64 > RINGS_BYTES / 2,
		"64 processors share what there is");
}

int main(void)
{
	test_layout();
	test_runs();
	test_round_the_end();
	test_lost();
	test_rings();
	return tap_end();
}
