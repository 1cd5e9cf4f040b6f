"""table.py - RESULTS.md out of the records

SPDX-License-Identifier: Apache-2.0
"""
import os
import platform
import statistics
import time

import base
import plot
import prepare
from base import PROFILES, ROUND_TRIP, Failed, S, out_of, say
from tools import TOOLS, find_tools, is_other

# stargz-snapshotter 0.14.3 (of March 2023; no Debian package, so not measured by this script): `ctr-remote image optimize` with the
# entrypoint traced, seconds from `rpull` to exit 0, by the same method on the same kind of machine (2 cores, 24 GiB, Linux 6.18) in
# November 2026: 200 Mbit/s with 5 ms, median of 2 or 3; 1 Gbit/s with 5 ms, one run
STARGZ = {"ml-small-import": (4.52, 3.25), "ml-large-import": (19.93, 13.77), "ai-cat-or-dog": (18.52, 9.36), "python-flask": (1.68, 1.46),
          "node-web": (3.00, 1.94), "frontend-chromium": (12.28, 6.17), "av-ffmpeg": (6.74, 3.11), "jvm-web": (6.90, 4.18)}


class Results:
    """what has been measured with one fcpull"""

    def __init__(self, records, binary):
        self.rows = {}
        self.errors = {}
        ours = {r["binary"] for r in records if "error" not in r}
        if binary not in ours and ours:
            binary = next(r["binary"] for r in reversed(records) if "error" not in r)
            say(f"nothing was measured with this fcpull; the table is of the one with sha256 {binary}")
        self.binary = binary
        for r in records:
            key = (r["part"], r["profile"], r["workload"], r["tool"])
            if r["binary"] != binary and not is_other(r["tool"]):
                continue
            if "error" in r:
                self.errors.pop(key, None)
                self.errors[key] = r["error"]
                continue
            # of a run that was measured again, the last; of others' runs, those beside this fcpull
            runs = self.rows.setdefault(key, {})
            if r["i"] not in runs or r["binary"] == binary or runs[r["i"]]["binary"] != binary:
                runs[r["i"]] = r

    def runs(self, part, profile, workload, tool):
        return list(self.rows.get((part, profile, workload, tool), {}).values())

    def values(self, what, *key):
        return [r[what] for r in self.runs(*key) if what in r]

    def median(self, what, *key):
        v = self.values(what, *key)
        return statistics.median(v) if v else None

    def workloads(self):
        known = {k[2] for k in self.rows if self.own(*k)}
        return [w for w in prepare.workloads() if w in known]

    def own(self, *key):
        """was that measured in a session of this fcpull?"""
        return any(r["binary"] == self.binary for r in self.rows.get(key, {}).values())

    def tools(self, part):
        return [t for t in TOOLS if any(k[0] == part and k[3] == t for k in self.rows)]

    def best_plain(self, part, profile, workload, others=True):
        """(seconds, tool) of the fastest plain pull and run; others: not fcpull's own"""
        v = [(self.median("total", part, profile, workload, t), t) for t in TOOLS if TOOLS[t].plain and (TOOLS[t].peer or not others)]
        v = [x for x in v if x[0] is not None]
        return min([x for x in v if self.own(part, profile, workload, x[1])] or v or [(None, None)])

    def limit(self, profile, workload):
        """L of issue and README: local run + traced bytes over the wire + 3 round trips"""
        local = self.median("total", "local", "local", workload, "boot")
        frames = self.median("frames", "sizes", "local", workload, "boot")
        if local is None or frames is None or not PROFILES[profile]["rate"]:
            return None
        return local + frames / PROFILES[profile]["rate"] + 3 * ROUND_TRIP

    def least(self, profile, workload):
        """seconds that a pull of all layers and a run cannot undercut: what went through the wire ÷ bandwidth + local run"""
        local, moved = self.median("total", "local", "local", workload, "boot"), self.median("rx", "start", profile, workload, "orig")
        if local is None or moved is None or not PROFILES[profile]["rate"]:
            return None
        return moved / PROFILES[profile]["rate"] + local


# ---- cells ----
def spread(v, digits=2):
    if not v:
        return "–"
    m = f"{statistics.median(v):.{digits}f}"
    return m if len(v) == 1 else f"{m} ({min(v):.{digits}f}–{max(v):.{digits}f})"


def ratio(a, b):
    return "–" if a is None or not b else f"{a / b:.2f}"


