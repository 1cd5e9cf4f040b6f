// credhelper.h - docker's credential helpers: programs that keep credentials elsewhere
//
// docker-credential-NAME is found in $PATH and run as `docker-credential-NAME get|store|erase`, with
// its input on standard input and its answer on standard output (docker/docker-credential-helpers). No
// shell is involved, and nothing from a registry or an image gets here: NAME comes from the user's
// own configuration, the server's name from the command line.
// SPDX-License-Identifier: Apache-2.0
#ifndef CREDHELPER_H
#define CREDHELPER_H

#include "creds.h"

#define HELPER_NAME_MAX 64	      // bytes of NAME
#define HELPER_REPLY_MAX (128u << 10) // bytes of an answer: two fields and their escapes
#define HELPER_SERVER_MAX 1024	      // bytes of a server's name

// How long one may take (it may ask for a passphrase): 60; tests shorten it.
extern unsigned credhelper_seconds;

// Letters, digits, '.', '_', '-', the first a letter or digit: it becomes part of a file's name.
bool credhelper_is_name(const char *name);
// 1 with *ret; 0 the helper knows nothing of the server; -errno logged.
int credhelper_get(const char *name, const char *server, struct creds *ret) must_check;
// c has a user and a password. -errno logged.
int credhelper_store(const char *name, const char *server, const struct creds *c) must_check;
// Success also when it had nothing. -errno logged.
int credhelper_erase(const char *name, const char *server) must_check;

// The parser of `get`'s answer, for tests and fuzzing: 1, or -EBADMSG silent.
int credhelper_parse(const char *text, size_t n, struct creds *ret) must_check;

#endif
