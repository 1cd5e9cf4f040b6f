#!/usr/bin/env python3
# tokenserver.py - a token server for registries with `auth: token` (distribution's token specification)
#
# Tokens are JWTs signed with RS256 by the openssl program. Anonymous callers may pull, users may do everything. Besides the
# documented way it can misbehave: see --life, --field, --body.
# SPDX-License-Identifier: Apache-2.0
import argparse
import base64
import http.server
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    def __init__(self, cert, key):
        self.key = key
        pem = open(cert).read().split("-----")[2]
        self.x5c = "".join(pem.split())

    def sign(self, claims):
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self.x5c]}
        text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), stdout=subprocess.PIPE,
                             check=True).stdout
        return text + "." + b64(sig)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, args):
        self.args = args
        self.signer = Signer(*args.sign)
        self.users = dict(u.split(":", 1) for u in args.user)
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", args.port), Handler)
        if args.tls:
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ctx.load_cert_chain(*args.tls)
            self.socket = ctx.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def note(self, **record):
        if self.args.log:
            with self.lock, open(self.args.log, "a") as f:
                f.write(json.dumps(record) + "\n")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, obj):
        body = obj if isinstance(obj, bytes) else json.dumps(obj).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def basic_user(self):
        """None: anonymous; False: wrong"""
        auth = self.headers.get("Authorization")
        if not auth:
            return None
        try:
            user, password = base64.b64decode(auth.split(" ", 1)[1]).decode().split(":", 1)
        except (ValueError, IndexError):
            return False
        return user if self.server.users.get(user) == password else False

    def access(self, scopes, user):
        out = []
        for scope in " ".join(scopes).split():
            typ, name, actions = scope.split(":", 2) if scope.count(":") == 2 else (None, None, None)
            allowed = [a for a in (actions or "").split(",") if user or a == "pull"]
            if typ == "repository" and allowed:
                out.append({"type": typ, "name": name, "actions": allowed})
        return out

    def grant(self, q, user):
        a = self.server.args
        now = int(time.time())
        claims = {"iss": a.issuer, "sub": user or "", "aud": q.get("service", [""])[0], "exp": now + max(a.life or 0, 60), "nbf": now - 5,
                  "iat": now, "jti": str(time.time_ns()), "access": self.access(q.get("scope", []), user)}
        reply = {a.field: self.server.signer.sign(claims)}
        if a.life is not None:
            reply["expires_in"] = a.life
        self.reply(200, a.body.encode() if a.body is not None else reply)

    def do_GET(self):
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        user = self.basic_user()
        self.server.note(method="GET", path=self.path, user=user)
        if user is False:
            return self.reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
        self.grant(q, user)

    def do_POST(self):
        q = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        good = q.get("grant_type") == ["refresh_token"] and q.get("refresh_token") == [self.server.args.refresh_token]
        self.server.note(method="POST", path=self.path, good=good)
        if not good:
            return self.reply(401, {"error": "invalid_grant"})
        self.grant(q, next(iter(self.server.users), "refreshed"))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    p.add_argument("--sign", nargs=2, metavar=("CERT", "KEY"), required=True)
    p.add_argument("--service", default="test-registry")
    p.add_argument("--issuer", default="test-issuer")
    p.add_argument("--user", action="append", default=[], metavar="USER:PASSWORD")
    p.add_argument("--refresh-token", default="refresh me")
    p.add_argument("--life", type=int, help="expires_in; left out when not given")
    p.add_argument("--field", default="token", choices=("token", "access_token"))
    p.add_argument("--body", help="the reply instead of a token")
    p.add_argument("--log")
    s = Server(p.parse_args())
    print(s.server_address[1], flush=True)
    s.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
