// accelman.c - reads an accelerated manifest (doc/format.md 1)
// SPDX-License-Identifier: Apache-2.0
#include "accelman.h"

#include "desc.h"
#include "format.h"
#include "json.h"
#include "log.h"

void accelman_free(struct accel *a)
{
	if (!a)
		return;
	manifest_fini(&a->man);
	free(a->data);
	free(a);
}

void accelman_fini(struct accelman *f)
{
	accelman_free(f->accel);
	free(f->subject_copy);
	free(f->config_copy);
	*f = (struct accelman){ 0 };
}

static int read_boot(const char *where, yyjson_val *v, struct accel *a)
{
	yyjson_val *ann = json_obj(v, "annotations");
	const char *size = json_str(ann, ANN_INDEX_SIZE);
	char type[128], *end;
	int r = desc_read(v, where, &a->boot, type);

	if (r)
		return r;
	if (strcmp(type, MT_FCPULL_BOOT))
		return warn_errno(-EBADMSG,
			"%s: accelerated manifest: the first layer is no boot blob", where);
	r = desc_read_digest(ann, ANN_INDEX_DIGEST, where, &a->index_digest);
	if (r)
		return r;
	a->index_size = size && *size >= '0' && *size <= '9' ? strtoull(size, &end, 10) : 0;
	if (!a->index_size || *end || a->index_size > a->boot.size ||
		a->index_size > FMT_INDEX_PACKED_MAX)
		return warn_errno(-EBADMSG, "%s: accelerated manifest: bad " ANN_INDEX_SIZE, where);
	return 0;
}

static int read_data(const char *where, yyjson_val *arr, struct accel *a)
{
	yyjson_arr_iter it;
	yyjson_val *v;
	int r = 0;

	a->data = xcalloc(yyjson_arr_size(arr), sizeof *a->data);
	yyjson_arr_iter_init(arr, &it);
	yyjson_arr_iter_next(&it); // the boot blob
	while (!r && (v = yyjson_arr_iter_next(&it))) {
		char type[128];

		r = desc_read(v, where, &a->data[a->n_data++], type);
		if (!r && strcmp(type, MT_FCPULL_DATA))
			r = warn_errno(-EBADMSG, "%s: accelerated manifest: a layer of type %s",
				where, log_quote(type));
	}
	return r;
}

int accelman_parse(const char *where, struct accelman *f)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct accel *a = f->accel;
	yyjson_val *root, *layers;
	const char *type;
	char mt[128];
	int r = json_parse(a->man.bytes, a->man.len, where, &doc);

	if (r)
		return r;
	root = json_root(doc);
	type = json_str(root, "artifactType");
	if (!type || strcmp(type, MT_FCPULL_IMAGE))
		return warn_errno(-EBADMSG,
			"%s: accelerated manifest: artifactType is not " MT_FCPULL_IMAGE, where);
	r = desc_read_digest(json_obj(root, "subject"), "digest", where, &f->subject.digest);
	if (!r)
		r = desc_read(json_obj(root, "config"), where, &f->config, mt);
	if (r)
		return r;
	layers = json_arr(root, "layers");
	if (!layers || !yyjson_arr_size(layers) || yyjson_arr_size(layers) > FMT_SPACES_MAX + 1)
		return warn_errno(
			-EBADMSG, "%s: accelerated manifest: no layers, or more than 512", where);
	r = read_boot(where, yyjson_arr_get_first(layers), a);
	if (!r)
		r = read_data(where, layers, a);
	if (r)
		return r;
	f->config_copy = desc_inline(json_obj(root, "config"), where);
	f->subject_copy = desc_inline(json_obj(root, "subject"), where);
	return f->subject_copy ? desc_read(json_obj(root, "subject"), where, &f->subject, mt) : 0;
}
