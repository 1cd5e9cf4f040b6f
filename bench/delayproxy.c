// delayproxy.c - a TCP forwarder that adds a fixed delay in each direction, where the kernel has no netem
//
// usage: delayproxy LISTEN:PORT TARGET:PORT MICROSECONDS      (IPv4 addresses)
//
// A process per connection. What is read from one side lies in a ring until it is MICROSECONDS old, then it is written to the
// other side; so throughput is limited by the ring only (8 MiB in flight: 6 Gbit/s at 5 ms each way). The client's connect()
// is answered at once by our kernel; a real one would take a round trip before the client could send, so the first
// bytes of a connection wait a round trip more. Not modelled: slow start over the longer path, loss, reordering.
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RING = 8 << 20, PIECE = 256 << 10, PIECES = 4096 };

#define NEVER UINT64_MAX

// What arrived together: so many bytes, to be passed on at that time.
struct piece {
	uint64_t due;
	size_t len;
};

// One direction of a connection.
struct lane {
	int from, to;
	char *ring;
	uint64_t in, out; // bytes ever read, written
	struct piece piece[PIECES];
	uint64_t first, last; // pieces ever passed on, read
	uint64_t not_before;  // of the first piece
	uint64_t end_due;     // end of stream: when to pass it on
	bool ended, closed, full;
};

static uint64_t delay_ns;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "delayproxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

// "ADDRESS:PORT"
static struct sockaddr_in parse_address(const char *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	const char *colon = strrchr(s, ':');
	char host[INET_ADDRSTRLEN] = "";

	if (colon && (size_t)(colon - s) < sizeof host)
		memcpy(host, s, (size_t)(colon - s));
	if (!colon || inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		fprintf(stderr, "delayproxy: %s is not ADDRESS:PORT\n", s);
		exit(2);
	}
	a.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	return a;
}

static void lane_init(struct lane *l, int from, int to, uint64_t not_before)
{
	*l = (struct lane){ .from = from, .to = to, .not_before = not_before };
	l->ring = mmap(NULL, RING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (l->ring == MAP_FAILED)
		die("mmap");
}

static size_t lane_room(const struct lane *l)
{
	size_t at = l->in % RING, room = RING - (size_t)(l->in - l->out);

	if (l->ended || l->last - l->first == PIECES)
		return 0;
	if (room > RING - at)
		room = RING - at;
	return room < PIECE ? room : PIECE;
}

// When the next thing of this lane is due.
static uint64_t lane_due(const struct lane *l)
{
	if (l->first == l->last)
		return l->ended && !l->closed ? l->end_due : NEVER;
	return l->piece[l->first % PIECES].due;
}

static void lane_read(struct lane *l)
{
	ssize_t n = read(l->from, l->ring + l->in % RING, lane_room(l));
	uint64_t due = now_ns() + delay_ns;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { // a reset is passed on as an end
		l->ended = true;
		l->end_due = due;
		return;
	}
	l->piece[l->last++ % PIECES] =
		(struct piece){ .due = due > l->not_before ? due : l->not_before,
			.len = (size_t)n };
	l->in += (uint64_t)n;
}

// Writes all that is due and fits. -1: the other side is gone.
static int lane_write(struct lane *l, uint64_t now)
{
	l->full = false;
	while (l->first != l->last && l->piece[l->first % PIECES].due <= now) {
		struct piece *p = &l->piece[l->first % PIECES];
		size_t at = l->out % RING, len = p->len < RING - at ? p->len : RING - at;
		ssize_t n = write(l->to, l->ring + at, len);

		if (n < 0 && errno == EAGAIN) {
			l->full = true;
			return 0;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		l->out += (uint64_t)n;
		p->len -= (size_t)n;
		if (!p->len)
			l->first++;
	}
	if (l->first == l->last && l->ended && !l->closed && l->end_due <= now) {
		shutdown(l->to, SHUT_WR);
		l->closed = true;
	}
	return 0;
}

static void wait_for(struct lane lane[static 2])
{
	struct pollfd p[2] = { { .fd = lane[0].from }, { .fd = lane[1].from } };
	uint64_t due = NEVER, now = now_ns();
	struct timespec t = { 0 };

	for (int i = 0; i < 2; i++) {
		if (lane_room(&lane[i]))
			p[i].events |= POLLIN;
		if (lane[i].full)
			p[!i].events |= POLLOUT;
		else if (lane_due(&lane[i]) < due)
			due = lane_due(&lane[i]);
	}
	for (int i = 0; i < 2; i++)
		if (!p[i].events)
			p[i].fd = -1; // a hang-up would wake us for ever
	if (due != NEVER && due > now) {
		t.tv_sec = (time_t)((due - now) / 1000000000);
		t.tv_nsec = (long)((due - now) % 1000000000);
	}
	if (ppoll(p, 2, due == NEVER ? NULL : &t, NULL) < 0 && errno != EINTR)
		die("poll");
	for (int i = 0; i < 2; i++)
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR) && lane_room(&lane[i]))
			lane_read(&lane[i]);
}

static void serve(int client, const struct sockaddr_in *target)
{
	static struct lane lane[2]; // client to server, server to client
	uint64_t accepted = now_ns();
	int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);

	if (server < 0 || connect(server, (const struct sockaddr *)target, sizeof *target))
		die("connect");
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(client, F_SETFL, O_NONBLOCK);
	fcntl(server, F_SETFL, O_NONBLOCK);
	lane_init(&lane[0], client, server, delay_ns ? accepted + 3 * delay_ns : 0);
	lane_init(&lane[1], server, client, 0);
	while (!lane[0].closed || !lane[1].closed) {
		wait_for(lane);
		for (int i = 0; i < 2; i++)
			if (lane_write(&lane[i], now_ns()))
				return;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in at, target;
	int one = 1, listener;

	if (argc != 4) {
		fprintf(stderr, "usage: delayproxy LISTEN:PORT TARGET:PORT MICROSECONDS\n");
		return 2;
	}
	at = parse_address(argv[1]);
	target = parse_address(argv[2]);
	delay_ns = strtoull(argv[3], NULL, 10) * 1000;
	signal(SIGCHLD, SIG_IGN); // no zombies
	signal(SIGPIPE, SIG_IGN);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) ||
		listen(listener, 256))
		die("listen");
	for (;;) {
		int client = accept(listener, NULL, NULL);
		pid_t pid;

		if (client < 0)
			continue;
		pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL); // all ends with the listener
			close(listener);
			serve(client, &target);
			_exit(0);
		}
		close(client);
	}
}
