# SPDX-License-Identifier: Apache-2.0
"""GIDs that follow an interface (specs: verbs 1.5, 7): a machine in a network namespace of its own, whose NIC has one end
of a veth pair. Addresses come and go, the link goes down and up; ibv_devinfo (ioctl) and sysfs see the same table, and
ibv_asyncwatch the events in Linux's order."""

import ipaddress
import os
import pty
import re
import subprocess
import sys
import threading
import unittest

INSIDE = "CAUSEWAY_TEST_NAMESPACE"

if __name__ == "__main__" and INSIDE not in os.environ:
    probe = subprocess.run(["unshare", "-Urn", "ip", "link", "add", "cw0", "type", "veth", "peer", "name", "cw1"],
                           capture_output=True, text=True)
    if probe.returncode != 0:
        print("skipped: no network namespace with a veth pair here:", probe.stderr.strip())
        sys.exit(77)
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-Urn", sys.executable, "-B", *sys.argv])

import harness  # noqa: E402  (a namespace has been entered first)

CONFIG = """
[[host_bridge]]
name = "pc0"
[[root_port]]
name = "rp0"
on = "pc0"
[[nic]]
name = "rxe0"
at = "rp0"
netdev = "cw0"
"""
EMPTY = "0000:0000:0000:0000:0000:0000:0000:0000"


def ip(*args):
    got = harness.execute(["ip", *args])
    if got.status != 0:
        raise AssertionError(str(got))


def gid(address):
    address = ipaddress.ip_address(address)
    if address.version == 4:
        address = ipaddress.ip_address("::ffff:" + str(address))
    return address.exploded


class Watch:
    """ibv_asyncwatch in a terminal of its own, so that each line comes when it is written."""

    def __init__(self, machine):
        ours, theirs = pty.openpty()
        self.lines = []
        self.process = subprocess.Popen(machine.command(harness.need("ibv_asyncwatch"), "-d", "rxe0"), stdout=theirs,
                                        stderr=theirs, stdin=subprocess.DEVNULL, start_new_session=True)
        os.close(theirs)
        self.terminal = os.fdopen(ours, errors="replace")
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        harness.wait_until("ibv_asyncwatch listens", lambda: any("async event FD" in line for line in self.lines),
                           describe=lambda: str(self.lines))

    def read(self):
        try:
            for line in self.terminal:
                self.lines.append(line.strip())
        except OSError:
            pass  # the other end is closed

    def numbers(self):
        found = [re.search(r"event_type .*\((\d+)\)", line) for line in self.lines]
        return [int(match.group(1)) for match in found if match]

    def close(self):
        self.process.kill()
        self.process.wait()


GID_CHANGE, PORT_ACTIVE, PORT_ERR = 18, 9, 10


