// intake.h - the layers of an image, one after the other, as their decoded streams
// SPDX-License-Identifier: Apache-2.0
#ifndef INTAKE_H
#define INTAKE_H

#include "image.h"

struct intake;
// Starts on the first layer. `repo` and `layers` (n of them) are borrowed.
struct intake *intake_new(
	struct repo *repo, const struct image_layer *layers, uint32_t n) must_check;
// The next layer's decoded bytes; the layer after it begins to come in. To be closed before intake_free. The
// blob's digest is checked at its end; errors, also that there is no such blob, come from reads.
struct stream *intake_next(struct intake *f) must_check;
// NULL is allowed.
void intake_free(struct intake *f);

#endif
