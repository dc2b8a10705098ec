# SPDX-License-Identifier: Apache-2.0
"""UCX (Debian: ucx-utils), unmodified: its verbs transports find the machine's NICs, and ucx_perftest runs over each."""

import itertools

import harness

ITERATIONS = ("-n", "100", "-w", "10")  # a round trip may cost a time slice where two processes share a CPU


class Ucx(harness.TestCase):
    def perftest(self, tls, test, *options, device="rxe0:1"):
        perftest = harness.need("ucx_perftest")
        port = str(harness.free_port())
        env = {"UCX_TLS": tls, "UCX_NET_DEVICES": device, "UCX_LOG_LEVEL": "warn", "UCX_WARN_UNUSED_ENV_VARS": "n"}
        command = ["env", *(f"{key}={value}" for key, value in env.items()), perftest, "-p", port, "-t", test,
                   *ITERATIONS, *options]
        _, client = self.pair_ok(command, [*command, "127.0.0.1"], int(port), deadline=2 * harness.DEADLINE)
        self.assertIn("Final:", client.out, str(client))
        for word in ("ERROR", "Fatal"):
            self.assertNotIn(word, client.out + client.err, str(client))

    def test_both_transports_are_found_on_each_nic(self):
        got = self.run_ok(harness.need("ucx_info"), "-d")
        found, transport = set(), None
        for line in got.out.splitlines():
            if "Transport:" in line:
                transport = line.split()[-1]
            elif "Device:" in line:
                found.add((transport, line.split()[-1]))
        for transport, nic in itertools.product(("rc_verbs", "ud_verbs"), ("rxe0:1", "rxe1:1")):
            self.assertIn((transport, nic), found)


# One test for each transport and each of ucx_perftest's own tests.
for _tls, _name in (("rc_v", "rc_verbs"), ("ud_v", "ud_verbs")):
    for _test, _options in (("tag_lat", ()), ("tag_bw", ("-s", "65536")), ("ucp_put_lat", ()),
                            ("ucp_put_bw", ("-s", "65536")), ("ucp_get", ("-s", "8192")), ("ucp_am_lat", ()),
                            ("ucp_am_bw", ("-s", "4096")), ("ucp_fadd", ("-s", "8")), ("stream_bw", ("-s", "4096"))):
        setattr(Ucx, f"test_{_name}_{_test}",
                lambda self, tls=_tls, test=_test, options=_options: self.perftest(tls, test, *options))


if __name__ == "__main__":
    harness.main()
