# SPDX-License-Identifier: Apache-2.0
"""Functions of libibverbs that a program looks up by name (lookup_ways.c): plainly, and in company of other libraries
that interpose functions: ASan, valgrind, jemalloc."""

import harness


class LookupWays(harness.TestCase):
    def ways(self, *before, program="lookup_ways", **options):
        got = self.machine.run(*before, harness.program(program), harness.program("libibverbs.so.59"), **options)
        for line in got.out.splitlines():
            if line.startswith("FAIL"):
                with self.subTest(line.split(":")[0].removeprefix("FAIL ")):
                    self.fail(line)
        self.assertEqual(got.status, 0, str(got))
        self.assertIn("ok ibv_reg_mr_ex by dlvsym", got.out, str(got))

    def test_plain(self):
        self.ways()

    def test_asan(self):
        self.ways(program="lookup_ways_asan", env={"ASAN_OPTIONS": "detect_leaks=0"})

    def test_valgrind(self):
        self.ways(harness.need("valgrind"), "-q", "--error-exitcode=9", deadline=2 * harness.DEADLINE)

    def test_jemalloc(self):
        self.ways(env={"LD_PRELOAD": harness.jemalloc()})


if __name__ == "__main__":
    harness.main()
