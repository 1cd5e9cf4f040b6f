// host.c - an image on this host
// SPDX-License-Identifier: Apache-2.0
#include "host.h"

#include "feed.h"
#include "format.h"
#include "indexw.h"
#include "kept.h"
#include "log.h"
#include "plain.h"
#include "seal.h"
#include "tagindex.h"

// ---- the manifests: asked for, or remembered ----

static enum image_want wanted(const struct host_opts *o)
{
	return o->original ? IMAGE_ORIGINAL : o->must_be_accelerated ? IMAGE_PROOF : IMAGE_ANY;
}

static bool is_bad(void *arg, const struct digest *form)
{
	const struct host_image *h = arg;
	cleanup_free char *why = kept_bad(h->store, form);

	return why;
}

// With `must_be_accelerated` somebody wants to know what is wrong with it.
static int open_in(
	struct host_image *h, struct repo *repo, const struct ref *ref, const struct host_opts *o)
{
	struct image_veto veto = { is_bad, h };

	return image_open_but(
		repo, ref, &o->platform, wanted(o), o->must_be_accelerated ? NULL : &veto, &h->img);
}

void host_refuse_form(struct host_image *h, const char *why)
{
	if (h->img && h->img->accel)
		kept_set_bad(h->store, &h->img->accel->man.digest, why);
}

static void say_why(struct host_image *h, const char *fmt, ...) printf_like(2, 3);
static void say_why(struct host_image *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(h->why_form, sizeof h->why_form, fmt, ap);
	va_end(ap);
}

// The form that the reference itself led to was left out when the image was resolved.
static void note_left_out(struct host_image *h)
{
	struct image *img = h->img;
	cleanup_free char *why = NULL;
	char s[DIGEST_STR_LEN];

	if (!img->left_out_error)
		return;
	digest_str(&img->left_out, s);
	if (img->left_out_error != -EPERM) {
		say_why(h, "accelerated form %s: %s", s, img->left_out_why);
		if (repo_is_content(img->left_out_error))
			kept_set_bad(h->store, &img->left_out, img->left_out_why);
		img->left_out_error = 0;
		return;
	}
	img->left_out_error = 0;
	why = kept_bad(h->store, &img->left_out);
	say_why(h, "accelerated form %s was found bad before: %s", s, why ? why : "");
	warn("%s: the accelerated form %s was found bad before (%s); the original is used; 'fcpull gc' forgets that",
		h->name, s, why ? why : "");
}

// Nobody is asked when all of the original is here already.
static bool asks_further(const struct host_image *h, const struct host_opts *o)
{
	struct digest known;

	return !o->original && !h->img->accel &&
		!(o->prefer_here && !store_local_index(h->store, &h->img->man.digest, &known));
}

// The accelerated form of an image whose reference does not list one. Here, and nowhere else, is the
// order of the places; what this host has made itself comes after them (next_form).
static int look_further(struct host_image *h, const struct ref *ref, const struct host_opts *o)
{
	struct image_veto veto = { is_bad, h };
	int r = 0;

	if (asks_further(h, o)) {
		// one that failed just now; of one found bad before nothing is said if another is found
		if (h->img->left_out_error != -EPERM)
			note_left_out(h);
		r = image_look_up(h->img, ref, wanted(o), o->must_be_accelerated ? NULL : &veto);
	}
	note_left_out(h);
	return r;
}

static int open_remote(struct host_image *h, const struct ref *ref, const struct host_opts *o)
{
	int r = repo_open(ref, &o->net, false, &h->repo);

	if (!r)
		r = open_in(h, h->repo, ref, o);
	return r ? r : look_further(h, ref, o);
}

static int open_stored(struct host_image *h, const struct host_opts *o)
{
	struct ref ref = { .transport = REF_OCI, .dir = h->store->path, .tag = h->key };
	struct manifest m = { 0 };
	int r;

	store_hold(h->store);
	// asked for quietly: not to know an image is no error
	r = repo_get_manifest(h->store->repo, h->key, &m);

	manifest_fini(&m);
	if (r)
		return r;
	r = open_in(h, h->store->repo, &ref, o);
	if (!r)
		note_left_out(h);
	if (!r && tagindex_is_local(&h->img->top))
		h->img->top.digest = h->img->man.digest;
	return r;
}

