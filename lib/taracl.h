// taracl.h - POSIX ACLs that stand in pax headers as text (star, bsdtar, GNU tar --acls)
// SPDX-License-Identifier: Apache-2.0
#ifndef TARACL_H
#define TARACL_H

#include "tarpax.h"

// Of one entry: SCHILY.acl.access and .default of its header become the attributes that Linux
// keeps ACLs in, and *mode gets the rights that the access ACL says, as setfacl(1) would give it.
// NULL, or what is wrong. An ACL that has a name without a number is left out, and *ret_stranger
// is that name, a text of p (else its length is 0): whom it means only the machine knows that
// wrote the archive.
const char *taracl_apply(struct pax *p, enum tar_type type, uint32_t *mode,
	struct pax_text *ret_stranger) must_check;

#endif
