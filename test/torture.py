#!/usr/bin/env python3
# torture.py - an OCI layout with everything that a tar layer can say, and the tree that must come out
#
# The wanted tree is declared beside each entry by hand (gone = a later layer removes it, again = it replaces
# what was declared before), not computed by merging layers: it is an oracle of its own, next to umoci.
#
# References in the layout:
#   torture         layers plain, gzip (several members), zstd, gzip with every header field, and an empty one
#   torture-gz      the same layers in plain gzip members: umoci 0.4.7 reads neither zstd nor all header fields
#   torture-docker  the same as a Docker schema-2 image
#   torture-multi   an index: amd64 = torture, arm64 and arm/v7 = one file that names its platform
#   torture-list    the same as a Docker manifest list, of schema-2 images
#   big             a file of 5 GiB (mostly zeros) in gzip
# Beside it: torture.json, big.json, arm64.json = wanted trees, for treecmp.py.
# SPDX-License-Identifier: Apache-2.0
"""torture.py [--no-big] [--seed N] OUT"""
import hashlib
import json
import os
import random
import sys

import oci
from oci import BLK, CHR, DIR, FIFO, LINK, REG, SYM, b, sha

K, M, G = 1 << 10, 1 << 20, 1 << 30
T0 = (1600000000, 123456789)
CAP_V2 = bytes.fromhex("0100000200040000000000000000000000000000")              # cap_net_bind_service+ep
CAP_V3 = bytes.fromhex("0100000300200000000000000000000000000000e8030000")      # cap_net_raw+ep for root id 1000


class Image:
    """the layers, and the wanted tree: path -> node (shared between the names of a link group)"""

    def __init__(self):
        self.layers, self.want = [], {}

    def layer(self):
        self.layers.append(Layer(self))
        return self.layers[-1]

    def implicit(self, *paths):
        """parents that no entry names: 0755, root's, at no particular time"""
        for p in paths:
            self.set(b(p), {"type": "dir", "mode": 0o755, "uid": 0, "gid": 0, "mtime": None})

    def set(self, path, node, again=False):
        assert (path in self.want) == again, path
        self.want[path] = node

    def dump(self, file):
        groups = {}
        for path, node in self.want.items():
            groups.setdefault(id(node), []).append(path)
        out = []
        for path in sorted(self.want):
            parent = path.rpartition(b"/")[0]
            assert not path or self.want[parent]["type"] == "dir", path
            node, group = self.want[path], groups[id(self.want[path])]
            if len(group) > 1:
                node = dict(node, group=os.fsdecode(min(group)))
            out.append(dict(node, path=os.fsdecode(path)))
        with open(file, "w") as f:
            json.dump(out, f)


class Layer:
    def __init__(self, image):
        self.im, self.tar = image, oci.Tar()

    def _add(self, typ, kind, path, data=b"", mode=0o644, uid=0, gid=0, mtime=T0, xattrs=None, gone=False, again=False, name=None,
             more=None, **kw):
        path = b(path)
        raw = name if name is not None else path or "./"
        if kw.get("fmt", "pax") != "pax":
            mtime = (mtime[0], 0)
        self.tar.header(raw, typ=typ, size=len(data), mode=mode, uid=uid, gid=gid, mtime=mtime, xattrs=xattrs, **kw)
        self.tar.raw(oci.pad(data))
        node = {"type": kind, "mode": mode, "uid": uid, "gid": gid, "mtime": list(mtime), **(more or {})}
        if kind == "file":
            node.update(size=len(data), sha256=sha(data))
        if xattrs:
            node["xattrs"] = {k: b(v).hex() for k, v in sorted(xattrs.items())}
        if not gone:
            self.im.set(path, node, again)
        return node

    def file(self, path, data=b"", **kw):
        return self._add(kw.pop("typ", REG), "file", path, b(data), **kw)

    def dir(self, path, mode=0o755, **kw):
        return self._add(DIR, "dir", path, mode=mode, **kw)

    def sym(self, path, target, **kw):
        return self._add(SYM, "symlink", path, mode=0o777, link=target, more={"target": os.fsdecode(b(target))}, **kw)

    def dev(self, path, typ, major=0, minor=0, **kw):
        kind = {CHR: "char", BLK: "block", FIFO: "fifo"}[typ]
        more = {} if typ == FIFO else {"rdev": [major, minor]}
        return self._add(typ, kind, path, dev=(major, minor), more=more, **kw)

    def hard(self, path, target, node, gone=False, again=False, fmt="pax"):
        """a link to what stands at target now, whose node is given"""
        self.tar.header(path, typ=LINK, link=target, mode=node["mode"], uid=node["uid"], gid=node["gid"], fmt=fmt)
        if not gone:
            self.im.set(b(path), node, again)

    def wh(self, path):
        head, _, tail = b(path).rpartition(b"/")
        self.tar.header((head + b"/" if head else b"") + b".wh." + tail)

    def opaque(self, path):
        self.tar.header(b(path) + b"/.wh..wh..opq")


