#!/usr/bin/env python3
# hostile.py - do the tests that doc/hostile.md names exist? Prints those that do not; the number of names that were looked up.
#
# The last column of each row is "FILE: CASE, CASE; FILE; ..." as the document's head says. FILE must be there. CASE: of a
# .test file or of mkbad.py the beginning of a case's name ("…": anything); of unit and registry tests, whose names are made
# of numbers and patterns, each of its longer words stands in the source.
# SPDX-License-Identifier: Apache-2.0
import os, re, subprocess, sys

TESTS = os.path.dirname(os.path.abspath(__file__))


def read(*path):
    with open(os.path.join(TESTS, *path), encoding="utf-8", errors="replace") as f:
        return f.read()


def mkbad(option):
    out = subprocess.run([sys.executable, os.path.join(TESTS, "mkbad.py"), option], capture_output=True, text=True, check=True).stdout
    return [line.split("\t")[0] for line in out.splitlines()]


def cases_of(name):
    """The names of a .test file's cases, as they are written there."""
    found = []
    for line in read(name + ".test").splitlines():
        m = re.search(r"""(?:^|[\s;])t (?:'((?:[^']|'"'"')*)'|"([^"]*)")""", line)
        if m:
            n = (m.group(1) or m.group(2)).replace("'\"'\"'", "'")
            if len(re.sub(r"\$\{?\w+\}?", "", n)) > 2:  # more than a variable
                found.append(n)
    if name == "bad":
        found += mkbad("--list")
    return found


def fits(case, names):
    # what a loop puts into a name ($rt, ${x}) may be anything, too
    pattern = re.compile("^" + ".*".join(re.escape(p) for p in case.split("…")), re.I)
    return any(pattern.search(n) or re.fullmatch(re.sub(r"\\\$\\?\{?\w+\\?\}?", ".*", re.escape(n)), case) for n in names)


def worded(case, text):
    words = [w for w in re.findall(r"[A-Za-z][A-Za-z_-]{3,}", case) if w.lower() not in ("each", "with", "that", "which")]
    return all(w.lower() in text.lower() for w in words)


def split_cases(text):
    text = re.sub(r"\s\((?!CVE)[^()]*\)", "", text)
    return [c for c in (c.strip() for c in re.split(r",\s+(?![^()]*\))", text)) if c]


def look_up(file, cases):
    """What is missing of one "FILE: CASE, ..."."""
    if file.startswith("unit/") or file == "*registry*":
        path = ("registry_test.py",) if file == "*registry*" else ("unit", "test_" + file[5:] + ".c")
        if not os.path.exists(os.path.join(TESTS, *path)):
            return [file]
        text = read(*path) + (read("bad", "make.py") if file == "unit/tar" else "")
        return [f"{file}: {c}" for c in cases if not worded(c, text)]
    if file.startswith("fuzz "):
        return [] if os.path.exists(os.path.join(TESTS, "fuzz", "fuzz_" + file[5:] + ".c")) else [file]
    if file in ("accepted", "bad accepted"):
        names = mkbad("--list-fits")
    elif os.path.exists(os.path.join(TESTS, file + ".test")):
        names = cases_of(file)
    else:
        return [file]
    return [f"{file}: {c}" for c in cases if not fits(c, names)]


def rows(text):
    heads = ("| input", "| behaviour", "| attack", "|---")
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith(heads):
            yield line.rstrip().rstrip("|").rsplit(" | ", 1)[1].strip()


def main():
    missing, looked = [], 0
    for cell in rows(read("..", "doc", "hostile.md") if len(sys.argv) < 2 else open(sys.argv[1], encoding="utf-8").read()):
        if cell == "no test":
            continue
        cell = cell.split(". ")[0]
        for part in cell.split("; "):
            file, _, cases = re.sub(r"^(\S+|bad accepted|fuzz \w+) \((?!CVE)[^()]*\)$", r"\1", part).partition(": ")
            if not re.fullmatch(r"[\w/*]+|bad accepted|fuzz \w+|[\w/]+, [\w/, ]+", file):
                continue  # words about it
            for f in file.split(", "):
                names = split_cases(cases)
                # "unit/image: platforms, unit/json": a file in a list of cases
                more = [n for n in names if re.fullmatch(r"unit/\w+", n)]
                looked += max(1, len(names))
                missing += look_up(f, [n for n in names if n not in more])
                for n in more:
                    missing += look_up(n, [])
    for m in missing:
        print("not there:", m)
    print(looked, "names")
    return bool(missing)


sys.exit(main())
