# SPDX-License-Identifier: Apache-2.0
"""What the tests of programs under `causeway run` share: machines, runs with a deadline, pairs of processes.

Started by ctest with CAUSEWAY (the command), CAUSEWAY_P2P, CAUSEWAY_TEST_PROGRAMS (folder of our test programs) and
CAUSEWAY_SANITIZE (what of) in the environment. By hand, from the repository:  CAUSEWAY=build/dev/src/cli/causeway \\
CAUSEWAY_P2P=build/dev/examples/causeway-p2p CAUSEWAY_TEST_PROGRAMS=build/dev/tests/conformance \\
python3 tests/conformance/test_p2p.py -v
"""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

CAUSEWAY = os.path.abspath(os.environ.get("CAUSEWAY", "causeway"))
P2P = os.path.abspath(os.environ.get("CAUSEWAY_P2P", "causeway-p2p"))
PROGRAMS = os.path.abspath(os.environ.get("CAUSEWAY_TEST_PROGRAMS", "."))
DEADLINE = float(os.environ.get("CAUSEWAY_TEST_DEADLINE", "60"))
SKIPPED = 77
SANITIZERS = os.environ.get("CAUSEWAY_SANITIZE", "")  # that the command is built with
# What `causeway ps --json` says of a device that is not so, or nought, when nobody uses it.
HELD = ("opened_by", "used_bytes", "resident_bytes", "dmabufs", "contexts", "pds", "mrs", "cqs", "qps")