def text(rnd, n):
    """compressible bytes without a period a chunker could find"""
    words = [rnd.randbytes(rnd.randint(2, 9)) for _ in range(300)]
    out = bytearray()
    while len(out) < n:
        out += b"".join(rnd.choices(words, k=500))
    return bytes(out[:n])


def names(l):
    l.dir("names")
    for i, n in enumerate([b"new\nline", b"esc\x1b[31mred", b"\xff\xfe\x80", b"trailing.", b"trailing ", b" leading", b"-rf", b"quo\"te's",
                           b"back\\slash", b"*?[a]", b"$(reboot)", b"tab\there", b"\x01\x7f", b"...", b"   ", b".whx", b"wh.x",
                           "ä-µ-日本".encode(), "a\u0301".encode(), "\u00e1".encode(), b"Case", b"case", b"x=y", b"%2e%2e", b"a:b",
                           b"255-" + b"n" * 251, b"255-" + bytes(range(0x80, 0x100)) + b"n" * 123]):
        # pax for one half, GNU for the other: both must carry any byte
        l.file(b"names/" + n, b"name %d\n" % i, fmt="pax" if i % 2 else "gnu")
    l.dir(b"names/dir\n\xff ")
    l.file(b"names/dir\n\xff /f", b"in odd directory")
    l.sym(b"names/link\xfe", b"dir\n\xff /f\x1b")


def formats(l):
    l.dir("fmt")
    l.file("fmt/ustar-" + "u" * 90, "100 bytes of name", fmt="ustar")
    l.dir("fmt/" + "p" * 120)
    l.file("fmt/" + "p" * 120 + "/" + "q" * 100, "prefix and name", fmt="ustar")
    deep = "fmt"
    for i in range(24):
        deep += f"/{i:03d}-" + "d" * 40
        l.dir(deep, fmt="gnu" if i % 2 else "pax")
    l.file(deep + "/gnu", "GNU L", fmt="gnu")
    n = l.file(deep + "/pax", "pax path")
    l.hard("fmt/gnu-longlink", deep + "/pax", n, fmt="gnu")
    l.hard("fmt/pax-longlink", deep + "/pax", n)
    l.sym("fmt/gnu-symlink", "t" * 3000, fmt="gnu")
    l.file("fmt/dotted", "odd spelling of a path", name="./fmt//./dotted")
    l.file("fmt/absolute", "leading slash", name="/fmt/absolute")
    l.file("fmt/pax-short", "pax path and size although they fit", force_pax=("path", "size"))
    l.file("fmt/pax-size", "size 0 in the header, the right one in pax", force_pax=("size",), size_field=b"00000000000\0")
    l.file("fmt/oldtype", "type NUL: a file of the oldest format", typ=b"\0")
    l.dir("fmt/noslash")
    l.dir("fmt/slash", name="fmt/slash/")


