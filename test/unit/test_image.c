// test_image.c - references to images: indexes, platforms, manifests, configs and accelerated
// forms, good and bad
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/image.c"

#include "mockrepo.h"
#include "said.h"
#include "tap.h"

// ---- documents ----

#define M "application/vnd.oci.image.manifest.v1+json"
#define I "application/vnd.oci.image.index.v1+json"
#define C "application/vnd.oci.image.config.v1+json"
#define L "application/vnd.oci.image.layer.v1.tar+gzip"
#define D(c) "sha256:" D8(c) D8(c) D8(c) D8(c) D8(c) D8(c) D8(c) D8(c)
#define D8(c) c c c c c c c c

#define LAYER "{\"mediaType\":\"" L "\",\"digest\":\"" D("2") "\",\"size\":10}"
#define DIFFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D("1") "\"]}"
#define SETTINGS                                                                                              \
	"\"config\":{\"User\":\"1:2\",\"Env\":[\"A=b\",\"B\"],\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\",\"d\"]," \
	"\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGINT\"}"
#define CONFIG \
	"{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2020\"," SETTINGS "," DIFFS "}"
#define MANIFEST(config)                                                              \
	"{\"schemaVersion\":2,\"mediaType\":\"" M "\",\"config\":{\"mediaType\":\"" C \
	"\",\"digest\":\"@" config "\",\"size\":#" config "},\"layers\":[" LAYER "]}"
#define BOOT                                                                            \
	"{\"mediaType\":\"" MT_FCPULL_BOOT                                              \
	"\",\"digest\":\"" D("3") "\",\"size\":50,\"annotations\":{\"" ANN_INDEX_DIGEST \
				  "\":\"" D("4") "\",\"" ANN_INDEX_SIZE "\":\"40\"}}"
#define DATA "{\"mediaType\":\"" MT_FCPULL_DATA "\",\"digest\":\"" D("5") "\",\"size\":9}"
#define ACCEL(config, subject, layers)                                                          \
	"{\"schemaVersion\":2,\"mediaType\":\"" M "\",\"artifactType\":\"" MT_FCPULL_IMAGE      \
	"\",\"config\":{\"mediaType\":\"" C "\",\"digest\":\"@" config "\",\"size\":#" config   \
	"},\"layers\":[" layers "],\"subject\":{\"mediaType\":\"" M "\",\"digest\":\"@" subject \
	"\",\"size\":#" subject "}}"
#define ENTRY(n, os, arch, more)                                      \
	"{\"mediaType\":\"" M "\",\"digest\":\"@" n "\",\"size\":#" n \
	",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"" more "}}"
#define OURS(n, original)                                                                                  \
	"{\"mediaType\":\"" M "\",\"artifactType\":\"" MT_FCPULL_IMAGE "\",\"digest\":\"@" n               \
	"\",\"size\":#" n                                                                                  \
	",\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"},\"annotations\":{\"" ANN_ORIGINAL \
	"\":\"@" original "\"}}"
#define INDEX(entries) "{\"schemaVersion\":2,\"mediaType\":\"" I "\",\"manifests\":[" entries "]}"

static char said_text[8192];
static struct mock mock;

// Opens what docs[0] is; the messages are in said_text.
static int open_docs(const char *const *docs, size_t n, const char *platform, enum image_want want,
	struct image **ret)
{
	struct ref ref = { .tag = (char *)"t" };
	size_t len[MOCK_DOCS];
	struct platform p;
	int r;

	for (size_t i = 0; i < n; i++)
		len[i] = strlen(docs[i]);
	mock_fini(&mock);
	mock_init(&mock);
	mock_add_docs(&mock, docs, len, n);
	if (platform_parse(platform, &p))
		abort();
	said_begin();
	r = image_open(&mock.repo, &ref, &p, want, ret);
	snprintf(said_text, sizeof said_text, "%s", said_end());
	return r;
}

#define OPEN(want, ret, ...)                                                                   \
	open_docs((const char *const[]){ __VA_ARGS__ },                                        \
		sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), "linux/amd64", want, \
		ret)

#define REFUSED(name, with, ...)                                                \
	do {                                                                    \
		struct image *img_;                                             \
		int r_ = OPEN(IMAGE_ANY, &img_, __VA_ARGS__);                   \
                                                                                \
		if (!r_)                                                        \
			image_free(img_);                                       \
		if (!ok(r_ == -EBADMSG && strstr(said_text, with), "%s", name)) \
			printf("# r=%d, said %s", r_, said_text);               \
	} while (0)

