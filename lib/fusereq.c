// fusereq.c - what requests the FUSE kernel protocol has, their check, and the answers that are its own
// SPDX-License-Identifier: Apache-2.0
#include "fuseint.h"

#include "log.h"

#define MINOR_LEAST 23 // the first that has today's fuse_init_out
#define MINOR_KNOWN 38
#define MAX_READAHEAD (1u << 20)
// Requests beyond it wait in the kernel, those for data that is here behind those for data that
// is not: so it is large.
#define MAX_BACKGROUND 1024
#define CONGESTION 768 // from here on the kernel leaves out speculative read-ahead
// Not FUSE_ASYNC_DIO: a reader of O_DIRECT would wait unkillably (fuse_direct_IO:
// wait_for_completion).
#define WANTED                                                                                    \
	(FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |    \
		FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_ABORT_ERROR | FUSE_MAX_PAGES | \
		FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA)

// ---- requests that are the protocol's own business ----

static int op_init(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_init_in *in = rq->arg; // its first 16 bytes; the rest came with 7.36
	struct fuse_init_out *out = (void *)rp->buf;
	uint32_t want = WANTED | (f->fs->acl ? FUSE_POSIX_ACL : 0u);

	rp->len = sizeof *out;
	memset(out, 0, sizeof *out);
	out->major = FUSE_KERNEL_VERSION;
	out->minor = MIN(in->minor, (uint32_t)MINOR_KNOWN);
	if (in->major > FUSE_KERNEL_VERSION) // the kernel will ask again, in our version
		return 0;
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR_LEAST) {
		f->init_error = warn_errno(-EPROTO,
			"fuse: the kernel speaks %u.%u, needed is %d.%d (Linux 3.15) or later",
			in->major, in->minor, FUSE_KERNEL_VERSION, MINOR_LEAST);
		return f->init_error;
	}
	out->flags = in->flags & want;
	out->max_readahead = MIN(in->max_readahead, MAX_READAHEAD);
	out->max_background = MAX_BACKGROUND;
	out->congestion_threshold = CONGESTION;
	out->max_write = 4096; // the least there is
	out->time_gran = 1;
	out->max_pages = FUSE_IO_MAX / 4096;
	f->no_open = in->flags & FUSE_NO_OPEN_SUPPORT;
	f->no_opendir = in->flags & FUSE_NO_OPENDIR_SUPPORT;
	debug("fuse: protocol 7.%u, kernel offers %#x, taken %#x", in->minor, in->flags,
		out->flags);
	return 0;
}

// ENOSYS, once, makes the kernel open without asking, with exactly these flags
// (FUSE_NO_OPEN_SUPPORT).
static int reply_open(bool none, uint32_t flags, struct fuse_reply *rp)
{
	struct fuse_open_out out = { .open_flags = flags };

	if (none)
		return -ENOSYS;
	memcpy(rp->buf, &out, sizeof out);
	rp->len = sizeof out;
	return 0;
}

static int op_open(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	(void)rq;
	return reply_open(f->no_open, FOPEN_KEEP_CACHE, rp);
}

static int op_opendir(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	(void)rq;
	return reply_open(f->no_opendir, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR, rp);
}

// ---- the protocol table ----