// What the name of an image stands for in the store. One whose accelerated form was looked up has no
// index that lists both, so here is one.
static int remember_name(struct host_image *h)
{
	const struct image *img = h->img;
	cleanup_buf struct buf b = { 0 };
	struct form f = { .original = img->man.digest };

	if (!img->looked_up || !img->accel)
		return repo_put_manifest(
			h->store->repo, h->key, img->top.media_type, img->top.bytes, img->top.len);
	f.manifest = img->accel->man.bytes;
	f.len = img->accel->man.len;
	tagindex_pair(&b, img, &f, true);
	return repo_put_manifest(h->store->repo, h->key, MT_OCI_INDEX, b.data, b.len);
}

static int remember(struct host_image *h)
{
	const struct image *img = h->img;
	struct repo *to = h->store->repo;
	int r = store_put(h->store, &img->config_desc.digest, img->config_json, img->config_len);

	if (!r)
		r = repo_put_manifest(to, NULL, img->man.media_type, img->man.bytes, img->man.len);
	if (!r && img->accel)
		r = repo_put_manifest(to, NULL, img->accel->man.media_type, img->accel->man.bytes,
			img->accel->man.len);
	// the name last: what it names is all there
	return r ? r : remember_name(h);
}

static int find_image(struct host_image *h, const struct ref *ref, const struct host_opts *o)
{
	int r;

	// a digest cannot move: what is known of it is true for ever
	if (ref->digest && !open_stored(h, o)) {
		info("%s is known to the store", h->name);
		return repo_open(ref, &o->net, false, &h->repo);
	}
	r = open_remote(h, ref, o);
	h->fresh = !r;
	if (!r)
		return 0;
	repo_close(h->repo);
	h->repo = NULL;
	if (!repo_is_silence(r) || open_stored(h, o))
		return r;
	warn("%s: the registry cannot be asked; the store's copy is used", h->name);
	h->offline = true;
	return repo_open(ref, &o->net, false, &h->repo);
}

// ---- the index ----

static int wrong_index(const struct host_image *h, const char *what)
{
	return warn_errno(-EBADMSG, "%s: the accelerated form's index %s", h->name, what);
}

// The index must speak of this very image, and of the blobs that the manifest lists.
static int match_index(const struct host_image *h, const struct index *ix)
{
	const struct image *img = h->img;
	struct digest original = index_original(ix), config = index_config(ix);
	uint32_t blob = 0;

	if (!digest_equal(&original, &img->man.digest) ||
		!digest_equal(&config, &img->config_desc.digest))
		return wrong_index(h, "belongs to another image");
	if (index_spaces(ix) != img->n_layers)
		return wrong_index(h, "has another number of layers");
	for (uint32_t i = 0; i < img->n_layers; i++) {
		struct space_view sp;

		index_space(ix, i, &sp);
		if (!digest_equal(&sp.layer, &img->layers[i].desc.digest) ||
			!digest_equal(&sp.diff_id, &img->layers[i].diff_id))
			return wrong_index(h, "has other layers");
		if (!sp.has_blob)
			continue;
		if (blob >= img->accel->n_data ||
			!digest_equal(&sp.blob, &img->accel->data[blob].digest) ||
			sp.blob_size != img->accel->data[blob].size)
			return wrong_index(h, "has other data blobs than the manifest");
		blob++;
	}
	if (blob != img->accel->n_data)
		return wrong_index(h, "has fewer data blobs than the manifest");
	return img->accel->index_size + index_frames_size(ix) == img->accel->boot.size
		? 0
		: wrong_index(h, "does not fit the boot blob's length");
}

// Chunks that only the maker's host had cannot be fetched.
static int all_fetchable(const struct host_image *h, const struct index *ix)
{
	for (uint32_t i = 0; i < index_chunks(ix); i++) {
		struct chunk_view c;

		index_chunk(ix, i, &c);
		if (c.codec == CODEC_STORED && !c.clen)
			return wrong_index(h, "has chunks without data");
	}
	return 0;
}

// The index section, from the store or the registry. *ret_rest: NULL, or the stream that has brought
// it, which goes on with the boot frames.
static int fetch_index(struct host_image *h, const struct accel *a, bool boot, char **ret,
	size_t *ret_len, struct stream **ret_rest)
{
	cleanup_stream struct stream *s = NULL;
	cleanup_free char *p = NULL;
	struct net_stats before;
	struct digest is;
	int r;

	if (!store_get(h->store, &a->index_digest, FMT_INDEX_PACKED_MAX, ret, ret_len))
		return 0;
	p = xmalloc(a->index_size);
	store_release(h->store);
	net_stats_get(&before);
	h->known_bytes = before.bytes_in + a->index_size;
	if (boot) {
		r = repo_open_blob(h->source, &a->boot, 0, &s);
		if (!r)
			r = stream_read_full(s, p, a->index_size);
	} else {
		r = repo_read_range(h->source, &a->boot, 0, p, a->index_size);
	}
	store_hold(h->store);
	if (r)
		return r;
	is = sha256_of(p, a->index_size);
	if (!digest_equal(&is, &a->index_digest))
		return wrong_index(h, "does not have the digest that the manifest gives");
	r = store_put(h->store, &is, p, a->index_size);
	if (r)
		return r;
	*ret = steal(&p);
	*ret_len = a->index_size;
	*ret_rest = steal(&s);
	return 0;
}