def seconds(r, *key):
    return spread(r.values("total", *key)) + ("" if r.own(*key) or not r.runs(*key) else " \\*")


def number(v, digits=0, scale=1.0):
    return "–" if v is None else f"{v / scale:.{digits}f}"


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


# ---- sections ----
def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.partition(":")[2].strip() for line in f if line.startswith("model name")), "?")
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) / (1 << 20)
    with open("/etc/os-release", encoding="utf-8") as f:
        system = next((line.partition("=")[2].strip().strip('"') for line in f if line.startswith("PRETTY_NAME")), "?")
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, {system}"


def head(r, records):
    used = [x for x in records if x["binary"] == r.binary]
    commit = out_of("git", "-C", base.TOP, "describe", "--always", "--dirty", check=False)
    versions = {x["tool"]: x["version"] for x in records if x.get("version")}
    versions = [f"{TOOLS[t].label.partition(' (')[0]} {versions[t]}" for t in TOOLS if t in versions and TOOLS[t].peer]
    busy = [x["busy_before"] for x in used if "busy_before" in x]
    noisy = sum(b > 0.15 for b in busy)
    text = f"""# Results

Made by `make bench` (`bench/run`; what it does and its options: `bench/run -h`). Measured {used[0]['at'][:10] if used else '?'} to \
{used[-1]['at'][:10] if used else '?'}, table written {time.strftime('%F')} at {commit or '?'}.

- Machine: {machine()}
- fcpull: sha256 of the binary begins with {r.binary}. Others: {'; '.join(versions)}
- Registry: Debian's docker-registry without TLS and tokens, blobs in a tmpfs, in a network namespace; a veth pair shaped by HTB, the delay by
  `bench/delayproxy.c`. Registry and proxy run on the same cores as what is measured.
- A run: empty store, caches dropped, the tool's own binaries read back in, daemons started anew; then from the command to exit 0 of the workload.
  Tools take turns. Seconds are medians, (minimum–maximum); \\* = of an earlier session, not beside this fcpull. CPU: user and system seconds
  of the tool, its daemons and the container.
"""
    if noisy:
        text += f"- **{noisy} of {len(busy)} runs began on a machine that was busy with other things: their times are worth little.**\n"
    return text


def start_section(r, profile):
    tools, names = r.tools("start"), r.workloads()
    if not any(r.values("total", "start", profile, w, t) for w in names for t in tools):
        return ""
    key = lambda w, t: ("start", profile, w, t)         # noqa: E731
    text = f"\n## Cold start, {PROFILES[profile]['label']}\n\nSeconds:\n\n"
    text += markdown(["workload"] + [TOOLS[t].label for t in tools],
                     [[w] + [seconds(r, *key(w, t)) for t in tools] for w in names])
    text += "\nRatio to the best plain pull of containerd, podman and skopeo (less is better); the limit L = local run + traced bytes ÷ bandwidth" \
            " + 3 round trips; stargz: quoted, see the end. *Least*: the original's bytes ÷ bandwidth + local run: what a pull of all layers" \
            " cannot undercut, before it has unpacked anything.\n\n"
    ours = [t for t in tools if not TOOLS[t].peer]
    rows = []
    for w in names:
        best, by = r.best_plain("start", profile, w)
        boot, limit = r.median("total", *key(w, "boot")), r.limit(profile, w)
        least = r.least(profile, w)
        stargz = STARGZ.get(w, (None, None))[0 if profile == "200m" else 1]
        rows.append([w, f"{number(best, 2)} ({by})"] + [ratio(r.median("total", *key(w, t)), best) for t in ours] +
                    [number(limit, 2), ratio(boot, limit), number(stargz, 2), ratio(boot, stargz),
                     ratio(least, best), ratio(r.median("total", *key(w, "orig")), least)])
    text += markdown(["workload", "best plain pull"] + [TOOLS[t].label for t in ours] +
                     ["L", "boot stream ÷ L", "stargz", "boot stream ÷ stargz", "least ÷ best plain pull", "original ÷ least"], rows)
    text += "\nRequests at the registry / MB through the link / CPU seconds:\n\n"
    text += markdown(["workload"] + [TOOLS[t].label for t in tools],
                     [[w] + [counts(r, key(w, t)) for t in tools] for w in names])
    return text + bytes_section(r, profile)


