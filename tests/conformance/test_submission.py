# SPDX-License-Identifier: Apache-2.0
"""Command submission on a Gaudi and a Gaudi2, on the uAPI: what hl-thunk's own programs check (docs/hl-thunk.md), by
cs_ways.cc. One process per case and device."""

import os
import unittest

import harness

MACHINE = """\
[[host_bridge]]
name = "pc0"
id = "8086:2020"
[[root_port]]
name = "rp0"
on = "pc0"
[[root_port]]
name = "rp1"
on = "pc0"
[[accelerator]]
name = "gaudi0"
type = "gaudi"
at = "rp0"
[[accelerator]]
name = "gaudi1"
type = "gaudi2"
at = "rp1"
"""


class Submission(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.description = os.path.join(os.environ["XDG_RUNTIME_DIR"], "submission.toml")
        with open(cls.description, "w", encoding="utf-8") as file:
            file.write(MACHINE)
        cls.machine = harness.Machine(cls.description).__enter__()

    def run_case(self, name, **options):
        for index, device in enumerate(("gaudi", "gaudi2")):
            with self.subTest(device=device):
                self.run_ok(harness.program("cs_ways"), f"/dev/accel/accel{index}", name, **options)
        harness.wait_until("nothing is held", lambda: not self.held(), describe=lambda: str(self.held()))

    def test_host_memory_by_system_call(self):
        self.run_case("host_memory", env={"CAUSEWAY_HOST_MEMORY": "process_vm"})

    def held(self):
        return [held for held in self.machine.holdings() if "resident_bytes" not in held]


def add_cases():
    listed = harness.execute([harness.program("cs_ways"), "--list"])
    if listed.status != 0:
        raise AssertionError(str(listed))
    for name in listed.out.split():
        setattr(Submission, "test_" + name, lambda self, name=name: self.run_case(name))


add_cases()

if __name__ == "__main__":
    harness.main()
