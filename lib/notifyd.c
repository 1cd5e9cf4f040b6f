// notifyd.c - words to the service manager that has started us
// SPDX-License-Identifier: Apache-2.0
#include "notifyd.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "log.h"

void notifyd_say(const char *what)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	cleanup_fd int fd = -1;

	if (!n || n >= sizeof a.sun_path)
		return;
	memcpy(a.sun_path, path, n);
	if (*path == '@')
		*a.sun_path = 0; // an abstract name
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
		sendto(fd, what, strlen(what), MSG_NOSIGNAL, (struct sockaddr *)&a,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		debug("the service manager cannot be told: %s", strerror(errno));
}
