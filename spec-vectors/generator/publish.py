"""PUBLISH."""

from .encode import block, one_property
from .vectors import *
from .vectors import publish_value as value
from .wire import frame, raw, text, u16

WILDCARD = by_version(["MQTT-3.3.2-2", "MQTT-4.7.1-1"], ["MQTT-3.3.2-2", "MQTT-4.7.0-1"])
NO_PROPERTIES = raw("00", "property length 0 in 5.0, payload in the others")


def identifier(value):
    return u16("packet_identifier", value)


def table(v):
    """QoS, DUP and RETAIN: all sixteen flags."""
    for flags in range(16):
        qos, dup, retain = flags >> 1 & 3, bool(flags & 8), bool(flags & 1)
        name = f"qos{qos}" + ("-dup" if dup else "") + ("-retain" if retain else "")
        body = [text("topic_name", "a/b")] + ([identifier(10)] if qos else [])
        payload = raw("6869", "payload", "payload")
        if qos == 3 or (qos == 0 and dup):
            if qos == 3 and dup:
                name = "qos3-dup" + ("-retain" if retain else "")
            expect = malformed("MQTT-3.3.1-4" if qos == 3 else "MQTT-3.3.1-2", "flags", 0)
            shows = ["section 3.3.1.2"] if qos == 3 else []
            v.reject(f"publish-v3-{name}", V3, EITHER, frame(0x30 | flags, body, payload), expect)
            v.reject(f"publish-v5-{name}", V5, EITHER, frame(0x30 | flags, body, block(), payload), expect, shows)
            continue
        packet = value(dup=dup, qos=qos, retain=retain, packet_identifier=10 if qos else None, payload="6869")
        shows = ["MQTT-3.3.1-4", "MQTT-3.3.2-1", "MQTT-3.3.2-2"] + (["MQTT-3.3.1-2"] if not qos else [])
        v.accept(f"publish-v3-{name}", V3, EITHER, packet, fields=frame(0x30 | flags, body, payload),
                 shows=shows + (["MQTT-2.3.1-1"] if qos else ["MQTT-2.3.1-5"]) + ["MQTT-4.7.1-1"])
        v.accept(f"publish-v5-{name}", V5, EITHER, packet, fields=frame(0x30 | flags, body, block(), payload),
                 shows=shows + (["section 3.3.1.2"] if qos else ["MQTT-2.2.1-2"]) + ["MQTT-4.7.0-1", "MQTT-2.2.2-1"])


