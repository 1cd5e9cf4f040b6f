// test_taracl.c - POSIX ACLs of pax headers: as text in star's, bsdtar's and GNU tar's way, as Linux keeps them
// SPDX-License-Identifier: Apache-2.0
#include "tarmodel.h"

#define ACCESS "SCHILY.acl.access"
#define DEFAULT "SCHILY.acl.default"

static void describe(const struct tar_xattr *x, struct buf *out)
{
	const uint8_t *p = x->value;

	buf_printf(out, " %s v%u", strrchr(x->name, '_') + 1, p[0] | p[1] << 8);
	for (uint32_t i = 4; i + 8 <= x->value_len; i += 8)
		buf_printf(out, " %u.%u.%d", p[i] | p[i + 1] << 8, p[i + 2] | p[i + 3] << 8,
			(int)(p[i + 4] | p[i + 5] << 8 | p[i + 6] << 16 |
				(uint32_t)p[i + 7] << 24));
}

// "MODE NAME VERSION TAG.RIGHTS.ID..." of the archive's only entry, or "refused"; a is emptied.
static const char *acl_text(struct buf *a)
{
	static struct buf out;
	struct stream *in = stream_of_mem(a->data, a->len);
	struct tar *t = tar_open(in, "archive-name");
	struct tar_entry e;
	int r = tar_next(t, &e);

	out.len = 0;
	if (r > 0) {
		buf_printf(&out, "%o", e.mode);
		for (size_t i = 0; i < e.n_xattrs; i++)
			describe(&e.xattrs[i], &out);
	}
	tar_close(t);
	stream_close(in);
	a->len = 0;
	return r > 0 ? buf_str(&out) : r == -EBADMSG ? "refused" : "?";
}

static void is_acl(char type, const char *key, const char *value, const char *want)
{
	cleanup_buf struct buf a = { 0 };

	add_pax(&a, 'x', key, value, strlen(value));
	add_head(&a, type, "f", 0);
	const char *got = acl_text(&a);

	if (!ok(!strcmp(got, want), "type %c, %s", type, log_quote(value)))
		printf("# got %s\n# want %s\n", got, want);
}

#define THREE "user::rw-,group::r--,other::---"

static void test_forms(void)
{
	static const char bsd[] =
		"user::rw-,group::r--,other::r--,user:daemon:r--:1,user:x:rw-:1000,mask::rw-";
	static const char all[] = "664 access v2 1.6.-1 2.4.1 2.6.1000 4.4.-1 16.6.-1 32.4.-1";

	is_acl('0', ACCESS, bsd, all);
	is_acl('0', ACCESS,
		"user::rw-\nuser:1000:rw-\t#effective:r--\nuser:1:r--\ngroup::r--\nmask::rw-\n"
		"other::r--\n",
		all);
	is_acl('0', ACCESS, "u::rw,g::r,o:r,m:wr-, u:1:r , # nothing\nu:1000:-rw", all);
	is_acl('0', ACCESS, THREE, "640");
	is_acl('0', ACCESS, THREE ",mask::---", "600 access v2 1.6.-1 4.4.-1 16.0.-1 32.0.-1");
	is_acl('0', ACCESS, THREE ",group:root:x,mask:x",
		"610 access v2 1.6.-1 4.4.-1 8.1.0 16.1.-1 32.0.-1");
	is_acl('0', ACCESS, THREE ",user:4294967294:r,mask::r",
		"640 access v2 1.6.-1 2.4.-2 4.4.-1 16.4.-1 32.0.-1");
	// without a mask: all that any of them has
	is_acl('0', ACCESS, THREE ",user:1:r", "640 access v2 1.6.-1 2.4.1 4.4.-1 16.4.-1 32.0.-1");
	is_acl('0', ACCESS, "user::r-x,group::r--,other::-wx,user:b:---:78,group:c:-wx:78",
		"573 access v2 1.5.-1 2.0.78 4.4.-1 8.3.78 16.7.-1 32.3.-1");
	is_acl('0', ACCESS, "", "644");
	is_acl('5', DEFAULT, "default:" THREE, "644 default v2 1.6.-1 4.4.-1 32.0.-1");
	is_acl('5', DEFAULT, "d:user::rwx,d:group::---,d:other::---",
		"644 default v2 1.7.-1 4.0.-1 32.0.-1");
	is_acl('0', DEFAULT, THREE, "644"); // only a directory hands down
	is_acl('3', ACCESS, THREE, "640");
}

