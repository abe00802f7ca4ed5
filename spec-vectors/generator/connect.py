"""CONNECT."""

from .encode import block, connect_flags, encode, one_property
from .vectors import *
from .vectors import connect_value as value, will_value as will
from .wire import binary, flat, frame, raw, text, u8, u16

NAME = {"3.1": "MQIsdp", "3.1.1": "MQTT", "5.0": "MQTT"}
LEVEL = {"3.1": 3, "3.1.1": 4, "5.0": 5}
TAG = {"3.1": "v31", "3.1.1": "v311", "5.0": "v5"}


def start(version, flags, keep_alive=60, properties=None):
    """Returns the fields before the client identifier."""
    out = [text("protocol_name", NAME[version]), u8("protocol_version", LEVEL[version]),
           u8("connect_flags", flags, f"connect flags {flags:08b}"), u16("keep_alive", keep_alive)]
    if version == "5.0":
        out.append(block() if properties is None else properties)
    return out


def no_will_properties(version):
    return [block(name="will_property_length")] if version == "5.0" else []


def length(version):
    return LENGTH[version]


def accepts(v):
    valid = {"3.1": "MQTT-3.1.4-1", "3.1.1": "MQTT-3.1.4-1", "5.0": "MQTT-3.1.4-1"}
    for version in ALL:
        tag, five = TAG[version], version == "5.0"

        def accept(name, packet, shows=(), **more):
            v.accept(f"connect-{tag}-{name}", [version], TO_SERVER, packet, shows=shows, **more)

        def pick(three, four):
            return four if five else three

        accept("minimal", value(version), [
            "MQTT-3.1.2-1", "MQTT-3.1.2-3", "MQTT-3.1.3-3", "MQTT-3.1.3-4", "MQTT-3.1.4-1",
            *pick(["MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-15", "MQTT-3.1.2-18", "MQTT-3.1.2-20", "MQTT-3.1.2-22"],
                  ["MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-16", "MQTT-3.1.2-18", "MQTT-2.2.2-1",
                   "section 3.1.2.3"])],
            fields=frame(0x10, start(version, 0x02), text("client_identifier", "a")))
        accept("everything", value(
            version, clean_start=False, keep_alive=10, client_identifier="client-1",
            will=will(topic="last/will", payload="676f6e65", qos=2, retain=True), user_name="user", password="70617373"),
            [valid[version], "MQTT-3.1.3-1", "MQTT-3.1.2-9",
             *pick(["MQTT-3.1.2-19", "MQTT-3.1.2-21", "MQTT-3.1.3-10", "MQTT-3.1.3-11"],
                   ["MQTT-3.1.2-17", "MQTT-3.1.2-19", "MQTT-3.1.3-11", "MQTT-3.1.3-12"])],
            fields=frame(0x10, start(version, 0xF4, 10), text("client_identifier", "client-1"),
                         no_will_properties(version), text("will_topic", "last/will"),
                         binary("will_payload", b"gone"), text("user_name", "user"), binary("password", b"pass")))
        for qos in range(3):
            for retain in (False, True):
                shows = ["MQTT-3.1.2-9", pick("MQTT-3.1.2-14", "MQTT-3.1.2-12")]
                accept(f"will-qos{qos}" + ("-retain" if retain else ""), value(version, will=will(qos=qos, retain=retain)),
                       shows)
        accept("will-payload-empty", value(version, will=will(payload="")), ["MQTT-3.1.2-9"])
        accept("will-payload-any-bytes", value(version, will=will(payload="00ff80fe")), ["MQTT-3.1.2-9"])
        accept("will-topic-dollar", value(version, will=will(topic="$SYS/x")),
               [pick("MQTT-4.7.1-1", "MQTT-4.7.0-1")])
        accept("user-name", value(version, user_name="user"),
               pick(["MQTT-3.1.2-19", "MQTT-3.1.2-20"], ["MQTT-3.1.2-17", "MQTT-3.1.2-18"]))
        accept("user-name-password", value(version, user_name="user", password="70617373"),
               pick(["MQTT-3.1.2-21", "MQTT-3.1.2-22"], ["MQTT-3.1.2-19"]))
        accept("user-name-password-empty", value(version, user_name="", password=""),
               pick(["MQTT-3.1.2-19", "MQTT-3.1.2-21"], ["MQTT-3.1.2-17", "MQTT-3.1.2-19"]))
        accept("password-any-bytes", value(version, user_name="u", password="00fffe"),
               [pick("MQTT-3.1.2-21", "MQTT-3.1.2-19")])
        accept("not-clean", value(version, clean_start=False))
        accept("keep-alive-0", value(version, keep_alive=0))
        accept("keep-alive-65535", value(version, keep_alive=65535))
        accept("client-identifier-23-bytes", value(version, client_identifier="abcdefghijklmnopqrstuvw"),
               ["MQTT-3.1.3-4"])
        accept("client-identifier-24-bytes", value(version, client_identifier="abcdefghijklmnopqrstuvwx"),
               ["MQTT-3.1.3-4"])
        accept("client-identifier-signs", value(version, client_identifier="a/+#$ \u00e4"), ["MQTT-3.1.3-4"])
        if version != "3.1":
            accept("client-identifier-empty", value(version, client_identifier=""),
                   ["MQTT-3.1.3-3", *pick(["MQTT-3.1.3-7"], [])])
        accept("bridge", value(version, is_bridge=True))
        accept("bridge-will", value(version, is_bridge=True, will=will(topic="$SYS/broker/connection/b/state", retain=True)))
    # Bits that 3.1 calls unused or disregards.
    for bits, name in ((0x03, "reserved-flag"), (0x0A, "will-qos1-without-will"), (0x12, "will-qos2-without-will"),
                       (0x1A, "will-qos3-without-will"), (0x22, "will-retain-without-will"),
                       (0x3B, "all-unused-flags-without-will")):
        v.accept(f"connect-v31-{name}", V31, TO_SERVER, value("3.1"),
                 fields=frame(0x10, start("3.1", bits), text("client_identifier", "a")), canonical=False)
    v.accept("connect-v31-reserved-flag-will", V31, TO_SERVER, value("3.1", will=will(qos=1, retain=True)),
             fields=frame(0x10, start("3.1", 0x2F), text("client_identifier", "a"), text("will_topic", "w"),
                          binary("will_payload", b"by")), canonical=False)
    v.accept("connect-v5-client-identifier-empty-not-clean", V5, TO_SERVER,
             value("5.0", client_identifier="", clean_start=False), shows=["MQTT-3.1.3-3"])
    v.accept("connect-v5-password-alone", V5, TO_SERVER, value("5.0", password="70617373"),
             shows=["MQTT-3.1.2-16", "MQTT-3.1.2-19"])
    v.accept("connect-v5-will-password", V5, TO_SERVER, value("5.0", will=will(), password="70"),
             shows=["MQTT-3.1.2-9", "MQTT-3.1.2-19"])
    for flags, name in ((0x82, "user-name-flag"), (0xC2, "user-name-password-flags")):
        v.accept(f"connect-v31-{name}-packet-ends", V31, TO_SERVER, value("3.1"),
                 fields=frame(0x10, start("3.1", flags), text("client_identifier", "a")), canonical=False)
    v.accept("connect-v31-password-flag-packet-ends", V31, TO_SERVER, value("3.1", user_name="u"),
             fields=frame(0x10, start("3.1", 0xC2), text("client_identifier", "a"), text("user_name", "u")),
             canonical=False)
    everything = dict(
        session_expiry_interval=3600, authentication_method="m", authentication_data="00ff",
        request_problem_information=False, request_response_information=True, receive_maximum=20,
        topic_alias_maximum=10, user_properties=[["k", "1"], ["k", "2"], ["a", ""]], maximum_packet_size=65536)
    v.accept("connect-v5-all-properties", V5, TO_SERVER, value("5.0", properties=everything),
             shows=["section 3.1.2.11.3", "section 3.1.2.11.4", "section 3.1.2.11.6", "section 3.1.2.11.7",
                    "section 3.1.2.11.10", "MQTT-1.5.7-1", PROPERTIES])
    everything = dict(
        payload_format_indicator=1, message_expiry_interval=60, content_type="text/plain", response_topic="r/s",
        correlation_data="c0ffee", will_delay_interval=30, user_properties=[["k", "1"], ["k", "2"], ["a", ""]])
    v.accept("connect-v5-all-will-properties", V5, TO_SERVER, value("5.0", will=will(properties=everything)),
             shows=["MQTT-3.1.2-9", "MQTT-3.1.3-1", "MQTT-1.5.7-1", PROPERTIES])
    v.accept("connect-v5-authentication-data-before-method", V5, TO_SERVER,
             value("5.0", properties=dict(authentication_method="m", authentication_data="01")),
             fields=frame(0x10, start("5.0", 2, properties=block(one_property("authentication_data", "01"),
                                                                one_property("authentication_method", "m"))),
                          text("client_identifier", "a")),
             canonical=False, shows=["section 3.1.2.11.10"])
    v.accept("connect-v5-authentication-method-alone", V5, TO_SERVER,
             value("5.0", properties=dict(authentication_method="m")), shows=["section 3.1.2.11.10"])


