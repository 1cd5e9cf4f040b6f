// bundle.c - bundle: an image as a directory that runc and crun can run
//
//	DIR/config.json
//	DIR/lower	the image, mounted
//	DIR/rootfs	overlay of it and DIR/upper; with --read-only the image itself
//	DIR/work	overlay's own
//
// config.json comes last: where it is missing, --remove has nothing to do with the directory; what
// a failed attempt has made, it takes away itself.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "boxopt.h"
#include "env.h"
#include "fcpull.h"
#include "gc.h"
#include "json.h"
#include "log.h"
#include "mnt.h"
#include "passwd.h"
#include "runtimespec.h"
#include "serve.h"

#define CONFIG "config.json"
#define CONFIG_BYTES_MAX (16u << 20)

static struct {
	struct opt_list env, env_files, cap_add, cap_drop;
	const char *workdir, *user, *entrypoint, *net, *hostname;
	bool tty, read_only, remove;
} opts = { .net = "none" };

static const struct opt bundle_rows[] = {
	{ 'e', "env", "NAME[=VALUE]", "set a variable (without VALUE: the caller's)", opt_list_add,
		&opts.env, false },
	{ 0, "env-file", "FILE", "variables, a line each", opt_list_add, &opts.env_files, false },
	{ 'w', "workdir", "DIR", "working directory", opt_str, &opts.workdir, false },
	{ 'u', "user", "USER[:GROUP]", "names are the image's own", opt_str, &opts.user, false },
	{ 't', "tty", NULL, "give it a terminal", opt_flag, &opts.tty, false },
	{ 0, "entrypoint", "PROGRAM", "in place of the image's; \"\" for none", opt_str,
		&opts.entrypoint, false },
	{ 0, "net", "host|none", "the host's network, or loopback only (default)", opt_str,
		&opts.net, false },
	{ 0, "hostname", "NAME", "host name", opt_str, &opts.hostname, false },
	{ 0, "cap-add", "NAME", "add a capability, or ALL", opt_list_add, &opts.cap_add, false },
	{ 0, "cap-drop", "NAME", "drop a capability, or ALL", opt_list_add, &opts.cap_drop, false },
	{ 0, "read-only", NULL, "no writable layer", opt_flag, &opts.read_only, false },
	{ 0, "remove", NULL, "unmount and remove a bundle and its changes", opt_flag, &opts.remove,
		false },
	MOUNT_OPT_ROWS,
	IMAGE_OPT_ROWS,
	{ 0 },
};

static const char *const parts[] = { "rootfs", "lower", "work", "upper" };

// ---- removing ----

static bool is_mount_point(const char *dir, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	struct statx st;

	// without asking what is mounted there: its server may be dead
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0,
		    &st))
		return errno == ENOTCONN;
	return st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int undo_mounts(const char *dir, bool read_only)
{
	cleanup_free char *rootfs = xasprintf("%s/rootfs", dir),
			  *lower = xasprintf("%s/lower", dir);

	if (!read_only && is_mount_point(dir, "rootfs") && umount2(rootfs, UMOUNT_NOFOLLOW))
		return warn_errno(-errno, "umount %s%s", log_quote(rootfs),
			errno == EBUSY ? " (does something still run in it?)" : "");
	if (read_only && is_mount_point(dir, "rootfs"))
		return umount_at(rootfs, false);
	return is_mount_point(dir, "lower") ? umount_at(lower, false) : 0;
}

// Nothing is mounted there any more, so all of it is the bundle's own.
static int remove_parts(int fd, const char *dir)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts) && !r; i++)
		r = is_mount_point(dir, parts[i]) ? -EBUSY : remove_tree_at(fd, parts[i]);
	if (!r && unlinkat(fd, CONFIG, 0) && errno != ENOENT)
		r = -errno;
	return r ? warn_errno(r, "remove %s", log_quote(dir)) : 0;
}

static int check_bundle(int fd, const char *dir, bool *ret_read_only)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	size_t n;
	int r = read_file_at(fd, CONFIG, CONFIG_BYTES_MAX, &text, &n);

	if (!r)
		r = json_parse(text, n, NULL, &doc);
	yyjson_val *root = r ? NULL : json_root(doc);
	if (!r && !json_str(json_obj(root, "annotations"), RUNTIMESPEC_ANNOTATION))
		r = -EINVAL;
	if (r)
		return warn_errno(r, "%s is not a bundle that fcpull has made", log_quote(dir));
	*ret_read_only = json_bool(json_obj(root, "root"), "readonly", false);
	return 0;
}

