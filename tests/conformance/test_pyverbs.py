# SPDX-License-Identifier: Apache-2.0
"""rdma-core's own tests (Debian: python3-pyverbs) on a machine with two NICs and a GPU: every test of pyverbs_passes.txt
passes, and the table of all tests in docs/pyverbs.md is what this run says.

  test_pyverbs.py --write     also writes docs/pyverbs.md anew (run as ctest does, see harness.py)
"""

import glob
import gzip
import json
import os
import re
import shutil
import sys
import unittest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "..", "..", "docs", "pyverbs.md")
SUITE = "/usr/share/doc/rdma-core/tests"
PYTHON = "/usr/bin/python3"  # Debian's, which pyverbs is built for
# Skips that tell of the computer the test runs on: there, and only there, these tests may also pass.
OF_THE_COMPUTER = re.compile(r"huge pages|cuda-python|PCI device must be passed")

CONFIG = """
[[host_bridge]]
name = "pc0"
[[root_port]]
name = "rp0"
on = "pc0"
[[switch]]
name = "sw0"
on = "rp0"
ports = 3
[[nic]]
name = "rxe0"
at = "sw0.0"
[[nic]]
name = "rxe1"
at = "sw0.1"
[[gpu]]
name = "gpu0"
at = "sw0.2"
"""


def names(path):
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def unpack(folder):
    """Debian compresses the larger files of the suite."""
    os.makedirs(folder)
    for path in glob.glob(os.path.join(SUITE, "*.py*")):
        name = os.path.basename(path)
        if name.endswith(".gz"):
            with gzip.open(path) as packed, open(os.path.join(folder, name[:-3]), "wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            shutil.copy(path, folder)


def of_any_device(reason):
    """Reasons without what differs from one computer to the next."""
    return " ".join(reason.split()).replace("|", "\\|").removesuffix(".")


def said(test):
    """What the page says of a test."""
    return test["outcome"] + (f": {of_any_device(test['reason'])}" if test["reason"] else "")


def page(tests):
    """docs/pyverbs.md."""
    modules = {}
    for name, test in tests.items():
        modules.setdefault(name.split(".")[0], []).append((name.split(".", 1)[1], test))
    count = {outcome: sum(test["outcome"] == outcome for test in tests.values())
             for outcome in ("passed", "skipped", "failed")}
    lines = ["# rdma-core's tests on Causeway", "",
             "Made by `tests/conformance/test_pyverbs.py --write` from the run's own results; CI compares. The suite is that of",
             "Debian's python3-pyverbs 44, unmodified, on a machine of two NICs and a `[[gpu]]`, as root. Two things stand in",
             "for what Debian's build of pyverbs lacks: `drm_alloc.c` for its allocator of dma-bufs (a stub, for want of DRM",
             "headers), and a name that Python does not see (`pyverbs_suite.py`).", "",
             f"{len(tests)} tests: {count['passed']} passed, {count['skipped']} skipped, {count['failed']} failed.", "",
             "Reasons are the suite's own words. Modules all of whose tests skip for one reason are one line.", "",
             "| test | outcome |", "| --- | --- |"]
    for module in sorted(modules):
        rows = sorted(modules[module])
        outcomes = {(test["outcome"], of_any_device(test["reason"])) for _, test in rows}
        if len(outcomes) == 1 and rows[0][1]["outcome"] == "skipped":
            lines.append(f"| {module} (all {len(rows)}) | {said(rows[0][1])} |")
            continue
        lines += [f"| {module}.{name} | {said(test)} |" for name, test in rows]
    return "\n".join(lines) + "\n"


class Pyverbs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(os.path.join(SUITE, "run_tests.py")):
            raise unittest.SkipTest("python3-pyverbs is not installed")
        harness.need("ip")
        cls.folder = harness.tempfile.mkdtemp(prefix="cwf-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        suite = os.path.join(cls.folder, "tests")
        unpack(suite)
        config = os.path.join(cls.folder, "machine.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        output = os.path.join(cls.folder, "results.json")
        cls.got = harness.execute(
            [harness.CAUSEWAY, "run", "--config", config, "--", PYTHON, "-B",
             os.path.join(HERE, "pyverbs_suite.py"), suite, output, "--dev", "rxe0", "--gid", "1"],
            env={"LD_PRELOAD": harness.program("libdrm_alloc.so")}, deadline=14 * harness.DEADLINE)
        if not os.path.exists(output):
            raise AssertionError("the suite did not end: " + str(cls.got))
        with open(output, encoding="utf-8") as file:
            cls.tests = json.load(file)

    def test_what_must_pass_passes(self):
        for name in names(os.path.join(HERE, "pyverbs_passes.txt")):
            with self.subTest(name):
                test = self.tests.get(name, {"outcome": "not there", "reason": ""})
                self.assertEqual(test["outcome"], "passed", test["reason"])

    def test_nothing_fails(self):
        failed = {name: test["reason"] for name, test in self.tests.items() if test["outcome"] == "failed"}
        self.assertEqual(failed, {})

    def test_the_page_says_so(self):
        with open(PAGE, encoding="utf-8") as file:
            have = file.read()
        want = page(self.tests)
        if have == want:
            return
        # Test by test: whether a module is one line may be of the computer, too.
        rows = dict(line[2:-2].split(" | ", 1) for line in have.splitlines() if line.startswith("| test_"))
        modules = {name.split(" (all ")[0]: rows.pop(name) for name in list(rows) if " (all " in name}
        wrong = []
        for name, test in sorted(self.tests.items()):
            outcome = said(test)
            before = rows.pop(name, modules.get(name.split(".")[0], "not there"))
            if before != outcome and not OF_THE_COMPUTER.search(before + outcome):
                wrong.append(f"{name}: is {outcome}; the page says {before}")
        there = {name.split(".")[0] for name in self.tests}
        wrong += [f"{name}: is not there any more" for name in rows if not OF_THE_COMPUTER.search(rows[name])]
        wrong += [f"{name}: is not there any more" for name in modules if name not in there]
        self.assertEqual(wrong, [], "docs/pyverbs.md is not of this tree: run test_pyverbs.py --write")


class Writer(Pyverbs):
    def test_the_page_says_so(self):
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(page(self.tests))


if __name__ == "__main__":
    if "--write" in sys.argv:
        sys.argv.remove("--write")
        del Pyverbs
    else:
        del Writer
    harness.main()
