"""The first byte, the remaining length, incomplete packets, and packets from the wrong sender."""

from .encode import encode
from .vectors import *
from .vectors import (ack_value, connack_value, connect_value, end_value, list_ack_value, publish_value, subscribe_value,
                      unsubscribe_value)
from .wire import NAMES, TYPES, first_byte, flat, frame, join, raw, text

FIRST = {"PUBREL": 2, "SUBSCRIBE": 2, "UNSUBSCRIBE": 2}
CLAUSE = {"PUBREL": "MQTT-3.6.1-1", "SUBSCRIBE": "MQTT-3.8.1-1", "UNSUBSCRIBE": "MQTT-3.10.1-1",
          "DISCONNECT": "MQTT-3.14.1-1", "AUTH": "MQTT-3.15.1-1"}
VERSIONS = {"v31": "3.1", "v311": "3.1.1", "v5": "5.0"}


def sample(kind, version):
    """Returns a small packet of each type, and its sender."""
    if kind == "CONNECT":
        return connect_value(version), TO_SERVER
    if kind == "CONNACK":
        return connack_value(), TO_CLIENT
    if kind == "PUBLISH":
        return publish_value(), EITHER
    if kind in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        return ack_value(kind), EITHER
    if kind == "SUBSCRIBE":
        return subscribe_value(), TO_SERVER
    if kind == "UNSUBSCRIBE":
        return unsubscribe_value(), TO_SERVER
    if kind == "SUBACK":
        return list_ack_value(kind, 0), TO_CLIENT
    if kind == "UNSUBACK":
        return list_ack_value(kind, *([0] if version == "5.0" else [])), TO_CLIENT
    if kind == "PINGREQ":
        return dict(type=kind), TO_SERVER
    if kind == "PINGRESP":
        return dict(type=kind), TO_CLIENT
    if kind == "DISCONNECT":
        return end_value(kind), EITHER if version == "5.0" else TO_SERVER
    return end_value(kind), EITHER


def flags(v):
    """Every value of the flags of every packet except PUBLISH, which has a table of its own."""
    for kind in TYPES:
        if kind == "PUBLISH":
            continue
        for nibble in range(16):
            expected = FIRST.get(kind, 0)
            for tag, version in VERSIONS.items():
                versions = [version]
                # 3.1 uses QoS 1 and DUP in three packets, and no flags in others except PUBLISH.
                unused = version == "3.1" and (kind not in FIRST or nibble & 0b0110 == 0b0010)
                if kind == "AUTH" and version != "5.0":
                    continue
                packet, direction = sample(kind, version)
                first = TYPES[kind] << 4 | nibble
                fields = [first_byte(first)] + encode(version, packet)[1:]
                name = f"flags-{kind.lower()}-{nibble:04b}-{tag}"
                general = ["MQTT-2.1.3-1"] if version == "5.0" else ["MQTT-2.2.2-1", "MQTT-2.2.2-2"]
                own = [CLAUSE[kind]] if kind in CLAUSE else []
                if nibble == expected:
                    v.accept(name, versions, direction, packet, fields=fields, shows=general + own)
                elif unused:
                    v.accept(name, versions, direction, packet, fields=fields, canonical=False)
                else:
                    v.reject(name, versions, direction, fields,
                             malformed(CLAUSE.get(kind, FLAGS), "flags", 0), general)


def types(v):
    for tag, version in VERSIONS.items():
        for nibble in (0, 2, 15):
            v.reject(f"packet-type-0-flags-{nibble:04b}-{tag}", [version], EITHER, frame(nibble),
                     malformed(PACKET_TYPE, "packet_type", 0))
    for tag, version in list(VERSIONS.items())[:2]:
        v.reject(f"packet-type-15-flags-1111-{tag}", [version], EITHER,
                 frame(0xFF, note="type 15, which this version does not have"), malformed(PACKET_TYPE, "packet_type", 0))
    for kind in TYPES:
        for tag, version in VERSIONS.items():
            if kind == "AUTH" and version != "5.0":
                continue
            packet, direction = sample(kind, version)
            if direction != EITHER:
                wrong = TO_CLIENT if direction == TO_SERVER else TO_SERVER
                v.reject(f"wrong-side-{kind.lower()}-{tag}", [version], wrong, encode(version, packet),
                         protocol_error(PACKET_TYPE, "packet_type", 0))