static int remove_bundle(const char *dir)
{
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool read_only = false;
	int r;

	if (fd < 0)
		return warn_errno(-errno, "open %s", log_quote(dir));
	r = check_bundle(fd, dir, &read_only);
	if (!r)
		r = undo_mounts(dir, read_only);
	if (!r)
		r = remove_parts(fd, dir);
	// something else may have been put there
	if (!r && rmdir(dir) && errno != ENOTEMPTY && errno != EBUSY)
		r = warn_errno(-errno, "remove %s", log_quote(dir));
	return r;
}

// ---- making ----

static int make_parts(int fd, const char *dir)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		bool needed = !opts.read_only || !strcmp(parts[i], "rootfs");

		if (needed && mkdirat(fd, parts[i], 0755))
			return warn_errno(-errno, "make %s/%s%s", log_quote(dir), parts[i],
				errno == EEXIST ? " (is it a bundle already?)" : "");
	}
	return 0;
}

// What the merged root shows as its mode and owner is upper's.
static int copy_owner(int from, int dir)
{
	cleanup_fd int upper =
		openat(dir, "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (upper < 0 || fstat(from, &st) || fchown(upper, st.st_uid, st.st_gid) ||
		fchmod(upper, st.st_mode & 07777))
		return -errno;
	return 0;
}

// By relative paths, which need no quoting: a colon in DIR would part layers.
static int mount_overlay(int dir, const char *name)
{
	static const struct mnt_param params[] = {
		{ "lowerdir", "lower" },
		{ "upperdir", "upper" },
		{ "workdir", "work" },
		{ "index", "off" },
		{ "metacopy", "off" },
		{ 0 },
	};
	cleanup_fd int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), mnt = -1, target = -1;
	int r = fchdir(dir) ? -errno : mnt_new("overlay", params, MOUNT_ATTR_NODEV, &mnt);

	if (here < 0 || fchdir(here))
		debug("the working directory is another now");
	if (!r) {
		target = openat(dir, "rootfs", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = target < 0 ? -errno : mnt_attach(mnt, target);
	}
	return r ? warn_errno(r, "mount the overlay in %s%s", log_quote(name),
			   r == -EINVAL
				   ? " (its file system cannot hold changes: overlayfs or network "
				     "file system? take another, or --read-only)"
				   : "")
		 : 0;
}

static int mount_parts(struct host_image *h, int fd, const char *dir, const struct serve_conf *conf)
{
	cleanup_free char *at = xasprintf("%s/%s", dir, opts.read_only ? "rootfs" : "lower");
	struct served s;
	int r = serve_start(h, at, conf, &s);

	if (r || opts.read_only)
		return r;
	cleanup_fd int lower = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = lower < 0 ? -errno : copy_owner(lower, fd);
	return r ? warn_errno(r, "prepare %s", log_quote(dir)) : mount_overlay(fd, dir);
}