def links(l):
    l.dir("links")
    f = l.file("links/f", "linked three times")
    l.hard("links/h1", "links/f", f)
    l.hard("links/h2", "links/h1", f)
    l.dir("links/sub")
    l.hard("links/sub/h3", "links/f", f)
    s = l.sym("links/sym", "f")
    l.hard("links/sym-hard", "links/sym", s)
    e = l.file("links/empty", "")
    l.hard("links/empty2", "links/empty", e)
    q = l.dev("links/fifo", FIFO)
    l.hard("links/fifo2", "links/fifo", q)
    for name, target in [("dangling", "no/such"), ("absolute", "/etc/passwd"), ("up", "../../../../etc/shadow"), ("self", "self"),
                         ("loop-a", "loop-b"), ("loop-b", "loop-a"), ("long", "L" * 4095), ("dot", "."), ("slashes", "a//b/./c/"),
                         ("59", "x" * 59), ("60", "x" * 60), ("100", "x" * 100), ("101", "x" * 101)]:
        l.sym("links/" + name, target)


def special(l):
    l.dir("dev")
    l.dev("dev/null", CHR, 1, 3, mode=0o666)
    l.dev("dev/loop0", BLK, 7, 0, mode=0o660, gid=6)
    l.dev("dev/high", CHR, 4095, 1048575)
    l.dev("dev/minor", BLK, 8, 256)
    l.dev("dev/fifo", FIFO, mode=0o600, uid=1000)
    l.dir("perm")
    for m in (0o4755, 0o2755, 0o6777, 0o1644, 0o000, 0o777, 0o111):
        l.file(f"perm/{m:04o}", "mode", mode=m)
    for m in (0o1777, 0o2775, 0o700, 0o000):
        l.dir(f"perm/dir-{m:04o}", mode=m)
        l.file(f"perm/dir-{m:04o}/f", "inside")
    l.dir("ids")
    for i in (1, 1000, 65534, 65535, 65536, 2097151, 2097152, 2147483647, 2147483648, 4294967294):
        l.file(f"ids/pax-{i}", "id", uid=i, gid=i)
        l.file(f"ids/gnu-{i}", "id", uid=i, gid=i - 1, fmt="gnu")
    l.dir("time")
    for i, t in enumerate([(0, 0), (0, 1), (1, 1), (-1, 0), (-2, 500000000), (-1, 999999999), (-2**31, 0), (2**31 - 1, 999999999),
                           (2**31, 0), (2**32 + 5, 7), (8 * 10**9, 100)]):
        l.file(f"time/{i:02d}", "time", mtime=t)
    l.file("time/gnu-negative", "time", mtime=(-12345, 0), fmt="gnu")
    l.sym("time/sym", "x", mtime=(-5, 5))
    l.dev("time/fifo", FIFO, mtime=(77, 77))
    l.dir("time/dir", mtime=(-99, 99))


def xattrs(l):
    l.dir("xattr")
    l.file("xattr/user", "x", xattrs={"user.a": "1", "user.b": "two"})
    l.file("xattr/many", "x", xattrs={f"user.n{i:02d}": f"v{i}" * i for i in range(1, 30)})
    l.file("xattr/big", "x", xattrs={"user.big": bytes(range(256)) * 12})
    l.file("xattr/binary", "x", xattrs={"user.bin": b"\0\n=\xff\0"})
    l.file("xattr/trusted", "x", xattrs={"trusted.t": "root only"})
    l.file("xattr/cap-v2", "x", mode=0o755, xattrs={"security.capability": CAP_V2})
    l.file("xattr/cap-v3", "x", mode=0o755, xattrs={"security.capability": CAP_V3})
    l.dir("xattr/dir", xattrs={"user.d": "on a directory"})
    l.sym("xattr/sym", "x", xattrs={"trusted.s": "on a link"})
    l.dev("xattr/null", CHR, 1, 3, xattrs={"trusted.c": "on a device"})
    n = l.file("xattr/hard", "x", xattrs={"user.h": "shared"})
    l.hard("xattr/hard2", "xattr/hard", n)


