// accel.c - makes the accelerated form of an image and delivers it
//
// Threads: while a layer is read (in the caller's thread, with intake's own), the one before is
// compressed by run_job's thread and pack's workers, and its blob, or the one before that, is uploaded by a
// sender's. A job belongs to its thread from start_job to end_job.
// SPDX-License-Identifier: Apache-2.0
#include "accel.h"

#include <fcntl.h>
#include <pthread.h>

#include "bootw.h"
#include "copy.h"
#include "desc.h"
#include "indexw.h"
#include "ingest.h"
#include "intake.h"
#include "json.h"
#include "log.h"
#include "progress.h"
#include "referrers.h"
#include "sender.h"

#define AHEAD_MIN_LAYER (32u << 20)
#define FRAME_LEVEL 9 // of zstd, at least: few bytes that every start waits for

struct accel_job {
	struct image *img;
	struct repo *dst;
	const struct accel_conf *conf;
	struct index_parts parts;
	struct desc *data; // of the layers that have data
	uint32_t n_data;
	int *kept;		   // data blob of each layer, or -1: with conf->keep_data
	struct desc boot, index;   // index: of the index section
	struct buf manifest;	   // ours
	struct sender *sending[2]; // the last two layers' blobs, older first; or NULL
	struct digest delivered;   // the last index under our tag
	bool is_delivered;
	struct accel_stats stats;
};

struct pack_conf accel_pack(unsigned threads)
{
	return (struct pack_conf){ .codec = CODEC_ZSTD,
		.level = ACCEL_ZSTD_LEVEL,
		.chunk_blocks = ACCEL_CHUNK_BLOCKS,
		.threads = threads };
}

// ---- layers ----

static int put_fd(struct accel_job *m, const struct desc *d, int fd)
{
	int r = repo_put_blob(m->dst, d, fd, NULL);

	return r < 0 ? r : 0;
}

static int place(void *arg, struct content *c)
{
	return pack_place(arg, c);
}

// A layer that has been read: its data space is compressed by a thread while the next layer is read, and
// uploaded by another.
struct job {
	struct accel_job *m;
	struct pack *pack;
	struct sender *sender;
	int spool, out;
	struct desc blob;
	int error;
	bool running;
	pthread_t thread;
};

static void has_grown(void *arg, uint64_t size)
{
	sender_grown(arg, size);
}

static void *run_job(void *arg)
{
	struct job *j = arg;

	j->error = pack_run(j->pack, j->spool, j->out);
	if (!j->error)
		pack_blob(j->pack, &j->blob.digest, &j->blob.size);
	// a layer without data (only directories, links, zeros) has no blob
	sender_complete(j->sender, &j->blob, steal_fd(&j->spool));
	return NULL;
}

// Has dst an accelerated form under our tag, so that it has most of the blobs too?
static bool made_before(const struct accel_job *m)
{
	struct manifest there = { 0 };
	bool yes;

	if (m->conf->same_place || !m->conf->tag)
		return tagindex_has_forms(&m->img->top);
	yes = !repo_get_manifest(m->dst, m->conf->tag, &there) && tagindex_has_forms(&there);
	manifest_fini(&there);
	return yes;
}

// Is it worth beginning to upload the blob of layer i before it is complete, although nobody knows then whether
// the registry has it already? Only of a large layer behind which little is left to be done meanwhile: an image's
// base, which others share, is not such a one.
static bool may_send_ahead(const struct accel_job *m, uint32_t i)
{
	const struct image *img = m->img;
	uint64_t size = img->layers[i].desc.size, rest = 0;

	for (uint32_t k = i + 1; k < img->n_layers; k++)
		rest += img->layers[k].desc.size;
	return m->dst->is_registry && size >= AHEAD_MIN_LAYER && rest < size / 4 && !made_before(m);
}

static void start_job(struct job *j, uint32_t i)
{
	j->sender = sender_start(j->m->dst, j->out, may_send_ahead(j->m, i));
	pack_on_growth(j->pack, has_grown, j->sender);
	j->running = !pthread_create(&j->thread, NULL, run_job, j);
	if (!j->running)
		run_job(j);
}

