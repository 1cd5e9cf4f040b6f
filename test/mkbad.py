#!/usr/bin/env python3
# mkbad.py - images that nobody may accept, one fault each; every other byte of them is right
#
# A case is a function here: its name is the case's name, its documentation the pattern that the message must match.
# Digests and sizes are made right again after the fault, so that the fault itself is met, unless it is about them.
# SPDX-License-Identifier: Apache-2.0
"""mkbad.py --list | --list-fits | CASE LAYOUT | --list-forged | --forge FAULT LAYOUT REF"""
import hashlib
import inspect
import json
import os
import struct
import subprocess
import sys

import oci
from oci import CHR, DIR, LINK, SYM, Tar, sha

CASES = {}


def case(f):
    CASES[f.__name__.replace("_", "-")] = f
    return f


def good_tar():
    t = Tar()
    t.header("./", typ=DIR, mode=0o755)
    t.add("file", b"content\n")
    return t


def write(path, tar=None, layer=None, diff_id=None, manifest=None, config=None, raw_manifest=None, ids=None, desc=None):
    """a layout with one image, ref x; each argument replaces or edits one of its parts"""
    lay = oci.Layout(path)
    tar = good_tar().done() if tar is None else tar
    d = lay.blob(oci.gzip_member(tar) if layer is None else layer, oci.OCI_LAYER + "+gzip")
    cfg = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
           "rootfs": {"type": "layers", "diff_ids": ["sha256:" + (diff_id or sha(tar))] if ids is None else ids}}
    if config:
        config(cfg)
    c = lay.json(cfg, oci.OCI_CONFIG)
    m = {"schemaVersion": 2, "mediaType": oci.OCI_MANIFEST, "config": c, "layers": [d]}
    if manifest:
        manifest(m)
    raw = json.dumps(m).encode()
    if raw_manifest:
        raw = raw_manifest(raw)
    md = lay.blob(raw, oci.OCI_MANIFEST)
    if desc:
        desc(md)
    lay.tag(md, "x")
    lay.save()
    return lay, md, d


# ---- right at the limits: these must be accepted ----
FITS = {
    "plain": lambda p: write(p),
    "manifest-of-4-MiB": lambda p: write(p, raw_manifest=lambda r: r + b" " * ((4 << 20) - len(r))),
    "json-64-deep": lambda p: write(p, raw_manifest=lambda r: r[:-1] + b', "a": ' + b"[" * 63 + b"]" * 63 + b"}"),
    "component-of-255": lambda p: write(p, one("n" * 255)),
    "path-of-4096": lambda p: write(p, one("/".join(["d" * 99] * 40 + ["e" * 96]))),
    "256-deep": lambda p: write(p, one("/".join(["d"] * 256))),
    "symlink-of-4095": lambda p: write(p, one("l", typ=SYM, link="x" * 4095)),
    "xattrs-of-60-KiB": lambda p: write(p, one("f", xattrs={"user.x": b"v" * 60000})),
    "no-end-of-archive": lambda p: write(p, good_tar().done()[:-1024]),
    "zeros-behind-the-archive": lambda p: write(p, good_tar().done() + bytes(20480)),
    "empty-archive": lambda p: write(p, bytes(1024)),
    "xattr-of-overlay": lambda p: write(p, one("f", xattrs={"trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y"})),
    "unknown-fields": lambda p: write(p, manifest=lambda m: m.update(x=[1, {"y": None}]), config=lambda c: c.update(x=1)),
}


def one(*a, **kw):
    t = good_tar()
    t.add(*a, **kw)
    return t.done()


# ---- manifests and configs ----
@case
def manifest_above_4_MiB(p):
    "4 MiB|4194304|too (big|large|long)|larger"
    write(p, manifest=lambda m: m.update(annotations={"a": "x" * (4 << 20)}))


@case
def config_above_8_MiB(p):
    "8 MiB|8388608|too (big|large|long)|larger|limit"
    write(p, config=lambda c: c.update(comment="x" * (8 << 20)))


@case
def json_nested_100000_deep(p):
    "deep|nest|depth"
    write(p, raw_manifest=lambda r: r[:-1] + b', "a": ' + b"[" * 100000 + b"]" * 100000 + b"}")


