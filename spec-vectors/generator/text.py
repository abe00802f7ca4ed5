"""Strings: well-formed and ill-formed UTF-8, U+0000 and U+FEFF, in every field with a string."""

from .encode import encode
from .table import PROPERTIES as TABLE
from .vectors import *
from .vectors import (publish_value, subscribe_value, subscription_value, unsubscribe_value)
from .vectors import connect_value, will_value
from .properties import direction_of, place_tag, value_with

TAGS = {"3.1": "v31", "3.1.1": "v311", "5.0": "v5"}


def broken(hexadecimal):
    """Returns bytes that are not a string, in the form that the wire helpers take."""
    return bytes.fromhex(hexadecimal).decode("utf-8", "surrogateescape")


# name, bytes; the error is at the first of them
ILL = [
    ("lone-continuation-80", "80"), ("lone-continuation-bf", "bf"), ("two-continuations", "8080"),
    ("overlong-2-null", "c080"), ("overlong-2-slash", "c0af"), ("overlong-2-last", "c1bf"),
    ("overlong-3-null", "e08080"), ("overlong-3-slash", "e080af"), ("overlong-3-last", "e09fbf"),
    ("overlong-4-null", "f0808080"), ("overlong-4-slash", "f08080af"), ("overlong-4-last", "f08fbfbf"),
    ("surrogate-first", "eda080"), ("surrogate-last-high", "edafbf"), ("surrogate-first-low", "edb080"),
    ("surrogate-last", "edbfbf"), ("surrogate-pair", "eda0bdedb880"),
    ("above-10ffff", "f4908080"), ("above-f5", "f5808080"), ("above-f7", "f7bfbfbf"), ("five-bytes", "f888808080"),
    ("six-bytes", "fc8480808080"), ("byte-fe", "fe"), ("byte-ff", "ff"),
    ("truncated-2-then-letter", "c328"), ("truncated-3-then-letter", "e628"), ("truncated-3-by-one-then-letter", "e6b828"),
    ("truncated-4-then-letter", "f028"), ("truncated-4-by-two-then-letter", "f09f28"),
    ("truncated-4-by-one-then-letter", "f09f8c28"), ("truncated-2-then-slash", "c32f"),
    ("truncated-3-then-another", "e6b8c3a4"),
]
AT_END = [
    ("truncated-2-at-end", "c3"), ("truncated-3-at-end", "e6"), ("truncated-3-by-one-at-end", "e6b8"),
    ("truncated-4-at-end", "f0"), ("truncated-4-by-two-at-end", "f09f"), ("truncated-4-by-one-at-end", "f09f8c"),
]
WELL = [
    ("u0001", "\x01"), ("u001f", "\x1f"), ("u007f", "\x7f"), ("u0080", "\x80"), ("u009f", "\x9f"), ("u00a0", "\xa0"),
    ("u07ff", "\u07ff"), ("u0800", "\u0800"), ("ud7ff", "\ud7ff"), ("ue000", "\ue000"), ("ufdd0", "\ufdd0"),
    ("ufffd", "\ufffd"), ("ufffe", "\ufffe"), ("uffff", "\uffff"), ("u10000", "\U00010000"), ("u1fffe", "\U0001fffe"),
    ("u10ffff", "\U0010ffff"), ("combining", "a\u0308"),
]
CONTROL = {"u0001", "u001f", "u007f", "u0080", "u009f", "ufdd0", "ufffe", "uffff", "u1fffe", "u10ffff"}


def publish(topic):
    """A packet with an invalid topic. The byte after it is a property length in 5.0 and payload in other versions."""
    return encode("3.1.1", publish_value(topic_name=topic, payload="00"))


