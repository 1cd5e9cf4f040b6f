"""prepare.py - what is measured: the workloads in a registry's storage of our own, in every form that a tool needs

    latest   the original             fc    accelerated, no trace
    erofs    one EROFS blob           fct   accelerated, with the traces of the recorded runs
SPDX-License-Identifier: Apache-2.0
"""
import functools
import hashlib
import json
import os
import shutil
import urllib.request

import link
from base import HERE, Failed, S, in_file, remove, say, sh, wipe
from tools import TOOLS

# No two runs of a JVM or a browser read the same pages: so many are recorded, and more until as many as QUIET_RUNS, one after
# the other, have read no page that the others had not; their traces are merged.
RECORDED_RUNS, QUIET_RUNS, MOST_RUNS = 5, 3, 20
IMAGES = os.path.join(HERE, "images", "images.sh")


@functools.cache
def workloads():
    return sh(IMAGES, "list").stdout_text.split()


def built(name):
    return link.tag_digest(os.path.join(S.work, "regstore"), name, "latest")


def build_images(names):
    """what is not in images.sh's registry storage is built and pushed there"""
    todo = [n for n in names if not built(n)]
    if not todo:
        return
    say("building", *todo, "(5 minutes and 8 GB for all)")
    store = os.path.join(S.work, "regstore")
    os.makedirs(store, exist_ok=True)
    env = dict(os.environ, WORK=S.work)
    for n in todo:
        sh(IMAGES, "build", n, env=env, log=S.at("log", "images.log"))
    reg = link.Registry(store).up()
    try:
        for n in todo:
            sh(IMAGES, "push", n, env=dict(env, REG=reg.host), log=S.at("log", "images.log"))
    finally:
        reg.stop()


class Prepared:
    """our registry storage on disk, with a stamp for each form that is there"""

    def __init__(self):
        self.store = S.at("regstore")
        os.makedirs(S.at("stamps"), exist_ok=True)

    def fresh(self, name, form, key):
        path = S.at("stamps", f"{name}.{form}")
        return os.path.exists(path) and in_file(path) == key

    def stamp(self, name, form, key):
        in_file(S.at("stamps", f"{name}.{form}"), key)

    def original(self, name):
        digest = built(name)
        if not self.fresh(name, "latest", digest):
            for form in ("fc", "fct", "erofs"):
                self.stamp(name, form, "none")
            link.copy_image(os.path.join(S.work, "regstore"), self.store, name, hardlink=True)
            self.stamp(name, "latest", digest)

    def everything(self, name, tools):
        self.original(name)
        key = S.binary
        forms = {TOOLS[t].tag for t in tools}
        todo = [f for f in ("fc", "fct") if f in forms and not self.fresh(name, f, key)]
        erofs = "erofs" in forms and not self.fresh(name, "erofs", built(name))
        if not todo and not erofs:
            return
        reg = link.Registry(self.store).up()
        try:
            if todo:
                convert(reg, name, "fct" in todo)
                for f in todo:
                    self.stamp(name, f, key)
            if erofs:
                make_erofs(reg, name)
                self.stamp(name, "erofs", built(name))
        finally:
            reg.stop()


def fcpull(verb, *args, store):
    env = {"PATH": os.environ["PATH"], "HOME": store, "TMPDIR": store, "FCPULL_ROOT": store}
    return sh(S.fcpull, verb, "-q", "--plain-http", *args, env=env, log=S.at("log", "prepare.log"))


