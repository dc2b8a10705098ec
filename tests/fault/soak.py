#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A machine under random work, resets and kills for a while, and what it holds afterwards: nothing.

Two workers (soak.cc) submit, map, export, register and move bytes on a Gaudi2 and a Gaudi and check all of them; pairs of
fault_peer transfer over the NICs. Meanwhile faults are injected, and programs are killed or asked to end, and started
again. At the end `causeway ps` says what it said at the start, the machine has as many descriptors as it had, and its
memory is back within BOUND.

Started by ctest for 20 s, by `./dev soak [--minutes N] [--seed N]` for 30 minutes.
"""

import argparse
import errno
import json
import os
import random
import select
import signal
import subprocess
import sys
import time

import test_kill
from test_kill import harness

# Bytes that the machine's own memory and what it shares with programs may have grown by, each: what malloc() keeps of
# freed memory, and tables that grow once to what was ever needed.
BOUND = 4 << 20
SECONDS = float(os.environ.get("CAUSEWAY_SOAK_SECONDS", "20"))
SEED = int(os.environ.get("CAUSEWAY_FAULT_SEED", str(random.SystemRandom().randrange(2**31))))
# Ends a program's use of the device, or not.
RESETS = [("reset",), ("reset", "--at", "submit", "--after", "3"), ("reset", "--at", "submit", "--after", "40"),
          ("ecc", "--uncorrectable"), ("heartbeat",), ("page-fault", "--address", "0xfff0000100200000")]
HARMLESS = [("ecc",), ("razwi", "--address", "0x10", "--write"), ("thermal", "--celsius", "80"),
            ("thermal", "--celsius", "0")]
# What no reset is the reason of.
NO_RESET = (errno.EINVAL, errno.ENOMEM, errno.EFAULT, errno.EMFILE, errno.ENOSPC)
HOST_KINDS = [kind for kind in test_kill.KINDS if kind.endswith("host")]


class Worker:
    """A soak_worker, and those that take its place."""

    def __init__(self, environment, index, seeds):
        self.environment, self.index, self.seeds = environment, index, seeds
        self.injected = 0  # resets; each may cost a program its device once, and end a program that closes too slowly
        self.last_injection = -1e9
        self.done = dict.fromkeys(("rounds", "checks", "losses", "killed by the driver"), 0)
        self.start()

    def start(self):
        self.spawn()
        while self.wait_for("running") is None:
            self.spawn()

    def spawn(self):
        self.process = subprocess.Popen(
            [harness.program("soak_worker"), str(self.seeds.randrange(2**31)), str(self.index), f"rxe{self.index}"],
            env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer = b""

    def hear(self):
        """What it has said meanwhile, each line once."""
        while data := self.process.stdout.read():
            self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        said = [json.loads(line) for line in lines]
        for line in said:
            if "failed" in line:
                raise AssertionError(f"worker {self.index}: {line['failed']}")
            if "errno" in line:
                self.done["losses"] += 1
                self.lose(line)
                if line["errno"] in NO_RESET:
                    raise AssertionError(f"worker {self.index}: {line}")
        return said

    def lose(self, what):
        if self.done["losses"] > self.injected:
            raise AssertionError(f"worker {self.index} lost its device, and no reset was injected: {what}")

    def wait_for(self, key, deadline=120):
        """The line with this key; None when a reset's driver killed the program first."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            status = self.process.poll()
            for line in self.hear():
                if key in line:
                    return line
            if status is not None:
                self.check_end(status)
                return None
            select.select([self.process.stdout], [], [], 0.1)
        self.process.kill()
        raise AssertionError(f"worker {self.index} says nothing of {key!r} for {deadline} s: {self.process.communicate()}")

    def check_end(self, status):
        if status != -signal.SIGKILL:
            raise AssertionError(f"worker {self.index} ended with status {status}: {self.process.stderr.read()}")
        self.done["killed by the driver"] += 1
        if time.monotonic() > self.last_injection + 120:
            raise AssertionError(f"worker {self.index} was killed, and no reset was injected")
        self.close()

    def close(self):
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def look(self):
        """A program that was killed by a reset's driver is started again."""
        status = self.process.poll()
        self.hear()
        if status is not None:
            self.check_end(status)
            self.start()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.close()

    def end(self):
        """Asks it to end and to say what it did."""
        if self.process.poll() is None:
            self.process.stdin.close()
            if said := self.wait_for("rounds"):
                status = self.process.wait(20)
                if status != 0:
                    raise AssertionError(f"worker {self.index} ended with {status}: {self.process.stderr.read()}")
                self.done["rounds"] += said["rounds"]
                self.done["checks"] += said["checks"]
                self.close()
        else:
            self.hear()
            self.check_end(self.process.poll())


