#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom in src/ (docs/architecture.md), and what every source file must have.

A room includes only itself and rooms before it in ROOMS; devices/* do not know each other, neither do drivers/*; the
shim sees only what SHIM_SEES lists; examples/ and include/ see nothing of src/.

usage: check_includes.py [--self-contained] FILE...
  --self-contained   also compile each header of src/ alone (slow)
"""

import re
import subprocess
import sys
from pathlib import PurePath

ROOMS = ["base", "trace", "ipc", "pci", "uapi", "config", "devices", "kernel", "dmabuf", "drivers", "machine", "cli"]
SHIM_SEES = ("base/", "ipc/", "pci/bus_map.h", "uapi/", "devices/roce_nic/", "shim/")
# The library preloaded into programs links no C++ run-time library, so these must not reach it by its own sources.
SHIM_FORBIDDEN = {"string", "vector", "map", "unordered_map", "functional", "memory", "iostream", "thread", "mutex"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def room_of(path):
    """'drivers/habanalabs' of 'drivers/habanalabs/hl_device.h'; rooms without folders inside are their first part."""
    parts = PurePath(path).parts
    if parts[0] in ("devices", "drivers") and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def may_include(room, target):
    """None when a file of `room` may include src/`target`, else the reason why not."""
    if room == "shim":
        if target.startswith(SHIM_SEES):
            return None
        return "the shim sees only " + ", ".join(SHIM_SEES)
    to = room_of(target)
    if to == room:
        return None
    if to == "shim":
        return "the shim is nobody's library"
    here, there = room.split("/")[0], to.split("/")[0]
    if there not in ROOMS:
        return f"there is no room '{there}'"
    if here == there:
        return f"{room} and {to} do not know each other"
    if ROOMS.index(there) > ROOMS.index(here):
        return f"{there} is above {here} (order: {' < '.join(ROOMS)})"
    return None


def check_file(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    is_header = path.endswith(".h")
    if not lines or "SPDX-License-Identifier: Apache-2.0" not in lines[0]:
        yield 1, "the first line must be // SPDX-License-Identifier: Apache-2.0"
    parts = PurePath(path).parts
    in_src = parts[0] == "src"
    if is_header and in_src and "#pragma once" not in lines:
        yield 1, "a header needs #pragma once"
    room = room_of("/".join(parts[1:])) if in_src else None
    is_test = path.endswith(("_test.cc", "_bench.cc", "_fuzz.cc"))
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, system = match.groups()
        if system == "expected" and path != "src/base/result.h":
            yield number, "only base/result.h includes <expected>"
        if room == "shim" and system in SHIM_FORBIDDEN and not is_test:
            yield number, f"<{system}> needs a C++ run-time library, which the shim must not link"
        if quoted is None:
            continue
        if parts[0] in ("examples", "include") and quoted.split("/")[0] in ROOMS + ["shim"]:
            yield number, "a program on the outside uses only public headers"
        if in_src:
            if room not in ("shim",) and room.split("/")[0] not in ROOMS:
                yield number, f"src/{room} is not a room; name it in tools/check_includes.py"
                return
            if "/" not in quoted:
                yield number, f'write the path from src/: "{room}/{quoted}"'
                continue
            reason = may_include(room, quoted)
            if reason:
                yield number, f'"{quoted}": {reason}'


def check_alone(path):
    command = ["g++", "-std=c++23", "-fsyntax-only", "-Wall", "-Isrc", "-x", "c++", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "#pragma once in main file" not in line]
    return [] if done.returncode == 0 else errors[:3]


def main(args):
    self_contained = "--self-contained" in args
    found = 0
    for path in (arg for arg in args if not arg.startswith("--")):
        if not path.endswith((".h", ".cc", ".c")):
            continue
        for number, message in check_file(path):
            print(f"{path}:{number}: {message}")
            found += 1
        if self_contained and path.startswith("src/") and path.endswith(".h"):
            for line in check_alone(path):
                print(f"{path}: does not compile alone: {line}")
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
