# SPDX-License-Identifier: Apache-2.0
"""The ping-pongs of package ibverbs-utils, unmodified, server and client as two processes of one machine: RC, UC, UD, and
RC over a shared receive queue."""


import harness


class Pingpong(harness.TestCase):
    program = None

    def pingpong(self, *options, client_device="rxe1", server_device="rxe0"):
        binary = harness.need(self.program)
        port = harness.free_port()
        common = ["-p", str(port), *options]
        server, client = self.pair_ok([binary, "-d", server_device, *common],
                                      [binary, "-d", client_device, *common, "127.0.0.1"], port)
        for got in (server, client):
            self.assertRegex(got.out, r"\d+ bytes in [\d.]+ seconds", str(got))
            self.assertRegex(got.out, r"\d+ iters in [\d.]+ seconds", str(got))
            self.assertNotIn("invalid data", got.out + got.err)
        return server, client

    def need_an_address(self):
        # Index 1 is the first address of the net device, where it has one.
        got = self.run_ok("cat", "/sys/class/infiniband/rxe0/ports/1/gids/1", "/sys/class/infiniband/rxe1/ports/1/gids/1")
        if "0000:0000:0000:0000:0000:0000:0000:0000" in got.out:
            self.skipTest("a net device has no address")


class RcPingpong(Pingpong):
    program = "ibv_rc_pingpong"

    def test_default(self):
        server, client = self.pingpong("-g", "0")
        self.assertIn("1000 iters", client.out)
        self.assertIn("8192000 bytes", client.out)

    def test_same_device_on_both_sides(self):
        self.pingpong("-g", "0", client_device="rxe0")

    def test_checks_the_data(self):
        self.pingpong("-g", "0", "-c")

    def test_waits_for_completion_events(self):
        self.pingpong("-g", "0", "-e")

    def test_events_and_data_check(self):
        self.pingpong("-g", "0", "-e", "-c")

    def test_second_gid(self):
        self.need_an_address()
        self.pingpong("-g", "1", "-c")

    def test_one_byte(self):
        self.pingpong("-g", "0", "-c", "-s", "1")

    def test_one_mebibyte(self):
        self.pingpong("-g", "0", "-c", "-s", "1048576", "-n", "200")

    def test_odd_size_over_the_mtu(self):
        self.pingpong("-g", "0", "-c", "-s", "100003", "-n", "500")

    def test_many_iterations(self):
        self.pingpong("-g", "0", "-n", "20000", "-r", "64")

    def test_large_mtu(self):
        self.pingpong("-g", "0", "-c", "-m", "4096", "-s", "65536", "-n", "200")

    def test_without_a_gid_there_is_no_path(self):
        # RoCE needs a GRH: Linux drivers/infiniband/core/verbs.c / rxe_av_chk_attr() refuse RTR without one. The program
        # prints that and ends with status 1 on both sides.
        binary = harness.need("ibv_rc_pingpong")
        port = harness.free_port()
        server, client = self.machine.pair([binary, "-d", "rxe0", "-p", str(port)],
                                           [binary, "-d", "rxe1", "-p", str(port), "127.0.0.1"], port)
        self.assertIn("Failed to modify QP to RTR", server.err + client.err)
        self.assertNotEqual(client.status, 0)


class UcPingpong(Pingpong):
    program = "ibv_uc_pingpong"

    def test_default(self):
        self.pingpong("-g", "0", "-n", "300")

    def test_events_over_the_mtu_on_one_device(self):
        self.pingpong("-g", "0", "-e", "-s", "10000", "-n", "200", client_device="rxe0")


class UdPingpong(Pingpong):
    program = "ibv_ud_pingpong"

    def test_default(self):
        self.pingpong("-g", "0", "-n", "300")

    def test_events(self):
        self.pingpong("-g", "0", "-e", "-n", "200")

    def test_an_address_that_both_devices_have(self):
        self.need_an_address()
        self.pingpong("-g", "1", "-n", "200")


class SrqPingpong(Pingpong):
    program = "ibv_srq_pingpong"

    def test_sixteen_queue_pairs_over_one_receive_queue(self):
        self.pingpong("-g", "0", "-n", "500")

    def test_events(self):
        self.pingpong("-g", "0", "-e", "-q", "4", "-n", "300")


if __name__ == "__main__":
    harness.main()
