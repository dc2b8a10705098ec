# SPDX-License-Identifier: Apache-2.0
"""librdmacm's programs: connections by address instead of by side channel.

An address of this host's network is needed, as every NIC takes its GIDs from a net device."""

import glob
import os
import re
import signal
import sys
import time
import unittest

import harness
from harness import Running, TestCase, execute, free_port, need, wait_until


def address(machine, v6=False):
    """What a GID of the first NIC says as an IP address; link-local ones are no use here."""
    got = machine.run("sh", "-c", "cat /sys/class/infiniband/rxe0/ports/1/gids/[0-9]")
    for gid in got.out.split():
        words = gid.split(":")
        v4 = words[:6] == ["0000"] * 5 + ["ffff"]
        if v4 and not v6:
            return ".".join(str(int(word[i:i + 2], 16)) for word in words[6:] for i in (0, 2))
        if v6 and not v4 and not gid.startswith("fe80") and gid.strip("0:"):
            return gid
    return None


class RdmaCmCase(TestCase):
    def setUp(self):
        super().setUp()
        self.ip = address(self.machine)
        if self.ip is None:
            self.skipTest("the NIC's net device has no IPv4 address")
        self.port = str(free_port())
        # The last test's server is released when the machine has seen its end.
        wait_until("nobody listens any more", lambda: self.listening() == 0)

    def listening(self):
        """How many ids of rdma_cm listen."""
        return self.machine.ps()["rdma_cm"]["listening"]

    def serve(self, *args):
        """Starts a server and waits until it listens."""
        before = self.listening()
        server = Running(self.machine.command(*args))
        self.addCleanup(server.discard)
        wait_until(f"{args[0]} listens", lambda: self.listening() > before or server.process.poll() is not None)
        return server

    def talk(self, server, client, server_ends=True):
        """Runs a pair; servers that serve for ever are told to end."""
        need(server[0])
        need(client[0])
        first = self.serve(*server)
        got = self.run_ok(*client)
        if not server_ends:
            first.kill(signal.SIGTERM)
            return first.result(), got
        done = first.result()
        self.assertEqual(done.status, 0, str(done))
        return done, got


class Rping(RdmaCmCase):
    def rping(self, *args, server=(), ip=None):
        ip = ip or self.ip
        return self.talk(["rping", "-s", "-a", ip, "-p", self.port, *args, *server],
                         ["rping", "-c", "-a", ip, "-p", self.port, *args])

    def test_data_is_checked(self):
        server, client = self.rping("-v", "-V", "-C", "10")
        for i in range(10):
            self.assertIn(f"ping data: rdma-ping-{i}:", client.out)
            self.assertIn(f"server ping data: rdma-ping-{i}:", server.out)

    def test_sizes(self):
        for size in ("23", "4096", "65535"):
            self.rping("-V", "-C", "3", "-S", size)

    def test_ipv6(self):
        ip = address(self.machine, v6=True)
        if ip is None:
            self.skipTest("the NIC's net device has no IPv6 address but the link-local one")
        self.rping("-V", "-C", "3", ip=ip)

    def test_wildcard_server(self):
        self.talk(["rping", "-s", "-p", self.port, "-C", "3"], ["rping", "-c", "-a", self.ip, "-p", self.port, "-C", "3"])

    # One client connects after the other: rping keeps one new connection at a time (child_cm_id of its listener's state).
    def test_persistent_server_with_clients(self):
        need("rping")
        server = self.serve("rping", "-s", "-P", "-p", self.port)
        endless = []
        for count in range(1, 4):
            endless.append(Running(self.machine.command("rping", "-c", "-V", "-a", self.ip, "-p", self.port)))
            self.addCleanup(endless[-1].discard)
            wait_until(f"{count} clients are connected", lambda: self.machine.ps()["rdma_cm"]["connected"] == 2 * count)
        self.run_ok("rping", "-c", "-V", "-a", self.ip, "-p", self.port, "-C", "5")
        self.assertEqual([one.process.poll() for one in [server, *endless]], [None] * 4)

    # On the reference kernel rping says the same in both cases.
    def test_nobody_listens(self):
        got = self.machine.run(need("rping"), "-c", "-a", self.ip, "-p", self.port, "-C", "1")
        self.assertNotEqual(got.status, 0)
        self.assertIn("RDMA_CM_EVENT_REJECTED, error 8", got.out + got.err)

    def test_loopback_address_has_no_route(self):
        if self.ip.startswith("127."):
            self.skipTest("the NIC sits on the loopback interface")
        got = self.machine.run(need("rping"), "-c", "-a", "127.0.0.1", "-p", self.port, "-C", "1")
        self.assertNotEqual(got.status, 0)
        self.assertIn("rdma_resolve_route: No such device", got.out + got.err)

    def test_port_is_taken(self):
        need("rping")
        self.serve("rping", "-s", "-a", self.ip, "-p", self.port)
        got = self.machine.run("rping", "-s", "-a", self.ip, "-p", self.port)
        self.assertIn("Address already in use", got.out + got.err)


