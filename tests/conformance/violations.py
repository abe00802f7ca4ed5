#!/usr/bin/env python3
"""Breaks one normative statement at a time, and demands that the test about this statement fails.

    python3 tests/conformance/violations.py            # all of them: about half an hour
    python3 tests/conformance/violations.py --check    # no compiler: every patch applies, and its test exists

Each file in `violations` is a patch to the sources that violates one statement the way a careless engineer would. The
lines before the diff say which statement, what becomes wrong, and the test that must fail:

    Statement: MQTT-3.1.2-24 (5.0)
    Breaks: An answer is sent even if it exceeds the client's Maximum Packet Size.
    Test: --test server_statements connecting::mqtt_3_1_2_24_nothing_above_the_maximum_packet_size

The name of the test contains the number of the statement, or the test runs vectors that name the statement. A statement
without a number is called after its section: `U-3.3.4-a`.

The patches are applied to a copy of the repository, one after the other. A violation is caught if the test fails by an
assertion of its own, or, where the test runs vectors, if a vector of the statement fails. A violation that does not compile,
does not end, or panics in the library is not caught. The results are written to `violations/results.tsv`.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = HERE / "violations"
RESULTS = FOLDER / "results.tsv"
HEADER = "patch\tstatement\tversion\ttest\tresult\n"
CORE = "mqtt-sansio"
# The folder of the tests of each package.
TESTS = {CORE: Path("tests"), "mqtt-sansio-codec-tests": Path("tests/codec/tests")}
# What these tests need of the library; it compiles in half the time without the broker.
FEATURES = {"client_statements": "std", "server_statements": "std"}
CAUGHT = "caught"
# A test of this size ends within a second or two.
TEST_SECONDS = 60
BUILD_SECONDS = 900
# Fast to compile: the tests are short.
PROFILE = {
    "CARGO_INCREMENTAL": "1",
    "CARGO_PROFILE_DEV_DEBUG": "0",
    "CARGO_PROFILE_TEST_DEBUG": "0",
    "CARGO_PROFILE_TEST_OPT_LEVEL": "0",
    "RUST_BACKTRACE": "0",
}


class Problem(Exception):
    """Something is wrong with a patch."""


@dataclass(frozen=True)
class Violation:
    """One patch."""

    path: Path
    statement: str
    version: str
    package: str
    binary: str
    test: str
    files: tuple

    @property
    def name(self):
        return self.path.name

    @property
    def command(self):
        package = "" if self.package == CORE else f"-p {self.package} "
        return f"{package}--test {self.binary} {self.test}"

    def row(self, result):
        return "\t".join([self.name, self.statement, self.version, self.command, result])


def read(path):
    """Reads the lines before the diff, and the names of the files that it changes."""
    head, separator, diff = path.read_text(encoding="utf-8").partition("\ndiff --git ")
    if not separator:
        raise Problem("there is no diff")
    fields = dict(re.findall(r"^(\w+): (.+)$", head, re.MULTILINE))
    if sorted(fields) != ["Breaks", "Statement", "Test"] or len(head.splitlines()) > 4:
        raise Problem("the lines before the diff are Statement, Breaks and Test")
    statement = re.fullmatch(r"((?:MQTT|U)-[0-9.]+(?:-[0-9a-z]+)?) \((3\.1\.1|5\.0)\)", fields["Statement"])
    if statement is None:
        raise Problem(f"no statement and version: {fields['Statement']}")
    test = re.fullmatch(r"(?:-p (\S+) )?--test (\S+) (\S+)", fields["Test"])
    if test is None:
        raise Problem(f"no test: {fields['Test']}")
    if not path.name.startswith(f"{statement[2]}-{statement[1]}-"):
        raise Problem("the name begins with the version and the statement")
    files = tuple(re.findall(r"^\+\+\+ b/(\S+)$", diff, re.MULTILINE))
    if not files or not all(file.startswith("src/") for file in files):
        raise Problem("it changes files in src")
    return Violation(path, statement[1], statement[2], test[1] or CORE, test[2], test[3], files)


def vectors_of(violation):
    """The names of the vectors that the test runs and that name the statement in this version."""
    number = violation.statement
    if number.startswith("U-"):
        number = "section " + re.sub(r"-[a-z]$", "", number.removeprefix("U-"))
    file = ROOT / "spec-vectors/packets" / f"{violation.test.replace('_', '-')}.json"
    vectors = json.loads(file.read_text(encoding="utf-8"))
    is_one = lambda it: number in it["statements"] and violation.version in it["versions"]
    return {vector["name"] for vector in vectors if is_one(vector)}


def runs_vectors(violation):
    return (violation.package, violation.binary) == ("mqtt-sansio-codec-tests", "vectors")


def check_test(violation):
    """Checks that the test exists, runs, and is about the statement."""
    if runs_vectors(violation):
        if not vectors_of(violation):
            raise Problem(f"no vector of {violation.test} names {violation.statement} in {violation.version}")
        return
    folder = TESTS.get(violation.package)
    if folder is None:
        raise Problem(f"the tests of {violation.package} are not known")
    *modules, name = violation.test.split("::")
    base = ROOT / folder / violation.binary
    places = [(base / f"{'/'.join(modules or ['main'])}.rs"), ROOT / folder / f"{violation.binary}.rs"]
    sources = [place.read_text(encoding="utf-8") for place in places if place.is_file()]
    found = [re.search(rf"((?:^ *#\[.*\]\n)+) *fn {name}\(\)", source, re.MULTILINE) for source in sources]
    attributes = [match[1] for match in found if match]
    if not attributes or "#[test]" not in attributes[0]:
        raise Problem(f"there is no test {violation.test}")
    if "#[ignore" in attributes[0]:
        raise Problem(f"the test {violation.test} is ignored")
    number = violation.statement.removeprefix("U-").replace(".", "_").replace("-", "_").lower()
    if f"_{number}_" not in f"_{name}_":
        raise Problem(f"the test {violation.test} is not about {violation.statement}")


def git_apply(folder, path, *options):
    """Applies a patch as if `folder` belonged to no repository."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", *options, str(path)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def results():
    """The lines of the file of results, by patch."""
    if not RESULTS.is_file():
        return {}
    lines = RESULTS.read_text(encoding="utf-8").splitlines()[1:]
    return {line.split("\t")[0]: line for line in lines}


