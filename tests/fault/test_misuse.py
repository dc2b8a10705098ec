# SPDX-License-Identifier: Apache-2.0
"""Programs that use verbs wrongly or end in odd ways (misuse.c), and programs that are stopped. After each the machine
holds nothing of them."""

import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
import harness  # noqa: E402


class Misuse(harness.TestCase):
    def tearDown(self):
        harness.wait_until("nothing is left", lambda: not self.machine.holdings(), 20, self.machine.holdings)

    def misuse(self, what):
        got = self.machine.run(harness.program("fault_misuse"), what)
        self.assertEqual(got.status, 0, str(got))
        return got.out

    def test_a_peer_that_never_posts_receives(self):
        self.misuse("no-receives")

    def test_fork_after_qps_were_made(self):
        self.misuse("fork")

    def test_a_parent_that_exits_before_its_child(self):
        self.misuse("parent-exits-first")

    def test_closing_in_the_wrong_order(self):
        self.misuse("wrong-order")

    def test_unmapped_memory(self):
        print(self.misuse("unmap"), file=sys.stderr)

    def test_exit_without_cleanup(self):
        for _ in range(10):
            self.misuse("no-cleanup")

    def test_a_descriptor_passed_to_another_process(self):
        running = harness.Running(self.machine.command(harness.program("fault_misuse"), "scm-rights"),
                                  stdin=subprocess.PIPE)
        self.addCleanup(running.discard)
        self.assertEqual(running.process.stdout.readline(), "held\n")
        held = self.machine.holdings()
        self.assertTrue(any(entry[1:2] == ("contexts",) for entry in held), held)
        running.process.stdin.write("\n")
        running.process.stdin.flush()
        self.assertEqual(running.process.stdout.readline(), "closed\n")
        # close() of the last descriptor returns when release has run.
        contexts = [entry for entry in self.machine.holdings() if entry[1:2] == ("contexts",)]
        self.assertEqual(contexts, [])
        got = running.result(input="\n")
        self.assertEqual(got.status, 0, str(got))


class Pair:
    """Two processes that write to each other without end; the first tells how many of its writes have completed."""

    def __init__(self, machine):
        self.running = harness.Running(machine.command(harness.program("fault_misuse"), "pair"), stdin=subprocess.PIPE)
        self.other = int(self.line())
        assert self.line() == "running"

    def line(self):
        return self.running.process.stdout.readline().strip()

    def completed(self):
        self.running.process.stdin.write("\n")
        self.running.process.stdin.flush()
        return int(self.line())

    def end(self):
        try:
            os.kill(self.other, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.running.kill()
        self.running.process.communicate()


class Stopped(harness.TestCase):
    """SIGSTOP at a random moment: it may hold a lock of the data path. Who needs that lock waits until the program goes on
    or is killed; nobody else does."""

    ROUNDS = int(os.environ.get("CAUSEWAY_FAULT_STOPS", "10"))

    def advances(self, pair):
        before = pair.completed()
        harness.wait_until("writes complete", lambda: pair.completed() > before, 20)

    def test_others_go_on_while_a_program_is_stopped(self):
        bystanders = Pair(self.machine)
        self.addCleanup(bystanders.end)
        for number in range(self.ROUNDS):
            with self.subTest(number=number):
                pair = Pair(self.machine)
                try:
                    time.sleep(0.003 * number)
                    os.kill(pair.other, signal.SIGSTOP)
                    self.advances(bystanders)
                    self.assertTrue(self.machine.ps()["programs"])
                    if number % 2 == 0:
                        os.kill(pair.other, signal.SIGCONT)
                        self.advances(pair)
                    else:  # then its peer's requests end, as when it is killed at work
                        os.kill(pair.other, signal.SIGKILL)
                        said = pair.line()
                        self.assertTrue(re.search("retry counter exceeded|remote", said), said)
                finally:
                    pair.end()
        bystanders.end()
        harness.wait_until("nothing is left", lambda: not self.machine.holdings(), 20, self.machine.holdings)


if __name__ == "__main__":
    harness.main()
