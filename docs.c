// docs.c - completion, man: what the tables of verbs and options say, for shells and for man(1)
// SPDX-License-Identifier: Apache-2.0
#include "fcpull.h"
#include "log.h"
#include "optdoc.h"

static struct optdoc all(void)
{
	return (struct optdoc){ applets, n_applets };
}

// ---- completion ----

static const struct opt no_opts[] = { { 0 } };

static int completion(int argc, char **argv)
{
	static const struct {
		const char *shell;
		void (*make)(const struct optdoc *d, FILE *to);
	} shells[] = { { "bash", optdoc_bash }, { "zsh", optdoc_zsh }, { "fish", optdoc_fish } };
	struct optdoc d = all();

	for (size_t i = 0; argc == 1 && i < ARRAY_LEN(shells); i++)
		if (!strcmp(argv[0], shells[i].shell)) {
			shells[i].make(&d, stdout);
			return 0;
		}
	warn("completion takes bash, zsh or fish; try 'fcpull completion --help'");
	return EXIT_USAGE;
}

const struct applet applet_completion = {
	"completion",
	"bash|zsh|fish",
	"print the completion of a shell",
	no_opts,
	"  fcpull completion bash >/etc/bash_completion.d/fcpull\n"
	"  source <(fcpull completion zsh)\n"
	"  fcpull completion fish >~/.config/fish/completions/fcpull.fish\n",
	completion,
	false,
	0,
};

// ---- man ----

static const char fcpull_tail[] =
	".SH EXIT STATUS\n"
	".TP\n0\nDone.\n"
	".TP\n1\nNot done; standard error says why.\n"
	".TP\n2\nThe command line is wrong.\n"
	".PP\n\\fBrun\\fR ends as its process does; with 128+N if signal N ended it, 125 if fcpull\n"
	"failed, 126 if the command is not executable, 127 if it was not found.\n"
	".SH ENVIRONMENT\n"
	".TP\n\\fBFCPULL_ROOT\\fR\nThe store, if \\fB\\-\\-root\\fR does not name it.\n"
	".TP\n\\fBFCPULL_ACCELERATE\\fR, \\fBFCPULL_CONF\\fR\nSee \\fBfcpull.conf\\fR(5).\n"
	".TP\n\\fBFCPULL_RUN\\fR\nThe directory of run\\-time state.\n"
	".TP\n\\fBREGISTRY_AUTH_FILE\\fR, \\fBDOCKER_CONFIG\\fR\nCredentials, as for podman and docker.\n"
	".TP\n\\fBSSL_CERT_FILE\\fR\nCertificate authorities.\n"
	".TP\n\\fBhttps_proxy\\fR, \\fBhttp_proxy\\fR, \\fBno_proxy\\fR\nAs for curl(1).\n"
	".TP\n\\fBTMPDIR\\fR\nFor scratch files, else /var/tmp.\n"
	".SH FILES\n"
	".TP\n\\fI/etc/fcpull/fcpull.conf\\fR, \\fI~/.config/fcpull/fcpull.conf\\fR\nWhich images are accelerated by themselves.\n"
	".TP\n\\fI/var/lib/fcpull\\fR\nThe store of root; of others \\fI~/.local/share/fcpull\\fR.\n"
	".TP\n\\fI/run/fcpull\\fR\nWhat is mounted and what runs; of others "
	"\\fI$XDG_RUNTIME_DIR/fcpull\\fR.\n"
	".SH SEE ALSO\n\\fBfcpull.conf\\fR(5), \\fBmount.fcpull\\fR(8), \\fBmount\\fR(8)\n";

static const char mount_tail[] =
	".SH USERS\nA user without privileges mounts through \\fBfusermount3\\fR(1):\n"
	"always nosuid and nodev, for nobody else to see, by the fuse driver.\n"
	"In \\fI/etc/fstab\\fR the option \\fBuser\\fR lets users mount;\n"
	"\\fBfcpull umount\\fR undoes it.\n"
	".SH EXIT STATUS\nAs mount(8) has them: 0 mounted; 1 the command line is wrong; 32 not mounted.\n"
	".SH EXAMPLES\n"
	".EX\n"
	"mount \\-t fcpull registry.example/app:1 /mnt\n"
	"\n"
	"# /etc/fstab\n"
	"registry.example/app:1  /srv/app  fcpull  ro,_netdev,nofail  0 0\n"
	".EE\n"
	".SH SEE ALSO\n\\fBfcpull\\fR(1), \\fBmount\\fR(8), \\fBfstab\\fR(5)\n";

