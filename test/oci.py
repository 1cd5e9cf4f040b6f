#!/usr/bin/env python3
# oci.py - writes tar layers and OCI layouts, byte by byte; as a program, makes a layout from directories
#
# Python's tarfile and every image tool "repair" what they write. The tests need the opposite: exactly the bytes
# that a case asks for, legal or not, the same on every run. torture.py, mkbad.py and demo build on this.
# SPDX-License-Identifier: Apache-2.0
"""oci.py LAYOUT REF [--config JSON] [--gzip|--plain|--zstd] DIR...   one layer per directory, ids 0:0

Prints the digest of the manifest."""
import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
import zlib

BLOCK = 512
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

REG, LINK, SYM, CHR, BLK, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


def b(s):
    """bytes of a name: str by UTF-8, bytes as they are"""
    return s if isinstance(s, bytes) else s.encode()


def sha(data):
    return hashlib.sha256(data).hexdigest()


# ---- tar ----
def octal(value, width):
    return b"%0*o" % (width - 1, value) + b"\0"


def number(value, width, base256):
    """a numeric header field: octal where it fits, else GNU base-256"""
    if 0 <= value < 8 ** (width - 1):
        return octal(value, width)
    if not base256:
        return octal(0, width)      # a pax record carries it
    return (value & ((1 << (8 * width)) - 1) | 1 << (8 * width - 1)).to_bytes(width, "big")


def split_ustar(name):
    """(prefix, name) of ustar, or None when it cannot be split"""
    if len(name) <= 100:
        return b"", name
    for i in range(min(len(name) - 2, 155), 0, -1):
        if name[i:i + 1] == b"/" and len(name) - i - 1 <= 100:
            return name[:i], name[i + 1:]
    return None


def raw_header(name, typ, size=0, mode=0o644, uid=0, gid=0, mtime=0, link=b"", major=0, minor=0, prefix=b"", gnu=False,
               size_field=None):
    h = bytearray(512)

    def put(off, width, data):
        h[off:off + min(width, len(data))] = data[:width]

    put(0, 100, name)
    put(100, 8, octal(mode, 8))
    put(108, 8, number(uid, 8, gnu))
    put(116, 8, number(gid, 8, gnu))
    put(124, 12, number(size, 12, gnu) if size_field is None else size_field)
    put(136, 12, number(mtime, 12, gnu))
    put(148, 8, b" " * 8)
    put(156, 1, typ)
    put(157, 100, link)
    put(257, 8, b"ustar  \0" if gnu else b"ustar\x0000")
    put(329, 8, octal(major, 8))
    put(337, 8, octal(minor, 8))
    put(345, 155, prefix)
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def pad(data):
    return data + bytes(-len(data) % BLOCK)


def pax_records(records):
    out = b""
    for k, v in records:
        body = b" " + b(k) + b"=" + b(v) + b"\n"
        n = len(body) + 1
        while len(str(n)) + len(body) != n:
            n = len(str(n)) + len(body)
        out += b"%d" % n + body
    return out


def pax_time(sec, ns):
    """seconds and 0 <= ns < 1e9 as pax's decimal; -1.5 is (-2, 500000000)"""
    total = sec * 10**9 + ns
    sign, total = ("-", -total) if total < 0 else ("", total)
    return f"{sign}{total // 10**9}.{total % 10**9:09d}".rstrip("0").rstrip(".")


class Tar:
    """a tar in memory; fmt is "ustar", "pax" or "gnu" """

    def __init__(self):
        self.parts = []

    def raw(self, data):
        self.parts.append(data)

    def ext(self, typ, data, gnu=False):
        """an extension entry: pax 'x' or GNU 'L', 'K'"""
        name = b"././@LongLink" if gnu else b"PaxHeaders/0"
        self.raw(raw_header(name, typ, len(data), gnu=gnu) + pad(data))

    def header(self, name, typ=REG, size=0, mode=0o644, uid=0, gid=0, mtime=(0, 0), link=b"", dev=(0, 0), xattrs=None,
               fmt="pax", force_pax=(), size_field=None):
        name, link = b(name), b(link)
        sec, ns = mtime
        prefix, short = split_ustar(name) if fmt != "gnu" and split_ustar(name) else (b"", name)
        if fmt == "gnu":
            if len(link) > 100:
                self.ext(b"K", link + b"\0", gnu=True)
            if len(name) > 100:
                self.ext(b"L", name + b"\0", gnu=True)
            assert not xattrs and not ns
        elif fmt == "pax":
            rec = []
            if len(short) > 100 or "path" in force_pax:
                rec.append(("path", name))
            if len(link) > 100 or "linkpath" in force_pax:
                rec.append(("linkpath", link))
            if size >= 8**11 or "size" in force_pax:
                rec.append(("size", str(size)))
            if not 0 <= uid < 8**7:
                rec.append(("uid", str(uid)))
            if not 0 <= gid < 8**7:
                rec.append(("gid", str(gid)))
            if ns or not 0 <= sec < 8**11:
                rec.append(("mtime", pax_time(sec, ns)))
            rec += [("SCHILY.xattr." + k, v) for k, v in (xattrs or {}).items()]
            if rec:
                self.ext(b"x", pax_records(rec))
        else:
            assert len(short) <= 100 and len(link) <= 100 and not xattrs and not ns and sec >= 0, name
        self.raw(raw_header(short[:100], typ, size, mode, uid, gid, sec, link[:100], *dev, prefix, fmt == "gnu", size_field))

    def add(self, name, data=b"", **kw):
        self.header(name, size=len(data), **kw)
        self.raw(pad(data))

    def done(self):
        return b"".join(self.parts) + bytes(2 * BLOCK)