def in_topics(v):
    strings = ["MQTT-3.3.2-1"]
    for name, hexadecimal in ILL:
        v.reject(f"topic-{name}", ALL, EITHER, publish("a/" + broken(hexadecimal) + "b"),
                 malformed(ILL_FORMED, "topic_name", ("topic_name.data", 2)), strings)
        v.reject(f"topic-{name}-first", ALL, EITHER, publish(broken(hexadecimal) + "b"),
                 malformed(ILL_FORMED, "topic_name", "topic_name.data"), strings)
    for name, hexadecimal in AT_END:
        v.reject(f"topic-{name}", ALL, EITHER, publish("a/" + broken(hexadecimal)),
                 malformed(ILL_FORMED, "topic_name", ("topic_name.data", 2)), strings)
        v.reject(f"topic-{name}-after-non-ascii", ALL, EITHER, publish("\u6e29/" + broken(hexadecimal)),
                 malformed(ILL_FORMED, "topic_name", ("topic_name.data", 4)), strings)
    for tag, versions in (("v3", V3), ("v5", V5)):
        good = by_version(["MQTT-1.5.3-1", "MQTT-3.3.2-1"], ["MQTT-1.5.4-1", "MQTT-3.3.2-1"])
        for name, character in WELL:
            shows = {k: s + (["section 1.5.4"] if name in CONTROL and k == "5.0" else []) for k, s in good.items()}
            v.accept(f"topic-{name}-{tag}", versions, EITHER, publish_value(topic_name=f"a/{character}/b"), shows=shows)
        bom = by_version(["MQTT-1.5.3-3"], ["MQTT-1.5.4-3"])
        for name, topic in (("first", "\ufeffa"), ("inside", "a/\ufeff/b"), ("last", "a\ufeff"), ("alone", "\ufeff"),
                            ("twice", "\ufeff\ufeffa")):
            v.accept(f"topic-ufeff-{name}-{tag}", versions, EITHER, publish_value(topic_name=topic), shows=bom)
    for name, topic, at in (("first", "\0a", 0), ("inside", "a\0b", 1), ("last", "a\0", 1), ("alone", "\0", 0)):
        v.reject(f"topic-null-{name}", ALL, EITHER, publish(topic),
                 malformed(NULL, "topic_name", ("topic_name.data", at)), ["MQTT-4.7.3-2"])


def positions(v):
    """The same error at every position of a topic of 25 bytes, around the boundaries of machine words."""
    letters = "abcdefghijklmnopqrstuvwxy"
    for at in range(25):
        def put(character):
            return letters[:at] + character + letters[at + 1:]

        where = ("topic_name.data", at)
        v.reject(f"position-{at:02}-byte-ff", ALL, EITHER, publish(put(broken("ff"))),
                 malformed(ILL_FORMED, "topic_name", where))
        v.reject(f"position-{at:02}-null", ALL, EITHER, publish(put("\0")), malformed(NULL, "topic_name", where))
        for name, wildcard in (("plus", "+"), ("hash", "#")):
            v.reject(f"position-{at:02}-{name}", ALL, EITHER, publish(put(wildcard)),
                     malformed("MQTT-3.3.2-2", "topic_name", where, 0x90))
            for tag, versions, version in (("v3", V3, "3.1.1"), ("v5", V5, "5.0")):
                clause = by_version("MQTT-4.7.1-3", "MQTT-4.7.1-2") if wildcard == "+" else by_version(
                    "MQTT-4.7.1-2", "MQTT-4.7.1-1")
                v.reject(f"position-{at:02}-filter-{name}-{tag}", versions, TO_SERVER,
                         encode(version, subscribe_value(subscription_value(put(wildcard)))),
                         malformed(clause, "topic_filter", ("topic_filter.data", at), 0x8F))
        v.accept(f"position-{at:02}-two-bytes-v3", V3, EITHER, publish_value(topic_name=put("\u00e9")))
        v.accept(f"position-{at:02}-two-bytes-v5", V5, EITHER, publish_value(topic_name=put("\u00e9")))
        v.reject(f"position-{at:02}-non-ascii-then-plus", ALL, EITHER, publish(put("\u00e9+")),
                 malformed("MQTT-3.3.2-2", "topic_name", ("topic_name.data", at + 2), 0x90))
        v.reject(f"position-{at:02}-non-ascii-then-null", ALL, EITHER, publish(put("\u6e29\0")),
                 malformed(NULL, "topic_name", ("topic_name.data", at + 3)))


