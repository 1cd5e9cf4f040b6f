// plain.h - an original pulled whole: every layer read once, into the same tree and data spaces
// that an accelerated image has
// SPDX-License-Identifier: Apache-2.0
#ifndef PLAIN_H
#define PLAIN_H

#include "image.h"
#include "index.h"
#include "store.h"

// Downloads and verifies all layers of img's original. The index made is kept in the store and
// handed out, and so is a journal of the layers (journal.h), in journal/ of the store. -errno logged;
// then nothing of it is left.
int plain_pull(struct store *s, struct image *img, struct index **ret) must_check;

// The same without a store: blocks of layer i go to spools[i] (img->n_layers open, empty files).
// What `check` compares with.
int plain_read(struct image *img, const int *spools, struct index **ret) must_check;

#endif