@case
def json_nested_65_deep(p):
    "deep|nest|depth"
    write(p, raw_manifest=lambda r: r[:-1] + b', "a": ' + b"[" * 64 + b"]" * 64 + b"}")


@case
def json_trailing_bytes(p):
    "JSON|json"
    write(p, raw_manifest=lambda r: r + b"{}")


@case
def json_byte_order_mark(p):
    "JSON|json"
    write(p, raw_manifest=lambda r: b"\xef\xbb\xbf" + r)


@case
def json_invalid_utf8(p):
    "JSON|json|UTF-8"
    write(p, raw_manifest=lambda r: r.replace(b'"PATH', b'"\xffPATH').replace(b"gzip", b"gz\xff"))


@case
def json_truncated(p):
    "JSON|json"
    write(p, raw_manifest=lambda r: r[:-20])


@case
def json_is_an_array(p):
    "object|JSON|json|no manifest"
    write(p, raw_manifest=lambda r: b"[" + r + b"]")


@case
def json_empty(p):
    "JSON|json|empty"
    write(p, raw_manifest=lambda r: b"")


@case
def json_duplicate_key(p):
    "twice|duplicate|layers"
    write(p, raw_manifest=lambda r: r[:-1] + b', "layers": []}')


@case
def json_key_in_other_case(p):
    "Layers|layers"
    write(p, raw_manifest=lambda r: r[:-1] + b', "Layers": []}')


@case
def layers_and_manifests(p):
    "manifests|layers|both"
    write(p, manifest=lambda m: m.update(manifests=[]))


@case
def media_type_of_an_index(p):
    "index|mediaType|media type"
    write(p, manifest=lambda m: m.update(mediaType=oci.OCI_INDEX))


def bad_size(value):
    return lambda p: write(p, raw_manifest=lambda r: r.replace(b'"size": ', b'"size": ' + value + b', "was": ', 1))


for _name, _value in (("negative", b"-1"), ("exponent", b"1e99"), ("fraction", b"1.5"), ("string", b'"12"'), ("2_63", b"9223372036854775808"),
                      ("2_64", b"18446744073709551616"), ("null", b"null")):
    CASES["size-" + _name.replace("_", "-")] = bad_size(_value)
    CASES["size-" + _name.replace("_", "-")].__doc__ = "size|JSON|number"


@case
def size_is_wrong(p):
    "size|bytes"
    write(p, manifest=lambda m: m["layers"][0].update(size=m["layers"][0]["size"] + 1))


def bad_digest(edit):
    return lambda p: write(p, manifest=lambda m: m["layers"][0].update(digest=edit(m["layers"][0]["digest"])))


for _name, _edit in (("path", lambda d: "sha256:../../../etc/passwd"), ("uppercase", lambda d: "sha256:" + d[7:].upper()), ("short", lambda d: d[:-1]),
                     ("long", lambda d: d + "0"), ("sha1", lambda d: "sha1:" + d[7:47]), ("bare", lambda d: d[7:]), ("none", lambda d: "")):
    CASES["digest-" + _name] = bad_digest(_edit)
    CASES["digest-" + _name].__doc__ = "digest"


@case
def layer_is_missing(p):
    "sha256:|No such|missing|not there|not found"
    lay, _, d = write(p)
    os.unlink(f"{p}/blobs/sha256/{d['digest'][7:]}")


@case
def layer_has_a_flipped_bit(p):
    "digest|CRC|sha256"
    lay, _, d = write(p)
    f = f"{p}/blobs/sha256/{d['digest'][7:]}"
    with open(f, "r+b") as h:
        data = bytearray(h.read())
        data[4] ^= 1        # gzip's mtime: nothing but the digest sees it
        h.seek(0)
        h.write(data)


@case
def manifest_has_a_flipped_bit(p):
    "digest|sha256"
    _, md, _ = write(p)
    f = f"{p}/blobs/sha256/{md['digest'][7:]}"
    with open(f, "r+b") as h:
        h.write(b" ")


@case
def more_layers_than_diff_ids(p):
    "layers|diff_id"
    write(p, ids=[])


@case
def diff_id_is_wrong(p):
    "diff_id|DiffID|decodes to"
    write(p, diff_id=sha(b"another"))


@case
def rootfs_of_unknown_type(p):
    "rootfs|type|layers"
    write(p, config=lambda c: c["rootfs"].update(type="layers+magic"))


