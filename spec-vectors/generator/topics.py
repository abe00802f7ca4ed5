"""Topic names, topic filters, and the pairs that match."""

from .vectors import by_version

WILDCARD = by_version("MQTT-4.7.1-1", "MQTT-4.7.0-1")
NULL = by_version("MQTT-1.5.3-2", "MQTT-1.5.4-2")
EMPTY = "MQTT-4.7.3-1"
HASH = by_version("MQTT-4.7.1-2", "MQTT-4.7.1-1")
PLUS = by_version("MQTT-4.7.1-3", "MQTT-4.7.1-2")
NAME, BEHIND = "MQTT-4.8.2-1", "MQTT-4.8.2-2"
ALL = ["3.1", "3.1.1", "5.0"]
V3, V5 = ALL[:2], ALL[2:]
LONG = "/".join("abcdefghij" for _ in range(60))
DEEP = "/" * 400

NAMES = [
    # valid
    ("a", None), ("/", None), ("//", None), ("/a", None), ("a/", None), ("a/b", None), ("a//b", None), (" ", None),
    ("a b", None), ("A/B", None), ("$", None), ("$SYS", None), ("$SYS/a", None), ("a/$b", None), ("$share/g/a", None),
    ("$share", None), ("$share/", None), ("\u00e9", None), ("e\u0301", None), ("\u6e29\u5ea6/\u5ba4\u5185", None),
    ("\U0001f321", None), ("\ufeff", None), ("\ufeffa", None), ("\x01", None), ("\x7f", None), ("\uffff", None),
    ("*", None), ("a.b.c", None), ("a\\b", None), ("%2B", None), ("\uff0b", None), ("\uff03", None), (LONG, None), (DEEP, None),
    # invalid
    ("", EMPTY), ("+", WILDCARD), ("#", WILDCARD), ("a/+", WILDCARD), ("a/#", WILDCARD), ("+/a", WILDCARD), ("#/a", WILDCARD),
    ("a+", WILDCARD), ("+a", WILDCARD), ("a#b", WILDCARD), ("a/b+c/d", WILDCARD), ("$SYS/#", WILDCARD), ("\u00e9/+", WILDCARD),
    (LONG + "/#", WILDCARD), (LONG + "+", WILDCARD), ("\0", NULL), ("a\0", NULL), ("\0a", NULL), ("a/\0/b", NULL),
]

# text, versions, clause if invalid, share name, filter after it
FILTERS = [
    # valid in every version
    *[(text, ALL, None, None, text) for text in (
        "a", "/", "//", "/a", "a/", "a/b", "a//b", " ", "$", "$SYS", "$SYS/#", "$SYS/+", "#", "+", "/#", "/+", "+/", "+/+",
        "+//+", "a/#", "a/+", "+/a", "a/+/b", "a/+/#", "+/#", "+/a/#", "a/b/c/#", "//#", "a//#", "$share", "$SHARE/g",
        "$SHARE/g/a", "$Share/g/a", "$shared", "$shared/#", "$sharex", "/$share/g/a", "a/$share/g",
        "\u00e9/+", "\u6e29\u5ea6/#", "\U0001f321", "\ufeff/+", "\x01/#", "\uff0b", "a\uff03", LONG, LONG + "/#", LONG + "/+",
        DEEP, DEEP + "#", "+/" * 100 + "#")],
    # invalid in every version
    *[(text, ALL, clause, None, None) for text, clause in (
        ("", EMPTY), ("##", HASH), ("#/", HASH), ("#/a", HASH), ("#/#", HASH), ("a#", HASH), ("#a", HASH), ("a/#/b", HASH),
        ("a/b#", HASH), ("a/#b", HASH), ("/#/", HASH), ("a#/b", HASH), (" #", HASH), ("\u00e9#", HASH), ("$#", HASH),
        (LONG + "#", HASH), ("++", PLUS), ("a+", PLUS), ("+a", PLUS), ("a/+b", PLUS), ("a/b+", PLUS), ("a+/b", PLUS),
        ("a/b+c/d", PLUS), ("+ ", PLUS), ("+\u00e9", PLUS), ("$+", PLUS), (LONG + "+", PLUS), ("\0", NULL), ("a\0", NULL),
        ("+/\0", NULL), ("$shareg+/a", PLUS))],
    # shared in 5.0; not special in 3.1 and 3.1.1
    *[(f"$share/{share}/{text}", V5, None, share, text) for share, text in (
        ("g", "a"), ("g", "a/b"), ("g", "#"), ("g", "+"), ("g", "/"), ("g", "//"), ("g", "/a"), ("g", "a/"), ("g", "a/#"),
        ("g", "+/b"), ("g", "$SYS/#"), ("g", "$share/h/a"), ("$share", "a"), ("$", "a"), (" ", " "), ("G", "A"), ("group-1", "a"),
        ("\u6e29", "\u5ea6/#"), ("\U0001f600", "a"), ("g", LONG), (LONG[:10] * 20, "a"))],
    *[(text, V3, None, None, text) for text in (
        "$share/g/a", "$share/g/#", "$share/g", "$share/", "$share//a", "$share/g/", "$share/+/a", "$share/#", "$share/+")],
    *[(text, V5, clause, None, None) for text, clause in (
        ("$share/", NAME), ("$share//", NAME), ("$share//a", NAME), ("$share//#", NAME), ("$share/g", BEHIND),
        ("$share/g/", BEHIND), ("$share/group", BEHIND), ("$share/\u6e29", BEHIND), ("$share/+/a", BEHIND), ("$share/#/a", BEHIND),
        ("$share/g+/a", BEHIND), ("$share/+g/a", BEHIND), ("$share/g#/a", BEHIND), ("$share/g+h/#", BEHIND),
        ("$share/g/a#", "MQTT-4.7.1-1"), ("$share/g/#/a", "MQTT-4.7.1-1"), ("$share/g/##", "MQTT-4.7.1-1"),
        ("$share/g/a+", "MQTT-4.7.1-2"), ("$share/g/+a", "MQTT-4.7.1-2"), ("$share/g/a/b+/c", "MQTT-4.7.1-2"),
        ("$share/g/a\0", "MQTT-1.5.4-2"), ("$share/g\0/a", "MQTT-1.5.4-2"))],
]

