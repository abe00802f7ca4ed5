#!/usr/bin/env python3
"""Draws the chart of the README: the time to decode, by crate, measured on this machine.

    python3 benches/peers/chart.py --readme

Without --csv it measures first, which takes a minute besides compiling; --csv FILE draws what `measure` has printed.
--readme puts the chart into README.md, in place of the one that is there.
"""

import argparse
import csv
import datetime
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- chart -->", "<!-- end of the chart -->"
ROWS = [
    ("5.0", "pub_q0_64B", "decode", "PUBLISH of 5.0, 64 bytes"),
    ("5.0", "connect_full", "decode", "CONNECT of 5.0, with will and properties"),
    ("5.0", "stream_1MiB", "decode_chunks", "stream of 5.0 in pieces of 1,460 bytes, per packet"),
]
WIDTH = 44


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true")
    arguments = parser.parse_args()
    if arguments.csv:
        text = arguments.csv.read_text()
    else:
        command = ["cargo", "run", "--locked", "--release", "--quiet", "--", "measure"]
        text = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = list(csv.DictReader(text.splitlines()))
    chart = "\n\n".join(draw(rows, version, item, op, title) for version, item, op, title in ROWS)
    print(chart)
    if arguments.readme:
        put_into_readme(chart)


def draw(rows, version, item, op, title):
    """Returns the best time of each crate as a bar, the fastest first."""
    best = {}
    for row in rows:
        # What a codec cannot do has no row. Those in parentheses are variants, and the floor.
        name = row["contender"]
        ops = {op, "decode_filled"} if op == "decode" else {op}
        if row["version"] == version and row["item"] == item and row["op"] in ops and "(" not in name:
            time = float(row["median_ns"])
            best[name] = min(time, best.get(name, time))
    if not best:
        raise SystemExit(f"{item}: nothing was measured")
    longest = max(best.values())
    lines = [title]
    for name, time in sorted(best.items(), key=lambda entry: entry[1]):
        lines.append(f"{name:>20} {'█' * max(1, round(WIDTH * time / longest)):<{WIDTH}} {time:6.0f} ns")
    return "\n".join(lines)


def put_into_readme(chart):
    """Replaces what is between the two marks."""
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md has no {BEGIN} and {END}")
    month = datetime.date.today().strftime("%B %Y")
    text = f"Median times, measured in one process in {month}; shorter is faster:\n\n```text\n{chart}\n```"
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
