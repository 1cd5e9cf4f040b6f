// mount.c - mount, umount: an image as a file system
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "driver.h"
#include "fcpull.h"
#include "fusermount.h"
#include "gc.h"
#include "log.h"
#include "mounts.h"
#include "pagetrace.h"
#include "policy.h"
#include "serve.h"
#include "state.h"

// ---- what mount and run share ----

struct mount_opts mount_opts = { .network_loss = "wait", .fill = "auto" };

static int parse_fill(const char *text, enum lazy_fill *ret)
{
	static const char *const names[] = {
		[LAZY_FILL_OFF] = "off", [LAZY_FILL_AUTO] = "auto", [LAZY_FILL_NOW] = "now"
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], text)) {
			*ret = (enum lazy_fill)i;
			return 0;
		}
	return opt_bad_word("--fill", "auto, now or off", text);
}

// A trace in the making has its name from the beginning: each line is whole.
static int open_record(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);

	return fd < 0 ? warn_errno(-errno, "--record: open %s", log_quote(path)) : fd;
}

int mount_serve_conf(struct serve_conf *ret)
{
	int r;

	*ret = (struct serve_conf){ .net = &image_opts.host.net,
		.fill_rate = mount_opts.fill_rate };
	image_opts.host.boot = true;
	r = policy_check(mount_opts.accelerate);
	if (!r)
		r = serve_parse_loss(mount_opts.network_loss, &ret->deadline_ns);
	if (!r)
		r = parse_fill(mount_opts.fill, &ret->fill);
	image_opts.host.prefer_here = !mount_opts.record;
	if (r || !mount_opts.record)
		return r;
	ret->record = open_record(mount_opts.record);
	return ret->record < 0 ? ret->record : 0;
}

int mount_hasten(
	struct host_image *h, enum hasten_after after, struct serve_conf *conf, struct hasten **ret)
{
	int r = hasten_begin(h, &image_opts.host, mount_opts.accelerate, after, ret);
	char why[160];

	// somebody else's recording is not disturbed
	if (!r && conf->record <= 0 && hasten_trace(*ret) > 0) {
		conf->record = hasten_trace(*ret);
		conf->record_start = true;
		conf->record_pages = pagetrace_possible(why);
		if (!conf->record_pages)
			info("%s: the start is recorded by a process, which makes it slower: %s",
				h->name, why);
	}
	return r;
}

void mount_hasten_go(struct hasten *x, const struct served *s)
{
	if (x && s->watch)
		hasten_watch(x, s->major, s->minor, s->readahead);
	hasten_go(x);
}

// ---- mount ----

static const char *mount_options, *mount_ignored_str;
static bool mount_image_file, mount_fake, mount_ignored;
bool mount_is_helper;

static const struct opt mount_rows[] = {
	{ 'o', "options", "LIST", "as mount(8) has them: ro, nosuid, _netdev ...", opt_str,
		&mount_options, false },
	{ 0, "image-file", NULL, "a file at PATH, for a virtual machine's disk", opt_flag,
		&mount_image_file, false },
	// what else mount(8) gives its helpers; -v is one of ours
	{ 'f', "fake", NULL, "all but the mount", opt_flag, &mount_fake, true },
	{ 's', "sloppy", NULL, "for others", opt_flag, &mount_ignored, true },
	{ 'n', "no-mtab", NULL, "there is none", opt_flag, &mount_ignored, true },
	{ 'N', "namespace", "NS", "mount(8) has entered it", opt_str, &mount_ignored_str, true },
	{ 't', "types", "TYPE", "fcpull", opt_str, &mount_ignored_str, true },
	MOUNT_OPT_ROWS,
	IMAGE_OPT_ROWS,
	{ 0 },
};

const struct optdoc_row mount_options_doc[] = {
	{ "ro", "read-only, as every image is; mount(8)'s rw means the same" },
	{ "driver=NAME", "erofs or fuse, not the one that is chosen" },
	{ "defaults", "nothing" },
	{ "noatime", "nothing: no time is ever changed" },
	{ "relatime", "the same" },
	{ "suid", "set-user-id programs work (fcpull mount only)" },
	{ "nosuid", "they do not (this is the default)" },
	{ "dev", "device files work (fcpull mount only)" },
	{ "nodev", "they do not (this is the default)" },
	{ "exec", "programs can be executed (this is the default)" },
	{ "noexec", "no program can be executed" },
	{ "auto", "for mount(8): mount -a mounts it" },
	{ "noauto", "for mount(8): it does not" },
	{ "user", "for mount(8)" },
	{ "nouser", "for mount(8)" },
	{ "nofail", "for mount(8): it is no error at boot if it cannot be mounted" },
	{ "_netdev", "for mount(8) and systemd: after the network is there" },
	{ "x-...", "for others, such as x-systemd.automount" },
	{ NULL, NULL },
};

