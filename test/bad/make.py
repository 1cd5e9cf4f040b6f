#!/usr/bin/env python3
# make.py - bad layers: writes DIR/REASON.EXT, and DIR/expect with a line "REASON.EXT<TAB>words of the error" each
#
# usage: test/bad/make.py DIR
#
# They are made rather than kept, as they are mostly zeros or one changed byte. The bytes do not depend on the machine.
# test/unit/test_tar.c reads each of them; a layer of an image may be any of them.
# SPDX-License-Identifier: Apache-2.0
import gzip
import os
import struct
import sys

BLOCK = 512
END = bytes(2 * BLOCK)
cases = []


def case(name, words, data):
    cases.append((name, words, data))


def header(name=b"f", size=b"00000000000", type=b"0", link=b"", uid=b"0000000", magic=b"ustar\x0000", tail=b""):
    h = bytearray(BLOCK)
    for at, s in ((0, name), (100, b"0000644"), (108, uid), (116, b"0000000"), (124, size), (136, b"00000000000"),
                  (148, b" " * 8), (156, type), (157, link), (257, magic), (345, tail)):
        h[at:at + len(s)] = s
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def entry(data=b"", **kw):
    return header(size=b"%011o" % len(data), **kw) + padded(data)


def record(key, value):
    n = len(key) + len(value) + 3
    while n != len(b"%d %s=%s\n" % (n, key, value)):
        n += 1
    return b"%d %s=%s\n" % (n, key, value)


def pax(*records):
    return entry(b"".join(records), name=b"pax", type=b"x")


def packed(data, level=9):
    return gzip.compress(data, level, mtime=0)


# zstd by hand (RFC 8878): a frame of one run-length block, which may claim any window.
def zstd_frame(n, window_byte=0x50):
    return struct.pack("<IBB", 0xfd2fb528, 0, window_byte) + struct.pack("<I", n << 3 | 1 << 1 | 1)[:3] + b"\0"


def tar_cases():
    good = entry(b"hello", name=b"f")
    case("not-a-tar.tar", "not a tar archive", b"hello world\n" * 100)
    case("truncated-header.tar", "in its header", good + good[:100])
    case("truncated-data.tar", "in its data", entry(bytes(5000))[:2000])
    case("truncated-padding.tar", "in its padding", good[:BLOCK + 5])
    case("bad-checksum.tar", "bad header checksum", good + good[:3] + b"x" + good[4:] + END)
    case("lone-zero-block.tar", "lone zero block", good + bytes(BLOCK) + good + END)
    case("size-negative.tar", "bad size", header(size=b"\xff" * 12) + END)
    case("size-overflow.tar", "bad size", header(size=b"\x80" + b"\x7f" * 11) + END)
    case("size-junk.tar", "bad size", header(size=b"0000000x000") + END)
    case("size-smuggled.tar", "bad header checksum", pax(record(b"size", b"512")) + header() + bytes(1 * BLOCK)
         + b"not a header".ljust(BLOCK) + good + END)
    case("uid-overflow.tar", "bad user id", header(uid=b"\x80\0\0\1\0\0\0\0") + END)
    case("uid-negative.tar", "bad user id", header(uid=b"\xff" * 8) + END)
    case("dotdot.tar", "'..' in a name", entry(name=b"../etc/passwd") + END)
    case("dotdot-middle.tar", "'..' in a name", entry(name=b"a/../../b") + END)
    case("dotdot-hardlink.tar", "'..' in a name", entry(name=b"h", type=b"1", link=b"../../etc/shadow") + END)
    case("name-empty.tar", "empty name", entry(name=b"") + END)
    case("name-is-root.tar", "root is not a directory", entry(name=b".") + END)
    case("name-nul.tar", "NUL in a name", pax(record(b"path", b"a\0b")) + good + END)
    case("name-part-long.tar", "longer than 255 bytes", pax(record(b"path", b"n" * 256)) + good + END)
    case("name-long.tar", "longer than 4096 bytes", pax(record(b"path", (b"n" * 200 + b"/") * 21)) + good + END)
    case("name-deep.tar", "deeper than 256", pax(record(b"path", b"d/" * 100000)) + good + END)
    case("link-long.tar", "longer than 4095 bytes",
         pax(record(b"linkpath", b"l" * 4096)) + entry(type=b"2") + END)


