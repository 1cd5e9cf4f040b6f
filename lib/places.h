// places.h - where store and run-time state are
// SPDX-License-Identifier: Apache-2.0
#ifndef PLACES_H
#define PLACES_H

#include "base.h"

// $FCPULL_ROOT, else /var/lib/fcpull, or of a user $XDG_DATA_HOME/fcpull, ~/.local/share/fcpull.
// NULL: there is none, logged. Caller frees.
char *places_store(void) must_check;
// $FCPULL_RUN, else /run/fcpull, or of a user $XDG_RUNTIME_DIR/fcpull, /run/user/UID/fcpull.
char *places_run(void) must_check;

#endif
