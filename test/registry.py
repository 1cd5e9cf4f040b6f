#!/usr/bin/env python3
# registry.py - a registry that serves image layouts, takes pushes, and misbehaves on demand
#
# Healthy, it follows distribution-spec 1.1 as far as clients can see: manifests, blobs with ranges, uploads, mounts, optionally TLS, Basic
# or token authentication, and redirects of blobs to a second port ("the CDN") by signed URLs that can expire. Each request is logged as
# a line of JSON, so that a test can count requests and bytes and see where credentials went.
#
# Faults are rules, tried in order; the first that matches and has not been used up acts:
#   {"match": REGEX over "METHOD PATH?QUERY", "times": N (default: always), "after": N matches that pass first, "do": WHAT, ...}
#     status    status, headers, body       any answer
#     cut       at                          right headers, connection closed after that many body bytes
#     truncate  to                          body and Content-Length too short; extra: n bytes more than said by Content-Range
#     stall     at, seconds                 silence after that many body bytes
#     slow      bytes, every                so many bytes each so many seconds; slowhead: the same with the headers
#     norange   -                           a Range is answered with 200 and everything
#     headers   set, drop                   changes headers of the right answer
#     flip      at                          one bit of the body
#     lose      at                          PATCH: so many bytes are kept, then the connection is reset; keep: n, answered as if all was well
#     redirect  to, status                  {cdn} {port} {path} are replaced
#     gzip      -                           body compressed, Content-Encoding: gzip
#     huge      size                        200 and zeros
#     hang      seconds                     no answer; rst, close: neither, and a connection reset (closed)
#     flood     n, size                     so many headers; continue: so many 1xx responses
#     raw       bytes (latin-1)             these bytes as they are, then close
#
# In-process: Registry(...), .rules, .log. From a shell: registry.py --port N --load NAME=LAYOUT...; then GET /_control/log, and POST
# /_control/rules or /_control/config with JSON.
# SPDX-License-Identifier: Apache-2.0
import argparse
import base64
import gzip
import hashlib
import http.server
import json
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