def sizes(l, rnd):
    l.dir("size")
    for n in (0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193):
        l.file(f"size/{n}", text(rnd, n))
    for n in (64 * K, 128 * K, 256 * K, 512 * K, M, 2 * M, 4 * M):
        for d in (-1, 0, 1):
            l.file(f"size/{n + d}", text(rnd, n + d))
    l.file("size/incompressible", rnd.randbytes(300 * K))
    l.dir("zero")
    for n in (1, 4096, 4097, 128 * K, M, 8 * M + 1):
        l.file(f"zero/{n}", bytes(n))
    l.file("zero/then-data", bytes(M) + b"end")
    l.file("zero/between", b"begin" + bytes(3 * M) + b"end")


def lower(l):
    """what later layers remove, replace and touch"""
    l.dir("wo")
    l.file("wo/stay", "not touched")
    l.file("wo/gone", "removed", gone=True)
    l.sym("wo/gone-sym", "stay", gone=True)
    l.dev("wo/gone-fifo", FIFO, gone=True)
    l.dir("wo/gone-dir", gone=True)
    l.dir("wo/gone-dir/sub", gone=True)
    l.file("wo/gone-dir/sub/f", "removed with its directory", gone=True)
    for d in ("opq", "opq-late"):
        l.dir("wo/" + d)
        l.file(f"wo/{d}/low", "hidden", gone=True)
        l.dir(f"wo/{d}/sub", gone=True)
        l.file(f"wo/{d}/sub/low", "hidden", gone=True)
        l.file(f"wo/{d}/both", "of the lower layer", gone=True)
    for n in ("re-after", "re-before"):
        l.file("wo/" + n, "of the lower layer", gone=True)
        l.dir(f"wo/{n}-dir", gone=True)
        l.file(f"wo/{n}-dir/low", "must not come back", gone=True)
    l.dir("wo/back", gone=True)
    l.file("wo/back/low", "must not come back", gone=True)
    l.file("wo/twice", "removed, made, removed", gone=True)

    l.dir("flip")
    l.dir("flip/d2f", gone=True)
    l.file("flip/d2f/low", "under a directory that becomes a file", gone=True)
    l.dir("flip/d2f/sub", gone=True)
    l.dir("flip/empty-d2f", gone=True)
    l.dir("flip/d2l", gone=True)
    l.file("flip/d2l/low", "x", gone=True)
    l.dir("flip/d2dev", gone=True)
    l.file("flip/f2d", "x", gone=True)
    l.file("flip/f2l", "x", gone=True)
    l.file("flip/f2dev", "x", gone=True)
    l.sym("flip/l2d", "target-dir", gone=True)
    l.dir("flip/target-dir")
    l.file("flip/target-dir/low", "must stay as it is")
    l.sym("flip/l2f", "target-file", gone=True)
    l.file("flip/target-file", "must stay as it is")
    l.dev("flip/dev2f", CHR, 1, 5, gone=True)
    l.file("flip/f2h", "x", gone=True)
    l.dir("flip/d2h", gone=True)
    l.file("flip/d2h/low", "x", gone=True)
    l.file("flip/thrice", "file, directory, file", gone=True)


def again(l, rnd):
    """files whose second coming changes metadata only: the data must be stored once"""
    l.dir("again")
    data = {n: rnd.randbytes(n) for n in (3 * M, 200 * K, 5000)}
    for n, d in data.items():
        l.file(f"again/chmod-{n}", d, gone=True)
        l.file(f"again/chown-{n}", d[::-1], gone=True)
    l.file("again/touched", "only its time changes", gone=True)
    l.dir("again/dir", mode=0o700, gone=True)
    l.file("again/dir/f", "kept under a directory that changes", uid=7)
    l.file("again/xattr", "loses one, gains one", xattrs={"user.old": "1", "user.keep": "2"}, gone=True)
    l.dir("again/xattr-dir", xattrs={"user.old": "1"}, gone=True)
    return data