@case
def foreign_layer(p):
    "foreign|nondistributable"
    write(p, manifest=lambda m: m["layers"][0].update(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                                      urls=["http://127.0.0.1:1/x"]))


@case
def environment_above_128_KiB(p):
    "Env|environment|long|128"
    write(p, config=lambda c: c["config"].update(Env=["A=" + "x" * (140 << 10)]))


@case
def index_with_1025_entries(p):
    "entries|1000|1024|too many"
    lay, md, _ = write(p)
    lay.tag(lay.index([dict(md, platform={"architecture": f"a{i}", "os": "linux"}) for i in range(1024)] + [md]), "x")
    lay.save()


@case
def index_in_index_in_index(p):
    "index|nest|deep"
    lay, md, _ = write(p)
    for _ in range(3):
        md = lay.index([dict(md, platform={"architecture": "amd64", "os": "linux"})])
    lay.tag(md, "x")
    lay.save()


@case
def index_without_our_platform(p):
    "linux/"
    lay, md, _ = write(p)
    lay.tag(lay.index([dict(md, platform={"architecture": "riscv64", "os": "plan9"})]), "x")
    lay.save()


@case
def empty_index(p):
    "linux/|empty|no entr|manifests"
    lay, _, _ = write(p)
    lay.tag(lay.index([]), "x")
    lay.save()


@case
def no_such_reference(p):
    "x"
    lay, _, _ = write(p)
    lay.refs = []
    lay.save()


@case
def layout_version(p):
    "oci-layout|layout|version"
    write(p)
    with open(p + "/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion": "2.0.0"}')


# ---- compression ----
@case
def gzip_truncated(p):
    "truncated|ends|premature|short|unexpected"
    t = good_tar().done()
    write(p, t, layer=oci.gzip_member(t)[:-30])


@case
def gzip_bad_crc(p):
    "CRC|crc|check"
    t = good_tar().done()
    write(p, t, layer=oci.gzip_member(t, crc=1))


@case
def gzip_bad_length(p):
    "length|size|check"
    t = good_tar().done()
    write(p, t, layer=oci.gzip_member(t, isize=1))


@case
def gzip_trailing_garbage(p):
    "garbage|trailing|after"
    t = good_tar().done()
    write(p, t, layer=oci.gzip_member(t) + b"garbage")


@case
def gzip_reserved_flag(p):
    "gzip|header|flag"
    t = good_tar().done()
    g = bytearray(oci.gzip_member(t))
    g[3] |= 0x20
    write(p, t, layer=bytes(g))


@case
def gzip_bad_header_crc(p):
    "gzip|header|CRC"
    t = good_tar().done()
    g = bytearray(oci.gzip_member(t, hcrc=True))
    g[10] ^= 1
    write(p, t, layer=bytes(g))


@case
def xz_layer(p):
    "xz"
    import lzma
    t = good_tar().done()
    write(p, t, layer=lzma.compress(t))


@case
def bzip2_layer(p):
    "bzip2"
    import bz2
    t = good_tar().done()
    write(p, t, layer=bz2.compress(t))


@case
def layer_of_random_bytes(p):
    "tar|header|checksum"
    write(p, layer=b"\x55\xaa" * 5000, tar=b"\x55\xaa" * 5000)


def zstd_frame(blocks, window_log=20):
    """a frame from [(type 0 raw or 1 RLE, data or byte, length)]"""
    out = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
    for i, (typ, data, n) in enumerate(blocks):
        out += struct.pack("<I", (i == len(blocks) - 1) | typ << 1 | n << 3)[:3] + data
    return out


@case
def zstd_truncated(p):
    "truncated|ends|premature|short|unexpected"
    t = good_tar().done()
    write(p, t, layer=oci.zstd(t)[:-10])


@case
def zstd_trailing_garbage(p):
    "garbage|trailing|after|zstd"
    t = good_tar().done()
    write(p, t, layer=oci.zstd(t) + b"garbage")


@case
def zstd_window_of_256_MiB(p):
    "window|memory|zstd"
    t = good_tar().done()
    write(p, t, layer=zstd_frame([(0, t, len(t))], 28))