# ---- compression ----
def deflate(data, level=6):
    c = zlib.compressobj(level, zlib.DEFLATED, -15)
    return c.compress(data) + c.flush()


def gzip_member(data, level=6, extra=None, name=None, comment=None, hcrc=False, isize=None, crc=None):
    flags = (2 if hcrc else 0) | (4 if extra is not None else 0) | (8 if name else 0) | (16 if comment else 0)
    h = b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + b"\0\xff"
    if extra is not None:
        h += struct.pack("<H", len(extra)) + extra
    for s in (name, comment):
        if s:
            h += s + b"\0"
    if hcrc:
        h += struct.pack("<H", zlib.crc32(h) & 0xffff)
    return h + deflate(data, level) + struct.pack("<II", zlib.crc32(data) if crc is None else crc,
                                                  (len(data) if isize is None else isize) & 0xffffffff)


def gzip_members(data, cuts):
    edges = [0] + sorted(cuts) + [len(data)]
    return b"".join(gzip_member(data[i:j]) for i, j in zip(edges, edges[1:]))


def zstd(data, *args):
    return subprocess.run(["zstd", "-q", "-c", "-T1", *(args or ("-3",))], input=data, stdout=subprocess.PIPE, check=True).stdout


# ---- layouts ----
def write_file(path, data):
    """anew: the old file may have other names (the tests link whole layouts)"""
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.rename(path + ".new", path)


class Layout:
    def __init__(self, path):
        self.path = path
        os.makedirs(path + "/blobs/sha256", exist_ok=True)
        write_file(path + "/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        self.refs = []
        if os.path.exists(path + "/index.json"):
            with open(path + "/index.json") as f:
                self.refs = json.load(f)["manifests"]

    def blob(self, data, media):
        d = sha(data)
        write_file(f"{self.path}/blobs/sha256/{d}", data)
        return {"mediaType": media, "digest": "sha256:" + d, "size": len(data)}

    def json(self, obj, media):
        return self.blob(json.dumps(obj, separators=(",", ":")).encode(), media)

    def image(self, layers, diff_ids, config=None, arch="amd64", variant=None, docker=False):
        """layers: descriptors; returns the manifest's descriptor (with platform)"""
        cfg = {"created": "1970-01-01T00:00:01Z", "architecture": arch, "os": "linux"}
        if variant:
            cfg["variant"] = variant
        cfg.update({"config": config or {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in diff_ids]},
                    "history": [{"created_by": f"layer {i}"} for i in range(len(diff_ids))]})
        c = self.json(cfg, DOCKER_CONFIG if docker else OCI_CONFIG)
        media = DOCKER_MANIFEST if docker else OCI_MANIFEST
        d = self.json({"schemaVersion": 2, "mediaType": media, "config": c, "layers": layers}, media)
        d["platform"] = {"architecture": arch, "os": "linux"}
        if variant:
            d["platform"]["variant"] = variant
        return d

    def index(self, children, docker=False):
        media = DOCKER_INDEX if docker else OCI_INDEX
        return self.json({"schemaVersion": 2, "mediaType": media, "manifests": children}, media)

    def tag(self, desc, name):
        self.refs = [r for r in self.refs if r.get("annotations", {}).get("org.opencontainers.image.ref.name") != name]
        self.refs.append(dict(desc, annotations={"org.opencontainers.image.ref.name": name}))

    def save(self):
        write_file(self.path + "/index.json", json.dumps({"schemaVersion": 2, "manifests": self.refs}, separators=(",", ":")).encode())


# ---- a layer from a directory ----
def tar_dir(root):
    root, t, seen = os.fsencode(root), Tar(), {}
    for top, dirs, files in os.walk(root):
        dirs.sort()
        names = [top] if top == root else []
        for p in names + [os.path.join(top, n) for n in sorted(dirs + files)]:
            st = os.lstat(p)
            name = os.path.relpath(p, root)
            kw = dict(mode=st.st_mode & 0o7777, mtime=(int(st.st_mtime), 0),
                      xattrs={k: os.getxattr(p, k, follow_symlinks=False) for k in os.listxattr(p, follow_symlinks=False)})
            if stat.S_ISDIR(st.st_mode):
                t.header(name + b"/", typ=DIR, **kw)
            elif stat.S_ISLNK(st.st_mode):
                t.header(name, typ=SYM, link=os.readlink(p), **kw)
            elif st.st_nlink > 1 and st.st_ino in seen:
                t.header(name, typ=LINK, link=seen[st.st_ino])
            elif stat.S_ISREG(st.st_mode):
                seen[st.st_ino] = name
                with open(p, "rb") as f:
                    t.add(name, f.read(), **kw)
    return t.done()


PACK = {"--plain": (lambda d: d, ""), "--gzip": (gzip_member, "+gzip"), "--zstd": (zstd, "+zstd")}


def main(argv):
    if len(argv) < 3:
        sys.exit(__doc__)
    layout, ref, rest = Layout(argv[0]), argv[1], argv[2:]
    config, (pack, suffix), layers, ids = {}, PACK["--gzip"], [], []
    while rest:
        a = rest.pop(0)
        if a == "--config":
            config = json.loads(rest.pop(0))
        elif a in PACK:
            pack, suffix = PACK[a]
        else:
            tar = tar_dir(a)
            ids.append(sha(tar))
            layers.append(layout.blob(pack(tar), OCI_LAYER + suffix))
    d = layout.image(layers, ids, config)
    layout.tag(d, ref)
    layout.save()
    print(d["digest"])


if __name__ == "__main__":
    main(sys.argv[1:])
