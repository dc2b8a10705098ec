# SPDX-License-Identifier: Apache-2.0
"""Runs rdma-core's own tests (an unpacked folder of them) in this process and writes what became of each as JSON. Meant
for Debian's Python, which has pyverbs, under `causeway run`; test_pyverbs.py starts it.

usage: pyverbs_suite.py FOLDER OUTPUT [--only NAME ...] [options of rdma-core's args_parser: --dev, --gid, ...]
"""

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import sys
import time
import unittest


def give_dmabuf_its_method():
    """pyverbs calls DmaBuf.add_ref() by name, but it is a C method that Python does not see (pyverbs/dmabuf.pxd: cdef),
    so no DmaBufMR with a buffer of its own can be made. The buffer needs no list of its regions: they close first."""
    dmabuf = importlib.import_module("pyverbs.dmabuf").DmaBuf
    if not hasattr(dmabuf, "add_ref"):
        gc.get_referents(dmabuf.__dict__)[0]["add_ref"] = lambda self, mr: None
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(dmabuf))


class Result(unittest.TextTestResult):
    """Remembers every test: passed, skipped with its reason, failed with its last line."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.tests = {}
        self.began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def note(self, test, outcome, reason=""):
        name = test.id().removeprefix("tests.")
        self.tests[name] = {"outcome": outcome, "reason": reason, "seconds": round(time.monotonic() - self.began, 2)}

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "passed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "failed", f"{err[0].__name__}: {err[1]}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failed", f"{err[0].__name__}: {err[1]}")


def main():
    folder, output = sys.argv[1:3]
    rest = sys.argv[3:]
    only = None
    if rest and rest[0] == "--only":
        end = next((i for i, word in enumerate(rest[1:], 1) if word.startswith("--")), len(rest))
        only, rest = set(rest[1:end]), rest[end:]
    give_dmabuf_its_method()
    # As the suite's run_tests.py does it: its modules find args_parser beside them, and read the options from it.
    os.chdir(os.path.dirname(os.path.abspath(folder)))
    sys.path[:0] = [os.path.dirname(os.path.abspath(folder)), os.path.abspath(folder)]
    sys.argv[1:] = rest
    importlib.import_module("args_parser").parser.parse_args()
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module("tests"))
    if only is not None:
        def flat(tests):
            for test in tests:
                yield from flat(test) if isinstance(test, unittest.TestSuite) else (test,)
        suite = unittest.TestSuite(test for test in flat(suite) if test.id().removeprefix("tests.") in only)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(result.tests, file, indent=1, sort_keys=True)
    # test_rdmacm's multicast leave test has a process that waits for a datagram which must not come. It is done with;
    # Python would wait for it at exit.
    for process in multiprocessing.active_children():
        process.kill()


if __name__ == "__main__":
    main()
