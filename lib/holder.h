// holder.h - the process that owns a FUSE connection, so that the one which serves it may die
//
// The holder knows no image, no network and no file format: it holds descriptors, starts a worker,
// watches it, and starts the next one when it dies, hangs, or is to be replaced by another
// executable. It ends when the file system is unmounted, or when workers die too fast; then the
// connection is closed, and readers get errors instead of waiting for ever.
// SPDX-License-Identifier: Apache-2.0
#ifndef HOLDER_H
#define HOLDER_H

#include "base.h"

// It is this same program, executed anew, so that its memory is as small as its task. main() looks
// at these.
#define HOLDER_NAME \
	"@fcpull: " // argv[0] begins so: systemd spares '@' processes when it ends all others
#define HOLDER_ROLE \
	"fcpull-holder-3" // argv[1]; the number is that of the descriptors' and arguments' meaning
#define WORKER_NAME "@fcpull-worker: "
#define WORKER_ROLE "fcpull-worker-3"

// Descriptors by number, in both processes; the worker has ABOUT, FUSE, LOG, RECORD, STORE, its own two,
// and the first one BOOT.
enum {
	HOLD_FUSE = 3,	  // /dev/fuse, mounted
	HOLD_ABOUT = 4,	  // sealed memfd: what the worker must know
	HOLD_EXE = 5,	  // executable of the next worker
	HOLD_DIR = 6,	  // the state directory
	HOLD_STATE = 7,	  // ID.json there, locked
	HOLD_LISTEN = 8,  // ID.sock there, listening
	HOLD_LOG = 9,	  // becomes standard error when the first worker is ready
	HOLD_READY = 10,  // pipe: one byte when the first worker could serve
	HOLD_BOOT = 11,	  // the boot stream; /dev/null: none
	HOLD_RECORD = 12, // where what is read is written down; /dev/null: nowhere
	HOLD_STORE = 13, // the store's directory: its path may mean another place after switch_root
	WORK_CTL = 14,	 // worker: SOCK_SEQPACKET to the holder
	WORK_LEDGER = 15, // worker: memfd, struct fuse_ledger
	HOLD_END = 16,
};

// Becomes the holder. argv: HOLDER_NAME and image, HOLDER_ROLE, ID, number of the FUSE connection.
// Returns the exit code.
int holder_main(int argc, char **argv);

#endif