YES, NO = True, False
# filter, name, whether they match
MATCHES = [
    # the same text
    ("a", "a", YES), ("a", "b", NO), ("a", "aa", NO), ("aa", "a", NO), ("a/b", "a/b", YES), ("a/b", "a", NO),
    ("a", "a/b", NO), ("a/b", "a/c", NO), ("a/b", "a/b/c", NO), ("a/b/c", "a/b", NO), ("a/b", "ab", NO), ("ab", "a/b", NO),
    # upper case, spaces, other characters
    ("A", "a", NO), ("a", "A", NO), ("Accounts", "accounts", NO), ("a/B", "a/b", NO), ("a b", "a b", YES), ("a b", "a  b", NO),
    (" a", "a", NO), ("a", "a ", NO), (" ", " ", YES), ("*", "a", NO), ("*", "*", YES), ("a.b", "a/b", NO), ("a\\b", "a/b", NO),
    ("%61", "a", NO), ("a?", "ab", NO),
    # characters beyond ASCII, without normalization
    ("\u00e9", "\u00e9", YES), ("\u00e9", "e\u0301", NO), ("e\u0301", "\u00e9", NO), ("\u00e9", "e", NO),
    ("\u6e29\u5ea6/+", "\u6e29\u5ea6/\u5ba4\u5185", YES), ("\u6e29\u5ea6/+", "\u6e29/\u5ba4\u5185", NO),
    ("+/\u5ba4\u5185", "\u6e29\u5ea6/\u5ba4\u5185", YES), ("\u6e29/#", "\u6e29\u5ea6", NO), ("\U0001f321/#", "\U0001f321/a/b", YES),
    ("\ufeffa", "a", NO), ("a", "\ufeffa", NO), ("\ufeffa", "\ufeffa", YES), ("\u00c9", "\u00e9", NO), ("a/\u212a", "a/K", NO),
    ("\uff0b", "a", NO), ("\uff03", "a", NO), ("\uff0b", "\uff0b", YES),
    # empty levels and slashes at the ends
    ("/", "/", YES), ("/", "//", NO), ("//", "/", NO), ("//", "//", YES), ("/a", "/a", YES), ("/a", "a", NO), ("a", "/a", NO),
    ("a/", "a/", YES), ("a/", "a", NO), ("a", "a/", NO), ("a//b", "a//b", YES), ("a//b", "a/b", NO), ("a/b", "a//b", NO),
    ("a/b/", "a/b", NO), ("//a", "/a", NO),
    # +
    ("+", "a", YES), ("+", "abc", YES), ("+", "a/b", NO), ("+", "/a", NO), ("+", "a/", NO), ("+", "/", NO), ("+/+", "/", YES),
    ("+/+", "/a", YES), ("+/+", "a/", YES), ("+/+", "a/b", YES), ("+/+", "a", NO), ("+/+", "a/b/c", NO), ("+/+", "//", NO),
    ("+/+/+", "//", YES), ("/+", "/a", YES), ("/+", "/", YES), ("/+", "a", NO), ("/+", "a/b", NO), ("/+", "/a/b", NO),
    ("+/", "a/", YES), ("+/", "/", YES), ("+/", "a", NO), ("+/", "a/b", NO), ("a/+", "a/b", YES), ("a/+", "a/", YES),
    ("a/+", "a", NO), ("a/+", "a/b/c", NO), ("a/+", "b/c", NO), ("a/+", "aa/b", NO), ("+/b", "a/b", YES), ("+/b", "/b", YES),
    ("+/b", "b", NO), ("+/b", "a/c", NO), ("+/b", "a/bb", NO), ("a/+/c", "a/b/c", YES), ("a/+/c", "a//c", YES),
    ("a/+/c", "a/c", NO), ("a/+/c", "a/b/d", NO), ("a/+/c", "a/b/b/c", NO), ("a/+/c", "a/b/c/d", NO), ("+/+/c", "a/b/c", YES),
    ("a/+/+", "a/b/c", YES), ("a/+/+", "a/b", NO), ("+/b/+", "a/b/c", YES), ("+/b/+", "a/c/b", NO), ("+//+", "a//b", YES),
    ("+//+", "a/b/c", NO), ("+//+", "//", YES), ("sport/tennis/+", "sport/tennis/player1", YES),
    ("sport/tennis/+", "sport/tennis/player1/ranking", NO), ("sport/+", "sport", NO), ("sport/+", "sport/", YES),
    # #, which also matches its parent level
    ("#", "a", YES), ("#", "a/b/c", YES), ("#", "/", YES), ("#", "/a", YES), ("#", "//", YES), ("#", " ", YES),
    ("a/#", "a", YES), ("a/#", "a/", YES), ("a/#", "a/b", YES), ("a/#", "a/b/c", YES), ("a/#", "a//", YES), ("a/#", "ab", NO),
    ("a/#", "ab/c", NO), ("a/#", "b", NO), ("a/#", "/a", NO), ("a/#", "b/a", NO), ("a/#", "A/b", NO), ("a/b/#", "a/b", YES),
    ("a/b/#", "a/b/c/d", YES), ("a/b/#", "a", NO), ("a/b/#", "a/c", NO), ("a/b/#", "a/bc", NO), ("/#", "/", YES), ("/#", "/a", YES),
    ("/#", "/a/b", YES), ("/#", "a", NO), ("/#", "a/b", NO), ("/#", "//", YES), ("//#", "/", YES), ("//#", "//", YES),
    ("//#", "//a", YES), ("//#", "/a", NO), ("a//#", "a/", YES), ("a//#", "a//b", YES), ("a//#", "a", NO), ("a//#", "a/b", NO),
    ("sport/#", "sport", YES), ("sport/#", "sports", NO), ("sport/tennis/player1/#", "sport/tennis/player1", YES),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", YES),
    ("sport/tennis/player1/#", "sport/tennis/player10", NO), ("sport/tennis/player1/#", "sport/tennis/player2", NO),
    # both
    ("+/#", "a", YES), ("+/#", "a/b", YES), ("+/#", "/", YES), ("+/#", "/a/b", YES), ("a/+/#", "a/b", YES), ("a/+/#", "a/b/c", YES),
    ("a/+/#", "a", NO), ("a/+/#", "a/", YES), ("a/+/#", "a//", YES), ("+/+/#", "a", NO), ("+/+/#", "a/b", YES), ("+/+/#", "a/b/c/d", YES),
    ("+/b/#", "a/b", YES), ("+/b/#", "a/b/c", YES), ("+/b/#", "a/c/b", NO), ("+/tennis/#", "sport/tennis", YES),
    ("+/tennis/#", "tennis", NO),
    # $ at the beginning: no wildcard matches the first level
    ("#", "$SYS", NO), ("#", "$SYS/a", NO), ("#", "$", NO), ("#", "$a/b", NO), ("+", "$SYS", NO), ("+", "$", NO), ("+/a", "$SYS/a", NO),
    ("+/+", "$SYS/a", NO), ("+/#", "$SYS/a", NO), ("+/#", "$SYS", NO), ("$SYS", "$SYS", YES), ("$SYS/a", "$SYS/a", YES),
    ("$SYS/#", "$SYS", YES), ("$SYS/#", "$SYS/a/b", YES), ("$SYS/+", "$SYS/a", YES), ("$SYS/+", "$SYS/a/b", NO), ("$SYS/+", "$SYS", NO),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", YES), ("$SYS/#", "$sys/a", NO), ("$SYS/#", "$SYSTEM/a", NO), ("$/#", "$/a", YES),
    ("$/+", "$/a", YES), ("$SYS/a", "SYS/a", NO), ("/#", "/$SYS/a", YES), ("+/+", "/$SYS", YES), ("a/+", "a/$b", YES),
    ("a/#", "a/$b/c", YES), ("#", "a/$SYS", YES), ("#", "/$SYS", YES), ("+/a", "a$/a", YES), ("#", " $SYS", YES), ("$SYS/+/#", "$SYS/a", YES),
    ("#", "$share/g/a", NO), ("$SHARE/+/a", "$SHARE/g/a", YES), ("$share", "$share", YES),
    # shared: matched by the filter after the share name
    ("$share/g/a", "a", YES), ("$share/g/a", "b", NO), ("$share/g/a", "g/a", NO), ("$share/g/a", "$share/g/a", NO),
    ("$share/g/a", "a/b", NO), ("$share/g/#", "a/b", YES), ("$share/g/#", "a", YES), ("$share/g/#", "$SYS/a", NO),
    ("$share/g/+", "a", YES), ("$share/g/+", "a/b", NO), ("$share/g/+", "$SYS", NO), ("$share/g/+/b", "a/b", YES),
    ("$share/g/a/#", "a", YES), ("$share/g/a/#", "a/b/c", YES), ("$share/g/a/#", "b", NO), ("$share/g//a", "/a", YES),
    ("$share/g//a", "a", NO), ("$share/g//", "/", YES), ("$share/g/$SYS/#", "$SYS/a", YES), ("$share/g/$SYS/#", "$SYS", YES),
    ("$share/g/$share/h/a", "$share/h/a", YES), ("$share/g/$share/h/a", "a", NO), ("$share/\u6e29/\u5ea6/+", "\u5ea6/\u6e29", YES),
    ("$share/a/a", "a/a", NO), ("$share/g/A", "a", NO),
    # long topics
    (LONG, LONG, YES), (LONG, LONG + "/a", NO), (LONG + "/#", LONG, YES), (LONG + "/#", LONG + "/a/b", YES),
    (LONG + "/#", LONG + "a", NO), (LONG + "/+", LONG + "/a", YES), (LONG + "/+", LONG, NO), (LONG[:-1], LONG, NO),
    (LONG[:-1] + "J", LONG, NO), ("#", LONG, YES), ("+/#", LONG, YES), ("+/" * 59 + "+", LONG, YES), ("+/" * 58 + "+", LONG, NO),
    ("+/" * 60 + "+", LONG, NO), ("+/" * 59 + "abcdefghij", LONG, YES), ("+/" * 59 + "abcdefghiJ", LONG, NO),
    ("abcdefghij/" * 59 + "+", LONG, YES), ("abcdefghij/" * 59 + "#", LONG, YES),
    ("abcdefghij/" * 61 + "#", LONG, NO), (DEEP, DEEP, YES), (DEEP, DEEP + "/", NO), (DEEP + "#", DEEP, YES), (DEEP + "/#", DEEP, YES),
    (DEEP + "//#", DEEP, NO), ("+" + "/+" * 400, DEEP, YES), ("+" + "/+" * 399, DEEP, NO), ("+" + "/+" * 401, DEEP, NO),
    # lengths around a machine word
    ("abcdefg", "abcdefg", YES), ("abcdefgh", "abcdefgh", YES), ("abcdefghi", "abcdefghi", YES), ("abcdefgh", "abcdefgH", NO),
    ("abcdefgh", "abcdefg", NO), ("abcdefg/+", "abcdefg/i", YES), ("abcdefgh/+", "abcdefgh/i", YES), ("abcdef/+/i", "abcdef/h/i", YES),
    ("abcdefgh/#", "abcdefgh", YES), ("abcdefgh/#", "abcdefghi", NO), ("abcdefg/#", "abcdefg", YES), ("abcdefg/#", "abcdefgh", NO),
]