@case
def zstd_bomb(p):
    "ratio|bomb|expands"
    t = Tar()
    t.header("bomb", size=1 << 30)
    head, n = t.done()[:512], 128 << 10
    import hashlib
    h = hashlib.sha256(head)
    for _ in range(8192):
        h.update(bytes(n))
    h.update(bytes(1024))
    write(p, layer=zstd_frame([(0, head, 512)] + [(1, b"\0", n)] * 8192 + [(1, b"\0", 1024)]), diff_id=h.hexdigest())


# ---- tar ----
def tar_case(name, pattern, build):
    def make(p):
        t = good_tar()
        r = build(t)
        write(p, r if isinstance(r, bytes) else t.done())
    make.__doc__ = pattern
    CASES["tar-" + name] = make


def entry(*a, **kw):
    return lambda t: t.add(*a, **kw)


def pax(records, **kw):
    def build(t):
        t.ext(b"x", oci.pax_records(records))
        t.add("f", b"x", **kw)
    return build


def raw_pax(data):
    def build(t):
        t.ext(b"x", data)
        t.add("f", b"x")
    return build


def damaged(edit):
    def build(t):
        t.add("f", b"x" * 600)
        return edit(bytearray(t.done()))
    return build


def put(at, data):
    def edit(raw):
        raw[at:at + len(data)] = data
        return bytes(raw)
    return edit


tar_case("bad-checksum", "checksum", damaged(put(3 * 512 + 100, b"7")))
tar_case("truncated-data", "truncated|ends|premature|short", damaged(lambda r: bytes(r[:512 * 4])))
tar_case("truncated-header", "truncated|ends|premature|short", damaged(lambda r: bytes(r[:512 * 3 + 100])))
tar_case("negative-size", "size", lambda t: t.raw(oci.raw_header(b"f", b"0", size_field=b"\xff" * 12)))
tar_case("huge-size", "size|truncated|ends|premature|short", lambda t: t.raw(oci.raw_header(b"f", b"0", size_field=b"\x80" + b"\x7f" * 11)))
tar_case("octal-junk", "size|number|octal", lambda t: t.raw(oci.raw_header(b"f", b"0", size_field=b"0000000zz12\0")))
tar_case("pax-size-against-header", "size", lambda t: (t.ext(b"x", oci.pax_records([("size", "512")])),
                                                       t.raw(oci.raw_header(b"f", b"0", size=1024) + bytes(1024)))[0])
