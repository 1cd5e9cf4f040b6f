// fuzz_ctl.c - messages between holders, workers and the verbs: of any length, with and without a descriptor
// SPDX-License-Identifier: Apache-2.0
//
// The input is: a byte, whose lowest bit says that a descriptor goes along; the message.
#include "ctl.h"

#include <fcntl.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_raw(int sock, const void *p, size_t n, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .room = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)p, n };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		h.msg_control = &c;
		h.msg_controllen = sizeof c;
		*CMSG_FIRSTHDR(&h) = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof fd) };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof fd);
	}
	if (sendmsg(sock, &h, MSG_DONTWAIT) < 0 && errno != EMSGSIZE)
		abort();
}

static int lowest_free(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

// Only a whole message of our version comes through, its text ends, and no descriptor is lost.
static void receive(int sock, const uint8_t *p, size_t n, int fd)
{
	struct ctl m;
	int got = -1, before = lowest_free(), r = ctl_recv(sock, 0, &m, &got);
	uint32_t version = 0;

	if (n >= sizeof version)
		memcpy(&version, p, sizeof version);
	if ((r == 0) != (n == sizeof m && version == CTL_VERSION))
		abort();
	if (r == 0 && (!memchr(m.text, 0, sizeof m.text) || (got >= 0) != (fd >= 0)))
		abort();
	if (r == 0 && got >= 0)
		close(got);
	if (lowest_free() != before)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int pair[2], fd = -1;

	if (size < 2)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	if (*data & 1)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	send_raw(pair[0], data + 1, size - 1, fd);
	receive(pair[1], data + 1, size - 1, fd);
	if (fd >= 0)
		close(fd);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
