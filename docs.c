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
	".TP\n\\fBFCPULL_RUN\\fR\nThe directory of run\\-time state.\n"
	".TP\n\\fBREGISTRY_AUTH_FILE\\fR, \\fBDOCKER_CONFIG\\fR\nCredentials, as for podman and docker.\n"
	".TP\n\\fBSSL_CERT_FILE\\fR\nCertificate authorities.\n"
	".TP\n\\fBhttps_proxy\\fR, \\fBhttp_proxy\\fR, \\fBno_proxy\\fR\nAs for curl(1).\n"
	".TP\n\\fBTMPDIR\\fR\nFor scratch files, else /var/tmp.\n"
	".SH FILES\n"
	".TP\n\\fI/var/lib/fcpull\\fR\nThe store of root; of others \\fI~/.local/share/fcpull\\fR.\n"
	".TP\n\\fI/run/fcpull\\fR\nWhat is mounted and what runs; of others "
	"\\fI$XDG_RUNTIME_DIR/fcpull\\fR.\n"
	".SH SEE ALSO\n\\fBmount.fcpull\\fR(8), \\fBmount\\fR(8)\n";

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

static int man(int argc, char **argv)
{
	struct optdoc d = all();

	if (argc > 1 || (argc && strcmp(argv[0], "fcpull") && strcmp(argv[0], "mount.fcpull"))) {
		warn("man takes fcpull or mount.fcpull; try 'fcpull man --help'");
		return EXIT_USAGE;
	}
	if (argc && !strcmp(argv[0], "mount.fcpull"))
		optdoc_man_of(&applet_mount, argv[0], 8, "IMAGE DIR [-o LIST]", mount_options_doc,
			mount_tail, stdout);
	else
		optdoc_man(&d, fcpull_tail, stdout);
	return 0;
}

const struct applet applet_man = {
	"man",
	"[fcpull|mount.fcpull]",
	"print a manual page, for man(1)",
	no_opts,
	"  fcpull man | man -l -\n",
	man,
	false,
	0,
};
