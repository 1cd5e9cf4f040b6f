#!/usr/bin/env python3
# registry_test.py TOOL - the cases of test_registry.c: what a registry, its token server and its CDN may do to us
#
# TOOL is test_registry itself, run with a command; see there. The rows follow the list "Registry, network peer" of the threat
# model in doc/design.md. Prints TAP.
# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import registry  # noqa: E402

TOOL = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
TMP = tempfile.mkdtemp(prefix="registry-test.")
ENOENT, EIO, EAGAIN, EACCES, EBUSY, EINVAL, EFBIG, EPROTO, EBADMSG = 2, 5, 11, 13, 16, 22, 27, 71, 74
EOPNOTSUPP, ECONNRESET, ETIMEDOUT, ECONNREFUSED, EREMOTEIO, EKEYREJECTED = 95, 104, 110, 111, 121, 129
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
count = failed = 0


def ok(good, name, *why):
    global count, failed
    count += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {count} - {name}", flush=True)
    if not good:
        for w in why:
            print("#   " + str(w).replace("\n", "\n#   "), flush=True)
    return good


def skip(name, why):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {why}", flush=True)


class Result(dict):
    def __init__(self, p):
        super().__init__(line.split("=", 1) for line in p.stdout.decode().splitlines() if "=" in line)
        self.err, self.status = p.stderr.decode(errors="replace"), p.returncode

    @property
    def r(self):
        return int(self.get("result", -9999))


def start(*args, plain=True, **env):
    e = {k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")}
    e.update(HOME=TMP, LC_ALL="C", **({"PLAIN": "1"} if plain else {}))
    for k in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        e.pop(k, None)
    e.update({k: str(v) for k, v in env.items()})
    return subprocess.Popen([TOOL, *map(str, args)], env=e, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(p, timeout=60):
    try:
        out, err = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        err += b"\nTIMEOUT of the test"
    return Result(subprocess.CompletedProcess(p.args, p.returncode, out, err))


def tool(*args, **kw):
    return finish(start(*args, **kw))


# ---- content ----
reg = registry.Registry()
HOST = f"127.0.0.1:{reg.port}"
R = HOST + "/team/app"
rnd = random.Random(1)
BLOB = rnd.randbytes(700_001)
D = reg.add_blob("team/app", BLOB)
EMPTY = reg.add_blob("team/app", b"")
CONFIG = reg.add_blob("team/app", b"{}")
MAN = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "x/y", "digest": CONFIG, "size": 2},
                  "layers": [{"mediaType": "x/z", "digest": D, "size": len(BLOB)}]}).encode()
MD = reg.add_manifest("team/app", MAN, MANIFEST, "1")


def leaks():
    """requests to the CDN or elsewhere that carried credentials"""
    return [x for x in reg.log if x["role"] == "cdn" and (x["auth"] or x["cookie"])]


def case(name, args, result, err=None, rules=(), check=None, config=None, out=None, **env):
    reg.reset(*rules, **(config or {}))
    begin = time.monotonic()
    r = tool(*args, **env)
    r.seconds = time.monotonic() - begin
    why = []
    if r.r != result:
        why.append(f"result {r.r}, expected {result}")
    if err is not None and not re.search(err, r.err):
        why.append(f"stderr does not match {err!r}")
    if result == 0 and err is None and r.err:
        why.append("stderr is not empty")
    for k, v in (out or {}).items():
        if r.get(k) != str(v):
            why.append(f"{k} is {r.get(k)}, expected {v}")
    if leaks():
        why.append(f"credentials leaked: {leaks()}")
    if "Sanitizer" in r.err or "runtime error" in r.err:
        why.append("sanitizer")
    if re.search(r"X-Signature|open.sesame|b3BlbiBzZXNhbWU", r.err):
        why.append("a secret was printed")
    if check:
        bad = check(r)
        if bad is not None and bad is not True:
            why.append(f"check: {bad}")
    ok(not why, name, *why, r.err, dict(r), *[json.dumps(x) for x in reg.log[:12]] if why else [])
    return r


def requests(n):
    return lambda r: True if len(reg.log) == n else f"{len(reg.log)} requests, expected {n}"


def blob(*more, d=D, size=len(BLOB), ref=R):
    return ["blob", ref, d, size, *more]


WHOLE = {"bytes": len(BLOB), "sha": D}


def part(*ranges):
    return ["ranges", R, D, len(BLOB), 1, *[x for r in ranges for x in r]]


def part_sha(*ranges):
    return {"sha": "sha256:" + hashlib.sha256(b"".join(BLOB[a:a + n] for a, n in ranges)).hexdigest()}


def rule(do, match="GET /v2/team/app/blobs/", **kw):
    return dict({"match": match, "do": do}, **kw)


MANIFESTS = "GET /v2/team/app/manifests/"


def manifests():
    man = ["manifest", R + ":1"]
    case("manifest by tag", man, 0, check=requests(1), out={"type": MANIFEST, "digest": MD, "size": len(MAN)})
    case("manifest by digest", ["manifest", R + "@" + MD], 0, out={"digest": MD})
    case("manifest that is not there: -ENOENT, silent", ["manifest", R + ":nope"], -ENOENT, "^$", check=requests(1))
    case("user agent and accept-encoding", man, 0,
         check=lambda r: reg.log[0]["agent"].startswith("fcpull/") and reg.log[0]["accept_encoding"] == "identity")
    case("another manifest than the digest asked for", ["manifest", R + "@" + MD], -EBADMSG, "digest of what came", [rule("flip", MANIFESTS, at=9)])
    case("Docker-Content-Digest that lies", man, -EBADMSG, "Docker-Content-Digest",
         [rule("headers", MANIFESTS, set={"Docker-Content-Digest": "sha256:" + "0" * 64})])
    case("Docker-Content-Digest that is nonsense", man, -EBADMSG, "Docker-Content-Digest",
         [rule("headers", MANIFESTS, set={"Docker-Content-Digest": "\x1b[31mred"})])
    case("Content-Type of another kind", man, -EBADMSG, "mediaType", [rule("headers", MANIFESTS, set={"Content-Type": INDEX})])
    case("Content-Type with parameters", man, 0, None, [rule("headers", MANIFESTS, set={"Content-Type": MANIFEST + "; charset=utf-8"})])
    case("Content-Type that says nothing", man, 0, None, [rule("headers", MANIFESTS, set={"Content-Type": "application/json"})], out={"type": MANIFEST})
    portal = rule("status", MANIFESTS, status=200, headers={"Content-Type": "text/html"}, body="<html>\x1b[2Jplease log in</html>")
    case("captive portal: shown, escaped", man, -EBADMSG, r"<html>\\x1b", [portal])
    case("captive portal by digest", ["manifest", R + "@" + MD], -EBADMSG, "digest of what came.*<html>", [portal])
    case("manifest of no bytes", man, -EBADMSG, "not JSON", [rule("status", MANIFESTS, status=200)])
    case("an answer without any header", man, -EBADMSG, "not JSON", [rule("raw", MANIFESTS, bytes="HTTP/1.1 200 OK\r\n\r\nhello")])
    for over in (-1, 0, 1):    # spaces are JSON, too
        case(f"manifest of 4 MiB {over:+}", man, -EFBIG if over > 0 else 0, "larger than" if over > 0 else None,
             [rule("status", MANIFESTS, status=200, body=MAN.decode() + " " * ((4 << 20) + over - len(MAN)), headers={"Content-Type": MANIFEST})])
    both = {"schemaVersion": 2, "layers": [], "manifests": []}
    for name, doc, err in (("both manifest and index", both, "looks like both"), ("neither", {"schemaVersion": 2}, "neither"),
                           ("schema 1", {"schemaVersion": 1, "fsLayers": [], "history": []}, "schema 1"),
                           ("not an object", [1], "no manifest")):
        reg.add_manifest("team/app", doc, "application/json", "odd")
        case("manifest that is " + name, ["manifest", R + ":odd"], -EBADMSG, err)
    reg.add_manifest("team/app", b'{"schemaVersion":2,"layers":[],"layers":[],"config":{}}', MANIFEST, "odd")
    case("manifest with a key twice", ["manifest", R + ":odd"], -EBADMSG, "twice")
    reg.add_manifest("team/app", {"schemaVersion": 2, "layers": [], "config": {}}, "text/plain", "odd")
    case("manifest without any type", ["manifest", R + ":odd"], 0, out={"type": MANIFEST})
    case("error body is shown, escaped", man, -EACCES, r"status 403: 'DENIED' 'no\\x1b\[0m'",
         [rule("status", MANIFESTS, status=403, body='{"errors":[{"code":"DENIED","message":"no\\u001b[0m"}]}')], check=requests(1))
    case("error body that is no JSON", man, -EPROTO, "status 418: 'short and stout'", [rule("status", MANIFESTS, status=418, body="short and stout")])