INDEX_TYPES = "application/vnd.oci.image.index.v1+json"
CONFIG = {
    "auth": None,           # None, "basic", "token"
    "users": {"alice": "open sesame"},
    "anonymous_pull": True,
    "token_life": 300,      # expires_in; None: left out
    "token_field": "token",
    "token_body": None,     # the token server's reply instead
    "realm": None,          # instead of our own /token
    "challenge": None,      # a WWW-Authenticate instead of the right one; a list: several
    "refresh_token": "refresh me",
    "cdn": False,           # blobs by redirect
    "cdn_uses": None,       # so many requests per signature
    "content_digest": True, # Docker-Content-Digest
    "mount": True,
    "referrers": False,     # it lists them (distribution-spec 1.1), so many a page; or "unfiltered"
    "referrers_page": 100,
    "chunked": True,        # PATCH and the question how far an upload is
    "chunk_min": None,      # OCI-Chunk-Min-Length
}


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    def __init__(self, port=0, tls=None, host="127.0.0.1", **config):
        self.config = dict(CONFIG, **config)
        self.lock = threading.Lock()
        self.repos, self.uploads, self.tokens, self.signatures = {}, {}, {}, {}
        self.rules, self.log = [], []
        self.log_file = None
        self.scheme = "https" if tls else "http"
        self.servers = [self.listen(host, port, tls, "registry"), self.listen(host, 0, tls, "cdn")]
        self.port, self.cdn_port = (s.server_address[1] for s in self.servers)

    def listen(self, host, port, tls, role):
        s = Server((host, port), Handler)
        s.registry, s.role = self, role
        if tls:
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ctx.load_cert_chain(*tls)
            s.socket = ctx.wrap_socket(s.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True).start()
        return s

    def close(self):
        for s in self.servers:
            s.shutdown()
            s.server_close()

    def reset(self, *rules, **config):
        """forget rules, log and tokens; new rules and settings"""
        with self.lock:
            self.config = dict(CONFIG, **config)
            self.rules = [dict(r) for r in rules]
            self.log, self.tokens, self.signatures, self.uploads = [], {}, {}, {}

    # ---- content ----
    def repo(self, name):
        return self.repos.setdefault(name, {"blobs": {}, "manifests": {}, "tags": {}})

    def add_blob(self, name, data):
        d = sha(data)
        self.repo(name)["blobs"][d] = data
        return d

    def add_manifest(self, name, data, typ, tag=None):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        d = sha(data)
        self.repo(name)["manifests"][d] = (typ, data)
        if tag:
            self.repo(name)["tags"][tag] = d
        return d

    def load(self, name, layout):
        """a layout's blobs stay files; what is JSON with a manifest's members is a manifest as well"""
        r = self.repo(name)
        for h in os.listdir(layout + "/blobs/sha256"):
            path = layout + "/blobs/sha256/" + h
            r["blobs"]["sha256:" + h] = path
            if os.path.getsize(path) < 4 << 20:
                data = open(path, "rb").read()
                try:
                    j = json.loads(data) if data[:1] == b"{" else {}
                except ValueError:
                    j = {}
                if "manifests" in j or ("layers" in j and "config" in j):
                    r["manifests"]["sha256:" + h] = (j.get("mediaType", INDEX_TYPES if "manifests" in j else INDEX_TYPES.replace("index", "manifest")), data)
        for m in json.load(open(layout + "/index.json"))["manifests"]:
            tag = m.get("annotations", {}).get("org.opencontainers.image.ref.name", "latest")
            r["tags"][tag] = m["digest"]

    # ---- what happens ----
    def rule_for(self, line):
        with self.lock:
            for r in self.rules:
                if not re.search(r["match"], line):
                    continue
                r["seen"] = r.get("seen", 0) + 1
                if r["seen"] <= r.get("after", 0):
                    continue
                if "times" in r and r["seen"] > r.get("after", 0) + r["times"]:
                    continue
                return r
        return None

    def note(self, record):
        with self.lock:
            record["n"] = len(self.log)
            self.log.append(record)
            if self.log_file:
                self.log_file.write(json.dumps(record) + "\n")
                self.log_file.flush()

    def sign(self, digest):
        sig = hashlib.sha256(os.urandom(8)).hexdigest()[:16]
        self.signatures[sig] = [digest, 0]
        return f"{self.scheme}://127.0.0.1:{self.cdn_port}/cdn/{digest}?X-Signature={sig}"

    def signature_ok(self, sig, digest):
        with self.lock:
            s = self.signatures.get(sig)
            if not s or s[0] != digest:
                return False
            s[1] += 1
            return self.config["cdn_uses"] is None or s[1] <= self.config["cdn_uses"]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass    # a client that hangs up is no news