class EventWaits(TestCase):
    """What ends a wait for an event and what does not (event_waits.c); the reference kernel passes all of it too."""

    def test_waits(self):
        waits = harness.program("event_waits")
        if not os.path.exists(waits):
            self.skipTest("not built: librdmacm-dev was not there")
        got = self.run_ok(waits)
        self.assertEqual(len(re.findall("^ok ", got.out, re.M)), 7, str(got))


class Programs(RdmaCmCase):
    def test_ucmatose(self):
        self.talk(["ucmatose", "-p", self.port, "-c", "4", "-C", "10"],
                  ["ucmatose", "-s", self.ip, "-p", self.port, "-c", "4", "-C", "10"])

    def test_rdma_client_and_server(self):
        self.talk(["rdma_server", "-p", self.port], ["rdma_client", "-s", self.ip, "-p", self.port])

    # Its server never ends by itself, on a kernel neither.
    def test_cmtime(self):
        self.talk(["cmtime", "-p", self.port, "-c", "20"], ["cmtime", "-s", self.ip, "-p", self.port, "-c", "20"], False)

    def test_rstream(self):
        for size in ("64", "65536"):  # inline, and RDMA writes with immediate data
            port = str(free_port())
            self.talk(["rstream", "-p", port],
                      ["rstream", "-s", self.ip, "-p", port, "-I", "5", "-C", "4", "-S", size], False)

    # Writes into mapped memory that nothing completes: a side polls the last byte of the message, and answers there.
    def test_riostream(self):
        self.talk(["riostream", "-p", self.port], ["riostream", "-s", self.ip, "-p", self.port])

    # Its queues of one entry, its server's child and its timer by SIGALRM are unlike the others'.
    def test_qperf(self):
        need("qperf")
        server = Running(self.machine.command("qperf", "-lp", self.port))
        self.addCleanup(server.discard)
        wait_until("qperf listens", lambda: harness.listening(int(self.port)))
        for figure in ("rc_bw", "rc_lat", "rc_rdma_write_lat", "rc_rdma_read_bw", "ver_rc_fetch_add"):
            with self.subTest(figure):
                # Its 0.4.11 tells the client the port and listens afterwards (mended in its 118a571, "Fix rdmacm race"): a
                # client that is the first is rejected, on Linux too. Such a run is started again, and says so.
                for _ in range(5):
                    got = self.machine.run("qperf", "-lp", self.port, self.ip, "-cm", "1", "-t", "1", figure)
                    if "Event rejected" not in got.out:
                        break
                    print(f"qperf {figure} was rejected, and is started again", file=sys.stderr)
                self.assertEqual(got.status, 0, str(got))
                self.assertRegex(got.out, r"(bw|latency|msg_rate) +=")

    def test_rcopy(self):
        need("rcopy")
        text = os.urandom(300000)
        source, target = os.path.join(self.folder, "source"), os.path.join(self.folder, "target")
        with open(source, "wb") as file:
            file.write(text)
        server = self.serve("rcopy", "-p", self.port)  # an option first: it is the server
        self.run_ok("rcopy", source, f"{self.ip}:{target}", "-p", self.port)
        server.kill(signal.SIGTERM)
        with open(target, "rb") as file:
            self.assertEqual(file.read(), text)

    def test_udaddy(self):
        self.talk(["udaddy", "-c", "2", "-C", "10"],  # its -p is a port space
                  ["udaddy", "-s", self.ip, "-c", "2", "-C", "10"])

    def test_mckey(self):
        need("mckey")
        receiver = Running(self.machine.command("mckey", "-m", "239.1.1.1", "-b", self.ip, "-C", "5"))
        self.addCleanup(receiver.discard)
        wait_until("the receiver has joined", lambda: self.machine.ps()["rdma_cm"]["groups"] > 0)
        # What it posts, it posts after that: datagrams sent until it has all it waits for.
        while receiver.process.poll() is None:
            self.run_ok("mckey", "-m", "239.1.1.1", "-b", self.ip, "-s", "-C", "5")
        got = receiver.result()
        self.assertEqual(got.status, 0, str(got))
        self.assertIn("joined dgid: ::ffff:239.1.1.1", got.out + got.err)

    # After a handshake its server begins to listen and its client connects, in no order
    # (perftest_communication.c create_rdma_cm_connection()): a client that is the first is rejected, on Linux too, and
    # gives up. Such a pair is started again.
    def test_perftest_connects_by_rdma_cm(self):
        for tool in ("ib_write_bw", "ib_send_lat", "ib_read_bw"):
            need(tool)
            for _ in range(5):
                port = str(free_port())
                server = self.serve(tool, "-R", "-n", "200", "-p", port)
                got = self.machine.run(tool, "-R", "-n", "200", "-p", port, self.ip)
                if got.status == 0 or "RDMA_CM_EVENT_REJECTED; error: 8" not in got.err:
                    break
                server.discard()
                wait_until("nobody listens any more", lambda: self.listening() == 0)
            self.assertEqual(got.status, 0, str(got))
            done = server.result()
            self.assertEqual(done.status, 0, str(done))