def write():
    v = Vectors("publish")
    table(v)

    v.accept("publish-v3-qos0-identifier-is-payload", V3, EITHER, value(payload="000a6869"),
             fields=frame(0x30, text("topic_name", "a/b"), raw("000a6869", "all of this is payload")),
             shows=["MQTT-2.3.1-5"])
    v.accept("publish-v5-qos0-no-identifier", V5, EITHER, value(payload="0a6869"),
             fields=frame(0x30, text("topic_name", "a/b"), block(), raw("0a6869", "all of this is payload")),
             shows=["MQTT-2.2.1-2"])
    v.reject("publish-v5-qos0-with-identifier", V5, EITHER,
             frame(0x30, text("topic_name", "a/b"),
                   raw("ff7f", "identifier 65407, read as property length 16383", "property_length"), block()),
             malformed(PROPERTY_LENGTH, "property_length", "property_length"), ["MQTT-2.2.1-2"])
    for tag, versions in (("v3", V3), ("v5", V5)):
        five = [block()] if tag == "v5" else []
        v.accept(f"publish-{tag}-payload-empty", versions, EITHER, value(), shows=["MQTT-3.3.2-1"])
        v.accept(f"publish-{tag}-payload-any-bytes", versions, EITHER, value(payload="00ff80fec080"))
        for number in (1, 2, 255, 256, 65535):
            v.accept(f"publish-{tag}-identifier-{number}", versions, EITHER, value(qos=1, packet_identifier=number),
                     shows=by_version(["MQTT-2.3.1-1"], ["MQTT-2.2.1-3"]))
        for qos in (1, 2):
            v.reject(f"publish-{tag}-qos{qos}-identifier-0", versions, EITHER,
                     frame(0x30 | qos << 1, text("topic_name", "a/b"), identifier(0), five, raw("6869", "payload")),
                     malformed(PACKET_ID, "packet_identifier", "packet_identifier"))
        for name, topic in (("slash", "/"), ("slashes", "//"), ("leading-slash", "/a"), ("trailing-slash", "a/"),
                            ("empty-level", "a//b"), ("space", " "), ("dollar", "$SYS/a"), ("dollar-share", "$share/g/a"),
                            ("one-letter", "a"), ("signs", "a&b?c=*%~"), ("cjk", "\u6e29\u5ea6/\u5ba4\u5185"),
                            ("emoji", "\U0001f321/\U0001f600")):
            v.accept(f"publish-{tag}-topic-{name}", versions, EITHER, value(topic_name=topic),
                     shows=by_version(["MQTT-3.3.2-1", "MQTT-3.3.2-2", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.1-1"],
                                      ["MQTT-3.3.2-1", "MQTT-3.3.2-2", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.0-1"]))

    # The bytes of these have the same meaning up to the topic name in every version.
    for name, topic, at in (("plus-alone", "+", 0), ("hash-alone", "#", 0), ("plus-level", "a/+/b", 2), ("hash-last", "a/#", 2),
                            ("plus-inside", "a+b", 1), ("hash-inside", "a#b", 1), ("plus-last", "ab+", 2),
                            ("hash-before-plus", "#+", 0), ("after-non-ascii", "\u00e9\u6e29\U0001f600/#", 10),
                            ("share", "$share/g/#", 9)):
        for tag, versions, shows in (("v3", V3, ["MQTT-4.7.1-1"]), ("v5", V5, ["MQTT-4.7.0-1"])):
            v.reject(f"publish-{tag}-topic-{name}", versions, EITHER, frame(0x30, text("topic_name", topic), NO_PROPERTIES),
                     malformed("MQTT-3.3.2-2", "topic_name", ("topic_name.data", at), 0x90), shows)

    v.reject("publish-remaining-length-0", ALL, EITHER, frame(0x30), malformed(LENGTH, "topic_name", "end"))
    v.reject("publish-half-a-topic-length", ALL, EITHER, frame(0x30, raw("00", "half of a length", "topic_name")),
             malformed(LENGTH, "topic_name", "topic_name"))
    v.reject("publish-topic-missing", ALL, EITHER,
             frame(0x30, raw("0003", "length of topic name, 3, and nothing after it", "topic_name")),
             malformed(LENGTH, "topic_name", "topic_name"))
    v.reject("publish-topic-truncated", ALL, EITHER,
             frame(0x30, raw("0004", "length of topic name, 4", "topic_name"), raw("612f62", "three bytes of it")),
             malformed(LENGTH, "topic_name", "topic_name"))
    v.reject("publish-topic-longer-than-packet", ALL, EITHER,
             frame(0x30, raw("ffff", "length of topic name, 65535", "topic_name"), raw("612f62", "three bytes of it")),
             malformed(LENGTH, "topic_name", "topic_name"))
    v.reject("publish-topic-runs-into-next-packet", ALL, EITHER,
             frame(0x30, raw("0005", "length of topic name, 5", "topic_name"), raw("612f62", "three bytes of it"))
             + raw("d000", "the packet after it"), malformed(LENGTH, "topic_name", "topic_name"))
    for qos in (1, 2):
        v.reject(f"publish-qos{qos}-no-identifier", ALL, EITHER, frame(0x30 | qos << 1, text("topic_name", "a/b")),
                 malformed(LENGTH, "packet_identifier", "end"))
        v.reject(f"publish-qos{qos}-half-an-identifier", ALL, EITHER,
                 frame(0x30 | qos << 1, text("topic_name", "a/b"), raw("00", "half of an identifier", "packet_identifier")),
                 malformed(LENGTH, "packet_identifier", "packet_identifier"))
    for qos in (0, 1):
        v.reject(f"publish-v5-qos{qos}-no-property-length", V5, EITHER,
                 frame(0x30 | qos << 1, text("topic_name", "a/b"), [identifier(10)] if qos else []),
                 malformed(PROPERTY_LENGTH, "property_length", "end"), ["MQTT-2.2.2-1"])

    # The empty topic and the topic alias.
    v.reject("publish-v3-topic-empty", V3, EITHER, frame(0x30, text("topic_name", ""), raw("6869", "payload")),
             malformed(EMPTY_TOPIC, "topic_name", "topic_name", 0x90))
    v.reject("publish-v5-topic-empty-no-alias", V5, EITHER,
             frame(0x30, text("topic_name", ""), block(), raw("6869", "payload")),
             protocol_error("section 3.3.2.1", "topic_name", "topic_name"), ["MQTT-4.7.3-1"])
    v.reject("publish-v5-topic-empty-other-property", V5, EITHER,
             frame(0x32, text("topic_name", ""), identifier(10), block(one_property("message_expiry_interval", 5)),
                   raw("6869", "payload")), protocol_error("section 3.3.2.1", "topic_name", "topic_name"))
    v.accept("publish-v5-topic-empty-alias", V5, EITHER,
             value(topic_name="", properties=dict(topic_alias=1), payload="6869"), shows=["section 3.3.2.1", "MQTT-3.3.2-8"])
    v.accept("publish-v5-topic-and-alias", V5, EITHER, value(properties=dict(topic_alias=65535), payload="6869"),
             shows=["section 3.3.2.1", "MQTT-3.3.2-8"])
    for name, topic in (("topic", "a/b"), ("empty-topic", "")):
        v.reject(f"publish-v5-alias-0-{name}", V5, EITHER,
                 frame(0x30, text("topic_name", topic), block(one_property("topic_alias", 0))),
                 protocol_error("MQTT-3.3.2-8", "topic_alias", "topic_alias", 0x94))

    # The response topic is a topic name.
    for name, topic in (("plain", "r/s"), ("slash", "/"), ("dollar", "$SYS/r"), ("non-ascii", "\u6e29\u5ea6")):
        v.accept(f"publish-v5-response-topic-{name}", V5, EITHER, value(properties=dict(response_topic=topic)),
                 shows=["MQTT-3.3.2-13", "MQTT-3.3.2-14"])
    for name, topic, at in (("plus", "r/+", 2), ("hash", "r/#", 2), ("plus-inside", "r+s", 1), ("hash-alone", "#", 0)):
        v.reject(f"publish-v5-response-topic-{name}", V5, EITHER,
                 frame(0x30, text("topic_name", "a/b"), block(one_property("response_topic", topic))),
                 malformed("MQTT-3.3.2-14", "response_topic", ("response_topic.data", at), 0x90))
    v.reject("publish-v5-response-topic-empty", V5, EITHER,
             frame(0x30, text("topic_name", "a/b"), block(one_property("response_topic", ""))),
             malformed(EMPTY_TOPIC, "response_topic", "response_topic", 0x90))

    # Subscription identifiers come from a server, and there may be several.
    v.accept("publish-v5-subscription-identifiers", V5, TO_CLIENT,
             value(properties=dict(subscription_identifiers=[300, 1, 268435455, 1]), payload="6869"),
             shows=["section 3.3.2.3.8", PROPERTIES])
    v.accept("publish-v5-from-client-no-subscription-identifier", V5, TO_SERVER,
             value(properties=dict(user_properties=[["k", "v"]])), shows=["MQTT-3.3.4-6"])
    v.reject("publish-v5-subscription-identifier-from-client", V5, TO_SERVER,
             frame(0x30, text("topic_name", "a/b"), block(one_property("subscription_identifier", 1))),
             protocol_error("MQTT-3.3.4-6", "subscription_identifier", "subscription_identifier.id"))
    v.reject("publish-v5-second-subscription-identifier-0", V5, TO_CLIENT,
             frame(0x30, text("topic_name", "a/b"),
                   block(one_property("subscription_identifier", 1), one_property("subscription_identifier", 0))),
             protocol_error("section 3.3.2.3.8", "subscription_identifier", ("subscription_identifier", 0, 1)))

    everything = dict(
        payload_format_indicator=1, message_expiry_interval=60, content_type="text/plain", response_topic="r/s",
        correlation_data="00ff", topic_alias=3, user_properties=[["k", "1"], ["k", "2"], ["", ""]])
    v.accept("publish-v5-all-properties", V5, EITHER, value(properties=everything, payload="6869"),
             shows=["MQTT-3.3.2-13", "MQTT-3.3.2-19", "MQTT-1.5.7-1", PROPERTIES])
    v.accept("publish-v5-all-properties-from-server", V5, TO_CLIENT,
             value(qos=2, packet_identifier=7, properties=dict(everything, subscription_identifiers=[5, 6]), payload="6869"),
             shows=[PROPERTIES])
    v.accept("publish-v5-format-1-payload-not-text", V5, EITHER,
             value(properties=dict(payload_format_indicator=1), payload="ff"))
    return v