def matches(topic_filter, name):
    """Matches level by level, to check the rows above."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[2]
    if name[0] == "$" and topic_filter[0] in "+#":
        return False
    levels, have = topic_filter.split("/"), name.split("/")
    if levels[-1] == "#":
        levels.pop()
        have = have[:len(levels)]
    return len(levels) == len(have) and all(f in ("+", n) for f, n in zip(levels, have))


def faults():
    for topic_filter, name, expected in MATCHES:
        if matches(topic_filter, name) != expected:
            yield f"{topic_filter[:50]} and {name[:50]}: said to be {expected}"
    for what, keys in (("name", [n for n, _ in NAMES]), ("filter", [(t, *v) for t, v, *_ in FILTERS]),
                       ("match", [m[:2] for m in MATCHES])):
        for key in {k for k in keys if keys.count(k) > 1}:
            yield f"the {what} {key} is there twice"


def clause(value, versions):
    """Returns the clause if it is the same in all versions."""
    if isinstance(value, dict):
        value = {v: value[v] for v in versions}
        if len(set(value.values())) == 1:
            value = value[versions[0]]
    return value


def tables():
    return {
        "names": [dict(text=text, valid=c is None, clause=clause(c, ALL)) for text, c in NAMES],
        "filters": [dict(text=text, versions=versions, valid=c is None, share_name=share, filter=behind,
                         clause=clause(c, versions)) for text, versions, c, share, behind in FILTERS],
        "matches": [dict(filter=f, name=n, matches=m) for f, n, m in MATCHES],
    }
