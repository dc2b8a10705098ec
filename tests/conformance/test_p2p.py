# SPDX-License-Identifier: Apache-2.0
"""examples/causeway-p2p: RDMA between two accelerators' memory by libibverbs and the habanalabs user API alone."""

import json
import os
import random
import subprocess
import tempfile
import unittest

import harness

LEGS = ["host->HBM0", "HBM0->HBM1", "HBM1->HBM0", "HBM1->host"]


class PeerToPeer(harness.TestCase):
    def p2p(self, *options):
        got = self.run_ok(harness.P2P, "--json", "--passes", "1", "--warmup", "0", *options)
        legs = [json.loads(line) for line in got.out.splitlines()]
        self.assertEqual([leg["leg"] for leg in legs], LEGS)
        self.assertTrue(all(leg["verified"] for leg in legs), str(got))
        return legs

    def test_pseudo_random_data(self):
        legs = self.p2p("--bytes", "64M")
        self.assertEqual({leg["bytes"] for leg in legs}, {64 << 20})
        self.assertEqual(len({leg["checksum"] for leg in legs}), 1)
        self.assertEqual(legs[1]["nics"], ["rxe0", "rxe1"])

    def test_accelerators_of_two_processes(self):
        self.p2p("--bytes", "16M", "--split")

    def test_small_work_requests(self):
        self.p2p("--bytes", "1M", "--chunk", "1000", "--depth", "64")

    def test_one_work_request_at_a_time(self):
        self.p2p("--bytes", "8M", "--chunk", "65536", "--depth", "1")

    def test_nics_and_accelerators_crossed(self):
        self.p2p("--bytes", "4M", "--accel0", "1", "--accel1", "0")

    def test_one_nic_for_both(self):
        self.p2p("--bytes", "4M", "--nic0", "rxe0", "--nic1", "rxe0")

    def test_files_of_odd_sizes(self):
        source, target = os.path.join(self.folder, "in"), os.path.join(self.folder, "out")
        for size in (0, 1, 7, 4095, 4096, 4097, 1000003, 8 << 20, (8 << 20) + 5):
            for split in ((), ("--split",)):
                with self.subTest(size=size, split=bool(split)):
                    data = random.Random(size).randbytes(size)
                    with open(source, "wb") as file:
                        file.write(data)
                    self.p2p("--file", source, "--output", target, *split)
                    with open(target, "rb") as file:
                        self.assertEqual(file.read(), data)

    def test_private_machine(self):
        got = harness.execute([harness.CAUSEWAY, "run", "--", harness.P2P, "--bytes", "4M", "--json"])
        self.assertEqual(got.status, 0, str(got))

    def test_steps(self):
        running = harness.Running(self.machine.command(harness.P2P, "--bytes", "4M", "--step"), stdin=subprocess.PIPE)
        try:
            for leg in LEGS:
                self.assertEqual(json.loads(running.process.stdout.readline()), {"ready": leg})
                running.process.stdin.write("\n")
                running.process.stdin.flush()
                line = json.loads(running.process.stdout.readline())
                while "progress" in line:
                    line = json.loads(running.process.stdout.readline())
                self.assertEqual(line, {"moved": leg, "bytes_moved": 6 * (4 << 20)})
            got = running.result(input="\n")
            self.assertEqual(got.status, 0, str(got))
        finally:
            running.kill()

    def test_devices_are_free_when_a_killed_program_has_been_waited_for(self):
        # It dies with memory regions over exported device memory. Linux drops them, and the accelerator with them, before
        # the parent's wait() returns (kernel/exit.c do_exit(): exit_files(), exit_task_work()).
        script = ("import os, signal, subprocess, sys\n"
                  "for i in range(10):\n"
                  "    p = subprocess.Popen([sys.argv[1], '--bytes', '64M', '--step'], stdin=subprocess.PIPE,\n"
                  "                         stdout=subprocess.PIPE)\n"
                  "    p.stdout.readline()\n"
                  "    p.kill()\n"
                  "    p.wait()\n"
                  "    subprocess.run([sys.argv[1], '--bytes', '64K', '--passes', '1'], check=True)\n")
        self.run_ok("python3", "-c", script, harness.P2P)

    def test_a_pair_that_the_topology_forbids_is_refused_and_explained(self):
        """drivers/pci/p2pdma.c: below different root ports of a root complex that is not on its whitelist; habanalabs
        hl_map_dmabuf(): EPERM; and the pair below one switch still works."""
        config = harness.execute([harness.CAUSEWAY, "config"]).out.replace('"8086:2020"', '"1b36:000c"')
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(config)
            file.flush()
            with harness.Machine(file.name) as machine:
                got = machine.run(harness.P2P, "--bytes", "64K", "--nic0", "rxe1", "--nic1", "rxe0")
                self.assertEqual(got.status, 1, str(got))
                self.assertIn("EPERM", got.err)
                said = json.loads(harness.execute([harness.CAUSEWAY, "explain", "--name", machine.name, "--json"]).out)
                refusal = said["refusals"][-1]
                self.assertIn("gaudi0", refusal["provider"])
                self.assertIn("rxe1", refusal["client"])
                self.assertIn("whitelisted host bridge", refusal["rule"])
                got = machine.run(harness.P2P, "--bytes", "64K", "--passes", "1")
                self.assertEqual(got.status, 0, str(got))

    def test_behind_a_translating_iommu(self):
        """dma_map_resource() gives IOVAs of each NIC's own domain; the bytes are the same."""
        config = harness.execute([harness.CAUSEWAY, "config"]).out.replace('iommu = "off"', 'iommu = "on"')
        self.assertIn('iommu = "on"', config)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(config)
            file.flush()
            with harness.Machine(file.name) as machine:
                got = machine.run(harness.P2P, "--bytes", "4M", "--passes", "1")
                self.assertEqual(got.status, 0, str(got))

    def test_missing_nic_is_named(self):
        got = self.machine.run(harness.P2P, "--nic0", "rxe9", "--bytes", "4096")
        self.assertEqual(got.status, 1, str(got))
        self.assertIn("rxe9", got.err)

    def test_accelerator_in_use_is_named(self):
        # Linux drivers/accel/habanalabs/common/habanalabs_drv.c hl_device_open(): one compute context at a time.
        holder = harness.Running(self.machine.command(harness.P2P, "--bytes", "4096", "--step"), stdin=subprocess.PIPE)
        try:
            holder.process.stdout.readline()  # it has both accelerators by now
            got = self.machine.run(harness.P2P, "--bytes", "4096")
            self.assertEqual(got.status, 1, str(got))
            self.assertIn("EBUSY", got.err)
            self.assertIn("/dev/accel/accel0", got.err)
            self.assertEqual(holder.result(input="\n" * 5).status, 0)
        finally:
            holder.kill()


class OtherConfigurations(unittest.TestCase):
    def test_nothing_is_left_after_private_runs(self):
        before = harness.execute([harness.CAUSEWAY, "ps", "--json"])
        harness.execute([harness.CAUSEWAY, "run", "--", harness.P2P, "--bytes", "4096"])
        after = harness.execute([harness.CAUSEWAY, "ps", "--json"])
        self.assertEqual(before.out, after.out)


if __name__ == "__main__":
    harness.main()