// The first frame that is not in the store, or the number of frames.
static uint32_t first_missing_frame(struct host_image *h)
{
	uint32_t n = index_frames(h->ix), frame, at = 0;
	struct digest key = index_boot_key(h->ix);
	struct space_file f;
	struct frame_view v;

	if (!n || store_space(h->store, &key, index_frames_blocks(h->ix), &f))
		return 0;
	for (frame = 0; frame < n; frame++, at += v.blocks) {
		index_frame(h->ix, frame, &v);
		if (!space_has(&f, at, v.blocks))
			break;
	}
	space_file_close(&f);
	return frame;
}

// Has what is missing of the boot stream sent to h->boot_fd. rest: the stream, at its first frame,
// taken over; or NULL, and one is asked for. Without it the image works as well.
static void follow_boot(struct host_image *h, struct stream *rest, const struct host_opts *o)
{
	const struct accel *a = h->img->accel;
	uint32_t first = first_missing_frame(h), n = index_frames(h->ix);
	struct frame_view v;

	if (first == n || (h->offline && !h->kept)) {
		stream_close(rest);
		return;
	}
	if (rest) {
		first = 0;
	} else {
		index_frame(h->ix, first, &v);
		if (repo_open_blob(h->source, &a->boot, a->index_size + v.off, &rest))
			return;
	}
	if (feed_start(rest, (struct net_opts *)&o->net, &h->boot_fd)) {
		stream_close(rest);
		return;
	}
	h->boot_first = first;
	stream_abandon(rest);
}

static int open_accelerated(struct host_image *h, const struct host_opts *o)
{
	cleanup_stream struct stream *rest = NULL;
	cleanup_free char *p = NULL;
	struct index *ix = NULL;
	size_t n;
	int r = fetch_index(h, h->img->accel, o->boot, &p, &n, &rest);

	if (!r)
		r = index_unpack(p, n, h->name, &ix);
	if (!r)
		r = match_index(h, ix);
	if (!r)
		r = all_fetchable(h, ix);
	if (r) {
		index_free(ix);
		return r;
	}
	h->ix = ix;
	h->index = h->img->accel->index_digest;
	h->form = "accelerated";
	if (o->boot)
		follow_boot(h, steal(&rest), o);
	return 0;
}

static int open_pulled(struct host_image *h)
{
	cleanup_free char *p = NULL;
	struct digest d, original;
	size_t n;
	int r = store_local_index(h->store, &h->img->man.digest, &d);

	if (!r)
		r = store_get(h->store, &d, FMT_INDEX_PACKED_MAX, &p, &n);
	if (!r)
		r = index_unpack(p, n, h->name, &h->ix);
	if (r)
		return r;
	original = index_original(h->ix);
	h->index = d;
	if (digest_equal(&original, &h->img->man.digest))
		return 0;
	index_free(h->ix);
	h->ix = NULL;
	return -EBADMSG;
}

// ---- which form ----

// A form that was made on this host and is still here. -ENOENT: none.
static int find_kept(struct host_image *h)
{
	struct ref own = { .transport = REF_OCI, .dir = h->store->path };
	struct manifest m = { 0 };
	char s[DIGEST_STR_LEN];
	struct kept k = { 0 };
	int r = kept_read(h->store, &h->img->man.digest, &k);

	if (!r && (!k.here || is_bad(h, &k.form)))
		r = -ENOENT;
	if (!r)
		r = repo_get_manifest(h->store->repo, digest_str(&k.form, s), &m);
	if (!r)
		r = image_add_form(h->img, &m);
	kept_fini(&k);
	if (r)
		return r;
	h->kept = true;
	r = repo_open(&own, &(struct net_opts){ 0 }, false, &h->source);
	if (!r)
		say_why(h, "made on this host, kept in the store");
	return r;
}

// The next accelerated form to try, into h->img->accel. 0, or -ENOENT: no more. The order is that of
// what they cost: a later place is asked only when all before it have none, or a bad one.
static int next_form(
	struct host_image *h, const struct ref *ref, const struct host_opts *o, unsigned *step)
{
	enum { PLACES = 3 }; // the reference itself, and the two of lookup.h

