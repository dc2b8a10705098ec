# SPDX-License-Identifier: Apache-2.0
"""Descriptors of virtual nodes are descriptors: every way to copy, pass, replace and close one (fd_ways.c), in a plain
program, one built with ASan, and under valgrind and jemalloc. On /dev/null the same program asks the kernel itself."""

import harness


def failures(got):
    return [line for line in got.out.splitlines() if line.startswith("FAIL")]


class FdWays(harness.TestCase):
    def ways(self, *command, **options):
        got = self.machine.run(*command, **options)
        for line in got.out.splitlines():
            if not line.startswith(("ok ", "FAIL ")):
                continue
            with self.subTest(line.split(":")[0].removeprefix("ok ").removeprefix("FAIL ")):
                self.assertTrue(line.startswith("ok "), line)
        self.assertEqual(got.status, 0, str(got))
        self.assertIn("ok poll and select", got.out, str(got))

    def test_the_kernel_says_so_too(self):
        got = harness.execute([harness.program("fd_ways"), "/dev/null"])
        self.assertEqual(failures(got), [])
        self.assertEqual(got.status, 0, str(got))

    def test_accelerator(self):
        self.ways(harness.program("fd_ways"), "/dev/accel/accel0")

    def test_control_node(self):
        self.ways(harness.program("fd_ways"), "/dev/accel/accel_controlD1")

    def test_uverbs(self):
        self.ways(harness.program("fd_ways"), "/dev/infiniband/uverbs0")

    def test_the_hosts_own_node(self):
        self.ways(harness.program("fd_ways"), "/dev/null")

    def test_in_a_program_with_asan(self):
        self.ways(harness.program("fd_ways_asan"), "/dev/accel/accel0", env={"ASAN_OPTIONS": "detect_leaks=0"})

    def test_under_valgrind(self):
        valgrind = harness.need("valgrind")
        self.ways(valgrind, "-q", "--error-exitcode=9", harness.program("fd_ways"), "/dev/accel/accel0",
                  deadline=2 * harness.DEADLINE)

    def test_with_jemalloc(self):
        self.ways(harness.program("fd_ways"), "/dev/accel/accel0", env={"LD_PRELOAD": harness.jemalloc()})

    def test_shells_and_python_pass_descriptors_on(self):
        script = ('exec 7<>/dev/accel/accel0; readlink /proc/self/fd/7; (readlink /proc/self/fd/7 <&7); '
                  'python3 -c "import os,stat; s=os.fstat(7); print(stat.S_ISCHR(s.st_mode))"; exec 7>&-; '
                  'exec 8<>/dev/accel/accel0 && echo again')
        got = self.run_ok("bash", "-c", script)
        self.assertEqual(got.out.split(), ["/dev/accel/accel0", "/dev/accel/accel0", "True", "again"])


class PeerToPeerUnder(harness.TestCase):
    """The whole path, data included, in programs that bring their own allocator or watch their memory."""

    def test_asan(self):
        self.run_ok(harness.program("p2p_asan"), "--bytes", "1M", "--passes", "1")

    def test_valgrind(self):
        valgrind = harness.need("valgrind")
        self.run_ok(valgrind, "-q", harness.P2P, "--bytes", "64K", "--chunk", "16K", "--passes", "1",
                    deadline=2 * harness.DEADLINE)

    def test_jemalloc(self):
        self.run_ok(harness.P2P, "--bytes", "1M", "--passes", "1", env={"LD_PRELOAD": harness.jemalloc()})


class LastClose(harness.TestCase):
    def test_programs_leave_nothing_behind(self):
        self.run_ok(harness.P2P, "--bytes", "64K", "--passes", "1")
        harness.wait_until("no program is left", lambda: not self.machine.holdings())
        self.assertEqual(self.machine.holdings(), [])

    def test_a_device_is_free_when_its_program_has_ended(self):
        # Linux closes the files of a process before its parent learns of the end (kernel/exit.c do_exit()), and the
        # last close of an accelerator waits for the release: the next program can open it at once.
        hold = "import os, sys; os.open('/dev/accel/accel0', os.O_RDWR); {}"
        for how in ("os._exit(0)", "os.kill(os.getpid(), 9)"):
            with self.subTest(how=how):
                script = (f"import subprocess, sys, os\n"
                          f"for i in range(20):\n"
                          f"    subprocess.run([sys.executable, '-S', '-c', {hold.format(how)!r}])\n"
                          f"    os.close(os.open('/dev/accel/accel0', os.O_RDWR))\n")
                self.run_ok("python3", "-c", script)

    def test_the_librarys_own_descriptors_are_out_of_the_way(self):
        # What it holds is seen in /proc/self/fd, but the numbers that programs get are the same.
        own = [n for n in map(int, self.run_ok("ls", "/proc/self/fd").out.split()) if n < 1000]
        want = [int(n) for n in harness.execute(["ls", "/proc/self/fd"]).out.split()]
        self.assertEqual(sorted(own), sorted(want))


if __name__ == "__main__":
    harness.main()
