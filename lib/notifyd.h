// notifyd.h - words to the service manager that has started us (sd_notify(3))
// SPDX-License-Identifier: Apache-2.0
#ifndef NOTIFYD_H
#define NOTIFYD_H

// "READY=1", "STOPPING=1" to $NOTIFY_SOCKET, if there is one.
void notifyd_say(const char *what);

#endif