def layer1(im, rnd):
    l = im.layer()
    l.dir("", mode=0o751, uid=3, gid=4, mtime=(1234567890, 987654321))
    names(l)
    formats(l)
    links(l)
    special(l)
    xattrs(l)
    sizes(l, rnd)
    lower(l)
    data = again(l, rnd)
    l.dir("many")
    for i in range(20000):
        l.file(f"many/f{i:05d}", b"%d %s\n" % (i, b"." * (i % 200)), uid=i % 3, mtime=(1500000000 + i, 0), fmt="ustar")
    l.dir("dup")
    l.file("dup/a", b"same content " * 20000)
    l.file("dup/b", b"same content " * 20000, mode=0o600)
    l.dir("xl")
    im.xl = l.file("xl/low", "linked across layers")
    im.xm = l.file("xl/low-many", "linked across several layers")
    im.rep = l.file("xl/rep", "old content, kept by its other name", gone=True)
    l.hard("xl/rep-h", "xl/rep", im.rep)
    im.del_ = l.file("xl/del", "survives by its other name", gone=True)
    l.hard("xl/del-h", "xl/del", im.del_)
    return data


def layer2(im, rnd, data):
    l = im.layer()
    for n in ("gone", "gone-sym", "gone-fifo", "gone-dir", "twice", "back", "never-there"):
        l.wh("wo/" + n)
    # opaque before and after the upper layer's own entries
    l.opaque("wo/opq")
    l.file("wo/opq/high", "of the upper layer")
    l.file("wo/opq/both", "of the upper layer")
    l.file("wo/opq-late/high", "of the upper layer")
    l.file("wo/opq-late/both", "of the upper layer")
    l.opaque("wo/opq-late")
    # whiteout and new entry of the same name in one layer, both orders
    l.wh("wo/re-after")
    l.file("wo/re-after", "new, after its whiteout")
    l.wh("wo/re-after-dir")
    l.dir("wo/re-after-dir", mode=0o711)
    l.file("wo/re-after-dir/high", "new")
    l.file("wo/re-before", "new, before its whiteout")
    l.wh("wo/re-before")
    l.dir("wo/re-before-dir", mode=0o711)
    l.file("wo/re-before-dir/high", "new")
    l.wh("wo/re-before-dir")

    l.file("flip/d2f", "now a file")
    l.file("flip/empty-d2f", "now a file")
    l.sym("flip/d2l", "target-dir")
    l.dev("flip/d2dev", BLK, 3, 4)
    l.dir("flip/f2d", mode=0o750)
    l.file("flip/f2d/high", "in the new directory")
    l.sym("flip/f2l", "target-file")
    l.dev("flip/f2dev", CHR, 5, 6)
    l.dir("flip/l2d")
    l.file("flip/l2d/high", "not in target-dir")
    l.file("flip/l2f", "not in target-file")
    l.file("flip/dev2f", "was a device")
    n = im.want[b"flip/target-file"]
    l.hard("flip/f2h", "flip/target-file", n)
    l.wh("flip/d2h")
    l.hard("flip/d2h", "flip/target-file", n)
    l.dir("flip/thrice", gone=True)
    l.file("flip/thrice/in", "x", gone=True)

    for n, d in data.items():
        l.file(f"again/chmod-{n}", d, mode=0o755, mtime=(1700000000, n))
        l.file(f"again/chown-{n}", d[::-1], uid=1000, gid=1000)
    l.file("again/touched", "only its time changes", mtime=(1700000001, 5))
    l.dir("again/dir", mode=0o2750, uid=5, gid=6, mtime=(1700000002, 0))
    l.file("again/xattr", "loses one, gains one", xattrs={"user.keep": "2", "user.new": "3"})
    l.dir("again/xattr-dir", xattrs={"user.new": "3"})

    l.hard("xl/high", "xl/low", im.xl)
    l.hard("xl/high2", "xl/high", im.xl)
    l.hard("xl/m2", "xl/low-many", im.xm)
    l.file("xl/rep", "new content")
    l.wh("xl/del")

    l.file("implicit/a/b/c/file", "three parents that no entry names")
    l.sym("implicit/s/link", "x")
    l.hard("implicit/h/hard", "xl/low", im.xl)
    im.implicit("implicit", "implicit/a", "implicit/a/b", "implicit/a/b/c", "implicit/s", "implicit/h")
    l.dir("late")
    l.file("late/first/f", "its parent is named after it")
    l.dir("late/first", mode=0o710, mtime=(5, 5))