// The accelerated form is refused: an error when it is asked for, else the original is used, with a
// warning.
#define BROKEN(name, with, ...)                                                    \
	do {                                                                       \
		struct image *img_ = NULL;                                         \
		int r_ = OPEN(IMAGE_ACCELERATED, &img_, __VA_ARGS__);              \
		bool good_ = r_ == -EBADMSG && strstr(said_text, with);            \
                                                                                   \
		if (!r_)                                                           \
			image_free(img_);                                          \
		r_ = OPEN(IMAGE_ANY, &img_, __VA_ARGS__);                          \
		good_ = good_ && !r_ && !img_->accel && strstr(said_text, with) && \
			strstr(said_text, "the original is used");                 \
		if (!r_)                                                           \
			image_free(img_);                                          \
		r_ = OPEN(IMAGE_ORIGINAL, &img_, __VA_ARGS__);                     \
		good_ = good_ && !r_ && !img_->accel && !*said_text;               \
		if (!r_)                                                           \
			image_free(img_);                                          \
		if (!ok(good_, "%s", name))                                        \
			printf("# r=%d, said %s", r_, said_text);                  \
	} while (0)

// ---- good ones ----

static void test_single(void)
{
	struct image *img;

	if (!ok(!OPEN(IMAGE_ANY, &img, MANIFEST("1"), CONFIG), "a manifest"))
		return;
	ok(!img->top_is_index && img->n_layers == 1 && img->layers[0].desc.size == 10 &&
			img->layers[0].diff_id.b[0] == 0x11 &&
			!strcmp(img->layers[0].media_type, L) && !img->accel,
		"its layers");
	ok(!strcmp(img->config.user, "1:2") && !strcmp(img->config.workdir, "/w") &&
			!strcmp(img->config.stop_signal, "SIGINT") &&
			!strcmp(img->config.created, "2020") && img->config.n_env == 2 &&
			img->config.n_cmd == 2 && img->config.n_entrypoint == 1 &&
			!strcmp(img->config.cmd[1], "d") && !img->config.cmd[2],
		"its config");
	ok(!strcmp(img->platform.arch, "amd64") && image_layers_size(img) == 10, "its platform");
	image_free(img);
	ok(OPEN(IMAGE_ACCELERATED, &img, MANIFEST("1"), CONFIG) == -ENOENT &&
			strstr(said_text, "fcpull convert"),
		"it is not accelerated");
	ok(!OPEN(IMAGE_ANY, &img, MANIFEST("1"), "{" DIFFS "}"), "a config with nothing in it");
	ok(!img->config.user && !img->config.cmd && !img->config.n_env && !*img->platform.os,
		"has nothing in it");
	image_free(img);
	ok(!OPEN(IMAGE_ANY, &img, MANIFEST("1"), "{\"config\":null," DIFFS "}"), "config null");
	image_free(img);
	ok(!OPEN(IMAGE_ANY, &img, MANIFEST("1"),
		   "{\"config\":{\"User\":null,\"Cmd\":null,\"Env\":[],\"WorkingDir\":\"\"}," DIFFS
		   "}") &&
			!img->config.user && !img->config.workdir,
		"null and empty settings");
	image_free(img);
	struct ref ref = { .tag = (char *)"nothing" };
	struct platform p = { "linux", "amd64", "" };

	said_begin();
	int r = image_open(&mock.repo, &ref, &p, IMAGE_ANY, &img);

	ok(strstr(said_end(), "mock has no image nothing") && r == -ENOENT,
		"a tag that is not there");
}

