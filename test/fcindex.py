#!/usr/bin/env python3
# fcindex.py - reads an accelerated image's boot blob by doc/format.md, independently of lib/
# SPDX-License-Identifier: Apache-2.0
"""fcindex.py show LAYOUT REF            frames, runs, sizes
fcindex.py frames LAYOUT REF TRACE...  the frames are exactly the traced blocks, in order, and hold their bytes
fcindex.py blocks LAYOUT REF PATH       space, first block and size of a file
fcindex.py inline LAYOUT REF            the inline copies in descriptors are what they describe"""
import base64
import hashlib
import json
import re
import struct
import subprocess
import sys

BLOCK = 4096
STORED, LZ4, ZSTD, ZERO = 0, 1, 2, 255
NODE, DIRENT, SPACE, CHUNK, FRAME, RUN = 48, 12, 128, 48, 64, 12


def sha(data):
    return hashlib.sha256(data).digest()


def lz4(data):
    """LZ4 block format"""
    out, i = bytearray(), 0

    def length(n):
        nonlocal i
        if n == 15:
            while True:
                n += data[i]
                i += 1
                if data[i - 1] != 255:
                    break
        return n

    while True:
        token = data[i]
        i += 1
        n = length(token >> 4)
        out += data[i:i + n]
        i += n
        if i == len(data):
            return bytes(out)
        off = data[i] | data[i + 1] << 8
        i += 2
        n = length(token & 15) + 4
        while n:
            part = out[-off:][:n]
            out += part
            n -= len(part)


def decode(codec, data, blocks):
    if codec == ZERO:
        return bytes(blocks * BLOCK)
    plain = {STORED: lambda d: d, LZ4: lz4,
             ZSTD: lambda d: subprocess.run(["zstd", "-dcq"], input=d, stdout=subprocess.PIPE, check=True).stdout}[codec](data)
    assert len(plain) == blocks * BLOCK, (codec, len(plain), blocks)
    return plain