class Gids(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        ip("link", "set", "lo", "up")
        ip("link", "add", "cw0", "type", "veth", "peer", "name", "cw1")
        # No link-local address of the interface: the table begins with the NIC's own and nothing else.
        ip("link", "set", "cw0", "addrgenmode", "none")
        for name in ("cw0", "cw1"):
            ip("link", "set", name, "up")
        ip("addr", "add", "10.7.7.1/24", "dev", "cw0")
        cls.config = os.path.join(os.environ["XDG_RUNTIME_DIR"], "gids.toml")
        with open(cls.config, "w") as file:
            file.write(CONFIG)
        cls.machine = harness.Machine(cls.config).__enter__()

    def tearDown(self):
        ip("link", "set", "cw0", "up")
        ip("addr", "flush", "dev", "cw0")
        ip("addr", "add", "10.7.7.1/24", "dev", "cw0")
        self.expect([gid("10.7.7.1")])

    def sysfs(self):
        port = "/sys/class/infiniband/rxe0/ports/1"
        script = (f"cd {port}/gids; for i in $(ls | sort -n); do echo $i $(cat $i) "
                  f"\\\"$(cat ../gid_attrs/types/$i 2>&1)\\\" $(cat ../gid_attrs/ndevs/$i 2>/dev/null); done")
        return self.run_ok("sh", "-c", script).out

    def table(self):
        """GIDs by index from 1 on, as sysfs has them; an empty entry is None."""
        rows = [line.split(" ", 2) for line in self.sysfs().splitlines()]
        gids = [None if row[1] == EMPTY else row[1] for row in rows[1:]]
        while gids and gids[-1] is None:
            gids.pop()
        return gids

    def by_ioctl(self):
        out = self.run_ok("ibv_devinfo", "-v", "-d", "rxe0").out
        return {int(index): ipaddress.ip_address(text).exploded
                for index, text in re.findall(r"GID\[\s*(\d+)\]:\s+([0-9a-f:.]+)", out)}

    def expect(self, gids):
        harness.wait_until("the GID table", lambda: self.table() == gids, describe=self.sysfs)
        wanted = {index: value for index, value in enumerate(gids, start=1) if value}
        self.assertEqual({index: value for index, value in self.by_ioctl().items() if index != 0}, wanted)

    def test_each_address_takes_the_lowest_free_index(self):
        self.expect([gid("10.7.7.1")])
        ip("addr", "add", "10.7.7.2/24", "dev", "cw0")
        ip("addr", "add", "2001:db8::1/64", "dev", "cw0", "nodad")
        self.expect([gid("10.7.7.1"), gid("10.7.7.2"), gid("2001:db8::1")])
        ip("addr", "del", "10.7.7.2/24", "dev", "cw0")
        self.expect([gid("10.7.7.1"), None, gid("2001:db8::1")])
        self.assertRegex(self.sysfs(), "(?m)^2 " + EMPTY + " .*Invalid argument")
        self.assertRegex(self.sysfs(), "(?m)^3 .* \"RoCE v2\" cw0$")
        ip("addr", "add", "10.7.7.9/24", "dev", "cw0")
        self.expect([gid("10.7.7.1"), gid("10.7.7.9"), gid("2001:db8::1")])

    def test_events_of_addresses(self):
        watch = Watch(self.machine)
        self.addCleanup(watch.close)
        ip("addr", "add", "10.7.7.2/24", "dev", "cw0")
        ip("addr", "del", "10.7.7.2/24", "dev", "cw0")
        harness.wait_until("two events", lambda: len(watch.numbers()) >= 2, describe=lambda: str(watch.lines))
        ip("link", "set", "cw0", "mtu", "4200")
        harness.wait_until("the MTU", lambda: "active_mtu:\t\t4096" in self.run_ok("ibv_devinfo", "-d", "rxe0").out)
        ip("link", "set", "cw0", "mtu", "1500")
        harness.wait_until("the MTU", lambda: "active_mtu:\t\t1024" in self.run_ok("ibv_devinfo", "-d", "rxe0").out)
        self.assertEqual(watch.numbers(), [GID_CHANGE, GID_CHANGE])

    def test_link_down_and_up(self):
        ip("addr", "add", "2001:db8::1/64", "dev", "cw0")
        self.expect([gid("10.7.7.1"), gid("2001:db8::1")])  # once it is known to be nobody else's
        watch = Watch(self.machine)
        self.addCleanup(watch.close)
        with open("/proc/sys/net/ipv6/conf/cw0/keep_addr_on_down", "w") as file:
            file.write("0")
        ip("link", "set", "cw0", "down")
        harness.wait_until("the port is down", lambda: PORT_ERR in watch.numbers(), describe=lambda: str(watch.lines))
        self.assertEqual(watch.numbers(), [GID_CHANGE, PORT_ERR])
        self.expect([gid("10.7.7.1")])  # IPv4 stays
        self.assertIn("PORT_DOWN", self.run_ok("ibv_devinfo", "-d", "rxe0").out)
        ip("link", "set", "cw0", "up")
        ip("addr", "add", "2001:db8::1/64", "dev", "cw0")
        self.expect([gid("10.7.7.1"), gid("2001:db8::1")])
        self.assertEqual(watch.numbers(), [GID_CHANGE, PORT_ERR, PORT_ACTIVE, GID_CHANGE])

    def test_an_address_that_came_later_carries_traffic(self):
        ip("addr", "add", "10.7.7.2/24", "dev", "cw0")
        self.expect([gid("10.7.7.1"), gid("10.7.7.2")])
        port = harness.free_port()
        common = ["ibv_rc_pingpong", "-d", "rxe0", "-g", "2", "-n", "100", "-p", str(port)]
        self.pair_ok(common, [*common, "127.0.0.1"], port)


if __name__ == "__main__":
    harness.main()
