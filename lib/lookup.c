// lookup.c - where an image's accelerated form is looked for when its reference does not list it
// SPDX-License-Identifier: Apache-2.0
#include "lookup.h"

#include "log.h"
#include "opt.h"
#include "referrers.h"

static struct {
	bool suffix, referrers;
	char text[REF_TAG_MAX + 1]; // of the suffix
} conf = { true, true, LOOKUP_SUFFIX };

static char found_at[300];

// ---- settings ----

static int bad_word(const char *word)
{
	return opt_bad_word("--find (or $FCPULL_FIND)",
		"none, suffix, suffix=TEXT or referrers, with commas between", word);
}

static int set_word(const char *word)
{
	if (!strcmp(word, "referrers")) {
		conf.referrers = true;
		return 0;
	}
	if (strncmp(word, "suffix", 6) || (word[6] && word[6] != '='))
		return bad_word(word);
	if (word[6]) {
		cleanup_free char *tag = xasprintf("x%s", word + 7);

		if (!word[7] || !ref_is_tag(tag))
			return bad_word(word);
		snprintf(conf.text, sizeof conf.text, "%s", word + 7);
	}
	conf.suffix = true;
	return 0;
}

int lookup_set(const char *text)
{
	cleanup_free char *copy = NULL;
	char *at, *word;
	int r = 0;

	text = text ? text : getenv("FCPULL_FIND");
	if (!text || !*text)
		return 0;
	conf.suffix = conf.referrers = false;
	if (!strcmp(text, "none"))
		return 0;
	copy = xstrdup(text);
	at = copy;
	while (!r && (word = strsep(&at, ",")))
		r = set_word(word);
	return r;
}

char *lookup_text(void)
{
	if (!conf.suffix)
		return xstrdup(conf.referrers ? "referrers" : "none");
	return xasprintf("suffix=%s%s", conf.text, conf.referrers ? ",referrers" : "");
}

// ---- the places ----

// What `convert --suffix` writes: an index under a tag of its own that lists the original and ours.
static bool by_suffix(
	struct repo *repo, const struct ref *ref, const struct digest *original, struct entry *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *tag = NULL;
	struct manifest m = { 0 };
	char digest[DIGEST_STR_LEN];

	if (!conf.suffix || !ref->tag || strlen(ref->tag) + strlen(conf.text) > REF_TAG_MAX)
		return false;
	tag = xasprintf("%s%s", ref->tag, conf.text);
	snprintf(found_at, sizeof found_at, "the tag %s", tag);
	if (repo_get_manifest(repo, tag, &m))
		return false;
	if (json_parse(m.bytes, m.len, tag, &doc))
		doc = NULL;
	manifest_fini(&m);
	return doc && !entry_find_accel(json_root(doc), digest_str(original, digest), tag, ret) &&
		*ret->digest;
}

static bool by_referrers(
	struct repo *repo, const struct ref *ref, const struct digest *original, struct entry *ret)
{
	struct referrer found = { 0 };

	(void)ref;
	if (!conf.referrers || !repo->is_registry)
		return false;
	snprintf(found_at, sizeof found_at, "the registry's referrers");
	if (referrers_find(repo, original, false, &found))
		return false;
	*ret = found.entry;
	return *ret->digest;
}

const char *lookup_accel(struct repo *repo, const struct ref *ref, const struct digest *original,
	size_t *place, struct entry *ret)
{
	static bool (*const places[])(struct repo *, const struct ref *, const struct digest *,
		struct entry *) = { by_suffix, by_referrers };

	if (ref->transport != REF_DOCKER && ref->transport != REF_OCI)
		return NULL;
	while (*place < ARRAY_LEN(places))
		if (places[(*place)++](repo, ref, original, ret))
			return found_at;
	return NULL;
}
