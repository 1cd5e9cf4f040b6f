#!/usr/bin/env python3
# test/tarlist.py FCPULL FILE - an archive as fcpull lists it and as python's tarfile does: equal, or what differs
#
# Prints "same N", "refused MESSAGE", "python refuses, N entries" or "differs ..." with both sides. Entries are merged as in an
# image: the last of a name wins, links are the node that they mean.
# SPDX-License-Identifier: Apache-2.0
import json, posixpath, subprocess, sys, tarfile


def ours(fcpull, path):
    p = subprocess.run([fcpull, "ls", "-q", "-R", "--json", "tar:" + path, "/"], capture_output=True)
    if p.returncode:
        return None, p.stderr.decode("utf-8", "replace").strip()
    doc = json.loads(p.stdout.decode())
    out = {}
    for e in doc:
        name = e["path"].strip("/")
        if name:
            out[name] = e
    return out, ""


# fcpull's JSON shows a byte that is no UTF-8 as U+FFFD.
def shown(text):
    return "".join("\ufffd" if 0xdc80 <= ord(c) <= 0xdcff else c for c in text)


def clean(name):
    return shown(posixpath.normpath("/" + name).strip("/"))


def theirs(path):
    out = {}
    with tarfile.open(path, errors="surrogateescape") as t:
        for m in t:
            name = clean(m.name)
            if not name:
                continue
            if m.islnk():
                target = out.get(clean(m.linkname))
                if target is None:
                    raise tarfile.TarError(f"link {name} to what is not there")
                out[name] = target
                continue
            for i, c in enumerate(name):    # what stands in the way goes
                if c == "/" and name[:i] in out and not out[name[:i]].isdir():
                    del out[name[:i]]
            if not m.isdir():
                for k in [k for k in out if k.startswith(name + "/")]:
                    del out[k]
            out[name] = m
    return out


def type_of(m):
    return ("directory" if m.isdir() else "symlink" if m.issym() else "fifo" if m.isfifo() else
            "char" if m.ischr() else "block" if m.isblk() else "file")


def main():
    fcpull, path = sys.argv[1:]
    mine, why = ours(fcpull, path)
    if mine is None:
        print("refused", why.replace("\n", " "))
        return
    try:
        other = theirs(path)
    except (tarfile.TarError, EOFError, OSError, ValueError) as e:
        why = " ".join(str(e).split())
        print(f"python refuses ({why}), {len(mine)} entries")
        return
    bad = []
    implied = {k for k, e in mine.items() if k not in other and e["type"] == "directory"}
    if set(mine) - implied != set(other):
        bad.append(f"names: ours {sorted(set(mine) - implied - set(other))}, python's {sorted(set(other) - set(mine))}")
    for k in set(mine) & set(other):
        e, m = mine[k], other[k]
        a = (e["type"], int(e["mode"], 8), e["uid"], e["gid"], e["mtime"], e.get("target"))
        b = (type_of(m), m.mode & 0o7777, m.uid, m.gid, int(m.mtime // 1), shown(m.linkname) if m.issym() else None)
        if m.issym():
            a, b = a[:1] + a[2:], b[:1] + b[2:]
        if m.isreg():
            a, b = a + (e["size"],), b + (m.size,)
        if a != b:
            bad.append(f"{k}: {a} {b}")
    print(("differs " + "; ".join(bad)) if bad else f"same {len(other)}")


main()
