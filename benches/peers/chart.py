#!/usr/bin/env python3
"""Draws the chart of the README: the time to decode, by crate, measured on this machine.

    python3 benches/peers/chart.py

Without --csv it measures first, which takes a minute besides compiling; --csv FILE draws what `measure` has printed.
"""

import argparse
import csv
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = [
    ("5.0", "pub_q0_64B", "decode", "PUBLISH of 5.0, 64 bytes"),
    ("5.0", "connect_full", "decode", "CONNECT of 5.0, with will and properties"),
    ("5.0", "stream_1MiB", "decode_chunks", "stream of 5.0 in pieces of 1,460 bytes, per packet"),
]
WIDTH = 44


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.csv:
        text = arguments.csv.read_text()
    else:
        command = ["cargo", "run", "--locked", "--release", "--quiet", "--", "measure"]
        text = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = list(csv.DictReader(text.splitlines()))
    for version, item, op, title in ROWS:
        draw(rows, version, item, op, title)


def draw(rows, version, item, op, title):
    """Draws the best time of each crate, the fastest first."""
    best = {}
    for row in rows:
        # What a codec cannot do has no row. Those in parentheses are variants, and the floor.
        name = row["contender"]
        ops = {op, "decode_filled"} if op == "decode" else {op}
        if row["version"] == version and row["item"] == item and row["op"] in ops and "(" not in name:
            time = float(row["median_ns"])
            best[name] = min(time, best.get(name, time))
    print(title)
    if not best:
        raise SystemExit(f"{item}: nothing was measured")
    longest = max(best.values())
    for name, time in sorted(best.items(), key=lambda entry: entry[1]):
        print(f"{name:>20} {'█' * max(1, round(WIDTH * time / longest)):<{WIDTH}} {time:6.0f} ns")
    print()


if __name__ == "__main__":
    main()