def layer3(im, rnd):
    l = im.layer()
    l.dir("wo/back", mode=0o700)
    l.file("wo/back/high", "only this one")
    l.file("wo/twice", "made again", gone=True)
    l.file("dup/c", b"same content " * 20000)
    l.file("dup/zero", bytes(M))
    l.file("flip/thrice", "a file once more")
    l.hard("xl/m3", "xl/low-many", im.xm)
    # one path twice in one layer: the last wins
    l.dir("twice")
    l.file("twice/file", "first", gone=True)
    l.file("twice/file", "second, and longer", mode=0o600)
    l.file("twice/shrinks", "first and long" * 1000, gone=True)
    l.file("twice/shrinks", "short")
    l.dir("twice/dir", mode=0o700, gone=True)
    l.file("twice/dir/f", "stays when its directory is named again")
    l.dir("twice/dir", mode=0o755)
    l.file("twice/f2l", "first", gone=True)
    l.sym("twice/f2l", "second")
    l.sym("twice/l2f", "file", gone=True)
    l.file("twice/l2f", "second")
    l.file("twice/f2d", "first", gone=True)
    l.dir("twice/f2d")
    l.dir("twice/d2f", gone=True)
    l.file("twice/d2f/f", "first", gone=True)
    l.file("twice/d2f", "second")
    n = l.file("twice/target", "kept by the link", gone=True)
    l.hard("twice/link", "twice/target", n)
    l.file("twice/target", "another file now")
    l.file("usr-share/doc/x", "in a zstd layer")
    im.implicit("usr-share", "usr-share/doc")


def layer5(im, rnd):
    l = im.layer()
    l.wh("wo/twice")
    l.hard("xl/m5", "xl/m3", im.xm)
    l.dir("time/dir", mtime=(-100, 7), again=True)
    l.dir("", mode=0o755, mtime=(1700000009, 9), again=True)
    l.file("last", rnd.randbytes(70000))