def check(violations):
    """The checks that need no compiler. Returns the problems."""
    problems = []
    known = results()
    for violation in violations:
        try:
            check_test(violation)
        except Problem as problem:
            problems.append(f"{violation.name}: {problem}")
        applied = git_apply(ROOT, violation.path, "--check")
        if applied.returncode != 0:
            problems.append(f"{violation.name}: does not apply: {applied.stderr.strip().splitlines()[0]}")
        if known.pop(violation.name, None) != violation.row(CAUGHT):
            problems.append(f"{violation.name}: {RESULTS.name} does not say that it is caught: run it")
    return problems


def copy_repository(tree):
    """Makes the copy the same as the repository. A file that is the same already keeps its time: cargo looks at that."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    names = {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        source, copy = ROOT / name, tree / name
        content = source.read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            shutil.copymode(source, copy)
    for copy in tree.rglob("*"):
        if copy.is_file() and str(copy.relative_to(tree)) not in names:
            copy.unlink()


def run(command, seconds, **options):
    """Runs a command; returns its code and output, or None and the output if it takes longer."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


class Judge:
    """Builds and runs tests in the copy."""

    def __init__(self, target):
        self.tree = target / "tree"
        self.environment = {**os.environ, **PROFILE, "CARGO_TARGET_DIR": str(target / "build")}

    def build(self, violation):
        """Returns the path of the test binary; None and the output if it does not compile."""
        command = ["cargo", "test", "--locked", "-p", violation.package, "--test", violation.binary, "--no-run"]
        command += ["--message-format", "json-render-diagnostics"]
        if violation.binary in FEATURES:
            command += ["--no-default-features", "--features", FEATURES[violation.binary]]
        code, output = run(command, BUILD_SECONDS, cwd=self.tree, env=self.environment)
        if code != 0:
            return None, output
        messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        binaries = [it["executable"] for it in messages if it["reason"] == "compiler-artifact" and it["executable"]]
        return binaries[-1], output

    def test(self, violation, binary):
        """Runs the test."""
        folder = self.tree / TESTS[violation.package].parent
        return run([binary, "--exact", violation.test], TEST_SECONDS, cwd=folder, env=self.environment)

    def passes_without(self, violation):
        """Whether the test passes while nothing is violated. Returns None, or what is wrong."""
        binary, output = self.build(violation)
        if binary is None:
            return f"does not compile without a violation\n{output}"
        code, output = self.test(violation, binary)
        if code != 0 or "test result: ok. 1 passed" not in output:
            return f"the test does not pass without a violation\n{output}"
        return None

    def judge(self, violation):
        """Applies the violation, runs its test, and takes the violation back. Returns the result and the output."""
        applied = git_apply(self.tree, violation.path)
        if applied.returncode != 0:
            return "does not apply", applied.stderr
        try:
            binary, output = self.build(violation)
            if binary is None:
                return "does not compile", output
            code, output = self.test(violation, binary)
        finally:
            for file in violation.files:
                # With a new time, so that cargo sees it.
                (self.tree / file).write_bytes((ROOT / file).read_bytes())
        return verdict(violation, code, output), output


