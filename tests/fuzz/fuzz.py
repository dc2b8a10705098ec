#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets, and keeps their corpora. Started by `./dev fuzz`, which builds them.

  fuzz.py run [TARGET...] [--seconds N]   search; without a target all of them, --jobs at a time
  fuzz.py merge [TARGET...]               the smallest set of found and committed inputs that reaches what all reach
                                          becomes the committed corpus (tests/fuzz/corpus/TARGET); files called
                                          find-* stay: what was found once is tried for ever

What a search finds to be new is kept in build/fuzz/corpus/TARGET; an input that crashes, hangs or takes too much memory
in build/fuzz/finds. The exit status is 1 when there is one.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "fuzz"
MAX_INPUT = 4096  # bytes
MAX_COMMITTED = 2048  # bytes of one committed input
# Each input is to end: 20 s is far more than any takes.
LIMITS = ["-timeout=20", "-rss_limit_mb=3000", f"-max_len={MAX_INPUT}"]
# Leaks are what a target's own checks at the end of an input look for, and LeakSanitizer when the corpus is replayed
# (preset asan); here its scan after an input would take most of the time.
SEARCH = ["-detect_leaks=0", "-use_value_profile=1", "-print_final_stats=1"]


def targets():
    return sorted(path.name.removesuffix("_fuzz.cc") for path in HERE.glob("*_fuzz.cc"))


def program(target):
    return BUILD / "tests" / "fuzz" / f"fuzz_{target}"


def dictionary(target):
    path = HERE / "dictionaries" / f"{target}.dict"
    return [f"-dict={path}"] if path.exists() else []


def committed(target):
    return HERE / "corpus" / target


def search(target, seconds):
    """One line about it, and whether it found nothing."""
    kept, finds = BUILD / "corpus" / target, BUILD / "finds"
    for folder in (kept, finds, committed(target)):
        folder.mkdir(parents=True, exist_ok=True)
    log = BUILD / f"{target}.log"
    with open(log, "w", encoding="utf-8") as output, tempfile.TemporaryDirectory() as scratch:
        status = subprocess.run(
            [program(target), *LIMITS, *SEARCH, *dictionary(target), f"-max_total_time={seconds}",
             f"-artifact_prefix={finds}/{target}-", kept, committed(target)],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=scratch, check=False,
            env={**os.environ, "TMPDIR": scratch, "UBSAN_OPTIONS": "print_stacktrace=1",
                 "ASAN_SYMBOLIZER_PATH": "/usr/bin/llvm-symbolizer-16"}).returncode
    text = log.read_text(errors="replace")
    states = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text) or re.findall(r"^#(\d+)", text, re.M) or ["0"]
    edges, features, inputs = states[-1] if states else ("0", "0", "0")
    line = f"{target}: {runs[-1]} executions, {edges} edges, {features} features, {inputs} inputs"
    if status == 0:
        return line + ", nothing found", True
    return f"{line}; exit status {status}, {log}:\n{text[-6000:]}", False


def run(arguments):
    good = True
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for line, nothing in pool.map(lambda target: search(target, arguments.seconds), arguments.target):
            print(f"fuzz: {line}", flush=True)
            good = good and nothing
    return 0 if good else 1


def merge(arguments):
    for target in arguments.target:
        with tempfile.TemporaryDirectory() as scratch:
            merged = pathlib.Path(scratch) / "merged"
            merged.mkdir()
            sources = [folder for folder in (committed(target), BUILD / "corpus" / target) if folder.exists()]
            subprocess.run([program(target), *LIMITS, "-detect_leaks=0", f"-max_len={MAX_COMMITTED}",
                            "-set_cover_merge=1", "-use_counters=0", merged, *sources], check=True, stderr=subprocess.DEVNULL, cwd=scratch)
            committed(target).mkdir(parents=True, exist_ok=True)
            for path in committed(target).iterdir():
                if not path.name.startswith("find-"):
                    path.unlink()
            for path in sorted(merged.iterdir()):
                shutil.copy(path, committed(target) / path.name[:12])
        files = list(committed(target).iterdir())
        print(f"{target}: {len(files)} inputs, {sum(path.stat().st_size for path in files)} bytes")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "merge"])
    parser.add_argument("target", nargs="*", help=f"of: {', '.join(targets())}")
    parser.add_argument("--seconds", type=int, default=60, help="of each search (60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="searches at a time (one per processor)")
    arguments = parser.parse_args()
    unknown = [target for target in arguments.target if target not in targets()]
    if unknown:
        parser.error(f"no target {unknown[0]}; there are: {', '.join(targets())}")
    arguments.target = arguments.target or targets()
    return {"run": run, "merge": merge}[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