def blobs():
    case("blob", blob(), 0, check=requests(1), out=WHOLE)
    case("blob read 7 bytes at a time", blob(0, 7), 0, out=WHOLE)
    case("blob from an offset", blob(123456), 0, out={"bytes": len(BLOB) - 123456, "sha": registry.sha(BLOB[123456:])},
         check=lambda r: reg.log[0]["range"] == f"bytes=123456-{len(BLOB) - 1}")
    case("blob from its end", blob(len(BLOB)), 0, out={"bytes": 0}, check=requests(0))
    case("blob behind its end", blob(len(BLOB) + 1), -EINVAL, "behind its end")
    case("empty blob", blob(d=EMPTY, size=0), 0, out={"bytes": 0})
    case("blob that is not there", blob(d="sha256:" + "1" * 64), -ENOENT, "BLOB_UNKNOWN")
    case("one bit wrong", blob(), -EBADMSG, "digest of what came", [rule("flip", at=500000)])
    case("another size than the manifest says", blob(size=len(BLOB) - 1), -EBADMSG, "another size")
    case("another size, no Content-Length", blob(size=len(BLOB) - 1), -EBADMSG, "larger", [rule("headers", drop=["Content-Length"])])
    case("no Content-Length", blob(), 0, None, [rule("headers", drop=["Content-Length"])], out=WHOLE)
    for at in (0, 1, 16383, 16384, 65536, 300000, len(BLOB) - 1):
        case(f"cut at byte {at}: resumed there", blob(), 0, None, [rule("cut", at=at, times=1)], out=WHOLE,
             check=lambda r, at=at: len(reg.log) == 2 and reg.log[1]["range"] in (None if at == 0 else f"bytes={at}-{len(BLOB) - 1}",))
    case("cut again and again", blob(), 0, None, [rule("cut", at=100000)], out=WHOLE, check=requests(8))
    case("cut always at 0: gives up", blob(), -ECONNRESET, "after|blob", [rule("cut", at=0)], check=requests(5))
    case("cut, and no ranges: skips what it has", blob(), 0, None,
         [rule("cut", at=300000, times=1), rule("norange")], out=WHOLE)
    case("cut, resumed with a wrong Content-Range", blob(), -EPROTO, "Content-Range",
         [rule("cut", at=300000, times=1), rule("headers", set={"Content-Range": "bytes 300001-700000/700001"})])
    case("stall in the middle", blob(), 0, None, [rule("stall", at=65536, seconds=8, times=1)], out=WHOLE, STALL=1,
         check=lambda r: 0.9 < r.seconds < 6)
    case("one byte at a time", blob(), -ETIMEDOUT, "nothing came|blob", [rule("slow", bytes=1, every=0.05)], STALL=1, TRIES=2,
         check=lambda r: r.seconds < 8)
    case("headers one byte at a time", blob(), -ETIMEDOUT, "nothing came", [rule("slowhead", bytes=1, every=0.05)], STALL=1, TRIES=2)
    case("silence instead of an answer", blob(), -ETIMEDOUT, "nothing came.*after 2 attempts", [rule("hang", seconds=30)], STALL=1, TRIES=2)
    case("Content-Encoding: gzip", blob(), -EPROTO, "Content-Encoding", [rule("gzip")], check=requests(1))
    case("headers without end", blob(), -EPROTO, "64 KiB", [rule("flood", n=700)])
    case("many headers, within the limit", blob(), 0, None, [rule("flood", n=500)], out=WHOLE)
    case("1xx without end", blob(), -EPROTO, "1xx", [rule("continue", n=1000)])
    for n in (19, 20, 21):
        case(f"{n} 1xx", blob(), -EPROTO if n > 20 else 0, "1xx" if n > 20 else None, [rule("continue", n=n)], out=None if n > 20 else WHOLE)
    for over in (-1, 0, 1):    # status line, headers, and the line that ends them
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(MAN)}\r\nContent-Type: {MANIFEST}\r\nX-Filling: "
        head += "x" * ((64 << 10) + over - len(head) - 4) + "\r\n\r\n"
        case(f"headers of 64 KiB {over:+}", ["manifest", R + "@" + MD], -EPROTO if over > 0 else 0, "64 KiB" if over > 0 else None,
             [rule("raw", MANIFESTS, bytes=head + MAN.decode("latin-1"))])
    case("a few 1xx", blob(), 0, None, [rule("continue", n=3)], out=WHOLE)
    case("not HTTP at all", blob(), -EPROTO, None or "GET", [rule("raw", bytes="SSH-2.0-OpenSSH_9.2\r\n")])
    case("connection reset", blob(), 0, None, [rule("rst", times=2)], out=WHOLE, check=requests(3))
    case("connection closed without an answer", blob(), 0, None, [rule("close", times=2)], out=WHOLE)
    case("nobody listens", blob(ref=f"127.0.0.1:{free_port()}/a/b"), -ECONNREFUSED, "connect.*after 3 attempts", TRIES=3)
    case("no such host", blob(ref="fcpull.invalid/a/b"), -113, "resolve", TRIES=1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def retries():
    for status in (408, 429, 500, 502, 503, 504):
        case(f"status {status} twice", blob(), 0, None, [rule("status", status=status, times=2)], out=dict(WHOLE, retries=2), check=requests(3))
    case("status 503 for ever", blob(), -EREMOTEIO, "status 503", [rule("status", status=503)], check=requests(5))
    case("status 429 for ever", blob(), -EBUSY, "status 429.*TOOMANYREQUESTS", [rule("status", status=429, body='{"errors":[{"code":"TOOMANYREQUESTS"}]}')],
         check=requests(5))
    for status in (400, 403, 405, 416, 501, 505):
        case(f"status {status} is final", blob(), -EREMOTEIO if status > 500 else -EACCES if status == 403 else -EPROTO, f"status {status}",
             [rule("status", status=status)], check=requests(1))
    case("Retry-After in seconds", blob(), 0, None, [rule("status", status=429, times=1, headers={"Retry-After": "2"})],
         check=lambda r: 2 <= r.seconds < 6)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
    case("Retry-After as a date", blob(), 0, None, [rule("status", status=503, times=1, headers={"Retry-After": date})],
         check=lambda r: 1 <= r.seconds < 6)
    case("Retry-After that makes no sense", blob(), 0, None, [rule("status", status=503, times=1, headers={"Retry-After": "-5; now"})],
         check=lambda r: r.seconds < 3)
    case("TRIES=1", blob(), -EREMOTEIO, "503", [rule("status", status=503)], TRIES=1, check=requests(1))


def ranges():
    some = [(0, 1000), (1000, 5000), (len(BLOB) - 1, 1), (0, len(BLOB))]
    case("ranges", part(*some), 0, out=part_sha(*some), check=requests(4))
    case("ranges on one connection", part(*some), 0, check=lambda r: len({x["conn"] for x in reg.log}) == 1)
    case("range behind the end", part((len(BLOB) - 1, 2)), -EINVAL, "not so many bytes", check=requests(0))
    case("range cut short", part(some[1]), 0, None, [rule("cut", at=100, times=2)], out=part_sha(some[1]), check=requests(3))
    case("range stalls", part(some[1]), 0, None, [rule("stall", at=100, times=1, seconds=5)], out=part_sha(some[1]), STALL=1)
    twice = (some[0], some[1])
    case("range ignored: the whole blob is kept", part(*twice, *twice), 0, None, [rule("norange")], out=part_sha(*twice, *twice), check=requests(2))
    case("range ignored, blob damaged", part(*twice), -EBADMSG, "digest of what came", [rule("norange", times=1), rule("flip", at=5)])
    big = "sha256:" + "2" * 64
    case("range ignored, blob larger than the budget", ["ranges", R, big, (64 << 20) + 1, 1, 0, 10], -EOPNOTSUPP, "does not serve ranges",
         [rule("huge", size=(64 << 20))])
    for n in ((64 << 20) - 1, 64 << 20):
        d = reg.add_blob("team/app", bytes(n))
        case(f"range ignored, blob of {n} bytes", ["ranges", R, d, n, 1, 0, 10], 0, None, [rule("norange")], out={"sha": registry.sha(bytes(10))})
    n = len(BLOB)
    for name, value in (("absent", None), ("shifted", f"bytes 1001-6000/{n}"), ("longer", f"bytes 1000-6000/{n}"), ("shorter", f"bytes 1000-5998/{n}"),
                        ("of another total", f"bytes 1000-5999/{n + 1}"), ("nonsense", "bytes x"), ("overlong", "bytes 1000-5999/" + "9" * 40),
                        ("other unit", f"items 1000-5999/{n}")):
        do = rule("headers", set={"Content-Range": value}) if value else rule("headers", drop=["Content-Range"])
        case(f"Content-Range {name}", part(some[1]), -EPROTO, "Content-Range", [do], TRIES=2, check=requests(2))
    case("Content-Range without a total", part(some[1]), 0, None, [rule("headers", set={"Content-Range": "bytes 1000-5999/*"})], out=part_sha(some[1]))
    case("multipart/byteranges", part(some[1]), -EPROTO, "Content-Range",
         [rule("headers", drop=["Content-Range"], set={"Content-Type": "multipart/byteranges; boundary=x"})], TRIES=1)
    case("more bytes than asked for", part(some[1]), -EPROTO, "Content-Range", [rule("extra", n=10)], TRIES=1)
    case("fewer bytes than asked for", part(some[1]), -EPROTO, "Content-Range", [rule("truncate", to=10)], TRIES=1)
    many = [(i * 20000, 20000) for i in range(32)]
    r = case("32 ranges, 16 threads", ["ranges", R, D, len(BLOB), 16, *[x for m in many for x in m]], 0, out=part_sha(*many), check=requests(32))
    conns = len({x["conn"] for x in reg.log})
    ok(conns <= 16, f"connections are kept alive between threads ({conns} for 32 requests)", r.err)
    case("429 storm on many threads", ["ranges", R, D, len(BLOB), 16, *[x for m in many for x in m]], 0, None,
         [rule("status", status=429, times=20, headers={"Retry-After": "1"})], out=part_sha(*many))


def redirects():
    tok = {"auth": "token", "cdn": True}
    case("redirect to the CDN", blob(), 0, None, config={"cdn": True}, out=WHOLE, check=requests(2))
    case("redirect to the CDN, with a token", blob(), 0, None, config=tok, out=WHOLE)
    case("redirect to the CDN, with Basic", blob(), 0, None, config={"auth": "basic", "cdn": True}, CREDS="alice:open sesame", out=WHOLE)
    some = [(i * 1000, 1000) for i in range(6)]
    case("the CDN's URL is kept", part(*some), 0, None, config=tok, out=part_sha(*some),
         check=lambda r: sum(x["role"] == "cdn" for x in reg.log) == 6 and sum("/blobs/" in x["path"] for x in reg.log if x["role"] == "registry") == 2)
    case("the CDN's URL expires after 2 uses", part(*some), 0, None, config=dict(tok, cdn_uses=2), out=part_sha(*some))
    case("the CDN's URL expires, resumed stream", blob(), 0, None, [rule("cut", "GET /cdn/", at=1000, times=1)], config=dict(tok, cdn_uses=1), out=WHOLE)
    case("the CDN refuses at once", blob(), -EACCES, "status 403", config=dict(tok, cdn_uses=0))
    case("a 401 of the CDN is not answered", blob(), -EACCES, "status 401",
         [rule("status", "GET /cdn/", status=401, headers={"WWW-Authenticate": 'Basic realm="give"'})], config=tok, CREDS="alice:open sesame")
    case("the CDN falls over, range", part(*some), 0, None, [rule("status", "GET /cdn/", status=503, times=2)], config=tok, out=part_sha(*some))
    case("redirect loop", blob(), -EPROTO, "more than 5 redirects", [rule("redirect", to="{path}")], check=requests(6))
    case("five hops are followed", blob(), 0, None, [rule("redirect", to="{path}", times=5)], out=WHOLE, check=requests(6))
    for name, to, err in (("file:", "file:///etc/passwd", "only https"), ("ftp:", "ftp://127.0.0.1/x", "only https"),
                          ("an URL with a password", "http://u:p@127.0.0.1/", "no URL"), ("nonsense", "http://[::1/", "no URL"),
                          ("a long URL", "http://127.0.0.1/" + "x" * 9000, "no URL")):
        case(f"redirect to {name}", blob(), -EPROTO, err, [rule("redirect", to=to)], check=requests(1))
    for over in (-1, 0, 1):    # of an address
        to = f"http://{HOST}/v2/team/app/blobs/{D}?x="
        to += "x" * (8192 + over - len(to))
        case(f"redirect to 8192 {over:+} bytes", blob(), -EPROTO if over > 0 else 0, "no URL" if over > 0 else None, [rule("redirect", to=to, times=1)])
    case("redirect without Location", blob(), -EPROTO, "status 307", [rule("status", status=307)])
    case("HEAD that is redirected: there", ["has", R, D, len(BLOB)], 1, "^$", [rule("redirect", "HEAD", to="http://127.0.0.1:{cdn}/x")], check=requests(1))


def elsewhere():
    """a registry that is not on loopback may not lead us to this machine"""
    global reg
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))     # no packet is sent
            address = s.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    names = [n for n in (socket.gethostname(), "localhost.localdomain", "ip6-localhost", "ip6-loopback") if n and resolves_here(n)]
    if address.startswith("127."):
        skip("redirects from a registry that is not on loopback", "this machine has no other address")
    else:
        here, reg = reg, registry.Registry(host="0.0.0.0")
        reg.repos = here.repos
        far = f"{address}:{reg.port}/team/app"
        case("a registry elsewhere", blob(ref=far), 0, None, out=WHOLE)
        for to in ("http://127.0.0.1:{cdn}/x", "http://localhost:{cdn}/x", "http://[::1]:{cdn}/x", "http://169.254.169.254/latest", "http://2130706433:{cdn}/x"):
            case(f"a registry elsewhere redirects to {to}", blob(ref=far), -EPROTO, "this machine or its link", [rule("redirect", to=to)], check=requests(1))
        for n in names[:1]:
            case(f"a registry by its name of loopback, {n}, with a token server here", ["manifest", f"{n}:{reg.port}/team/app:1"], 0, None,
                 config={"auth": "token"}, out={"digest": MD})
            case(f"a registry elsewhere redirects to a name of loopback, {n}", blob(ref=far), -EPROTO, "this machine or its link",
                 [rule("redirect", to="http://" + n + ":{cdn}/x")], check=requests(1))
        if not names:
            skip("a registry elsewhere redirects to a name of loopback", "no such name here")
        case("a registry elsewhere, realm on loopback", ["manifest", far + ":1"], -EPROTO, "this machine or its link", config={"auth": "token"}, CREDS="alice:open sesame",
             check=requests(1))
        reg.close()
        reg = here
    man = ["manifest", "registry.invalid/team/app:1"]
    case("through a proxy", man, 0, None, http_proxy=f"http://{HOST}", out={"digest": MD})
    case("a proxy that is not there", man, -ECONNREFUSED, "connect", http_proxy=f"http://127.0.0.1:{free_port()}", TRIES=1)
    case("a proxy is not asked for loopback", ["manifest", R + ":1"], 0, None, http_proxy=f"http://127.0.0.1:{free_port()}", out={"digest": MD})
    case("a proxy wants a password", man, -EPROTO, "status 407", [rule("status", "GET", status=407)], http_proxy=f"http://{HOST}")