def counts(r, key):
    if not r.runs(*key):
        return "–"
    return f"{number(r.median('requests', *key))} / {number(r.median('rx', *key), 1, 1e6)} / {number(r.median('cpu', *key), 1)}"


def bytes_section(r, profile):
    rows = []
    for w in r.workloads():
        frames, index = (r.median(k, "sizes", "local", w, "boot") for k in ("frames", "index"))
        got = r.median("blob_bytes", "demand", profile, w, "boot")
        if frames is not None and got is not None:
            rows.append([w, number(index, 2, 1e6), number(frames, 2, 1e6), number(got, 2, 1e6), ratio(got, index + frames),
                         number(r.median("blob_requests", "demand", profile, w, "boot"))])
    if not rows:
        return ""
    return "\nThe boot stream's bytes, with --fill=off: MB of blobs that the registry has sent ÷ (index + boot frames); blob requests.\n\n" + \
        markdown(["workload", "index MB", "frames MB", "sent MB", "ratio", "blob requests"], rows)


def first_section(r):
    rows = []
    for w in r.workloads():
        for t in ("boot", "accel"):
            for p in PROFILES:
                runs = r.runs("first", p, w, t)
                if runs:
                    rows.append([w, TOOLS[t].label, PROFILES[p]["label"], number(statistics.median(x["requests"] for x in runs)),
                                 number(statistics.median(x["blob_requests"] for x in runs)), spread([x["total"] for x in runs]),
                                 ", ".join(runs[-1]["paths"][:6])])
    if not rows:
        return ""
    return "\n## Before the first instruction\n\nA process from outside the image that ends at once: all requests until it has ended.\n\n" + \
        markdown(["workload", "tool", "link", "requests", "of them blobs", "seconds", "what"], rows)


def readall_section(r, profile):
    tools, names = r.tools("readall"), r.workloads()
    rows = []
    for w in names:
        best, by = r.best_plain("readall", profile, w, others=False)
        if best is None:
            continue
        ours = r.median("total", "readall", profile, w, "accel")
        rows.append([w] + [seconds(r, "readall", profile, w, t) for t in tools] + [by, ratio(ours, best)])
    if not rows:
        return ""
    return f"\n## A run that reads every byte, {PROFILES[profile]['label']}\n\n`tar -c --one-file-system / | wc -c` in the image; seconds. Before each run as much memory is touched as it will"\
        " use (ten times the compressed size): a hypervisor takes back what a guest has free, and the first touch of a page costs it more than the copy.\n\n" + \
        markdown(["workload"] + [TOOLS[t].label for t in tools] + ["best plain pull", "accelerated ÷ it"], rows)


def convert_section(r):
    names = [w for w in r.workloads() if r.runs("convert", "local", w, "convert")]
    if not names:
        return ""
    refs, star = sorted({k[3] for k in r.rows if k[0] == "convert"} - {"convert", "gzip -dc"}), " \\*"
    rows = []
    for w in names:
        get = lambda what, tool="convert", w=w: r.median(what, "convert", "local", w, tool)       # noqa: E731
        gunzip, total, original = get("total", "gzip -dc"), get("total"), get("original_size")
        row = [w, number(gunzip, 2), spread(r.values("total", "convert", "local", w, "convert")), ratio(total, gunzip), number(get("cpu_s"), 1),
               number(get("rss"), 0, 1 << 20), number(get("disk"), 0, 1e6), number(original, 1, 1e6), ratio(get("size"), original)]
        row += [f"{number(get('total', t), 2)} s{'' if r.own('convert', 'local', w, t) else star}, {ratio(get('size', t), original)}" for t in refs]
        rows.append(row)
    return "\n## Convert\n\nFrom and to a registry on loopback, without a link; against `gzip -dc` of all layers, one after the other, to /dev/null; " \
        "memory is touched before each of both as above. The references work on the unpacked tree, which is in memory; their sizes are ratios to the gzip layers too.\n\n" + \
        markdown(["workload", "gzip -dc s", "convert s", "ratio", "CPU s", "peak MiB", "peak disk MB", "gzip layers MB", "result ÷ layers"] + refs, rows)


