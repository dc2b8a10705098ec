# SPDX-License-Identifier: Apache-2.0
"""NETLINK_RDMA: iproute2's `rdma` as Debian ships it, and sockets used in every way (netlink_ways.py).

Stands for linux drivers/infiniband/core/nldev.c, core/netlink.c, core/restrack.c and net/netlink/af_netlink.c.
netlink_ways.txt and netlink_ways_user.txt are what netlink_ways.py printed on Linux 6.1 with rdma_rxe, as root and without
CAP_NET_ADMIN."""

import json
import os
import re
import socket
import subprocess

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


# Holds a PD and as many regions of 4 KiB as it is told, until its input ends.
HOLDER = """
import ctypes, sys
verbs = ctypes.CDLL("libibverbs.so.1")
for name in ("ibv_get_device_list", "ibv_open_device", "ibv_alloc_pd", "ibv_reg_mr"):
    getattr(verbs, name).restype = ctypes.c_void_p
point = ctypes.c_void_p
device = ctypes.cast(verbs.ibv_get_device_list(None), ctypes.POINTER(point))[0]
pd = verbs.ibv_alloc_pd(point(verbs.ibv_open_device(point(device))))
memory = ctypes.create_string_buffer(1 << 16)
regions = [verbs.ibv_reg_mr(point(pd), memory, ctypes.c_size_t(4096), 1) for _ in range(int(sys.argv[1]))]
assert pd and all(regions)
print("ready", flush=True)
sys.stdin.read()
"""


