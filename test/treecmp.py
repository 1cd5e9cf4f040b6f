#!/usr/bin/env python3
# treecmp.py - are two directory trees the same, in everything that an image can say?
#
# Compared: the set of paths, type, mode, uid, gid, mtime to the ns, size, sha256 of the content, symlink target,
# link groups (which names are one file), device numbers, xattrs of all namespaces. Each side is a directory or the
# JSON that --save (or torture.py) wrote. Link counts of directories and inode numbers are a file system's own affair.
#
# One process walks a side while its threads hash the files: sha256 and read() release Python's lock.
# SPDX-License-Identifier: Apache-2.0
"""treecmp.py [--except NAME]... [--save FILE] A [B]

Prints the first 20 differences and their count. Exit 1 on any difference, 2 on a usage or read error."""
import concurrent.futures
import errno
import hashlib
import json
import os
import re
import stat
import sys

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
         stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
FIELDS = ("type", "mode", "uid", "gid", "mtime", "size", "sha256", "target", "rdev", "group", "xattrs")
SHOWN = 20
INLINE = 64 << 10      # smaller files are hashed where they are found: a task costs more than they do


# ---- deviations of the reference, each as narrow as it can be said ----
# Name of the reference -> rows of (paths, field, test on the two values, why). B is the reference. No row is about
# content, names, modes, ids, links or xattrs: there umoci and the image agree on everything in the torture image.
NOW = 1750000000        # later than any time in the torture image: "umoci wrote this while it unpacked"
EXCEPTIONS = {"umoci": [
    (rb"(implicit(/a(/b(/c)?)?|/s|/h)?|usr-share(/doc)?)", "mtime", lambda a, b: b[0] > NOW,
     "a parent that no entry names has no mtime in the image; umoci leaves the time of unpacking"),
    (rb"late", "mtime", lambda a, b: b[0] > NOW,
     "umoci makes the missing late/first inside it and restores the time of the direct parent of an entry only"),
    (rb"wo/re-before-dir", "mtime", lambda a, b: b[0] > NOW,
     "a whiteout that comes after the directory: umoci removes the lower children and leaves the directory's time changed"),
]}


def excuse(names, path, field, p, q):
    """which of the named references owns this difference"""
    for name in names:
        for paths, f, test, _ in EXCEPTIONS[name]:
            if f == field and re.fullmatch(paths, path) and test(p, q):
                return name
    return None


# ---- reading a side ----
def digest(path, size):
    h = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if hasattr(os, "posix_fadvise") and size > INLINE:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while True:
            data = os.read(fd, 1 << 20)
            if not data:
                return h.hexdigest()
            h.update(data)
    finally:
        os.close(fd)


def xattr_names(path):
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
        return []       # a file system that knows no xattrs shows none


def node_of(path, st):
    n = {"type": TYPES[stat.S_IFMT(st.st_mode)], "mode": stat.S_IMODE(st.st_mode), "uid": st.st_uid, "gid": st.st_gid,
         "mtime": [st.st_mtime_ns // 10**9, st.st_mtime_ns % 10**9]}
    if n["type"] == "symlink":
        n["target"] = os.fsdecode(os.readlink(path))
    elif n["type"] in ("char", "block"):
        n["rdev"] = [os.major(st.st_rdev), os.minor(st.st_rdev)]
    x = {k: os.getxattr(path, k, follow_symlinks=False).hex() for k in xattr_names(path)}
    if x:
        n["xattrs"] = x
    return n


def read_dir(root, pool):
    root = os.fsencode(root)
    nodes, links, jobs, todo = {}, {}, [], [b""]

    def add(rel, path, st):
        key = (st.st_dev, st.st_ino)
        first = links.get(key) if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode) else None
        if first:
            first.append(rel)
            nodes[rel] = nodes[first[0]]    # one inode: one node, its content is read once
            return
        n = nodes[rel] = node_of(path, st)
        if st.st_nlink > 1 and n["type"] != "dir":
            links[key] = [rel]
        if n["type"] == "file":
            n["size"] = st.st_size
            if st.st_size <= INLINE:
                n["sha256"] = digest(path, st.st_size)
            else:
                jobs.append((n, pool.submit(digest, path, st.st_size)))

    add(b"", root, os.lstat(root))
    while todo:
        rel = todo.pop()
        with os.scandir(os.path.join(root, rel) if rel else root) as it:
            for e in it:
                name = os.path.join(rel, e.name) if rel else e.name
                add(name, e.path, e.stat(follow_symlinks=False))
                if e.is_dir(follow_symlinks=False):
                    todo.append(name)
    for n, job in jobs:
        n["sha256"] = job.result()
    for names in links.values():
        if len(names) > 1:
            nodes[names[0]]["group"] = os.fsdecode(min(names))
    return nodes


def read_json(file):
    with open(file) as f:
        return {os.fsencode(n.pop("path")): n for n in json.load(f)}


def read_side(side, pool):
    return read_dir(side, pool) if os.path.isdir(side) else read_json(side)


def save(nodes, file):
    with open(file, "w") as f:
        json.dump([dict(nodes[p], path=os.fsdecode(p)) for p in sorted(nodes)], f)


# ---- comparing ----
def differences(a, b, excused):
    """(path, text) in path order; a difference that an exception owns is counted in excused"""
    for path in sorted(a.keys() | b.keys()):
        x, y = a.get(path), b.get(path)
        for field in (FIELDS if x and y else ("path",)):
            p, q = (x.get(field), y.get(field)) if x and y else (bool(x), bool(y))
            if p == q or field == "mtime" and None in (p, q):
                continue        # null: the image does not say
            owner = excuse(excused, path, field, p, q)
            if owner:
                excused[owner] += 1
            elif field == "path":
                yield path, "only in A" if x else "only in B"
            else:
                yield path, f"{field}: {p} | {q}"


def main(argv):
    excused, out, sides = {}, None, []
    while argv:
        a = argv.pop(0)
        if a == "--except" and argv and argv[0] in EXCEPTIONS:
            excused[argv.pop(0)] = 0
        elif a == "--save" and argv:
            out = argv.pop(0)
        elif a.startswith("-"):
            sys.exit(__doc__)
        else:
            sides.append(a)
    if not sides or len(sides) > 2 or len(sides) == 1 and not out:
        print(__doc__, file=sys.stderr)
        return 2
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 2))) as pool:
        trees = [read_side(s, pool) for s in sides]
    if out:
        save(trees[0], out)
    if len(trees) == 1:
        return 0
    count = 0
    for path, what in differences(*trees, excused):
        count += 1
        if count <= SHOWN:
            print(f"{path!r}: {what}")
    print(f"{len(trees[0])} and {len(trees[1])} paths, {count} differences"
          + "".join(f", {n} more excused as {k}'s" for k, n in excused.items()))
    return 1 if count else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as e:
        print(f"treecmp: {e}", file=sys.stderr)
        sys.exit(2)
