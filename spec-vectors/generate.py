#!/usr/bin/env python3
"""Writes the vectors. `generate.py --check` writes nothing, and fails if a file differs from the generated one."""

import pathlib
import sys

sys.dont_write_bytecode = True

from generator import acks, connack, connect, ends, fixed_header, lists, pretty, properties, publish, statements, text, topics

HERE = pathlib.Path(__file__).resolve().parent


def files():
    vectors = [
        fixed_header.write(), text.write(), properties.write(), connect.write(), connack.write(), publish.write(),
        acks.write("PUBACK"), acks.write("PUBREC"), acks.write("PUBREL"), acks.write("PUBCOMP"),
        lists.subscribe(), lists.list_ack("SUBACK"), lists.unsubscribe(), lists.list_ack("UNSUBACK"),
        ends.ping("PINGREQ"), ends.ping("PINGRESP"), ends.disconnect(), ends.auth(),
    ]
    rows, faults = statements.write(vectors)
    faults += topics.faults()
    if faults:
        sys.exit("\n".join(faults))
    out = {f"packets/{v.file}.json": pretty.vectors(v.list) for v in vectors}
    out["topics.json"] = pretty.tables(topics.tables())
    out["statements.json"] = pretty.rows(rows) + "\n"
    return out


def main():
    out = files()
    if sys.argv[1:] == ["--check"]:
        stale = [name for name, body in out.items()
                 if not (HERE / name).is_file() or (HERE / name).read_text("utf-8") != body]
        extra = [p.name for p in (HERE / "packets").glob("*") if f"packets/{p.name}" not in out]
        if stale or extra:
            sys.exit("not what generate.py writes: " + " ".join(stale + extra))
    elif sys.argv[1:]:
        sys.exit("usage: generate.py [--check]")
    else:
        (HERE / "packets").mkdir(exist_ok=True)
        for name, body in out.items():
            (HERE / name).write_text(body, "utf-8")


if __name__ == "__main__":
    main()