tar_case("pax-size-negative", "size|pax", pax([("size", "-1")]))
tar_case("pax-size-junk", "size|pax", pax([("size", "12x")]))
tar_case("dot-dot", r"\.\.", entry("../etc/passwd", b"x"))
tar_case("dot-dot-inside", r"\.\.", entry("a/../../etc/passwd", b"x"))
tar_case("dot-dot-at-end", r"\.\.", entry("a/..", b"x"))
tar_case("pax-dot-dot", r"\.\.", pax([("path", "../x")]))
tar_case("component-of-256", "255|long", entry("n" * 256, b"x"))
tar_case("path-above-4096", "4096|long", entry("/".join(["d" * 100] * 42), b"x"))
tar_case("257-deep", "256|deep|depth", entry("/".join(["d"] * 257), b"x"))
tar_case("symlink-of-4096", "4095|long", entry("l", typ=SYM, link="x" * 4096))
tar_case("symlink-to-nothing", "link|empty", entry("l", typ=SYM, link=""))
tar_case("pax-nul-in-path", "NUL|zero byte|pax", pax([("path", b"a\0b")]))
tar_case("pax-length-too-long", "pax", raw_pax(b"99 path=x\n"))
tar_case("pax-length-too-short", "pax", raw_pax(b"5 path=x\n"))
tar_case("pax-length-zero", "pax", raw_pax(b"0 path=x\n"))
tar_case("pax-length-junk", "pax", raw_pax(b"xx path=x\n"))
tar_case("pax-length-overflow", "pax", raw_pax(b"99999999999999999999999 path=x\n"))
tar_case("pax-without-equals", "pax", raw_pax(b"10 pathxx\n"))
tar_case("pax-without-newline", "pax", raw_pax(b"10 path=xx"))
tar_case("pax-above-1-MiB", "pax|long|large|big", pax([("comment", "x" * (1 << 20))]))
tar_case("pax-100000-records", "pax|records|too many", pax([("a", "b")] * 100000))
tar_case("pax-at-end", "pax|extension|ends|truncated", lambda t: t.ext(b"x", oci.pax_records([("path", "x")])))
tar_case("pax-uid-2-32", "user id|uid", pax([("uid", "4294967296")]))
tar_case("pax-uid-negative", "user id|uid|number", pax([("uid", "-1")]))
tar_case("pax-mtime-junk", "mtime|time", pax([("mtime", "NaN")]))
tar_case("pax-mtime-2-63", "mtime|time", pax([("mtime", "9223372036854775808")]))
tar_case("xattr-above-64-KiB", "xattr|64|large|long|big", entry("f", b"x", xattrs={"user.x": b"v" * 65537}))
tar_case("xattr-name-of-256", "xattr|attribute|long", entry("f", b"x", xattrs={"user." + "n" * 251: b"v"}))
tar_case("gnu-longname-above-limit", "long|4096|large|big", lambda t: (t.ext(b"L", b"x" * (1 << 20) + b"\0", gnu=True), t.add("f", b"x"))[0])
tar_case("gnu-longname-negative", "size|long", lambda t: t.raw(oci.raw_header(b"././@LongLink", b"L", size_field=b"\xff" * 12, gnu=True)))
tar_case("gnu-multivolume", "M|volume|type|GNU", lambda t: t.raw(oci.raw_header(b"f", b"M")))
tar_case("gnu-dumpdir", "D|type|GNU", lambda t: t.raw(oci.raw_header(b"f", b"D")))
tar_case("hardlink-to-absent", "absent|no such|not there|missing|nosuch", entry("l", typ=LINK, link="nosuch"))
tar_case("hardlink-to-directory", "director", lambda t: (t.header("d/", typ=DIR, mode=0o755), t.header("l", typ=LINK, link="d"))[0])
tar_case("hardlink-to-itself", "link|itself|absent|no such|not there|missing", entry("l", typ=LINK, link="l"))
tar_case("hardlink-loop", "link|loop|absent|no such|not there|missing", lambda t: (t.header("l", typ=LINK, link="m"), t.header("m", typ=LINK, link="l"))[0])
tar_case("hardlink-outside", r"\.\.", entry("l", typ=LINK, link="../../etc/passwd"))
tar_case("hardlink-to-root", "director|link|root", entry("l", typ=LINK, link="/"))
tar_case("root-as-file", "root|director|path|empty|name", entry("./", b"x"))
tar_case("empty-name", "root|director|path|empty|name", lambda t: t.raw(oci.raw_header(b"", b"0", size=5) + oci.pad(b"hello")))
tar_case("whiteout-device", "0:0|whiteout|device", entry("w", typ=CHR, dev=(0, 0)))
tar_case("whiteout-of-nothing", "whiteout|wh", entry("d/.wh.", b""))
tar_case("whiteout-of-dot", "whiteout|wh", entry("d/.wh..", b""))
tar_case("whiteout-of-dot-dot", "whiteout|wh", entry("d/.wh...", b""))
tar_case("whiteout-that-is-a-directory", "whiteout|wh", lambda t: t.header(".wh.x/", typ=DIR, mode=0o755))


# ---- forged accelerated images: each fault made by whoever controls the registry, all digests right again ----
NODE, DIRENT, SPACE, CHUNK = 48, 12, 128, 48