def verdict(violation, code, output):
    """What the end of the test means."""
    if code is None:
        return f"does not end within {TEST_SECONDS} s"
    if code == 0:
        return "survived" if "test result: ok. 1 passed" in output else "the test did not run"
    panic = re.search(r"panicked at (\S+?):\d+:\d+:", output)
    if panic is None:
        return f"ended with {code}, without an assertion"
    if not panic[1].startswith("tests/"):
        return f"panicked in {panic[1]}"
    if runs_vectors(violation):
        failed = set(re.findall(r"^(\S+) in (?:3\.1|3\.1\.1|5\.0), from ", output, re.MULTILINE))
        if not failed & vectors_of(violation):
            return "no vector of the statement failed"
    return CAUGHT


def write_result(violation, result):
    """Writes a result into the file of results, beside those of other patches."""
    lines = {**results(), violation.name: violation.row(result)}
    lines = sorted(line for name, line in lines.items() if (FOLDER / name).is_file())
    RESULTS.write_text(HEADER + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def run_all(violations, target, is_verbose):
    """Judges the violations and writes the results. Returns whether all were caught."""
    judge = Judge(target)
    copy_repository(judge.tree)
    # First by what has to be compiled, so that little is compiled again.
    violations = sorted(violations, key=lambda it: (it.package, it.binary, it.files, it.name))
    begin, sound, found = time.monotonic(), {}, {}
    for violation in violations:
        test = (violation.package, violation.binary, violation.test)
        if test not in sound:
            sound[test] = judge.passes_without(violation)
            if sound[test] is not None:
                print(f"{violation.command}: {sound[test]}", flush=True)
    for number, violation in enumerate(violations, 1):
        before = time.monotonic()
        if sound[violation.package, violation.binary, violation.test] is not None:
            found[violation.name], output = "the test does not pass without a violation", ""
        else:
            found[violation.name], output = judge.judge(violation)
        write_result(violation, found[violation.name])
        seconds = time.monotonic() - before
        print(f"{number}/{len(violations)} {violation.name}: {found[violation.name]} ({seconds:.1f} s)", flush=True)
        if is_verbose or found[violation.name] != CAUGHT:
            print("    " + "\n    ".join(output.splitlines()[-30:]), flush=True)
    caught = sum(result == CAUGHT for result in found.values())
    print(f"{caught} of {len(found)} violations caught, in {time.monotonic() - begin:.0f} s")
    return caught == len(found)


def shard(text):
    index, count = map(int, text.split("/"))
    if not 1 <= index <= count:
        raise ValueError
    return index, count


def main():
    parser = argparse.ArgumentParser(description="Violates one statement at a time; the test about it must fail.")
    parser.add_argument("--check", action="store_true", help="only that patches apply and tests exist; compiles nothing")
    parser.add_argument("--only", metavar="TEXT", default="", help="only patches with this text in their name")
    parser.add_argument("--missing", action="store_true", help="only patches that the results do not say are caught")
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="only the I-th of N parts")
    parser.add_argument("--target", type=Path, default=ROOT / "target/violations", help="folder for copy and builds")
    parser.add_argument("--verbose", action="store_true", help="print the output of every test")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends too
    violations, problems = [], []
    for path in sorted(path for path in FOLDER.glob("*.patch") if options.only in path.name):
        try:
            violations.append(read(path))
        except Problem as problem:
            problems.append(f"{path.name}: {problem}")
    if options.check:
        problems += check(violations)
        problems += [f"{name}: there is no such patch" for name in results() if not (FOLDER / name).is_file()]
    if problems:
        print("\n".join(problems))
        return 1
    if options.missing:
        known = results()
        violations = [it for it in violations if known.get(it.name) != it.row(CAUGHT)]
    index, count = options.shard
    violations = violations[index - 1 :: count]
    if not violations:
        print("there is no such violation")
        return 1
    if options.check:
        print(f"{len(violations)} violations apply")
        return 0
    return 0 if run_all(violations, options.target.resolve(), options.verbose) else 1


if __name__ == "__main__":
    sys.exit(main())
