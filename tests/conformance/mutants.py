#!/usr/bin/env python3
"""Breaks the crate in hundreds of small ways, and counts how many of them its tests notice.

    cargo install cargo-mutants --locked
    python3 tests/conformance/mutants.py                 # draw 600 mutants, build, run; writes mutants/results.tsv
    python3 tests/conformance/mutants.py --survivors     # run those again that survived and are not listed: after new tests
    python3 tests/conformance/mutants.py --show ID       # print the difference that a mutant makes
    python3 tests/conformance/mutants.py --only ID ...   # run these alone

`cargo mutants --list` names the mutants and where they are. To build the crate once for each would take hours, so all mutants
of the sample are compiled into one copy of the crate: a function with mutants begins with one `if` for each, which runs the
mutated body where the environment variable MUTANT has its number. A mutant then costs the running of the tests alone. Those
that can't be built in this way (in constants, in `const fn` that constants call, in functions that return `impl Trait`) are
built one by one. A mutant that does not compile is unviable and does not count.

A mutant is caught when a test binary fails, and when it takes many times its usual processor time ("timeout"). The binaries
that judge a room run in the order of their time, until one fails. The sample is the lowest hashes of seed and mutant in each
room, so that it stays mostly the same while the crate changes.

`mutants/survivors.tsv` lists survivors that were looked at, each with the reason why no test can or should notice it. The
script fails if another mutant survives.
"""

import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(__file__).resolve().parent / "mutants"
WORK = REPOSITORY / "target" / "mutants"
TREE = WORK / "tree"
STATE = WORK / "state.json"

# Regular expressions of the test binaries that judge a room. `unit` are the tests inside the crate. The tests of examples and
# of the sources' text judge no behaviour of the crate.
CODEC = r"codec.*|captures|random_packets|serialize|topics|vectors|unit"
ENDPOINTS = r"client_.*|server_.*|session_.*|pair_.*|durable_.*|guide_flows|messages|owned|\w+_limits|close_reasons" \
    r"|command_errors|input_withheld|debug_.*"
BROKER = r"broker(_|::).*"
JUDGES = {
    "codec": rf"{CODEC}|{ENDPOINTS}|bodies|strategies",
    "session": rf"{ENDPOINTS}|{CODEC}|store_damage|bodies|{BROKER}",
    "broker": rf"{BROKER}|unit|store_damage|debug_.*|close_reasons|\w+_limits|bodies",
    "store": rf"store_damage|durable_.*|{ENDPOINTS}|{BROKER}|unit|bodies",
    "rest": rf"{CODEC}|{ENDPOINTS}|{BROKER}|bodies|strategies",
}
ROOMS = {"codec": "codec", "session": "session", "client": "session", "server": "session", "broker": "broker", "store": "store"}
# Those that know the room best come first; each group is in the order of its time.
FIRST = {"codec": CODEC, "session": ENDPOINTS, "broker": BROKER, "store": r"store_damage|\w+_durable|broker::(durable|damage)", "rest": CODEC}
PACKAGES = ["mqtt-sansio", "mqtt-sansio-codec-tests", "mqtt-sansio-testkit", "mqtt-sansio-fuzz-bodies"]
DIVIDED = {"broker"}
NEVER = {"examples", "demo", "architecture", "send_sync", "allocations"}
# Binaries that take more seconds than this are only run with mutants that the others do not catch.
SLOW = 0.65

SWITCH = """
#[doc(hidden)]
pub mod mutant_switch {
    extern crate std;
    /// Whether this mutant is the one to run.
    pub fn on(number: u32) -> bool {
        static NUMBER: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        *NUMBER.get_or_init(|| std::env::var("MUTANT").ok().and_then(|value| value.parse().ok()).unwrap_or(0)) == number
    }
}
"""


def room_of(file):
    """The room that a source file belongs to."""
    parts = file.split("/")
    return ROOMS.get(parts[1], "rest")


class Mutant:
    """One small change of the sources."""

    def __init__(self, entry, ordinal):
        self.file = entry["file"]
        self.room = room_of(self.file)
        self.genre = entry["genre"]
        self.replacement = entry["replacement"]
        self.span = entry["span"]
        self.function = entry["function"]
        self.diff = entry["diff"]
        self.line = entry["span"]["start"]["line"]
        description = re.sub(r"^[^ ]*: ", "", entry["name"])
        self.id = f"{self.file}: {description}" + (f" #{ordinal}" if ordinal else "")
        self.number = 0