static void test_refused(void)
{
	static const char *const bad[] = { "user::rw-,group::r--", "user::rw-,group::r--,mask::r--",
		THREE ",user::r--", THREE ",mask::r,mask::r", THREE ",mask::r,user:1:r,user:1:w",
		THREE ",mask::r,user:x:r:7,user:y:r:7", THREE ",nobody:1:r", THREE ",mask:5:r",
		THREE ",other:r:r", THREE ",mask::rwxr", THREE ",mask::rq",
		"user::,group::r--,other::r--", THREE ",mask::r,user:x:r:-1",
		THREE ",mask::r,user:4294967295:r", THREE ",mask::r,user:x:r:4294967296",
		THREE ",mask::r,user:x:r:7:8", THREE ",mask::r:7", "user", ":::", "#", ",\n" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		said_begin();
		is_acl('0', ACCESS, bad[i], "refused");
		is_acl('5', DEFAULT, bad[i], "refused");
		ok(strstr(said_end(), "bad ACL in a pax header"), "%s: by name", log_quote(bad[i]));
	}
}

static void add_two(struct buf *a, const char *access, const char *name)
{
	cleanup_buf struct buf r = { 0 };

	add_record(&r, ACCESS, access, strlen(access));
	add_ext(a, 'x', r.data, r.len);
	add_head(a, '0', name, 0);
}

// Said once; the other entries, and their modes, are as they would be without.
static void test_strangers(void)
{
	static const char who[] = "user::rwx,user:alice:---,group::---,mask::rwx,other::---";
	cleanup_buf struct buf a = { 0 };

	add_two(&a, who, "first");
	add_two(&a, who, "second");
	said_begin();
	lists("an ACL with a name and no number", &a,
		"f first 644 0:0 7.000000000 0 e3b0c442\nf second 644 0:0 7.000000000 0 e3b0c442\n");
	const char *said = said_end();

	ok(strstr(said, "entry 'first': its ACL names 'alice' without a number"), "it is said");
	ok(!strstr(said, "second"), "once");
}

// A global one counts for all, an entry's own in its place; the last of a directory's two ways of
// saying it is the text's.
static void test_records(void)
{
	cleanup_buf struct buf a = { 0 };
	static const char one[] = THREE ",mask::---";

	add_pax(&a, 'g', ACCESS, one, strlen(one));
	add_head(&a, '0', "f", 0);
	ok(!strcmp(acl_text(&a), "600 access v2 1.6.-1 4.4.-1 16.0.-1 32.0.-1"), "a global ACL");
	add_pax(&a, 'g', ACCESS, one, strlen(one));
	add_two(&a, "", "f");
	ok(!strcmp(acl_text(&a), "644"), "a global ACL taken back");
	add_pax(&a, 'g', "SCHILY.xattr.system.posix_acl_access", "\2\0\0\0", 4);
	add_two(&a, one, "f");
	ok(!strcmp(acl_text(&a), "600 access v2 1.6.-1 4.4.-1 16.0.-1 32.0.-1"),
		"text and attribute: the text");
	add_pax(&a, 'x', ACCESS, "rubbish", 7);
	add_head(&a, '2', "f", 0);
	memcpy(a.data + a.len - 512 + LINK, "x", 2);
	mend_sum(a.data + a.len - 512);
	lists("a symbolic link has none", &a, "l f 644 0:0 7.000000000 -> x\n");
}

static void add_users(struct buf *a, int n)
{
	cleanup_buf struct buf text = { 0 };

	buf_printf(&text, THREE ",mask::r");
	for (int i = 0; i < n - 4; i++)
		buf_printf(&text, ",u:%d:r", i);
	add_two(a, buf_str(&text), "f");
}

// 8,188 entries are 64 KiB less the name of the attribute; above 8,191 no more are looked at.
static void test_limits(void)
{
	cleanup_buf struct buf a = { 0 };

	for (int over = -1; over <= 1; over++) {
		add_users(&a, 8188 + over);
		limit("entries of an ACL", over, &a, "extended attributes above 64 KiB");
	}
	add_users(&a, 8191);
	refused("8191 entries", &a, "extended attributes above 64 KiB");
	add_users(&a, 8192);
	refused("8192 entries", &a, "bad ACL");
}

int main(void)
{
	test_forms();
	test_refused();
	test_strangers();
	test_records();
	test_limits();
	return tap_end();
}
