# SPDX-License-Identifier: Apache-2.0
"""The causeway command as shells and scripts see it: exit statuses, signals, job control, machines by name, leftovers."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import harness
from harness import CAUSEWAY, execute, wait_until

BASE = os.path.join(os.environ["XDG_RUNTIME_DIR"], "causeway")


def folders():
    return sorted(name for name in os.listdir(BASE) if not name.startswith(".")) if os.path.isdir(BASE) else []


def processes_of(folder):
    """Processes that hold the lock of a machine's folder: the machine, and the command that started it."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(folder + "/lock"):
                    found.add(int(pid))
        except OSError:
            pass
    return found


def compile_c(folder, name, text, *options):
    source = os.path.join(folder, name + ".c")
    with open(source, "w", encoding="utf-8") as file:
        file.write(text)
    path = os.path.join(folder, name)
    done = subprocess.run(["cc", source, "-o", path, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise unittest.SkipTest(f"cc {' '.join(options)}: {done.stderr.strip()[:200]}")
    return path


class CliTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="cwc-")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def tearDown(self):
        self.assertEqual(folders(), [], "a machine's folder was left behind")

    def check(self, args, status, out=None, err=None, **options):
        got = execute([CAUSEWAY, *args], **options)
        self.assertEqual(got.status, status, str(got))
        if out is not None:
            self.assertRegex(got.out, out)
        if err is not None:
            self.assertRegex(got.err, err)
        return got


class Usage(CliTest):
    def test_version_and_help(self):
        self.check(["--version"], 0, r"^causeway \d+\.\d+\.\d+\n$")
        verbs = ["up", "down", "ps", "run", "env", "demo", "config", "explain", "links", "inject", "top"]
        listed = self.check(["--help"], 0).out
        for verb in verbs:
            with self.subTest(verb=verb):
                self.assertRegex(listed, rf"(?m)^  {verb} ")
                self.check([verb, "--help"], 0, "Examples:")

    def test_usage_errors_are_status_2(self):
        for args in ([], ["nosuch"], ["up", "--nosuch"], ["run"], ["run", "--"], ["down", "--all", "--name", "x"],
                     ["up", "--name", "a/b"], ["up", "--name", "run-1"], ["run", "--name", "a", "--config", "b", "true"]):
            with self.subTest(args=args):
                got = self.check(args, 2)
                self.assertNotEqual(got.err, "")

    def test_errors_name_the_verb_and_say_where_more_is_said(self):
        for args, status, words in ((["nosuch"], 2, "causeway: there is no verb 'nosuch'"),
                                    (["run"], 2, "causeway run: no program"),
                                    (["down"], 1, "causeway down: no machine"),
                                    (["inject"], 1, "causeway inject: no machine"),
                                    (["up", "--nosuch"], 2, "causeway up: .*--nosuch.*`causeway up --help`"),
                                    (["top", "--interval", "0"], 2, "causeway top: --interval: .*`causeway top --help`"),
                                    (["inject", "--engine", "x"], 2, "causeway inject: .*--engine = x"),
                                    (["demo", "--size", "abc"], 2, "causeway demo: 'abc' is no size"),
                                    (["--nosuch"], 2, "causeway: .*`causeway --help`")):
            with self.subTest(args=args):
                got = self.check(args, status, err=words)
                self.assertEqual(got.err.count("\n"), 1, got.err)

    def test_config(self):
        text = self.check(["config"], 0, r"\[\[accelerator\]\]").out
        path = os.path.join(self.folder, "machine.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.check(["config", "--check", path], 0)
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n[nosuch]\nkey = 1\n")
        self.check(["config", "--check", path], 1, err=re.escape(path) + r":\d+:\d+: .*nosuch")
        self.check(["up", "--config", path], 1, err=re.escape(path) + r":\d+:\d+: .*nosuch")
        self.check(["run", "--config", os.path.join(self.folder, "none"), "true"], 1, err="No such file")


class Run(CliTest):
    def test_exit_status_is_the_programs(self):
        for script, status in (("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)):
            with self.subTest(script=script):
                self.check(["run", "--", "sh", "-c", script], status)

    def test_options_after_the_program_are_the_programs(self):
        self.check(["run", "echo", "--name", "x", "--", "-v"], 0, r"^--name x -- -v\n$")
        self.check(["run", "--", "echo", "--", "--help"], 0, r"^-- --help\n$")

    def test_standard_streams_pass_through(self):
        self.check(["run", "--", "cat"], 0, r"^some text$", input="some text")

    def test_the_environment_is_kept_and_added_to(self):
        got = self.check(["run", "--", "env"], 0, env={"KEPT": "yes", "LD_PRELOAD": ""})
        self.assertIn("KEPT=yes\n", got.out)
        self.assertRegex(got.out, r"(?m)^CAUSEWAY_MACHINE=/")
        self.assertRegex(got.out, r"(?m)^LD_PRELOAD=/.*/libcauseway\.so$")

    def test_programs_that_do_not_run(self):
        plain = os.path.join(self.folder, "plain")
        with open(plain, "w", encoding="utf-8") as file:
            file.write("exit 5\n")
        self.check(["run", "--", plain], 126, err=re.escape(plain))
        self.check(["run", "--", self.folder], 126)
        self.check(["run", "--", "causeway-no-such-program"], 127, err="not found in PATH")
        self.check(["run", "--", "/no/such/program"], 127, err="/no/such/program")
        os.chmod(plain, 0o755)
        self.check(["run", "--", plain], 5)  # as execvp(): a file that is no program is for the shell

    def test_programs_that_cannot_be_served_are_named_with_the_reason(self):
        static = compile_c(self.folder, "static", "int main(void) { return 0; }", "-static")
        self.check(["run", "--", static], 126, err=re.escape(static) + " cannot be served: it is linked statically")
        script = os.path.join(self.folder, "script")
        with open(script, "w", encoding="utf-8") as file:
            file.write(f"#!{static}\n")
        os.chmod(script, 0o755)
        self.check(["run", "--", script], 126, err="linked statically")

    def test_a_program_under_address_sanitizer(self):
        source = "#include <stdlib.h>\nint main(void) { char* p = malloc(9); p[0] = 1; free(p); return 3; }"
        program = compile_c(self.folder, "asan", source, "-fsanitize=address")
        self.check(["run", "--", program], 3)
        self.check(["run", "--", "sh", "-c", f"{program}; exit $?"], 3)

    def test_signals_sent_to_the_command_reach_the_program(self):
        script = "trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
        for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"):
            with self.subTest(signal=name):
                process = subprocess.Popen([CAUSEWAY, "run", "--", "sh", "-c", script.format(name=name)],
                                           stdout=subprocess.PIPE, text=True, start_new_session=True)
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(getattr(signal, "SIG" + name))
                self.assertEqual(process.communicate(timeout=harness.DEADLINE)[0], "got\n")
                self.assertEqual(process.returncode, 9)

    def test_what_a_terminal_sends_reaches_the_program_once(self):
        # The terminal signals the foreground group; so does this.
        script = "trap 'echo got' INT; echo ready; read line; echo $line"
        process = subprocess.Popen([CAUSEWAY, "run", "--", "bash", "-c", script], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.stdout.readline(), "got\n")
        out = process.communicate("end\n", timeout=harness.DEADLINE)[0]
        self.assertTrue(out.endswith("end\n"), out)
        self.assertEqual(process.returncode, 0)

    def test_a_stopped_program_stops_the_command_and_goes_on_with_it(self):
        process = subprocess.Popen([CAUSEWAY, "run", "--", "sh", "-c", "kill -STOP $$; exit 4"],
                                   start_new_session=True)
        got, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(got == process.pid and os.WIFSTOPPED(status))
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(harness.DEADLINE), 4)

    def test_the_private_machine_goes_however_the_command_ends(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number):
                process = subprocess.Popen([CAUSEWAY, "run", "--", "sh", "-c", "echo $CAUSEWAY_MACHINE; exec sleep 60"],
                                           stdout=subprocess.PIPE, text=True, start_new_session=True)
                folder = process.stdout.readline().strip()
                self.assertTrue(os.path.isdir(folder))
                self.assertEqual(len(processes_of(folder)), 2)
                process.send_signal(number)
                process.wait(harness.DEADLINE)
                wait_until("the machine is gone", lambda f=folder: not processes_of(f))
                wait_until("its folder is gone", lambda f=folder: not os.path.exists(f))
                try:
                    os.killpg(process.pid, signal.SIGKILL)  # what SIGKILL left running
                except ProcessLookupError:
                    pass
                process.stdout.close()

    def test_a_machine_that_is_killed_is_reported(self):
        process = subprocess.Popen(
            [CAUSEWAY, "run", "--", "sh", "-c", "pid=$(cat $CAUSEWAY_MACHINE/pid); kill -KILL $pid; echo $pid; read line; exit 6"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        pid = process.stdout.readline().strip()
        wait_until("the command has seen it", lambda: not os.path.exists(f"/proc/{pid}"))
        _, err = process.communicate("\n", timeout=harness.DEADLINE)
        self.assertEqual(process.returncode, 6)
        self.assertIn("the machine ended before the program did (killed by signal 9", err)

    def test_descriptors_of_the_caller_are_not_kept_open_by_the_machine(self):
        reader, writer = os.pipe()
        process = subprocess.Popen([CAUSEWAY, "run", "--", "sh", "-c", f"exec {writer}>&-; echo up; exec sleep 60"],
                                   pass_fds=[writer], stdout=subprocess.PIPE, text=True, start_new_session=True)
        os.close(writer)
        self.assertEqual(process.stdout.readline(), "up\n")
        holders = [pid for pid in processes_of_pipe(reader) if pid not in (os.getpid(), process.pid)]
        self.assertEqual(holders, [])
        process.terminate()
        process.wait(harness.DEADLINE)
        process.stdout.close()
        os.close(reader)


def processes_of_pipe(reader):
    name = os.readlink(f"/proc/self/fd/{reader}")
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") == name for fd in os.listdir(f"/proc/{pid}/fd")):
                found.add(int(pid))
        except OSError:
            pass
    return found


class Machines(CliTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(execute, [CAUSEWAY, "down", "--all"])

    def tearDown(self):
        execute([CAUSEWAY, "down", "--all"])
        super().tearDown()

    def test_life_of_a_machine(self):
        self.check(["ps"], 0, "no machine is up")
        for verb in ("down", "env", "links", "explain"):
            self.check([verb], 1, err="causeway up")
        self.check(["up"], 0, "machine 'default' is up")
        self.check(["up"], 1, err="up already")
        self.check(["ps"], 0, "machine 'default'")
        self.check(["links"], 0)
        self.check(["explain"], 0)
        folder = os.path.join(BASE, "default")
        self.check(["run", "--", "sh", "-c", "echo $CAUSEWAY_MACHINE"], 0, f"^{re.escape(folder)}\n$")
        self.assertEqual(folders(), ["default"])
        self.check(["down"], 0)
        self.assertEqual(processes_of(folder), set())
        self.check(["ps"], 0, "no machine is up")

    def test_several_machines_by_name(self):
        for name in ("one", "two"):
            self.check(["up", "--name", name], 0)
        listed = json.loads(self.check(["ps", "--json"], 0).out)
        self.assertEqual([machine["machine"] for machine in listed], ["one", "two"])
        self.assertEqual(json.loads(self.check(["ps", "--name", "two", "--json"], 0).out)["machine"], "two")
        self.check(["run", "--name", "two", "--", "sh", "-c", "echo $CAUSEWAY_MACHINE"], 0, "/two\n$")
        self.check(["run", "--name", "three", "true"], 1, err="up: one, two")
        self.check(["down"], 1, err="--name: one, two")
        self.check(["down", "--name", "one"], 0)
        self.assertEqual(folders(), ["two"])
        self.check(["down", "--all"], 0)

    def test_env_puts_a_shell_on_the_machine(self):
        self.check(["up", "--name", "lab"], 0)
        script = f'eval "$({CAUSEWAY} env --name lab)"; {CAUSEWAY} run -- sh -c \'echo $CAUSEWAY_MACHINE $LD_PRELOAD\''
        got = execute(["sh", "-c", script])
        self.assertEqual(got.status, 0, str(got))
        self.assertRegex(got.out, rf"^{re.escape(BASE)}/lab /\S*libcauseway\.so\n$")
        for shell in ("--fish", "--csh"):
            self.check(["env", "--name", "lab", shell], 0, "CAUSEWAY_MACHINE")

    def test_a_verb_inside_run_means_the_machine_it_is_on(self):
        self.check(["run", "--", CAUSEWAY, "run", "--", "sh", "-c", "echo $CAUSEWAY_MACHINE"], 0, r"/run-\d+\n$")
        self.check(["run", "--", CAUSEWAY, "links"], 0, "from")

    def test_a_machine_started_inside_run_is_a_machine(self):
        self.check(["run", "--", CAUSEWAY, "up", "--name", "inner"], 0)
        self.check(["ps"], 0, "machine 'inner'")
        self.check(["down", "--name", "inner"], 0)

    def test_what_a_killed_machine_left_is_not_in_the_way(self):
        self.check(["up"], 0)
        with open(os.path.join(BASE, "default", "pid"), encoding="utf-8") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        wait_until("it is dead", lambda: not processes_of(os.path.join(BASE, "default")))
        self.check(["ps"], 0, "no machine is up")
        self.check(["up"], 0)

    def test_foreground_ends_on_interrupt(self):
        process = subprocess.Popen([CAUSEWAY, "up", "--foreground"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, start_new_session=True)
        self.assertIn("is up", process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=harness.DEADLINE)
        self.assertEqual(process.returncode, 0)


class Demo(CliTest):
    def test_json_tells_path_speed_and_check(self):
        got = self.check(["demo", "--size", "8M", "--json"], 0)
        self.assertEqual(got.err, "")
        document = json.loads(got.out)
        self.assertTrue(document["good"])
        self.assertEqual([leg["leg"] for leg in document["legs"]], ["host->HBM0", "HBM0->HBM1", "HBM1->HBM0", "HBM1->host"])
        for leg in document["legs"]:
            with self.subTest(leg=leg["leg"]):
                self.assertTrue(leg["verified"])
                self.assertEqual({link["bytes"] for link in leg["links"]}, {leg["bytes_moved"]})
                self.assertEqual(leg["host_memory_bytes"], 0 if leg["peer_to_peer"] else leg["bytes_moved"])
                self.assertGreater(leg["gib_per_s"], 0)
                self.assertGreater(leg["memcpy_gib_per_s"], 0)
        way = document["legs"][1]["way"]
        self.assertRegex(way, r"^gaudi0 > .* > rxe0 ~ rxe1 > .* > gaudi1$")
        for program in document["programs"]:
            self.assertTrue(program["good"] or program["skipped"], program)

    def test_a_file(self):
        path = os.path.join(self.folder, "data")
        with open(path, "wb") as file:
            file.write(os.urandom(1_000_003))
        got = self.check(["demo", path], 0, r"HBM0->HBM1 .*verified")
        self.assertIn("1000003" if "1000003" in got.out else "977 KiB", got.out)
        self.check(["demo", path + ".none"], 1, err="No such file")
        self.check(["demo", self.folder], 1, err="not a regular file")

    def test_interrupt_leaves_nothing(self):
        process = subprocess.Popen([CAUSEWAY, "demo", "--size", "64M"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, start_new_session=True)
        wait_until("its machine is up", lambda: any(name.startswith("run-") for name in folders()))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=harness.DEADLINE)
        self.assertEqual(process.returncode, 130)


if __name__ == "__main__":
    harness.main()
