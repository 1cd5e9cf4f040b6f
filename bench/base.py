"""base.py - what the parts of the benchmark share: settings, processes, mounts, records

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
LIBC = ctypes.CDLL(None, use_errno=True)

# rate in bytes/s of the nominal link, its name for tc, delay per direction in microseconds
PROFILES = {
    "1g": {"label": "1 Gbit/s, 5 ms each way", "rate": 125e6, "tc": "1gbit", "delay": 5000},
    "200m": {"label": "200 Mbit/s, 5 ms each way", "rate": 25e6, "tc": "200mbit", "delay": 5000},
    "local": {"label": "no link", "rate": 0, "tc": "", "delay": 0},
}
ROUND_TRIP = 0.010


class Failed(Exception):
    """a step failed; the text says which and why"""


class Settings:
    """where things are, and what is measured; filled by bench/run"""
    work = os.environ.get("WORK", "/var/tmp/fcpull-bench")      # images.sh's: images, regstore
    dir = ""                                                   # ours: all else
    fcpull = ""
    binary = ""                                                # sha256 of it, 12 digits
    quiet = 60
    force = False
    verbose = False

    @classmethod
    def at(cls, *parts):
        return os.path.join(cls.dir, *parts)


S = Settings


def say(*a):
    print("bench:", *a, file=sys.stderr, flush=True)


def sh(*cmd, check=True, env=None, timeout=1800, cwd=None, log=None):
    """runs a command in a session of its own (^C is ours to handle), to its end; with its output"""
    p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd,
                         start_new_session=True, text=True, errors="replace")
    try:
        out, err = p.communicate(timeout=timeout)
    except BaseException as e:
        try:
            os.killpg(p.pid, signal.SIGTERM)      # its own group: we made it
            p.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            p.kill()
        if isinstance(e, subprocess.TimeoutExpired):
            raise Failed(f"{' '.join(cmd)}: not finished after {timeout} s") from None
        raise
    p.stdout_text, p.stderr_text = out, err
    if log:
        with open(log, "a", encoding="utf-8") as f:
            f.write(f"$ {' '.join(cmd)}\n{out}{err}")
    if check and p.returncode:
        raise Failed(f"{' '.join(cmd)}: exit {p.returncode}\n{out[-800:]}{err[-800:]}")
    return p


def out_of(*cmd, **kw):
    return sh(*cmd, **kw).stdout_text.strip()


def version_of(*cmd):
    """the first version number that a command prints, or ''"""
    if not shutil.which(cmd[0]):
        return ""
    p = sh(*cmd, check=False)
    m = re.search(r"\d+\.\d+[\w.+~-]*", p.stdout_text + p.stderr_text)
    return m.group(0) if m else "?"


class Daemon:
    """a process of ours that stays: ended by its pid; the kernel ends it should we be killed"""

    def __init__(self, cmd, log, env=None):
        self.log = log
        with open(log, "a", encoding="utf-8") as f:
            self.p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env=env, start_new_session=True,
                                      preexec_fn=lambda: LIBC.prctl(1, signal.SIGKILL, 0, 0, 0))

    def wait_for(self, ready, seconds=15):
        end = time.monotonic() + seconds
        while not ready():
            if self.p.poll() is not None or time.monotonic() > end:
                with open(self.log, encoding="utf-8", errors="replace") as f:
                    raise Failed(f"{self.p.args[0]} does not come up: {f.read()[-600:]}")
            time.sleep(0.05)
        return self

    def cpu(self):
        """seconds that it and its ended children have used"""
        with open(f"/proc/{self.p.pid}/stat", encoding="ascii", errors="replace") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")

    def stop(self, sig=signal.SIGTERM):
        if self.p.poll() is None:
            self.p.send_signal(sig)
            try:
                self.p.wait(15)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()


# ---- mounts: all of ours are in a mount namespace of our own, so none is left however we end ----
def private_mounts():
    if LIBC.unshare(0x00020000):
        raise Failed("cannot make a mount namespace: root is needed")
    sh("mount", "--make-rslave", "/")


def mounts_below(d):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
        points = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), line.split()[4]) for line in f]
    return [m for m in reversed(points) if m == d or m.startswith(d + "/")]


def unmount_below(d):
    for m in mounts_below(d):
        LIBC.umount2(os.fsencode(m), 2)


def wipe(*dirs):
    """makes them empty directories; never goes into a mount"""
    for d in dirs:
        unmount_below(d)
        if mounts_below(d):
            raise Failed(f"{d}: something is still mounted there")
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d, exist_ok=True)


def remove(*dirs):
    for d in dirs:
        wipe(d)
        os.rmdir(d)


# ---- records: JSON lines, only ever appended to ----
def records_path():
    return S.at("results.jsonl")


def load_records():
    if not os.path.exists(records_path()):
        return []
    with open(records_path(), encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def save_record(r):
    r["at"] = time.strftime("%FT%T")
    with open(records_path(), "a", encoding="utf-8") as f:
        f.write(json.dumps(r) + "\n")


def binary_id(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:12]


def lock():
    """one benchmark at a time on a machine; held until we end"""
    f = open("/run/fcpull-bench.lock", "w", encoding="ascii")
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failed("another benchmark is at work on this machine") from None
    return f


# ---- packages ----
def install(*wanted):
    """wanted: 'program:package'. Installs what is missing; returns what could not be had"""
    missing = [w.split(":") for w in wanted if not shutil.which(w.split(":")[0])]
    if not missing:
        return []
    packages = [p for _, p in missing]
    had_registry = shutil.which("docker-registry")
    say("installing", *packages)
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300"]
    if sh(*apt, "--no-install-recommends", "install", *packages, check=False, env=env).returncode:
        sh(*apt, "update", check=False, env=env)
        sh(*apt, "--no-install-recommends", "install", *packages, check=False, env=env)
    # the package starts a registry on port 5000 that nobody asked for, and containerd's a daemon
    if not had_registry and shutil.which("docker-registry") and shutil.which("systemctl"):
        sh("systemctl", "disable", "--now", "docker-registry", check=False)
    return [p for p, _ in missing if not shutil.which(p)]


def in_file(path, text=None):
    """a small text file: reads it, or writes it"""
    if text is None:
        with open(path, encoding="utf-8") as f:
            return f.read().strip()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text + "\n")
    return text