def traced_pages(path):
    """(file, page) of a trace; its lines are: seconds path offset length"""
    pages = set()
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            if not line.startswith("#"):
                _, path_read, at, length = line.split()
                pages.update((path_read, p) for p in range(int(at) // 4096, (int(at) + int(length) + 4095) // 4096))
    return pages


def record(reg, name, store):
    """traces of as many runs as it takes"""
    traces, pages, quiet = [], set(), 0
    os.makedirs(S.at("traces"), exist_ok=True)
    while len(traces) < RECORDED_RUNS or (quiet < QUIET_RUNS and len(traces) < MOST_RUNS):
        trace = S.at("traces", f"{name}.{len(traces)}")
        p = fcpull("run", "--net", "none", "--record", trace, reg.ref(name, "fc"), store=store)
        if "READY" not in p.stdout_text:
            raise Failed(f"{name}: the recorded run is not READY: {p.stdout_text[-300:]}{p.stderr_text[-300:]}")
        new = traced_pages(trace) - pages
        quiet = 0 if new else quiet + 1
        pages |= new
        traces.append(trace)
    say(f"{name}: {len(traces)} runs recorded, {len(pages)} pages; the last {quiet} brought nothing new")
    return traces


def convert(reg, name, with_trace):
    store = S.at("s", "prepare")
    wipe(store)
    say(f"{name}: converting")
    try:
        fcpull("convert", reg.ref(name, "latest"), reg.ref(name, "fc"), store=store)
        if with_trace:
            given = (a for t in record(reg, name, store) for a in ("--trace", t))
            fcpull("convert", *given, reg.ref(name, "latest"), reg.ref(name, "fct"), store=store)
    finally:
        remove(store)


def unpack(reg, name):
    """the tree as umoci makes it, with its config.json; kept"""
    d = S.at("unpacked", name)
    if os.path.exists(d + ".done") and in_file(d + ".done") == built(name):
        return d
    say(f"{name}: unpacking")
    layout = S.at("s", "layout")
    wipe(layout, d)
    os.rmdir(d)
    sh("skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + reg.ref(name, "latest"), f"oci:{layout}:t")
    sh("umoci", "unpack", "--image", layout + ":t", d)
    remove(layout)
    in_file(d + ".done", built(name))
    return d


def make_erofs(reg, name):
    """one EROFS image of the whole tree, zstd like ours, as the only layer of an OCI image"""
    d, image = unpack(reg, name), S.at("s", "erofs.img")
    mkfs = os.path.join(TOOLS["mount.erofs"].bin, "mkfs.erofs")
    say(f"{name}: mkfs.erofs")
    try:
        sh(mkfs, "--quiet", "-zzstd,level=3", "-C131072", image, os.path.join(d, "rootfs"))
        with open(link.blob_path(reg.store, config_digest(reg, name)), "rb") as f:
            config = f.read()
        layers = [push_blob(reg.host, name, image, "application/vnd.erofs")]
        path = S.at("s", "config.json")
        with open(path, "wb") as f:
            f.write(config)
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": push_blob(reg.host, name, path, "application/vnd.oci.image.config.v1+json"), "layers": layers}
        put_manifest(reg.host, name, "erofs", manifest)
    finally:
        for f in (image, S.at("s", "config.json")):
            if os.path.exists(f):
                os.unlink(f)


def config_digest(reg, name):
    return link.read_manifest(reg.store, link.tag_digest(reg.store, name, "latest"))["config"]["digest"]


def http(method, url, body=None, kind="application/octet-stream", size=None):
    headers = {"Content-Type": kind}
    if size is not None:
        headers["Content-Length"] = str(size)
    q = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(q, timeout=600) as r:
        return r.headers


def push_blob(host, name, path, kind):
    """a file to the registry, in one piece; returns its descriptor"""
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    digest, size = "sha256:" + h.hexdigest(), os.path.getsize(path)
    at = http("POST", f"http://{host}/v2/{name}/blobs/uploads/", b"")["Location"]
    with open(path, "rb") as f:
        http("PUT", at + ("&" if "?" in at else "?") + "digest=" + digest, f, size=size)
    return {"mediaType": kind, "digest": digest, "size": size}


def put_manifest(host, name, tag, manifest):
    http("PUT", f"http://{host}/v2/{name}/manifests/{tag}", json.dumps(manifest).encode(), manifest["mediaType"])


def boot_sizes(store, name):
    """of the accelerated form with trace: bytes of the index section, of the boot frames behind it; None without one"""
    m = link.accelerated(store, name, "fct") if link.tag_digest(store, name, "fct") else None
    if not m:
        return None
    boot = m["layers"][0]
    index = [int(v) for k, v in boot.get("annotations", {}).items() if k.endswith("index.size") or k.endswith("index.length")]
    if not index:
        return None
    return {"index": index[0], "frames": boot["size"] - index[0]}


def clean_unpacked(name):
    shutil.rmtree(S.at("unpacked", name), ignore_errors=True)