static void record_space(struct accel_job *m, const struct job *j, uint32_t i)
{
	const struct image_layer *l = &m->img->layers[i];
	struct fmt_space *sp = &m->parts.spaces[i];
	const struct fmt_chunk *c = pack_chunks(j->pack, &sp->chunks);

	buf_add(&m->parts.chunks, c, sp->chunks * sizeof *c);
	memcpy(sp->layer, l->desc.digest.b, sizeof sp->layer);
	memcpy(sp->diff_id, l->diff_id.b, sizeof sp->diff_id);
	sp->blocks = pack_blocks(j->pack);
	if (j->blob.size) {
		sp->blob_size = j->blob.size;
		memcpy(sp->blob, j->blob.digest.b, sizeof sp->blob);
		m->data[m->n_data++] = j->blob;
	}
	m->stats.decoded += (uint64_t)sp->blocks << BLOCK_SHIFT;
	m->stats.chunks += sp->chunks;
	m->stats.data += j->blob.size;
}

// The next blob, or NULL, goes to the end of those that are on their way; the first of them is waited for, so
// that what they keep on the disk is bounded. Only a registry can take two at once: an archive's bytes shall
// not depend on which comes first. 0 or -errno, logged.
static int send_next(struct accel_job *m, struct sender *next)
{
	int r;

	if (next && !m->dst->is_registry)
		return sender_end(next);
	r = sender_end(m->sending[0]);
	m->sending[0] = m->sending[1];
	m->sending[1] = next;
	return r;
}

// Until the last blob is where it belongs.
static int end_sending(struct accel_job *m)
{
	int r = send_next(m, NULL), e = send_next(m, NULL);

	return r ? r : e;
}

// Waits for layer i's job and takes its result; the job is empty then. Its blob may still be on its way.
static int end_job(struct accel_job *m, struct job *j, uint32_t i)
{
	int r, e;

	if (j->running)
		pthread_join(j->thread, NULL);
	r = j->error;
	if (!r)
		record_space(m, j, i);
	pack_free(j->pack);
	if (m->conf->keep_data && j->blob.size) {
		m->kept[i] = fcntl(j->out, F_DUPFD_CLOEXEC, 3);
		if (m->kept[i] < 0)
			r = warn_errno(-errno, "keep a data blob");
	}
	if (j->spool >= 0)
		close(j->spool);
	e = send_next(m, j->sender);
	if (!j->sender)
		close(j->out);
	return r ? r : e;
}

// Where layer i's contents are, or will be.
static int open_spool(const struct accel_job *m, uint32_t i)
{
	return m->conf->journal && m->conf->blocks[i] >= 0
		? fcntl(m->conf->blocks[i], F_DUPFD_CLOEXEC, 3)
		: scratch_file();
}

// Takes in layer i, `plain` (taken over; NULL: out of the journal), and lays out its data space: what
// must be done in order, since layers share contents with those below.
static int read_layer(struct accel_job *m, uint32_t i, struct stream *plain, struct job *ret)
{
	const struct image_layer *l = &m->img->layers[i];
	cleanup_fd int spool = open_spool(m, i), out = spool < 0 ? -1 : scratch_file();
	char name[DIGEST_STR_LEN];
	struct ingest in = { .tree = m->parts.tree,
		.space = i,
		.spool = spool,
		.share = true,
		.diff_id = &l->diff_id,
		.name = digest_str(&l->desc.digest, name) };
	struct pack *p;
	int r;

	if (out < 0) {
		stream_close(plain);
		return -EIO;
	}
	r = plain ? ingest_layer(&in, plain) : ingest_again(&in, m->conf->journal);
	if (r)
		return r;
	m->stats.shared += in.shared;
	p = pack_new(&m->conf->pack, i);
	r = tree_walk_layer(m->parts.tree, place, p);
	if (r) {
		pack_free(p);
		return r;
	}
	*ret = (struct job){ .m = m, .pack = p, .spool = steal_fd(&spool), .out = steal_fd(&out) };
	return 0;
}

