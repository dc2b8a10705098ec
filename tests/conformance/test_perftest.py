# SPDX-License-Identifier: Apache-2.0
"""perftest 4.5 (package perftest), unmodified, server and client as two processes of one machine."""

import re

import harness


class Perftest(harness.TestCase):
    def perftest(self, name, *options, server_device="rxe0", client_device="rxe1"):
        binary = harness.need(name)
        port = harness.free_port()
        common = ["-p", str(port), "-F", *options]
        server, client = self.pair_ok([binary, "-d", server_device, *common],
                                      [binary, "-d", client_device, *common, "127.0.0.1"], port)
        for got in (server, client):
            # perftest reports some failures in words only.
            self.assertNotRegex(got.out + got.err, r"(?i)failed|unable to|completion with error|mismatch", str(got))
        # One line of numbers per size. Their values say nothing on a busy machine: where perftest fails to calibrate its
        # clock ("Correlation coefficient") it prints noughts.
        rows = [line.split() for line in client.out.splitlines() if re.match(r"^ \d+\s+\d+\s+\S+", line)]
        self.assertTrue(rows, str(client))
        return rows

    def sizes(self, rows):
        return [int(row[0]) for row in rows]

    def test_ib_write_bw(self):
        self.assertEqual(self.sizes(self.perftest("ib_write_bw", "-n", "1000")), [65536])

    def test_ib_write_bw_all_sizes(self):
        rows = self.perftest("ib_write_bw", "-a", "-n", "200")
        self.assertEqual(self.sizes(rows), [2**i for i in range(1, 24)])

    def test_ib_write_bw_both_ways(self):
        self.perftest("ib_write_bw", "-b", "-n", "1000")

    def test_ib_write_bw_many_queue_pairs(self):
        self.perftest("ib_write_bw", "-q", "8", "-n", "1000")

    def test_ib_write_bw_one_device(self):
        self.perftest("ib_write_bw", "-n", "1000", client_device="rxe0")

    def test_ib_write_bw_one_mebibyte(self):
        self.perftest("ib_write_bw", "-s", "1048576", "-n", "500")

    def test_ib_write_lat(self):
        self.perftest("ib_write_lat", "-n", "1000")

    def test_ib_write_lat_inline(self):
        self.perftest("ib_write_lat", "-n", "1000", "-I", "64", "-s", "64")

    def test_ib_read_bw(self):
        self.perftest("ib_read_bw", "-n", "1000")

    def test_ib_read_bw_all_sizes(self):
        self.perftest("ib_read_bw", "-a", "-n", "100")

    def test_ib_read_lat(self):
        self.perftest("ib_read_lat", "-n", "1000")

    def test_ib_send_bw(self):
        self.perftest("ib_send_bw", "-n", "1000")

    def test_ib_send_bw_all_sizes(self):
        self.perftest("ib_send_bw", "-a", "-n", "100")

    def test_ib_send_bw_events(self):
        self.perftest("ib_send_bw", "-e", "-n", "1000")

    def test_ib_send_bw_over_a_shared_receive_queue(self):
        self.perftest("ib_send_bw", "--use-srq", "-q", "4", "-n", "1000")

    def test_ib_send_lat(self):
        self.perftest("ib_send_lat", "-n", "1000")

    def test_ib_send_lat_events(self):
        self.perftest("ib_send_lat", "-e", "-n", "500")

    def test_ib_atomic_bw(self):
        self.perftest("ib_atomic_bw", "-n", "1000")

    def test_ib_atomic_bw_compare_and_swap(self):
        self.perftest("ib_atomic_bw", "-A", "CMP_AND_SWAP", "-n", "1000")

    def test_ib_atomic_lat(self):
        self.perftest("ib_atomic_lat", "-n", "1000")

    def test_duration_mode(self):
        self.perftest("ib_write_bw", "-D", "2")

    def test_ib_send_bw_uc(self):
        self.perftest("ib_send_bw", "-c", "UC", "-n", "1000")

    def test_ib_write_bw_uc(self):
        self.perftest("ib_write_bw", "-c", "UC", "-n", "1000")

    def test_ib_send_lat_ud(self):
        self.perftest("ib_send_lat", "-c", "UD", "-n", "1000")

    def test_ib_send_bw_ud(self):
        self.perftest("ib_send_bw", "-c", "UD", "-s", "1024", "-n", "1000", "-r", "2048")

    def test_ib_send_lat_over_a_shared_receive_queue(self):
        self.perftest("ib_send_lat", "--use-srq", "-n", "1000")


if __name__ == "__main__":
    harness.main()
