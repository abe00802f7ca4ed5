#!/usr/bin/env python3
"""Writes a corpus and a dictionary, to fuzz any implementation of MQTT:

    python3 spec-vectors/corpus.py DIR

DIR/packets/VERSION/ has a file for each packet of the test vectors, valid and invalid, DIR/streams/VERSION/ one for each direction
of a recorded conversation, and DIR/mqtt.dict the words of the protocol, for libFuzzer (`-dict=`) and AFL++ (`-x`).
"""

import argparse
import hashlib
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    packets = streams = 0
    words = set(WORDS)
    for path in sorted((HERE / "packets").glob("*.json")):
        for vector in json.loads(path.read_text()):
            pieces = [bytes.fromhex(field["hex"]) for field in vector["fields"]]
            # Short fields are words: a property with its value, a flag byte, a length.
            words.update(piece for piece in pieces if 2 <= len(piece) <= 8)
            for version in vector["versions"]:
                packets += write(folder / "packets" / version, b"".join(pieces))
    for entry in json.loads((HERE / "captures" / "index.json").read_text()):
        for side in ["client", "server"]:
            stream = (HERE / "captures" / f"{entry['name']}.{side}.bin").read_bytes()
            streams += write(folder / "streams" / entry["version"], stream)
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in sorted(words)]
    (folder / "mqtt.dict").write_text("\n".join(lines) + "\n")
    print(f"{packets} packets, {streams} streams and {len(lines)} words in {folder}")


# The names of the protocol, the first bytes of all packets, lengths at their limits.
WORDS = [
    b"\x00\x04MQTT",
    b"\x00\x06MQIsdp",
    b"$share/",
    b"$SYS/",
    b"/#",
    b"+/",
    b"\x00\x00",
    b"\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x01",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbf\xbf",
    *[bytes([kind << 4 | flags]) for kind in range(16) for flags in [0, 2]],
]


def write(folder, data):
    """Writes a file, named as libFuzzer names its findings; returns how many are new."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha1(data).hexdigest()
    is_new = not path.exists()
    path.write_bytes(data)
    return int(is_new)


if __name__ == "__main__":
    main()
