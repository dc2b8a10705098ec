# SPDX-License-Identifier: Apache-2.0
"""`causeway run` itself: exit status, signals, refusals; and ordinary programs, which must not notice it."""

import os
import shutil
import signal
import stat
import unittest

import harness


class ExitStatus(harness.TestCase):
    def test_status_is_the_programs(self):
        for status in (0, 1, 42, 255):
            with self.subTest(status=status):
                self.assertEqual(self.machine.run("bash", "-c", f"exit {status}").status, status)

    def test_a_signal_is_128_and_its_number(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            with self.subTest(signal=number):
                self.assertEqual(self.machine.run("bash", "-c", f"kill -{int(number)} $$").status, 128 + number)

    def test_program_not_found(self):
        got = self.machine.run("no-such-program-here")
        self.assertEqual(got.status, 127, str(got))
        self.assertIn("no-such-program-here", got.err)

    def test_program_not_executable(self):
        path = os.path.join(self.folder, "text")
        with open(path, "w") as file:
            file.write("no program\n")
        got = self.machine.run(path)
        self.assertEqual(got.status, 126, str(got))

    def test_output_and_input_pass_through(self):
        got = self.run_ok("bash", "-c", "cat; echo err >&2", input="three\nlines\nhere\n")
        self.assertEqual(got.out, "three\nlines\nhere\n")
        self.assertEqual(got.err, "err\n")

    def test_arguments_pass_unchanged(self):
        words = ["", " ", "--help", "-n", "a b", "$HOME", "*", "\n", "é"]
        got = self.run_ok("python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *words)
        self.assertEqual(got.out.strip(), ascii(words))

    def test_scripts_and_shells(self):
        path = os.path.join(self.folder, "script")
        with open(path, "w") as file:
            file.write("#!/bin/sh\nls /sys/class/infiniband\n")
        os.chmod(path, 0o755)
        self.assertEqual(self.run_ok(path).out.split(), ["rxe0", "rxe1"])

    def test_a_private_machine_for_one_run(self):
        got = harness.execute([harness.CAUSEWAY, "run", "--", "ls", "/sys/class/infiniband"])
        self.assertEqual((got.status, got.out.split()), (0, ["rxe0", "rxe1"]), str(got))
        got = harness.execute([harness.CAUSEWAY, "run", "--", "bash", "-c", "exit 7"])
        self.assertEqual(got.status, 7, str(got))

    def test_run_inside_run_is_the_same_machine(self):
        got = self.run_ok(harness.CAUSEWAY, "run", "--", "bash", "-c", "echo $CAUSEWAY_MACHINE")
        self.assertTrue(got.out.strip().endswith(self.machine.name), str(got))

    def test_two_machines_at_once(self):
        with harness.Machine() as other:
            self.run_ok(harness.P2P, "--bytes", "64K", "--passes", "1")
            self.assertEqual(other.run(harness.P2P, "--bytes", "64K", "--passes", "1").status, 0)

    def test_two_machines_do_not_reach_each_other(self):
        """Their addresses are the same, so a request stays on the machine where it was posted, where no QP has that
        number: it is not answered."""
        with harness.Machine() as other:
            port = harness.free_port()
            perftest = [harness.need("ib_write_bw"), "-d", "rxe0", "-p", str(port), "-F", "-n", "100"]
            server = harness.Running(self.machine.command(*perftest))
            self.addCleanup(server.discard)
            harness.wait_until("the server listens", lambda: harness.listening(port))
            got = other.run(*perftest, "127.0.0.1")
            self.assertIn("Failed status 12", got.out + got.err, str(got))  # IB_WC_RETRY_EXC_ERR


class Signals(harness.TestCase):
    def start(self, *command):
        running = harness.Running(self.machine.command(*command))
        self.addCleanup(running.discard)
        self.assertEqual(running.process.stdout.readline(), "ready\n")
        return running

    def test_signals_reach_the_program(self):
        script = ("import signal, sys\n"
                  "def got(number, frame): print('got', number); sys.exit(9)\n"
                  "for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1): signal.signal(n, got)\n"
                  "print('ready', flush=True)\n"
                  "while True: signal.pause()\n")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            with self.subTest(signal=number):
                running = self.start("python3", "-c", script)
                os.kill(running.process.pid, number)
                got = running.result()
                self.assertEqual((got.status, got.out.strip()), (9, f"got {int(number)}"), str(got))

    def test_an_untrapped_signal_ends_both(self):
        running = self.start("bash", "-c", "echo ready; exec sleep 60")
        running.process.terminate()
        self.assertEqual(running.result().status, 128 + signal.SIGTERM)

    def test_killing_run_ends_a_private_machine(self):
        running = harness.Running([harness.CAUSEWAY, "run", "--", "bash", "-c",
                                   "echo $CAUSEWAY_MACHINE; echo ready; exec sleep 60"])
        self.addCleanup(running.discard)
        folder = running.process.stdout.readline().strip()
        running.process.stdout.readline()
        with open(os.path.join(folder, "pid")) as file:
            machine = int(file.read())
        running.process.kill()
        running.kill()
        harness.wait_until("the machine is gone", lambda: not os.path.exists(f"/proc/{machine}"))


class Refusals(harness.TestCase):
    def test_static_program(self):
        got = self.machine.run(harness.program("static_true"))
        self.assertEqual(got.status, 126, str(got))
        self.assertIn("static", got.err)

    def test_setuid_program(self):
        path = os.path.join(self.folder, "true")
        shutil.copy(shutil.which("true"), path)
        os.chmod(path, 0o755 | stat.S_ISUID)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            os.chmod(path, 0o755 | stat.S_ISUID)
        elif os.stat(path).st_uid == os.geteuid():
            self.skipTest("needs root to make a program of another user")
        got = self.machine.run(path)
        self.assertEqual(got.status, 126, str(got))
        self.assertIn("setuid", got.err.replace("set-user-ID", "setuid"))

    def test_broken_elf(self):
        path = os.path.join(self.folder, "broken")
        with open(path, "wb") as file:
            file.write(b"\177ELF" + bytes(60))
        os.chmod(path, 0o755)
        self.assertEqual(self.machine.run(path).status, 126)

    def test_machine_that_is_not_up(self):
        got = harness.execute([harness.CAUSEWAY, "run", "--name", "nobody", "--", "true"])
        self.assertEqual(got.status, 1, str(got))
        self.assertIn("nobody", got.err)


class OrdinaryPrograms(harness.TestCase):
    def same(self, *command, **options):
        """The same output and status with and without `run`."""
        want = harness.execute(list(command), cwd=self.folder, **options)
        got = self.machine.run(*command, cwd=self.folder, **options)
        self.assertEqual((got.status, got.out, got.err), (want.status, want.out, want.err))
        return got

    def test_git(self):
        harness.need("git")
        self.run_ok("bash", "-ec", "git init -q .; git config user.email a@b; git config user.name n; "
                    "for i in $(seq 20); do echo $i > f$i; done; git add .; git commit -qm one; git gc -q; "
                    "git log --oneline | wc -l; git status --short", cwd=self.folder)
        self.same("git", "log", "--format=%s")
        self.same("git", "ls-files")

    def test_python(self):
        self.same("python3", "-c",
                  "import os, subprocess, tempfile, threading, select, mmap, socket\n"
                  "with tempfile.TemporaryFile() as f:\n"
                  "    f.write(b'x' * 8192); f.flush(); m = mmap.mmap(f.fileno(), 0); print(m[:4], len(m)); m.close()\n"
                  "a, b = socket.socketpair(); a.send(b'hi'); print(select.select([b], [], [], 1)[0] == [b], b.recv(9))\n"
                  "ts = [threading.Thread(target=os.listdir, args=('/dev',)) for _ in range(8)]\n"
                  "[t.start() for t in ts]; [t.join() for t in ts]\n"
                  "print(subprocess.run(['echo', 'child'], capture_output=True, close_fds=True).stdout)\n"
                  "print(subprocess.run('exit 3', shell=True).returncode, os.path.exists('/dev/null'))\n"
                  "p = os.posix_spawn('/bin/true', ['true'], os.environ); print(os.waitpid(p, 0)[1])\n")

    def test_shell_jobs_and_pipes(self):
        self.same("bash", "-c", "sleep 0 & wait $!; echo $?; seq 1000 | sort -rn | head -3; (echo a; echo b >&2) 2>&1; "
                  "diff <(echo 1) <(echo 2); for i in 1 2 3; do (exit $i) & done; wait; cat <<< here; set -m; true & wait; "
                  "printf '%s\\n' /proc/self/fd/0 | wc -l")

    def test_files(self):
        self.same("bash", "-ec", "mkdir -p a/b; for i in $(seq 50); do echo $i > a/b/$i; done; tar cf t.tar a; "
                  "tar tf t.tar | wc -l; find a -type f | sort | md5sum; cp -r a c; diff -r a c; ln -s a/b link; "
                  "readlink -f link | xargs basename; stat -c %s t.tar; du -a a | wc -l; rm -rf a c link t.tar; ls")

    def test_compiler(self):
        compiler = harness.need("cc")
        source = os.path.join(self.folder, "hello.c")
        with open(source, "w") as file:
            file.write('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
        self.run_ok(compiler, "-O1", "-o", os.path.join(self.folder, "hello"), source)
        self.assertEqual(self.run_ok(os.path.join(self.folder, "hello")).out, "hello\n")

    def test_make(self):
        harness.need("make")
        with open(os.path.join(self.folder, "Makefile"), "w") as file:
            file.write("all: 1 2 3 4 5 6 7 8\n%:\n\t@echo $@ > out$@\n")
        self.same("make", "-s", "-j4")
        self.same("bash", "-c", "ls; cat out*")

    def test_dev_and_sys_of_the_host(self):
        self.same("bash", "-c", "ls -l /dev/null /dev/zero; cat /sys/kernel/mm/transparent_hugepage/enabled; "
                  "head -c 4 /dev/zero | od -c; cat /proc/sys/kernel/ostype; stat -c %n /dev/fd /dev/stdin")

    def test_errors_are_the_kernels(self):
        self.same("python3", "-c",
                  "import os, errno\n"
                  "for f in (lambda: open('/dev/nothing'), lambda: open('/sys/class/nothing/x'),\n"
                  "          lambda: os.mkdir('/sys/class/x'), lambda: os.read(999, 1), lambda: os.dup(999),\n"
                  "          lambda: os.listdir('/dev/null'), lambda: os.readlink('/dev/null'),\n"
                  "          lambda: os.open('', 0), lambda: os.stat('/dev/null/x'), lambda: os.rename('/nope', '/n')):\n"
                  "    try: f(); print('none')\n"
                  "    except OSError as e: print(errno.errorcode[e.errno])\n")

    def test_environment(self):
        got = self.run_ok("env")
        ours = [line.split("=")[0] for line in got.out.splitlines()]
        self.assertIn("LD_PRELOAD", ours)
        self.assertIn("CAUSEWAY_MACHINE", ours)

    # memcheck's leak check, at the end of a program and of each child it forks, looks for pointers in all that it takes for
    # the program's; looking at the machine's memory would make gibibytes of it.
    def test_valgrinds_leak_check_does_not_look_at_the_machines_memory(self):
        valgrind = harness.need("valgrind")
        for program in (["ibv_devinfo"], ["sh", "-c", "(: </dev/infiniband/uverbs0; ls /dev/infiniband); ls /dev/accel"]):
            harness.need(program[0])
            before = self.machine.memory()[1]
            got = self.run_ok(valgrind, "--error-exitcode=9", *program, deadline=2 * harness.DEADLINE)
            self.assertIn("LEAK SUMMARY", got.err)
            self.assertLess(self.machine.memory()[1] - before, 64 << 20, str(got))

    def test_strace_shows_no_call_more_in_a_read_loop(self):
        strace = harness.need("strace")
        script = ("import os\nfd = os.open('/dev/zero', 0)\nfor _ in range(1000): os.read(fd, 1)\n")
        counts = []
        for run in (False, True):
            command = [strace, "-f", "-c", "-e", "trace=read", "python3", "-c", script]
            got = self.machine.run(*command) if run else harness.execute(command)
            if got.status != 0:
                self.skipTest("ptrace is not permitted here")
            row = [line.split() for line in got.err.splitlines() if line.endswith(" read")][0]
            counts.append(int(row[3]))
        self.assertLess(abs(counts[1] - counts[0]), 200, counts)


class Up(unittest.TestCase):
    def test_env_serves_a_shell(self):
        with harness.Machine() as machine:
            got = harness.execute(["bash", "-c", f'eval "$({harness.CAUSEWAY} env --name {machine.name})"; '
                                                 "ls /sys/class/infiniband"])
            self.assertEqual((got.status, got.out.split()), (0, ["rxe0", "rxe1"]), str(got))

    def test_down_ends_it_and_a_second_up_of_the_name_works(self):
        with harness.Machine() as machine:
            second = harness.execute([harness.CAUSEWAY, "up", "--name", machine.name])
            self.assertNotEqual(second.status, 0, "two machines of one name")
            self.assertEqual(machine.down().status, 0)
            self.assertEqual(harness.execute([harness.CAUSEWAY, "up", "--name", machine.name]).status, 0)

    def test_help_and_version(self):
        for args in (["--help"], ["--version"], ["run", "--help"], ["up", "--help"], ["ps", "--help"]):
            got = harness.execute([harness.CAUSEWAY, *args])
            self.assertEqual(got.status, 0, str(got))
            self.assertTrue(got.out)
        got = harness.execute([harness.CAUSEWAY, "nonsense"])
        self.assertEqual(got.status, 2, str(got))


if __name__ == "__main__":
    harness.main()
