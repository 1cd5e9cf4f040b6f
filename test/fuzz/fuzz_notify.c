// fuzz_notify.c - notifications and requests that the service is sent; what they name must be printable
// and stand in a reference; and files of its queue
// SPDX-License-Identifier: Apache-2.0
#include "job.h"
#include "log.h"
#include "notify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_name(const struct push *p)
{
	if (!ref_is_repo(p->repo) || !ref_is_tag(p->tag) || strpbrk(p->host, "/@ <>&\"'\\\n"))
		abort();
}

static void try_job(const char *text, size_t size)
{
	cleanup_buf struct buf b = { 0 };
	struct job j, again;

	if (job_parse(text, size, "fuzz", &j))
		return;
	json_open(&b, NULL, '{');
	job_put(&b, &j);
	json_close(&b, '}');
	if (job_parse((const char *)b.data, b.len, "fuzz", &again) ||
		strcmp(j.image, again.image) || j.state != again.state || j.due != again.due)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *copy = xmalloc(size); // the very end is guarded then
	char platform[NOTIFY_PLATFORM_MAX];
	struct pushes ps;
	const char *why;
	struct push p;

	log_level = LOG_QUIET;
	memcpy(copy, data, size);
	if (!notify_parse(copy, size, &ps, &why))
		for (size_t i = 0; i < ps.n; i++)
			must_be_name(&ps.v[i]);
	pushes_fini(&ps);
	if (!notify_parse_request(copy, size, &p, platform, &why))
		must_be_name(&p);
	try_job(copy, size);
	return 0;
}