# Machines of a test live in a folder of its own: the user's are not seen and not touched.
_runtime = tempfile.mkdtemp(prefix="cwt-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
os.environ["XDG_RUNTIME_DIR"] = _runtime
for _name in ("CAUSEWAY_MACHINE", "LD_PRELOAD"):
    os.environ.pop(_name, None)

# What a sanitizer says of any process that a test starts, machines among them (presets asan and tsan), comes into files
# here; main() fails when there is one.
_reports = tempfile.mkdtemp(prefix="cwr-")
for _name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
    os.environ[_name] = ":".join(filter(None, [os.environ.get(_name), f"log_path={_reports}/report:handle_abort=1"]))
# Libraries that tests preload (drm_alloc) come before the run-time library of a command that has one; they replace
# nothing of what that one replaces.
os.environ["ASAN_OPTIONS"] += ":verify_asan_link_order=0"


def program(name):
    return os.path.join(PROGRAMS, name)


def need(name):
    """The path of a program that Debian ships; skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise unittest.SkipTest(f"{name} is not installed")
    return path


def jemalloc():
    """The library, to be preloaded; skips the test where it is not installed."""
    if SANITIZERS:
        raise unittest.SkipTest(f"the command is built with -fsanitize={SANITIZERS}, which brings its own malloc()")
    found = glob.glob("/usr/lib/*/libjemalloc.so.2")
    if not found:
        raise unittest.SkipTest("libjemalloc2 is not installed")
    return found[0]


class Result:
    def __init__(self, args, status, out, err):
        self.args, self.status, self.out, self.err = args, status, out, err

    def __str__(self):
        return (f"{' '.join(map(str, self.args))}\n  status {self.status}\n  stdout:\n{self.out[-4000:]}\n"
                f"  stderr:\n{self.err[-4000:]}")


def discard(process):
    """For addCleanup(): the process is gone and waited for, its pipes are closed."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class Running:
    """A process in its own group, so that nothing of it outlives a test."""

    def __init__(self, args, env=None, cwd=None, stdin=subprocess.DEVNULL, text=True):
        self.args = args
        self.process = subprocess.Popen(args, env={**os.environ, **(env or {})}, cwd=cwd, stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text,
                                        errors="replace" if text else None, start_new_session=True)

    def result(self, deadline=None, input=None):
        try:
            out, err = self.process.communicate(input=input, timeout=deadline or DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            raise AssertionError("not ended in time: " + str(Result(self.args, "killed", out, err))) from None
        return Result(self.args, self.process.returncode, out, err)

    def kill(self, signal_number=signal.SIGKILL):
        try:
            os.killpg(self.process.pid, signal_number)
        except ProcessLookupError:
            pass

    def discard(self):
        """For addCleanup(): the group and its pipes are gone, whatever became of it."""
        if self.process.poll() is None:
            self.kill()
        discard(self.process)


def execute(args, **options):
    deadline, text_in = options.pop("deadline", None), options.pop("input", None)
    if text_in is not None:
        options["stdin"] = subprocess.PIPE
    return Running(args, **options).result(deadline, text_in)


def wait_until(what, predicate, deadline=None, describe=lambda: ""):
    """Polls until the predicate is true; it fails, with `what` and describe(), when the deadline has passed."""
    end = time.monotonic() + (deadline or DEADLINE)
    while not predicate():
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {what} {describe()}")
        time.sleep(0.005)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind(("", 0))
        return s.getsockname()[1]


def listening(port):
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                for line in lines:
                    field = line.split()
                    if field[1].endswith(f":{port:04X}") and field[3] == "0A":
                        return True
        except FileNotFoundError:
            pass
    return False


class Machine:
    """`causeway up` under a name of its own; `down` at the end. Programs run on it by command()."""

    _count = 0

    def __init__(self, config=None):
        Machine._count += 1
        self.name = f"t{os.getpid()}-{Machine._count}"
        self.config = config

    def __enter__(self):
        args = [CAUSEWAY, "up", "--name", self.name]
        if self.config:
            args += ["--config", self.config]
        got = execute(args)
        if got.status != 0:
            raise AssertionError("causeway up failed: " + str(got))
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        return execute([CAUSEWAY, "down", "--name", self.name])

    def command(self, *args):
        return [CAUSEWAY, "run", "--name", self.name, "--", *args]

    def run(self, *args, **options):
        return execute(self.command(*args), **options)

    def ps(self):
        """What `causeway ps --json` says of this machine."""
        got = execute([CAUSEWAY, "ps", "--name", self.name, "--json"])
        if got.status != 0:
            raise AssertionError(str(got))
        return json.loads(got.out)

    def memory(self, answer=None):
        """Bytes of the machine's own memory, and of what is used of the memory that it shares with programs. `answer` is
        an earlier one of ps(): to list all objects takes memory, too."""
        answer = answer or self.ps()
        with open(f"/proc/{answer['pid']}/status", encoding="ascii") as status:
            own = next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(os.path.join(answer["folder"], "control.sock"))
            control.sendall(b'{"op": "stats"}\n')
            text = b"".join(iter(lambda: control.recv(65536), b""))
        return own, sum(memory["resident_bytes"] for memory in json.loads(text)["memories"])

    def holdings(self):
        """Everything `causeway ps` says that is not so on an idle machine: programs, files, and each count of an
        accelerator or NIC that is not nought."""
        answer = self.ps()
        held = [(key, entry) for key in ("programs", "files") for entry in answer[key]]
        for device in answer["accelerators"] + answer["nics"]:
            for key in HELD:
                if device.get(key):
                    held.append((device["name"], key, device[key]))
        return held

    def pair(self, server, client, port, deadline=None):
        """Runs a server, then, once it listens on the TCP port, a client. Returns both results."""
        first = Running(self.command(*server))
        try:
            wait_until(f"{server[0]} listens on {port}",
                       lambda: listening(port) or first.process.poll() is not None)
            if first.process.poll() is not None:
                raise AssertionError("the server ended: " + str(first.result()))
            got_client = execute(self.command(*client), deadline=deadline)
            if got_client.status != 0:
                first.kill(signal.SIGTERM)
            return first.result(deadline), got_client
        finally:
            first.kill()


class TestCase(unittest.TestCase):
    """One machine per class, up for all its tests."""

    machine = None

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine().__enter__()

    @classmethod
    def tearDownClass(cls):
        if cls.machine is not None:
            got = cls.machine.down()
            if got.status != 0:
                raise AssertionError("the machine did not live to the end of its tests: " + str(got))

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="cwf-")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def run_ok(self, *args, **options):
        got = self.machine.run(*args, **options)
        self.assertEqual(got.status, 0, str(got))
        return got

    def pair_ok(self, server, client, port, **options):
        results = self.machine.pair(server, client, port, **options)
        for got in results:
            self.assertEqual(got.status, 0, str(got))
        return results


def sanitizer_reports():
    """The texts of the sanitizers' reports so far."""
    texts = []
    for name in sorted(os.listdir(_reports)):
        with open(os.path.join(_reports, name), encoding="utf-8", errors="replace") as file:
            texts.append(f"{name}:\n{file.read()}")
    return texts


def main():
    """unittest.main(), with exit status 77 when every test was skipped: ctest then says so. No test at all is a failure."""
    result = unittest.main(exit=False, verbosity=2).result
    reports = sanitizer_reports()
    for folder in (_runtime, _reports):
        shutil.rmtree(folder, ignore_errors=True)
    for text in reports:
        print(text, file=sys.stderr)
    if reports:
        print(f"FAILED: {len(reports)} processes with a sanitizer's report", file=sys.stderr)
    if reports or not result.wasSuccessful():
        sys.exit(1)
    # Those of a class that is skipped as a whole have not run.
    skipped_one_by_one = [test for test, _ in result.skipped if isinstance(test, unittest.TestCase)]
    if result.testsRun > len(skipped_one_by_one):
        sys.exit(0)
    if not result.skipped:
        print("FAILED: there was no test", file=sys.stderr)
    sys.exit(SKIPPED if result.skipped else 1)
