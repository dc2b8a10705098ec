# SPDX-License-Identifier: Apache-2.0
"""NETLINK_RDMA: iproute2's `rdma` as Debian ships it, and sockets used in every way (netlink_ways.py).

Stands for linux drivers/infiniband/core/nldev.c, core/netlink.c and net/netlink/af_netlink.c. netlink_ways.txt is what
netlink_ways.py printed as root on Linux 6.1 with rdma_rxe."""

import json
import os
import re
import socket

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
NETDEV = "lo"

MACHINE = """
[[host_bridge]]
name = "pc0"
[[root_port]]
name = "rp0"
on = "pc0"
[[switch]]
name = "sw0"
on = "rp0"
ports = 2
[[nic]]
name = "rxe0"
at = "sw0.0"
netdev = "lo"
[[nic]]
name = "rxe1"
at = "sw0.1"
netdev = "lo"
"""

# What needs CAP_NET_ADMIN (RDMA_NL_ADMIN_PERM), as the kernel answers without it: the request comes back behind EPERM.
REFUSED = {"set without index": 0, "set nothing": 8, "set dim 2": 16, "set an empty name": 16, "newlink of nothing": 0,
           "newlink with a bad name": 28, "newlink over nothing": 32, "newlink of another type": 32,
           "dellink without index": 0, "dellink of no device": 8, "system set nothing": 0, "system set netns 2": 8,
           "system set netns 1": 8, "system set qkey 2": 8}


def admin():
    """CAP_NET_ADMIN is effective here."""
    with open("/proc/self/status") as status:
        return int(re.search(r"CapEff:\s*([0-9a-f]+)", status.read())[1], 16) >> 12 & 1 == 1


class RdmaCase(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        path = os.path.join(os.environ["XDG_RUNTIME_DIR"], "rdma.toml")
        with open(path, "w") as file:
            file.write(MACHINE)
        cls.machine = harness.Machine(path).__enter__()

    def rdma(self, *args):
        """The tool's words as JSON."""
        return json.loads(self.run_ok(harness.need("rdma"), "-d", "-j", *args).out or "[]")


class Devices(RdmaCase):
    def test_dev(self):
        devices = self.rdma("dev", "show")
        self.assertEqual([(d["ifindex"], d["ifname"], d["node_type"]) for d in devices],
                         [(0, "rxe0", "ca"), (1, "rxe1", "ca")])
        for device in devices:
            guid = self.machine.run("cat", f"/sys/class/infiniband/{device['ifname']}/node_guid").out.strip()
            self.assertEqual(device["node_guid"], guid)
            self.assertEqual(device["sys_image_guid"], guid)
            self.assertEqual(device["adaptive-moderation"], False)
            self.assertLessEqual({"SRQ_RESIZE", "MEM_WINDOW", "MEM_WINDOW_TYPE_2B"}, set(device["caps"]))
        self.assertEqual(self.rdma("dev", "show", "rxe1"), devices[1:])

    def test_a_device_that_is_not_there(self):
        got = self.machine.run(harness.need("rdma"), "dev", "show", "rxe7")
        self.assertNotEqual(got.status, 0, str(got))

    def test_link(self):
        index = socket.if_nametoindex(NETDEV)
        links = self.rdma("link", "show")
        self.assertEqual(links, [{"ifindex": n, "ifname": f"rxe{n}", "port": 1, "state": "ACTIVE",
                                  "physical_state": "LINK_UP", "netdev": NETDEV, "netdev_index": index}
                                 for n in range(2)])
        self.assertEqual(self.rdma("link", "show", "rxe1/1"), links[1:])

    def test_system(self):
        """The tool of iproute2 6.1 says it in words only."""
        got = self.run_ok(harness.need("rdma"), "system", "show").out
        self.assertEqual(got, "netns shared copy-on-fork on\n")

    def test_adaptive_moderation(self):
        if not admin():
            self.skipTest("needs CAP_NET_ADMIN")
        self.run_ok(harness.need("rdma"), "dev", "set", "rxe0", "adaptive-moderation", "on")
        self.assertEqual(self.rdma("dev", "show", "rxe0")[0]["adaptive-moderation"], True)
        self.run_ok(harness.need("rdma"), "dev", "set", "rxe0", "adaptive-moderation", "off")

    def test_what_is_the_configurations(self):
        """Names, and which devices there are: refused, and nothing changes."""
        for args in (("dev", "set", "rxe0", "name", "other0"), ("link", "add", "rxe9", "type", "rxe", "netdev", NETDEV),
                     ("link", "delete", "rxe0"), ("system", "set", "netns", "exclusive")):
            with self.subTest(" ".join(args)):
                self.assertNotEqual(self.machine.run(harness.need("rdma"), *args).status, 0)
        self.assertEqual([d["ifname"] for d in self.rdma("dev")], ["rxe0", "rxe1"])


class Libibverbs(RdmaCase):
    def test_it_asks_netlink(self):
        """find_sysfs_devs_nl(): a kernel that has it is asked nothing by sysfs of which devices there are."""
        got = self.run_ok(harness.need("strace"), "-f", "-e", "trace=openat,open,newfstatat", harness.need("ibv_devices"))
        self.assertEqual(re.findall(r"^\s+(rxe\d)\s", got.out, re.M), ["rxe0", "rxe1"])
        self.assertNotRegex(got.err, r'"[^"]*/class/infiniband"')


class Sockets(RdmaCase):
    def ways(self, *args):
        got = self.run_ok("python3", os.path.join(HERE, "netlink_ways.py"), *args)
        return got.out.splitlines()

    def expected(self):
        with open(os.path.join(HERE, "netlink_ways.txt")) as words:
            return words.read().splitlines()

    def test_as_root(self):
        if not admin():
            self.skipTest("needs CAP_NET_ADMIN")
        self.maxDiff = None
        self.assertEqual(self.ways(), self.expected())

    def test_without_cap_net_admin(self):
        expected = []
        for line in self.expected():
            title = line.split(": ")[0]
            if title in REFUSED:
                line = f"{title}: 0x2 flags 0x0 seq 5 -EPERM +{REFUSED[title]}"
            elif title == "to nobody":
                line = "to nobody: EPERM"
            expected.append(line)
        self.maxDiff = None
        self.assertEqual(self.ways("user"), expected)

    def test_a_descriptor_crosses_exec_and_processes(self):
        """fork, exec and SCM_RIGHTS: the socket is the same one, with its port."""
        code = ("import os,socket,sys,struct\n"
                "s=socket.socket(16,3,20); s.bind((0,0)); port=s.getsockname()[0]\n"
                "a,b=socket.socketpair()\n"
                "os.set_inheritable(b.fileno(),True)\n"
                "if os.fork()==0:\n"
                "  os.execvp('python3',['python3','-c','import socket,struct,sys\\n"
                "b=socket.socket(fileno=int(sys.argv[1]))\\n"
                "d,fds,f,n=socket.recv_fds(b,1,1)\\n"
                "s=socket.socket(fileno=fds[0])\\n"
                "assert s.family==16, s.family\\n"
                "s.sendto(struct.pack(\"IHHII\",16,0x1406,1,3,0),(0,0))\\n"
                "print(s.getsockname()[0], len(s.recv(100)))',str(b.fileno())])\n"
                "socket.send_fds(a,[b'x'],[s.fileno()])\n"
                "os.wait(); print(port)\n")
        lines = self.run_ok("python3", "-c", code).out.split()
        self.assertEqual(lines[0], lines[2])
        self.assertEqual(lines[1], "40")


if __name__ == "__main__":
    harness.main()
