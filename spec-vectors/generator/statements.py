"""Every statement about bytes, and the check that vectors show it."""

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

CODEC_3 = """
1.5.3-1 1.5.3-2 1.5.3-3 2.2.2-1 2.2.2-2 2.3.1-1 2.3.1-5 3.1.2-1 3.1.2-3 3.1.2-9 3.1.2-11 3.1.2-13 3.1.2-14 3.1.2-15
3.1.2-18 3.1.2-19 3.1.2-20 3.1.2-21 3.1.2-22 3.1.3-1 3.1.3-3 3.1.3-4 3.1.3-7 3.1.3-10 3.1.3-11 3.1.4-1 3.2.2-4 3.3.1-2
3.3.1-4 3.3.2-1 3.3.2-2 3.6.1-1 3.8.1-1 3.8.3-1 3.8.3-3 3.8.3-4 3.9.3-2 3.10.1-1 3.10.3-1 3.10.3-2 3.14.1-1 4.7.1-1
4.7.1-2 4.7.1-3 4.7.3-1 4.7.3-2 4.7.3-3
"""
CODEC_5 = """
1.5.4-1 1.5.4-2 1.5.4-3 1.5.5-1 1.5.7-1 2.1.3-1 2.2.1-2 2.2.2-1 3.1.2-1 3.1.2-3 3.1.2-9 3.1.2-11 3.1.2-12 3.1.2-13
3.1.2-16 3.1.2-17 3.1.2-18 3.1.2-19 3.1.3-1 3.1.3-3 3.1.3-4 3.1.3-11 3.1.3-12 3.1.4-1 3.2.2-1 3.2.2-6 3.2.2-8 3.3.1-2
3.3.1-4 3.3.2-1 3.3.2-2 3.3.2-8 3.3.2-13 3.3.2-14 3.3.2-19 3.3.4-6 3.4.2-1 3.5.2-1 3.6.1-1 3.6.2-1 3.7.2-1 3.8.1-1
3.8.3-1 3.8.3-2 3.8.3-4 3.8.3-5 3.9.3-2 3.10.1-1 3.10.3-1 3.10.3-2 3.11.3-2 3.14.1-1 3.14.2-1 3.15.1-1 3.15.2-1 4.7.0-1
4.7.1-1 4.7.1-2 4.7.3-1 4.7.3-2 4.7.3-3 4.8.2-1 4.8.2-2
"""
SECTIONS_5 = """
1.5.4 2.1.4 2.2.2.2 3.1.2.3 3.1.2.11.3 3.1.2.11.4 3.1.2.11.6 3.1.2.11.7 3.1.2.11.10 3.2.2.3.4 3.2.2.3.5 3.3.1.2 3.3.2.1
3.3.2.3.8 3.4.2.1 3.8.3.1 3.8.2.1.2 3.8.3 3.10.3 3.14.2.1 3.15.2.1
"""

STATEMENTS = [("MQTT-" + s, "3.1.1") for s in CODEC_3.split()]
STATEMENTS += [("MQTT-" + s, "5.0") for s in CODEC_5.split()]
STATEMENTS += [("section " + s, "5.0") for s in SECTIONS_5.split()]


def ambiguous(files):
    """Yields each vector for several versions that names a statement which it shows in only one of them."""
    known = {v: {s for s, w in STATEMENTS if w == v} for v in ("3.1.1", "5.0")}
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
    for statement, version in STATEMENTS:
        accept, reject = ((statement, version, outcome) in seen for outcome in ("accept", "reject"))
        row = {"id": statement, "version": version}
        if (statement, version) in NONE:
            row.update(shown_by="none", why=NONE[statement, version])
        elif (statement, version) in ONLY_ACCEPT:
            row.update(shown_by="vectors", only="accept", why=ONLY_ACCEPT[statement, version])
            if not accept:
                faults.append(f"{statement} of {version} has no vector that is accepted")
            if reject:
                faults.append(f"{statement} of {version} has a vector that is rejected, and is said to have none")
        else:
            row.update(shown_by="vectors")
            if not accept:
                faults.append(f"{statement} of {version} has no vector that is accepted")
            if not reject:
                faults.append(f"{statement} of {version} has no vector that is rejected")
        rows.append(row)
    return rows, faults