// mount(8) hands on what fstab says. What does not fit a read-only image, or is not known, is
// refused: an option that is silently ignored is worse.
static int take_mount_option(const char *s, void *arg)
{
	struct serve_conf *ret = arg;
	static const struct {
		const char *name;
		unsigned set, clear;
	} attrs[] = {
		{ "nosuid", MOUNT_ATTR_NOSUID, 0 },
		{ "suid", 0, MOUNT_ATTR_NOSUID },
		{ "nodev", MOUNT_ATTR_NODEV, 0 },
		{ "dev", 0, MOUNT_ATTR_NODEV },
		{ "noexec", MOUNT_ATTR_NOEXEC, 0 },
		{ "exec", 0, MOUNT_ATTR_NOEXEC },
	};

	if (!strncmp(s, "x-", 2))
		return 0;
	// mount(8) says rw whenever nobody has said ro
	if (!strcmp(s, "rw") && mount_is_helper)
		return 0;
	if (!strncmp(s, "driver=", 7)) {
		const struct driver *d = driver_find(s + 7);

		if (!d)
			return opt_bad_word("mount option driver=NAME", "erofs or fuse", s + 7);
		ret->driver = d->name;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(attrs); i++)
		if (!strcmp(s, attrs[i].name)) {
			ret->attrs_set = (ret->attrs_set & ~attrs[i].clear) | attrs[i].set;
			ret->attrs_clear = (ret->attrs_clear & ~attrs[i].set) | attrs[i].clear;
			return 0;
		}
	for (const struct optdoc_row *o = mount_options_doc; o->name; o++)
		if (!strcmp(s, o->name))
			return 0;
	warn("mount option %s is not supported%s", log_quote(s),
		strcmp(s, "rw") ? "; 'fcpull man mount.fcpull' lists them"
				: ": images are read-only");
	for (const struct optdoc_row *o = mount_options_doc; o->name; o++)
		if (opt_nearly(s, o->name))
			warn("did you mean '%s'?", o->name);
	return -EINVAL;
}

// The last of two that contradict each other counts, as in mount(8).
static int take_mount_options(const char *list, struct serve_conf *ret)
{
	cleanup_free char *copy = list ? xstrdup(list) : NULL;

	return opt_words(copy, take_mount_option, ret);
}

// What is mounted on a missing PATH needs a file there: an empty one, of a mode that nobody else
// makes, so that umount knows it as ours. (Whatever mounted it may be long dead by then.) fusermount3 wants to be
// able to write to it.
#define PLACEHOLDER_MODE (S_ISVTX | S_IWUSR)

static int check_file(const char *path, bool *ret_made)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0), r = fd < 0 ? -errno : 0;
	struct stat st;

	*ret_made = fd >= 0;
	if (fd >= 0) {
		r = fchmod(fd, PLACEHOLDER_MODE) ? -errno : 0;
		close(fd);
	} else if (r == -EEXIST) {
		r = stat(path, &st) ? -errno : 0;
		if (!r && (!S_ISREG(st.st_mode) || st.st_size))
			return warn_whole(-EEXIST,
				"%s must be an empty file, or not be there: the image's file is laid over it",
				log_quote(path));
	}
	return r ? warn_errno(r, "make %s", log_quote(path)) : 0;
}

static void remove_placeholder(const char *path)
{
	struct stat st;

	if (!lstat(path, &st) && S_ISREG(st.st_mode) && !st.st_size &&
		(st.st_mode & 07777) == PLACEHOLDER_MODE && st.st_uid == geteuid() && unlink(path))
		debug("remove %s: %s", log_quote(path), strerror(errno));
}

static int check_dir(const char *dir)
{
	struct stat st;

	if (stat(dir, &st))
		return warn_errno(-errno, "mount point %s", log_quote(dir));
	return S_ISDIR(st.st_mode) ? 0 : warn_errno(-ENOTDIR, "mount point %s", log_quote(dir));
}

static int choose_file(struct serve_conf *conf)
{
	if (conf->driver && (mount_image_file || !strcmp(conf->driver, DRIVER_IMAGE_FILE))) {
		warn("--image-file goes with no -o driver=");
		return -EINVAL;
	}
	if (mount_image_file)
		conf->driver = DRIVER_IMAGE_FILE;
	return 0;
}

// All that needs the image open. -errno logged.
static int mount_open(struct host_image *h, const char *at, struct serve_conf *conf)
{
	struct hasten *x = NULL;
	struct served s;
	int r = mount_hasten(h, HASTEN_MOUNT, conf, &x);

	if (!r)
		r = serve_start(h, at, conf, &s);
	if (r) {
		hasten_drop(x);
		return r;
	}
	mount_hasten_go(x, &s);
	info("%s is mounted at %s", h->name, at);
	gc_auto(image_opts.host.root);
	return 0;
}