class OthersOverRdmaCm(RdmaCmCase):
    """Programs of other projects, with habits of their own."""

    # fio's rdma engine: the server's jobs are a process's threads, the client learns keys by a SEND. (verb=send has no
    # retries for a receiver that is not ready, and fails now and then on Linux as well.)
    def test_fio(self):
        need("fio")
        for verb in ("write", "read"):
            with self.subTest(verb):
                job = ["--ioengine=rdma", f"--port={free_port()}", "--bs=64k", "--size=16m", "--iodepth=16"]
                fio = ["env", "-C", self.folder, "fio", "--name=job", *job]
                server = self.serve(*fio, "--rw=read")
                got = self.run_ok(*fio, "--rw=write", f"--hostname={self.ip}", f"--verb={verb}")
                self.assertIn("io=16.0MiB", got.out)
                done = server.result()
                self.assertEqual(done.status, 0, str(done))

    # librspreload puts rsockets into a program's socket functions, next to Causeway's library: iperf is told by rdma_cm.
    def test_sockets_are_rsockets(self):
        need("iperf")
        libraries = glob.glob("/usr/lib/*/rsocket/librspreload.so")
        if not libraries:
            self.skipTest("librspreload is not installed")
        iperf = ["sh", "-c", 'LD_PRELOAD="$0:$LD_PRELOAD" exec iperf "$@"', libraries[0], "-p", self.port]
        server, got = self.talk([*iperf, "-s"], [*iperf, "-c", self.ip, "-n", "50M"], False)
        self.assertRegex(got.out, r"sec +50\.0 MBytes")
        self.assertRegex(server.out, r"sec +50\.0 MBytes")

    # uDAPL's own test: a library that knows connections by rdma_cm only. Its two sides meet on a TCP port that is not to
    # be chosen; -W -D are RDMA writes to and fro, and data that is looked at.
    def test_dapl(self):
        need("dtest")
        if harness.listening(15828):
            self.skipTest("somebody listens on dtest's port")
        names = os.path.join(self.folder, "dat.conf")
        with open(names, "w", encoding="ascii") as file:
            file.write(f'causeway u2.0 nonthreadsafe default libdaplofa.so.2 dapl.2.0 "{self.ip} 0" ""\n')
        for options in (["-b", "65536"], ["-W", "-D", "-b", "4096"]):
            dtest = ["env", f"DAT_OVERRIDE={names}", "dtest", "-P", "causeway", *options]
            for got in self.pair_ok(dtest, [*dtest, "-h", self.ip], 15828):
                self.assertIn("DAPL Test Complete. PASSED", got.out + got.err)


