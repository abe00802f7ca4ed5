"""Readable JSON: one line for each field of a packet."""

import json


def line(value):
    """Formats a value on one line, with spaces inside the braces."""
    if isinstance(value, dict):
        if not value:
            return "{}"
        return "{ " + ", ".join(f"{json.dumps(k)}: {line(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(line(v) for v in value) + "]"
    return json.dumps(value)


def expect(value):
    if value["outcome"] != "accept":
        return line(value)
    return (f'{{ "outcome": "accept",\n      "packet": {line(value["packet"])},\n'
            f'      "canonical": {line(value["canonical"])} }}')


def vector(v):
    fields = ",\n".join("      " + line({"hex": f.hex, "note": f.note}) for f in v["fields"])
    fields = f"[\n{fields}\n    ]" if fields else "[]"
    return (f'  {{\n    "name": {line(v["name"])},\n    "versions": {line(v["versions"])},\n'
            f'    "direction": {line(v["direction"])},\n    "statements": {line(v["statements"])},\n'
            f'    "fields": {fields},\n    "expect": {expect(v["expect"])}\n  }}')


def vectors(entries):
    return "[\n" + ",\n".join(vector(v) for v in entries) + "\n]\n"


def rows(values, indent="  "):
    return "[\n" + ",\n".join(indent + line(v) for v in values) + "\n" + indent[2:] + "]"


def tables(value):
    """Formats an object whose members are lists of rows."""
    return "{\n" + ",\n".join(f'  {line(k)}: {rows(v, "    ")}' for k, v in value.items()) + "\n}\n"