def unused_flags(flags, pick):
    """Flags that 3.1 ignores and for which later versions have rules."""
    flags("reserved-flag", 0x03, "MQTT-3.1.2-3", shows=["MQTT-3.1.4-1", *pick([], ["section 3.1.2.3"])])
    for qos, bits in ((1, 0x0A), (2, 0x12)):
        flags(f"will-qos{qos}-without-will", bits, pick("MQTT-3.1.2-13", "MQTT-3.1.2-11"), shows=["MQTT-3.1.2-11"])
    flags("will-retain-without-will", 0x22, pick("MQTT-3.1.2-15", "MQTT-3.1.2-13"), shows=pick(["MQTT-3.1.2-11"], []))


def rejects(v):
    for version in ALL:
        tag, five = TAG[version], version == "5.0"

        def reject(name, fields, expect, shows=()):
            v.reject(f"connect-{tag}-{name}", [version], TO_SERVER, fields, expect, shows)

        def pick(three, four):
            return four if five else three

        def flags(name, bits, clause, *body, shows=()):
            reject(name, frame(0x10, start(version, bits), text("client_identifier", "a"), *body),
                   malformed(clause, "connect_flags", "connect_flags"), shows)

        some_will = [no_will_properties(version), text("will_topic", "w"), binary("will_payload", b"by")]
        if version != "3.1":
            unused_flags(flags, pick)
        flags("will-qos3", 0x1E, pick("MQTT-3.1.2-14", "MQTT-3.1.2-12"), some_will, shows=["MQTT-3.1.4-1"])
        flags("will-qos3-retain", 0x3E, pick("MQTT-3.1.2-14", "MQTT-3.1.2-12"), some_will)
        if not five:
            flags("password-without-user-name", 0x42, "MQTT-3.1.2-22", binary("password", b"pass"))

        def surplus(name, bits, *body, at, shows=()):
            reject(name, frame(0x10, start(version, bits), text("client_identifier", "a"), *body),
                   malformed(length(version), "remaining_length", at), shows)

        surplus("will-fields-without-will-flag", 0x02, text("will_topic", "w"), binary("will_payload", b"by"),
                at="will_topic", shows=pick(["MQTT-3.1.2-11"], []))
        surplus("user-name-without-flag", 0x02, text("user_name", "user"), at="user_name",
                shows=[pick("MQTT-3.1.2-18", "MQTT-3.1.2-16")])
        surplus("password-without-flag", 0x82, text("user_name", "user"), binary("password", b"pass"), at="password",
                shows=[pick("MQTT-3.1.2-20", "MQTT-3.1.2-18")])
        surplus("trailing-byte", 0x02, raw("00", "a byte too many", "extra"), at="extra", shows=["MQTT-3.1.4-1"])
        surplus("trailing-byte-after-password", 0xC2, text("user_name", "u"), binary("password", b"p"),
                raw("00", "a byte too many", "extra"), at="extra")

        # Missing fields.
        reject("no-payload", frame(0x10, start(version, 0x02)), malformed("MQTT-3.1.3-3", "client_identifier", "end"),
               ["MQTT-3.1.4-1"])
        if five:
            reject("no-will", frame(0x10, start(version, 0x06), text("client_identifier", "a")),
                   malformed(None, "will_property_length", "end"), ["MQTT-3.1.2-9"])
        reject("no-will-topic",
               frame(0x10, start(version, 0x06), text("client_identifier", "a"), no_will_properties(version)),
               malformed("MQTT-3.1.2-9", "will_topic", "end"))
        reject("no-will-payload",
               frame(0x10, start(version, 0x06), text("client_identifier", "a"), no_will_properties(version),
                     text("will_topic", "w")), malformed("MQTT-3.1.2-9", "will_payload", "end"))
        if version != "3.1":
            reject("no-user-name", frame(0x10, start(version, 0x82), text("client_identifier", "a")),
                   malformed(pick("MQTT-3.1.2-19", "MQTT-3.1.2-17"), "user_name", "end"))
            reject("no-password", frame(0x10, start(version, 0xC2), text("client_identifier", "a"), text("user_name", "u")),
                   malformed(pick("MQTT-3.1.2-21", "MQTT-3.1.2-19"), "password", "end"))

        # Fields that are cut short inside a complete packet.
        whole = flat(encode(version, value(version, client_identifier="cl", will=will(topic="wt", payload="0102"),
                                           user_name="us", password="0304")))[2:]
        names = {"protocol_name": "protocol_name.data", "keep_alive": "keep_alive",
                 "client_identifier": "client_identifier.data", "will_topic": "will_topic.data",
                 "will_payload": "will_payload.data", "user_name": "user_name.data", "password": "password.data"}
        for name, mark in names.items():
            at = [f.mark for f in whole].index(mark)
            cut = whole[at]._replace(hex=whole[at].hex[:-2], note=whole[at].note + ", its last byte is missing")
            known = name != "protocol_name"
            reject(f"{name.replace('_', '-')}-truncated", frame(0x10, whole[:at], cut),
                   malformed(length(version) if known else None, name, name), ["MQTT-3.1.4-1"] if known else [])
            if mark != name and known:
                reject(f"{name.replace('_', '-')}-length-truncated",
                       frame(0x10, whole[:at - 1], raw("00", "half of a length", name)),
                       malformed(length(version), name, name))
        for name in ("connect_flags", "keep_alive"):
            at = [f.mark for f in whole].index(name)
            reject(f"no-{name.replace('_', '-')}", frame(0x10, whole[:at]), malformed(length(version), name, "end"))
        reject("client-identifier-far-too-long",
               frame(0x10, start(version, 0x02), raw("ffff", "length of client identifier, 65535", "client_identifier"),
                     raw("61", "and one byte")), malformed(length(version), "client_identifier", "client_identifier"))

        # The order of the payload.
        reject("password-before-user-name",
               frame(0x10, start(version, 0xC2), text("client_identifier", "a"),
                     binary("user_name", b"\xff\xfe", "the password, where the user name belongs"),
                     binary("password", b"user", "the user name, where the password belongs")),
               malformed(ILL_FORMED, "user_name", "user_name.data"),
               ["MQTT-3.1.3-1", pick("MQTT-3.1.3-11", "MQTT-3.1.3-12")])
        reject("will-payload-before-will-topic",
               frame(0x10, start(version, 0x06), text("client_identifier", "a"), no_will_properties(version),
                     binary("will_topic", b"\xff\xfe", "the will payload, where the will topic belongs"),
                     binary("will_payload", b"w", "the will topic, where the will payload belongs")),
               malformed(ILL_FORMED, "will_topic", "will_topic.data"),
               ["MQTT-3.1.3-1", pick("MQTT-3.1.3-10", "MQTT-3.1.3-11")])

        # The will topic is a topic name.
        for name, topic, at in (("plus", "a/+", 2), ("hash", "a/#", 2), ("plus-first", "+/a", 0), ("plus-inside", "a+b", 1),
                                ("hash-alone", "#", 0)):
            reject(f"will-topic-{name}",
                   frame(0x10, start(version, 0x06), text("client_identifier", "a"), no_will_properties(version),
                         text("will_topic", topic), binary("will_payload", b"by")),
                   malformed(pick("MQTT-4.7.1-1", "MQTT-4.7.0-1"), "will_topic", ("will_topic.data", at), 0x90))
        reject("will-topic-empty",
               frame(0x10, start(version, 0x06), text("client_identifier", "a"), no_will_properties(version),
                     text("will_topic", ""), binary("will_payload", b"by")),
               malformed(EMPTY_TOPIC, "will_topic", "will_topic", 0x90))

    # Protocol names and levels.
    for version, level in (("3.1.1", 4), ("5.0", 5)):
        for tag, name in (("lower-case", "mqtt"), ("longer", "MQTTX"), ("shorter", "MQT"), ("empty", ""), ("other", "HTTP"),
                          ("space", "MQTT "), ("lower-case-old", "mqisdp")):
            body = start(version, 0x02)
            v.reject(f"connect-name-{tag}-level-{level}", [version], TO_SERVER,
                     frame(0x10, text("protocol_name", name), body[1:], text("client_identifier", "a")),
                     refused("MQTT-3.1.2-1", "protocol_name", "protocol_name", 0x84))
    for name, levels in (("MQTT", (0, 1, 3, 6, 0x7F, 0x80, 0x83, 0x86, 0xFF)), ("MQIsdp", (0, 2, 4, 5, 6, 0x84, 0x85))):
        for level in levels:
            answered = V31 if name == "MQIsdp" else V5 if 5 < level < 0x80 else V311
            v.reject(f"connect-name-{name.lower()}-level-{level}", answered, TO_SERVER,
                     frame(0x10, text("protocol_name", name), u8("protocol_version", level),
                           u8("connect_flags", 2, "connect flags 00000010"), u16("keep_alive", 60),
                           text("client_identifier", "a")),
                     refused("MQTT-3.1.2-2", "protocol_version", "protocol_version", 0x84))
    v.reject("connect-remaining-length-0", ALL, TO_SERVER, frame(0x10), malformed(None, "protocol_name", "end"))
    v.reject("connect-half-a-name-length", ALL, TO_SERVER, frame(0x10, raw("00", "half of a length", "protocol_name")),
             malformed(None, "protocol_name", "protocol_name"))
    v.reject("connect-no-level", V4, TO_SERVER, frame(0x10, text("protocol_name", "MQTT")),
             malformed(None, "protocol_version", "end"))
    v.reject("connect-v31-no-level", V31, TO_SERVER, frame(0x10, text("protocol_name", "MQIsdp")),
             malformed(None, "protocol_version", "end"))

    # The client identifier.
    v.reject("connect-v311-client-identifier-empty-not-clean", V311, TO_SERVER,
             frame(0x10, start("3.1.1", 0x00), text("client_identifier", "")),
             refused("MQTT-3.1.3-7", "client_identifier", "client_identifier", 0x85))
    for flags, name in ((0x02, "clean"), (0x00, "not-clean")):
        v.reject(f"connect-v31-client-identifier-empty-{name}", V31, TO_SERVER,
                 frame(0x10, start("3.1", flags), text("client_identifier", "")),
                 refused("MQTT-3.1.3-7", "client_identifier", "client_identifier", 0x85))

    # 5.0 only.
    v.reject("connect-v5-authentication-data-without-method", V5, TO_SERVER,
             frame(0x10, start("5.0", 2, properties=block(one_property("authentication_data", "01"))),
                   text("client_identifier", "a")),
             protocol_error("section 3.1.2.11.10", "authentication_data", "authentication_data.id"), ["MQTT-3.1.4-1"])
    v.reject("connect-v5-will-properties-after-will-topic", V5, TO_SERVER,
             frame(0x10, start("5.0", 6), text("client_identifier", "a"),
                   raw("00", "first half of the will topic's length, where the will properties belong"),
                   raw("0174", "second half and the topic, read as a length of 372", "will_topic"),
                   raw("00", "the will properties"), binary("will_payload", b"")),
             malformed(length("5.0"), "will_topic", "will_topic"), ["MQTT-3.1.3-1"])
    v.reject("connect-v5-connect-of-311-with-level-5", V5, TO_SERVER,
             frame(0x10, start("5.0", 2)[:-1],
                   raw("00", "first half of the client identifier's length, read as property length 0"),
                   raw("0861", "second half and one byte, read as a length of 2145", "client_identifier"),
                   raw("62636465666768", "the rest of the client identifier")),
             malformed(length("5.0"), "client_identifier", "client_identifier"), ["MQTT-2.2.2-1"])


def write():
    v = Vectors("connect")
    accepts(v)
    rejects(v)
    return v