	if (*step < PLACES) {
		if ((*step)++ && h->fresh) {
			store_release(h->store);
			if (look_further(h, ref, o))
				debug("%s: no other form can be found", h->name);
			store_hold(h->store);
		}
		if (h->img->accel) {
			say_why(h,
				h->img->looked_up ? "found beside the reference"
						  : "listed under the same reference");
			return 0;
		}
		*step = PLACES;
	}
	return (*step)++ == PLACES ? find_kept(h) : -ENOENT;
}

static void leave_form(struct host_image *h)
{
	char s[DIGEST_STR_LEN];

	say_why(h, "accelerated form %s is not usable", digest_str(&h->img->accel->man.digest, s));
	image_drop_form(h->img);
	if (h->kept)
		repo_close(h->source);
	h->source = h->repo;
	h->kept = false;
}

static int open_form(struct host_image *h, const struct ref *ref, const struct host_opts *o)
{
	unsigned step = 0;
	int none = next_form(h, ref, o, &step);

	while (!none) {
		int r = open_accelerated(h, o);

		if (!r || o->must_be_accelerated)
			return r;
		if (repo_is_content(r))
			host_refuse_form(h, log_last());
		leave_form(h);
		none = next_form(h, ref, o, &step);
		warn("%s: the accelerated form is not usable; %s is used", h->name,
			none ? "the original" : "another");
	}
	return -ENOENT;
}

// All of the original is here and proved: nothing could be faster.
static bool is_here(struct host_image *h)
{
	if (open_pulled(h))
		return false;
	if (sealed_image(h->store, h->ix))
		return true;
	index_free(h->ix);
	h->ix = NULL;
	return false;
}

static int open_index(struct host_image *h, const struct ref *ref, const struct host_opts *o)
{
	int r;

	store_hold(h->store);
	h->source = h->repo;
	if (o->prefer_here && !o->must_be_accelerated && is_here(h)) {
		h->form = "original";
		say_why(h, "all of it is here%s",
			h->img->accel ? ", so the accelerated form is not needed" : "");
		h->lacks = !h->img->accel;
		return 0;
	}
	r = o->original ? -ENOENT : open_form(h, ref, o);
	if (r != -ENOENT || o->must_be_accelerated)
		return r;
	h->form = "original";
	h->lacks = !o->original;
	if (!*h->why_form)
		say_why(h, o->original ? "asked for" : "it has no accelerated form");
	if (!open_pulled(h) || o->metadata_only)
		return 0;
	if (h->offline)
		return warn_whole(-ENODATA,
			"%s has not been pulled and the registry cannot be asked", h->name);
	h->img->repo = h->repo;
	store_release(h->store);
	r = plain_pull(h->store, h->img, &h->ix);
	return r ? r : store_local_index(h->store, &h->img->man.digest, &h->index);
}

// The index names its blobs; where there is a manifest, match_index() has compared the two.
static void list_data(struct host_image *h)
{
	uint32_t n = index_spaces(h->ix), blobs = 0;

	h->data = xcalloc(n, sizeof *h->data);
	for (uint32_t i = 0; i < n; i++) {
		struct space_view sp;

		index_space(h->ix, i, &sp);
		if (sp.has_blob)
			h->data[blobs++] = (struct desc){ .digest = sp.blob, .size = sp.blob_size };
	}
}

// References to registries are names as the image-spec has them; a path is not, and a relative one
// would mean another place tomorrow: a layout's images are kept under the hash of the absolute path
// and the name.
static char *store_key(const struct ref *ref, const char *name)
{
	cleanup_free char *dir = NULL, *full = NULL;
	struct digest d;
	char hex[65];

	if (ref->transport == REF_DOCKER)
		return xstrdup(name);
	dir = realpath(ref->dir, NULL);
	full = xasprintf("%s\n%s\n%s", dir ? dir : ref->dir, ref->tag ? ref->tag : "",
		ref->digest ? ref->digest : "");
	d = sha256_of(full, strlen(full));
	return xasprintf("%s/%s", ref_transport_name(ref->transport), digest_hex(&d, hex));
}

int host_key(const char *reference, char **ret)
{
	cleanup_free char *name = NULL;
	struct ref ref;
	int r = ref_parse(reference, &ref);

	if (r)
		return r;
	name = ref_str(&ref);
	*ret = store_key(&ref, name);
	ref_fini(&ref);
	return 0;
}

