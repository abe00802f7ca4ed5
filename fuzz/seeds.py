#!/usr/bin/env python3
"""Writes the seed corpora, fuzz/corpus/TARGET/, from the test vectors, the captures and the regressions.

The leading bytes of each input are what bodies/src/lib.rs takes them for: `settings` in `decode` and `split`, the modes of `split` and
`topic`.
"""

import hashlib
import json
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "spec-vectors"
VERSIONS = ["3.1", "3.1.1", "5.0"]
SENDERS = {"either": 0, "client_to_server": 1, "server_to_client": 2}


def main():
    # The bytes of the `ops` targets are choices, not packets, so their only seeds are regressions.
    seeds = {
        "broker_ops": [],
        "client_ops": [],
        "decode": [],
        "pair_ops": [],
        "restore": [],
        "roundtrip": [],
        "server_ops": [],
        "split": [],
        "topic": [],
    }
    for path in sorted((VECTORS / "packets").glob("*.json")):
        for vector in json.loads(path.read_text()):
            add_vector(seeds, vector)
    for entry in json.loads((VECTORS / "captures" / "index.json").read_text()):
        for side, sender in [("client", 1), ("server", 2)]:
            stream = (VECTORS / "captures" / f"{entry['name']}.{side}.bin").read_bytes()
            add_capture(seeds, stream, settings(entry["version"], sender))
    add_topics(seeds["topic"], json.loads((VECTORS / "topics.json").read_text()))
    for target, inputs in seeds.items():
        write(target, inputs)


def settings(version, sender):
    """Returns the byte that selects a version and a sender, without further limits."""
    return VERSIONS.index(version) + 3 * sender


def add_vector(seeds, vector):
    frame = bytes.fromhex("".join(field["hex"] for field in vector["fields"]))
    for version in vector["versions"]:
        choice = settings(version, SENDERS[vector["direction"]])
        seeds["decode"].append(bytes([choice]) + frame)
        seeds["split"].append(bytes([choice, 0, 1]) + frame)
        seeds["roundtrip"].append(bytes([choice]) + frame)


def add_capture(seeds, stream, choice):
    if len(stream) <= 4096:
        seeds["split"].append(bytes([choice, 0, 1]) + stream)
        seeds["split"].append(bytes([choice, 4, 1]) + stream)
    for packet in packets(stream):
        seeds["decode"].append(bytes([choice]) + packet)


def packets(stream):
    """Yields the packets of a stream, the last one possibly incomplete."""
    while stream:
        size = 2
        for index, byte in enumerate(stream[1:5]):
            size += (byte & 127) << (7 * index)
            if byte < 128:
                break
            size += 1
        yield stream[:size]
        stream = stream[size:]


def add_topics(seeds, topics):
    for row in topics["matches"]:
        seeds.append(b"\x01" + row["filter"].encode() + b"\xff" + row["name"].encode())
    for row in topics["filters"]:
        seeds.append(b"\x01" + encode(row["text"]) + b"\xffa")
    for row in topics["names"]:
        seeds.append(b"\x01#\xff" + encode(row["text"]))


def encode(text):
    """Encodes as much as possible: the fuzzer needs no seeds of 65,535 bytes."""
    return text.encode()[:4096]


def write(target, inputs):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        # Named as libFuzzer names its findings, so that no input is stored twice.
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    for path in sorted((HERE / "regressions" / target).iterdir()):
        if path.name != ".gitkeep":
            shutil.copy(path, folder)
    print(f"{target}: {len(set(inputs))} seeds")


if __name__ == "__main__":
    main()
