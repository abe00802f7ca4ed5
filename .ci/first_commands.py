#!/usr/bin/env python3
"""Checks that the first commands in the README stay quick on a machine without any compiled dependency.

    python3 .ci/first_commands.py           # the demo as well, which is compiled from the beginning
    python3 .ci/first_commands.py --list    # without compiling anything
"""

import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_CRATES = 15
# A third of the time when the demo was compiled with the dependencies of all examples, tests and benchmarks.
MOST_SECONDS = 75
NOT_FOR_TESTS = {"tokio", "rustls", "ring", "tungstenite"}


def check_demo():
    """Checks that the demo compiles few crates in little processor time."""
    with tempfile.TemporaryDirectory(prefix="cold-") as target:
        command = ["cargo", "run", "--locked", "--release", "--example", "demo"]
        before = processor_seconds()
        ran = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "CARGO_TARGET_DIR": target, "CARGO_TERM_COLOR": "never"},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )
        seconds = processor_seconds() - before
    if ran.returncode != 0:
        raise SystemExit(f"the demo fails:\n{ran.stderr}")
    crates = re.findall(r"^ *Compiling (\S+)", ran.stderr, re.MULTILINE)
    print(f"{' '.join(command)}: {len(crates)} crates, {seconds:.0f} s of processor time")
    if len(crates) > MOST_CRATES:
        raise SystemExit(f"more than {MOST_CRATES} crates: {', '.join(sorted(crates))}")
    if seconds > MOST_SECONDS:
        raise SystemExit(f"more than {MOST_SECONDS} s")


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def check_tests():
    """Checks that `cargo test` compiles no async runtime and no TLS."""
    command = ["cargo", "tree", "--locked", "--edges", "all", "--prefix", "none", "--format", "{p}"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = NOT_FOR_TESTS & {line.split()[0] for line in listed.splitlines() if line}
    if found:
        raise SystemExit(f"`cargo test` compiles {', '.join(sorted(found))}")
    print(f"cargo test: none of {', '.join(sorted(NOT_FOR_TESTS))}")


if __name__ == "__main__":
    if "--list" not in sys.argv[1:]:
        check_demo()
    check_tests()