static int mount_image(int argc, char **argv)
{
	struct serve_conf conf;
	struct host_image *h = NULL;
	bool made = false;
	int r;

	if (argc != 2) {
		warn("mount takes IMAGE and DIR; try 'fcpull mount --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish() || mount_serve_conf(&conf) ||
		take_mount_options(mount_options, &conf) || choose_file(&conf))
		return EXIT_USAGE;
	if (mount_fake)
		return check_dir(argv[1]) ? EXIT_FAILURE : 0;
	if (mount_image_file ? check_file(argv[1], &made) : check_dir(argv[1]))
		return EXIT_FAILURE;
	r = host_open(argv[0], &image_opts.host, &h);
	if (!r)
		r = mount_open(h, argv[1], &conf);
	host_close(h);
	if (r && made)
		remove_placeholder(argv[1]);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_mount = {
	"mount",
	"IMAGE DIR",
	"mount an image read-only; data arrives when it is read",
	mount_rows,
	"A process stays behind to serve the mount, unless all of the image is in the\n"
	"store and proved; 'fcpull umount DIR' ends it. An image\n"
	"without an accelerated form is pulled whole first.\n\n"
	"With --image-file, PATH becomes a file (made if it is missing) that is a\n"
	"read-only disk with an EROFS file system: the data arrives when the virtual\n"
	"machine reads it.\n\n"
	"  fcpull mount registry.example/app:1 /mnt\n"
	"  mount -t fcpull registry.example/app:1 /mnt    (mount.fcpull in /sbin)\n"
	"  fcpull mount --image-file registry.example/app:1 /run/app.img\n"
	"  qemu-system-x86_64 ... \\\n"
	"    -drive file=/run/app.img,format=raw,readonly=on,if=virtio\n",
	mount_image,
	false,
	0,
};

// ---- umount ----

static bool umount_lazy;

static const struct opt umount_rows[] = {
	{ 'l', "lazy", NULL, "detach now, end when nobody uses it any more", opt_flag, &umount_lazy,
		false },
	{ 0 },
};

struct our_mount {
	const char *path;
	bool ours;
	char device[32];
};

static void look_at(void *arg, const struct mount_line *m)
{
	struct our_mount *o = arg;

	if (strcmp(m->path, o->path))
		return;
	o->ours = mounts_is_ours(m->device, m->type); // the last one is the topmost
	snprintf(o->device, sizeof o->device, "%s", m->device);
}

// Is the topmost mount at this absolute path one of ours? Which file system?
static bool is_our_mount(const char *path, char device[static 32])
{
	struct our_mount o = { .path = path };

	mountinfo_each("self", look_at, &o);
	memcpy(device, o.device, sizeof o.device);
	return o.ours;
}

// Its processes end by themselves when the last mount of the file system is gone; a script that goes
// on to remove the store should not meet them.
static void wait_for_end(const char *device)
{
	unsigned major, minor;
	struct state_mount *m;
	size_t n;

	if (sscanf(device, "%u:%u", &major, &minor) != 2)
		return;
	if (!state_mounts(major, minor, true, &m, &n)) {
		state_mounts_free(m, n);
		return; // others have it
	}
	for (int i = 0; i < 100 && mounts_is_live(device); i++)
		usleep(20000);
}

// The absolute path of a mount point that is itself not looked into: its server may be gone or hang.
static char *path_of(const char *dir)
{
	const char *slash = strrchr(dir, '/'), *name = slash ? slash + 1 : dir;
	cleanup_free char *parent = !slash ? xstrdup(".")
		: slash == dir		   ? xstrdup("/")
					   : xstrndup(dir, (size_t)(slash - dir));
	cleanup_free char *real = realpath(parent, NULL);

	return real ? xasprintf("%s/%s", strcmp(real, "/") ? real : "", name) : NULL;
}

int umount_at(const char *dir, bool lazy)
{
	cleanup_free char *path = path_of(dir);
	char device[32];

	if (!path || !is_our_mount(path, device)) {
		warn("%s is not a mount of fcpull", log_quote(dir));
		return -EINVAL;
	}
	if (geteuid()) {
		int r = fusermount_umount(path, lazy);

		if (r)
			return r;
	} else if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return warn_errno(-errno, "umount %s%s", log_quote(path),
			errno == EBUSY ? " (-l detaches it now)" : "");
	remove_placeholder(path);
	if (!lazy)
		wait_for_end(device);
	state_clean();
	return 0;
}

static int umount_image(int argc, char **argv)
{
	if (argc != 1) {
		warn("umount takes one DIR; try 'fcpull umount --help'");
		return EXIT_USAGE;
	}
	return umount_at(argv[0], umount_lazy) ? EXIT_FAILURE : 0;
}

const struct applet applet_umount = {
	"umount",
	"DIR",
	"unmount an image; its server ends",
	umount_rows,
	NULL,
	umount_image,
	false,
	0,
};
