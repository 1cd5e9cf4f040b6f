#!/usr/bin/env python3
"""burst.py - many small images pushed fast, and what became of them

    burst.py push URL CA USER:PASSWORD N     N images of one small layer and a config of their own: /v2/burst/img, tags t0...
    burst.py check URL CA USER:PASSWORD N    prints "ACCELERATED of N accelerated"; 1 unless all are, each once

SPDX-License-Identifier: Apache-2.0
"""
import base64
import gzip
import hashlib
import http.client
import io
import json
import ssl
import sys
import tarfile
import urllib.parse

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
REPO = "/v2/burst/img"


class Registry:
    def __init__(self, url, ca, creds):
        u = urllib.parse.urlsplit(url)
        self.conn = http.client.HTTPSConnection(u.hostname, u.port, context=ssl.create_default_context(cafile=ca))
        self.auth = {"Authorization": "Basic " + base64.b64encode(creds.encode()).decode()}

    def ask(self, method, path, body=None, **headers):
        more = {k.replace("_", "-"): v for k, v in headers.items()}
        self.conn.request(method, path, body, {**self.auth, **more})
        r = self.conn.getresponse()
        return r.status, r.headers, r.read()

    def blob(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        status, headers, _ = self.ask("POST", REPO + "/blobs/uploads/")
        assert status == 202, status
        at = urllib.parse.urlsplit(headers["Location"])
        status, _, text = self.ask("PUT", f"{at.path}?{at.query}&digest={digest}", data, Content_Type="application/octet-stream")
        assert status == 201, (status, text)
        return {"digest": digest, "size": len(data)}


def layer():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name in ("hello", "world"):
            info = tarfile.TarInfo(name)
            info.size = 6
            t.addfile(info, io.BytesIO(name.encode() + b"\n"))
    return out.getvalue()


def push(reg, n):
    tar = layer()
    desc = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **reg.blob(gzip.compress(tar, mtime=0))}
    for i in range(n):
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"n": str(i)}},
                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]}}
        man = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [desc],
               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **reg.blob(json.dumps(config).encode())}}
        status, _, text = reg.ask("PUT", f"{REPO}/manifests/t{i}", json.dumps(man).encode(), Content_Type=MANIFEST)
        assert status == 201, (status, text)


def check(reg, n):
    good = 0
    for i in range(n):
        status, headers, text = reg.ask("GET", f"{REPO}/manifests/t{i}", Accept=f"{MANIFEST}, {INDEX}")
        assert status == 200, (i, status)
        entries = json.loads(text).get("manifests", [])
        good += [e.get("artifactType") for e in entries] == [None, "application/vnd.fcpull.image.v1"]
    print(f"{good} of {n} accelerated")
    return good == n


what, url, ca, creds, n = sys.argv[1:]
registry = Registry(url, ca, creds)
if what == "push":
    push(registry, int(n))
elif not check(registry, int(n)):
    sys.exit(1)