def fields():
    """Yields every field with a string: tag, versions, direction, field, mark of its bytes, statements, value of a
    packet."""
    for version in ALL:
        tag, five = TAGS[version], version == "5.0"

        def client(text, version=version):
            return connect_value(version, client_identifier=text)

        def will(text, version=version):
            return connect_value(version, will=will_value(topic=text))

        def user(text, version=version):
            return connect_value(version, user_name=text)

        yield f"connect-client-identifier-{tag}", [version], TO_SERVER, "client_identifier", "", ["MQTT-3.1.3-4"], client
        yield (f"connect-will-topic-{tag}", [version], TO_SERVER, "will_topic", "",
               ["MQTT-3.1.3-11" if five else "MQTT-3.1.3-10"], will)
        yield (f"connect-user-name-{tag}", [version], TO_SERVER, "user_name", "",
               ["MQTT-3.1.3-12" if five else "MQTT-3.1.3-11"], user)
    for tag, versions in (("v3", V3), ("v5", V5)):
        yield (f"publish-topic-name-{tag}", versions, EITHER, "topic_name", "", ["MQTT-3.3.2-1"],
               lambda text: publish_value(topic_name=text))
        yield (f"subscribe-topic-filter-{tag}", versions, TO_SERVER, "topic_filter", "", ["MQTT-3.8.3-1"],
               lambda text: subscribe_value(subscription_value(text)))
        yield (f"unsubscribe-topic-filter-{tag}", versions, TO_SERVER, "topic_filter", "", ["MQTT-3.10.3-1"],
               lambda text: unsubscribe_value(text))
    own = {"response_topic": ["MQTT-3.3.2-13"], "content_type": ["MQTT-3.3.2-19"]}
    for prop in TABLE:
        for place in prop.places:
            tag = f"{place_tag(place)}-{prop.name.replace('_', '-')}"
            if prop.type == "text":
                yield (tag, V5, direction_of(prop, place), prop.name, "",
                       own.get(prop.name, []) if place == "PUBLISH" else [],
                       lambda text, p=prop, q=place: value_with(q, {p.name: text}))
            elif prop.type == "pair":
                yield (tag + "-name", V5, direction_of(prop, place), prop.name, "", ["MQTT-1.5.7-1"],
                       lambda text, q=place: value_with(q, {"user_properties": [[text, "v"]]}))
                yield (tag + "-value", V5, direction_of(prop, place), prop.name, ".value", ["MQTT-1.5.7-1"],
                       lambda text, q=place: value_with(q, {"user_properties": [["k", text]]}))


def in_every_field(v):
    for tag, versions, direction, field, half, shows, value in fields():
        where = (f"{field}{half}.data", 2)

        def bad(text):
            return encode(versions[0], value(text))

        topics = ["MQTT-4.7.3-2"] if "topic" in field else []
        v.accept(f"text-ufeff-{tag}", versions, direction, value("\ufeffa\u00e9"),
                 shows=by_version(["MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-1.5.3-3", *shows],
                                  ["MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-1.5.4-3", *shows]))
        v.reject(f"text-null-{tag}", versions, direction, bad("ab\0c"), malformed(NULL, field, where), shows[1:] + topics)
        v.reject(f"text-byte-ff-{tag}", versions, direction, bad("ab" + broken("ff") + "c"),
                 malformed(ILL_FORMED, field, where), shows)
        v.reject(f"text-surrogate-{tag}", versions, direction, bad("ab" + broken("eda080") + "c"),
                 malformed(ILL_FORMED, field, where), shows)
        v.reject(f"text-overlong-null-{tag}", versions, direction, bad("ab" + broken("c080") + "c"),
                 malformed(ILL_FORMED, field, where), shows)
        v.reject(f"text-truncated-{tag}", versions, direction, bad("ab" + broken("f09f8c")),
                 malformed(ILL_FORMED, field, where), shows)


def write():
    v = Vectors("text")
    in_topics(v)
    positions(v)
    in_every_field(v)
    return v
