#!/usr/bin/env python3
# holder.py - readers that compare, and what is done to the processes that serve them
# SPDX-License-Identifier: Apache-2.0
"""holder.py MNT REFERENCE FCPULL HOLDER-PID ACT N [ARG]

Four processes read MNT at random, past the page cache, and compare each byte with REFERENCE, while ACT is done N times:
  kill       SIGKILL to the worker at random times
  segv       SIGSEGV
  stop       SIGSTOP, then a wait for the successor
  upgrade    hand-over to the executables ARG, ARG2 by turns
Prints what came of it; exit 0 when there was no error and no wrong byte."""
import json
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import time


def files_of(ref):
    out = []
    for d, dirs, names in os.walk(ref):
        dirs.sort()
        for n in sorted(names):
            p = os.path.join(d, n)
            st = os.lstat(p)
            if stat.S_ISREG(st.st_mode) and st.st_size:
                out.append(os.path.relpath(p, ref))
    return out


def read_past_cache(path, off, n):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        out = b""
        while len(out) < n:
            got = os.pread(fd, n - len(out), off + len(out))
            if not got:
                break
            out += got
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return out
    finally:
        os.close(fd)


def reader(mnt, ref, files, seed, stop, result):
    rnd = random.Random(seed)
    reads = nbytes = wrong = errors = 0
    stall = 0.0
    said = ""
    big = max(files, key=lambda f: os.stat(os.path.join(ref, f)).st_size)
    while not stop.is_set():
        f = big if rnd.random() < 0.2 else rnd.choice(files)
        want = os.path.join(ref, f)
        size = os.stat(want).st_size
        off = rnd.randrange(size)
        n = min(size - off, rnd.choice((1, 4096, 65536, 1 << 20)))
        start = time.monotonic()
        try:
            if rnd.random() < 0.05:
                os.listdir(os.path.dirname(os.path.join(mnt, f)))
            got = read_past_cache(os.path.join(mnt, f), off, n)
        except OSError as e:
            errors += 1
            said = f"{f}: {e}"
            continue
        stall = max(stall, time.monotonic() - start)
        with open(want, "rb") as w:
            w.seek(off)
            if w.read(n) != got:
                wrong += 1
                said = f"{f} at {off}+{n}: {len(got)} bytes"
        reads += 1
        nbytes += len(got)
    result.put((reads, nbytes, wrong, errors, stall, said))


def worker_of(holder):
    """the newest child of the holder, or 0"""
    try:
        with open(f"/proc/{holder}/task/{holder}/children") as f:
            pids = [int(p) for p in f.read().split()]
    except OSError:
        sys.exit("the holder is gone")
    live = []
    for p in pids:
        try:
            with open(f"/proc/{p}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] not in "ZX":
                    live.append(p)
        except OSError:
            pass
    return live[-1] if live else 0


def hit(holder, sig, last=[0]):
    """each worker once: one that is dying already does not count"""
    while True:
        pid = worker_of(holder)
        if pid and pid != last[0]:
            os.kill(pid, sig)
            last[0] = pid
            return pid
        time.sleep(0.001)


def forget():
    """the kernel's copies of image.erofs, which readers cannot drop; a worker that is asked for nothing is none to kill"""
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def act(what, holder, fcpull, args, i, rnd):
    if i % 4 == 0:
        forget()
    if what in ("kill", "segv"):
        time.sleep(rnd.uniform(0.0, 0.15))
        hit(holder, signal.SIGKILL if what == "kill" else signal.SIGSEGV)
    elif what == "stop":
        time.sleep(rnd.uniform(0.1, 0.5))
        pid = hit(holder, signal.SIGSTOP)
        while os.path.exists(f"/proc/{pid}") and worker_of(holder) == pid:
            time.sleep(0.01)
    elif what == "upgrade":
        time.sleep(rnd.uniform(0.0, 0.1))
        r = subprocess.run([fcpull, "upgrade-mounts", "--exe", args[i % len(args)]], capture_output=True, text=True)
        if r.returncode:
            sys.exit(f"upgrade-mounts: {r.stderr}")


def main(mnt, ref, fcpull, holder, what, n, *args):
    files = files_of(ref)
    stop, result = multiprocessing.Event(), multiprocessing.Queue()
    readers = [multiprocessing.Process(target=reader, args=(mnt, ref, files, i, stop, result), daemon=True) for i in range(4)]
    for r in readers:
        r.start()
    rnd = random.Random()
    start = time.monotonic()
    for i in range(int(n)):
        act(what, int(holder), fcpull, args, i, rnd)
    took = time.monotonic() - start
    time.sleep(0.3)
    stop.set()
    got = [result.get(timeout=60) for _ in readers]
    for r in readers:
        r.join()
    reads, nbytes, wrong, errors = (sum(g[i] for g in got) for i in range(4))
    st = json.loads(subprocess.run([fcpull, "status", "--json"], capture_output=True, text=True).stdout)["mounts"][0]
    for g in got:
        if g[5]:
            print(g[5])
    print(f"{n} x {what} in {took:.1f} s: {reads} reads, {nbytes >> 20} MiB, {errors} errors, {wrong} wrong, "
          f"longest stall {max(g[4] for g in got) * 1000:.0f} ms, {st['restarts']} restarts, {st['handovers']} handovers")
    return 1 if errors or wrong or not reads else 0


if __name__ == "__main__":
    if len(sys.argv) < 7:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