def list_mutants():
    """All mutants. Equal descriptions in a file are told apart by a number in the order of the text."""
    listing = subprocess.run(
        ["cargo", "mutants", "--list", "--json"], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    seen = collections.Counter()
    mutants = []
    entries = json.loads(listing)
    entries.sort(key=lambda entry: (entry["file"], entry["span"]["start"]["line"], entry["span"]["start"]["column"]))
    for entry in entries:
        key = entry["file"], re.sub(r"^[^ ]*: ", "", entry["name"])
        seen[key] += 1
        mutants.append(Mutant(entry, seen[key] - 1))
    return mutants


def draw(mutants, count, seed):
    """A share of each room's mutants, in proportion: those with the lowest hashes."""
    by_room = collections.defaultdict(list)
    for mutant in mutants:
        by_room[mutant.room].append(mutant)
    sample = []
    for room in by_room.values():
        room.sort(key=lambda mutant: hashlib.sha256(f"{seed} {mutant.id}".encode()).digest())
        sample += room[: -(-count * len(room) // len(mutants))]
    return sample


# The sources with mutants in them.


def position(text, place):
    """The index in the text of a line and column, both from 1."""
    start = 0
    for _ in range(place["line"] - 1):
        start = text.index("\n", start) + 1
    return start + place["column"] - 1


TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\[^']+|[^'\\])'|\w+|[{}()\[\]]""", re.DOTALL
)


def body_of(text, function):
    """Begin and end of what stands between the braces of a function."""
    begin, end = position(text, function["span"]["start"]), position(text, function["span"]["end"])
    depth, is_signature = 0, False
    for token in TOKEN.finditer(text, begin, end):
        word = token.group()
        if word in ("(", "["):
            depth += 1
        elif word in (")", "]"):
            depth -= 1
        elif word == "fn" and depth == 0:
            is_signature = True
        elif word == "{" and depth == 0 and is_signature:
            return token.end(), end - 1
    raise ValueError(f"no body: {function['function_name']}")


def mutated(text, mutant):
    """The text of the mutant's file with the mutant in place of what it replaces."""
    begin, end = position(text, mutant.span["start"]), position(text, mutant.span["end"])
    return text[:begin] + f" {mutant.replacement} " + text[end:], begin, end


def with_mutants(text, mutants, is_const):
    """The text of a file with all these mutants in it, and for each the lines where it stands.

    `is_const` tells whether a function of a name has to stay `const`."""
    insertions = collections.defaultdict(str)
    for mutant in mutants:
        begin, end = body_of(text, mutant.function)
        changed, _, _ = mutated(text, mutant)
        body = changed[begin : end + len(changed) - len(text)]
        insertions[begin] += f"\n/*<{mutant.number}*/if crate::mutant_switch::on({mutant.number}) {{ return {{ {body} }}; }}/*>*/\n"
    out = text
    for begin in sorted(insertions, reverse=True):
        out = out[:begin] + insertions[begin] + out[begin:]
    out = re.sub(r"\bconst fn (\w+)", lambda found: found.group() if is_const(found.group(1)) else f"fn {found.group(1)}", out)
    lines = {}
    for found in re.finditer(r"/\*<(\d+)\*/.*?/\*>\*/", out, re.DOTALL):
        first = out.count("\n", 0, found.start()) + 1
        lines[int(found.group(1))] = first, first + found.group().count("\n")
    return out, lines


def write_if_changed(path, content):
    """Keeps the time of a file that has this content already, so that cargo does not build it again."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def copy_tree(except_sources):
    """Copies the repository to where it is mutated."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split("\n")
    files = [file for file in files if file and (REPOSITORY / file).is_file()]
    for file in files:
        if file not in except_sources:
            write_if_changed(TREE / file, (REPOSITORY / file).read_bytes())
    for path in TREE.rglob("*.rs"):
        if str(path.relative_to(TREE)) not in files:
            path.unlink()


# Building.


def cargo(arguments, **variables):
    """Runs cargo on the copy. Returns its messages; what the compiler complains about is no failure of this script."""
    environment = dict(
        os.environ,
        CARGO_TARGET_DIR=str(WORK / "build"),
        RUSTFLAGS="--cap-lints warn",
        CARGO_PROFILE_TEST_DEBUG="0",
        CARGO_PROFILE_DEV_DEBUG="0",
        **variables,
    )
    with open(WORK / "cargo.log", "w") as log:
        process = subprocess.run(
            ["cargo", *arguments, "--message-format=json"], cwd=TREE, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    messages = [json.loads(line) for line in process.stdout.split("\n") if line.startswith("{")]
    return process.returncode == 0, messages


def errors_in(messages):
    """The compiler's errors: their code, text and primary places."""
    for message in messages:
        if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
            error = message["message"]
            code = (error["code"] or {}).get("code")
            yield code, error["rendered"], [(span["file_name"], span["line_start"]) for span in error["spans"]]


def build_together(sample, state):
    """Builds all mutants that can be built into one crate. Those that don't compile become unviable; returns the mutants that
    have to be built alone."""
    alone = {mutant.number for mutant in sample if mutant.function is None or "impl " in mutant.function["return_type"]}
    const_names = set(state.get("const", []))
    unviable = {mutant.number for mutant in sample if state["verdicts"].get(mutant.id) == "unviable"}
    texts = {str(path.relative_to(REPOSITORY)): path.read_text() for path in (REPOSITORY / "src").rglob("*.rs")}
    copy_tree(set(texts))
    while True:
        # A mutant inside a function that has to be const can't ask which one is to run.
        for mutant in sample:
            if mutant.function and mutant.number not in alone:
                name = mutant.function["function_name"].split("::")[-1]
                begin, _ = body_of(texts[mutant.file], mutant.function)
                start = position(texts[mutant.file], mutant.function["span"]["start"])
                if name in const_names and "const fn" in texts[mutant.file][start:begin]:
                    alone.add(mutant.number)
        places = {}
        for file, text in texts.items():
            here = [mutant for mutant in sample if mutant.file == file and mutant.number not in alone | unviable]
            out, lines = with_mutants(text, here, lambda name: name in const_names)
            places[file] = lines
            if file == "src/lib.rs":
                out += SWITCH
            write_if_changed(TREE / file, out.encode())
        is_built, messages = cargo(["check", "--offline", "--all-features", "--tests", *package_arguments()])
        if is_built:
            break
        before = len(alone), len(unviable), len(const_names)
        for code, text, spans in errors_in(messages):
            names = re.findall(r"non-const (?:associated function|function|method) `([^`]*)`", text)
            if code == "E0015" and names:
                const_names |= {re.findall(r"\w+", re.sub(r"<[^>]*>", "", name))[-1] for name in names}
                continue
            for file, line in spans:
                for number, (first, last) in places.get(file, {}).items():
                    if first <= line <= last:
                        unviable.add(number)
        print(f"  {len(unviable)} do not compile, {len(alone)} have to be built alone", flush=True)
        if before == (len(alone), len(unviable), len(const_names)):
            sys.exit("the copy does not compile:\n" + "".join(text for _, text, _ in errors_in(messages))[:4000])
    state["const"] = sorted(const_names)
    for mutant in sample:
        if mutant.number in unviable:
            state["verdicts"][mutant.id] = "unviable"
    STATE.write_text(json.dumps(state, indent=1))
    return [mutant for mutant in sample if mutant.number in alone]


def package_arguments():
    return [part for package in PACKAGES for part in ("-p", package)]


def build_binaries(extra=(), **variables):
    """Builds the test binaries. Returns name, path and the package's folder of each, or nothing if they don't compile."""
    is_built, messages = cargo(
        ["test", "--no-run", "--offline", "--all-features", *(extra or [*package_arguments(), "--lib", "--tests"])], **variables
    )
    if not is_built:
        return None
    binaries = {}
    for message in messages:
        if message["reason"] == "compiler-artifact" and message["executable"] and message["profile"]["test"]:
            target = message["target"]
            folder = pathlib.Path(message["manifest_path"]).parent
            if target["kind"] == ["lib"] and folder != TREE:
                continue
            name = "unit" if target["kind"] == ["lib"] else target["name"]
            if name not in NEVER:
                binaries[name if name not in binaries else f"{name}_{folder.name}"] = message["executable"], str(folder), ""
    return {part: binary for name, whole in binaries.items() for part, binary in parts_of(name, whole)}


def parts_of(name, binary):
    """The parts of a test binary that judge by themselves: the modules of the one in which each is about another subject."""
    if name not in DIVIDED:
        return [(name, binary)]
    executable, folder, _ = binary
    listed = subprocess.run([executable, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    modules = sorted({line.partition("::")[0] for line in listed.splitlines() if line.endswith(": test")})
    return [(f"{name}::{module}", (executable, folder, f"{module}::")) for module in modules]


# Running.


def run_binary(binary, number, processor_seconds):
    """Runs a test binary with a mutant. Returns "passed", "failed" or "timeout", and its processor time."""
    executable, folder, module = binary

    def limit():
        seconds = int(processor_seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        os.setsid()

    environment = dict(
        os.environ, MUTANT=str(number), RUST_TEST_THREADS="1", RUST_BACKTRACE="0", EXAMPLES_ARE_BUILT="1", CARGO_MANIFEST_DIR=folder
    )
    process = subprocess.Popen(
        [executable, "-q", *filter(None, [module])], cwd=folder, env=environment, preexec_fn=limit, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # A machine that is busy takes longer; a test that waits for what never comes takes no processor time.
    until = time.monotonic() + 20 * processor_seconds + 60
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout", processor_seconds
    return ("failed" if process.returncode else "passed"), usage.ru_utime + usage.ru_stime


def built(binary):
    """What tells a test binary from one of the same name that was built before."""
    return digest(binary[0], os.stat(binary[0]).st_mtime_ns) + binary[2]


@functools.cache
def digest(path, _time):
    """The hash of a file's content."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]


def measure(binaries, jobs, state):
    """The processor time of each binary without a mutant. All have to pass."""
    known = state.setdefault("times", {})

    def time_of(name):
        key = built(binaries[name])
        if key not in known:
            verdict, seconds = run_binary(binaries[name], 0, 600)
            if verdict != "passed":
                return name, None
            known[key] = seconds
        return name, known[key]

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        times = dict(pool.map(time_of, binaries))
    STATE.write_text(json.dumps(state, indent=1))
    failed = [name for name, seconds in times.items() if seconds is None]
    if failed:
        sys.exit(f"they fail without a mutant: {' '.join(failed)}")
    return times


def judges(room, times, is_slow=None):
    """The binaries that judge a room, in the order in which they run: all, the quick ones or the slow ones."""
    names = [name for name in times if re.fullmatch(JUDGES[room], name) and is_slow in (None, times[name] >= SLOW)]
    return sorted(names, key=lambda name: (times[name] >= SLOW, not re.fullmatch(FIRST[room], name), times[name]))


def judge(mutant, binaries, times, passed, is_slow=None):
    """Runs the binaries of the mutant's room until one fails, but for those that it has passed: adds to these."""
    for name in judges(mutant.room, times, is_slow):
        if name in binaries and built(binaries[name]) not in passed:
            verdict, _ = run_binary(binaries[name], mutant.number, 5 * times[name] + 5)
            if verdict != "passed":
                return ("caught" if verdict == "failed" else "timeout"), name
            passed.append(built(binaries[name]))
    return "survived", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--room", choices=sorted(JUDGES))
    parser.add_argument("--quick", action="store_true", help="omit the slow test binaries")
    parser.add_argument("--survivors", action="store_true")
    parser.add_argument("--together", action="store_true", help="omit the mutants that need a build of their own")
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--show")
    parser.add_argument("--draw", action="store_true", help="print the sample and stop")
    arguments = parser.parse_args()
    mutants = list_mutants()
    if arguments.show:
        print("".join(mutant.diff for mutant in mutants if mutant.id == arguments.show))
        return
    sample = draw(mutants, arguments.sample, arguments.seed)
    if arguments.only:
        sample = [mutant for mutant in mutants if mutant.id in arguments.only]
    for number, mutant in enumerate(sample, 1):
        mutant.number = number
    if arguments.draw:
        for mutant in sample:
            print(mutant.room, mutant.id, sep="\t")
        return
    WORK.mkdir(parents=True, exist_ok=True)
    state = {"verdicts": {}, "first": {}, "const": [], "times": {}, "passed": {}}
    if STATE.exists():
        state = json.loads(STATE.read_text())
    print(f"{len(mutants)} mutants, {len(sample)} drawn; building", flush=True)
    alone = build_together(sample, state)
    binaries = build_binaries()
    if binaries is None:
        sys.exit((WORK / "cargo.log").read_text()[-4000:])
    times = measure(binaries, arguments.jobs, state)
    print("  ".join(f"{name} {seconds:.1f}" for name, seconds in sorted(times.items(), key=lambda item: item[1])), flush=True)

    def is_wanted(mutant):
        verdict = state["verdicts"].get(mutant.id)
        if arguments.room and mutant.room != arguments.room or verdict == "unviable":
            return False
        is_unlisted = verdict == "survived" and mutant.id not in listed_survivors()
        return bool(arguments.only) or verdict is None or (arguments.survivors and is_unlisted)

    def finish(mutant, verdict, by):
        state["verdicts"][mutant.id] = verdict
        state["first"].setdefault(mutant.id, verdict)
        if not (arguments.survivors or arguments.only):
            state["first"][mutant.id] = verdict
        STATE.write_text(json.dumps(state, indent=1))
        print(f"{time.strftime('%H:%M:%S')} {verdict:9} {mutant.id} (line {mutant.line}) {by}", flush=True)

    alone_numbers = {mutant.number for mutant in alone}
    passed = state.setdefault("passed", {})
    wanted = [mutant for mutant in sample if is_wanted(mutant)]
    left = [mutant for mutant in wanted if mutant.number not in alone_numbers]
    for is_slow in False, True:
        if is_slow and arguments.quick:
            break
        print(f"{len(left)} mutants, the {'slow' if is_slow else 'quick'} binaries", flush=True)
        survivors = []
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            running = {
                pool.submit(judge, mutant, binaries, times, passed.setdefault(mutant.id, []), is_slow): mutant for mutant in left
            }
            for done in concurrent.futures.as_completed(running):
                verdict, by = done.result()
                finish(running[done], verdict, by)
                if verdict == "survived":
                    survivors.append(running[done])
        left = survivors
    for mutant in wanted:
        if mutant.number in alone_numbers and not arguments.together:
            finish(mutant, *judge_alone(mutant, times))
    report(sample, state, arguments)


def judge_alone(mutant, times):
    """Builds the crate with one mutant and judges it: first by the quick binaries that know the room, then by all."""
    path = TREE / mutant.file
    together = path.read_bytes()
    changed, _, _ = mutated((REPOSITORY / mutant.file).read_text(), mutant)
    variables = {"CARGO_PROFILE_TEST_OPT_LEVEL": "0", "CARGO_INCREMENTAL": "1"}
    path.write_text(changed)
    try:
        room = judges(mutant.room, times)
        quick = [name for name in room if times[name] < 1 and re.fullmatch(FIRST[mutant.room], name)]
        for names in quick[:6], room:
            extra = [*package_arguments()]
            for name in dict.fromkeys(name.partition("::")[0] for name in names):
                extra += ["--lib"] if name == "unit" else ["--test", name]
            binaries = build_binaries(extra, **variables)
            if binaries is None:
                return "unviable", ""
            slower = {name: 10 * seconds + 1 for name, seconds in times.items()}
            verdict, by = judge(mutant, {name: binaries[name] for name in names if name in binaries}, slower, [])
            if verdict != "survived":
                return verdict, by
        return verdict, by
    finally:
        path.write_bytes(together)


@functools.cache
def listed_survivors():
    """The survivors that were looked at, with the reason why no test can or should notice each."""
    lines = (FOLDER / "survivors.tsv").read_text().splitlines()[1:]
    return dict(line.split("\t") for line in lines)


def report(sample, state, arguments):
    """Prints and writes the share of each room, and fails if a survivor is not listed."""
    listed = listed_survivors()
    rows = []
    for room in [*dict.fromkeys(ROOMS.values()), "rest", "all"]:
        here = [mutant.id for mutant in sample if room in ("all", mutant.room) and mutant.id in state["verdicts"]]
        now = collections.Counter(state["verdicts"][mutant] for mutant in here)
        first = collections.Counter(state["first"].get(mutant, "unviable") for mutant in here)
        rows.append((room, len(here), now["caught"], now["timeout"], now["unviable"], first["survived"], now["survived"]))
    lines = ["\t".join(map(str, row)) for row in rows]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    head = "room\tsampled\tcaught\ttimeout\tunviable\tsurvived before new tests\tsurvived"
    print("\n".join([head, *lines]))
    for room, sampled, caught, timeout, unviable, _, survived in rows:
        viable = sampled - unviable
        print(f"{room}: {100 * (caught + timeout) / max(viable, 1):.1f} % of {viable} caught, {survived} survive")
    if not arguments.only and not arguments.room:
        (FOLDER / "results.tsv").write_text(
            f"# measured on {commit}, seed {arguments.seed}\n" + "\n".join([head, *lines]) + "\n"
        )
    unknown = [mutant for mutant in (m.id for m in sample) if state["verdicts"].get(mutant) == "survived" and mutant not in listed]
    for mutant in unknown:
        print(f"survives and is not listed: {mutant}")
    sys.exit(bool(unknown))


if __name__ == "__main__":
    main()
