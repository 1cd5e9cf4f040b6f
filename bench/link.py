"""link.py - docker-registry in a network namespace, behind a link of a chosen rate and delay

    here 10.213.7.1 ---- veth pair, HTB in each direction ---- 10.213.7.2:5000 delayproxy -- 127.0.0.1:5001 registry

Traffic stays on the pair. The registry's blobs are in a tmpfs, which holds one workload at a time, so that its disk is not what is
measured, and dropped caches do not touch it.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import shutil
import socket
import time
import urllib.request

from base import LIBC, PROFILES, Daemon, Failed, S, sh, unmount_below

NETNS = "fcpull-bench"
OURS, THEIRS, VETH = "10.213.7.1", "10.213.7.2", "fcbench0"
REPOS = "docker/registry/v2/repositories"
BLOBS = "docker/registry/v2/blobs/sha256"
ACCESS = re.compile(r'"(\w+) (\S+) HTTP/[\d.]+" (\d+) (\d+)')


# ---- the registry's storage ----
def blob_path(store, digest):
    h = digest.partition(":")[2]
    return os.path.join(store, BLOBS, h[:2], h, "data")


def tags(store, name):
    d = os.path.join(store, REPOS, name, "_manifests/tags")
    return sorted(os.listdir(d)) if os.path.isdir(d) else []


def tag_digest(store, name, tag):
    path = os.path.join(store, REPOS, name, "_manifests/tags", tag, "current/link")
    if not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def read_manifest(store, digest):
    with open(blob_path(store, digest), encoding="utf-8") as f:
        return json.load(f)


def layers(store, name, tag="latest"):
    """their descriptors, of an image manifest"""
    return read_manifest(store, tag_digest(store, name, tag))["layers"]


def blobs_of(store, digest):
    """the digests of a manifest (or index) and of all that it names"""
    m = read_manifest(store, digest)
    found = {digest}
    for c in m.get("manifests", []):
        found |= blobs_of(store, c["digest"])
    found |= {d["digest"] for d in [m.get("config")] + m.get("layers", []) if d}
    return found


def accelerated(store, name, tag):
    """our manifest among those under a tag"""
    m = read_manifest(store, tag_digest(store, name, tag))
    for c in m.get("manifests", []):
        if c.get("artifactType", "").startswith("application/vnd.fcpull.image."):
            return read_manifest(store, c["digest"])
    return None


def copy_image(src, dst, name, only=None, hardlink=False):
    """one repository of a registry's storage with the blobs of its tags (only: of these). Link files are written in place by
    the registry and so are always copied; blobs never are"""
    repo = os.path.join(dst, REPOS, name)
    shutil.rmtree(repo, ignore_errors=True)
    shutil.copytree(os.path.join(src, REPOS, name), repo, symlinks=True)
    for tag in tags(src, name):
        if only and tag not in only:
            shutil.rmtree(os.path.join(repo, "_manifests/tags", tag))
            continue
        for d in blobs_of(src, tag_digest(src, name, tag)):
            to = blob_path(dst, d)
            if os.path.exists(to):
                continue
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if hardlink:
                try:
                    os.link(blob_path(src, d), to)
                    continue
                except OSError:
                    pass        # another file system
            shutil.copyfile(blob_path(src, d), to)
    if only:        # the links of other tags' blobs point nowhere now
        for kind in ("_layers/sha256", "_manifests/revisions/sha256"):
            d = os.path.join(repo, kind)
            for h in os.listdir(d) if os.path.isdir(d) else []:
                if not os.path.exists(blob_path(dst, "sha256:" + h)):
                    shutil.rmtree(os.path.join(d, h))


def config_file(store, address, where):
    with open(where, "w", encoding="ascii") as f:
        f.write(f"""version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: '{store}', maxthreads: 100}}, delete: {{enabled: true}}, cache: {{blobdescriptor: inmemory}}}}