// fcpull.conf(5): the file is no table of options, so its page is text.
static const char conf_page[] =
	".TH FCPULL.CONF 5 " FCPULL_DATE " \"fcpull " FCPULL_VERSION "\" fcpull\n"
	".SH NAME\n"
	"fcpull.conf \\- which images are accelerated by themselves\n"
	".SH SYNOPSIS\n"
	"\\fI/etc/fcpull/fcpull.conf\\fR\n"
	".br\n"
	"\\fI~/.config/fcpull/fcpull.conf\\fR\n"
	".SH DESCRIPTION\n"
	"The first start of an image that has no accelerated form runs the\n"
	"original. After it, one\n"
	"process per image and host makes the accelerated form, out of what that\n"
	"start has left in the\n"
	"store and with what it has read as the boot stream; it uses idle time\n"
	"only and nothing waits\n"
	"for it. What the start reads is learnt from the kernel\\(aqs page cache; where\n"
	"that cannot be (no tracefs, no right to use perf events; \\fB\\-v\\fR says so), a\n"
	"process serves that one start, page by page, and it is slower.\n"
	"These files say for which images, and what becomes of the result.\n"
	".PP\n"
	"They are TOML. Of the following the first that speaks of an image\n"
	"counts: the option\n"
	"\\fB\\-\\-accelerate\\fR, the variable \\fBFCPULL_ACCELERATE\\fR, the\n"
	"user\\(aqs file, the\n"
	"system\\(aqs file; else it is \\fBauto\\fR. In a file that is its first\n"
	"rule whose pattern\n"
	"fits, else what it says for all.\n"
	".TP\n"
	"\\fBaccelerate\\fR = \\(dqHOW\\(dq\n"
	"Outside of rules: for all images.\n"
	".TP\n"
	"\\fB[[rule]]\\fR\n"
	"Begins a rule.\n"
	".TP\n"
	"\\fBmatch\\fR = \\(dqPATTERN\\(dq\n"
	"Of HOST/REPOSITORY, complete (docker.io/library/alpine),\n"
	"without a tag; \\fB*\\fR, \\fB?\\fR and \\fB[...]\\fR as in a shell, but\n"
	"\\fB*\\fR crosses slashes.\n"
	".TP\n"
	"\\fBaccelerate\\fR = \\(dqHOW\\(dq\n"
	"In a rule: for the images that it fits.\n"
	".SS HOW\n"
	".TP\n"
	"\\fBauto\\fR\n"
	"Made after the first run or mount. Put beside the original, under the same\n"
	"tag, if the credentials allow it and the tag still means the same\n"
	"original, so that every other\n"
	"host finds it; other programs go on running the original. Else kept in\n"
	"the store.\n"
	".TP\n"
	"\\fBlocal\\fR\n"
	"Made, also after a pull (then without a boot stream), and kept in the store.\n"
	".TP\n"
	"\\fBpush\\fR\n"
	"Made, also after a pull, and put beside the original; later starts say\n"
	"it when\n"
	"that was not possible.\n"
	".TP\n"
	"\\fBoff\\fR\n"
	"Not made. One that is there already is used all the same\n"
	"(\\fB\\-\\-original\\fR prevents that).\n"
	".PP\n"
	"A file that cannot be understood is warned of, and nothing is\n"
	"accelerated by itself until it\n"
	"is mended. What failed is tried again after an hour, a push that was\n"
	"refused after a day, both at\n"
	"once if the option or the variable asks for it.\n"
	".SH EXAMPLE\n"
	".EX\n"
	"accelerate = \\(dqlocal\\(dq\n"
	"\n"
	"[[rule]]\n"
	"match = \\(dqregistry.example/team/*\\(dq\n"
	"accelerate = \\(dqpush\\(dq\n"
	"\n"
	"[[rule]]\n"
	"match = \\(dq*/scratch/*\\(dq\n"
	"accelerate = \\(dqoff\\(dq\n"
	".EE\n"
	".SH ENVIRONMENT\n"
	".TP\n"
	"\\fBFCPULL_ACCELERATE\\fR\n"
	"HOW, for all images.\n"
	".TP\n"
	"\\fBFCPULL_CONF\\fR\n"
	"A file in place of the system\\(aqs.\n"
	".TP\n"
	"\\fBXDG_CONFIG_HOME\\fR\n"
	"Has fcpull/fcpull.conf, the user\\(aqs file, in place of\n"
	"\\fI~/.config\\fR.\n"
	".SH SEE ALSO\n"
	"\\fBfcpull\\fR(1)\n";

static int man(int argc, char **argv)
{
	static const char *const pages[] = { "fcpull", "mount.fcpull", "fcpull.conf" };
	const char *page = argc ? argv[0] : pages[0];
	bool known = false;
	struct optdoc d = all();

	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		known |= !strcmp(page, pages[i]);
	if (argc > 1 || !known) {
		warn("man takes fcpull, mount.fcpull or fcpull.conf; try 'fcpull man --help'");
		return EXIT_USAGE;
	}
	if (!strcmp(page, "fcpull.conf"))
		fputs(conf_page, stdout);
	else if (!strcmp(page, "mount.fcpull"))
		optdoc_man_of(&applet_mount, argv[0], 8, "IMAGE DIR [-o LIST]", mount_options_doc,
			mount_tail, stdout);
	else
		optdoc_man(&d, fcpull_tail, stdout);
	return 0;
}

const struct applet applet_man = {
	"man",
	"[fcpull|mount.fcpull|fcpull.conf]",
	"print a manual page, for man(1)",
	no_opts,
	"  fcpull man | man -l -\n",
	man,
	false,
	0,
};