class Libfabric(RdmaCmCase):
    """fi_pingpong: its processes meet by TCP, then by rdma_cm. Its memory monitor rewrites libc's munmap()."""

    def pingpong(self, provider, endpoint):
        need("fi_pingpong")
        port = free_port()
        # With room for 256 peers its CQ would be larger than rxe's; two NICs of one address have one domain by address.
        args = ["env", "-C", self.folder, "FI_UNIVERSE_SIZE=4",
                "fi_pingpong", "-p", provider, "-d", "rxe0", "-e", endpoint, "-I", "5", "-c"]
        # A connection that closes with a completion still in the CQ makes rxm post a receive to the endpoint that it is
        # closing, and crash (rxm_close_conn(), rxm_flush_msg_cq(); ofiwg/libfabric#11828). The transfers have ended then:
        # such a run is no word on this machine, and another one is made.
        for _ in range(4):
            results = self.machine.pair([*args, "-B", str(port)], [*args, "-P", str(port), self.ip], port)
            if not any("terminated with signal 11" in got.err and "\n1m      5       =5" in got.out for got in results):
                break
            port = free_port()
        for got in results:
            self.assertEqual(got.status, 0, str(got))

    def test_msg_endpoints(self):
        self.pingpong("verbs", "msg")

    def test_rdm_endpoints_over_rxm(self):
        self.pingpong("verbs;ofi_rxm", "rdm")

    def test_domains(self):
        got = self.run_ok(need("fi_info"), "-p", "verbs")
        self.assertIn("domain: rxe0", got.out)
        self.assertIn("FI_PROTO_RDMA_CM_IB_RC", got.out)


class Death(RdmaCmCase):
    """A program that is killed: its ids go, and the peer is told."""

    def test_server_is_killed_while_established(self):
        need("rping")
        server = self.serve("rping", "-s", "-p", self.port)
        client = Running(self.machine.command("rping", "-c", "-v", "-d", "-a", self.ip, "-p", self.port))
        self.addCleanup(client.discard)
        wait_until("they are connected", lambda: self.machine.ps()["rdma_cm"]["connected"] >= 2)
        server.kill()
        got = client.result()
        self.assertIn("DISCONNECT", got.out + got.err)
        wait_until("nothing is held", lambda: self.machine.ps()["rdma_cm"]["ids"] == 0)

    def test_client_is_killed_while_established(self):
        need("rping")
        server = self.serve("rping", "-s", "-d", "-p", self.port)
        client = Running(self.machine.command("rping", "-c", "-a", self.ip, "-p", self.port))
        self.addCleanup(client.discard)
        wait_until("they are connected", lambda: self.machine.ps()["rdma_cm"]["connected"] >= 2)
        client.kill()
        got = server.result()
        self.assertIn("DISCONNECT", got.out + got.err)
        wait_until("nothing is held", lambda: self.machine.ps()["rdma_cm"]["ids"] == 0)

    # What rping's persistent server makes of a peer that goes in the middle of connecting is its own affair (it ends): each
    # round has its own.
    def test_clients_are_killed_at_any_moment(self):
        need("rping")
        for i in range(12):
            port = str(free_port())
            server = self.serve("rping", "-s", "-p", port)
            client = Running(self.machine.command("rping", "-c", "-a", self.ip, "-p", port))
            time.sleep(0.01 * i)  # the moment: it need not hit anything
            client.kill()
            client.result()
            server.kill()
            server.result()
            wait_until("nothing is held", lambda: self.machine.ps()["rdma_cm"]["ids"] == 0)
        self.talk(["rping", "-s", "-p", self.port, "-C", "3"], ["rping", "-c", "-a", self.ip, "-p", self.port, "-C", "3"])


class Node(TestCase):
    def test_sysfs(self):
        self.assertEqual(self.run_ok("cat", "/sys/class/misc/rdma_cm/abi_version").out, "4\n")
        self.assertEqual(self.run_ok("cat", "/sys/class/misc/rdma_cm/uevent").out,
                         "MAJOR=10\nMINOR=124\nDEVNAME=infiniband/rdma_cm\nDEVMODE=0666\n")
        self.assertTrue(re.match(r"character special file 666 a:7c",
                                 self.run_ok("stat", "-c", "%F %a %t:%T", "/dev/infiniband/rdma_cm").out))

    def test_poll_and_read(self):
        code = ("import os, select, struct\n"
                "fd = os.open('/dev/infiniband/rdma_cm', os.O_RDWR | os.O_NONBLOCK)\n"
                "assert select.select([fd], [], [], 0)[0] == []\n"
                "def write(data):\n"
                "    try: return os.write(fd, data)\n"
                "    except OSError as error: return -error.errno\n"
                "print(write(b'x' * 7), write(struct.pack('=IHH', 99, 0, 0)), write(struct.pack('=IHH', 13, 0, 0)),\n"
                "      write(struct.pack('=IHHQ', 12, 8, 336, 0)), write(struct.pack('=IHHQ', 12, 8, 100, 0)))\n"
                "try: os.read(fd, 10)\n"
                "except OSError as error: print(error.errno)\n")
        self.assertEqual(self.run_ok("python3", "-c", code).out, "-22 -22 -38 -11 -28\n22\n")


if __name__ == "__main__":
    harness.main()