static int make_each_layer(struct accel_job *m, struct intake *in)
{
	struct job job = { 0 };
	int r = 0;

	for (uint32_t i = 0; i < m->img->n_layers; i++) {
		struct image_layer *l = &m->img->layers[i];
		char what[64], hex[65];
		struct progress *p;
		struct job next;
		int e;

		snprintf(what, sizeof what, "layer %u/%u %.12s", i + 1, m->img->n_layers,
			digest_hex(&l->desc.digest, hex));
		p = progress_start(what, l->desc.size);
		r = read_layer(m, i, in ? intake_next(in) : NULL, &next);
		e = i ? end_job(m, &job, i - 1) : 0;
		if (r) {
			progress_end(p, "failed");
			return r;
		}
		job = next;
		job.error =
			e; // a failed layer below: nothing more is started, the job is only cleaned up
		if (!e)
			start_job(&job, i);
		progress_add(p, l->desc.size);
		progress_end(p, e ? "given up" : "read");
		if (e)
			break;
	}
	return m->img->n_layers ? end_job(m, &job, m->parts.n_spaces - 1) : r;
}

static int make_layers(struct accel_job *m)
{
	struct intake *in = m->conf->journal
		? NULL
		: intake_new(m->img->repo, m->img->layers, m->img->n_layers);
	int r = make_each_layer(m, in);

	intake_free(in);
	return r;
}

// ---- boot blob ----

static int make_frames(struct accel_job *m, const struct trace *t, int fd)
{
	cleanup_buf struct buf runs = { 0 };
	struct pack_conf pack = m->conf->pack;
	struct boot_source *src;
	struct index *ix;
	int r = index_build(&m->parts, &ix);

	if (r)
		return r;
	if (pack.codec == CODEC_ZSTD)
		pack.level = MAX(pack.level, FRAME_LEVEL);
	trace_runs(t, ix, &runs, &m->stats.trace);
	src = boot_source_new(ix, m->kept);
	r = boot_build((const struct fmt_run *)runs.data, runs.len / sizeof(struct fmt_run), &pack,
		boot_source_read, src, &m->parts, fd, &m->stats.frames);
	boot_source_free(src);
	index_free(ix);
	return r;
}

// The blob is the packed index, then the frames.
static int join_boot(struct accel_job *m, const struct buf *packed, int frames, int fd)
{
	cleanup_free uint8_t *p = xmalloc(1 << 18);
	struct sha256 h;
	int r = pwrite_full(fd, packed->data, packed->len, 0);

	sha256_init(&h);
	sha256_update(&h, packed->data, packed->len);
	for (uint64_t at = 0; at < m->stats.frames && !r;) {
		size_t n = MIN(m->stats.frames - at, 1u << 18);

		r = pread_full(frames, p, n, at);
		if (!r)
			r = pwrite_full(fd, p, n, packed->len + at);
		sha256_update(&h, p, n);
		at += n;
	}
	m->boot = (struct desc){ sha256_final(&h), packed->len + m->stats.frames };
	return r ? warn_errno(r, "write the boot blob") : 0;
}

int accel_boot(struct accel_job *m, const struct trace *t)
{
	cleanup_buf struct buf packed = { 0 };
	cleanup_fd int frames = scratch_file(), fd = frames < 0 ? -1 : scratch_file();
	struct index *ix;
	int r = fd < 0 ? -EIO : 0, e;

	m->parts.frames.len = m->parts.runs.len = 0;
	m->stats.frames = 0;
	m->stats.trace = (struct trace_stats){ 0 };
	if (!r && t)
		r = make_frames(m, t, frames);
	if (!r)
		r = index_build(&m->parts, &ix);
	if (r)
		return r;
	m->stats.nodes = index_nodes(ix);
	r = index_pack(ix, &packed);
	index_free(ix);
	if (r)
		return r;
	m->index = (struct desc){ sha256_of(packed.data, packed.len), packed.len };
	m->stats.index = packed.len;
	r = join_boot(m, &packed, frames, fd);
	if (!r)
		r = put_fd(m, &m->boot, fd);
	e = end_sending(m);
	return r ? r : e;
}

// ---- manifests ----