class Soak(test_kill.FaultCase):
    def measure(self, machine):
        harness.wait_until("nothing is left of the programs", lambda: not machine.holdings(), 60, machine.holdings)
        pid = machine.ps()["pid"]
        # What ended programs shared goes back page by page after the last of them is out of the list.
        last = []

        def settled():
            last.append(machine.memory())
            return len(last) > 20 and min(last[-20:]) == max(last[-20:])
        harness.wait_until("the machine's memory stands still", settled, 60, lambda: last[-3:])
        own, shared = last[-1]
        return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "threads": len(os.listdir(f"/proc/{pid}/task")),
                "own": own, "shared": shared}

    def inject(self, machine, worker, *fault):
        if fault in RESETS:
            worker.injected += 1
            worker.last_injection = time.monotonic()
        got = harness.execute([harness.CAUSEWAY, "inject", "--name", machine.name, f"gaudi{worker.index}", *fault])
        self.assertIn(got.status, (0, 1), str(got))  # 1: a device in reset has no hardware that could fail

    def transfer(self, environment, chance):
        """A pair of programs that transfer; one of them is killed."""
        pair = self.start_pair(environment, chance.choice(HOST_KINDS))
        try:
            test_kill.KilledPrograms.kill_one_of(self, pair, chance.choice(["requester", "responder"]), False,
                                                 chance.uniform(0, 0.05))
        finally:
            for peer in pair.values():
                peer.process.kill()
                peer.process.wait()

    words = staticmethod(test_kill.KilledPrograms.words)

    def work(self, machine, environment, chance, seconds):
        """Random work. Returns how often each thing was done."""
        acts = {"resets": 2, "harmless faults": 2, "kills": 2, "ends": 1, "transfers": 3, "nothing": 10}
        done = dict.fromkeys(acts, 0)
        workers = [Worker(environment, index, chance) for index in (0, 1)]
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                worker = chance.choice(workers)
                act = chance.choices(list(acts), list(acts.values()))[0]
                done[act] += 1
                if act == "resets":
                    self.inject(machine, worker, *chance.choice(RESETS))
                elif act == "harmless faults":
                    self.inject(machine, worker, *chance.choice(HARMLESS))
                elif act == "transfers":
                    self.transfer(environment, chance)
                elif act in ("kills", "ends"):
                    worker.look()
                    worker.kill() if act == "kills" else worker.end()
                    worker.start()
                for each in workers:
                    each.look()
                time.sleep(chance.uniform(0, 0.2))
            for worker in workers:
                worker.end()
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
        for worker in workers:
            done = {key: done.get(key, 0) + worker.done.get(key, 0) for key in (*done, *worker.done)}
        return done

    def test_soak(self):
        print(f"CAUSEWAY_FAULT_SEED={SEED} CAUSEWAY_SOAK_SECONDS={SECONDS:g}", file=sys.stderr)
        chance = random.Random(SEED)
        text = harness.execute([harness.CAUSEWAY, "config"]).out
        second = 'name = "gaudi1"\ntype = "gaudi2"'
        self.assertIn(second, text)
        config = os.path.join(os.environ["XDG_RUNTIME_DIR"], "soak.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(text.replace(second, 'name = "gaudi1"\ntype = "gaudi"'))
        machine, environment = self.start_machine(config)
        self.work(machine, environment, chance, min(5, SECONDS / 4))  # what is allocated once is there then
        start = self.measure(machine)
        print(f"at the start: {start}", file=sys.stderr)
        print(f"did: {self.work(machine, environment, chance, SECONDS)}", file=sys.stderr)
        end = self.measure(machine)
        print(f"at the end:   {end}", file=sys.stderr)
        self.assertEqual(end["descriptors"], start["descriptors"])
        self.assertLessEqual(end["threads"], start["threads"])
        for kind in ("own", "shared"):
            self.assertLessEqual(end[kind], start[kind] + BOUND, kind)


def main():
    global SECONDS, SEED
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    if arguments.minutes is not None:
        SECONDS = arguments.minutes * 60
    SEED = arguments.seed
    sys.argv[1:] = ["Soak"]
    harness.main()


if __name__ == "__main__":
    main()
