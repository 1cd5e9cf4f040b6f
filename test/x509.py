#!/usr/bin/env python3
# test/x509.py DIR - servers with certificates of all kinds, for x509.test
#
# Makes the authorities and certificates in DIR with openssl, serves each on a port of its own (127.0.0.1 and ::1), prints
# "NAME HOST PORT VERDICT" for each and an empty line, and serves until its standard input ends. VERDICT is "good" or what the
# refusal must say. What reaches HTTP is answered by 404 and noted in DIR/requests: nothing may, where the verdict is a refusal.
# SPDX-License-Identifier: Apache-2.0
import http.server, os, socket, ssl, subprocess, sys, threading

DIR = sys.argv[1]
LEAF = "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=%s\n"
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"


def at(name):
    return os.path.join(DIR, name)


def openssl(*args):
    p = subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if p.returncode:
        sys.exit("openssl " + " ".join(args) + ": " + p.stderr)


def key(name, rsa=0):
    if rsa:
        openssl("genrsa", "-out", at(name + ".key"), str(rsa))
    else:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", at(name + ".key"))


# NAME.pem by the authority `by` (None: by itself); start and end as YYYYMMDD.
def issue(name, ext, by="ca", cn=None, start="20200101", end="20700101", md="sha256", rsa=0):
    key(name, rsa)
    with open(at(name + ".ext"), "w") as f:
        f.write("[ext]\n" + ext)
    base = at(name + ".db")
    os.makedirs(base)
    open(base + "/index.txt", "w").close()
    with open(at(name + ".conf"), "w") as f:
        f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={base}/index.txt\nnew_certs_dir={base}\nrand_serial=yes\n"
                f"policy=p\nx509_extensions=none\nunique_subject=no\n[p]\ncommonName=supplied\n[none]\n")
    openssl("req", "-new", "-key", at(name + ".key"), "-subj", "/CN=" + (cn or name), "-out", at(name + ".csr"))
    who = ["-selfsign", "-keyfile", at(name + ".key")] if by is None else ["-cert", at(by + ".pem"), "-keyfile", at(by + ".key")]
    openssl("ca", "-batch", "-notext", "-preserveDN", "-config", at(name + ".conf"), "-md", md, "-in", at(name + ".csr"),
            "-startdate", start + "000000Z", "-enddate", end + "000000Z", "-extfile", at(name + ".ext"), "-extensions", "ext",
            "-out", at(name + ".pem"), *who)


def chain(name, *others):
    with open(at(name + ".chain"), "w") as f:
        for n in (name, *others):
            f.write(open(at(n + ".pem")).read())


# ---- authorities ----
issue("ca", CA, by=None)
issue("stranger", CA, by=None)
issue("middle", CA)
issue("middle-old", CA, start="20200101", end="20200201")
issue("middle-no-ca", "basicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\n")
issue("middle-elsewhere", CA + "nameConstraints=critical,permitted;DNS:elsewhere.example\n")

# ---- certificates: name, host that is asked for, verdict, how it is made ----
HERE, IP = "DNS:localhost", "IP:127.0.0.1"
CASES = [
    ("right", "localhost", "good", dict(san=HERE)),
    ("right-ip", "127.0.0.1", "good", dict(san=IP)),
    ("right-ipv6", "[::1]", "good", dict(san="IP:::1")),
    ("right-chain", "localhost", "good", dict(san=HERE, by="middle", more=("middle",))),
    ("right-rsa-2048", "localhost", "good", dict(san=HERE, rsa=2048)),
    ("wrong-name", "localhost", "CN|name|match|expected", dict(san="DNS:other.example")),
    ("wrong-name-cn-right", "localhost", "CN|name|match|expected", dict(san="DNS:other.example", cn="localhost")),
    ("wrong-ip", "127.0.0.1", "CN|name|match|expected", dict(san="IP:127.0.0.9")),
    ("wrong-ip-by-name", "127.0.0.1", "CN|name|match|expected", dict(san=HERE)),
    ("ip-as-dns-name", "127.0.0.1", "good", dict(san="DNS:127.0.0.1")),   # the authority has written that very name
    ("ip-in-common-name", "127.0.0.1", "CN|name|match|expected", dict(san=HERE, cn="127.0.0.1")),
    ("name-by-ip", "localhost", "CN|name|match|expected", dict(san=IP)),
    ("wildcard-of-all", "localhost", "CN|name|match|expected", dict(san="DNS:*")),
    ("wildcard-below", "localhost", "CN|name|match|expected", dict(san="DNS:*.localhost")),
    ("expired", "localhost", "expired|validity", dict(san=HERE, end="20200201")),
    ("not-yet-valid", "localhost", "future|validity", dict(san=HERE, start="20600101")),
    ("unknown-authority", "localhost", "trusted|issuer|CA", dict(san=HERE, by="stranger")),
    ("self-signed", "localhost", "trusted|issuer|CA", dict(san=HERE, by=None)),
    ("no-intermediate", "localhost", "trusted|issuer|CA", dict(san=HERE, by="middle")),
    ("intermediate-expired", "localhost", "expired|validity|trusted", dict(san=HERE, by="middle-old", more=("middle-old",))),
    ("intermediate-no-authority", "localhost", "trusted|issuer|CA", dict(san=HERE, by="middle-no-ca", more=("middle-no-ca",))),
    ("name-constraints", "localhost", "extension",
     dict(san=HERE, by="middle-elsewhere", more=("middle-elsewhere",))),
    ("rsa-1024", "localhost", "key|bit|trusted", dict(san=HERE, rsa=1024)),
    ("sha-1", "localhost", "lgorithm|hash", dict(san=HERE, md="sha1")),
    ("for-clients", "localhost", "Certificate", dict(ext="basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\nsubjectAltName=" + HERE + "\n")),
    ("for-signing-certificates", "localhost", "Certificate", dict(ext="basicConstraints=CA:FALSE\nkeyUsage=keyCertSign\nsubjectAltName=" + HERE + "\n")),
    ("chain-of-60", "localhost", "TLS|SSL|certificate|handshake|X509", dict(san=HERE, more=("middle",) * 60, by="stranger")),
]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(at("requests"), "a") as f:
            f.write(f"{self.server.case} {self.command} {self.path} {self.headers.get('Authorization')}\n")
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass

    def get_request(self):
        sock, addr = self.socket.accept()
        sock.settimeout(10)
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), addr


class Server6(Server):
    address_family = socket.AF_INET6


def serve(case, host):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")   # ours shall be the one that refuses
    context.load_cert_chain(at(case + ".chain"), at(case + ".key"))
    s = (Server6 if ":" in host else Server)((host.strip("[]").replace("localhost", "127.0.0.1"), 0), Handler)
    s.case, s.context = case, context
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s.server_address[1]


open(at("requests"), "w").close()
for name, host, verdict, how in CASES:
    how = dict(how)
    san, more = how.pop("san", None), how.pop("more", ())
    issue(name, how.pop("ext", None) or LEAF % san, **how)
    chain(name, *more)
    print(name, host, serve(name, host), verdict, flush=True)
print(flush=True)
sys.stdin.read()