static void test_accelerated(void)
{
	struct image *img;

	ok(!OPEN(IMAGE_ACCELERATED, &img,
		   INDEX(ENTRY("2", "linux", "amd64", "") "," OURS("1", "2")),
		   ACCEL("3", "2", BOOT "," DATA), MANIFEST("3"), CONFIG) &&
			img->top_is_index && img->accel && img->accel->n_data == 1 &&
			img->accel->index_size == 40 && img->accel->boot.size == 50 &&
			img->accel->data[0].size == 9,
		"an index with both forms");
	image_free(img);
	ok(!OPEN(IMAGE_ORIGINAL, &img, INDEX(ENTRY("2", "linux", "amd64", "") "," OURS("1", "2")),
		   ACCEL("3", "2", BOOT "," DATA), MANIFEST("3"), CONFIG) &&
			!img->accel,
		"the original only");
	image_free(img);
	ok(!OPEN(IMAGE_ANY, &img, ACCEL("2", "1", BOOT), MANIFEST("2"), CONFIG) && img->accel &&
			!img->accel->n_data && !digest_equal(&img->man.digest, &img->top.digest),
		"an accelerated manifest by itself");
	image_free(img);
	ok(!OPEN(IMAGE_ORIGINAL, &img, ACCEL("2", "1", BOOT), MANIFEST("2"), CONFIG) && !img->accel,
		"and its original only");
	image_free(img);
	ok(!OPEN(IMAGE_ANY, &img, INDEX(ENTRY("2", "linux", "amd64", "") "," OURS("1", "4")),
		   ACCEL("3", "2", BOOT), MANIFEST("3"), CONFIG, "{\"config\":{}}") &&
			!img->accel,
		"one of another image is not looked at");
	image_free(img);
}

// ---- inline copies ----

#define ACCEL_INLINE(config, subject, config_data, subject_data)                              \
	"{\"schemaVersion\":2,\"mediaType\":\"" M "\",\"artifactType\":\"" MT_FCPULL_IMAGE    \
	"\",\"config\":{\"mediaType\":\"" C "\",\"digest\":\"@" config "\",\"size\":#" config \
	",\"data\":" config_data "},\"layers\":[" BOOT "],\"subject\":{\"mediaType\":\"" M    \
	"\",\"digest\":\"@" subject "\",\"size\":#" subject ",\"data\":" subject_data "}}"
#define OURS_INLINE(n, original, data)                                                       \
	"{\"mediaType\":\"" M "\",\"artifactType\":\"" MT_FCPULL_IMAGE "\",\"digest\":\"@" n \
	"\",\"size\":#" n ",\"annotations\":{\"" ANN_ORIGINAL "\":\"@" original              \
	"\"},\"data\":" data "}"
#define AMD64 ENTRY("2", "linux", "amd64", "")

// Opens, and says whether it took so many requests, with or without a warning.
static bool took(int r, struct image **to, unsigned asked, bool warned)
{
	struct image *img = *to;
	bool good = !r && img->accel && mock.asked == asked &&
		(strstr(said_text, "inline copy") != NULL) == warned &&
		img->config_len == strlen(img->config_json) && !strcmp(img->config.user, "1:2") &&
		img->man.len == strlen(img->man.bytes);

	if (!good)
		printf("# r=%d, %u requests, said %s\n", r, mock.asked, said_text);
	if (!r)
		image_free(img);
	return good;
}
#define TOOK(asked, warned, ...) took(OPEN(IMAGE_ANY, &img, __VA_ARGS__), &img, asked, warned)

static void test_inline(void)
{
	static const char *const wrong[] = { "\"~4\"", "\"\"", "\"=\"", "\"A\"", "\"~3=\"",
		"\"~3AAAA\"", "\" ~3\"", "\"\\u0000\"", "7", "null", "[\"~3\"]" };
	struct image *img = NULL;

	ok(TOOK(1, false, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"~1\"")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG),
		"all inline: one request");
	ok(took(OPEN(IMAGE_ACCELERATED, &img, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"~1\"")),
			ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG),
		   &img, 4, false),
		"but who wants proof reads each object: four");
	ok(TOOK(2, false, INDEX(AMD64 "," OURS("1", "2")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG),
		"the index's copy was dropped: two");
	ok(TOOK(4, false, INDEX(AMD64 "," OURS("1", "2")), ACCEL("3", "2", BOOT), MANIFEST("3"),
		   CONFIG),
		"no copies: four");
	ok(TOOK(1, false, ACCEL_INLINE("2", "1", "\"~2\"", "\"~1\""), MANIFEST("2"), CONFIG),
		"an accelerated manifest by itself: one");
	ok(TOOK(2, true, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"~3\"")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG),
		"a wrong one of the accelerated manifest is fetched");
	ok(TOOK(2, true, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"~1\"")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~4\""), MANIFEST("3"), CONFIG, "x"),
		"a wrong one of the original's manifest");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		cleanup_free char *accel =
			xasprintf("{\"artifactType\":\"" MT_FCPULL_IMAGE
				  "\",\"config\":{\"digest\":\"@3\",\"size\":#3,"
				  "\"data\":%s},\"layers\":[" BOOT
				  "],\"subject\":{\"digest\":\"@2\",\"size\":#2}}",
				wrong[i]);
		bool is_text = wrong[i][0] == '"' && !strstr(wrong[i], "u0000");

		ok(TOOK(4, is_text, INDEX(AMD64 "," OURS("1", "2")), accel, MANIFEST("3"), CONFIG,
			   "x"),
			"a wrong one of the config: %s", wrong[i]);
	}
	ok(!OPEN(IMAGE_ORIGINAL, &img, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"!\"")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG) &&
			!*said_text && mock.asked == 3,
		"not looked at for the original");
	image_free(img);
}