def resolves_here(name):
    try:
        return all(a[4][0].startswith("127.") or a[4][0] == "::1" for a in socket.getaddrinfo(name, 80)) and not name.startswith("localhost.")
    except OSError:
        return False


def tokens():
    tok, man = {"auth": "token"}, ["manifest", R + ":1"]
    got = {"digest": MD}
    n_tokens = lambda n: lambda r: True if sum(x["path"] == "/token" for x in reg.log) == n else "token requests"
    case("token, anonymous", man, 0, None, config=tok, out=got, check=requests(3))
    case("access_token", man, 0, None, config=dict(tok, token_field="access_token"), out=got)
    for life in (None, 0, -1, 59, 10**18):
        case(f"expires_in {life}", part((0, 10), (10, 10), (20, 10)), 0, None, config=dict(tok, token_life=life), check=n_tokens(1))
    case("token with credentials", man, 0, None, config=dict(tok, anonymous_pull=False), CREDS="alice:open sesame", out=got,
         check=lambda r: "account=alice" in reg.log[1]["query"] and reg.log[1]["auth"] == "Basic" and "service=test%20%22quoted%22%2C%20service" in reg.log[1]["query"])
    case("token, password by itself", man, 0, None, config=dict(tok, anonymous_pull=False), CREDS="alice", PASSWORD="open sesame", out=got)
    case("token, wrong password", man, -EACCES, "does not accept the credentials", config=tok, CREDS="alice:no")
    case("private repository, anonymous", man, -EACCES, "status 401|refuses", config=dict(tok, anonymous_pull=False),
         check=lambda r: len(reg.log) <= 8)
    case("401 for ever", man, -EACCES, "401", [rule("status", MANIFESTS, status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{HOST}/token"'})],
         check=lambda r: len(reg.log) <= 8)
    case("401 without a challenge", man, -EACCES, "challenge", [rule("status", MANIFESTS, status=401)], check=requests(1))
    case("401 with a challenge that makes no sense", man, -EPROTO, "no sense", config=dict(tok, challenge='Bearer realm="open'))
    case("several challenges in one header", man, 0, None, out=got,
         config=dict(tok, challenge=f'Negotiate abc==, Basic realm="x, y", Bearer realm="http://{HOST}/token", service="s"'))
    case("several WWW-Authenticate headers", man, 0, None, out=got,
         config=dict(tok, challenge=['Digest realm="d", nonce="n"', f'Bearer realm="http://{HOST}/token"']))
    once = rule("status", MANIFESTS, status=401, times=1, after=1, headers={"WWW-Authenticate": f'Bearer realm="http://{HOST}/token",scope="repository:team/app:pull,push",error="insufficient_scope"'})
    case("insufficient_scope", man, 0, None, [once], config=tok, out=got, check=lambda r: any("pull%2Cpush" in x["query"] for x in reg.log))
    case("token revoked in the middle", part(*[(i, 1) for i in range(6)]), 0, None,
         [rule("status", status=401, times=1, after=3, headers={"WWW-Authenticate": f'Bearer realm="http://{HOST}/token"'})], config=tok, check=n_tokens(2))
    case("16 threads fetch one token", ["ranges", R, D, len(BLOB), 16, *[x for i in range(16) for x in (i, 1)]], 0, None,
         [rule("slowhead", "/token", bytes=40, every=0.1)], config=tok, check=n_tokens(1))
    for name, body in (("HTML", "<html>"), ("an empty object", "{}"), ("a number", '{"token": 5}'), ("an empty string", '{"token": ""}'),
                       ("a line break", '{"token": "a\\r\\nX-Evil: 1"}'), ("a NUL", '{"token": "a\\u0000b"}'), ("70 KB", json.dumps({"token": "x" * 70000}))):
        case(f"token that is {name}", man, -EPROTO, "no JSON with a token", config=dict(tok, token_body=body),
             check=lambda r: "<html>" not in r.err)
    for over in (-1, 0, 1):    # (it is sent; more than python's server takes)
        case(f"token of 64 KiB {over:+}", man, -EPROTO, "no JSON with a token" if over > 0 else "status 431",
             config=dict(tok, token_body=json.dumps({"token": "x" * ((64 << 10) + over)})))
        case(f"token reply of 256 KiB {over:+}", man, -EFBIG if over > 0 else -EPROTO, "larger" if over > 0 else "no JSON with a token",
             config=dict(tok, token_body="{}" + " " * ((256 << 10) + over - 2)))
    case("token reply of 1 MB", man, -EFBIG, "larger", config=dict(tok, token_body=json.dumps({"token": "x" * 10**6})))
    case("token server falls over", man, 0, None, [rule("status", "/token", status=503, times=2)], config=tok, out=got)
    case("token server stays down", man, -EPROTO, "token server.*503", [rule("status", "/token", status=503)], config=tok, TRIES=2)
    case("realm of 3 KB", man, -EPROTO, "no sense", config=dict(tok, challenge=f'Bearer realm="http://{HOST}/{"x" * 3000}"'))
    case("realm that is a file", man, -EPROTO, "only https", config=dict(tok, challenge='Bearer realm="file:///etc/shadow"'))
    case("realm that redirects: no password for the other", man, -EACCES, "token server.*403",
         [rule("redirect", "/token", to="http://127.0.0.1:{cdn}/cdn/x")], config=tok, CREDS="alice:open sesame",
         check=lambda r: True if any(x["role"] == "cdn" for x in reg.log) else "not reached")
    case("Basic", man, 0, None, config={"auth": "basic"}, CREDS="alice:open sesame", out=got, check=requests(2))
    case("Basic, wrong password", man, -EACCES, "does not accept", config={"auth": "basic"}, CREDS="alice:wrong", check=requests(2))
    case("Basic, nothing to offer", man, -EACCES, "wants credentials", config={"auth": "basic"}, check=requests(1))


def authfiles():
    man, got = ["manifest", R + ":1"], {"digest": MD}
    pair = base64.b64encode(b"alice:open sesame").decode()
    wrong = base64.b64encode(b"alice:wrong").decode()
    path = TMP + "/auth.json"

    def write(obj, where=path):
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "w") as f:
            f.write(obj if isinstance(obj, str) else json.dumps(obj))
        return where

    def auths(name, obj, result=0, err=None, **env):
        write(obj)
        case("authfile: " + name, man, result, err, config={"auth": "basic"}, out=got if result == 0 else None, **(env or {"AUTHFILE": path}))

    for over in (-1, 0, 1):
        text = json.dumps({"auths": {HOST: {"auth": pair}}})
        auths(f"of 1 MiB {over:+}", text + " " * ((1 << 20) + over - len(text)), -EACCES if over > 0 else 0, "File too large" if over > 0 else None)
    auths("by host", {"auths": {HOST: {"auth": pair}}})
    auths("the longest prefix wins", {"auths": {HOST: {"auth": wrong}, HOST + "/team": {"auth": pair}}})
    auths("a prefix ends at a slash", {"auths": {HOST: {"auth": pair}, HOST + "/te": {"auth": wrong}}})
    auths("the whole repository", {"auths": {HOST + "/team": {"auth": wrong}, HOST + "/team/app": {"auth": pair}}})
    auths("docker's old keys", {"auths": {f"https://{HOST}/v1/": {"auth": pair}}})
    auths("username and password", {"auths": {HOST: {"username": "alice", "password": "open sesame"}}})
    auths("no entry", {"auths": {"other": {"auth": pair}}}, -EACCES, "wants credentials")
    auths("not JSON; its text stays secret", "b3BlbiBzZXNhbWU=", -EBADMSG, "valid JSON")
    auths("not base64", {"auths": {HOST: {"auth": "***"}}}, -EBADMSG, "base64")
    auths("no colon", {"auths": {HOST: {"auth": base64.b64encode(b"alice").decode()}}}, -EBADMSG, "base64")
    auths("credential helper", {"credHelpers": {HOST: "ecr-login"}}, -EACCES, "no program docker-credential-ecr-login")
    auths("credentials store", {"auths": {HOST: {}}, "credsStore": "desktop"}, -EACCES, "no program docker-credential-desktop")
    auths("missing, named", {}, -EACCES, "credentials file", AUTHFILE=TMP + "/nope.json")
    good = {"auths": {HOST: {"auth": pair}}}
    auths("$REGISTRY_AUTH_FILE", good, REGISTRY_AUTH_FILE=path)
    write(good, TMP + "/run/containers/auth.json")
    auths("$XDG_RUNTIME_DIR", {}, XDG_RUNTIME_DIR=TMP + "/run")
    auths("$XDG_CONFIG_HOME", {}, XDG_CONFIG_HOME=TMP + "/run")
    write(good, TMP + "/docker/config.json")
    auths("$DOCKER_CONFIG", {}, DOCKER_CONFIG=TMP + "/docker")
    write(good, TMP + "/home/.docker/config.json")
    auths("~/.docker", {}, HOME=TMP + "/home")
    auths("$REGISTRY_AUTH_FILE alone", {}, -EACCES, "wants credentials", REGISTRY_AUTH_FILE=path, HOME=TMP + "/home")
    auths("--creds first", {"auths": {HOST: {"auth": wrong}}}, CREDS="alice:open sesame", AUTHFILE=path)
    write({"auths": {HOST: {"identitytoken": "refresh me"}}})
    case("identity token: POST", man, 0, None, config={"auth": "token", "anonymous_pull": False}, out=got, AUTHFILE=path,
         check=lambda r: any(x["method"] == "POST" and x["path"] == "/token" for x in reg.log))
    write({"auths": {HOST: {"identitytoken": "stale"}}})
    case("identity token that is refused", man, -EACCES, "does not accept", config={"auth": "token"}, AUTHFILE=path)


big = rnd.randbytes(5 << 20)
with open(TMP + "/big", "wb") as f:
    f.write(big)


def pushes():
    data = rnd.randbytes(300_000)
    d = registry.sha(data)
    path = TMP + "/blob"
    with open(path, "wb") as f:
        f.write(data)

    def push(name, result=0, err=None, rules=(), more=(), to="new", config=None, there=True, check=None, forget=True, **env):
        if forget:
            reg.repos.pop(to, None)
        def all_checks(r):
            if there != (d in reg.repo(to)["blobs"]):
                return "blob is there" if not there else "blob is not there"
            return check(r) if check else None
        case("push: " + name, ["put-blob", f"{HOST}/{to}", path, d, *more], result, err, rules, all_checks, config, **env)

    sent = lambda: [x for x in reg.log if x["method"] == "PUT"]
    push("blob", check=requests(3))
    push("blob again", 1, "^$", forget=False, check=requests(1))
    push("mount", 1, "^$", more=["new"], to="other", check=requests(2))
    push("mount refused: sent", 0, None, more=["new"], to="third", config={"mount": False}, check=requests(3))
    push("mount answered by an error: sent", 0, None, [rule("status", "POST.*mount=", status=405)], more=["new"], to="third", check=requests(4))
    push("with a token", 0, None, config={"auth": "token"}, CREDS="alice:open sesame")
    push("with Basic", 0, None, config={"auth": "basic"}, CREDS="alice:open sesame")
    push("anonymous, not allowed", -EACCES, "401", config={"auth": "token"}, there=False)
    push("PUT fails twice: new sessions", 0, "once more", [rule("status", "PUT", status=500, times=2)], check=lambda r: len(sent()) == 3 and len({x["path"] for x in sent()}) == 3)
    push("PUT is cut off", 0, "once more", [rule("rst", "PUT", times=2)], check=lambda r: len(sent()) == 3)
    push("PUT fails for ever", -EREMOTEIO, "500", [rule("status", "PUT", status=500)], there=False,
         check=lambda r: len(sent()) == 5 and any(x["method"] == "DELETE" for x in reg.log))
    push("PUT refused early, without reading", -EFBIG, "413", [rule("status", "PUT", status=413, read=False)], there=False)
    push("PUT redirected", 0, None, [rule("redirect", "PUT.*_state", to="{path}", times=1)], check=lambda r: len(sent()) == 2)
    push("POST redirected", 0, None, [rule("redirect", "POST", to="{path}", times=1)])
    push("POST 503 twice", 0, None, [rule("status", "POST", status=503, times=2)])
    push("no Location", -EPROTO, "Location", [rule("headers", "POST", drop=["Location"])], there=False)
    push("absolute Location", 0, None, [rule("headers", "POST", set={})], check=None)
    push("Location elsewhere gets no credentials", -EREMOTEIO, None or "PUT", [rule("status", "POST", status=202, headers={"Location": f"http://127.0.0.1:{reg.cdn_port}/up"}),
         rule("status", "PUT /up", status=501)], config={"auth": "basic"}, CREDS="alice:open sesame", there=False)
    push("Location to file:", -EPROTO, "refused", [rule("status", "POST", status=202, headers={"Location": "file:///etc/passwd"})], there=False)
    push("the registry says another digest", -EBADMSG, "Docker-Content-Digest", [rule("headers", "PUT", set={"Docker-Content-Digest": "sha256:" + "3" * 64})])
    man = TMP + "/man"
    with open(man, "wb") as f:
        f.write(MAN)
    # by pieces of 65536: five of them
    patches = lambda: [x for x in reg.log if x["method"] == "PATCH"]
    places = lambda: [x.get("content_range") for x in patches()]
    posts = lambda: len([x for x in reg.log if x["method"] == "POST"])
    same = lambda got, want: got == want or f"got {got}"
    whole = ["0-65535", "65536-131071", "131072-196607", "196608-262143", "262144-299999"]
    pieces = lambda name, *a, **kw: push("pieces: " + name, *a, PIECE=65536, **kw)
    pieces("all", check=lambda r: same([places(), sent()[0]["received"]], [whole, 0]))
    push("pieces: a blob as large as one goes by PUT", check=lambda r: same(patches(), []), PIECE=300_000)
    pieces("not smaller than the registry wants", config={"chunk_min": 100_000}, check=lambda r: same(places(), ["0-99999", "100000-199999", "200000-299999"]))
    pieces("the connection is lost in one: it goes on there", 0, "goes on at byte 75536 of 300000", [rule("lose", "PATCH", after=1, times=1, at=10000)],
           check=lambda r: same([places()[-4], posts()], ["75536-141071", 1]))
    pieces("lost again and again, but it gets on", 0, "goes on at byte", [rule("lose", "PATCH", times=12, at=20000)], check=lambda r: same(posts(), 1), TRIES=2)
    pieces("lost, and nothing gets on: given up", -ECONNRESET, None, [rule("lose", "PATCH", at=0)], there=False, TRIES=2)
    pieces("lost, and the registry does not know how much it has: another session", 0, "once more",
           [rule("lose", "PATCH", after=1, times=1, at=10000), rule("status", "GET.*uploads", status=404)], check=lambda r: same(posts(), 2))
    pieces("lost, and so is the session: another", 0, "once more", [rule("rst", "PATCH", after=2, times=2), rule("status", "GET.*uploads", status=416, times=1)],
           check=lambda r: same(posts(), 2))
    pieces("only a part of one is kept", 0, None, [rule("keep", "PATCH", times=1, n=1000)], check=lambda r: same(places()[1], "1000-66535"))
    pieces("out of order, says the registry", 0, "goes on at byte 0", [rule("status", "PATCH", status=416, times=1)], check=lambda r: same(posts(), 1))
    pieces("5xx in one", 0, "goes on at byte 65536", [rule("status", "PATCH", status=502, after=1, times=2)], check=lambda r: same(posts(), 1))
    pieces("429 with Retry-After in one", 0, "goes on at byte 65536", [rule("status", "PATCH", status=429, after=1, times=1, headers={"Retry-After": "1"})],
           check=lambda r: r.seconds >= 1 or f"after {r.seconds} s")
    pieces("429 with Retry-After at the end", 0, "once more", [rule("status", "PUT", status=429, times=1, headers={"Retry-After": "1"})],
           check=lambda r: r.seconds >= 1 or f"after {r.seconds} s")
    pieces("the token expires in the middle", 0, None, config={"auth": "token"}, CREDS="alice:open sesame", rules=[
        rule("status", "PATCH", status=401, after=2, times=1, headers={"WWW-Authenticate": f'Bearer realm="http://{HOST}/token",service="s",scope="repository:new:pull,push"'})],
        check=lambda r: same([posts(), places()], [1, whole[:2] + [None] + whole[2:]]))
    pieces("the registry knows no PATCH: all at once", 0, "one request|once more", config={"chunked": False},
           check=lambda r: same([len(patches()), [x["received"] for x in sent()]], [1, [300_000]]))
    for s in (400, 404, 405, 411, 413, 415, 501):
        pieces(f"{s} to PATCH: all at once", 0, "once more", [rule("status", "PATCH", status=s)], check=lambda r: same(len(patches()), 1))
    pieces("403 to PATCH", -EACCES, "403", [rule("status", "PATCH", status=403)], there=False)
    pieces("the PUT fails: another session", 0, "once more", [rule("status", "PUT", status=500, times=1)], check=lambda r: same(posts(), 2))
    pieces("nonsense in Range", 0, "once more", [rule("lose", "PATCH", after=1, times=1, at=10000), rule("status", "GET.*uploads", status=204, headers={"Range": "0-99999999999999999999"})])
    # while it is still being made: 10 steps of 30000 bytes, pieces of 50000 at least
    heads = lambda: len([x for x in reg.log if x["method"] == "HEAD"])

    def gapless(_):
        at = 0
        for x in patches():
            first, last = map(int, x["content_range"].split("-"))
            if first != at or x["received"] != last + 1 - first or (x["received"] < 50_000 and last != 299_999):
                return f"pieces: {places()}"
            at = last + 1
        return same([at, sent()[-1]["received"], heads(), len(patches()) > 2], [300_000, 0, 0, True])

    def grow(name, result=0, err=None, rules=(), there=True, check=gapless, config=None, ahead="yes", digest=d, **env):
        reg.repos.pop("new", None)
        def all_checks(r):
            if there != (d in reg.repo("new")["blobs"]):
                return "the blob is there" if not there else "the blob is not there"
            return check(r)
        case("push: ahead: " + name, ["grow-blob", f"{HOST}/new", path, digest, "30000", ahead], result, err, rules, all_checks, config, AHEAD=50000, **env)

    again = lambda n: lambda r: same([heads(), posts(), [x["received"] for x in sent()][-1:]], [1, n, [300_000]])
    grow("pieces as they are made")
    grow("with a token", config={"auth": "token"}, CREDS="alice:open sesame")
    grow("not before it is complete", ahead="no", check=lambda r: same([patches(), heads(), posts()], [[], 1, 1]))
    grow("not smaller than the registry wants", config={"chunk_min": 120_000}, check=lambda r: same(places()[0].split("-")[0], "0") and patches()[0]["received"] >= 120_000)
    grow("no blob in the end", there=False, digest="none", check=lambda r: same([sent(), any(x["method"] == "DELETE" for x in reg.log)], [[], True]))
    grow("the registry does not begin", 0, "500", [rule("status", "POST", status=500, times=5)], check=again(6), TRIES=5)
    grow("a piece fails: the whole", 0, "502", [rule("status", "PATCH", status=502, after=1, times=1)], check=again(2))
    grow("the connection is lost in a piece: the whole", 0, "reset|416", [rule("lose", "PATCH", after=1, times=1, at=100)], check=again(2))
    grow("no PATCH: the whole", 0, "405", [rule("status", "PATCH", status=405)], check=again(2))
    grow("the end fails: the whole", 0, "500", [rule("status", "PUT", status=500, times=1)], check=again(2))
    grow("all fails", -EREMOTEIO, "500", [rule("status", "PUT", status=500)], there=False, check=lambda r: True)
    grow("another digest in the end, and yet it is there", 0, "Docker-Content-Digest", [rule("headers", "PUT", set={"Docker-Content-Digest": "sha256:" + "3" * 64})], check=lambda r: True)
    case("push: PUT is too large for a proxy: by pieces", ["put-blob", f"{HOST}/big", TMP + "/big", registry.sha(big)], 0, "413|once more", [rule("status", "PUT.*uploads", status=413, times=1, read=False)],
         check=lambda r: same([x["received"] for x in patches()], [1310720] * 4) if "413" in r.err else
         same([x["received"] for x in sent()[1:]], [len(big)]))    # (the answer was lost: the whole once more)
    case("push: and so are the pieces", ["put-blob", f"{HOST}/big2", TMP + "/big", registry.sha(big)], 0, "413", [rule("status", "PATCH.*uploads", status=413, times=1)],
         check=lambda r: same([x["received"] for x in patches()], [4 << 20] + [1 << 20] * 5), PIECE=4 << 20)
    case("push: manifest", ["put-manifest", f"{HOST}/team/app:2", MANIFEST, man], 0, check=lambda r: reg.repo("team/app")["tags"].get("2") == MD)
    case("push: manifest of missing blobs", ["put-manifest", f"{HOST}/empty:2", MANIFEST, man], -ENOENT, "MANIFEST_BLOB_UNKNOWN")
    case("push: manifest, 503 twice", ["put-manifest", f"{HOST}/team/app:2", MANIFEST, man], 0, None, [rule("status", "PUT", status=503, times=2)])
    case("push: manifest, digest differs", ["put-manifest", f"{HOST}/team/app:2", MANIFEST, man], -EBADMSG, "Docker-Content-Digest",
         [rule("headers", "PUT", set={"Docker-Content-Digest": "sha256:" + "3" * 64})])
    case("has: yes", ["has", R, D, len(BLOB)], 1, "^$")
    case("has: no", ["has", R, "sha256:" + "1" * 64, 5], 0)
    case("has: of another size", ["has", R, D, 5], -EPROTO, "700001 bytes at the registry")


def shell(text):
    return subprocess.run(["bash", "-c", f'. "{HERE}/lib-registry.sh"; {text}'], env=dict(os.environ, REGISTRY_DIR=TMP + "/reg"), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def tls():
    p = shell(f'make_ca "{TMP}/tls"; make_ca "{TMP}/tls2"; make_ca "{TMP}/tls-other" DNS:other.example')
    d = TMP + "/tls"
    global reg
    plain, reg = reg, registry.Registry(tls=(d + "/cert.pem", d + "/cert.key"))
    reg.repos = plain.repos
    ref = f"localhost:{reg.port}/team/app:1"
    man, got = ["manifest", ref], {"digest": MD}
    case("TLS with --cacert", man, 0, None, plain=False, CACERT=d + "/ca.pem", out=got)
    case("TLS with $SSL_CERT_FILE: found out by asking", man, 0, None, plain=False, SSL_CERT_FILE=d + "/ca.pem", out=got)
    os.makedirs(TMP + "/certs", exist_ok=True)
    with open(d + "/ca.pem") as f, open(TMP + "/certs/x.pem", "w") as o:
        o.write(f.read())
    case("TLS with $SSL_CERT_DIR", man, 0, None, plain=False, SSL_CERT_DIR=TMP + "/certs", out=got)
    case("unknown authority", man, -EKEYREJECTED, "--cacert", plain=False, CACERT=TMP + "/tls2/ca.pem", check=requests(0))
    case("--cacert is no PEM", man, -9999, "PEM", plain=False, CACERT=d + "/ext")
    case("--cacert is missing", man, -9999, "open", plain=False, CACERT=d + "/nope")
    case("redirect from TLS to plain http", ["blob", ref, D, len(BLOB)], -EPROTO, "leaves https", [rule("redirect", to=f"http://127.0.0.1:{plain.port}/x")],
         plain=False, CACERT=d + "/ca.pem")
    case("realm in plain http", man, -EPROTO, "leaves https", config={"auth": "token", "realm": f"http://127.0.0.1:{plain.port}/token"}, plain=False,
         CACERT=d + "/ca.pem", CREDS="alice:open sesame")
    case("TLS, CDN, token, all at once", ["blob", ref, D, len(BLOB)], 0, None, config={"auth": "token", "cdn": True, "anonymous_pull": False}, plain=False,
         CACERT=d + "/ca.pem", CREDS="alice:open sesame", out=WHOLE)
    case("TLS cut in the middle, no close_notify", ["blob", ref, D, len(BLOB)], 0, None, [rule("cut", at=200000, times=1)], plain=False, CACERT=d + "/ca.pem", out=WHOLE)
    many = [(i * 20000, 20000) for i in range(32)]
    case("TLS on 8 threads", ["ranges", ref, D, len(BLOB), 8, *[x for m in many for x in m]], 0, None, plain=False, CACERT=d + "/ca.pem", out=part_sha(*many))
    reg.close()
    for name, err in (("other", "name|CN|match"), ("expired", "expired|validity")):
        d = f"{TMP}/tls-{name}"
        if name == "expired" and not expire(TMP + "/tls", d):
            skip("certificate that has expired", "python3-cryptography is not installed")
            continue
        reg = registry.Registry(tls=(d + "/cert.pem", d + "/cert.key"))
        case(f"certificate: {name}", ["manifest", f"localhost:{reg.port}/team/app:1"], -EKEYREJECTED, err, plain=False, CACERT=d + "/ca.pem", check=requests(0))
        reg.close()
    reg = plain
    case("plain http on loopback: found out by asking", ["manifest", R + ":1"], 0, None, plain=False, out=got, check=requests(2))
    case("plain http to a name", ["manifest", f"example.invalid:{reg.port}/a/b"], -113, "resolve", plain=False, TRIES=1)
    if p.returncode:
        ok(False, "certificates", p.stdout)


def expire(good, out):
    """a certificate of the same authority that ended yesterday"""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
    except ImportError:
        return False
    import datetime
    read = lambda f: open(f"{good}/{f}", "rb").read()
    old = x509.load_pem_x509_certificate(read("cert.pem"))
    key = serialization.load_pem_private_key(read("ca.key"), None)
    now = datetime.datetime.utcnow()
    b = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number, now - datetime.timedelta(9), now - datetime.timedelta(1),
                                list(old.extensions))
    subprocess.run(["cp", "-r", good, out], check=True)
    with open(out + "/cert.pem", "wb") as f:
        f.write(b.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return True


def real_registry():
    import shutil
    if not shutil.which("docker-registry"):
        return skip("docker-registry", "docker-registry is not installed")
    data = rnd.randbytes(2_000_000)
    d = registry.sha(data)
    with open(TMP + "/real", "wb") as f:
        f.write(data)
    man = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": d, "size": len(data)}, "layers": []}).encode()
    with open(TMP + "/real.json", "wb") as f:
        f.write(man)
    for i, kind in enumerate(("plain", "tls", "htpasswd", "token")):
        base = 15020 + os.getpid() % 30 * 2
        port = next(p for p in range(base, 15099, 2) if is_free(p) and is_free(p + 1))
        p = subprocess.Popen(["bash", "-c", f'. "{HERE}/lib-registry.sh"; trap "registry_stop_all; exit" EXIT TERM; registry_start {kind} {port} {kind} && echo up; read -r line'],
                             env=dict(os.environ, REGISTRY_DIR=f"{TMP}/reg-{kind}"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        up = p.stdout.readline() == b"up\n"
        env = {"plain": kind == "plain"}
        dir = f"{TMP}/reg-{kind}/{kind}"
        if kind != "plain":
            env["CACERT"] = dir + "/ca.pem"
        if kind in ("htpasswd", "token"):
            env["AUTHFILE"] = dir + "/auth.json"
        ref = f"127.0.0.1:{port}/team/app"
        name = f"docker-registry {kind}: "
        ok(up, name + "starts")
        case(name + "push a blob", ["put-blob", ref, TMP + "/real", d], 0, None, **env)
        case(name + "push one by pieces", ["put-blob", ref, TMP + "/big", registry.sha(big)], 0, None, out={"bytes_out": len(big)}, PIECE=1_000_000, **env)
        case(name + "it has come", ["put-blob", ref, TMP + "/big", registry.sha(big)], 1, "^$", **env)
        case(name + "it is there", ["put-blob", ref, TMP + "/real", d], 1, "^$", **env)
        case(name + "mount", ["put-blob", ref + "2", TMP + "/real", d, "team/app"], 1, "^$", out={"bytes_out": 0}, **env)
        case(name + "push a manifest", ["put-manifest", ref + ":1", MANIFEST, TMP + "/real.json"], 0, None, **env)
        case(name + "manifest by tag", ["manifest", ref + ":1"], 0, None, out={"digest": registry.sha(man)}, **env)
        case(name + "manifest by digest", ["manifest", ref + "@" + registry.sha(man)], 0, None, **env)
        case(name + "no such tag", ["manifest", ref + ":2"], -ENOENT, "^$", **env)
        case(name + "blob", ["blob", ref, d, len(data)], 0, None, out={"sha": d}, **env)
        case(name + "ranges on 8 threads", ["ranges", ref, d, len(data), 8, *[x for i in range(16) for x in (i * 100000, 100000)]], 0, None,
             out={"sha": "sha256:" + hashlib.sha256(data[:1600000]).hexdigest()}, **env)
        anonymous = {k: v for k, v in env.items() if k != "AUTHFILE"}
        want = -EACCES if kind == "htpasswd" else 0
        case(name + "anonymous pull", ["manifest", ref + ":1"], want, "wants credentials" if want else None, **anonymous)
        if kind in ("htpasswd", "token"):
            case(name + "anonymous push", ["put-manifest", ref + ":3", MANIFEST, TMP + "/real.json"], -EACCES, "refuses|401", **anonymous)
            case(name + "wrong password", ["manifest", ref + ":1"], -EACCES, "does not accept", CREDS="alice:wrong", **anonymous)
        p.stdin.close()
        p.wait()


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def layouts():
    lay = TMP + "/layout"
    ref = "oci:" + lay
    with open(TMP + "/lb", "wb") as f:
        f.write(BLOB)
    with open(TMP + "/lm", "wb") as f:
        f.write(MAN)
    case("layout: missing", ["manifest", ref], -9999, "OCI layout")
    case("layout: put a blob, made on the way", ["put-blob", ref, TMP + "/lb", D], 0)
    case("layout: put it again", ["put-blob", ref, TMP + "/lb", D], 1)
    case("layout: wrong digest", ["put-blob", ref, TMP + "/lb", MD], -EBADMSG, "another digest")
    ok(not [x for x in os.listdir(lay + "/blobs/sha256") if x.startswith(".")], "layout: no temporary file stays")
    case("layout: empty", ["manifest", ref], -ENOENT, "^$")
    case("layout: put a manifest", ["put-manifest", ref + ":1", MANIFEST, TMP + "/lm"], 0)
    case("layout: the only one", ["manifest", ref], 0, out={"digest": MD, "type": MANIFEST})
    procs = [start("put-manifest", f"{ref}:t{i}", MANIFEST, TMP + "/lm") for i in range(12)]
    ok(all(finish(p).r == 0 for p in procs), "layout: 12 writers at once")
    names = [m["annotations"]["org.opencontainers.image.ref.name"] for m in json.load(open(lay + "/index.json"))["manifests"]]
    ok(sorted(names) == sorted(["1"] + [f"t{i}" for i in range(12)]), "layout: none lost", names)
    case("layout: a name twice replaces", ["put-manifest", ref + ":t3", MANIFEST, TMP + "/lm"], 0)
    ok(len(json.load(open(lay + "/index.json"))["manifests"]) == 13, "layout: still 13")
    case("layout: which one?", ["manifest", ref], -EINVAL, "has 13 manifests.*'t1'")
    case("layout: by name", ["manifest", ref + ":t4"], 0, out={"digest": MD})
    case("layout: by digest", ["manifest", ref + "@" + MD], 0, out={"digest": MD})
    case("layout: no such name", ["manifest", ref + ":no"], -ENOENT, "^$")
    case("layout: no such digest", ["manifest", ref + "@" + "sha256:" + "4" * 64], -ENOENT, "^$")
    case("layout: blob", ["blob", ref, D, len(BLOB)], 0, out=WHOLE)
    case("layout: blob from an offset", ["blob", ref, D, len(BLOB), 1000], 0, out={"sha": registry.sha(BLOB[1000:])})
    case("layout: ranges", ["ranges", ref, D, len(BLOB), 4, 0, 10, 10, 20], 0, out={"sha": registry.sha(BLOB[:30])})
    case("layout: range behind the end", ["ranges", ref, D, len(BLOB), 1, len(BLOB) - 1, 2], -EINVAL, "not so many")
    case("layout: has", ["has", ref, D, len(BLOB)], 1)
    case("layout: has not", ["has", ref, "sha256:" + "1" * 64, 4], 0)
    case("layout: missing blob", ["blob", ref, "sha256:" + "1" * 64, 4], -ENOENT, "open")
    file = f"{lay}/blobs/sha256/{D[7:]}"
    with open(file, "r+b") as f:
        f.seek(5000)
        f.write(b"!!")
    case("layout: damaged blob", ["blob", ref, D, len(BLOB)], -EBADMSG, "another content")
    os.truncate(file, 5000)
    case("layout: truncated blob", ["blob", ref, D, len(BLOB)], -EBADMSG, "another size")
    case("layout: truncated blob is replaced", ["put-blob", ref, TMP + "/lb", D], 0)
    case("layout: and good again", ["blob", ref, D, len(BLOB)], 0, out=WHOLE)
    os.unlink(file)
    os.mkfifo(file)
    case("layout: blob that is a fifo", ["blob", ref, D, len(BLOB)], -EBADMSG, "another size")
    index = lay + "/index.json"

    def bad_index(name, text, result, err, args=("manifest", ref)):
        with open(index, "w") as f:
            f.write(text)
        case("layout: index.json " + name, list(args), result, err)

    ent = {"mediaType": MANIFEST, "digest": MD, "size": len(MAN)}
    doc = lambda *es: json.dumps({"schemaVersion": 2, "manifests": es})
    bad_index("that is no JSON", "{", -EBADMSG, "not JSON")
    bad_index("without manifests", "{}", -EBADMSG, "no list of manifests")
    bad_index("with a path for a digest", doc(dict(ent, digest="sha256:../../../../etc/passwd")), -EBADMSG, "good digest")
    bad_index("with an upper-case digest", doc(dict(ent, digest=MD.upper())), -EBADMSG, "good digest")
    bad_index("with a wrong size", doc(dict(ent, size=1)), -EBADMSG, "size or digest")
    bad_index("with a negative size", doc(dict(ent, size=-1)), -EBADMSG, "good digest and size")
    bad_index("with another type", doc(dict(ent, mediaType=INDEX)), -EBADMSG, "mediaType")
    bad_index("with a missing blob", doc(dict(ent, digest="sha256:" + "1" * 64)), -ENOENT, "^$")
    name = {"annotations": {"org.opencontainers.image.ref.name": "x"}}
    bad_index("with a name for two", doc(dict(ent, **name), dict(ent, digest=D, **name)), -EBADMSG, "two manifests", ("manifest", ref + ":x"))
    bad_index("keeps what it does not know", json.dumps({"schemaVersion": 2, "manifests": [dict(ent, x=[1, {"y": "z"}])], "more": {"a": 1.5}}), 0, None,
              ("put-manifest", ref + ":new", MANIFEST, TMP + "/lm"))
    j = json.load(open(index))
    ok(j["more"] == {"a": 1.5} and j["manifests"][0]["x"] == [1, {"y": "z"}] and len(j["manifests"]) == 2, "layout: it did", j)


def main():
    for group in (manifests, blobs, retries, ranges, redirects, elsewhere, tokens, authfiles, pushes, tls, layouts, real_registry):
        if len(sys.argv) < 3 or group.__name__ in sys.argv[2:]:
            group()
    print(f"1..{count}")
    subprocess.run(["rm", "-rf", TMP])
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