// One of which nothing is known but its name. Both are the caller's when that is no error.
static int host_new(const char *reference, struct ref *ret_ref, struct host_image **ret)
{
	struct host_image *h;
	int r = ref_parse(reference, ret_ref);

	if (r)
		return r;
	h = xcalloc(1, sizeof *h);
	h->name = ref_str(ret_ref);
	h->begun = now_ns();
	h->boot_fd = -1;
	h->boot_first = UINT32_MAX;
	*ret = h;
	return 0;
}

int host_open(const char *reference, const struct host_opts *o, struct host_image **ret)
{
	struct host_image *h;
	struct ref ref;
	int r = host_new(reference, &ref, &h);

	if (r)
		return r;
	h->key = store_key(&ref, h->name);
	h->no_rescue = o->must_be_accelerated;
	r = store_open(o->root, &h->store);
	if (!r)
		r = find_image(h, &ref, o);
	if (!r && o->must_be_accelerated && !h->img->accel)
		r = warn_whole(-ENOENT,
			"%s has no accelerated form; make one with 'fcpull convert'", h->name);
	if (!r)
		r = open_index(h, &ref, o);
	// what turned out bad is not remembered
	if (!r && h->fresh)
		r = remember(h);
	ref_fini(&ref);
	if (r) {
		host_close(h);
		return r;
	}
	if (h->ix)
		list_data(h);
	if (!o->metadata_only)
		store_touch(h->store, h->key);
	*ret = h;
	return 0;
}

static int open_known(
	struct host_image *h, const struct ref *ref, bool accelerated, const struct host_opts *o)
{
	struct ref own = { .transport = REF_OCI, .dir = (char *)(uintptr_t)o->root };
	cleanup_free char *p = NULL;
	char str[DIGEST_STR_LEN];
	size_t n;
	int r = o->root_fd > 0 ? store_open_fd(o->root_fd, o->root, &h->store)
			       : store_open(o->root, &h->store);

	if (r)
		return r;
	store_hold(h->store);
	r = store_get(h->store, &h->index, FMT_INDEX_PACKED_MAX, &p, &n);
	if (r)
		return warn_errno(r, "%s: index %s in the store %s", h->name,
			digest_str(&h->index, str), log_quote(h->store->path));
	r = index_unpack(p, n, h->name, &h->ix);
	if (r)
		return r;
	list_data(h);
	h->kept = o->kept;
	r = !accelerated  ? 0
		: o->kept ? repo_open(&own, &o->net, false, &h->source)
			  : repo_open(ref, &o->net, false, &h->repo);
	if (!o->kept)
		h->source = h->repo;
	else if (!r && repo_open(ref, &o->net, false, &h->repo))
		h->repo = NULL; // (only the original's data would come from there, if need be)
	return r;
}

int host_open_index(const char *reference, const struct digest *index, bool accelerated,
	const struct host_opts *o, struct host_image **ret)
{
	struct host_image *h;
	struct ref ref;
	int r = host_new(reference, &ref, &h);

	if (r)
		return r;
	h->index = *index;
	h->form = accelerated ? "accelerated" : "original";
	r = open_known(h, &ref, accelerated, o);
	ref_fini(&ref);
	if (r) {
		host_close(h);
		return r;
	}
	*ret = h;
	return 0;
}

int host_start(struct host_image *h)
{
	bool accel = !strcmp(h->form, "accelerated");
	struct lazy_conf conf = { .ix = h->ix,
		.store = h->store,
		.repo = accel ? h->source : NULL,
		.data = h->data,
		.deadline_ns = h->deadline_ns,
		.stats = h->stats };
	int r;

	if (accel && !h->no_rescue)
		h->rescue = rescue_new(h->ix, h->store, h->repo, h->name);
	conf.rescue = h->rescue;
	h->sealed = h->trust_seal && sealed_image(h->store, h->ix);
	conf.proved = h->sealed;
	info("%s: the %s form is used%s%s", h->name, h->form, *h->why_form ? ": " : "",
		h->why_form);
	r = lazy_open(&conf, &h->lz);
	store_release(h->store); // the spaces are open
	return r;
}

void host_close(struct host_image *h)
{
	if (!h)
		return;
	if (h->lz && lazy_damaged(h->lz)) {
		struct digest original = index_original(h->ix);

		store_forget_local_index(h->store, &original);
	}
	lazy_close(h->lz);
	rescue_free(h->rescue);
	if (h->kept)
		repo_close(h->source);
	stats_free(h->stats);
	if (h->boot_fd >= 0)
		close(h->boot_fd);
	index_free(h->ix);
	image_free(h->img);
	repo_close(h->repo);
	store_close(h->store);
	free(h->data);
	free(h->name);
	free(h->key);
	free(h);
}
