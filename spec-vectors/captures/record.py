#!/usr/bin/env python3
"""Records the captures anew, or with --check compares index.json with the files. See README.md."""

import importlib.util
import json
import pathlib
import shutil
import sys

sys.dont_write_bytecode = True

from recorder import SIDES, describe  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
INDEX = HERE / "index.json"
LIMIT = 400_000
TOOLS = {
    "mosquitto": "the Debian package mosquitto",
    "mosquitto_pub": "the Debian package mosquitto-clients",
    "mosquitto_sub": "the Debian package mosquitto-clients",
    "mosquitto_rr": "the Debian package mosquitto-clients",
}


def missing():
    lacking = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if importlib.util.find_spec("paho") is None:
        lacking.append("paho-mqtt from PyPI (pip install paho-mqtt)")
    return sorted(set(lacking))


def file_of(name, side):
    return HERE / f"{name}.{side}.bin"


def record():
    if lacking := missing():
        raise SystemExit("Please install " + ", and ".join(lacking) + ".")
    import scenarios

    conversations = sorted(scenarios.play_all(), key=lambda talk: talk.name)
    names = [talk.name for talk in conversations]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"recorded twice: {sorted(doubles)}")
    for old in HERE.glob("*.bin"):
        old.unlink()
    index = []
    for talk in conversations:
        entry = {"name": talk.name, **talk.facts}
        for side in SIDES:
            file_of(talk.name, side).write_bytes(talk.data[side])
            entry[side] = describe(talk.data[side])
        index.append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in index)
    INDEX.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def check():
    """Returns the errors in the recordings, as a list of sentences."""
    index = json.loads(INDEX.read_text(encoding="utf-8"))
    wrong, expected, total = [], set(), 0
    for entry in index:
        for side in SIDES:
            path = file_of(entry["name"], side)
            expected.add(path)
            if not path.exists():
                wrong.append(f"{path.name} is not there")
                continue
            data = path.read_bytes()
            total += len(data)
            if describe(data) != entry[side]:
                wrong.append(f"{path.name}: index.json says {entry[side]}, the file holds {describe(data)}")
    wrong += [f"{path.name} is not in index.json" for path in sorted(set(HERE.glob("*.bin")) - expected)]
    if total > LIMIT:
        wrong.append(f"{total} bytes are more than {LIMIT}")
    if not wrong:
        print(f"{len(index)} conversations, {total} bytes: index.json and the files agree")
    return wrong


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        raise SystemExit("usage: record.py [--check]")
    if not sys.argv[1:]:
        record()
    if wrong := check():
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
