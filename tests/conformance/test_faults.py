# SPDX-License-Identifier: Apache-2.0
"""Faults of accelerators as programs see them: `causeway inject`, hard_reset in sysfs, sensors, `causeway top`.

The programs here are Python's own ioctl() and os calls on the nodes; libsensors' `sensors` for hwmon.
"""

import json
import os
import signal
import unittest

import harness
from harness import CAUSEWAY, Running, execute, need, wait_until

# What a client of the driver does: opens the node, registers an eventfd, waits for events, prints them as they come,
# and closes or not. INFO opcodes of <drm/habanalabs_accel.h>.
CLIENT = r"""
import ctypes, fcntl, os, select, struct, sys
node, mode = sys.argv[1], sys.argv[2]
fd = os.open(node, os.O_RDWR)
INFO = 0xC0184801
def info(op, size=0, argument=0):
    out = ctypes.create_string_buffer(max(size, 1))
    args = bytearray(struct.pack("QIIII", ctypes.addressof(out) if size else 0, size, op, argument, 0))
    try:
        fcntl.ioctl(fd, INFO, args)
        return 0, out.raw[:size]
    except OSError as error:
        return error.errno, b""
libc = ctypes.CDLL(None)
event = libc.eventfd(0, 0x80000)
if mode != "deaf":
    assert info(28, 0, event)[0] == 0
print("ready", flush=True)
if mode == "deaf":
    while True:
        select.select([], [], [], 60)
while True:
    select.select([event], [], [])
    os.read(event, 8)
    mask = struct.unpack("Q", info(30, 8)[1])[0]
    print("events", hex(mask), flush=True)
    if mode == "close" and mask & 4:
        break
print("idle", info(3, 40)[0], "status", struct.unpack("I", info(4, 8)[1][:4])[0], flush=True)
os.close(fd)
"""

# Bits of INFO GET_EVENTS.
RESET, UNAVAILABLE, USER_ENGINE, HW_ERR, RAZWI, PAGE_FAULT, CRITICAL_HW = 4, 16, 32, 64, 128, 256, 512


