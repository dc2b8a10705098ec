# SPDX-License-Identifier: Apache-2.0
"""Register blocks that a program maps and stores to (HL_MEM_OP_MAP_BLOCK): see hw_block.cc."""

import unittest

import harness


class HwBlock(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        if "thread" in harness.SANITIZERS:
            raise unittest.SkipTest("the program is built with -fsanitize=thread, which has handlers of signals of its own")
        cls.machine = harness.Machine().__enter__()

    def test_plain_stores_reach_the_device(self):
        self.assertEqual(self.run_ok(harness.program("hw_block"), "0").out, "ok\n")

    def test_with_a_sanitizer_that_handles_faults(self):
        # ASan's own handler of SIGSEGV stands aside for the program's; its interceptors stay in the chain.
        self.assertEqual(self.run_ok(harness.program("hw_block_asan"), "1",
                                     env={"ASAN_OPTIONS": "detect_leaks=0:allow_user_segv_handler=1"}).out, "ok\n")


if __name__ == "__main__":
    harness.main()
