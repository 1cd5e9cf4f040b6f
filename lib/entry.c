// entry.c - what an index lists, and which of it is ours
// SPDX-License-Identifier: Apache-2.0
#include "entry.h"

#include "format.h"
#include "log.h"

const char *entry_original(yyjson_val *v)
{
	return json_str(json_obj(v, "annotations"), ANN_ORIGINAL);
}

bool entry_is_ours(yyjson_val *v)
{
	const char *t = json_str(v, "artifactType");

	return entry_original(v) || (t && !strcmp(t, MT_FCPULL_IMAGE));
}

int entry_read(yyjson_val *v, const char *where, struct entry *ret)
{
	struct entry e = { 0 };
	struct desc d;
	int r = desc_read(v, where, &d, e.media_type);

	if (r)
		return r;
	e.size = d.size;
	digest_str(&d.digest, e.digest);
	e.copy = desc_inline(v, where);
	*ret = e;
	return 0;
}

int entry_find_accel(yyjson_val *index, const char *original, const char *where, struct entry *ret)
{
	yyjson_val *arr = json_arr(index, "manifests"), *v;
	struct entry found = { 0 };
	yyjson_arr_iter it;
	int r = 0;

	yyjson_arr_iter_init(arr, &it);
	while (!r && (v = yyjson_arr_iter_next(&it))) {
		const char *of = entry_original(v);
		struct entry e = { 0 };

		if (!of || strcmp(of, original))
			continue;
		r = entry_read(v, where, &e);
		if (!r && *found.digest && strcmp(e.digest, found.digest))
			r = warn_errno(-EBADMSG,
				"%s: the index has two accelerated forms of one image", where);
		if (r || *found.digest)
			free(e.copy);
		else
			found = e;
	}
	if (r) {
		free(found.copy);
		return r;
	}
	*ret = found;
	return 0;
}
