# SPDX-License-Identifier: Apache-2.0
"""NICs as the configuration makes them: 64 on one machine, listed in the order of their names; and what a NIC without a
capability answers to unmodified programs."""

import os
import re

import harness

NICS = 64
PER_SWITCH = 16


def write_config(name, text):
    path = os.path.join(os.environ["XDG_RUNTIME_DIR"], name)
    with open(path, "w") as file:
        file.write(text)
    return path


class SixtyFour(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        text = '[[host_bridge]]\nname = "pc0"\n'
        for switch in range(NICS // PER_SWITCH):
            text += f'[[root_port]]\nname = "rp{switch}"\non = "pc0"\n'
            text += f'[[switch]]\nname = "sw{switch}"\non = "rp{switch}"\nports = {PER_SWITCH}\n'
        for nic in range(NICS):
            text += f'[[nic]]\nname = "rxe{nic}"\nat = "sw{nic // PER_SWITCH}.{nic % PER_SWITCH}"\nnetdev = "lo"\n'
        cls.machine = harness.Machine(write_config("nics.toml", text)).__enter__()

    def test_they_are_listed_in_order(self):
        out = self.run_ok(harness.need("ibv_devices")).out
        self.assertEqual(re.findall(r"rxe\d+", out), [f"rxe{nic}" for nic in range(NICS)])

    def test_each_has_its_own_guid(self):
        out = self.run_ok(harness.need("ibv_devices")).out
        self.assertEqual(len(set(re.findall(r"[0-9a-f]{16}", out))), NICS)

    def test_the_first_and_the_last_talk(self):
        binary, port = harness.need("ibv_rc_pingpong"), harness.free_port()
        common = ["-g", "0", "-n", "100", "-p", str(port)]
        self.pair_ok([binary, "-d", "rxe0", *common], [binary, "-d", f"rxe{NICS - 1}", *common, "127.0.0.1"], port)


class Without(harness.TestCase):
    """A NIC that lacks nearly everything."""

    @classmethod
    def setUpClass(cls):
        cls.machine = harness.Machine(write_config("without.toml", """
[[host_bridge]]
name = "pc0"
[[root_port]]
name = "rp0"
on = "pc0"
[[nic]]
name = "rxe0"
at = "rp0"
netdev = "lo"
capabilities = { uc = false, ud = false, srq = false, mw = false, atomics = false, odp = false, flush = false }
""")).__enter__()

    def test_the_attributes_say_it(self):
        out = self.run_ok(harness.need("ibv_devinfo"), "-v").out
        for name, value in (("max_srq", "0"), ("max_mw", "0"), ("max_ah", "0"), ("max_mcast_grp", "0"),
                            ("atomic_cap", "ATOMIC_NONE (0)")):
            self.assertRegex(out, rf"{name}:\s+{re.escape(value)}")
        self.assertNotIn("MEM_WINDOW", out)

    def test_programs_that_need_it_say_so(self):
        for name, words in (("ibv_ud_pingpong", "Couldn't create QP"), ("ibv_uc_pingpong", "Couldn't create QP"),
                            ("ibv_srq_pingpong", "Couldn't create SRQ")):
            with self.subTest(name):
                port = harness.free_port()
                got = self.machine.run(harness.need(name), "-d", "rxe0", "-g", "0", "-p", str(port))
                self.assertNotEqual(got.status, 0)
                self.assertIn(words, got.out + got.err)


if __name__ == "__main__":
    harness.main()