static void json_boot(struct buf *b, const struct accel_job *m)
{
	char s[DIGEST_STR_LEN], size[24];

	snprintf(size, sizeof size, "%llu", (unsigned long long)m->index.size);
	desc_open(b, NULL, MT_FCPULL_BOOT, &m->boot);
	json_open(b, "annotations", '{');
	json_put_str(b, ANN_INDEX_DIGEST, digest_str(&m->index.digest, s));
	json_put_str(b, ANN_INDEX_SIZE, size);
	json_close(b, '}');
	json_close(b, '}');
}

static struct desc original_desc(const struct image *img)
{
	return (struct desc){ img->man.digest, img->man.len };
}

// serial: of a referrer; 0 = none.
static void make_manifest(struct accel_job *m, uint64_t serial)
{
	struct desc original = original_desc(m->img);
	struct buf *b = &m->manifest;

	b->len = 0;
	json_open(b, NULL, '{');
	json_put_u64(b, "schemaVersion", 2);
	json_put_str(b, "mediaType", MT_OCI_MANIFEST);
	json_put_str(b, "artifactType", MT_FCPULL_IMAGE);
	desc_open(b, "config", MT_OCI_CONFIG, &m->img->config_desc);
	desc_put_data(b, m->img->config_json, m->img->config_len, FMT_INLINE_MAX);
	json_close(b, '}');
	json_open(b, "layers", '[');
	json_boot(b, m);
	for (uint32_t i = 0; i < m->n_data; i++) {
		desc_put(b, NULL, MT_FCPULL_DATA, &m->data[i]);
	}
	json_close(b, ']');
	desc_open(b, "subject", m->img->man.media_type, &original);
	desc_put_data(b, m->img->man.bytes, m->img->man.len, FMT_INLINE_MAX);
	json_close(b, '}');
	if (serial) {
		char text[24];

		snprintf(text, sizeof text, "%llu", (unsigned long long)serial);
		json_open(b, "annotations", '{');
		json_put_str(b, ANN_SERIAL, text);
		json_close(b, '}');
	}
	json_close(b, '}');
}

const struct buf *accel_manifest(struct accel_job *m)
{
	make_manifest(m, 0);
	return &m->manifest;
}

static int put_manifest(struct accel_job *m)
{
	make_manifest(m, 0);
	return repo_put_manifest(m->dst, NULL, MT_OCI_MANIFEST, m->manifest.data, m->manifest.len);
}

static struct form our_form(const struct accel_job *m)
{
	return (struct form){ m->img->man.digest, m->manifest.data, m->manifest.len };
}

static int make_index_json(struct buf *b, const struct accel_job *m)
{
	struct form f = our_form(m);

	if (m->conf->same_place && m->img->top_is_index)
		return tagindex_extend(b, &m->img->top, &f, 1, m->dst->name);
	tagindex_pair(b, m->img, &f, false);
	return 0;
}

// ---- delivery ----

static int copy_original(struct accel_job *m)
{
	const struct image *img = m->img;
	const char *mount = m->conf->mount_from;
	int r = copy_blob(img->repo, m->dst, &img->config_desc, mount, NULL);

	for (uint32_t i = 0; i < img->n_layers && !r; i++)
		r = copy_blob(img->repo, m->dst, &img->layers[i].desc, mount, NULL);
	return r ? r
		 : repo_put_manifest(
			   m->dst, NULL, img->man.media_type, img->man.bytes, img->man.len);
}

int accel_still_there(struct repo *repo, const char *tag, const struct digest *d)
{
	struct manifest now = { 0 };
	int r = repo_get_manifest(repo, tag, &now);

	if (!r && !digest_equal(&now.digest, d))
		r = warn_errno(-ECANCELED,
			"%s: %s was moved to another image during the conversion; run it again",
			repo->name, tag ? tag : "it");
	else if (r == -ENOENT)
		r = warn_errno(r, "%s: %s was removed during the conversion", repo->name,
			tag ? tag : "it");
	manifest_fini(&now);
	return r;
}

// Is the manifest of this serial what readers find already?
static bool is_listed(struct accel_job *m, uint64_t serial, const struct referrer *known)
{
	char s[DIGEST_STR_LEN];

	make_manifest(m, serial);
	m->delivered = sha256_of(m->manifest.data, m->manifest.len);
	return !strcmp(known->entry.digest, digest_str(&m->delivered, s));
}

