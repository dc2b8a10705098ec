#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs hl-thunk's own test programs, which a user has built, on a Gaudi and a Gaudi2 of Causeway, one test at a time,
and writes what became of each as the tables of docs/hl-thunk.md.

usage: tools/hl_thunk_suite.py --suite FOLDER [--causeway COMMAND] [--device gaudi|gaudi2]... [--program NAME]...
                               [--test NAME]... [--timeout SECONDS] [--config INI] [--enabled-only]
                               [--results JSON] [--page MARKDOWN]
  --suite         the folder of the programs (open_close, memory, ...), built with -DUNIT_TESTING=ON
  --enabled-only  not the tests that the suite leaves out without -d
  --config        an ini file for the tests that want -c, instead of the one that is written for the device
  --results       what is known already, by test; what is run now is put in, test by test
  --page          the page whose table is written anew from the results

A test has passed, was skipped (by the suite itself), has failed, is endless (it ran until it was stopped, as it is made
to), or had no end within --timeout. Programs are never changed, and nothing here is told to Causeway: a difference
between two runs is the machine description only.
"""

import argparse
import collections
import json
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
# Tests that loop until they are stopped, and how long they are watched.
ENDLESS = {"test_print_dram_usage_info_no_stop", "test_print_device_utilization_no_stop", "test_endless_memory_ioctl"}
ENDLESS_SECONDS = 5
# Tests that do a great deal: half a million submissions, 2 TB of transfers. Times --timeout.
LONG = {"test_and_measure_wait_after_submit_cs_nop": 10, "test_and_measure_wait_after_64_submit_cs_nop": 5,
        "test_and_measure_wait_after_256_submit_cs_nop": 5, "test_wait_for_cs_with_timestamp_status_gone": 3,
        "test_signal_wait_parallel": 10, "test_signal_wait": 5, "test_loop_map_work_unmap": 20}
# Tests that wait for a submission's time-out, which is 600 s on a Gaudi. They are given 3 by debugfs: the suite waits 5
# at a time, and asks a device in a reset when its wait ends together with the time-out.
TIME_OUT = {"test_tdr_deadlock", "test_map_custom", "test_transfer_bigger_than_alloc", "test_page_miss",
            "test_submit_after_unmap"}
# Looks for the reset 5 s after it halted the processor. The driver finds that out with its next heartbeat, every 10 s
# from the device's start: in the second half of that period.
HEARTBEAT = {"test_error_injection_heartbeat"}
# Programs whose tests leave the device in a reset.
RESETTING = {"debug", "error_injection"}
# Why a test cannot pass here, or does not on real hardware either; some with the device.
REASONS = {
    "test_mme_basic_conv": "computes on the MME, which is not modelled",
    "test_encaps_signal_collective_wait": "wants NIC ports of the accelerator; the in-kernel driver answers EINVAL, too",
    "test_error_injection_endless_command": "asserts a reset kind that Gaudi does not have; fails on the real driver",
    "test_hbm_read_temperature": "polls a register of the HBM controller, which is not modelled",
    "test_cpucp_eq_stress": "wants the device in /sys/class/accel and its max_power in /sys/class/habanalabs: no kernel "
                            "has both",
    "test_dma_all2all_super_stress gaudi": "fills 31.5 GiB of device memory, which the host had not",
    "test_loop_map_work_unmap": "2 TB of transfers: too long for a machine that is shared",
    "test_debugfs_dmmu_low_addresses gaudi": "wants a handle that is not 0; those of Gaudi's driver are, on hardware too",
    "test_debugfs_dmmu_high_addresses gaudi": "as dmmu_low_addresses",
    "test_wait_for_interrupt_multi_thread": "12,500 threads wait in calls at once: on two processors their waits end by time-out",
    "test_hint_addresses gaudi": "wants a handle that is not 0; those of Gaudi's driver are, on hardware too",
    "test_page_miss": "transfers from an address that is not mapped, and wants the submission to complete",
    "test_submit_after_unmap gaudi": "as page_miss; on a Gaudi2 its next command buffer has the address",
    "test_transfer_bigger_than_alloc gaudi": "as page_miss",
}
# What the suite itself does wrong, by its output.
SUITE_FAULT = "Segmentation fault(11)"
SUITE_FAULTS = {
    ("dma_perf", "gaudi"): "the suite calls its get_max_pkt_size, which it has not for Gaudi: a null pointer",
    ("dma_dram", "gaudi"): "the suite calls its get_max_pkt_size, which it has not for Gaudi: a null pointer",
    ("error_injection", "gaudi2"): "the suite's library has no table of functions for Gaudi2: a null pointer",
}
PROFILING = ("test_bench_host_map_nounmap_2MBx4K", "test_bench_host_map_nounmap_8GB",
             "test_bench_host_nomap_unmap_2MBx4K", "test_bench_host_nomap_unmap_8GB",
             "test_bench_host_map_nounmap_rand_2MBx4K", "test_bench_host_map_nounmap_huge_rand_2MBx4K")
# The suite's own hlthunk_tests.ini with addresses that the device has, sizes for a machine of 16 GB, and times that
# say nothing.
CONFIG = """\
[dma_custom_test]
dma_dir = 0
dst_addr = {dram}
size = 0x10000000
chunk_size = 0x4000000
sequential = false
read_cnt = 1
write_cnt = 1
stop_on_err = true
zero_before_write = false
write_to_read_delay_ms = 0
[map_custom_test]
dram_size = 0x1000
dram_num_of_alloc = 1
host_size = 0x1000
host_num_of_alloc = 1
create_tdr = true
[dma_entire_dram_test]
dma_size = 0x10000
zone_size = 0x4000000
[register_security_cfg]
reg_addr = {register}
value = 0x12345678
use_wreg = false
qid = 0
[dma_super_stress]
mode = random
num_of_iterations = 1
[read_through_pci_test]
start_addr = 0x7FFC980000
end_addr = 0x7FFCC00000
jump = 0x1000
print_delta = 0x100000
[dma_perf]
host_dma_size = 0x10000
[lbw_scan_test]
ranges_num = 1
range_start = {scan}
range_end = {scan_end}
data64 = false
write_then_read = false
print_freq = 0xFFFF
value = 0xDD
reg_offset = 0x8000
[hint_addresses_test]
range_type = host
size = 1024
hints_num = 2
va_hint = {host_hint}
va_hint = {host_hint2}
range_type = dram
size = 1024
hints_num = 2
va_hint = {dram_hint}
va_hint = {dram_hint2}
[bench_mappings_custom]
n_allocs = 0x100
alloc_size = 0x200000
huge = false
n_maps = 0x100
n_unmaps = 0
random = false
n_iter = 2
[scan_with_sm]
start_addr = {sm}
end_addr = {sm_end}
sequential = false
value = 0
"""
LBW_SCAN = ".lbw_scan"
ADDRESSES = {
    "gaudi": {"dram": 0x20000000, "register": 0x7FFC0DFF60, "scan": 0x7FFC490000, "scan_end": 0x7FFC4A0000,
              "host_hint": 0x1000000800000, "host_hint2": 0x1000000810000, "dram_hint": 0x2000000000000,
              "dram_hint2": 0x2000002000000, "sm": 0x7FFC520014, "sm_end": 0x7FFC520020},
    # DRAM is mapped in pages of 768 MiB, whose addresses are multiples of that from the start of the range.
    "gaudi2": {"dram": 0x1001000030000000, "register": 0x1000007FFC0DFF60, "scan": 0x1000007FF8000000,
               "scan_end": 0x1000007FF8200000, "host_hint": 0xFFF0000200210000, "host_hint2": 0xFFF0000200220000,
               "dram_hint": 0x1001001800000000 + 768 * 64 * (1 << 20), "dram_hint2":
               0x1001001800000000 + 768 * 66 * (1 << 20), "sm": 0x1000007FFC520014, "sm_end": 0x1000007FFC520020},
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
BEGIN, END = "<!-- written by tools/hl_thunk_suite.py -->", "<!-- end -->"
DEVICES = ("gaudi", "gaudi2")
WORDS = {"OK": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped"}


def config_for(device, folder):
    """An ini file with every section that some test reads, and beside it one for lbw_scan, which wants no others."""
    text = CONFIG.format(**{key: hex(value) for key, value in ADDRESSES[device].items()})
    for name in PROFILING:
        text += f"[{device}_{name}_exp_timing]\ntiming_min = 1\ntiming_max = {10**18}\n"
    path = os.path.join(folder, device + ".ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    with open(path + LBW_SCAN, "w", encoding="utf-8") as file:
        file.write(re.search(r"\[lbw_scan_test\][^[]*", text)[0])
    return path


class Machine:
    """A machine of its own for one device; anew for each program, and after a test that did not pass."""

    def __init__(self, causeway, device, folder):
        self.causeway, self.device, self.name = causeway, device, f"hlthunk-{device}-{os.getpid()}"
        self.description = os.path.join(folder, device + ".toml")
        self.bus_id, self.time_out = "", ""
        with open(self.description, "w", encoding="utf-8") as file:
            file.write(MACHINE.format(device=device))

    def up(self):
        subprocess.run([self.causeway, "up", "--name", self.name, "--config", self.description], check=True,
                       stdout=subprocess.DEVNULL)
        text = subprocess.run([self.causeway, "ps", "--name", self.name, "--json"], check=True, capture_output=True)
        self.bus_id = json.loads(text.stdout)["accelerators"][0]["at"]
        found = self.run(["sh", "-c", "ls /sys/kernel/debug/*/*/timeout_locked"], 60)[1].split()
        self.time_out = found[0] if found and found[0].startswith("/") else ""

    def down(self):
        subprocess.run([self.causeway, "down", "--name", self.name], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def renew(self):
        self.down()
        self.up()

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


def command_of(machine, path, name, options, config):
    args = [path, "-s", name]
    if not options.enabled_only:
        own = config + LBW_SCAN if name == "test_lbw_scan" else config
        args += ["-d", "-c", own if os.path.exists(own) else config]
    if name == "test_open_by_busid":
        args += ["-p", machine.bus_id]
    if name in TIME_OUT and machine.time_out:
        args = ["sh", "-c", 'echo 3 > "$0" && exec "$@"', machine.time_out, *args]
    if name in HEARTBEAT:
        args = ["sh", "-c", 'sleep 6 && exec "$@"', "sh", *args]
    return args


def run_test(machine, path, name, options, config):
    if os.path.basename(path).split("_")[0] in set(DEVICES) - {machine.device}:
        return "not run", "of the other device"
    endless = name in ENDLESS
    timeout = ENDLESS_SECONDS if endless else options.timeout * LONG.get(name, 1)
    status, output = machine.run(command_of(machine, path, name, options, config), timeout)
    found = [word for word, test in RESULT.findall(output) if test == name]
    reason = REASONS.get(name, "") or REASONS.get(f"{name} {machine.device}", "")
    program = os.path.basename(path)
    if status is None and endless and not found:
        return "endless", "loops until it is stopped"
    if status is None:
        return "no end", reason or f"not within {timeout:.0f} s"
    if not found:
        return "not run", reason or ("the program ended before it" if output.strip() else "nothing for this device")
    result = WORDS[found[-1]]
    if result == "failed" and SUITE_FAULT in output and (program, machine.device) in SUITE_FAULTS:
        reason = SUITE_FAULTS[program, machine.device]
    if result == "failed" and not reason:
        errors = [line.strip() for line in output.splitlines() if "!=" in line or "ailed" in line]
        reason = errors[0][:80].replace("|", "\\|") if errors else ""
    if result == "skipped" and not reason:
        said = [line.strip() for line in output.splitlines() if line.strip() and "skip" in line.lower() and line[0] not in "[0123456789"]
        reason = said[0][:80].replace("|", "\\|") if said else ""
    return result, "" if result == "passed" else reason


def table_of(results):
    """The page's part: what the counts are, and a row per test. A program's tests that all passed on both are one."""
    lines = []
    for device in DEVICES:
        count = collections.Counter(row[device][0] for row in results.values() if device in row)
        lines.append(f"{device}: " + ", ".join(f"{n} {result}" for result, n in sorted(count.items())) + "  ")
    lines += ["", "| program | test | " + " | ".join(DEVICES) + " | why |", "| --- " * (3 + len(DEVICES)) + "|"]
    for key, row in results.items():
        program, name = key.split("/")
        reasons = dict.fromkeys(row[device][1] for device in DEVICES if device in row and row[device][1])
        cells = [program, name, *(row[device][0] if device in row else "-" for device in DEVICES), "; ".join(reasons)]
        lines.append("| " + " | ".join(cells).rstrip() + " |")
    return "\n".join(lines) + "\n"


def write_page(path, table):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(head + BEGIN + "\n" + table + END + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite")
    parser.add_argument("--causeway", default=shutil.which("causeway") or "causeway")
    parser.add_argument("--device", action="append", choices=DEVICES)
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--test", action="append")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--config")
    parser.add_argument("--enabled-only", action="store_true")
    parser.add_argument("--results")
    parser.add_argument("--page")
    options = parser.parse_args()
    results = {}  # "program/test" -> device -> (result, reason)
    if options.results and os.path.exists(options.results):
        with open(options.results, encoding="utf-8") as file:
            results = json.load(file)
    with tempfile.TemporaryDirectory(prefix="hlthunk-") as folder:
        for device in (options.device or DEVICES) if options.suite else ():
            config = options.config or config_for(device, folder)
            machine = Machine(options.causeway, device, folder)
            for program in options.program or PROGRAMS:
                path = os.path.join(options.suite, program)
                if not os.access(path, os.X_OK):
                    print(f"{program}: not in {options.suite}", file=sys.stderr)
                    continue
                machine.renew()
                for name in tests_of(path):
                    if options.test and name not in options.test:
                        continue
                    result = run_test(machine, path, name, options, config)
                    results.setdefault(f"{program}/{name}", {})[device] = result
                    print(device, program, name, *result, file=sys.stderr, flush=True)
                    if result[0] not in ("passed", "skipped") or program in RESETTING:
                        machine.renew()
                    if options.results:
                        with open(options.results, "w", encoding="utf-8") as file:
                            json.dump(results, file, indent=1)
            machine.down()

    order = {name: index for index, name in enumerate(PROGRAMS)}
    results = dict(sorted(results.items(), key=lambda entry: order[entry[0].split("/")[0]]))
    if options.page:
        write_page(options.page, table_of(results))
    else:
        print(table_of(results), end="")


if __name__ == "__main__":
    main()