class Accel:
    """the accelerated image under a reference, taken apart; save() makes descriptors right and retags"""

    def __init__(self, path, ref):
        self.lay = oci.Layout(path)
        self.ref = ref
        top = next(r for r in self.lay.refs if r["annotations"]["org.opencontainers.image.ref.name"] == ref)
        self.index = self.read_json(top)
        self.entry = next(m for m in self.index["manifests"] if m.get("artifactType", "").startswith("application/vnd.fcpull"))
        self.man = self.read_json(self.entry)
        boot = self.read(self.man["layers"][0])
        n = int(self.man["layers"][0]["annotations"]["dev.fcpull.index.size"])
        self.prefix, self.frames = boot[:24], boot[n:]
        self.ix = bytearray(subprocess.run(["zstd", "-dcq"], input=boot[24:n], stdout=subprocess.PIPE, check=True).stdout)
        self.sec = [struct.unpack_from("<QQ", self.ix, 80 + 16 * i) for i in range(8)]

    def read(self, desc):
        with open(f"{self.lay.path}/blobs/sha256/{desc['digest'][7:]}", "rb") as f:
            return f.read()

    def read_json(self, desc):
        return json.loads(self.read(desc))

    def replace(self, desc, data):
        d = self.lay.blob(data, desc["mediaType"])
        desc.update(digest=d["digest"], size=d["size"])

    def save(self, index=True):
        if index:
            packed = self.prefix[:16] + struct.pack("<Q", len(self.ix)) + oci.zstd(bytes(self.ix))
            boot = self.man["layers"][0]
            self.replace(boot, packed + self.frames)
            boot["annotations"].update({"dev.fcpull.index.size": str(len(packed)), "dev.fcpull.index.digest": "sha256:" + sha(packed)})
        self.replace(self.entry, json.dumps(self.man).encode())
        top = self.lay.json(self.index, oci.OCI_INDEX)
        self.lay.tag(top, self.ref)
        self.lay.save()

    def put(self, section, item, size, off, fmt, value):
        at = self.sec[section][0] + item * size + off
        struct.pack_into(fmt, self.ix, at, value(struct.unpack_from(fmt, self.ix, at)[0]) if callable(value) else value)

    def nodes(self, typ):
        """numbers of the nodes of a type"""
        n = self.sec[0][1] // NODE
        return [i for i in range(n) if struct.unpack_from("<H", self.ix, self.sec[0][0] + i * NODE)[0] >> 12 == typ]


