"""conversion.py - how fast an image is converted, against gunzip and against mksquashfs and mkfs.erofs

The registry's blobs are in a tmpfs; it is pushed to the same registry, on loopback without a link. Disk = the store and TMPDIR,
open files without a name included, looked at every 200 ms. Memory = the largest process's peak.
SPDX-License-Identifier: Apache-2.0
"""
import os
import signal
import stat
import subprocess
import threading
import time

import link
from base import Failed, S, remove, wipe
from measure import drop_caches, in_child, touch_memory, wait_until_quiet
from prepare import unpack
from tools import TOOLS


def used_below(d, seen):
    n = 0
    for path, _, names in os.walk(d):
        for f in names:
            try:
                st = os.lstat(os.path.join(path, f))
            except OSError:
                continue
            if (st.st_dev, st.st_ino) not in seen:
                seen.add((st.st_dev, st.st_ino))
                n += st.st_blocks * 512
    return n


def used_by_open_files(pid, seen):
    n = 0
    try:
        for f in os.listdir(f"/proc/{pid}/fd"):
            st = os.stat(f"/proc/{pid}/fd/{f}")
            if stat.S_ISREG(st.st_mode) and not st.st_nlink and (st.st_dev, st.st_ino) not in seen:
                seen.add((st.st_dev, st.st_ino))
                n += st.st_blocks * 512
    except OSError:
        pass
    return n


def measured(cmd, env=None, watch=None):
    """wall and CPU seconds, peak memory and, below the directory watch, peak disk of a command"""
    peak = [0]
    start = time.monotonic()
    p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    done = threading.Event()

    def look():
        while not done.wait(0.2):  # seldom, since it takes time of the same processors
            seen = set()
            peak[0] = max(peak[0], used_below(watch, seen) + used_by_open_files(p.pid, seen))

    t = threading.Thread(target=look)
    if watch:
        t.start()
    try:
        err = p.stderr.read()
        _, status, usage = os.wait4(p.pid, 0)
    except BaseException:
        os.kill(p.pid, signal.SIGTERM)
        raise
    finally:
        done.set()
        if watch:
            t.join()
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise Failed(f"{' '.join(cmd)}: exit {p.returncode}\n{err.decode(errors='replace')[-600:]}")
    return {"total": round(time.monotonic() - start, 3), "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "rss": usage.ru_maxrss * 1024, "disk": peak[0]}


def gunzip(store, name):
    """all layers, one after the other, to /dev/null"""
    touch_memory(name)
    t = [measured(["gzip", "-dc", link.blob_path(store, d["digest"])]) for d in link.layers(store, name)]
    return {k: round(sum(r[k] for r in t), 3) for k in ("total", "cpu_s")}


def fcpull_convert(store, name):
    """each time from an empty store and into a registry that has nothing but the original"""
    place = S.at("s", "convert")
    wipe(place)
    reg = link.Registry(store).up()
    env = {"PATH": os.environ["PATH"], "HOME": place, "TMPDIR": place, "FCPULL_ROOT": os.path.join(place, "store")}
    try:
        drop_caches([S.fcpull])
        wait_until_quiet()
        touch_memory(name)  # what was dropped has gone back to the host
        rec = measured([S.fcpull, "convert", "-q", "--plain-http", reg.ref(name, "latest"), reg.ref(name, "fc")], env, place)
    finally:
        reg.stop()
        remove(place)
    rec["size"] = sum(d["size"] for d in link.accelerated(store, name, "fc")["layers"])
    rec["original_size"] = sum(d["size"] for d in link.layers(store, name))
    return rec


def make_image(cmd, name):
    """of the unpacked tree, read into memory first"""
    out, tree = S.at("s", "image.out"), os.path.join(S.at("unpacked"), name, "rootfs")
    try:
        measured(["tar", "-C", tree, "--exclude=./proc", "-cf", "/dev/zero", "."])
        wait_until_quiet()
        rec = measured([a.replace("TREE", tree).replace("OUT", out) for a in cmd])
        rec["size"] = os.path.getsize(out)
        return rec
    finally:
        if os.path.exists(out):
            os.unlink(out)


def references():
    squash = ["mksquashfs", "TREE", "OUT", "-noappend", "-quiet", "-no-progress", "-comp"]
    refs = {"mksquashfs zstd 3": [*squash, "zstd", "-Xcompression-level", "3"], "mksquashfs lz4": [*squash, "lz4"]}
    if TOOLS["mount.erofs"].bin:
        mkfs = os.path.join(TOOLS["mount.erofs"].bin, "mkfs.erofs")
        refs["mkfs.erofs zstd 3"] = [mkfs, "--quiet", "-zzstd,level=3", "-C131072", "OUT", "TREE"]
    return refs


def measure(prepared, name, runs, wanted):
    """wanted(tool, i) says whether that run is still to be made; yields the records"""
    store = S.at("memory")
    for i in range(runs):
        for tool, function in (("gzip -dc", gunzip), ("convert", fcpull_convert)):
            if wanted(tool, i):
                link.in_memory(store)
                link.copy_image(prepared.store, store, name, only=["latest"])
                yield tool, i, in_child(function, store, name)
    link.in_memory(store)
    todo = {tool: cmd for tool, cmd in references().items() if wanted(tool, 0)}
    if todo:
        reg = link.Registry(prepared.store).up()
        try:
            unpack(reg, name)
        finally:
            reg.stop()
    for tool, cmd in todo.items():
        yield tool, 0, in_child(make_image, cmd, name)
