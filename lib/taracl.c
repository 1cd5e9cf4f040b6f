// taracl.c - POSIX ACLs that stand in pax headers as text (star, bsdtar, GNU tar --acls)
// SPDX-License-Identifier: Apache-2.0
//
// The text is that of acl(5): entries "TAG:QUALIFIER:RIGHTS", by commas (star, bsdtar) or lines
// (GNU tar), with comments behind '#'. star and bsdtar add the number of a user or group as a
// fourth field; it counts. GNU tar writes names alone. The value of the attribute is that of
// Linux' linux/posix_acl_xattr.h: a version, then entries by tag and number. An access ACL of
// three entries says no more than the mode: it becomes the mode.
#include "taracl.h"

#define ACL_VERSION 2u
#define ACL_NOBODY UINT32_MAX // the number of entries that are nobody's
#define ACL_ENTRIES_MAX 8191u // what 64 KiB of an attribute can hold

enum acl_tag {
	ACL_USER_OBJ = 1,
	ACL_USER = 2,
	ACL_GROUP_OBJ = 4,
	ACL_GROUP = 8,
	ACL_MASK = 16,
	ACL_OTHER = 32
};

struct acl_entry {
	enum acl_tag tag;
	uint32_t rights, id;
};

struct acl {
	struct acl_entry *v;
	size_t n, cap;
	const char *stranger; // points into the text
	size_t stranger_len;
};

struct span {
	const char *s;
	size_t n;
};

static const char bad_acl[] = "bad ACL in a pax header";

static bool is(struct span t, const char *word)
{
	return t.n == strlen(word) && !memcmp(t.s, word, t.n);
}

// Up to the first of two characters, which is passed over.
static struct span cut(struct span *rest, char a, char b)
{
	size_t i = 0;

	while (i < rest->n && rest->s[i] != a && rest->s[i] != b)
		i++;
	struct span head = { rest->s, i };

	i += i < rest->n;
	rest->s += i;
	rest->n -= i;
	return head;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span t)
{
	while (t.n && is_space(*t.s))
		t.s++, t.n--;
	while (t.n && is_space(t.s[t.n - 1]))
		t.n--;
	return t;
}

static bool parse_rights(struct span t, uint32_t *ret)
{
	uint32_t v = 0;

	for (size_t i = 0; i < t.n; i++)
		switch (t.s[i]) {
		case 'r': v |= 4; break;
		case 'w': v |= 2; break;
		case 'x': v |= 1; break;
		case '-': break;
		default: return false;
		}
	*ret = v;
	return t.n > 0 && t.n <= 3;
}

static bool parse_tag(struct span t, bool named, enum acl_tag *ret)
{
	if (is(t, "user") || is(t, "u"))
		*ret = named ? ACL_USER : ACL_USER_OBJ;
	else if (is(t, "group") || is(t, "g"))
		*ret = named ? ACL_GROUP : ACL_GROUP_OBJ;
	else if (is(t, "mask") || is(t, "m"))
		*ret = ACL_MASK;
	else if (is(t, "other") || is(t, "o"))
		*ret = ACL_OTHER;
	else
		return false;
	return !named || *ret == ACL_USER || *ret == ACL_GROUP;
}

// The number in the fourth field, else the name itself when it is one; root is 0 everywhere.
static bool find_id(struct acl *a, struct span name, struct span number, uint32_t *ret)
{
	struct span t = number.n ? number : name;
	uint64_t v = 0;

	if (sparse_decimal(t.s, t.n, &v)) {
		*ret = (uint32_t)v;
		return v < ACL_NOBODY;
	}
	*ret = 0;
	if (number.n)
		return false;
	if (!is(name, "root") && !a->stranger) {
		a->stranger = name.s;
		a->stranger_len = name.n;
	}
	return true;
}

// "mask:rwx" and "other:rwx" are Solaris' and star's short form of "mask::rwx".
static bool add_entry(struct acl *a, struct span line)
{
	struct span tag = trim(cut(&line, ':', ':'));

	if (is(tag, "default") || is(tag, "d"))
		tag = trim(cut(&line, ':', ':'));
	struct span name = trim(cut(&line, ':', ':')), rights = trim(cut(&line, ':', ':'));
	struct span number = trim(cut(&line, ':', ':'));
	struct acl_entry e = { .id = ACL_NOBODY };
	bool alone = !rights.n && (*tag.s == 'm' || *tag.s == 'o');

	if (line.n || a->n == ACL_ENTRIES_MAX || !parse_rights(alone ? name : rights, &e.rights) ||
		!parse_tag(tag, !alone && name.n, &e.tag))
		return false;
	if ((e.tag == ACL_USER || e.tag == ACL_GROUP) ? !find_id(a, name, number, &e.id) : number.n)
		return false;
	a->v = xgrow(a->v, &a->cap, a->n + 1, sizeof *a->v);
	a->v[a->n++] = e;
	return true;
}

