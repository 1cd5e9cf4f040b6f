// statuspage.h - the service's one page for people
// SPDX-License-Identifier: Apache-2.0
#ifndef STATUSPAGE_H
#define STATUSPAGE_H

#include "svc.h"

#define STATUSPAGE_ROWS 50 // of each table

// Appends a whole HTML document. Nothing in it but its style; names are escaped.
void statuspage(struct svc *s, int64_t now, struct buf *ret);
// Text between tags or in a quoted attribute.
void statuspage_escape(struct buf *b, const char *text);

#endif
