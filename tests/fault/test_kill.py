# SPDX-License-Identifier: Apache-2.0
"""Programs killed in the middle of a transfer, and a machine killed under its programs.

Seeded: CAUSEWAY_FAULT_SEED repeats a run (the seed is printed), CAUSEWAY_FAULT_KILLS says how many kills (100).
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
import harness  # noqa: E402

KINDS = ["write-hbm", "write-host", "read-hbm", "read-host", "send-hbm", "send-host", "atomic-hbm", "atomic-host",
         "srq-hbm", "srq-host", "mw-host", "ud-hbm", "ud-host"]
KILLS = int(os.environ.get("CAUSEWAY_FAULT_KILLS", "100"))
SEED = int(os.environ.get("CAUSEWAY_FAULT_SEED", str(random.SystemRandom().randrange(2**31))))
RETRY_EXCEEDED = "transport retry counter exceeded"  # ibv_wc_status_str(IBV_WC_RETRY_EXC_ERR)


class Peer:
    """One peer program, started directly in the environment of `causeway run`, so that its pid is its own."""

    def __init__(self, environment, role, kind):
        index = "0" if role == "requester" else "1"
        self.role = role
        self.kind = kind
        self.process = subprocess.Popen([harness.program("fault_peer"), role, kind, index, "rxe" + index],
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.buffer = b""
        self.lines = []

    def line(self, deadline=20):
        """The next object it says, or None at the end of its output."""
        end = time.monotonic() + deadline
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"the {self.role} says nothing for {deadline} s; it said {self.lines}")
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                return None
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\n", 1)
        self.lines.append(json.loads(text))
        return self.lines[-1]

    def until(self, *keys):
        """The first object with one of the keys; None at the end of the output."""
        while (said := self.line()) is not None:
            if any(key in said for key in keys):
                return said
        return None

    def say(self, text):
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def finish(self, deadline=20):
        """Its exit status and its words on standard error. Its input ends, which asks it to end."""
        try:
            _, err = self.process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, err = self.process.communicate()
            raise AssertionError(f"the {self.role} hangs; it said {self.lines}, {err.decode()}") from None
        return self.process.returncode, err.decode()


def introduce(first, second):
    """Hands each the other's endpoint. False when one of them has ended before it could say its own."""
    said = [peer.until("endpoint") for peer in (first, second)]
    if None in said:
        return False
    for peer, other in ((first, said[1]), (second, said[0])):
        e = other["endpoint"]
        peer.say(f"{e['qpn']} {e['psn']} {e['rkey']} {e['address']} {e['gid']}")
    return True


def run(responder, requester):
    """Lets the transfer begin. False when one of them ended instead."""
    if responder.until("running") is None:
        return False
    requester.say("go")
    return "running" in (requester.until("running", "status") or {})


class FaultCase(unittest.TestCase):
    def start_machine(self, config=None):
        machine = harness.Machine(config).__enter__()
        self.addCleanup(machine.down)
        got = machine.run("env", "-0")
        self.assertEqual(got.status, 0, str(got))
        environment = dict(line.split("=", 1) for line in got.out.split("\0") if "=" in line)
        return machine, environment

    def start_pair(self, environment, kind):
        pair = {role: Peer(environment, role, kind) for role in ("responder", "requester")}
        for peer in pair.values():
            self.addCleanup(harness.discard, peer.process)
        return pair


