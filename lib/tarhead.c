// tarhead.c - one header block of a tar archive: its numbers, its checksum, its names
// SPDX-License-Identifier: Apache-2.0
#include "tarhead.h"

//
// Fields of a header.
//

// GNU's base-256: the top bit marks it, what follows is a big-endian two's complement number.
static bool parse_binary(const char *p, size_t n, int64_t *ret)
{
	int64_t v = (p[0] & 0x7f) - (p[0] & 0x40 ? 0x80 : 0);

	for (size_t i = 1; i < n; i++)
		if (__builtin_mul_overflow(v, 256, &v) ||
			__builtin_add_overflow(v, (uint8_t)p[i], &v))
			return false;
	*ret = v;
	return true;
}

// Octal, with spaces before, ended by a space, a NUL or the field's end; an empty field is 0.
// What stands behind a NUL is not looked at (nobody does); digits behind a space are refused.
static bool parse_octal(const char *p, size_t n, int64_t *ret)
{
	const char *end = p + strnlen(p, n);
	int64_t v = 0;

	while (p < end && *p == ' ')
		p++;
	for (; p < end && *p >= '0' && *p <= '7'; p++)
		if (__builtin_mul_overflow(v, 8, &v) || __builtin_add_overflow(v, *p - '0', &v))
			return false;
	while (p < end && *p == ' ')
		p++;
	*ret = v;
	return p == end;
}

bool tarhead_number(const char *p, size_t n, int64_t *ret)
{
	return *p & 0x80 ? parse_binary(p, n, ret) : parse_octal(p, n, ret);
}

void tarhead_put(char *field, size_t n, uint64_t v)
{
	if (v >> 3 * (n - 1))
		v = 0;
	field[n - 1] = 0;
	for (size_t i = n - 1; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
}

void tarhead_seal(union tar_block *b)
{
	unsigned sum = 0;

	memcpy(b->h.magic,
		"ustar\0"
		"00",
		8);
	memset(b->h.chksum, ' ', sizeof b->h.chksum);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += b->bytes[i];
	tarhead_put(b->h.chksum, 7, sum); // and the space after the NUL
}

bool tarhead_is_gnu(const struct tar_header *h)
{
	return !memcmp(h->magic, "ustar  ", 8);
}

bool tarhead_is_ustar(const struct tar_header *h)
{
	return !memcmp(h->magic, "ustar", 6);
}

// POSIX sums unsigned bytes; some old tars summed signed ones.
bool tarhead_checksum_ok(const union tar_block *b)
{
	int64_t want, sum = 0, signed_sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++) {
		bool in_sum = i >= offsetof(struct tar_header, chksum) &&
			i < offsetof(struct tar_header, type);
		uint8_t c = in_sum ? ' ' : b->bytes[i];

		sum += c;
		signed_sum += (int8_t)c;
	}
	return TARHEAD_NUMBER(b->h.chksum, &want) && (want == sum || want == signed_sum);
}

bool tarhead_all_zero(const union tar_block *b)
{
	return !b->bytes[0] && !memcmp(b->bytes, b->bytes + 1, TAR_BLOCK - 1);
}

//
// Names.
//

// Writes the canonical form of a path (see struct tar_entry) to out[TAR_PATH_MAX + 1].
const char *tarhead_canonical(const char *s, size_t n, char *out, size_t *ret_len)
{
	const char *end = s + n;
	size_t len = 0, depth = 0;

	if (memchr(s, 0, n))
		return "NUL in a name";
	while (s < end) {
		const char *slash = memchr(s, '/', (size_t)(end - s));
		size_t k = (size_t)((slash ? slash : end) - s);

		if (k == 2 && s[0] == '.' && s[1] == '.')
			return "'..' in a name";
		if (k > TAR_NAME_MAX)
			return "part of a name longer than 255 bytes";
		if (k && !(k == 1 && *s == '.')) {
			if (len + (len > 0) + k > TAR_PATH_MAX)
				return "name longer than 4096 bytes";
			if (++depth > TAR_DEPTH_MAX)
				return "name deeper than 256 directories";
			if (len)
				out[len++] = '/';
			memcpy(out + len, s, k);
			len += k;
		}
		s += k + (slash != NULL);
	}
	out[len] = 0;
	*ret_len = len;
	return NULL;
}

// The header's own name: ustar has a prefix (star's is shorter), GNU and V7 do not.
size_t tarhead_name(const struct tar_header *h, char out[static TARHEAD_NAME_MAX])
{
	bool star = !memcmp(h->pad + 8, "tar", 4);
	size_t n = tarhead_is_ustar(h) ? strnlen(h->prefix, star ? 131 : sizeof h->prefix) : 0;
	size_t k = strnlen(h->name, sizeof h->name);

	memcpy(out, h->prefix, n);
	if (n)
		out[n++] = '/';
	memcpy(out + n, h->name, k);
	return n + k;
}