def pax_cases():
    good = entry(b"hello")
    case("pax-length.tar", "bad record", entry(b"99 path=x\n", type=b"x") + good + END)
    case("pax-huge.tar.gz", "extension header too long", packed(pax(record(b"k", bytes(1 << 20))) + good + END))
    case("pax-records.tar.gz", "more than 4096 records", packed(pax(b"6 a=b\n" * 100000) + good + END))
    case("pax-mtime.tar", "bad time", pax(record(b"mtime", b"NaN")) + good + END)
    case("pax-mtime-big.tar", "bad time", pax(record(b"mtime", b"9223372036854775808")) + good + END)
    case("pax-global-size.tar", "global pax header",
         entry(record(b"size", b"5"), name=b"g", type=b"g") + good + END)
    case("pax-many.tar.gz", "too many extension headers", packed(pax(b"6 a=b\n") * 1000 + good + END))
    case("pax-alone.tar", "without an entry", pax(b"6 a=b\n") + END)
    case("xattr-big.tar", "above 64 KiB", pax(record(b"SCHILY.xattr.user.a", b"v" * 65536)) + good + END)
    case("xattr-nul.tar", "bad record", pax(record(b"SCHILY.xattr.user.\0", b"v")) + good + END)


def sparse_cases():
    def sparse(*kv, data=b""):
        return pax(*(record(b"GNU.sparse." + k, v) for k, v in kv)) + entry(data) + END

    def gnu(maps, real):
        m = b"".join(b"%011o\0%011o\0" % e for e in maps)
        return header(type=b"S", magic=b"ustar  \0", tail=bytes(41) + m.ljust(97, b"\0") + b"%011o" % real) + END

    case("sparse-overlap.tar", "overlap", sparse((b"size", b"9"), (b"map", b"1,2,2,1"), data=b"ddd"))
    case("sparse-past-size.tar", "past the end", sparse((b"size", b"3"), (b"map", b"2,2"), data=b"dd"))
    case("sparse-less-data.tar", "disagree", sparse((b"size", b"9"), (b"map", b"2,2"), data=b"d"))
    case("sparse-count.tar", "more than 65536 extents",
         sparse((b"major", b"1"), (b"minor", b"0"), (b"realsize", b"9"), data=b"99999999999\n".ljust(512, b"\0")))
    case("sparse-holes.tar", "256 GiB of holes", sparse((b"size", b"4611686018427387904"), (b"map", b"0,0")))
    case("sparse-gnu-past-size.tar", "past the end", gnu([(4096, 0)], 100))


def gzip_cases():
    layer = entry(b"hello" * 1000) + END
    z = packed(layer)
    case("truncated.tar.gz", "truncated", z[:-20])
    case("truncated-trailer.tar.gz", "truncated", z[:-1])
    case("bad-crc.tar.gz", "incorrect data check", z[:-8] + bytes([z[-8] ^ 1]) + z[-7:])
    case("bad-size.tar.gz", "incorrect length check", z[:-1] + b"\1")
    case("garbage.tar.gz", "garbage after", z + b"garbage")
    case("bad-block.tar.gz", "invalid block", z[:10] + b"\7" + z[11:])
    case("bad-flags.tar.gz", "unknown header flags", z[:3] + b"\xe0" + z[4:])
    case("empty-members.tar.gz", "too many empty members", packed(b"") * 70000)
    case("xz.tar.xz", "compressed with xz", b"\xfd7zXZ\0\0\4" + bytes(100))
    case("bzip2.tar.bz2", "compressed with bzip2", b"BZh91AY&SY" + bytes(100))


def zstd_cases():
    case("window.tar.zst", "window above 128 MiB", zstd_frame(100, (28 - 10) << 3))
    case("truncated.tar.zst", "truncated", zstd_frame(512)[:-1])
    case("garbage.tar.zst", "garbage after", zstd_frame(1024) + b"garbage")
    case("bomb.tar.zst", "ratio above 1032", zstd_frame(131072) * 2000)
    case("skippable.tar.zst", "too many empty", (struct.pack("<II", 0x184d2a50, 1) + b"x") * 70000)


def main():
    for make in (tar_cases, pax_cases, sparse_cases, gzip_cases, zstd_cases):
        make()
    os.makedirs(sys.argv[1], exist_ok=True)
    with open(os.path.join(sys.argv[1], "expect"), "w") as expect:
        for name, words, data in cases:
            with open(os.path.join(sys.argv[1], name), "wb") as f:
                f.write(data)
            expect.write("%s\t%s\n" % (name, words))


main()
