// rescue.h - the data of an accelerated image from its original, when the accelerated form's own is
// missing or damaged
//
// The original is in the store already, or is pulled into it (plain.h) at the first need. Its
// journal (journal.h) says where each layer's contents lie there, and format.md 5 where they lie in
// the accelerated form's data spaces: so every block of a chunk is known, those of files that upper
// layers hide, too. What comes of it is proved by the chunk's digest before anybody sees it.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESCUE_H
#define RESCUE_H

#include "index.h"
#include "store.h"

struct rescue;

// For the image of index ix, named `name`; repo: where its original is, or NULL: it can only be in
// the store. All are borrowed. Nothing is looked up or fetched yet; cheap.
struct rescue *rescue_new(
	const struct index *ix, struct store *s, struct repo *repo, const char *name);
void rescue_free(struct rescue *x);
// The original has been needed, and is here: rescue_read() is worth while. Any thread.
bool rescue_ready(const struct rescue *x);
// The chunk's plain bytes, proved, if the original is ready. -ENODATA: it is not; -EBADMSG: they are not
// what the index says; silent. Any thread.
int rescue_read(struct rescue *x, const struct chunk_view *c, uint8_t *plain) must_check;
// The same, and the original is got if it must be: may take as long as its pull. why: what was wrong
// with the data that the form has, for messages. One thread. -errno logged; after a failure that time
// does not mend nothing is tried for a while, silently.
int rescue_get(
	struct rescue *x, const struct chunk_view *c, const char *why, uint8_t *plain) must_check;

#endif
