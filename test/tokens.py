#!/usr/bin/env python3
# tokens.py - a token server as docker-registry expects it (distribution's "Token Authentication Specification")
#
# GET /token?service=S&scope=repository:NAME:pull,push with Basic credentials gives a JWT, signed by openssl with the key
# whose certificate the registry trusts. Scopes: alice may all, anonymous may pull from public/ only.
# SPDX-License-Identifier: Apache-2.0
"""tokens.py PORT CERT KEY SERVICE [SECONDS-OF-LIFE]     serves https; one line "METHOD PATH STATUS" per request on stdout"""
import base64
import http.server
import json
import random
import ssl
import subprocess
import sys
import time
import urllib.parse

PORT, CERT, KEY, SERVICE = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
LIFE = int(sys.argv[5]) if len(sys.argv) > 5 else 300
USER = "alice:secret"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def der_of(pem):
    with open(pem) as f:
        return f.read().split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0].replace("\n", "")


def token(user, scopes):
    access = []
    for s in scopes:
        typ, _, rest = s.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed = set(actions.split(",")) if user else {"pull"} & set(actions.split(",")) if name.startswith("public/") else set()
        access.append({"type": typ, "name": name, "actions": sorted(allowed)})
    now = int(time.time())
    head = {"typ": "JWT", "alg": "RS256", "x5c": [der_of(CERT)]}
    body = {"iss": "fcpull-test", "sub": user, "aud": SERVICE, "exp": now + max(LIFE, 1), "nbf": now - 10, "iat": now, "jti": str(random.random()),
            "access": access}
    text = b64(json.dumps(head).encode()) + b"." + b64(json.dumps(body).encode())
    sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", KEY], input=text, stdout=subprocess.PIPE, check=True).stdout
    return (text + b"." + b64(sig)).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        auth, user, status, body = self.headers.get("Authorization"), "", 200, {}
        if auth is not None:
            if auth == "Basic " + base64.b64encode(USER.encode()).decode():
                user = USER.partition(":")[0]
            else:
                status, body = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
        if url.path != "/token" or query.get("service") != [SERVICE]:
            status, body = 404, {}
        if status == 200:
            scopes = [s for one in query.get("scope", []) for s in one.split(" ")]
            body = {"token": token(user, scopes), "expires_in": LIFE}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, fmt, *args):
        print(self.command, self.path, args[1] if len(args) > 1 else "", flush=True)


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
