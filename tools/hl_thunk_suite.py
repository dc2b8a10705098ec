#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs hl-thunk's own test programs, which a user has built, on a Gaudi and a Gaudi2 of Causeway, one test at a time,
and writes what became of each as the tables of docs/hl-thunk.md.

usage: tools/hl_thunk_suite.py --suite FOLDER [--causeway COMMAND] [--device gaudi|gaudi2]... [--program NAME]...
                               [--timeout SECONDS] [--config INI] [--output FILE] [--disabled]
  --suite     the folder of the programs (open_close, memory, ...), built with -DUNIT_TESTING=ON
  --disabled  also the tests that the suite leaves out without -d
  --config    an ini file for the tests that want -c

A test has passed, was skipped (by the suite itself), has failed, or had no end within --timeout. Programs are never
changed, and nothing here is told to Causeway: a difference between two runs is the machine description only.
"""

import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

# Every program of the suite but those of Goya, an ASIC that Causeway does not have.
PROGRAMS = ("open_close", "control_device", "memory", "command_buffer", "command_submission", "sync_manager", "dma",
            "dma_sram", "dma_dram", "dma_perf", "gaudi_dma", "gaudi2_dma", "debug", "debugfs", "root_debug",
            "gaudi_root", "gaudi_root_debug", "cpucp", "profiling", "error_injection", "gaudi_mme_conv")
# Tests that loop until they are stopped.
ENDLESS = {"test_print_hw_idle_info_no_stop", "test_print_hw_utilization_info_no_stop", "test_print_utilization_no_stop"}
# Why a test cannot pass here, or does not on real hardware either. By name; the device may be part of the key.
REASONS = {
    "test_mme_basic_conv": "computes on the MME, which is not modelled",
    "test_encaps_signal_collective_wait": "wants NIC ports of the accelerator; the in-kernel driver answers EINVAL, too",
    "test_error_injection_endless_command": "asserts a reset kind that Gaudi does not have; fails on the real driver",
    "hbm_read_temperature": "reads registers of the HBM controller, which is not modelled",
    "hbm_read_interrupts": "reads registers of the HBM controller, which is not modelled",
}
MACHINE = """\
[[host_bridge]]
name = "pc0"
id = "8086:2020"
[[root_port]]
name = "rp0"
on = "pc0"
[[accelerator]]
name = "gaudi0"
type = "{device}"
at = "rp0"
"""
RESULT = re.compile(r"^\[\s*(OK|FAILED|SKIPPED|ERROR)\s*\] (\S+)", re.M)
WORDS = {"OK": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped"}


class Machine:
    """A machine of its own for one device; down and up again after a test that hung."""

    def __init__(self, causeway, device, folder):
        self.causeway, self.name = causeway, f"hlthunk-{device}-{os.getpid()}"
        self.description = os.path.join(folder, device + ".toml")
        with open(self.description, "w", encoding="utf-8") as file:
            file.write(MACHINE.format(device=device))

    def up(self):
        subprocess.run([self.causeway, "up", "--name", self.name, "--config", self.description], check=True,
                       stdout=subprocess.DEVNULL)

    def down(self):
        subprocess.run([self.causeway, "down", "--name", self.name], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def run(self, args, timeout):
        """(status, output), status None when it had to be killed."""
        with subprocess.Popen([self.causeway, "run", "--name", self.name, "--", *args], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              start_new_session=True, env={**os.environ, "HABANA_SHIM_DISABLE": "1"}) as process:
            try:
                output = process.communicate(timeout=timeout)[0]
                return process.returncode, output
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return None, process.communicate()[0]


def tests_of(path):
    listed = subprocess.run([path, "-l"], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return [line.strip() for line in listed.stdout.splitlines()
            if re.fullmatch(r"[A-Za-z_]\w*", line.strip()) and not line.startswith("List")]


def run_test(machine, path, name, options):
    if name in ENDLESS:
        return "not run", "never ends by itself"
    args = [path, "-s", name]
    if options.disabled:
        args.append("-d")
    if options.config:
        args += ["-c", options.config]
    status, output = machine.run(args, options.timeout)
    found = [word for word, test in RESULT.findall(output) if test == name]
    reason = next((text for key, text in REASONS.items() if key == name), "")
    if status is None:
        machine.down()
        machine.up()
        return "no end", reason or f"not within {options.timeout} s"
    if not found:
        return "not run", "the program ended before it" if output.strip() else "the program does nothing on this device"
    result = WORDS[found[-1]]
    if result == "failed" and not reason:
        errors = [line.strip() for line in output.splitlines() if "!=" in line or "ailed" in line]
        reason = errors[0][:80].replace("|", "\\|") if errors else ""
    return result, "" if result == "passed" else reason


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--causeway", default=shutil.which("causeway") or "causeway")
    parser.add_argument("--device", action="append", choices=("gaudi", "gaudi2"))
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--config")
    parser.add_argument("--output")
    parser.add_argument("--disabled", action="store_true")
    options = parser.parse_args()
    devices = options.device or ["gaudi", "gaudi2"]
    table = collections.defaultdict(dict)  # (program, test) -> device -> (result, reason)
    with tempfile.TemporaryDirectory(prefix="hlthunk-") as folder:
        for device in devices:
            machine = Machine(options.causeway, device, folder)
            machine.up()
            try:
                for program in options.program or PROGRAMS:
                    path = os.path.join(options.suite, program)
                    if not os.access(path, os.X_OK):
                        print(f"{program}: not in {options.suite}", file=sys.stderr)
                        continue
                    for name in tests_of(path):
                        table[program, name][device] = run_test(machine, path, name, options)
                        print(device, program, name, *table[program, name][device], file=sys.stderr, flush=True)
            finally:
                machine.down()

    lines = []
    for device in devices:
        count = collections.Counter(row[device][0] for row in table.values() if device in row)
        lines.append(f"{device}: " + ", ".join(f"{n} {result}" for result, n in sorted(count.items())) + "  ")
    lines += ["", "| program | test | " + " | ".join(devices) + " | why |", "| --- " * (3 + len(devices)) + "|"]
    for (program, name), row in table.items():
        reasons = dict.fromkeys(row[device][1] for device in devices if device in row and row[device][1])
        cells = [program, name, *(row[device][0] if device in row else "-" for device in devices), "; ".join(reasons)]
        lines.append("| " + " | ".join(cells).rstrip() + " |")
    text = "\n".join(lines) + "\n"
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