// The right bytes under a wrong size: the copy must not pass for so many.
static void test_inline_sizes(void)
{
	struct image *img;

	ok(OPEN(IMAGE_ANY, &img,
		   INDEX("{\"mediaType\":\"" M
			 "\",\"digest\":\"@2\",\"size\":5000,\"platform\":{\"os\":"
			 "\"linux\",\"architecture\":\"amd64\"}}," OURS_INLINE("1", "2", "\"~1\"")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG) == -EBADMSG &&
			strstr(said_text, "but the index says 5000"),
		"the index says another size of the original");
	ok(OPEN(IMAGE_ANY, &img, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"~1\"")),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""),
		   "{\"schemaVersion\":2,\"mediaType\":\"" M "\",\"config\":{\"mediaType\":\"" C
		   "\",\"digest\":\"@3\",\"size\":5000},\"layers\":[" LAYER "]}",
		   CONFIG) == -EBADMSG,
		"the original says another size of its config");
	ok(OPEN(IMAGE_ACCELERATED, &img,
		   INDEX(AMD64 ",{\"mediaType\":\"" M
			       "\",\"digest\":\"@1\",\"size\":5000,\"annotations\":{\"" ANN_ORIGINAL
			       "\":\"@2\"},\"data\":\"~1\"}"),
		   ACCEL_INLINE("3", "2", "\"~3\"", "\"~2\""), MANIFEST("3"), CONFIG) == -EBADMSG &&
			strstr(said_text, "inline copy") &&
			strstr(said_text, "but the index says 5000"),
		"the index says another size of ours");
	ok(OPEN(IMAGE_ACCELERATED, &img, INDEX(AMD64 "," OURS_INLINE("1", "2", "\"~1\"")), "{}",
		   MANIFEST("3"), CONFIG) == -EBADMSG,
		"a right copy of nonsense is refused as if it were fetched");
}

#define WITH(accel)                                                                               \
	INDEX(ENTRY("2", "linux", "amd64", "") "," OURS("1", "2")), accel, MANIFEST("3"), CONFIG, \
		"{" DIFFS "}"

static void test_broken(void)
{
	BROKEN("subject of another image", "made from another image", WITH(ACCEL("3", "4", BOOT)));
	BROKEN("config of another image", "made from another image", WITH(ACCEL("4", "2", BOOT)));
	BROKEN("more data blobs than layers", "made from another image",
		WITH(ACCEL("3", "2", BOOT "," DATA "," DATA)));
	BROKEN("no layers", "no layers", WITH(ACCEL("3", "2", "")));
	BROKEN("no boot blob", "no boot blob", WITH(ACCEL("3", "2", DATA)));
	BROKEN("two boot blobs", "a layer of type", WITH(ACCEL("3", "2", BOOT "," BOOT)));
	BROKEN("a layer of another type", "a layer of type", WITH(ACCEL("3", "2", BOOT "," LAYER)));
	BROKEN("artifactType", "artifactType", WITH(MANIFEST("3")));
#define BOOT_OF(size, ann)                                                               \
	"{\"mediaType\":\"" MT_FCPULL_BOOT "\",\"digest\":\"" D("3") "\",\"size\":" size \
								     ",\"annotations\":" ann "}"
#define ANN(size) "{\"" ANN_INDEX_DIGEST "\":\"" D("4") "\",\"" ANN_INDEX_SIZE "\":" size "}"
	BROKEN("no annotations", "digest", WITH(ACCEL("3", "2", BOOT_OF("50", "{}"))));
	BROKEN("annotations that are none", "digest", WITH(ACCEL("3", "2", BOOT_OF("50", "[]"))));
	BROKEN("index size of 0", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("50", ANN("\"0\"")))));
	BROKEN("index size as a number", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("50", ANN("40")))));
	BROKEN("index size with a sign", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("50", ANN("\"+4\"")))));
	BROKEN("index size with a tail", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("50", ANN("\"4x\"")))));
	BROKEN("index size above the blob's", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("50", ANN("\"51\"")))));
	BROKEN("index size of 2^64+4", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("50", ANN("\"18446744073709551620\"")))));
	BROKEN("index size of 256 MiB + 1", "bad dev.fcpull.index.size",
		WITH(ACCEL("3", "2", BOOT_OF("999999999", ANN("\"268435457\"")))));
	BROKEN("two accelerated forms that differ", "two accelerated forms",
		INDEX(ENTRY("2", "linux", "amd64", "") "," OURS("1", "2") "," OURS("4", "2")),
		ACCEL("3", "2", BOOT "," DATA), MANIFEST("3"), CONFIG, ACCEL("3", "2", BOOT));
	BROKEN("an accelerated manifest by itself, of another config", "made from another image",
		ACCEL("3", "1", BOOT), MANIFEST("2"), CONFIG, "{" DIFFS "}");
	BROKEN("its size", "but the index says",
		INDEX(ENTRY("2", "linux", "amd64",
			"") ","
			    "{\"mediaType\":\"" M "\",\"artifactType\":\"" MT_FCPULL_IMAGE
			    "\",\"digest\":\"@1\",\"size\":5,\"annotations\":{\"" ANN_ORIGINAL
			    "\":\"@2\"}}"),
		ACCEL("3", "2", BOOT), MANIFEST("3"), CONFIG);
	struct image *img = NULL;

	ok(!OPEN(IMAGE_ACCELERATED, &img,
		   INDEX(ENTRY("2", "linux", "amd64", "") "," OURS("1", "2") "," OURS("1", "2")),
		   ACCEL("3", "2", BOOT), MANIFEST("3"), CONFIG) &&
			img->accel,
		"the same one twice is one");
	image_free(img);
}