def pack_layers(im):
    """[(tar, packed, media suffix, packed for umoci, its suffix)]"""
    tars = [l.tar.done() for l in im.layers]
    out = []
    for i, t in enumerate(tars):
        gz = oci.gzip_member(t)
        if i == 0:
            out.append((t, t, "", t, ""))
        elif i == 1:
            multi = oci.gzip_members(t, [1, 512, len(t) // 3, len(t) // 3, len(t) // 2 + 77, len(t) - 1024])
            out.append((t, multi, "+gzip", multi, "+gzip"))
        elif i == 2:
            out.append((t, oci.zstd(t), "+zstd", gz, "+gzip"))
        elif i == 4:
            full = oci.gzip_member(t, extra=b"AB\4\0data", name=b"layer.tar", comment=b"every field", hcrc=True)
            out.append((t, full, "+gzip", gz, "+gzip"))     # umoci's gzip takes FEXTRA with FHCRC for damage
        else:
            out.append((t, gz, "+gzip", gz, "+gzip"))
    return out


CONFIG = {"Env": ["PATH=/bin", "T=torture"], "Cmd": ["/bin/true"], "WorkingDir": "/", "Labels": {"odd": "\u0001\u00e4\n"}}


def torture(lay, out, seed):
    rnd, im = random.Random(seed), Image()
    data = layer1(im, rnd)
    layer2(im, rnd, data)
    layer3(im, rnd)
    im.layer()      # an empty archive
    layer5(im, rnd)
    im.dump(out + "/torture.json")
    packed = pack_layers(im)
    ids = [sha(p[0]) for p in packed]
    main = lay.image([lay.blob(p[1], oci.OCI_LAYER + p[2]) for p in packed], ids, CONFIG)
    lay.tag(main, "torture")
    lay.tag(lay.image([lay.blob(p[3], oci.OCI_LAYER + p[4]) for p in packed], ids, CONFIG), "torture-gz")
    # Docker has no media type for a plain or zstd layer inside schema 2: the magic decides
    docker = lay.image([lay.blob(p[1], oci.DOCKER_LAYER + ".gzip") for p in packed], ids, CONFIG, docker=True)
    lay.tag(docker, "torture-docker")
    platforms(lay, out, main, docker)


def platforms(lay, out, main, docker):
    for media_docker, name, amd64 in ((False, "torture-multi", main), (True, "torture-list", docker)):
        kids = [amd64]
        for arch, variant in (("arm64", "v8"), ("arm", "v7")):
            im = Image()
            l = im.layer()
            l.dir("")
            l.file("platform", arch + (variant or "") + "\n")
            im.dump(f"{out}/{arch}.json")
            t = l.tar.done()
            media = oci.DOCKER_LAYER + ".gzip" if media_docker else oci.OCI_LAYER + "+gzip"
            kids.append(lay.image([lay.blob(oci.gzip_member(t), media)], [sha(t)], arch=arch, variant=variant, docker=media_docker))
        lay.tag(lay.index(kids, media_docker), name)


def big(lay, out, seed):
    """5 GiB in members of 16 MiB: one compressed piece of zeros, written many times"""
    rnd, size, piece = random.Random(seed + 1), 5 * G, 16 * M
    plain, content, packed = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    tmp = lay.path + "/blobs/tmp"
    with open(tmp, "wb") as f:
        def put(data, member=None):
            member = member or oci.gzip_member(data)
            plain.update(data)
            packed.update(member)
            f.write(member)
        t = oci.Tar()
        t.header("./", typ=DIR, mode=0o755, mtime=(1, 0))
        t.header("big", size=size, mode=0o600, mtime=T0, force_pax=("size",))
        put(b"".join(t.parts))
        zeros = bytes(piece)
        zero_member = oci.gzip_member(zeros)
        for i in range(size // piece):
            if i % 8 == 0 or i == size // piece - 1:
                part = bytearray(piece)
                at = rnd.randrange(0, piece - 64 * K)
                part[at:at + 64 * K] = rnd.randbytes(64 * K)
                part = bytes(part)
                content.update(part)
                put(part)
            else:
                content.update(zeros)
                put(zeros, zero_member)
        t = oci.Tar()
        t.add("after", b"behind it", mtime=T0)
        put(t.done())
        n = f.tell()
    os.rename(tmp, f"{lay.path}/blobs/sha256/{packed.hexdigest()}")
    d = {"mediaType": oci.OCI_LAYER + "+gzip", "digest": "sha256:" + packed.hexdigest(), "size": n}
    lay.tag(lay.image([d], [plain.hexdigest()]), "big")
    im = Image()
    meta = {"uid": 0, "gid": 0, "mtime": list(T0)}
    im.set(b"", {"type": "dir", "mode": 0o755, "uid": 0, "gid": 0, "mtime": [1, 0]})
    im.set(b"big", {"type": "file", "mode": 0o600, **meta, "size": size, "sha256": content.hexdigest()})
    im.set(b"after", {"type": "file", "mode": 0o644, **meta, "size": 9, "sha256": sha(b"behind it")})
    im.dump(out + "/big.json")


def main(argv):
    seed = int(argv.pop(argv.index("--seed") + 1)) if "--seed" in argv else 1
    flags = [a for a in argv if a.startswith("--")]
    out = [a for a in argv if not a.startswith("--")]
    if len(out) != 1 or set(flags) - {"--no-big", "--seed"}:
        sys.exit(__doc__)
    lay = oci.Layout(out[0])
    torture(lay, out[0], seed)
    if "--no-big" not in flags:
        big(lay, out[0], seed)
    lay.save()


if __name__ == "__main__":
    main(sys.argv[1:])