// Minimum sizes are given where the struct is looked at. Forgetting is free: node ids are fixed.
// RELEASE and the like are not refused, for an old kernel sends them. The rest is answered so
// that the kernel does not ask again: ENOSYS to FLUSH, FSYNC, ACCESS, POLL, LSEEK, STATX and
// locks means "do it yourself"; what would write is EROFS, though the kernel refuses it before it
// comes here.
static const struct fuse_op op_table[FUSE_OPCODES] = {
	[FUSE_LOOKUP] = { "LOOKUP", 0, NODE | NAME, -ENOSYS, NULL },
	[FUSE_FORGET] = { "FORGET", 0, NO_REPLY, 0, NULL },
	[FUSE_GETATTR] = { "GETATTR", 0, NODE, -ENOSYS, NULL },
	[FUSE_SETATTR] = { "SETATTR", 0, 0, -EROFS, NULL },
	[FUSE_READLINK] = { "READLINK", 0, NODE, -ENOSYS, NULL },
	[FUSE_SYMLINK] = { "SYMLINK", 0, 0, -EROFS, NULL },
	[FUSE_MKNOD] = { "MKNOD", 0, 0, -EROFS, NULL },
	[FUSE_MKDIR] = { "MKDIR", 0, 0, -EROFS, NULL },
	[FUSE_UNLINK] = { "UNLINK", 0, 0, -EROFS, NULL },
	[FUSE_RMDIR] = { "RMDIR", 0, 0, -EROFS, NULL },
	[FUSE_RENAME] = { "RENAME", 0, 0, -EROFS, NULL },
	[FUSE_LINK] = { "LINK", 0, 0, -EROFS, NULL },
	[FUSE_OPEN] = { "OPEN", 0, NODE, 0, op_open },
	[FUSE_READ] = { "READ", sizeof(struct fuse_read_in), NODE, -ENOSYS, NULL },
	[FUSE_WRITE] = { "WRITE", 0, 0, -EROFS, NULL },
	[FUSE_STATFS] = { "STATFS", 0, 0, -ENOSYS, NULL },
	[FUSE_RELEASE] = { "RELEASE", 0, 0, 0, NULL },
	[FUSE_FSYNC] = { "FSYNC", 0, 0, -ENOSYS, NULL },
	[FUSE_SETXATTR] = { "SETXATTR", 0, 0, -EROFS, NULL },
	[FUSE_GETXATTR] = { "GETXATTR", sizeof(struct fuse_getxattr_in), NODE | NAME, -ENOSYS,
		NULL },
	[FUSE_LISTXATTR] = { "LISTXATTR", sizeof(struct fuse_getxattr_in), NODE, -ENOSYS, NULL },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", 0, 0, -EROFS, NULL },
	[FUSE_FLUSH] = { "FLUSH", 0, 0, -ENOSYS, NULL },
	[FUSE_INIT] = { "INIT", 16, 0, 0, op_init },
	[FUSE_OPENDIR] = { "OPENDIR", 0, NODE, 0, op_opendir },
	[FUSE_READDIR] = { "READDIR", sizeof(struct fuse_read_in), NODE, -ENOSYS, NULL },
	[FUSE_RELEASEDIR] = { "RELEASEDIR", 0, 0, 0, NULL },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", 0, 0, -ENOSYS, NULL },
	[FUSE_GETLK] = { "GETLK", 0, 0, -ENOSYS, NULL },
	[FUSE_SETLK] = { "SETLK", 0, 0, -ENOSYS, NULL },
	[FUSE_SETLKW] = { "SETLKW", 0, 0, -ENOSYS, NULL },
	[FUSE_ACCESS] = { "ACCESS", 0, 0, -ENOSYS, NULL },
	[FUSE_CREATE] = { "CREATE", 0, 0, -EROFS, NULL },
	[FUSE_INTERRUPT] = { "INTERRUPT", sizeof(struct fuse_interrupt_in), NO_REPLY, 0,
		fuse_interrupt },
	[FUSE_BMAP] = { "BMAP", 0, 0, -ENOSYS, NULL },
	[FUSE_DESTROY] = { "DESTROY", 0, 0, 0, NULL },
	[FUSE_IOCTL] = { "IOCTL", 0, 0, -ENOTTY, NULL },
	[FUSE_POLL] = { "POLL", 0, 0, -ENOSYS, NULL },
	[FUSE_NOTIFY_REPLY] = { "NOTIFY_REPLY", 0, NO_REPLY, 0, NULL },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", 0, NO_REPLY, 0, NULL },
	[FUSE_FALLOCATE] = { "FALLOCATE", 0, 0, -EROFS, NULL },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", sizeof(struct fuse_read_in), NODE, -ENOSYS, NULL },
	[FUSE_RENAME2] = { "RENAME2", 0, 0, -EROFS, NULL },
	[FUSE_LSEEK] = { "LSEEK", 0, 0, -ENOSYS, NULL },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", 0, 0, -EROFS, NULL },
	[FUSE_SETUPMAPPING] = { "SETUPMAPPING", 0, 0, -ENOSYS, NULL },
	[FUSE_REMOVEMAPPING] = { "REMOVEMAPPING", 0, 0, -ENOSYS, NULL },
	[FUSE_SYNCFS] = { "SYNCFS", 0, 0, -ENOSYS, NULL },
	[FUSE_TMPFILE] = { "TMPFILE", 0, 0, -EROFS, NULL },
	[FUSE_OPCODES - 1] = { "STATX", 0, 0, -ENOSYS, NULL },
};

// What every read-like opcode asks for must fit into the buffer of a reply: a shorter one would
// mean the end of the file, and the kernel would believe it (fuse_short_read).
static bool reads(uint32_t opcode)
{
	return opcode == FUSE_READ || opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS;
}

int fuse_request_check(const void *msg, size_t len, uint64_t nodes, struct fuse_request *ret)
{
	const struct fuse_in_header *h = msg;

	if (len < sizeof *h || h->len != len)
		return -EBADMSG;
	*ret = (struct fuse_request){
		.unique = h->unique, .nodeid = h->nodeid, .opcode = h->opcode, .pid = h->pid
	};
	if (h->opcode >= FUSE_OPCODES || !op_table[h->opcode].name)
		return -ENOSYS;
	const struct fuse_op *op = ret->op = &op_table[h->opcode];
	if (op->what & NODE && (h->nodeid < 1 || h->nodeid > nodes))
		return -ESTALE;
	ret->arg = h + 1;
	// extensions, at the end, are none of those that were asked for; before 7.38 the field is
	// zero padding
	uint16_t extlen;
	memcpy(&extlen, (const uint8_t *)h + EXTLEN_AT, sizeof extlen);
	size_t rest = len - sizeof *h, ext = (size_t)extlen * 8;
	if (ext > rest || rest - ext < op->least)
		return -EINVAL;
	if (reads(h->opcode) && ((const struct fuse_read_in *)ret->arg)->size > FUSE_IO_MAX)
		return -EINVAL;
	if (!(op->what & NAME))
		return 0;
	rest -= ext + op->least;
	ret->name = (const char *)ret->arg + op->least;
	ret->name_len = strnlen(ret->name, rest);
	if (ret->name_len == 0 || ret->name_len + 1 != rest)
		return -EINVAL;
	return ret->name_len < FUSE_NAME_LIMIT ? 0 : -ENAMETOOLONG;
}
