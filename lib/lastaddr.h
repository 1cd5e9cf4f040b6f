// lastaddr.h - the addresses at which hosts have answered, for when their names cannot be resolved
//
// The resolver needs files by name (/etc/resolv.conf, /etc/hosts), which are gone for a process that an
// initramfs has started before its switch_root, and a server that a mount needs. An address that
// answered minutes ago is then better than none; TLS proves whose it is, as ever.
// SPDX-License-Identifier: Apache-2.0
#ifndef LASTADDR_H
#define LASTADDR_H

#include "base.h"

// The host of this URL has answered at `address`, a number. Any thread.
void lastaddr_note(const char *url, const char *address);
// "HOST:PORT:ADDRESS", as CURLOPT_RESOLVE wants it; NULL when none is known. Caller frees.
char *lastaddr_of(const char *url);

// All of them as text, "HOST:PORT ADDRESS\n" each, and back; what cannot be read is skipped.
void lastaddr_write(struct buf *out);
void lastaddr_read(const char *text);

#endif