class Resources(RdmaCase):
    def setUp(self):
        super().setUp()
        harness.wait_until("nothing is left of the last test", lambda: all(
            d[kind] == 0 for d in self.rdma("res") for kind in ("pd", "cq", "qp", "mr", "ctx", "srq", "cm_id")))

    def start(self, *args):
        running = harness.Running(self.machine.command(*args), stdin=subprocess.PIPE)
        self.addCleanup(running.discard)
        return running

    def of(self, kind, pid=None):
        found = self.rdma("res", "show", kind)
        return [entry for entry in found if pid is None or entry["pid"] == pid]

    def test_a_waiting_ping_pong(self):
        port = str(harness.free_port())
        server = self.start(harness.need("ibv_rc_pingpong"), "-d", "rxe1", "-g", "0", "-p", port)
        harness.wait_until("its QP is there", lambda: self.of("qp"))
        (qp,), (cq,), (mr,), (pd,), (ctx,) = (self.of(kind) for kind in ("qp", "cq", "mr", "pd", "ctx"))
        for entry in (qp, cq, mr, pd, ctx):
            self.assertEqual((entry["ifname"], entry["comm"]), ("rxe1", "ibv_rc_pingpong"))
            self.assertEqual(os.getpgid(entry["pid"]), server.process.pid)
        self.assertEqual((qp["port"], qp["type"], qp["state"], qp["rqpn"], qp["path-mig-state"]),
                         (1, "RC", "INIT", 0, "MIGRATED"))
        self.assertEqual((cq["cqe"], cq["users"], cq["adaptive-moderation"]), (511, 2, False))
        self.assertEqual((mr["mrlen"], mr["pdn"], qp["pdn"]), (4096, pd["pdn"], pd["pdn"]))
        self.assertEqual((pd["users"], pd["ctxn"], cq["ctxn"]), (2, ctx["ctxn"], ctx["ctxn"]))
        self.assertEqual("lkey" in mr, admin())
        summary = {d["ifname"]: d for d in self.rdma("res")}
        self.assertEqual([summary["rxe1"][kind] for kind in ("pd", "cq", "qp", "mr", "ctx", "srq")], [1, 1, 1, 1, 1, 0])
        self.assertEqual([summary["rxe0"][kind] for kind in ("pd", "cq", "qp", "mr", "ctx", "srq")], [0] * 6)
        self.assertEqual(self.rdma("res", "show", "qp", "link", "rxe1/1", "lqpn", str(qp["lqpn"])), [qp])
        self.assertEqual(self.rdma("res", "show", "qp", "link", "rxe0/1"), [])
        server.kill()
        harness.wait_until("a killed program's are gone", lambda: not self.of("qp") and not self.of("ctx"))

    def test_an_srq_and_its_qps(self):
        self.start(harness.need("ibv_srq_pingpong"), "-d", "rxe0", "-g", "0", "-p", str(harness.free_port()))
        harness.wait_until("its QPs are there", lambda: len(self.of("qp")) == 16)
        (srq,), (pd,) = self.of("srq"), self.of("pd")
        self.assertEqual((srq["type"], srq["pdn"]), ("BASIC", pd["pdn"]))
        numbers = sorted(qp["lqpn"] for qp in self.of("qp"))
        self.assertEqual(pd["users"], 18)
        self.assertIn(str(numbers[0]), json.dumps(srq["lqpn"]))

    def test_three_thousand_regions(self):
        """A dump of many parts lists each of them once."""
        holder = self.start("python3", "-c", HOLDER, "3000")
        self.assertEqual(holder.process.stdout.readline(), "ready\n")
        regions = self.of("mr")
        self.assertEqual(len({region["mrn"] for region in regions}), 3000)
        self.assertEqual({(region["mrlen"], region["ifname"]) for region in regions}, {(4096, "rxe0")})
        one = regions[1234]
        self.assertEqual(self.rdma("res", "show", "mr", "dev", "rxe0", "mrn", str(one["mrn"])), [one])

    def test_connections(self):
        """Ids of rdma_cm: listeners of one address and of all, and both ends of a connection."""
        rping = harness.need("rping")
        port, every = str(harness.free_port()), str(harness.free_port())
        one = self.start(rping, "-s", "-a", "127.0.0.1", "-p", port)
        self.start(rping, "-s", "-a", "0.0.0.0", "-p", every)
        harness.wait_until("they listen", lambda: len(self.of("cm_id")) == 3)
        ids = self.of("cm_id")
        self.assertEqual({(i["ifname"], i.get("port"), i["state"], i["ps"], i["src-addr"]) for i in ids},
                         {("rxe0", 1, "LISTEN", "TCP", f"127.0.0.1:{port}")} |
                         {(f"rxe{n}", None, "LISTEN", "TCP", f"0.0.0.0:{every}") for n in range(2)})
        client = self.start(rping, "-c", "-a", "127.0.0.1", "-p", port, "-C", "100000000")
        harness.wait_until("they are connected",
                           lambda: len([i for i in self.of("cm_id") if i["state"] == "CONNECT"]) == 2)
        ends = [i for i in self.of("cm_id") if i["state"] == "CONNECT"]
        self.assertEqual({os.getpgid(i["pid"]) for i in ends}, {one.process.pid, client.process.pid})
        self.assertEqual(ends[0]["src-addr"], ends[1]["dst-addr"])
        self.assertEqual({i["lqpn"] for i in ends}, {qp["lqpn"] for qp in self.of("qp")})

    def test_counters_count(self):
        def counters():
            return {c["ifname"]: c for c in self.rdma("statistic", "show")}
        before = counters()
        binary, port = harness.need("ibv_rc_pingpong"), harness.free_port()
        common = ["-g", "0", "-n", "100", "-p", str(port)]
        self.pair_ok([binary, "-d", "rxe0", *common], [binary, "-d", "rxe1", *common, "127.0.0.1"], port)
        after = counters()
        for name in ("rxe0", "rxe1"):
            for counter in ("sent_pkts", "rcvd_pkts", "rdma_sends", "rdma_recvs"):
                self.assertGreaterEqual(after[name][counter] - before[name][counter], 100, counter)
            files = self.machine.run("sh", "-c", f"cd /sys/class/infiniband/{name}/ports/1/hw_counters && "
                                     "for f in *; do echo $f $(cat $f); done").out.split()
            said = dict(zip(files[::2], map(int, files[1::2])))
            said.pop("lifespan")
            self.assertEqual({k: v for k, v in after[name].items() if k not in ("ifname", "port")}, said)


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

    def expected(self, name):
        with open(os.path.join(HERE, name)) as words:
            return words.read().splitlines()

    def test_as_root(self):
        if not admin():
            self.skipTest("needs CAP_NET_ADMIN")
        self.maxDiff = None
        self.assertEqual(self.ways(), self.expected("netlink_ways.txt"))

    def test_without_cap_net_admin(self):
        self.maxDiff = None
        self.assertEqual(self.ways("user"), self.expected("netlink_ways_user.txt"))

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