class Image:
    def __init__(self, layout, ref):
        self.layout = layout
        top = json.loads(self.blob(next(m["digest"] for m in json.load(open(layout + "/index.json"))["manifests"]
                                        if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == ref)))
        self.entry = next(m for m in top["manifests"] if "dev.fcpull.original" in m.get("annotations", {}))
        self.man_bytes = self.blob(self.entry["digest"])
        self.man = json.loads(self.man_bytes)
        boot = self.man["layers"][0]
        self.boot = self.blob(boot["digest"])
        self.packed = self.boot[:int(boot["annotations"]["dev.fcpull.index.size"])]
        assert "sha256:" + sha(self.packed).hex() == boot["annotations"]["dev.fcpull.index.digest"]
        self.parse()

    def blob(self, digest):
        return open(self.layout + "/blobs/" + digest.replace(":", "/"), "rb").read()

    def parse(self):
        magic, codec, reserved, plain = struct.unpack_from("<8sIIQ", self.packed)
        assert (magic, codec, reserved) == (b"fcpullP1", 2, 0)
        ix = subprocess.run(["zstd", "-dcq"], input=self.packed[24:], stdout=subprocess.PIPE, check=True).stdout
        assert len(ix) == plain and ix[:8] == b"fcpullI1"
        sec = []
        for i in range(8):
            off, n = struct.unpack_from("<QQ", ix, 80 + 16 * i)
            sec.append(ix[off:off + n])
        nodes, dirents, names, _, spaces, chunks, frames, runs = sec
        self.nodes = [struct.unpack_from("<HHIIIqIIQII", nodes, o) for o in range(0, len(nodes), NODE)]
        self.dirents = [struct.unpack_from("<IHHI", dirents, o) for o in range(0, len(dirents), DIRENT)]
        self.names = names
        self.frames = [struct.unpack_from("<IIIIB15s32s", frames, o) for o in range(0, len(frames), FRAME)]
        self.runs = [struct.unpack_from("<III", runs, o) for o in range(0, len(runs), RUN)]
        self.spaces = []
        for o in range(0, len(spaces), SPACE):
            blob, size, blocks, first, n = struct.unpack_from("<32sQIII", spaces, o + 64)
            table, off = [], 0
            for c in range(first, first + n):
                block, count, clen, codec, _, digest = struct.unpack_from("<IIIB3s32s", chunks, c * CHUNK)
                table.append((block, count, clen, codec, digest, off))
                off += clen
            assert off == size
            self.spaces.append({"blob": blob.hex(), "blocks": blocks, "chunks": table})
        self.cache = {}

    def lookup(self, path):
        node = 0
        for part in path.split(b"/"):
            if not part or part == b".":
                continue
            mode, size, a = self.nodes[node][0], self.nodes[node][8], self.nodes[node][9]
            if mode & 0o170000 != 0o040000:
                return None
            found = [d for d in self.dirents[a:a + size] if self.names[d[0]:d[0] + d[1]] == part]
            if not found:
                return None
            node = found[0][3]
        return node

    def file(self, path):
        """(space, block, size) of a regular file with bytes, or None"""
        node = self.lookup(path)
        if node is None or self.nodes[node][0] & 0o170000 != 0o100000 or not self.nodes[node][8]:
            return None
        return self.nodes[node][9], self.nodes[node][10], self.nodes[node][8]

    def chunk_at(self, space, block):
        return next(c for c in self.spaces[space]["chunks"] if c[0] <= block < c[0] + c[1])

    def plain(self, space, block):
        c = self.chunk_at(space, block)
        if (space, c[0]) not in self.cache:
            data = self.blob("sha256:" + self.spaces[space]["blob"])[c[5]:c[5] + c[2]]
            p = decode(c[3], data, c[1])
            assert sha(p) == c[4]
            self.cache[space, c[0]] = p
        at = (block - c[0]) * BLOCK
        return self.cache[space, c[0]][at:at + BLOCK]

    def traced(self, traces):
        """the blocks that traces name, in order of first need"""
        lines = []
        for t in traces:
            for line in open(t, "rb").read().splitlines():
                if line.strip() and not line.strip().startswith(b"#"):
                    sec, path, off, n = line.split()
                    path = re.sub(rb"\\x(..)", lambda m: bytes([int(m[1], 16)]), path)
                    lines.append((float(sec), path, int(off), int(n)))
        lines.sort(key=lambda x: x[0])      # stable
        seen, out = set(), []
        for _, path, off, n in lines:
            f = self.file(path)
            if not f or not n:
                continue
            space, first, size = f
            for i in range(off // BLOCK, -(-min(off + n, size) // BLOCK)):
                b = (space, first + i)
                if off < size and b not in seen and self.chunk_at(*b)[3] != ZERO:
                    seen.add(b)
                    out.append(b)
        return out

    def check_frames(self):
        """tables, sizes, digests and bytes; returns the blocks in order"""
        at, run, blocks = len(self.packed), 0, []
        for i, (clen, count, first, n, codec, zero, digest) in enumerate(self.frames):
            assert first == run and n and not any(zero) and count <= 256
            assert count == min(16 << i, 256) or i == len(self.frames) - 1, (i, count)
            assert clen == count * BLOCK if codec == STORED else 0 < clen < count * BLOCK
            own = [(s, b + k) for s, b, c in self.runs[run:run + n] for k in range(c)]
            plain = decode(codec, self.boot[at:at + clen], count)
            assert sha(plain) == digest and len(own) == count
            assert plain == b"".join(self.plain(*b) for b in own), f"frame {i}"
            for x, y in zip(self.runs[run:run + n], self.runs[run + 1:run + n]):
                assert not (x[0] == y[0] and x[1] + x[2] == y[1]), "neighbours are not joined"
            blocks += own
            at += clen
            run += n
        assert at == len(self.boot), "the blob does not end with the last frame"
        assert run == len(self.runs)
        return blocks


def main():
    verb, image = sys.argv[1], Image(sys.argv[2], sys.argv[3])
    if verb == "show":
        print(f"index {len(image.packed)} boot {len(image.boot)} frames {len(image.frames)} runs {len(image.runs)}")
    elif verb == "frames":
        got, want = image.check_frames(), image.traced(sys.argv[4:])
        assert got == want, (got[:20], want[:20])
        print(f"{len(image.frames)} frames, {len(image.runs)} runs, {len(got)} blocks")
    elif verb == "blocks":
        print("%u:%u size %u" % image.file(sys.argv[4].encode()))
    elif verb == "inline":
        assert base64.b64decode(image.entry["data"], validate=True) == image.man_bytes
        for d in (image.man["config"], image.man["subject"]):
            assert base64.b64decode(d["data"], validate=True) == image.blob(d["digest"])
            assert len(image.blob(d["digest"])) == d["size"]
        print("inline data is right")


main()