static int write_config(const struct host_image *h, int fd, char **args)
{
	const struct image_config *c = &h->img->config;
	cleanup_fd int root = openat(fd, "rootfs", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_buf struct buf text = { 0 };
	char digest[DIGEST_STR_LEN];
	struct digest original = index_original(h->ix);
	static struct passwd_user user;
	struct runtimespec s = {
		.args = args,
		.cwd = opts.workdir ? opts.workdir : c->workdir,
		.user = &user,
		.hostname = opts.hostname ? opts.hostname : "fcpull",
		.image = h->name,
		.digest = digest_str(&original, digest),
		.tty = opts.tty,
		.read_only = opts.read_only,
		.net_host = !strcmp(opts.net, "host"),
	};
	int r = root < 0 ? -errno : passwd_resolve(root, opts.user ? opts.user : c->user, &user);

	for (size_t i = 0; i < opts.cap_add.n && !r; i++)
		r = caps_change(&s.caps, opts.cap_add.v[i], false);
	for (size_t i = 0; i < opts.cap_drop.n && !r; i++)
		r = caps_change(&s.caps, opts.cap_drop.v[i], true);
	if (!r)
		r = caps_change_check(&s.caps);
	if (r)
		return r;
	// the variables of a user: what a runtime does not add
	opt_list_add(&(struct opt){ .to = &opts.env }, xasprintf("HOSTNAME=%s", s.hostname));
	cleanup_free char **base = env_base(c, opts.tty), **env = env_make(base, &opts.env);
	s.env = env;
	runtimespec_write(&s, &text);
	r = write_file_at(fd, CONFIG, text.data, text.len, 0644);
	return r ? warn_errno(r, "write " CONFIG) : 0;
}

// All of it, or nothing.
static int fill(
	struct host_image *h, int fd, const char *dir, const struct serve_conf *conf, char **args)
{
	int r = make_parts(fd, dir);

	if (r == -EEXIST)
		return r; // somebody else's
	if (!r)
		r = mount_parts(h, fd, dir, conf);
	if (!r)
		r = write_config(h, fd, args);
	if (r && !undo_mounts(dir, opts.read_only) && remove_parts(fd, dir))
		debug("something of %s stays", log_quote(dir));
	return r;
}

static int make_bundle(
	struct host_image *h, const char *dir, const struct serve_conf *conf, char **args)
{
	bool made = !mkdir(dir, 0755);
	int r = made || errno == EEXIST ? 0 : -errno;
	cleanup_fd int fd = r ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (r || fd < 0)
		return warn_errno(r ? r : -errno, "make %s", log_quote(dir));
	if (!faccessat(fd, CONFIG, F_OK, AT_SYMLINK_NOFOLLOW))
		return warn_whole(-EEXIST,
			"%s is a bundle already ('fcpull bundle --remove' "
			"removes one of ours)",
			log_quote(dir));
	r = fill(h, fd, dir, conf, args);
	if (r && made && rmdir(dir))
		debug("%s stays: %s", log_quote(dir), strerror(errno));
	return r;
}

static int check_options(void)
{
	if (strcmp(opts.net, "host") && strcmp(opts.net, "none"))
		return opt_bad_word("--net", "host or none", opts.net);
	if (opts.workdir && *opts.workdir != '/') {
		warn("--workdir %s is not absolute", log_quote(opts.workdir));
		return -EINVAL;
	}
	return opts.hostname ? boxopt_name("--hostname", opts.hostname) : 0;
}

static int bundle(int argc, char **argv)
{
	struct serve_conf conf;
	struct host_image *h;
	int r;

	if (opts.remove ? argc != 1 : argc < 2) {
		warn("bundle takes %s; try 'fcpull bundle --help'",
			opts.remove ? "one DIR to remove" : "IMAGE and DIR");
		return EXIT_USAGE;
	}
	if (opts.remove)
		return remove_bundle(argv[0]) ? EXIT_FAILURE : 0;
	if (image_opts_finish() || mount_serve_conf(&conf) || check_options() ||
		env_gather(&opts.env_files, &opts.env))
		return EXIT_USAGE;
	if (geteuid()) {
		warn("bundle needs root: the writable layer is mounted where others see it; as a user, 'fcpull run' needs no bundle");
		return EXIT_FAILURE;
	}
	// a program of the image's that is set-user-id works, as far as the runtime lets it
	conf.attrs_clear = MOUNT_ATTR_NOSUID;
	conf.hasty = true;
	if (host_open(argv[0], &image_opts.host, &h))
		return EXIT_FAILURE;
	cleanup_free char **args =
		env_args(h->name, &h->img->config, opts.entrypoint, argc - 2, argv + 2);
	r = args ? make_bundle(h, argv[1], &conf, args) : -EINVAL;
	if (!r) {
		info("%s: a bundle at %s", h->name, argv[1]);
		gc_auto(image_opts.host.root);
	}
	host_close(h);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_bundle = {
	"bundle",
	"IMAGE DIR [COMMAND [ARG]...]",
	"make an OCI runtime bundle, whose data arrives when it is read",
	bundle_rows,
	"The image is mounted in DIR, with a writable layer over it.\n\n"
	"  fcpull bundle registry.example/app:1 /run/app\n"
	"  runc run -b /run/app app1        (or crun)\n"
	"  fcpull bundle --remove /run/app\n",
	bundle,
	true,
	0,
};
