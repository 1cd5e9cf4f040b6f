// ctl.c - the messages between holders, workers and the verbs
// SPDX-License-Identifier: Apache-2.0
#include "ctl.h"

#include <poll.h>
#include <sys/socket.h>

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

int ctl_send(int sock, struct ctl m, int fd)
{
	struct iovec iov = { &m, sizeof m };
	union control c = { .room = { 0 } };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	m.version = CTL_VERSION;
	if (fd >= 0) {
		h.msg_control = &c;
		h.msg_controllen = sizeof c;
		struct cmsghdr *p = CMSG_FIRSTHDR(&h);

		p->cmsg_level = SOL_SOCKET;
		p->cmsg_type = SCM_RIGHTS;
		p->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(p), &fd, sizeof fd);
	}
	return sendmsg(sock, &h, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int ctl_recv(int sock, int wait_ms, struct ctl *ret, int *ret_fd)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	ssize_t n;
	int fd;

	if (wait_ms && poll(&p, 1, wait_ms) == 0)
		return -ETIMEDOUT;
	*ret = (struct ctl){ 0 };
	// MSG_TRUNC: the length as it was sent, so that one that is too long is seen
	n = recv_fd(sock, ret, sizeof *ret, MSG_DONTWAIT | MSG_TRUNC, &fd);
	if (n <= 0)
		return n < 0 ? (int)n : -ENODATA;
	if (n != (ssize_t)sizeof *ret || ret->version != CTL_VERSION) {
		if (fd >= 0)
			close(fd);
		return -EPROTO;
	}
	ret->text[sizeof ret->text - 1] = 0;
	*ret_fd = fd;
	return 0;
}