// ---- platforms ----

static const char *arch_of(const char *platform, const char *index)
{
	static char s[100];
	struct image *img;
	int r = open_docs((const char *const[]){ index, MANIFEST("4"), MANIFEST("3"),
				  "{\"architecture\":\"arm\",\"os\":\"linux\"," DIFFS "}", CONFIG },
		5, platform, IMAGE_ANY, &img);

	if (r)
		return r == -ENOENT ? said_text : "error";
	platform_str(&img->platform, s);
	image_free(img);
	return s;
}

static void test_platforms(void)
{
	static const char both[] =
		INDEX(ENTRY("2", "linux", "arm", ",\"variant\":\"v6\"") "," ENTRY(
			"2", "linux", "arm", ",\"variant\":\"v7\"") "," ENTRY("2", "linux", "arm64",
			",\"variant\":\"v8\"") "," ENTRY("1", "linux", "amd64", "") "," ENTRY("2",
			"windows", "amd64", ""));
	struct platform p;
	char s[100];

	ok(!strcmp(arch_of("linux/amd64", both), "linux/amd64"), "amd64");
	ok(!strcmp(arch_of("linux/arm", both), "linux/arm/v6"), "arm: the first one");
	ok(!strcmp(arch_of("linux/arm/v7", both), "linux/arm/v7"), "arm/v7");
	ok(!strcmp(arch_of("linux/arm64", both), "linux/arm64") &&
			!strcmp(arch_of("linux/arm64/v8", both), "linux/arm64"),
		"arm64, which is arm64/v8");
	ok(!strcmp(arch_of("windows/amd64", both), "windows/amd64"), "another system");
	ok(strstr(arch_of("linux/arm/v5", both),
		   "has no image for linux/arm/v5; it has 'linux/arm/v6, linux/arm/v7"),
		"none, and what there is");
	ok(strstr(arch_of("linux/s390x", INDEX("")), "it has none"), "an empty index");
	ok(!strcmp(arch_of("linux/arm",
			   INDEX("{\"mediaType\":\"" M "\",\"digest\":\"@1\",\"size\":#1}")),
		   "linux/amd64"),
		"an entry without a platform");
	ok(!platform_parse("x86_64", &p) && !strcmp(platform_str(&p, s), "linux/amd64"), "x86_64");
	ok(!platform_parse("linux/aarch64/v8", &p) && !strcmp(platform_str(&p, s), "linux/arm64"),
		"aarch64/v8");
	ok(!platform_parse("a/b/c", &p) && !strcmp(platform_str(&p, s), "a/b/c"), "a/b/c");
	ok(!platform_parse(NULL, &p) && *p.os && *p.arch, "this machine's: %s",
		platform_str(&p, s));
	log_level = LOG_QUIET;
	static const char *const bad[] = { "", "/", "a/", "/a", "a/b/", "a/b/c/d", "A", "a b",
		"a/b\n", "..", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"a/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(platform_parse(bad[i], &p) == -EINVAL, "bad platform %zu", i);
	log_level = LOG_WARN;
}

// ---- bad manifests ----

#define MAN(config, layers) \
	"{\"schemaVersion\":2,\"mediaType\":\"" M "\",\"config\":" config ",\"layers\":" layers "}"
#define CFG "{\"mediaType\":\"" C "\",\"digest\":\"@1\",\"size\":#1}"
#define LAY(digest, size) "[{\"mediaType\":\"" L "\",\"digest\":" digest ",\"size\":" size "}]"

static void test_manifests(void)
{
	cleanup_buf struct buf b = { 0 }, c = { 0 };
	struct image *img;

	REFUSED("config is no object", "no config", MAN("[]", "[" LAYER "]"), CONFIG);
	REFUSED("layers are no list", "no layers", MAN(CFG, "{}"), CONFIG);
	REFUSED("a layer is no object", "not a digest", MAN(CFG, "[7]"), CONFIG);
	REFUSED("no digest", "a missing value is not a digest", MAN(CFG, "[{\"size\":1}]"), CONFIG);
	REFUSED("sha512", "an algorithm that fcpull does not know",
		MAN(CFG, LAY("\"sha512:" D("a") "\"", "1")), CONFIG);
	REFUSED("digest in capitals", "is not a digest", MAN(CFG, LAY("\"" D("A") "\"", "1")),
		CONFIG);
	REFUSED("digest too short", "is not a digest", MAN(CFG, LAY("\"sha256:12\"", "1")), CONFIG);
	REFUSED("digest with a path", "is not a digest",
		MAN(CFG, LAY("\"sha256:../../etc/passwd\"", "1")), CONFIG);
	REFUSED("digest with ESC", "'\\x1b[2J' is not a digest",
		MAN(CFG, LAY("\"\\u001b[2J\"", "1")), CONFIG);
	REFUSED("digest as a number", "a missing value", MAN(CFG, LAY("5", "1")), CONFIG);
	REFUSED("no size", "without a proper size", MAN(CFG, "[{\"digest\":\"" D("2") "\"}]"),
		CONFIG);
	REFUSED("size -1", "without a proper size", MAN(CFG, LAY("\"" D("2") "\"", "-1")), CONFIG);
	REFUSED("size 1.5", "without a proper size", MAN(CFG, LAY("\"" D("2") "\"", "1.5")),
		CONFIG);
	REFUSED("size 1e3", "without a proper size", MAN(CFG, LAY("\"" D("2") "\"", "1e3")),
		CONFIG);
	REFUSED("size 2^63", "without a proper size",
		MAN(CFG, LAY("\"" D("2") "\"", "9223372036854775808")), CONFIG);
	REFUSED("size as text", "without a proper size", MAN(CFG, LAY("\"" D("2") "\"", "\"12\"")),
		CONFIG);
	REFUSED("foreign layer", "foreign layer",
		MAN(CFG,
			"[{\"mediaType\":\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\",\"digest\":\"" D(
				"2") "\",\"size\":1,\"urls\":[\"http://x/\"]}]"),
		CONFIG);
	REFUSED("non-distributable layer", "foreign layer",
		MAN(CFG,
			"[{\"mediaType\":\"application/vnd.oci.image.layer.nondistributable.v1.tar\",\"digest\":\"" D(
				"2") "\",\"size\":1}]"),
		CONFIG);
	REFUSED("config's size", "", MAN("{\"digest\":\"@1\",\"size\":3}", "[" LAYER "]"), CONFIG);
	REFUSED("both layers and manifests", "both",
		"{\"schemaVersion\":2,\"config\":" CFG ",\"layers\":[],\"manifests\":[]}", CONFIG);
	REFUSED("schema 1", "schema 1", "{\"schemaVersion\":1,\"fsLayers\":[],\"history\":[]}");
	REFUSED("not JSON", "", "x");
	REFUSED("a subject that is an index", "but the index says", ACCEL("2", "1", BOOT),
		INDEX(""), CONFIG);
	ok(OPEN(IMAGE_ANY, &img, MAN("{\"digest\":\"" D("7") "\",\"size\":3}", "[" LAYER "]")) ==
			-ENOENT,
		"no config blob");
	ok(OPEN(IMAGE_ANY, &img, MAN("{\"digest\":\"@1\",\"size\":8388609}", "[" LAYER "]"),
		   CONFIG) == -EFBIG,
		"a config of 8 MiB + 1");
	for (unsigned d = 0; d < 3; d++) {
		unsigned n = FMT_SPACES_MAX - 1 + d;

		b.len = c.len = 0;
		buf_printf(&b, "{\"schemaVersion\":2,\"config\":" CFG ",\"layers\":[");
		buf_printf(&c, "{\"rootfs\":{\"diff_ids\":[");
		for (unsigned i = 0; i < n; i++) {
			buf_printf(&b, "%s%s", i ? "," : "", LAYER);
			buf_printf(&c, "%s\"%s\"", i ? "," : "", D("1"));
		}
		buf_printf(&b, "]}");
		buf_printf(&c, "]}}");
		if (d == 2) {
			REFUSED("513 layers", "more than 512", buf_str(&b), buf_str(&c));
		} else {
			ok(!OPEN(IMAGE_ANY, &img, buf_str(&b), buf_str(&c)) && img->n_layers == n,
				"%u layers", n);
			image_free(img);
		}
	}
}

static void test_indexes(void)
{
	cleanup_buf struct buf b = { 0 };
	struct image *img;

	REFUSED("manifests are no list", "without manifests",
		"{\"schemaVersion\":2,\"manifests\":{}}", MANIFEST("2"), CONFIG);
	REFUSED("an entry is no object", "not a digest", INDEX("7"), MANIFEST("2"), CONFIG);
	ok(OPEN(IMAGE_ANY, &img, INDEX("{\"mediaType\":\"" I "\",\"digest\":\"@1\",\"size\":#1}"),
		   INDEX("")) == -ENOENT,
		"an index in an index, without our platform");
	REFUSED("an index in an index in an index", "inside an index inside an index",
		INDEX("{\"mediaType\":\"" I "\",\"digest\":\"@1\",\"size\":#1}"),
		INDEX("{\"mediaType\":\"" I "\",\"digest\":\"@2\",\"size\":#2}"),
		INDEX("{\"mediaType\":\"" M "\",\"digest\":\"@3\",\"size\":#3}"), MANIFEST("4"),
		CONFIG);
	REFUSED("an index under another name", "inside an index inside an index",
		INDEX("{\"digest\":\"@1\",\"size\":#1}"),
		INDEX("{\"mediaType\":\"" M "\",\"digest\":\"@2\",\"size\":#2}"), MANIFEST("3"),
		CONFIG);
	ok(!OPEN(IMAGE_ANY, &img, INDEX("{\"mediaType\":\"" I "\",\"digest\":\"@1\",\"size\":#1}"),
		   INDEX("{\"mediaType\":\"" M "\",\"digest\":\"@2\",\"size\":#2}"), MANIFEST("3"),
		   CONFIG) &&
			img->n_layers == 1,
		"an index in an index");
	image_free(img);
	REFUSED("a manifest's size", "bytes, but the index says 7",
		INDEX("{\"mediaType\":\"" M "\",\"digest\":\"@1\",\"size\":7}"), MANIFEST("2"),
		CONFIG);
	REFUSED("a manifest's type", "but the index says 'application/x'",
		INDEX("{\"mediaType\":\"application/x\",\"digest\":\"@1\",\"size\":#1}"),
		MANIFEST("2"), CONFIG);
	ok(!OPEN(IMAGE_ANY, &img, INDEX("{\"digest\":\"@1\",\"size\":#1}"), MANIFEST("2"), CONFIG),
		"an entry without a type");
	image_free(img);
	ok(OPEN(IMAGE_ANY, &img, INDEX("{\"digest\":\"" D("9") "\",\"size\":1}")) == -ENOENT,
		"a manifest that is not there");
	for (unsigned d = 0; d < 3; d++) {
		b.len = 0;
		buf_printf(&b, "{\"schemaVersion\":2,\"manifests\":[");
		for (unsigned i = 1; i < INDEX_ENTRIES_MAX - 1 + d; i++)
			buf_printf(&b, "%s,",
				"{\"digest\":\"" D(
					"9") "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"no\"}}");
		buf_printf(&b, "%s]}", ENTRY("1", "linux", "amd64", ""));
		if (d == 2) {
			REFUSED("1025 entries", "more than 1024", buf_str(&b), MANIFEST("2"),
				CONFIG);
		} else {
			ok(!OPEN(IMAGE_ANY, &img, buf_str(&b), MANIFEST("2"), CONFIG), "%u entries",
				INDEX_ENTRIES_MAX - 1 + d);
			image_free(img);
		}
	}
}

// ---- bad configs ----

#define CONF(settings) MANIFEST("1"), "{\"config\":{" settings "}," DIFFS "}"

static void test_configs(void)
{
	cleanup_buf struct buf b = { 0 };
	struct image *img;

	REFUSED("no diff_ids", "lists 0 layers, the manifest 1", MANIFEST("1"), "{}");
	REFUSED("too many diff_ids", "lists 2 layers, the manifest 1", MANIFEST("1"),
		"{\"rootfs\":{\"diff_ids\":[\"" D("1") "\",\"" D("2") "\"]}}");
	REFUSED("a diff_id that is a number", "is no string", MANIFEST("1"),
		"{\"rootfs\":{\"diff_ids\":[1]}}");
	REFUSED("a diff_id that is none", "diff_id 'x'", MANIFEST("1"),
		"{\"rootfs\":{\"diff_ids\":[\"x\"]}}");
	REFUSED("config is a list", "is no object", MANIFEST("1"), "{\"config\":[]," DIFFS "}");
	REFUSED("User is a number", "User is no proper string", CONF("\"User\":1000"));
	REFUSED("User with a NUL", "User is no proper string", CONF("\"User\":\"1000\\u0000\""));
	REFUSED("WorkingDir is a list", "WorkingDir is no proper string",
		CONF("\"WorkingDir\":[]"));
	REFUSED("StopSignal is a number", "StopSignal is no proper string",
		CONF("\"StopSignal\":9"));
	REFUSED("Cmd is a string", "Cmd is no list", CONF("\"Cmd\":\"sh\""));
	REFUSED("Env is an object", "Env is no list", CONF("\"Env\":{\"A\":\"b\"}"));
	REFUSED("Cmd with a number", "Cmd has a value", CONF("\"Cmd\":[\"a\",1]"));
	REFUSED("Cmd with null", "Cmd has a value", CONF("\"Cmd\":[null]"));
	REFUSED("Env with a NUL", "Env has a value", CONF("\"Env\":[\"A=\\u0000\"]"));
	for (unsigned d = 0; d < 2; d++) {
		b.len = 0;
		buf_printf(&b, "{\"config\":{\"Env\":[\"\"");
		for (unsigned i = 1; i < CONFIG_STRINGS_MAX + d; i++)
			buf_printf(&b, ",\"A=b\"");
		buf_printf(&b, "]}," DIFFS "}");
		if (d) {
			REFUSED("4097 variables", "too many", MANIFEST("1"), buf_str(&b));
		} else {
			ok(!OPEN(IMAGE_ANY, &img, MANIFEST("1"), buf_str(&b)) &&
					img->config.n_env == CONFIG_STRINGS_MAX,
				"4096 variables");
			image_free(img);
		}
	}
	b.len = 0;
	buf_printf(&b, "{\"config\":{\"Cmd\":[\"\"");
	for (unsigned i = 0; i < 100000; i++)
		buf_printf(&b, ",\"x\"");
	buf_printf(&b, "]}," DIFFS "}");
	REFUSED("100,000 arguments", "too many", MANIFEST("1"), buf_str(&b));
	for (unsigned d = 0; d < 2; d++) {
		b.len = 0;
		buf_printf(&b,
			"{\"config\":{\"Entrypoint\":[\"%0*u\"],\"Cmd\":[\"%0*u\"],\"Env\":[\"ab\"]}," DIFFS
			"}",
			(int)ARGS_MAX / 2, 1, (int)(ARGS_MAX / 2 - 5 + d), 1);
		if (d) {
			REFUSED("128 KiB + 1 of arguments", "too long", MANIFEST("1"), buf_str(&b));
		} else {
			ok(!OPEN(IMAGE_ANY, &img, MANIFEST("1"), buf_str(&b)),
				"128 KiB of arguments");
			image_free(img);
		}
	}
}

int main(void)
{
	mock_init(&mock);
	test_single();
	test_accelerated();
	test_inline();
	test_inline_sizes();
	test_broken();
	test_platforms();
	test_manifests();
	test_indexes();
	test_configs();
	mock_fini(&mock);
	return tap_end();
}
