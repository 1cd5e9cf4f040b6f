"""bundle.py DIR [COMMAND...] - runs what umoci has unpacked into DIR: what its user does by hand (the last step of the skopeo row)

Imports little: its start is part of a timed run.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import sys


def runtime(bundle, ident):
    """crun, or runc where the cgroups are hybrid: crun refuses those, even with --cgroup-manager=disabled"""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return ["crun", "--cgroup-manager=disabled", "run", "-b", bundle, ident]
    return ["runc", "run", "-b", bundle, ident]


def edit_config(bundle, command, root=None):
    """a bundle's config.json for a run without terminal"""
    path = os.path.join(bundle, "config.json")
    with open(path, encoding="utf-8") as f:
        c = json.load(f)
    c["process"]["terminal"] = False
    # limits above the hard ones cannot be set without CAP_SYS_RESOURCE
    c["process"].pop("rlimits", None)
    if command:
        c["process"]["args"] = command
    if root:
        c["root"]["path"] = root
    with open(path, "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    edit_config(sys.argv[1], sys.argv[2:])
    cmd = runtime(sys.argv[1], "fcbench")
    os.execvp(cmd[0], cmd)