def lengths(v):
    shows = by_version(["section 2.2.3"], ["section 2.1.4", "MQTT-1.5.5-1"])
    for count in (127, 128, 129, 255, 256):
        v.accept(f"remaining-length-{count}-v3", V3, EITHER, publish_value(payload="78" * (count - 5)), shows=shows)
        v.accept(f"remaining-length-{count}-v5", V5, EITHER, publish_value(payload="78" * (count - 6)), shows=shows)
    v.accept("remaining-length-0", ALL, TO_SERVER, dict(type="PINGREQ"), fields=frame(0xC0), shows=shows)
    for count in (127, 128, 16383, 16384, 2097151, 2097152, 268435455):
        v.add(f"remaining-length-{count}-header-only", ALL, EITHER, frame(0x30, length=count), incomplete(count))
    v.add("remaining-length-268435455-connect", ALL, TO_SERVER, frame(0x10, length=268435455), incomplete(268435455))
    v.add("remaining-length-16384-begun", ALL, EITHER,
          frame(0x30, text("topic_name", "a/b"), raw("00ff", "the first bytes of what follows"), length=16384),
          incomplete(16384 - 7))
    for name, first, hexadecimal in (
            ("ffffffff", 0x30, "ffffffff"), ("80808080", 0x30, "80808080"), ("8080808001", 0x30, "8080808001"),
            ("ffffffff7f", 0x30, "ffffffff7f"), ("8080808000", 0x30, "8080808000"), ("ping-ffffffff", 0xD0, "ffffffff"),
            ("ack-8080808001", 0x40, "8080808001")):
        direction = TO_CLIENT if first == 0xD0 else EITHER
        v.reject(f"remaining-length-five-bytes-{name}", ALL, direction,
                 [first_byte(first), raw(hexadecimal, "remaining length, the fourth byte announces a fifth")],
                 malformed(LENGTH, "remaining_length", 4))
    for first, hexadecimal in ((0xC0, "8000"), (0xC0, "808000"), (0xC0, "80808000"), (0x30, "8500"), (0x30, "858000"),
                               (0x30, "85808000"), (0x30, "ff00"), (0x30, "ffff00"), (0x30, "ffffff00")):
        body = [text("topic_name", "a/b")] if hexadecimal.startswith("85") else []
        v.reject(f"remaining-length-over-long-{hexadecimal}", ALL, TO_SERVER if first == 0xC0 else EITHER,
                 [first_byte(first), raw(hexadecimal, "remaining length in more bytes than it needs"), body],
                 malformed(by_version("section 2.2.3", "MQTT-1.5.5-1"), "remaining_length", len(hexadecimal) // 2))


def pieces(v):
    v.add("incomplete-nothing", ALL, EITHER, [], incomplete(2))
    for kind in TYPES:
        for tag, version in VERSIONS.items():
            if kind == "AUTH" and version != "5.0":
                continue
            packet, direction = sample(kind, version)
            whole = join(encode(version, packet))
            every = (kind, tag) in (("PUBLISH", "v5"), ("PUBLISH", "v311"), ("CONNECT", "v311"), ("SUBSCRIBE", "v5"))
            for count in range(1, len(whole)):
                if every or count in (1, 2, len(whole) - 1):
                    v.add(f"incomplete-{kind.lower()}-{tag}-{count}-of-{len(whole)}", [version], direction,
                          raw(whole[:count].hex(), f"the first {count} of the {len(whole)} bytes of {NAMES[whole[0] >> 4]}"),
                          incomplete(len(whole) - count if count > 1 else 1))
    for hexadecimal in ("3080", "3080ff", "30ffffff"):
        v.add(f"incomplete-remaining-length-{hexadecimal}", ALL, EITHER,
              [first_byte(0x30), raw(hexadecimal[2:], "a remaining length that is not finished")], incomplete(1))
    # The first byte alone is invalid.
    alone = "and nothing else yet"
    for hexadecimal, versions, expect in (
            ("36", ALL, malformed("MQTT-3.3.1-4", "flags", 0)), ("38", ALL, malformed("MQTT-3.3.1-2", "flags", 0)),
            ("60", ALL, malformed("MQTT-3.6.1-1", "flags", 0)), ("41", V4, malformed(FLAGS, "flags", 0)),
            ("00", ALL, malformed(PACKET_TYPE, "packet_type", 0))):
        v.reject(f"first-byte-{hexadecimal}-alone", versions, EITHER, raw(hexadecimal, "a first byte that is wrong, " + alone),
                 expect)
        v.reject(f"first-byte-{hexadecimal}-and-half-a-length", versions, EITHER,
                 [raw(hexadecimal, "a first byte that is wrong"), raw("80", "half of a remaining length")], expect)
    # The flags of a CONNECT are valid or invalid by the version in the packet, whatever version the decoder is given.
    v.add("first-byte-11-alone", ALL, TO_SERVER, raw("11", "CONNECT, flags 0001, " + alone), incomplete(1))
    v.add("first-byte-41-alone-v31", V31, EITHER, raw("41", "PUBACK with RETAIN, which 3.1 does not use, " + alone),
          incomplete(1))
    v.reject("first-byte-f0-alone", V3, EITHER, raw("f0", "type 15, " + alone), malformed(PACKET_TYPE, "packet_type", 0))
    v.reject("first-byte-20-alone-from-client", ALL, TO_SERVER, raw("20", "CONNACK, " + alone),
             protocol_error(PACKET_TYPE, "packet_type", 0))
    v.reject("first-byte-82-alone-from-server", ALL, TO_CLIENT, raw("82", "SUBSCRIBE, " + alone),
             protocol_error(PACKET_TYPE, "packet_type", 0))


def write():
    v = Vectors("fixed-header")
    types(v)
    flags(v)
    lengths(v)
    pieces(v)
    return v