// A registry lists every referrer that was ever pushed, in no order: so one that is to be used in
// place of others has a greater serial than all of them.
static int deliver_referrer(struct accel_job *m, struct digest *ret)
{
	const struct digest *original = &m->img->man.digest;
	struct referrer known = { 0 };
	uint64_t serial = 0;
	int r = referrers_find(m->dst, original, true, &known);

	free(steal(&known.entry.copy));
	if (r)
		return r;
	if (*known.entry.digest) {
		serial = known.serial;
		if (!is_listed(m, serial, &known) && serial++ == UINT64_MAX)
			return warn_errno(-ERANGE,
				"%s: a referrer has the greatest " ANN_SERIAL " that there is",
				m->dst->name);
	}
	if (!is_listed(m, serial, &known))
		r = referrers_put(m->dst, original, serial, m->manifest.data, m->manifest.len);
	*ret = m->delivered;
	return r;
}

int accel_put(struct accel_job *m, struct form *ret)
{
	int r = m->conf->same_place || m->is_delivered ? 0 : copy_original(m);

	if (!r)
		r = put_manifest(m);
	*ret = our_form(m);
	return r;
}

int accel_deliver(struct accel_job *m, struct digest *ret)
{
	struct form f;
	int r;
	cleanup_buf struct buf b = { 0 };

	if (m->conf->referrer)
		return deliver_referrer(m, ret);
	r = accel_put(m, &f);
	if (!r)
		r = make_index_json(&b, m);
	if (!r && (m->conf->same_place || m->is_delivered))
		r = accel_still_there(m->dst, m->conf->tag,
			m->is_delivered ? &m->delivered : &m->img->top.digest);
	if (!r)
		r = repo_put_manifest(
			m->dst, m->conf->tag ? m->conf->tag : "", MT_OCI_INDEX, b.data, b.len);
	if (r)
		return r;
	m->is_delivered = true;
	*ret = m->delivered = sha256_of(b.data, b.len);
	return 0;
}

// ---- the whole ----

int accel_layers(
	struct image *img, struct repo *dst, const struct accel_conf *conf, struct accel_job **ret)
{
	struct accel_job *m = xcalloc(1, sizeof *m);

	*m = (struct accel_job){ .img = img, .dst = dst, .conf = conf };
	m->parts = (struct index_parts){ .original = img->man.digest,
		.config = img->config_desc.digest,
		.n_spaces = img->n_layers };
	m->parts.tree = tree_new();
	m->parts.spaces = xcalloc(img->n_layers, sizeof *m->parts.spaces);
	m->data = xcalloc(img->n_layers, sizeof *m->data);
	m->kept = xcalloc(img->n_layers, sizeof *m->kept);
	for (uint32_t i = 0; i < img->n_layers; i++)
		m->kept[i] = -1;
	m->stats.original = image_layers_size(img);
	*ret = m;
	return make_layers(m);
}

struct accel_job *accel_made(struct image *img, struct repo *dst, const struct accel_conf *conf,
	const struct accel *form)
{
	struct accel_job *m = xcalloc(1, sizeof *m);

	*m = (struct accel_job){ .img = img, .dst = dst, .conf = conf };
	m->boot = form->boot;
	m->index = (struct desc){ form->index_digest, form->index_size };
	m->data = xcalloc(form->n_data, sizeof *m->data);
	for (uint32_t i = 0; i < form->n_data; i++)
		m->data[m->n_data++] = form->data[i];
	m->kept = xcalloc(img->n_layers, sizeof *m->kept);
	for (uint32_t i = 0; i < img->n_layers; i++)
		m->kept[i] = -1;
	return m;
}

const struct accel_stats *accel_stats(const struct accel_job *j)
{
	return &j->stats;
}

void accel_free(struct accel_job *m)
{
	if (!m)
		return;
	if (end_sending(m))
		debug("an upload has failed too"); // said already, and not what the caller stops for
	for (uint32_t i = 0; i < m->img->n_layers; i++)
		if (m->kept[i] >= 0)
			close(m->kept[i]);
	index_parts_fini(&m->parts);
	buf_fini(&m->manifest);
	free(m->data);
	free(m->kept);
	free(m);
}