def node(a, typ, off, fmt, value):
    files = [i for i in a.nodes(typ)]
    a.put(0, files[len(files) // 2], NODE, off, fmt, value)


# name -> (kind, fault). lie: well-formed but untrue, `check` says so; broken: refused before anything is shown; corrupt: the
# tree is right, the bytes are not, so whoever reads them gets an error
FORGE = {_n: (_k, _f) for _n, _k, _f in (
        ("setuid-added", "lie", lambda a: node(a, 8, 0, "<H", lambda m: m | 0o4000)),
        ("other-owner", "lie", lambda a: node(a, 8, 8, "<I", 1234)),
        ("other-time", "lie", lambda a: node(a, 8, 16, "<q", lambda t: t + 1)),
        ("other-size", "lie", lambda a: node(a, 8, 32, "<Q", lambda s: s - 1)),
        ("other-extent", "lie", lambda a: swap_extents(a)),
        ("name-changed", "lie", lambda a: a.put(2, 0, 1, 0, "<B", lambda c: c - 1)),
        ("magic", "broken", lambda a: put_header(a, 0, b"X")),
        ("unknown-feature", "broken", lambda a: put_header(a, 8, b"\1")),
        ("reserved-not-zero", "broken", lambda a: put_header(a, 210, b"\1")),
        ("other-original", "broken", lambda a: put_header(a, 16, bytes(32))),
        ("section-past-end", "broken", lambda a: put_header(a, 88, struct.pack("<Q", 1 << 40))),
        ("section-offset-wraps", "broken", lambda a: put_header(a, 80, struct.pack("<Q", (1 << 64) - 8))),
        ("node-type-unknown", "broken", lambda a: node(a, 8, 0, "<H", 0o170000)),
        ("extent-past-end", "broken", lambda a: node(a, 8, 44, "<I", 1 << 30)),
        ("space-out-of-range", "broken", lambda a: node(a, 8, 40, "<I", 77)),
        ("size-2-63", "broken", lambda a: node(a, 8, 32, "<Q", 1 << 63)),
        ("mtime-ns", "broken", lambda a: node(a, 8, 24, "<I", 10**9)),
        ("nlink-lies", "broken", lambda a: node(a, 8, 4, "<I", 9)),
        ("xattrs-out-of-range", "broken", lambda a: node(a, 8, 28, "<I", 1 << 20)),
        ("root-is-a-file", "broken", lambda a: a.put(0, 0, NODE, 0, "<H", 0o100644)),
        ("directory-cycle", "broken", lambda a: a.put(1, 0, DIRENT, 8, "<I", 0)),
        ("dirent-out-of-range", "broken", lambda a: a.put(1, 0, DIRENT, 8, "<I", 1 << 24)),
        ("two-parents", "broken", lambda a: a.put(1, 1, DIRENT, 8, "<I", lambda _: struct.unpack_from("<I", a.ix, a.sec[1][0] + 8)[0])),
        ("name-empty", "broken", lambda a: a.put(1, 0, DIRENT, 4, "<H", 0)),
        ("name-256", "broken", lambda a: a.put(1, 0, DIRENT, 4, "<H", 256)),
        ("name-offset", "broken", lambda a: a.put(1, 0, DIRENT, 0, "<I", 1 << 28)),
        ("name-with-slash", "broken", lambda a: a.put(2, 0, 1, 0, "<B", ord("/"))),
        ("name-with-nul", "broken", lambda a: a.put(2, 0, 1, 0, "<B", 0)),
        ("chunk-overlap", "broken", lambda a: a.put(5, 0, CHUNK, 4, "<I", lambda n: n + 1)),
        ("chunk-empty", "broken", lambda a: a.put(5, 0, CHUNK, 4, "<I", 0)),
        ("chunk-codec", "broken", lambda a: a.put(5, 0, CHUNK, 12, "<B", 99)),
        ("chunk-past-blob", "broken", lambda a: a.put(5, 0, CHUNK, 8, "<I", 1 << 30)),
        ("space-blob-size", "broken", lambda a: a.put(4, 0, SPACE, 96, "<Q", lambda n: n + 1)),
        ("space-blocks", "broken", lambda a: a.put(4, 0, SPACE, 104, "<I", 1 << 31)),
        ("space-of-another-layer", "broken", lambda a: a.put(4, 0, SPACE, 0, "<B", lambda c: c ^ 1)),
        ("chunk-digest", "corrupt", lambda a: a.put(5, 0, CHUNK, 16, "<B", lambda c: c ^ 1)),
        ("truncated", "broken", lambda a: a.ix.__delitem__(slice(-8, None))),
        ("longer", "broken", lambda a: a.ix.extend(bytes(8))),
        ("empty", "broken", lambda a: a.ix.__delitem__(slice(None))),
        ("data-byte", "corrupt", lambda a: forge_data(a)),
        ("frame-that-lies", "frame", lambda a: forge_frame(a)))}


def put_header(a, off, data):
    a.ix[off:off + len(data)] = data


def swap_extents(a):
    """two files trade their contents' addresses"""
    at = [a.sec[0][0] + i * NODE for i in a.nodes(8)]
    at = [p for p in at if struct.unpack_from("<Q", a.ix, p + 32)[0]]
    same = [(p, q) for p in at for q in at if p < q and a.ix[p + 40:p + 48] != a.ix[q + 40:q + 48]]
    p, q = same[0]
    a.ix[p + 32:p + 48], a.ix[q + 32:q + 48] = a.ix[q + 32:q + 48], a.ix[p + 32:p + 48]


def forge_data(a):
    """a byte of the first data blob, all descriptors above it made right (the chunk table's digest is not)"""
    d = next(l for l in a.man["layers"][1:] if l["size"])
    data = bytearray(a.read(d))
    data[len(data) // 2] ^= 0x10
    a.replace(d, bytes(data))
    number = a.man["layers"].index(d) - 1
    a.put(4, number, SPACE, 64, "32s", bytes.fromhex(d["digest"][7:]))


def forge_frame(a):
    """the first boot frame, stored, with other bytes and their right digest"""
    at = a.sec[6][0]
    clen, blocks = struct.unpack_from("<II", a.ix, at)
    data = bytes([0x58]) * (blocks * 4096)
    struct.pack_into("<I", a.ix, at, len(data))
    a.ix[at + 16] = 0
    a.ix[at + 32:at + 64] = hashlib.sha256(data).digest()
    a.frames = data + a.frames[clen:]


def main(argv):
    if argv == ["--list"]:
        for name, f in CASES.items():
            print(name, inspect.getdoc(f), sep="\t")
    elif argv == ["--list-forged"]:
        for name, (kind, _) in FORGE.items():
            if kind != "frame":  # (needs an image with frames)
                print(name, kind, sep="\t")
    elif len(argv) == 4 and argv[0] == "--forge":
        a = Accel(argv[2], argv[3])
        FORGE[argv[1]][1](a)
        a.save()
    elif argv == ["--list-fits"]:
        print(*FITS, sep="\n")
    elif len(argv) == 2 and argv[0] in CASES | FITS:
        (CASES | FITS)[argv[0]](argv[1])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
