#!/usr/bin/env python3
# guard.py - runs a command with a deadline and knows every process that it leaves behind
#
# As a child subreaper (prctl(2)) it inherits each orphan of the command, however often that forked, so nothing
# has to be found by name and nothing that others started is ever touched.
# SPDX-License-Identifier: Apache-2.0
"""guard.py SECONDS COMMAND [ARG]...     exit: the command's; 124 too slow; 98 it left processes behind"""
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
GRACE = 5       # seconds for servers that were told to end to do so


def descendants():
    """pids of all processes below this one, nearest first"""
    kids = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                kids.setdefault(int(f.read().rpartition(")")[2].split()[1]), []).append(int(pid))
        except OSError:
            pass
    out, todo = [], [os.getpid()]
    while todo:
        for k in kids.get(todo.pop(0), []):
            out.append(k)
            todo.append(k)
    return out


def say(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            cmd = f.read().replace(b"\0", b" ").decode(errors="replace")
        with open(f"/proc/{pid}/stat") as f:
            state = f.read().rpartition(")")[2].split()[0]
        return f"{pid} ({state}) {cmd}"
    except OSError:
        return str(pid)


def reap():
    """reaps what has ended; False when no child is left"""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill_all():
    end = time.monotonic() + 10
    while reap() and time.monotonic() < end:
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def wait_for(pid, end):
    """the command's exit status, or None at the deadline; orphans are reaped on the way"""
    pause = 0.002
    while time.monotonic() < end:
        try:
            got, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if got == pid:
            return os.waitstatus_to_exitcode(status)
        if not got:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
    return None


def main(argv):
    if len(argv) < 2:
        sys.exit(__doc__)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    limit = float(argv[0])
    p = subprocess.Popen(argv[1:], start_new_session=True, stdin=subprocess.DEVNULL)
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda *_: (kill_all(), os._exit(130)))
    rc = wait_for(p.pid, time.monotonic() + limit)
    if rc is None:
        print(f"guard: not done after {limit:g} s:", *map(say, descendants()), sep="\n  ", flush=True)
        kill_all()
        return 124
    rc = rc if rc >= 0 else 128 - rc
    end = time.monotonic() + GRACE
    while reap():
        if time.monotonic() > end:
            print("guard: left behind:", *map(say, descendants()), sep="\n  ", flush=True)
            kill_all()
            return rc or 98
        time.sleep(0.01)
    return rc


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
