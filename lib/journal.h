// journal.h - what a plain pull has read of an image's layers, entry by entry
//
// A data space holds a layer's contents, the index the merged tree: what upper layers hide, and the
// order in which entries came, is in neither, and a conversion needs both. So a plain pull writes
// its entries down here, and a conversion on the same host can be made of the journal and the spaces
// alone: nothing is downloaded or inflated again, and the result is the same bytes.
//
//	"fcpullJ1"	8 bytes
//	sha256		of all that follows
//	one zstd frame	for each layer its entries (journal.c), then an end
//
// SPDX-License-Identifier: Apache-2.0
#ifndef JOURNAL_H
#define JOURNAL_H

#include "tar.h"

struct journal_w;
// To an empty file. It is usable after journal_end only. -ENOMEM.
int journal_begin(int fd, struct journal_w **ret) must_check;
// content: first block of the file's contents in its layer's space; UINT32_MAX: it has none. Errors
// are kept until journal_end.
void journal_put(struct journal_w *j, const struct tar_entry *e, uint32_t content);
void journal_put_end(struct journal_w *j);
// Frees j in any case. -errno, silent: what was not written down only cannot be converted later.
int journal_end(struct journal_w *j) must_check;
void journal_drop(struct journal_w *j);

struct journal_r;
// Checks the whole file's sum. fd is borrowed. -EBADMSG logged with `name`.
int journal_open(int fd, const char *name, struct journal_r **ret) must_check;
// 1: *ret and *ret_content are filled, valid until the next call; 0: the layer has ended; -EBADMSG
// logged.
int journal_next(struct journal_r *j, struct tar_entry *ret, uint32_t *ret_content) must_check;
void journal_close(struct journal_r *j);

#endif
