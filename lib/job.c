// job.c - one conversion that the service was asked for, to and from JSON
// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include "hash.h"
#include "log.h"

const char *const job_state_names[JOB_STATES] = { "queued", "running", "done", "parked" };

void job_id(const char *image, const char *platform, char ret[static JOB_ID_LEN + 1])
{
	cleanup_free char *text = xasprintf("%s %s", image, platform);
	struct digest d = sha256_of(text, strlen(text));
	char hex[65];

	memcpy(ret, digest_hex(&d, hex), JOB_ID_LEN);
	ret[JOB_ID_LEN] = 0;
}

bool job_is_id(const char *s, size_t n)
{
	if (n != JOB_ID_LEN)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!strchr("0123456789abcdef", s[i]) || !s[i])
			return false;
	return true;
}

static void put_result(struct buf *b, const struct job_result *r)
{
	json_open(b, "result", '{');
	json_put_str(b, "outcome", r->outcome);
	json_put_str(b, "digest", r->digest);
	json_put_u64(b, "size", r->size);
	json_put_u64(b, "decodedSize", r->decoded);
	json_put_u64(b, "dataSize", r->data);
	json_put_u64(b, "indexSize", r->index);
	json_put_u64(b, "bootSize", r->boot);
	json_put_u64(b, "entries", r->entries);
	json_close(b, '}');
}

void job_put(struct buf *b, const struct job *j)
{
	json_put_str(b, "id", j->id);
	json_put_str(b, "image", j->image);
	json_put_str(b, "platform", j->platform);
	json_put_str(b, "state", job_state_names[j->state]);
	json_put_str(b, "digest", j->digest);
	json_put_bool(b, "again", j->again);
	json_put_str(b, "againDigest", j->again_digest);
	json_put_u64(b, "attempts", j->attempts);
	json_put_u64(b, "interrupted", j->interrupted);
	json_put_i64(b, "created", j->created);
	json_put_i64(b, "due", j->due);
	json_put_i64(b, "started", j->started);
	json_put_i64(b, "finished", j->finished);
	json_put_str(b, "error", j->error);
	if (j->state == JOB_DONE)
		put_result(b, &j->result);
}

// ---- and back ----

static bool get_text(yyjson_val *v, const char *key, char *ret, size_t size)
{
	const char *s = json_str(v, key);

	if (!s || strlen(s) >= size)
		return false;
	memcpy(ret, s, strlen(s) + 1);
	return true;
}

static bool get_state(yyjson_val *v, enum job_state *ret)
{
	const char *s = json_str(v, "state");

	for (int i = 0; s && i < JOB_STATES; i++)
		if (!strcmp(s, job_state_names[i])) {
			*ret = i;
			return true;
		}
	return false;
}

static bool get_u32(yyjson_val *v, const char *key, uint32_t *ret)
{
	uint64_t n;

	if (json_u64(v, key, &n) || n > UINT32_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static bool get_result(yyjson_val *v, struct job_result *r)
{
	return v && get_text(v, "outcome", r->outcome, sizeof r->outcome) &&
		get_text(v, "digest", r->digest, sizeof r->digest) &&
		!json_u64(v, "size", &r->size) && !json_u64(v, "decodedSize", &r->decoded) &&
		!json_u64(v, "dataSize", &r->data) && !json_u64(v, "indexSize", &r->index) &&
		!json_u64(v, "bootSize", &r->boot) && !json_u64(v, "entries", &r->entries);
}

static bool get_job(yyjson_val *v, struct job *j)
{
	char id[JOB_ID_LEN + 1];

	if (!get_text(v, "id", j->id, sizeof j->id) ||
		!get_text(v, "image", j->image, sizeof j->image) ||
		!get_text(v, "platform", j->platform, sizeof j->platform) ||
		!get_state(v, &j->state) || !get_text(v, "digest", j->digest, sizeof j->digest) ||
		!get_text(v, "againDigest", j->again_digest, sizeof j->again_digest) ||
		!get_text(v, "error", j->error, sizeof j->error))
		return false;
	j->again = json_bool(v, "again", false);
	job_id(j->image, j->platform, id);
	return !strcmp(id, j->id) && get_u32(v, "attempts", &j->attempts) &&
		get_u32(v, "interrupted", &j->interrupted) &&
		!json_i64(v, "created", &j->created) && !json_i64(v, "due", &j->due) &&
		!json_i64(v, "started", &j->started) && !json_i64(v, "finished", &j->finished) &&
		(j->state != JOB_DONE || get_result(json_obj(v, "result"), &j->result));
}

int job_parse(const char *text, size_t n, const char *name, struct job *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	int r = json_parse(text, n, name, &doc);

	*ret = (struct job){ 0 };
	if (r)
		return r;
	return get_job(json_root(doc), ret)
		? 0
		: warn_errno(-EBADMSG, "%s is no job of a queue, or of another version", name);
}
