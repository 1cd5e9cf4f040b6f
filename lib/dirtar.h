// dirtar.h - a directory as a tar archive (pax)
// SPDX-License-Identifier: Apache-2.0
#ifndef DIRTAR_H
#define DIRTAR_H

#include "base.h"

// Writes dir's tree to `out` from offset 0: names sorted, owners as numbers, nanoseconds, hard links,
// devices, extended attributes (pax). No link is followed and no other file system entered; sockets
// are left out. The same tree gives the same bytes. -errno logged.
int dirtar_write(const char *dir, int out, uint64_t *ret_size) must_check;

#endif
