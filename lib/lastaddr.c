// lastaddr.c - the addresses at which hosts have answered
// SPDX-License-Identifier: Apache-2.0
#include "lastaddr.h"

#include <pthread.h>

#include "url.h"

#define KEPT 16 // a registry, its mirrors, token servers, the hosts of blobs

static struct {
	pthread_mutex_t lock;
	struct known {
		char *host, *address; // "HOST:PORT", a number
	} known[KEPT];
	unsigned next; // to be replaced
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

// With the lock held.
static struct known *find(const char *host)
{
	for (size_t i = 0; i < KEPT; i++)
		if (table.known[i].host && !strcmp(table.known[i].host, host))
			return &table.known[i];
	return NULL;
}

static void note(const char *host, const char *address)
{
	pthread_mutex_lock(&table.lock);
	struct known *k = find(host);

	if (!k) {
		k = &table.known[table.next++ % KEPT];
		free(k->host);
		k->host = xstrdup(host);
	}
	if (!k->address || strcmp(k->address, address)) {
		free(k->address);
		k->address = xstrdup(address);
	}
	pthread_mutex_unlock(&table.lock);
}

void lastaddr_note(const char *url, const char *address)
{
	cleanup_free char *host = url_host_port(url);

	if (host)
		note(host, address);
}

char *lastaddr_of(const char *url)
{
	cleanup_free char *host = url_host_port(url);

	pthread_mutex_lock(&table.lock);
	struct known *k = host ? find(host) : NULL;
	char *entry = k ? xasprintf(strchr(k->address, ':') ? "%s:[%s]" : "%s:%s", host, k->address)
			: NULL;

	pthread_mutex_unlock(&table.lock);
	return entry;
}

void lastaddr_write(struct buf *out)
{
	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < KEPT; i++)
		if (table.known[i].host)
			buf_printf(out, "%s %s\n", table.known[i].host, table.known[i].address);
	pthread_mutex_unlock(&table.lock);
}

void lastaddr_read(const char *text)
{
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		size_t line = strcspn(text, "\n"), host = strcspn(text, " \n");

		if (host == 0 || host + 1 >= line)
			continue;
		cleanup_free char *h = xstrndup(text, host);
		cleanup_free char *a = xstrndup(text + host + 1, line - host - 1);

		note(h, a);
	}
}