class Body:
    """bytes, or a file: sliced without reading it all"""

    def __init__(self, what):
        self.what = what
        self.size = os.path.getsize(what) if isinstance(what, str) else len(what)

    def read(self, off, n):
        if isinstance(self.what, bytes):
            return self.what[off:off + n]
        with open(self.what, "rb") as f:
            f.seek(off)
            return f.read(n)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    @property
    def reg(self):
        return self.server.registry

    # ---- answering, with or without a fault ----
    def send(self, status, headers=None, body=b"", content=None):
        """content: a Body for ranges"""
        h = dict(headers or {})
        if content:
            status, body = self.pick_range(status, content, h)
        rule = self.rule or {}
        do = rule.get("do")
        body = self.spoil_body(do, rule, body, h)
        h.setdefault("Content-Length", str(len(body)))
        for k in rule.get("drop", ()) if do == "headers" else ():
            h.pop(k, None)
        if do == "headers":
            h.update(rule.get("set", {}))
            status = rule.get("status", status)
        if "Content-Length" not in h:
            h.setdefault("Connection", "close")
        self.record["status"] = status
        self.note_now()
        self.write_head(do, rule, status, h)
        if self.command != "HEAD":
            self.write_body(do, rule, body)
        if h.get("Connection") == "close":
            self.close_connection = True

    def pick_range(self, status, content, h):
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        do = (self.rule or {}).get("do")
        if not m or do == "norange" or status != 200:
            return status, b"" if self.command == "HEAD" and not h.update({"Content-Length": str(content.size)}) else content.read(0, content.size)
        first = int(m[1])
        last = min(int(m[2] or content.size - 1), content.size - 1)
        if first > last:
            return 416, b""
        h["Content-Range"] = f"bytes {first}-{last}/{content.size}"
        return 206, content.read(first, last - first + 1)

    def spoil_body(self, do, rule, body, h):
        if do == "truncate":
            return body[:rule["to"]]
        if do == "extra":
            return body + bytes(rule["n"])
        if do == "flip" and body:
            at = rule.get("at", 0) % len(body)
            return body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        if do == "gzip":
            h["Content-Encoding"] = "gzip"
            return gzip.compress(body)
        return body

    def write_head(self, do, rule, status, h):
        for _ in range(rule.get("n", 1) if do == "continue" else 0):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        head = f"HTTP/1.1 {status} X\r\n" + "".join(
            f"{k}: {v}\r\n" for k, vs in h.items() for v in (vs if isinstance(vs, list) else [vs]))
        if do == "flood":
            head += "".join(f"X-Flood-{i}: {'x' * rule.get('size', 100)}\r\n" for i in range(rule["n"]))
        head = (head + "\r\n").encode("latin-1")
        if do == "slowhead":
            return self.drip(head, rule)
        self.wfile.write(head)

    def drip(self, data, rule):
        step = rule.get("bytes", 1)
        for i in range(0, len(data), step):
            self.wfile.write(data[i:i + step])
            self.wfile.flush()
            time.sleep(rule.get("every", 0.1))

    def write_body(self, do, rule, body):
        if do in ("cut", "stall"):
            at = rule.get("at", 0)
            self.wfile.write(body[:at])
            self.wfile.flush()
            self.record["sent"] = min(at, len(body))
            if do == "stall":
                time.sleep(rule.get("seconds", 60))
            self.close_connection = True
            return
        self.record["sent"] = len(body)
        if do == "slow":
            return self.drip(body, rule)
        self.wfile.write(body)

    def error(self, status, code, message="", headers=None):
        body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
        self.send(status, dict({"Content-Type": "application/json"}, **(headers or {})), body)

    def note_now(self):
        if not self.noted:
            self.noted = True
            self.reg.note(self.record)

    # ---- dispatch ----
    def any(self):
        u = urllib.parse.urlsplit(self.path)
        self.noted = False
        self.rule = None
        auth = self.headers.get("Authorization")
        self.record = {"role": self.server.role, "method": self.command, "path": u.path, "query": u.query,
                       "range": self.headers.get("Range"), "auth": auth.split(" ")[0] if auth else None, "sent": 0,
                       "conn": self.client_address[1], "agent": self.headers.get("User-Agent"),
                       "accept_encoding": self.headers.get("Accept-Encoding"), "cookie": self.headers.get("Cookie")}
        self.query = urllib.parse.parse_qs(u.query, keep_blank_values=True)
        if u.path.startswith("/_control/"):
            return self.control(u.path[10:])
        self.rule = self.reg.rule_for(f"{self.command} {self.path}")
        if self.rule and self.instead(self.rule):
            self.note_now()
            return None
        try:
            self.route(u.path)
        finally:
            self.note_now()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = any

    def body(self):
        n = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(n)
        self.record["received"] = len(data)
        return data

    def instead(self, rule):
        """faults that replace the whole answer"""
        do = rule["do"]
        if do in ("close", "rst", "hang"):
            self.note_now()
            if do == "hang":
                time.sleep(rule.get("seconds", 60))
            if do == "rst":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close() if do == "rst" else None
        elif do == "raw":
            self.wfile.write(rule["bytes"].encode("latin-1"))
            self.close_connection = True
        elif do == "status":
            if rule.get("read", True):
                self.body()
            else:
                self.close_connection = True
            self.send(rule["status"], rule.get("headers"), rule.get("body", "").encode())
        elif do == "redirect":
            self.body()
            to = rule["to"].format(port=self.reg.port, cdn=self.reg.cdn_port, path=self.path)
            self.send(rule.get("status", 307), {"Location": to})
        elif do == "huge":
            self.record["status"] = 200
            self.note_now()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % rule["size"])
            for _ in range(rule["size"] >> 16):
                self.wfile.write(bytes(1 << 16))
        else:
            return False
        return True

    def control(self, what):
        reg, data = self.reg, self.body()
        if what == "log":
            out = "".join(json.dumps(r) + "\n" for r in reg.log).encode()
        elif what == "rules":
            reg.rules, out = json.loads(data), b"{}\n"
        elif what == "config":
            reg.reset(*reg.rules, **json.loads(data))
            out = b"{}\n"
        else:
            out = b"unknown\n"
        self.noted = True
        self.send(200, {}, out)

    def route(self, path):
        if self.server.role == "cdn":
            return self.cdn(path)
        if path == "/token":
            return self.token()
        m = re.fullmatch(r"/v2/(?:(.+)/(manifests|blobs|blobs/uploads|referrers)/([^/]*))?", path)
        if not m:
            return self.error(404, "NOT_FOUND", "no such page")
        if not self.allowed(m[1]):
            return None
        if not m[1]:
            return self.send(200, {}, b"{}")
        return getattr(self, m[2].replace("blobs/", ""))(m[1], m[3])

    # ---- authentication ----
    def user(self):
        """None: nobody; False: wrong"""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            try:
                name, password = base64.b64decode(value).decode().split(":", 1)
            except ValueError:
                return False
            return name if self.reg.config["users"].get(name) == password else False
        return None

    def allowed(self, name):
        c = self.reg.config
        if not c["auth"]:
            return True
        needed = "pull" if self.command in ("GET", "HEAD") else "push"
        if c["auth"] == "basic":
            ok = bool(self.user())
            challenge = 'Basic realm="test registry"'
        else:
            scopes, until = self.reg.tokens.get(self.headers.get("Authorization", "").partition(" ")[2], ([], 0))
            ok = until > time.time() and (not name or any(s.startswith(f"repository:{name}:") and needed in s.split(":")[2].split(",") for s in scopes))
            realm = c["realm"] or f"{self.reg.scheme}://127.0.0.1:{self.reg.port}/token"
            challenge = f'Bearer realm="{realm}",service="test \\"quoted\\", service",scope="repository:{name}:{"pull" if needed == "pull" else "pull,push"}"'
        if not ok:
            self.body()
            self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": c["challenge"] or challenge})
        return ok

    def token(self):
        c = self.reg.config
        if self.command == "POST":
            self.query = urllib.parse.parse_qs(self.body().decode())
            user = "alice" if self.query.get("refresh_token") == [c["refresh_token"]] else False
        else:
            user = self.user()
        if user is False:
            return self.error(401, "UNAUTHORIZED", "wrong password")
        token = hashlib.sha256(os.urandom(8)).hexdigest()
        granted = []
        for s in " ".join(self.query.get("scope", [])).split():
            typ, name, actions = s.split(":")
            granted.append(f"{typ}:{name}:" + ",".join(a for a in actions.split(",") if user or (a == "pull" and c["anonymous_pull"])))
        self.reg.tokens[token] = (granted, time.time() + (300 if c["token_life"] is None else max(c["token_life"], 60)))
        reply = {c["token_field"]: token}
        if c["token_life"] is not None:
            reply["expires_in"] = c["token_life"]
        body = c["token_body"] if c["token_body"] is not None else json.dumps(reply)
        self.send(200, {"Content-Type": "application/json"}, body.encode())

    # ---- content ----
    def cdn(self, path):
        digest = path.rpartition("/")[2]
        if self.headers.get("Authorization"):
            return self.send(400, {}, b"<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>")
        if not self.reg.signature_ok(self.query.get("X-Signature", [""])[0], digest):
            return self.send(403, {}, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        for r in self.reg.repos.values():
            if digest in r["blobs"]:
                return self.send(200, {}, content=Body(r["blobs"][digest]))
        return self.send(404)

    def blobs(self, name, digest):
        r = self.reg.repos.get(name)
        if not r or digest not in r["blobs"]:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.reg.config["cdn"] and self.command == "GET":
            return self.send(307, {"Location": self.reg.sign(digest)})
        h = {"Content-Type": "application/octet-stream"}
        if self.reg.config["content_digest"]:
            h["Docker-Content-Digest"] = digest
        return self.send(200, h, content=Body(r["blobs"][digest]))

    def manifests(self, name, ref):
        if self.command == "PUT":
            return self.put_manifest(name, ref)
        r = self.reg.repos.get(name, {"tags": {}, "manifests": {}})
        digest = r["tags"].get(ref, ref)
        if digest not in r["manifests"]:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        typ, data = r["manifests"][digest]
        h = {"Content-Type": typ}
        if self.reg.config["content_digest"]:
            h["Docker-Content-Digest"] = digest
        return self.send(200, h, data)

    def put_manifest(self, name, ref):
        data = self.body()
        r = self.reg.repo(name)
        j = json.loads(data)
        for d in [j.get("config"), *j.get("layers", [])]:
            if d and d["digest"] not in r["blobs"]:
                return self.error(404, "MANIFEST_BLOB_UNKNOWN", d["digest"])
        for d in j.get("manifests", []):
            if d["digest"] not in r["manifests"]:
                return self.error(404, "MANIFEST_UNKNOWN", d["digest"])
        if ref.startswith("sha256:") and ref != sha(data):
            return self.error(400, "DIGEST_INVALID", "another digest")
        tag = None if ref.startswith("sha256:") else ref
        digest = self.reg.add_manifest(name, data, self.headers.get("Content-Type"), tag)
        h = {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"}
        if self.reg.config["referrers"] and "subject" in j:
            h["OCI-Subject"] = j["subject"]["digest"]
        return self.send(201, h)

    def referrers(self, name, subject):
        c, r = self.reg.config, self.reg.repos.get(name, {"manifests": {}})
        if not c["referrers"]:
            return self.error(404, "NOT_FOUND", "no such page")
        wanted, first, found = self.query.get("artifactType", [None])[0], int(self.query.get("first", [0])[0]), []
        for digest, (typ, data) in r["manifests"].items():
            j = json.loads(data)
            artifact = j.get("artifactType", j.get("config", {}).get("mediaType"))
            if j.get("subject", {}).get("digest") != subject or (c["referrers"] != "unfiltered" and wanted not in (None, artifact)):
                continue
            d = {"mediaType": typ, "digest": digest, "size": len(data), "artifactType": artifact}
            found.append(dict(d, annotations=j["annotations"]) if "annotations" in j else d)
        end = first + c["referrers_page"]
        h = {"Content-Type": INDEX_TYPES}
        if c["referrers"] != "unfiltered":
            h["OCI-Filters-Applied"] = "artifactType"
        if end < len(found):
            h["Link"] = f'</v2/{name}/referrers/{subject}?artifactType={wanted}&first={end}>; rel="next"'
        self.send(200, h, json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES, "manifests": found[first:end]}).encode())

    def uploads(self, name, ident):
        if self.command == "POST":
            return self.begin_upload(name)
        if self.command == "DELETE":
            self.reg.uploads.pop(ident, None)
            return self.send(204)
        have = self.reg.uploads.get(ident)
        if self.command == "GET" and self.reg.config["chunked"] and have is not None:
            return self.send(204, self.progress(name, ident))
        if self.command == "PATCH" and self.reg.config["chunked"]:
            return self.patch(name, ident)
        if self.command == "PUT":
            data = self.body()
            if have is None or "_state" not in self.query:
                return self.error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
            data = have + data
            if sha(data) != self.query.get("digest", [""])[0]:
                return self.error(400, "DIGEST_INVALID", "the digest did not match the uploaded content")
            del self.reg.uploads[ident]
            self.reg.add_blob(name, data)
            return self.send(201, {"Docker-Content-Digest": sha(data), "Location": f"/v2/{name}/blobs/{sha(data)}"})
        self.body()
        return self.error(405, "UNSUPPORTED", "no")

    def progress(self, name, ident):
        """each answer has another place, as docker-registry's have"""
        n = len(self.reg.uploads[ident])
        return {"Location": f"/v2/{name}/blobs/uploads/{ident}?_state=n{n}", "Range": f"0-{max(n - 1, 0)}"}

    def patch(self, name, ident):
        """in order; what has come stays when the rest does not come (rule "lose": so many bytes of this piece, then the end)"""
        rule, at = self.rule or {}, re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        have = self.reg.uploads.get(ident)
        self.record["content_range"] = self.headers.get("Content-Range")
        if have is None:
            self.body()
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        if rule.get("do") == "lose" and at and int(at[1]) == len(have):
            self.reg.uploads[ident] = have + self.rfile.read(rule["at"])
            self.close_connection = True
            return self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        data, least = self.body(), self.reg.config["chunk_min"]
        if not at or int(at[1]) != len(have) or int(at[2]) - int(at[1]) + 1 != len(data) or self.query.get("_state") not in (["a/b"], [f"n{len(have)}"]):
            return self.error(416, "BLOB_UPLOAD_INVALID", "out of order")
        if least and len(data) < least and rule.get("do") != "last":
            self.record["short"] = True
        if rule.get("do") == "keep":    # a part of it
            data = data[:rule["n"]]
        self.reg.uploads[ident] = have + data
        return self.send(202, self.progress(name, ident))

    def begin_upload(self, name):
        self.body()
        mount, origin = self.query.get("mount", [""])[0], self.query.get("from", [""])[0]
        have = self.reg.repos.get(origin, {"blobs": {}})["blobs"].get(mount)
        if have is not None and self.reg.config["mount"]:
            self.reg.repo(name)["blobs"][mount] = have
            return self.send(201, {"Location": f"/v2/{name}/blobs/{mount}", "Docker-Content-Digest": mount})
        ident = hashlib.sha256(os.urandom(8)).hexdigest()[:16]
        self.reg.uploads[ident] = b""
        h = {"Location": f"/v2/{name}/blobs/uploads/{ident}?_state=a%2Fb", "Range": "0-0"}
        if self.reg.config["chunk_min"]:
            h["OCI-Chunk-Min-Length"] = str(self.reg.config["chunk_min"])
        return self.send(202, h)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    p.add_argument("--load", action="append", default=[], metavar="NAME=LAYOUT")
    p.add_argument("--rules", help="a file of JSON: the list of rules")
    p.add_argument("--config", default="{}", help="JSON")
    p.add_argument("--log", help="a file for the lines of JSON")
    a = p.parse_args()
    r = Registry(a.port, a.tls, a.host, **json.loads(a.config))
    for x in a.load:
        r.load(*x.split("=", 1))
    if a.rules:
        r.rules = json.load(open(a.rules))
    if a.log:
        r.log_file = open(a.log, "a")
    print(r.port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