def aims(r):
    """[(aim, [(where, value, limit)])]: issue 4's, as far as they are ratios"""
    start, both = "start", [(p, w) for p in PROFILES for w in r.workloads()]
    m, best = r.median, r.best_plain
    def rows(value, limit):                                                     # noqa: E306
        v = [(f"{w}, {p}", value(p, w), limit(w)) for p, w in both]
        return [x for x in v if x[1] is not None]

    def over(a, b):
        return a / b if a is not None and b else None

    def demand(p, w):
        n, before = m("blob_requests", "demand", p, w, "boot"), m("blob_requests", "first", p, w, "boot")
        return None if n is None or before is None else n - before

    def sent(p, w):
        parts = [m(k, "sizes", "local", w, "boot") for k in ("index", "frames")]
        return over(m("blob_bytes", "demand", p, w, "boot"), None if None in parts else sum(parts))

    def convert(what, p, w):
        of = m("total", "convert", "local", w, "gzip -dc") if what == "total" else m("original_size", "convert", "local", w, "convert")
        return over(m(what, "convert", "local", w, "convert"), of) if p == "local" else None

    return [("blob requests before the first instruction ≤ 1", rows(lambda p, w: m("blob_requests", "first", p, w, "boot"), lambda w: 1)),
            ("further blob requests of the recorded workload, to its end ≤ 3", rows(demand, lambda w: 3)),
            ("boot stream ÷ L ≤ 1.15", rows(lambda p, w: over(m("total", start, p, w, "boot"), r.limit(p, w)), lambda w: 1.15)),
            ("boot stream ÷ best plain pull ≤ 0.25 (jvm-web 0.4)",
             rows(lambda p, w: over(m("total", start, p, w, "boot"), best(start, p, w)[0]), lambda w: 0.4 if w == "jvm-web" else 0.25)),
            ("fcpull's plain pull and run ÷ the best of the others ≤ 0.6",
             rows(lambda p, w: over(m("total", start, p, w, "orig"), best(start, p, w)[0]), lambda w: 0.6)),
            ("reading everything, accelerated without trace ÷ best plain pull ≤ 1.0",
             rows(lambda p, w: over(m("total", "readall", p, w, "accel"), best("readall", p, w, others=False)[0]), lambda w: 1.0)),
            ("convert ÷ gunzip ≤ 0.8", rows(lambda p, w: convert("total", p, w), lambda w: 0.8)),
            ("converted size ÷ gzip layers ≤ 1.05", rows(lambda p, w: convert("size", p, w), lambda w: 1.05)),
            ("blob bytes sent ÷ (index + boot frames) ≤ 1.05", rows(sent, lambda w: 1.05))]


def aims_section(r):
    rows = []
    for aim, values in aims(r):
        if values:
            missed = [f"{where} {v:.2f}" for where, v, limit in values if v > limit + 0.004]
            rows.append([aim, f"{len(values) - len(missed)} of {len(values)}", f"{max(v for _, v, _ in values):.2f}", "; ".join(missed) or "–"])
    return "\n## Aims\n\n" + markdown(["aim", "reached", "worst", "not reached"], rows) if rows else ""


def end_section(r):
    text = "\n## What is not here\n\n"
    whys = {t: TOOLS[t].why_not for t in TOOLS if TOOLS[t].why_not}
    for (part, profile, workload, tool), error in reversed(r.errors.items()):
        if tool == "mount.erofs":
            whys.setdefault(tool, error)
        elif not r.rows.get((part, profile, workload, tool)):
            text += f"- {workload}, {tool}, {profile}: failed: {' '.join(error.split())[-300:]}\n"
    for t, why in whys.items():
        text += f"- {TOOLS[t].label}: {' '.join(why.split())}\n"
    text += "- stargz-snapshotter has no package here. The quoted figures are of 0.14.3 with `ctr-remote image optimize` and the entrypoint" \
            " traced, measured in November 2026 by the same method on the same kind of machine and links (200 Mbit/s: median of 2 or 3; 1 Gbit/s: one run).\n"
    return text


def write(where):
    records = base.load_records()
    if not records:
        raise Failed(f"nothing has been measured: {base.records_path()} is not there")
    find_tools(wanted=False)
    r = Results(records, S.binary)
    text = head(r, records)
    if plot.write(r, os.path.join(where, "results.svg")):
        text += "\n![Cold start](results.svg)\n"
    text += aims_section(r)
    for p in PROFILES:
        text += start_section(r, p)
    text += first_section(r)
    for p in PROFILES:
        text += readall_section(r, p)
    text += convert_section(r) + end_section(r)
    with open(os.path.join(where, "RESULTS.md"), "w", encoding="utf-8") as f:
        f.write(text)
    say(f"written: {os.path.join(where, 'RESULTS.md')}")
