# SPDX-License-Identifier: Apache-2.0
"""The examples of the public C++ library (include/causeway): each checks its own bytes and exits 0 only if they are right."""

import os
import tempfile
import unittest

import harness

EXAMPLES = os.path.dirname(harness.P2P)
GAUDI = """
[machine]
name = "gaudis"
[[host_bridge]]
name = "pc0"
[[root_port]]
name = "rp0"
on = "pc0"
[[switch]]
name = "sw0"
on = "rp0"
ports = 4
[[accelerator]]
name = "gaudi0"
type = "gaudi"
at = "sw0.0"
[[accelerator]]
name = "gaudi1"
type = "gaudi"
at = "sw0.1"
[[nic]]
name = "rxe0"
at = "sw0.2"
[[nic]]
name = "rxe1"
at = "sw0.3"
"""


class Examples(harness.TestCase):
    def example(self, name, *arguments):
        return self.run_ok(os.path.join(EXAMPLES, name), *arguments).out

    def test_allocate_and_copy(self):
        self.assertIn("all equal", self.example("allocate_and_copy"))

    def test_two_streams(self):
        self.assertIn("fetched by another after it", self.example("two_streams", "1"))

    def test_p2p_over_nic(self):
        self.assertIn("HBM of /dev/accel/accel1", self.example("p2p_over_nic", "1", "rxe1"))

    def test_two_accelerators(self):
        self.assertIn("rxe0 -> rxe1", self.example("two_accelerators"))

    def test_nothing_to_notify(self):
        self.assertIn("nothing happened", self.example("notifications", "0", "0"))


class ExamplesOnGaudi(Examples):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(GAUDI)
            config.flush()
            cls.machine = harness.Machine(config.name).__enter__()


if __name__ == "__main__":
    harness.main()