http: {{addr: '{address}', secret: bench}}
""")
    return where


def answers(address):
    try:
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=5) as r:
            return r.status == 200
    except OSError:
        return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """docker-registry over a directory, with an access log that can be counted"""

    def __init__(self, store, address=None, inside=()):
        self.store = store
        self.listen = address or f"127.0.0.1:{free_port()}"
        self.host = self.listen
        self.log = S.at("log", "registry.log")
        open(self.log, "w", encoding="ascii").close()
        conf = config_file(store, self.listen, S.at("registry.yml"))
        self.d = Daemon([*inside, "docker-registry", "serve", conf], self.log)

    def up(self):
        self.d.wait_for(lambda: answers(self.host))
        return self

    def ref(self, name, tag):
        return f"{self.host}/{name}:{tag}"

    def mark(self):
        return os.path.getsize(self.log)

    def since(self, mark):
        """what was asked since then: requests, of them for blobs; bytes of the blobs' answers as the registry counts them"""
        size = -1
        while size != os.path.getsize(self.log):        # a line is written when the answer is out
            size = os.path.getsize(self.log)
            time.sleep(0.1)
        with open(self.log, encoding="utf-8", errors="replace") as f:
            f.seek(mark)
            rows = [m.groups() for m in map(ACCESS.search, f) if m]
        blobs = [r for r in rows if "/blobs/" in r[1] and r[0] == "GET"]
        return {"requests": len(rows), "blob_requests": len(blobs),
                "blob_bytes": sum(int(r[3]) for r in blobs if int(r[2]) < 300),
                "paths": [f"{r[0]} {r[1].rsplit('/', 2)[-2]} {r[2]}" for r in rows[:12]]}

    def stop(self):
        self.d.stop()


class Link(Registry):
    """the registry behind a link of a profile"""

    def __init__(self, profile, store):
        p = PROFILES[profile]
        self.proxy = None
        down()
        inside = ("ip", "netns", "exec", NETNS)
        sh("ip", "netns", "add", NETNS)
        sh("ip", "link", "add", VETH, "type", "veth", "peer", "name", "eth0", "netns", NETNS)
        sh("ip", "addr", "add", OURS + "/30", "dev", VETH)
        sh("ip", "link", "set", VETH, "up")
        sh(*inside, "ip", "addr", "add", THEIRS + "/30", "dev", "eth0")
        sh(*inside, "ip", "link", "set", "eth0", "up")
        sh(*inside, "ip", "link", "set", "lo", "up")
        if p["tc"]:
            shape((), VETH, p["tc"])
            shape(inside, "eth0", p["tc"])
        super().__init__(store, "127.0.0.1:5001" if p["delay"] else THEIRS + ":5000", inside)
        self.host = THEIRS + ":5000"
        if p["delay"]:
            self.d.wait_for(lambda: not sh(*inside, "curl", "-sf", "http://127.0.0.1:5001/v2/", check=False).returncode)
            self.proxy = Daemon([*inside, delayproxy(), self.host, self.listen, str(p["delay"])], S.at("log", "proxy.log"))

    def received(self):
        """bytes that came through the link, TCP and IP headers included"""
        with open(f"/sys/class/net/{VETH}/statistics/rx_bytes", encoding="ascii") as f:
            return int(f.read())

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        super().stop()
        down()


def shape(inside, dev, rate):
    """HTB: one packet of the veth may be 64 KiB (GSO), so the burst holds a few of them"""
    tc = (*inside, "tc")
    sh(*tc, "qdisc", "add", "dev", dev, "root", "handle", "1:", "htb", "default", "1")
    sh(*tc, "class", "add", "dev", dev, "parent", "1:", "classid", "1:1", "htb", "rate", rate, "ceil", rate,
       "burst", "256kb", "cburst", "256kb", "quantum", "65536")
    sh(*tc, "qdisc", "add", "dev", dev, "parent", "1:1", "handle", "10:", "pfifo", "limit", "2000")


def down():
    sh("ip", "netns", "del", NETNS, check=False)
    sh("ip", "link", "del", VETH, check=False)


def delayproxy():
    """built once, kept outside the checkout"""
    src = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delayproxy.c")
    out = S.at("delayproxy")
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
        sh("gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o", out, src)
    return out


def in_memory(path):
    """a tmpfs there, emptied; in our own mount namespace"""
    unmount_below(path)
    os.makedirs(path, exist_ok=True)
    if LIBC.mount(b"fcpull-bench", os.fsencode(path), b"tmpfs", 0, b"size=80%,mode=755"):
        raise Failed(f"cannot mount a tmpfs on {path}")
    return path
