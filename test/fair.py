#!/usr/bin/env python3
# fair.py - those who read little beside those who read much, by the requests that reach the registry
# SPDX-License-Identifier: Apache-2.0
"""fair.py FCPULL LAYOUT MNT DRIVER HUGE LITTLE

The registry answers one request for a blob at a time, when it is told to. HUGE processes read a large file each, LITTLE processes then one
chunk each; the answers are counted that are given until the last of these has its bytes. A reader has no more requests under way than
the kernel reads ahead, and the queue is first come, first served: that is the bound. Prints both numbers; exit 1: it is exceeded."""
import os
import subprocess
import sys
import threading
import time

import registry

WORKERS = 6     # of a mount: each has a request under way when the little ones come
WINDOWS = 2     # requests of a reader of much that may be queued before them: what it waits for, what is read ahead
PATIENCE = 60   # seconds, for what must happen


class Gated(registry.Registry):
    """answers in the order of arrival, so many as it was allowed"""
    closed = False
    arrived = allowed = 0

    def rule_for(self, line):
        if self.closed and "/blobs/" in line:
            with self.turn:
                self.arrived += 1
                mine = self.arrived
                self.turn.notify_all()
                self.turn.wait_for(lambda: self.allowed >= mine or not self.closed)
        return super().rule_for(line)

    def allow(self):
        """one answer; then those that can come have come"""
        with self.turn:
            self.allowed += 1
            now = self.arrived
            self.turn.notify_all()
            self.turn.wait_for(lambda: self.arrived > now, 0.5)


def until(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"never: {what}")
        time.sleep(0.01)


def waits(p):
    """in the kernel, for a page"""
    try:
        return open(f"/proc/{p.pid}/stat").read().rsplit(")", 1)[1].split()[0] == "D"
    except OSError:
        return False


def reader(path):
    return subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL)


def measure(reg, mnt, huge, little):
    readers = [reader(f"{mnt}/huge/{i}") for i in range(huge)]
    until("the workers are busy", lambda: reg.arrived >= WORKERS)
    until("all who read much wait", lambda: all(map(waits, readers)))
    late = [reader(f"{mnt}/little/{i}") for i in range(little)]
    until("all who read little wait", lambda: all(map(waits, late)))
    bound, answers = WORKERS + WINDOWS * huge + little, 0
    while any(p.poll() is None for p in late) and answers <= 4 * bound:
        reg.allow()
        answers += 1
    busy = sum(p.poll() is None for p in readers)
    with reg.turn:
        reg.closed = False
        reg.turn.notify_all()
    good = all(p.wait() == 0 for p in late + readers)
    print(f"{answers} answers of {bound} and {busy} still read" if good else "a reader got an error")
    return good and answers <= bound and busy == huge


def main():
    fcpull, layout, mnt, driver, huge, little = sys.argv[1:]
    reg = Gated()
    reg.turn = threading.Condition()
    reg.load("x", layout)
    subprocess.run([fcpull, "mount", "-q", "--fill=off", "-o", "driver=" + driver, f"127.0.0.1:{reg.port}/x:fair", mnt], check=True)
    reg.closed = True
    try:
        return 0 if measure(reg, mnt, int(huge), int(little)) else 1
    finally:
        subprocess.run([fcpull, "umount", mnt], check=True)


if __name__ == "__main__":
    sys.exit(main())
