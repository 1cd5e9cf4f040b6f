// boxrun.c - box_run on a directory, for test/box.test.sh
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include "box.h"
#include "boxinit.h"
#include "log.h"

#define MAX_LIST 64

static const char usage[] =
	"usage: boxrun [-rtivH] [-u USER] [-w CWD] [-U UPPER] [-s BYTES] [-n NAME] [-e NAME=VALUE]... [-b SRC:DST[:ro]]... ROOT COMMAND...\n";

struct options {
	struct box box;
	char *env[MAX_LIST];
	struct box_bind binds[MAX_LIST];
	size_t n_env;
};

static void add_bind(struct options *o, char *arg)
{
	char *dst = strchr(arg, ':');
	char *flag = dst ? strchr(dst + 1, ':') : NULL;

	if (!dst || o->box.n_binds == MAX_LIST)
		exit(2);
	*dst++ = '\0';
	if (flag)
		*flag = '\0';
	o->binds[o->box.n_binds++] = (struct box_bind){ arg, dst, flag != NULL };
}

// CVE-2019-5736, as the payload "/proc/self/exe -Z": this very program, executed inside, keeps a
// descriptor of its own file and makes way for a program that tries to write to it.
static void attack(void)
{
	char path[32];
	int fd = open("/proc/self/exe", O_PATH);

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	execl("/bin/probe", "probe", "overwrite", path, NULL);
	exit(2);
}

static void set_option(struct options *o, int c)
{
	switch (c) {
	case 'r': o->box.read_only = true; break;
	case 't': o->box.tty = true; break;
	case 'i': o->box.interactive = true; break;
	case 'v': log_level = LOG_INFO; break;
	case 'H': o->box.net_host = true; break;
	case 'u': o->box.user = optarg; break;
	case 'w': o->box.cwd = optarg; break;
	case 'U': o->box.upper = optarg; break;
	case 's': o->box.upper_size = strtoull(optarg, NULL, 10); break;
	case 'n': o->box.name = optarg; break;
	case 'b': add_bind(o, optarg); break;
	case 'Z': attack(); break;
	case 'e':
		if (o->n_env < MAX_LIST - 1)
			o->env[o->n_env++] = optarg;
		break;
	default: fputs(usage, stderr); exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct options o;
	int c;

	boxinit_enter(argc, argv);
	// as fcpull's main must: no descriptor of ours takes the place of a closed standard one
	while ((c = open("/dev/null", O_RDWR)) >= 0 && c <= STDERR_FILENO)
		;
	close(c);
	while ((c = getopt(argc, argv, "+rtivHZu:w:U:s:n:e:b:")) != -1)
		set_option(&o, c);
	if (optind >= argc) {
		fputs(usage, stderr);
		return 2;
	}
	o.box.lower_fd = open(argv[optind], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (o.box.lower_fd < 0) {
		perror(argv[optind]);
		return 2;
	}
	o.box.args = argv + optind + 1;
	o.box.env = o.env;
	o.box.binds = o.binds;
	return box_run(&o.box);
}
