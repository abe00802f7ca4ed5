"""The check that vectors show every statement about bytes."""

import pathlib

WHOLE_LENGTH = ("A length prefix of two bytes cannot name a longer text, and a text of 65,535 bytes is too large for these "
                "files.")
ONLY_ACCEPT = {
    ("MQTT-1.5.3-3", "3.1.1"): "It forbids a receiver to change the text; no bytes can violate it.",
    ("MQTT-1.5.4-3", "5.0"): "It forbids a receiver to change the text; no bytes can violate it.",
    ("MQTT-2.3.1-5", "3.1.1"): "Two bytes in the place of the identifier are payload, which may be anything.",
    ("section 1.5.4", "5.0"): "A receiver may refuse these characters, and does so only when it is told to.",
    ("section 3.4.2.1", "5.0"): "It is a permission to leave fields out; no bytes can violate it.",
    ("section 3.14.2.1", "5.0"): "It is a permission to leave fields out; no bytes can violate it.",
}
NONE = {("MQTT-4.7.3-3", "3.1.1"): WHOLE_LENGTH, ("MQTT-4.7.3-3", "5.0"): WHOLE_LENGTH}

TABLE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "conformance" / "statements.tsv"


def table():
    """Yields each statement, as a vector names it, with its version and its kind."""
    for line in TABLE.read_text("utf-8").splitlines()[1:]:
        version, statement, _, _, kind, *_ = line.split("\t")
        if statement.startswith("U-"):
            # A rule without a number is named by its section. Two rules of one section differ in a letter.
            statement = "section " + statement.split("-")[1]
        yield statement, version, kind


KNOWN = list(table())
CODEC = list(dict.fromkeys((statement, version) for statement, version, kind in KNOWN if kind == "codec"))


def ambiguous(files):
    """Yields each vector for several versions that names a statement which it shows in only one of them."""
    known = {v: {s for s, w, _ in KNOWN if w == v} for v in ("3.1.1", "5.0")}
    for file in files:
        for vector in file.list:
            for version in vector["versions"]:
                for statement in vector["statements"]:
                    if statement in known.get(version, ()) and statement not in vector["shown"][version]:
                        yield f"{vector['name']}: {statement} is another statement in {version}"


def shown(files):
    out = set()
    for file in files:
        for vector in file.list:
            for version in vector["versions"]:
                for statement in vector["shown"][version]:
                    out.add((statement, version, vector["expect"]["outcome"]))
    return out


def write(files):
    """Returns the rows of statements.json, and the errors in the vectors."""
    seen, rows, faults = shown(files), [], list(ambiguous(files))
    for statement, version in CODEC:
        accept, reject = ((statement, version, outcome) in seen for outcome in ("accept", "reject"))
        row = {"id": statement, "version": version}
        if (statement, version) in NONE:
            rows.append(dict(row, vectors="none", why=NONE[statement, version]))
            if accept or reject:
                faults.append(f"{statement} of {version} has a vector, and is said to have none")
        elif (statement, version) in ONLY_ACCEPT:
            rows.append(dict(row, vectors="accept", why=ONLY_ACCEPT[statement, version]))
            if not accept:
                faults.append(f"{statement} of {version} has no vector that is accepted")
            if reject:
                faults.append(f"{statement} of {version} has a vector that is rejected, and is said to have none")
        else:
            if not accept:
                faults.append(f"{statement} of {version} has no vector that is accepted")
            if not reject:
                faults.append(f"{statement} of {version} has no vector that is rejected")
    return rows, faults