class KilledPrograms(FaultCase):
    def test_a_killed_program_leaves_machine_and_peer_sound(self):
        print(f"CAUSEWAY_FAULT_SEED={SEED}", file=sys.stderr)
        random_moments = random.Random(SEED)
        machine, environment = self.start_machine()
        before = machine.ps()
        self.assertEqual(machine.holdings(), [])
        for number in range(KILLS):
            kind = random_moments.choice(KINDS)
            victim = random_moments.choice(["requester", "responder"])
            during_set_up = random_moments.random() < 0.2
            delay = random_moments.uniform(0, 0.06 if during_set_up else 0.02)
            with self.subTest(number=number, kind=kind, victim=victim, during_set_up=during_set_up, delay=delay):
                self.one_kill(environment, kind, victim, during_set_up, delay)
                harness.wait_until("nothing is left of both programs", lambda: not machine.holdings(), 20,
                                   lambda: machine.holdings())
        # As at the start, and still of use.
        after = machine.ps()
        self.assertEqual(set(before), set(after))
        got = machine.run(harness.P2P, "--bytes", "8M", "--passes", "1")
        self.assertEqual(got.status, 0, str(got))
        harness.wait_until("nothing is left of the transfer", lambda: not machine.holdings(), 20)

    def one_kill(self, environment, kind, victim, during_set_up, delay):
        pair = self.start_pair(environment, kind)
        try:
            self.kill_one_of(pair, victim, during_set_up, delay)
        finally:
            for peer in pair.values():  # what a failure left alive is not to be found by the next kill
                peer.process.kill()
                peer.process.wait()

    def kill_one_of(self, pair, victim, during_set_up, delay):
        killed, survivor = pair[victim], pair["responder" if victim == "requester" else "requester"]
        if during_set_up:
            time.sleep(delay)
            killed.process.kill()
            if introduce(killed, survivor):
                survivor.say("probe" if survivor.role == "responder" else "go")
        else:
            if not (introduce(killed, survivor) and run(**pair)):
                self.fail(self.words(killed, survivor))
            time.sleep(delay)
            killed.process.kill()
            datagrams = killed.kind.startswith("ud")
            if datagrams or survivor.role == "responder":
                survivor.say("probe")
            said = survivor.until("status", "hang")
            if said is None:
                self.fail(self.words(survivor))
            self.assertEqual(said.get("status"), "success" if datagrams else RETRY_EXCEEDED, said)
            self.assertEqual(said.get("flushed"), said.get("outstanding"), said)
            survivor.say("quit")
        status, err = survivor.finish()
        self.assertEqual(status, 0, f"{survivor.lines} {err}")
        self.assertEqual(killed.finish()[0], -signal.SIGKILL, killed.lines)

    @staticmethod
    def words(*peers):
        text = []
        for peer in peers:
            peer.process.kill()
            text.append(f"{peer.role} said {peer.lines} {peer.finish()[1]}")
        return "; ".join(text)


class KilledMachine(FaultCase):
    """No program hangs on a machine that is gone: calls give ENODEV, a wait for an event ends."""

    def kill_machine(self, machine):
        with open(os.path.join(machine.ps()["folder"], "pid")) as file:
            os.kill(int(file.read()), signal.SIGKILL)

    def test_programs_get_enodev(self):
        for kind in ("write-hbm", "send-host"):
            with self.subTest(kind=kind):
                machine, environment = self.start_machine()
                pair = self.start_pair(environment, kind)
                waiter = Peer(environment, "waiter", "-")
                self.addCleanup(harness.discard, waiter.process)
                peers = [pair["requester"], pair["responder"], waiter]
                self.assertTrue(introduce(*peers[:2]) and run(**pair) and waiter.until("running"),
                                [peer.lines for peer in peers])
                self.kill_machine(machine)
                for peer in peers:
                    said = peer.until("errno", "hang")
                    status, err = peer.finish()
                    self.assertIsNotNone(said, f"{peer.role} {peer.lines} {err}")
                    # ibv_get_cq_event(): Linux gives EIO on the event file of a device that is gone
                    # (drivers/infiniband/core/uverbs_main.c ib_uverbs_event_read()).
                    self.assertIn(said.get("errno"), ("ENODEV", "EIO") if peer is waiter else ("ENODEV",), said)
                    self.assertEqual(status, 3, f"{peer.role} {peer.lines} {err}")

    def test_a_new_machine_of_the_name_can_be_started(self):
        machine, _ = self.start_machine()
        self.kill_machine(machine)
        harness.wait_until("the name is free",
                           lambda: harness.execute([harness.CAUSEWAY, "up", "--name", machine.name]).status == 0)
        self.assertEqual(machine.run(harness.P2P, "--bytes", "64K", "--passes", "1").status, 0)

    def test_run_says_that_its_machine_ended(self):
        running = harness.Running([harness.CAUSEWAY, "run", "--", "bash", "-c",
                                   "echo $CAUSEWAY_MACHINE; read -t 30; exit 5"], stdin=subprocess.PIPE)
        self.addCleanup(running.discard)
        folder = running.process.stdout.readline().strip()
        with open(os.path.join(folder, "pid")) as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGKILL)
        # The program must end after the machine: `run` has collected the machine when its number is free.
        harness.wait_until("the machine is collected", lambda: not os.path.exists(f"/proc/{pid}"))
        got = running.result(input="\n")
        self.assertEqual(got.status, 5, str(got))
        self.assertIn("machine", got.err)


if __name__ == "__main__":
    harness.main()
