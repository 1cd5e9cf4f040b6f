// tlsd.h - TLS for the service: connections come in encrypted, and go on as plain sockets
//
// One thread does it for all connections: it accepts, shakes hands, and carries bytes between the
// client and one end of a socket pair, whose other end the HTTP server takes for the connection. A
// client that does not shake hands in time, or presents no certificate that it must have, is closed
// before anybody else has seen it.
// SPDX-License-Identifier: Apache-2.0
#ifndef TLSD_H
#define TLSD_H

#include "base.h"

#define TLSD_CONNS_MAX 128
#define TLSD_HANDSHAKE_MS 10000

struct tlsd_conf {
	const char *cert, *key; // PEM files
	const char *client_ca;	// PEM file: clients must have a certificate of it; or NULL
	int listener;		// borrowed; non-blocking
	// Takes a connection over, fd included, in any case.
	void (*take)(void *arg, int fd);
	void *arg;
};
struct tlsd;
// -EBADMSG, others: logged with the file's name.
int tlsd_start(const struct tlsd_conf *conf, struct tlsd **ret) must_check;
// Accepts no more; connections that are there go on.
void tlsd_quiesce(struct tlsd *t);
// Its files may have changed: reads them again, soon. Connections that are there go on with what they
// have; what cannot be used is warned of, and what was used before stays in use. Any thread.
void tlsd_reload(struct tlsd *t);
void tlsd_stop(struct tlsd *t); // NULL is allowed

#endif