static int by_tag(const void *x, const void *y)
{
	const struct acl_entry *a = x, *b = y;

	return a->tag != b->tag ? (a->tag > b->tag) - (a->tag < b->tag)
				: (a->id > b->id) - (a->id < b->id);
}

// What the kernel wants (posix_acl_valid): owner, group and others once each, nobody twice, and a
// mask as soon as somebody is named.
static bool is_valid(const struct acl *a)
{
	uint32_t seen = 0;

	for (size_t i = 0; i < a->n; i++) {
		if (i && !by_tag(&a->v[i - 1], &a->v[i]) && !a->stranger)
			return false;
		seen |= a->v[i].tag;
	}
	uint32_t all = ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER, named = ACL_USER | ACL_GROUP;

	return (seen & all) == all && (!(seen & named) || (seen & ACL_MASK));
}

// Where somebody is named, but no mask is given (libarchive writes such ones), it is what setfacl would make it: all
// that groups and whoever is named have (acl_calc_mask(3)).
static void add_mask(struct acl *a)
{
	struct acl_entry mask = { .tag = ACL_MASK, .id = ACL_NOBODY };
	bool named = false;

	for (size_t i = 0; i < a->n; i++) {
		if (a->v[i].tag == ACL_MASK)
			return;
		named |= a->v[i].tag == ACL_USER || a->v[i].tag == ACL_GROUP;
		if (a->v[i].tag & (ACL_USER | ACL_GROUP_OBJ | ACL_GROUP))
			mask.rights |= a->v[i].rights;
	}
	if (!named)
		return;
	a->v = xgrow(a->v, &a->cap, a->n + 1, sizeof *a->v);
	a->v[a->n++] = mask;
}

static bool parse(struct acl *a, struct span text)
{
	while (text.n) {
		struct span line = cut(&text, '\n', ',');
		struct span entry = trim(cut(&line, '#', '#'));

		if (entry.n && !add_entry(a, entry))
			return false;
	}
	add_mask(a);
	if (a->n)
		qsort(a->v, a->n, sizeof *a->v, by_tag);
	return is_valid(a);
}

static void put_le(struct buf *out, uint32_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++, v >>= 8) {
		uint8_t b = (uint8_t)v;

		buf_add(out, &b, 1);
	}
}

static const char *add_value(struct pax *p, const char *name, const struct acl *a)
{
	cleanup_buf struct buf out = { 0 };

	put_le(&out, ACL_VERSION, 4);
	for (size_t i = 0; i < a->n; i++) {
		put_le(&out, a->v[i].tag, 2);
		put_le(&out, a->v[i].rights, 2);
		put_le(&out, a->v[i].id, 4);
	}
	return pax_add_xattr(p, name, strlen(name), buf_str(&out), out.len);
}

// The group's bits are the mask's where there is one: they are the most that anybody named has.
static uint32_t mode_of(const struct acl *a, uint32_t mode)
{
	uint32_t group = 0, mask = UINT32_MAX;

	mode &= ~0777u;
	for (size_t i = 0; i < a->n; i++)
		switch (a->v[i].tag) {
		case ACL_USER_OBJ: mode |= a->v[i].rights << 6; break;
		case ACL_OTHER: mode |= a->v[i].rights; break;
		case ACL_GROUP_OBJ: group = a->v[i].rights; break;
		case ACL_MASK: mask = a->v[i].rights; break;
		default: break;
		}
	return mode | (mask == UINT32_MAX ? group : mask) << 3;
}

// mode: NULL for a default ACL.
static const char *apply(struct pax *p, const char *name, struct pax_text text, uint32_t *mode,
	struct pax_text *ret_stranger)
{
	const char *s = pax_str(p, text), *why = NULL;
	struct acl a = { 0 };

	if (!parse(&a, (struct span){ s, text.len })) {
		why = bad_acl;
	} else if (a.stranger) {
		*ret_stranger =
			(struct pax_text){ text.at + (size_t)(a.stranger - s), a.stranger_len };
	} else {
		if (!mode || a.n > 3)
			why = add_value(p, name, &a);
		if (mode)
			*mode = mode_of(&a, *mode);
	}
	free(a.v);
	return why;
}

// Links have no rights of their own, and only a directory has any to hand down.
const char *taracl_apply(
	struct pax *p, enum tar_type type, uint32_t *mode, struct pax_text *ret_stranger)
{
	const char *why = NULL;

	*ret_stranger = (struct pax_text){ 0 };
	if (type == TAR_SYMLINK || type == TAR_HARDLINK)
		return NULL;
	if (p->has & PAX_ACL)
		why = apply(p, "system.posix_acl_access", p->acl, mode, ret_stranger);
	if (!why && (p->has & PAX_DEFAULT_ACL) && type == TAR_DIR)
		why = apply(p, "system.posix_acl_default", p->default_acl, NULL, ret_stranger);
	return why;
}
