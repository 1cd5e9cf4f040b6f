"""tools.py - the ways to run an image that are compared

A tool says how to make its place clean (setup), which commands are timed (steps), and how to leave (cleanup). All of this happens in
a process, a mount namespace and directories of its own (see measure.py).
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import shutil

from base import Daemon, HERE, S, TOP, install, out_of, remove, say, sh, version_of, wipe
from bundle import edit_config, runtime

# what a job runs in the image: None = the image's own entrypoint
READ_ALL = ["/bin/sh", "-c", "tar -c --one-file-system / 2>/dev/null | wc -c"]

PACKAGES = ["docker-registry:docker-registry", "skopeo:skopeo", "umoci:umoci", "podman:podman", "ctr:containerd", "runc:runc",
            "crun:crun", "curl:curl", "ip:iproute2", "tc:iproute2", "gcc:gcc", "mksquashfs:squashfs-tools", "tar:tar"]
# what erofs-utils is built with
EROFS_PACKAGES = ["autoconf", "automake", "libtool", "pkg-config", "make", "gcc", "libcurl4-openssl-dev", "libjson-c-dev",
                  "libssl-dev", "liblz4-dev", "libzstd-dev", "uuid-dev", "zlib1g-dev"]


class Tool:
    tag = "latest"          # the tag of the workload's repository that it runs
    label = ""
    plain = False           # pulls the original whole
    peer = True             # not fcpull
    why_not = ""            # it cannot be measured here, because
    known = None            # its version

    def __init__(self, name):
        self.name = name

    def place(self, *parts):
        return S.at("s", self.name, *parts)

    def version(self):
        return ""

    def version_once(self):
        if self.known is None:
            self.known = self.version()
        return self.known

    def programs(self):
        """read into memory before a cold run: a real node has them there"""
        return []

    def setup(self, job):
        wipe(self.place())

    def steps(self, job):
        raise NotImplementedError

    def cpu_so_far(self):
        """of daemons, from before the run"""
        return 0

    def cleanup(self):
        remove(self.place())


class Fcpull(Tool):
    peer = False

    def __init__(self, name, tag, label, plain=False):
        super().__init__(name)
        self.tag, self.label, self.plain = tag, label, plain

    def version(self):
        return version_of(S.fcpull, "--version")

    def programs(self):
        return [S.fcpull]

    def env(self):
        keep = {k: os.environ[k] for k in ("PATH", "LANG") if k in os.environ}
        return dict(keep, HOME=self.place(), TMPDIR=self.place(), FCPULL_ROOT=self.place("store"), FCPULL_ACCELERATE="off")

    def steps(self, job):
        cmd = [S.fcpull, "run", "-q", "--plain-http", "--net", "none"]
        if job["command"]:
            cmd += ["--entrypoint", job["command"][0]]
        if job["part"] == "demand":
            cmd += ["--fill=off"]
        if job.get("bind"):
            cmd += ["-v", job["bind"]]
        return [("run", [*cmd, job["ref"], *job["command"][1:]], self.env())]


class Containerd(Tool):
    label, plain = "containerd (ctr, overlayfs)", True

    def version(self):
        return version_of("containerd", "--version")

    def programs(self):
        return ["containerd", "ctr", "containerd-shim-runc-v2", "runc"]

    def ctr(self, *args):
        return ["ctr", "-a", self.place("sock"), *args]

    def setup(self, job):
        super().setup(job)
        off = ["io.containerd.grpc.v1.cri"] + [f"io.containerd.snapshotter.v1.{s}" for s in ("btrfs", "zfs", "devmapper", "aufs")]
        with open(self.place("config.toml"), "w", encoding="ascii") as f:
            f.write(f'version = 2\nroot = "{self.place("root")}"\nstate = "{self.place("state")}"\ndisabled_plugins = {json.dumps(off)}\n'
                    f'[grpc]\naddress = "{self.place("sock")}"\n')

    def start(self):
        self.daemon = Daemon(["containerd", "--config", self.place("config.toml")], S.at("log", "containerd.log"))
        self.daemon.wait_for(lambda: os.path.exists(self.place("sock")) and not sh(*self.ctr("version"), check=False).returncode)

    def cpu_so_far(self):
        return self.daemon.cpu()

    def steps(self, job):
        return [("pull", self.ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", job["ref"]), None),
                ("run", self.ctr("run", "--rm", "--snapshotter", "overlayfs", job["ref"], "fcbench", *job["command"]), None)]

    def cleanup(self):
        if hasattr(self, "daemon"):
            self.daemon.stop()
        super().cleanup()


class Podman(Tool):
    label, plain = "podman (overlay)", True
    run = "/run/fcpull-bench-podman"        # podman takes at most 50 characters

    def version(self):
        return version_of("podman", "--version")

    def programs(self):
        return ["podman", "conmon", "/usr/libexec/podman/conmon", "/usr/lib/podman/conmon", "runc"]

    def podman(self, *args):
        # crun refuses hybrid cgroups
        return ["podman", "--root", self.place("root"), "--runroot", self.run, "--storage-driver", "overlay",
                "--cgroup-manager", "cgroupfs", "--runtime", "runc", *args]

    def setup(self, job):
        super().setup(job)
        wipe(self.run)
        sh(*self.podman("images"))      # makes the empty store: not part of a pull

    def steps(self, job):
        run = ["run", "--rm", "--network", "none"]
        # without CAP_SYS_RESOURCE podman's defaults are above the hard limits
        run += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
        if job["command"]:
            run += ["--entrypoint", json.dumps(job["command"])]
        return [("pull", self.podman("pull", "-q", "--tls-verify=false", job["ref"]), None), ("run", self.podman(*run, job["ref"]), None)]

    def cleanup(self):
        super().cleanup()
        remove(self.run)


class SkopeoUmoci(Tool):
    label, plain = f"skopeo + umoci + {runtime('', '')[0]}", True

    def version(self):
        return " + ".join(version_of(p, "--version") for p in ("skopeo", "umoci", runtime("", "")[0]))

    def programs(self):
        return ["skopeo", "umoci", runtime("", "")[0], "python3"]

    def steps(self, job):
        run = ["python3", "-ISB", os.path.join(HERE, "bundle.py"), self.place("b"), *job["command"]]
        return [("pull", ["skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + job["ref"], f"oci:{self.place('l')}:t"], None),
                ("unpack", ["umoci", "unpack", "--image", self.place("l") + ":t", self.place("b")], None),
                ("run", run, None)]


class MountErofs(Tool):
    """erofs-utils' own lazy mount of an EROFS image that is the only layer of an OCI image; run on an overlay, with a config.json
    made beforehand"""
    tag = "erofs"
    backend = "nbd" if os.path.exists("/dev/nbd0") else "fanotify"
    label = f"mount.erofs ({backend}) + {runtime('', '')[0]}"
    cache = "/var/cache/erofsmount"
    bin = ""

    def version(self):
        return version_of(os.path.join(self.bin, "mkfs.erofs"), "--version") if self.bin else ""

    def programs(self):
        return [os.path.join(self.bin, "mount.erofs"), runtime("", "")[0]]

    def setup(self, job):
        super().setup(job)
        for d in ("cache", "lower", "upper", "work", "b/rootfs"):
            os.makedirs(self.place(d))
        # its cache has a fixed place; the mount is seen by this run only
        os.makedirs(self.cache, exist_ok=True)
        sh("mount", "--bind", self.place("cache"), self.cache)
        shutil.copy(os.path.join(S.at("unpacked"), job["workload"], "config.json"), self.place("b"))
        edit_config(self.place("b"), job["command"], self.place("b/rootfs"))

    def steps(self, job):
        overlay = f"lowerdir={self.place('lower')},upperdir={self.place('upper')},workdir={self.place('work')}"
        return [("mount", [os.path.join(self.bin, "mount.erofs"), "-t", "erofs." + self.backend, "-o", "oci.insecure,oci.layer=0",
                           job["ref"], self.place("lower")], None),
                ("overlay", ["mount", "-t", "overlay", "overlay", "-o", overlay, self.place("b/rootfs")], None),
                ("run", runtime(self.place("b"), "fcbench"), None)]

    def cleanup(self):
        if self.bin and os.path.isdir(self.place("lower")):
            sh("umount", "-l", self.place("b/rootfs"), check=False)
            sh(os.path.join(self.bin, "mount.erofs"), "-u", self.place("lower"), check=False)
            sh("umount", self.cache, check=False)
        super().cleanup()


TOOLS = {t.name: t for t in [
    Fcpull("boot", "fct", "fcpull, accelerated, boot stream"),
    Fcpull("accel", "fc", "fcpull, accelerated, no trace"),
    Fcpull("orig", "latest", "fcpull, original", plain=True),
    Containerd("containerd"), Podman("podman"), SkopeoUmoci("skopeo"), MountErofs("mount.erofs"),
]}


def is_other(name):
    """what it takes does not depend on this fcpull, so its runs may be of another session; gunzip is measured beside convert each time"""
    return TOOLS[name].peer if name in TOOLS else name not in ("convert", "gzip -dc")


def has_boot_stream():
    """this fcpull can record a run and convert with the trace"""
    texts = [out_of(S.fcpull, verb, "--help") for verb in ("convert", "run")]
    return "--trace" in texts[0] and "--record" in texts[1]


def find_tools(wanted=True):
    """says for each tool whether it can be measured here; wanted: installs what is missing"""
    missing = install(*PACKAGES) if wanted else []
    if missing:
        say("cannot install", *missing)
    for name, program in (("containerd", "ctr"), ("podman", "podman"), ("skopeo", "umoci")):
        if not shutil.which(program):
            TOOLS[name].why_not = f"{program} is not installed and apt-get cannot install it"
    if not has_boot_stream():
        TOOLS["boot"].why_not = "this fcpull has no convert --trace and run --record"


def find_mount_erofs():
    """builds erofs-utils; sets why_not with the reason when that cannot be, or when it does not work here"""
    t = TOOLS["mount.erofs"]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    need = [p for p in EROFS_PACKAGES if sh("dpkg", "-s", p, check=False).returncode]
    if need:
        say("installing", *need)
        sh("apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", "install", *need, check=False, env=env)
    p = sh("sh", os.path.join(TOP, "test", "erofs-utils"), "full", check=False)
    if p.returncode:
        t.why_not = p.stderr_text.strip().splitlines()[-1]
        return
    t.bin = p.stdout_text.strip()

