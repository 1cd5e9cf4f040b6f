// erofsrun.c - images as EROFS, for test/erofs.test and measurements
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "erofsmnt.h"
#include "fuse.h"
#include "host.h"
#include "imagefile.h"
#include "log.h"

static const char usage[] =
	"usage: erofsrun [-dfl] [-r KB] COMMAND IMAGE [PATH]\n"
	"  build IMAGE        how long it takes, how large it is\n"
	"  flat IMAGE FILE    all of it as one file\n"
	"  serve IMAGE DIR    image.erofs at DIR, in the background\n"
	"  mount IMAGE DIR    the tree at DIR, of image.erofs served in the background\n"
	"  devices IMAGE DIR  the tree at DIR, of the store's files; all is pulled first\n"
	"  file FILE DIR      any EROFS image that is a file, at DIR\n"
	"  -d directio, -f file-backed, -l by loop devices, -r read-ahead\n";

static struct erofs_mount_opts opts;

static void must(int r, const char *what)
{
	if (!r)
		return;
	warn_errno(r < 0 ? r : -EIO, "%s", what);
	exit(1);
}

static struct host_image *open_image(const char *name)
{
	struct host_opts o = { .threads = 2 };
	struct host_image *h;

	must(platform_parse(NULL, &o.platform), "platform");
	must(host_open(name, &o, &h), "open the image");
	return h;
}

static struct erofs_image *build(struct host_image *h, int fd)
{
	struct erofs_image *im;
	uint64_t t = now_ns();

	must(erofs_build(h->ix, fd, &im), "build");
	printf("%u nodes: %.1f ms, metadata %llu bytes, all %llu bytes\n", index_nodes(h->ix),
		(double)(now_ns() - t) / 1e6, (unsigned long long)erofs_meta_size(im),
		(unsigned long long)erofs_flat_size(im));
	return im;
}

static int command_build(struct host_image *h, const char *path)
{
	int fd = scratch_file();

	(void)path;
	for (int i = 0; i < 3; i++)
		erofs_free(build(h, -1));
	erofs_free(build(h, fd));
	return 0;
}

static int command_flat(struct host_image *h, const char *path)
{
	static uint8_t b[LAZY_READ_MAX];
	struct erofs_image *im = build(h, -1);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(host_start(h), "start");
	must(fd < 0 ? -errno : erofs_write(im, EROFS_FLAT, fd), path);
	for (uint32_t s = 0; s < erofs_spaces(im); s++) {
		uint64_t at = (uint64_t)erofs_space_start(im, s) << 12,
			 size = ((uint64_t)erofs_space_start(im, s + 1) << 12) - at;

		for (uint64_t off = 0; off < size; off += sizeof b) {
			uint32_t n = (uint32_t)MIN(size - off, sizeof b);

			must(lazy_read_wait(h->lz, s, off, b, n), "read");
			must(pwrite_full(fd, b, n, at + off), path);
		}
	}
	return 0;
}

static int server(struct host_image *h, int fuse_fd)
{
	struct erofs_image *im = build(h, scratch_file());

	fflush(stdout);
	setsid();
	must(host_start(h), "start");
	return imagefile_serve(h->lz, im, false, NULL, false, fuse_fd, 4);
}

static void serve_at(struct host_image *h, const char *dir)
{
	struct fuse_mount_opts o = { .source = h->name, .subtype = "fcpull" };
	int fd;

	must(fuse_mount(dir, &o, &fd), dir);
	fflush(NULL);
	pid_t pid = fork();
	if (!pid)
		_exit(server(h, fd) ? 1 : 0);
	must(pid < 0 ? -errno : 0, "fork");
	close(fd);
}

static int command_serve(struct host_image *h, const char *path)
{
	serve_at(h, path);
	return 0;
}

static int command_mount(struct host_image *h, const char *path)
{
	char dir[] = "/tmp/erofsrun.XXXXXX", file[64];
	struct erofs_mount m;
	struct stat st;

	must(mkdtemp(dir) ? 0 : -errno, dir);
	serve_at(h, dir);
	snprintf(file, sizeof file, "%s/%s", dir, IMAGEFILE_NAME);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	must(fd < 0 || fstat(fd, &st) ? -errno : 0, file);
	struct erofs_image *im = build(h, -1);
	opts.meta_size = erofs_meta_size(im);
	uint64_t t = now_ns();
	int r = erofs_mount_at(fd, path, &opts, &m);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	must(r, path);
	printf("mounted in %.1f ms: %s\n", (double)(now_ns() - t) / 1e6, m.why);
	return 0;
}

static int command_devices(struct host_image *h, const char *path)
{
	struct space_file files[512];
	struct erofs_mount m;
	int fds[512], meta = scratch_file();
	struct erofs_image *im = build(h, -1);
	struct space_view sp;

	must(erofs_write(im, EROFS_DEVICES, meta), "write");
	must(host_start(h), "start");
	must(lazy_fetch_all(h->lz, NULL, NULL), "pull");
	for (uint32_t i = 0; i < index_spaces(h->ix); i++) {
		struct digest key = index_space_key(h->ix, i);

		index_space(h->ix, i, &sp);
		if (!sp.blocks)
			continue;
		must(store_space(h->store, &key, sp.blocks, &files[opts.n_devices]), "space");
		fds[opts.n_devices] = files[opts.n_devices].fd;
		opts.n_devices++;
	}
	opts.devices = fds;
	opts.meta_size = erofs_meta_size(im);
	must(erofs_mount_at(meta, path, &opts, &m), path);
	printf("mounted: %s\n", m.why);
	return 0;
}

static int mount_file(const char *file, const char *path)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct erofs_mount m;

	must(fd < 0 ? -errno : erofs_mount_at(fd, path, &opts, &m), file);
	printf("mounted: %s\n", m.why);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct host_image *h, const char *path);
	bool path;
} commands[] = {
	{ "build", command_build, false },
	{ "flat", command_flat, true },
	{ "serve", command_serve, true },
	{ "mount", command_mount, true },
	{ "devices", command_devices, true },
};

int main(int argc, char **argv)
{
	int c;

	signal(SIGPIPE, SIG_IGN);
	log_level = LOG_INFO;
	while ((c = getopt(argc, argv, "dflr:")) != -1)
		switch (c) {
		case 'd': opts.directio = true; break;
		case 'f': opts.way = EROFS_WAY_FILE; break;
		case 'l': opts.way = EROFS_WAY_LOOP; break;
		case 'r': opts.readahead_kb = (uint32_t)strtoul(optarg, NULL, 10); break;
		default: fputs(usage, stderr); return 2;
		}
	argv += optind;
	if (argc - optind == 3 && strcmp(argv[0], "file") == 0)
		return mount_file(argv[1], argv[2]);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (argv[0] && argv[1] && strcmp(argv[0], commands[i].name) == 0 &&
			(!commands[i].path || argv[2]))
			return commands[i].run(open_image(argv[1]), argv[2]);
	fputs(usage, stderr);
	return 2;
}
