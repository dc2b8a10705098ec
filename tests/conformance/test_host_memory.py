# SPDX-License-Identifier: Apache-2.0
"""Ordinary memory that programs register: shared pages and system calls must not be told apart by the program.

The cases are those of host_memory.c; here they run with shared pages, without (the environment variable, the machine's
configuration), under valgrind, with jemalloc in libc's place, and where userfaultfd is forbidden.
"""

import ctypes.util
import os
import subprocess
import unittest

import harness

CASES = ("partial", "mixed", "threads", "fork", "dontneed", "move", "unmap", "atomics", "large", "hooked", "exec")
BY_CALL = {"CAUSEWAY_HOST_MEMORY": "process_vm"}


class HostMemory(harness.TestCase):
    def case(self, name, way=None, tool=(), **options):
        got = self.run_ok(*tool, harness.program("host_memory"), name, *([way] if way else []), **options)
        self.assertIn("ok partial" if name == "exec" else f"ok {name}", got.out, str(got))

    def test_shared(self):
        for name in CASES:
            with self.subTest(name):
                self.case(name, "shared")

    def test_by_system_call(self):
        for name in CASES:
            with self.subTest(name):
                self.case(name, "private", env=BY_CALL)

    def test_switched_off_for_the_machine(self):
        config = os.path.join(self.folder, "machine.toml")
        with open(config, "w") as file:
            file.write('[machine]\nhost_memory = "process_vm"\n')
        with harness.Machine(config) as machine:
            got = machine.run(harness.program("host_memory"), "partial", "private")
            self.assertEqual(got.status, 0, str(got))

    def test_valgrind(self):
        valgrind = harness.need("valgrind")
        for name in ("partial", "fork"):
            with self.subTest(name):
                self.case(name, "private", (valgrind, "-q", "--error-exitcode=9"), deadline=200)

    def test_jemalloc(self):
        library = ctypes.util.find_library("jemalloc")
        if library is None:
            self.skipTest("libjemalloc2 is not installed")
        for name in ("partial", "threads", "fork", "move", "exec"):
            with self.subTest(name):
                # Behind the machine's own library, as a program linked with it has it.
                self.case(name, "shared", ("sh", "-c", f'LD_PRELOAD="$LD_PRELOAD:{library}" exec "$@"', "sh"))

    def test_without_userfaultfd_threads_are_left_alone(self):
        self.case("forbidden", "private")
        with self.subTest("one thread needs none"):
            self.case("partial", "shared")

    def churn(self, **options):
        """Resident bytes of the machine's host memory after 120 buffers of 8 MiB have come and gone."""
        run = harness.Running(self.machine.command(harness.program("host_memory"), "churn"), stdin=subprocess.PIPE,
                              **options)
        try:
            self.assertEqual(run.process.stdout.readline(), "waiting\n")
            resident = self.machine.ps()["host_memory_bytes"]
            got = run.result(input="x")
            self.assertEqual(got.status, 0, str(got))
            return resident
        finally:
            run.kill()

    def test_memory_is_given_back(self):
        # libc's own unmapping is not seen; a look from time to time finds it.
        self.assertLess(self.churn(), 160 << 20)
        harness.wait_until("the machine gives the program's pages back",
                           lambda: self.machine.ps()["host_memory_bytes"] == 0)

    def test_ps_says_how_a_region_is_reached(self):
        for env, way in (({}, "shared"), (BY_CALL, "process_vm")):
            run = harness.Running(self.machine.command(harness.program("host_memory"), "hold"), env=env,
                                  stdin=subprocess.PIPE)
            try:
                self.assertEqual(run.process.stdout.readline(), "waiting\n")
                rows = self.machine.ps()["mrs"]
                self.assertEqual([(row["nic"], row["way"], row["size"]) for row in rows],
                                 [("rxe0", way, 10000), ("rxe1", way, 10000)])
                text = harness.execute([harness.CAUSEWAY, "ps", "--name", self.machine.name]).out
                self.assertRegex(text, rf"rxe0 .*{way}")
                self.assertEqual(run.result(input="x").status, 0)
            finally:
                run.kill()


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    harness.main()
