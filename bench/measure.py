"""measure.py - one cold run of one tool, timed and counted

Each run is made by a process of its own: in its own mount namespace (no mount can be left), and as the reaper of all that its
commands start, so that CPU seconds are those of the tool with its daemons and its container, whoever else uses the machine; the
registry and the proxy are not in it.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import time

import link
from base import LIBC, Failed, S, private_mounts, sh

TIMEOUT = 600


def drop_caches(programs):
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3")
    for p in programs:
        p = shutil.which(p)
        if p:
            with open(p, "rb") as f:
                while f.read(1 << 20):
                    pass


def busy_ticks():
    with open("/proc/stat", encoding="ascii") as f:
        v = list(map(int, f.readline().split()[1:9]))
    return sum(v) - v[3] - v[4]


def wait_until_quiet():
    """until the machine is idle for half a second, at most S.quiet seconds; returns the busy share last seen"""
    end, full = time.monotonic() + S.quiet, os.sysconf("SC_CLK_TCK") * os.cpu_count() * 0.5
    while True:
        a = busy_ticks()
        time.sleep(0.5)
        busy = (busy_ticks() - a) / full
        if busy < 0.08 or time.monotonic() > end:
            return round(busy, 2)


def used_cpu(who):
    u = resource.getrusage(who)
    return u.ru_utime + u.ru_stime


def cpu_so_far(tool):
    """seconds of what has ended (waited for by us, or by the reaper) and of what the tool has running"""
    with open(f"/proc/{os.getppid()}/stat", encoding="ascii", errors="replace") as f:
        reaped = sum(map(int, f.read().rpartition(")")[2].split()[13:15])) / os.sysconf("SC_CLK_TCK")
    return used_cpu(resource.RUSAGE_CHILDREN) + reaped + tool.cpu_so_far()


def touch_memory(workload):
    """A hypervisor takes back what a guest has free, and then the first touch of a page costs ten times what copying it does: who
    reads or converts a large image would mostly measure that. So as much as will be used, three copies of the decoded bytes, is had
    from the host before; by a process of its own, since a child's peak begins with its parent's."""
    size = 10 * sum(d["size"] for d in link.layers(S.at("regstore"), workload))
    sh("python3", "-ISc", f"b'1' * {size}")


def run_steps(tool, job, registry):
    """the timed part"""
    rec, mark, rx = {}, registry.mark(), registry.received()
    cpu = cpu_so_far(tool)
    start = time.monotonic()
    for phase, cmd, env in tool.steps(job):
        t = time.monotonic()
        p = sh(*cmd, env=env, timeout=TIMEOUT, check=phase != "run")
        rec[phase] = round(time.monotonic() - t, 3)
    rec["total"] = round(time.monotonic() - start, 3)
    rec["rx"] = registry.received() - rx
    if p.returncode or job["expect"] not in p.stdout_text + p.stderr_text:
        raise Failed(f"{' '.join(cmd)}: exit {p.returncode}, and no {job['expect']!r} in: {(p.stdout_text + p.stderr_text)[-600:]}")
    if job["part"] == "readall":
        rec["read"] = int(p.stdout_text.split()[-1])
    rec.update(registry.since(mark))
    return rec, cpu


def work(tool, job, registry):
    """in the process of the run: all of it"""
    private_mounts()
    try:
        tool.setup(job)
        drop_caches(tool.programs())
        if hasattr(tool, "start"):
            tool.start()
        busy = wait_until_quiet()
        if job["part"] == "readall":
            touch_memory(job["workload"])
        rec, before = run_steps(tool, job, registry)
    finally:
        tool.cleanup()
    rec["cpu"] = -before        # of all, the reaper will know
    rec["busy_before"] = busy
    return rec


def interrupted(*_):
    raise KeyboardInterrupt


def write_result(fd, function, args):
    """function's result or its error, as JSON; never returns"""
    try:
        result = {"ok": function(*args)}
    except (Failed, OSError, ValueError, subprocess.SubprocessError, KeyError, IndexError) as e:
        result = {"error": str(e) or repr(e)}
    except BaseException as e:      # the parent must hear of it in any case
        result = {"error": repr(e)}
    try:
        result["own_cpu"] = used_cpu(resource.RUSAGE_SELF)
        with os.fdopen(fd, "w") as f:
            json.dump(result, f)
    finally:
        os._exit(0)


def wait_for_all(child):
    """reaps what ends, as init would: there are tools that wait until their helpers are gone. Ends what is left long after child"""
    end = None
    while True:
        try:
            pid = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            return
        if pid == child:
            end = time.monotonic() + 10
        if end and time.monotonic() > end:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as f:
                for orphan in f.read().split():
                    os.kill(int(orphan), signal.SIGKILL)
            end += 5
        if not pid:
            time.sleep(0.002)


def reaper(fd, function, args):
    """the process between: inherits all orphans, adds their CPU seconds to the result; never returns"""
    try:
        os.setsid()
        LIBC.prctl(36, 1, 0, 0, 0)      # PR_SET_CHILD_SUBREAPER
        r, w = os.pipe()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, interrupted)
            os.close(r)
            write_result(w, function, args)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        os.close(w)
        wait_for_all(child)
        with os.fdopen(r) as f:
            result = json.load(f)
        if isinstance(result.get("ok"), dict) and "cpu" in result["ok"]:
            result["ok"]["cpu"] = round(result["ok"]["cpu"] + used_cpu(resource.RUSAGE_CHILDREN) - result["own_cpu"], 2)
        with os.fdopen(fd, "w") as f:
            json.dump(result, f)
    finally:
        os._exit(0)


def in_child(function, *args):
    """function's JSON result, computed in a process of its own, which is told to leave when we are"""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(r)
        reaper(w, function, args)
    os.close(w)
    try:
        with os.fdopen(r) as f:
            text = f.read()
        os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    result = json.loads(text) if text else {"error": "the measuring process was killed"}
    if "error" in result:
        raise Failed(result["error"])
    return result["ok"]


def one(tool, job, registry):
    return in_child(work, tool, job, registry)


# ---- the same run with everything local: for the limit L ----
def work_local(tool, job, runs):
    private_mounts()
    try:
        tool.setup(job)
        ref = sh(S.fcpull, "pull", "-q", "--plain-http", job["ref"], env=tool.env()).stdout_text.strip().splitlines()[-1]
        # with its digest no registry is asked
        job = dict(job, ref=ref)
        times = []
        for i in range(runs + 1):
            (_, cmd, env), = tool.steps(job)
            wait_until_quiet()
            t = time.monotonic()
            p = sh(*cmd, env=env, timeout=TIMEOUT)
            if i:
                times.append(round(time.monotonic() - t, 3))
            if job["expect"] not in p.stdout_text:
                raise Failed(f"{' '.join(cmd)}: {(p.stdout_text + p.stderr_text)[-600:]}")
    finally:
        tool.cleanup()
    return times


def local(tool, job, runs):
    return in_child(work_local, tool, job, runs)
