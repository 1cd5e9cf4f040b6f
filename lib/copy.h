// copy.h - blobs and manifests copied from one repository to another, byte for byte
// SPDX-License-Identifier: Apache-2.0
#ifndef COPY_H
#define COPY_H

#include "repo.h"

// What is there already is not sent. mount_from: a repository of the same registry that has it, or
// NULL. what: its name in the progress, or NULL: it has none. -errno logged.
int copy_blob(struct repo *from, struct repo *to, const struct desc *d, const char *mount_from,
	const char *what) must_check;
// A manifest and what it names, or an index and all that it lists; the blobs first. -errno logged.
int copy_manifest(
	struct repo *from, struct repo *to, const char *digest, const char *mount_from) must_check;

#endif
