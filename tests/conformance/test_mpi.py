# SPDX-License-Identifier: Apache-2.0
"""Open MPI (Debian: openmpi-bin, libopenmpi-dev), unmodified, over UCX on the machine's NICs: mpi_values.c checks what
arrives. The NIC's counters show that it went there."""

import os
import subprocess

import harness

# Several ranks on few CPUs; no other network; a container's root; nothing asked of a batch system.
MPIRUN = ("--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "btl", "^openib,vader,tcp",
          "--mca", "pml", "ucx", "--mca", "mpi_yield_when_idle", "1", "--mca", "plm", "isolated")
COUNTER = "/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"


class OpenMpi(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        for name in ("mpirun", "mpicc"):
            harness.need(name)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.program = os.path.join(self.folder, "mpi_values")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mpi_values.c")
        subprocess.run(["mpicc", "-O1", "-Wall", "-o", self.program, source], check=True)

    def sent(self):
        return int(self.run_ok("cat", COUNTER).out)

    def values(self, tls, ranks):
        before = self.sent()
        got = self.run_ok("mpirun", "-n", str(ranks), *MPIRUN, "-x", f"UCX_TLS={tls}", "-x", "UCX_NET_DEVICES=rxe0:1",
                          self.program, env={"OMPI_MCA_orte_tmpdir_base": self.folder, "TMPDIR": self.folder},
                          deadline=3 * harness.DEADLINE)
        self.assertIn(f"ok {ranks} ranks", got.out, str(got))
        self.assertGreater(self.sent() - before, 100)

    def test_two_ranks_over_rc(self):
        self.values("rc_v,self", 2)

    def test_four_ranks_over_rc(self):
        self.values("rc_v,self", 4)

    def test_two_ranks_over_ud(self):
        self.values("ud_v,self", 2)

    def test_four_ranks_over_ud(self):
        self.values("ud_v,self", 4)


if __name__ == "__main__":
    harness.main()