class Faults(harness.TestCase):
    def inject(self, *args):
        got = execute([CAUSEWAY, "inject", "--name", self.machine.name, "--json", *args])
        self.assertEqual(got.status, 0, str(got))
        return json.loads(got.out)

    def top(self):
        got = execute([CAUSEWAY, "top", "--name", self.machine.name, "--json", "--interval", "0.1"])
        self.assertEqual(got.status, 0, str(got))
        return json.loads(got.out)

    def accelerator(self, name):
        return next(entry for entry in self.top()["accelerators"] if entry["name"] == name)

    def client(self, node, mode):
        running = Running(self.machine.command("python3", "-c", CLIENT, node, mode))
        self.addCleanup(running.discard)
        self.assertEqual(running.process.stdout.readline(), "ready\n")
        return running

    def next_events(self, running):
        word, mask = running.process.stdout.readline().split()
        self.assertEqual(word, "events")
        return int(mask, 16)

    def operational(self, name):
        wait_until(f"{name} is operational", lambda: self.accelerator(name)["status"] == "operational")

    def test_events_of_each_fault(self):
        client = self.client("/dev/accel/accel0", "stay")
        for fault, want in ((("ecc",), HW_ERR),
                            (("razwi", "--address", "0x10", "--write"), RAZWI | USER_ENGINE),
                            (("undefined-opcode", "--stream", "2"), 2 | USER_ENGINE),
                            (("thermal", "--celsius", "80"), USER_ENGINE),
                            (("thermal", "--celsius", "0"), USER_ENGINE),
                            (("page-fault", "--address", "0xfff0000100200000"), PAGE_FAULT | USER_ENGINE | RESET)):
            self.inject("gaudi0", *fault)
            self.assertEqual(self.next_events(client), want, fault)
        # hl_device_cond_reset(): it registered an eventfd, so it has time, and the device works until it goes.
        self.assertEqual(self.accelerator("gaudi0")["status"], "operational")
        client.kill()
        client.result()
        self.operational("gaudi0")

    def test_a_program_that_closes_in_time_lives(self):
        client, other = self.client("/dev/accel/accel0", "close"), self.client("/dev/accel/accel1", "stay")
        resets = self.accelerator("gaudi0")["hard_resets"]
        self.inject("accel0", "ecc", "--uncorrectable")
        self.assertEqual(self.next_events(client), HW_ERR | CRITICAL_HW | RESET)
        self.assertEqual(client.process.stdout.readline(), "idle 0 status 0\n")
        got = client.result()
        self.assertEqual(got.status, 0, str(got))
        wait_until("the reset", lambda: self.accelerator("gaudi0")["hard_resets"] == resets + 1)
        self.operational("gaudi0")
        # The other device and its program noticed nothing.
        self.assertEqual(self.accelerator("gaudi1")["hard_resets"], 0)
        self.inject("gaudi1", "ecc")
        self.assertEqual(self.next_events(other), HW_ERR)
        other.kill()
        other.result()

    def test_hard_reset_kills_who_stays(self):
        client = self.client("/dev/accel/accel1", "deaf")
        got = self.machine.run("sh", "-c", "echo 1 > /sys/class/accel/accel1/hard_reset; "
                                           "cat /sys/class/accel/accel1/status")
        self.assertEqual((got.status, got.out), (0, "In reset\n"), str(got))
        busy = self.machine.run("python3", "-c", "import os; os.open('/dev/accel/accel1', os.O_RDWR)")
        self.assertIn("BlockingIOError", busy.err)  # EAGAIN
        self.assertEqual(client.result().status, 128 + signal.SIGKILL)
        self.operational("gaudi1")
        self.run_ok("python3", "-c", "import os; os.open('/dev/accel/accel1', os.O_RDWR)")

    def test_bad_requests_are_explained(self):
        for args, word in ((("gaudi7", "ecc"), "there are: gaudi0, gaudi1"), (("gaudi0", "flood"), "there are: ecc"),
                           (("gaudi0", "page-fault"), "--address VA"), (("gaudi0", "ecc", "--index", "9"), "--index"),
                           (("gaudi0", "heartbeat", "--engine", "1"), "'heartbeat' takes no options"),
                           (("gaudi0", "reset", "--at", "now", "--after", "2"), "--after N")):
            got = execute([CAUSEWAY, "inject", "--name", self.machine.name, *args])
            self.assertEqual(got.status, 1, str(got))
            self.assertIn(word, got.err)
        got = execute([CAUSEWAY, "inject", "--name", self.machine.name, "--list"])
        self.assertIn("heartbeat", got.out)

    def test_sensors_lists_the_boards_beside_the_hosts(self):
        def folders(listing):
            return {name for name in listing.split() if name.startswith("hwmon")}
        sensors = need("sensors")
        got = self.run_ok(sensors, "-j")
        chips = {name: chip for name, chip in json.loads(got.out).items() if name.startswith("HL225-pci-")}
        self.assertEqual(len(chips), 2)
        for chip in chips.values():
            self.assertEqual(chip["power1"]["power1_input"], 60.0)
            self.assertGreater(chip["die"]["temp1_input"], 20)
        seen = folders(self.run_ok("ls", "/sys/class/hwmon").out)
        real = set(os.listdir("/sys/class/hwmon")) if os.path.isdir("/sys/class/hwmon") else set()
        self.assertTrue(real <= seen, (real, seen))
        self.assertEqual(len(seen - real), 2)
        # hwmon's write, and what the sensor then says.
        self.run_ok("sh", "-c", "cd /sys/bus/pci/devices/*/hwmon/hwmon*/ 2>/dev/null || cd /sys/class/hwmon/"
                                + sorted(seen - real)[0] + "; test $(cat temp7_input) -lt 60000 && echo 100000 > "
                                "temp7_offset && test $(cat temp7_input) -gt 100000 && echo 0 > temp7_offset")

    def test_top_without_a_terminal(self):
        text = execute([CAUSEWAY, "top", "--name", self.machine.name, "--interval", "0.1"])
        self.assertEqual(text.status, 0, str(text))
        for word in ("gaudi0", "rxe1", "subm/s", "idle"):
            self.assertIn(word, text.out)
        sample = self.top()
        self.assertEqual([entry["name"] for entry in sample["nics"]], ["rxe0", "rxe1"])
        self.assertGreaterEqual(sample["seconds"], 0.1)
        self.assertTrue(all(link["bytes_per_second"] == 0 for link in sample["links"]))

    def test_top_in_a_terminal_ends_with_q(self):
        script = need("script")
        got = execute([script, "-qec", f"stty cols 60 rows 8; {CAUSEWAY} top --name {self.machine.name} -i 0.2",
                       "/dev/null"], input="q")
        self.assertEqual(got.status, 0, str(got))
        self.assertIn("more lines", got.out)
        self.assertTrue(got.out.endswith("\x1b[?1049l"), repr(got.out[-40:]))


if __name__ == "__main__":
    harness.main()
