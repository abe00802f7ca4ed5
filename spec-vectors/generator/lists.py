"""SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK."""

from .encode import block, code, one_property, subscription
from .table import REASONS_3, REASONS_5, gaps, wrong_codes
from .vectors import *
from .vectors import list_ack_value, subscribe_value, subscription_value, unsubscribe_value
from .wire import TYPES, frame, raw, text, u8, u16


def identifier(number=10):
    return u16("packet_identifier", number)


def options(bits):
    return u8("subscription_options", bits, f"subscription options {bits:08b}")


# name, filter, offset of the error, clause of 3.1.1 and of 5.0
BAD_FILTERS = [
    ("hash-then-level", "#/a", 0, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("hash-in-the-middle", "a/#/b", 2, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("hash-after-letter", "a#", 1, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("hash-after-letter-in-level", "a/b#", 3, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("hash-before-letter", "a/#b", 2, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("two-hashes", "##", 0, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("hash-slash", "#/", 0, "MQTT-4.7.1-2", "MQTT-4.7.1-1"),
    ("plus-after-letter", "a+", 1, "MQTT-4.7.1-3", "MQTT-4.7.1-2"),
    ("plus-before-letter", "+a", 0, "MQTT-4.7.1-3", "MQTT-4.7.1-2"),
    ("plus-inside-level", "a/b+c/d", 3, "MQTT-4.7.1-3", "MQTT-4.7.1-2"),
    ("plus-before-letter-in-level", "a/+b", 2, "MQTT-4.7.1-3", "MQTT-4.7.1-2"),
    ("two-pluses", "++", 0, "MQTT-4.7.1-3", "MQTT-4.7.1-2"),
]
BAD_SHARES = [
    ("share-name-and-filter-missing", "$share/", 7, "MQTT-4.8.2-1"),
    ("share-name-empty", "$share//a", 7, "MQTT-4.8.2-1"),
    ("share-name-plus", "$share/+/a", 7, "MQTT-4.8.2-2"),
    ("share-name-plus-inside", "$share/g+h/a", 8, "MQTT-4.8.2-2"),
    ("share-name-hash", "$share/#/a", 7, "MQTT-4.8.2-2"),
    ("share-name-hash-last", "$share/g#/a", 8, "MQTT-4.8.2-2"),
    ("share-no-slash", "$share/g", 8, "MQTT-4.8.2-2"),
    ("share-no-filter", "$share/g/", 9, "MQTT-4.8.2-2"),
    ("share-filter-hash-in-the-middle", "$share/g/#/a", 9, "MQTT-4.7.1-1"),
    ("share-filter-hash-after-letter", "$share/g/a#", 10, "MQTT-4.7.1-1"),
    ("share-filter-plus-after-letter", "$share/g/a+", 10, "MQTT-4.7.1-2"),
]
GOOD_FILTERS = [
    ("hash", "#"), ("plus", "+"), ("plus-plus", "+/+"), ("slash", "/"), ("slash-plus", "/+"), ("plus-slash", "+/"),
    ("slash-hash", "/#"), ("level-hash", "a/#"), ("plus-hash", "+/#"), ("plus-level-hash", "+/a/#"), ("plus-middle", "a/+/b"),
    ("empty-levels", "a//+//#"), ("space", " "), ("dollar", "$SYS/#"), ("dollar-share-alone", "$share"),
    ("dollar-share-capitals", "$SHARE/g"), ("dollar-share-longer", "$shared/#"), ("cjk", "\u6e29\u5ea6/+"),
    ("emoji", "\U0001f321/#"), ("many-slashes", "/" * 1000),
]
GOOD_SHARES = [
    ("share", "$share/g/a"), ("share-hash", "$share/g/#"), ("share-plus", "$share/g/+/b"), ("share-slash", "$share/g//"),
    ("share-leading-slash", "$share/g//a"), ("share-non-ascii", "$share/\u6e29/\u5ea6"), ("share-dollar", "$share/$/$SYS/a"),
    ("share-in-share", "$share/g/$share/h/a"),
]


def filters(v, tag, first, options_byte):
    """The rules for filters in SUBSCRIBE and UNSUBSCRIBE."""
    def packet(topic_filter, properties):
        return frame(first, identifier(), properties, text("topic_filter", topic_filter), options_byte)

    def value(topic_filter):
        if tag == "subscribe":
            return subscribe_value(subscription_value(topic_filter))
        return unsubscribe_value(topic_filter)

    strings = "MQTT-3.8.3-1" if tag == "subscribe" else "MQTT-3.10.3-1"
    three = [strings, "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-1", "MQTT-4.7.3-2"]
    five = [strings, "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1", "MQTT-4.7.3-2"]
    wild_3, wild_5 = ["MQTT-4.7.1-1"], ["MQTT-4.7.0-1"]
    for name, topic_filter in GOOD_FILTERS:
        wild = "+" in topic_filter or "#" in topic_filter
        v.accept(f"{tag}-v3-filter-{name}", V3, TO_SERVER, value(topic_filter), shows=three + (wild_3 if wild else []))
        v.accept(f"{tag}-v5-filter-{name}", V5, TO_SERVER, value(topic_filter), shows=five + (wild_5 if wild else []))
    for name, topic_filter in GOOD_SHARES:
        v.accept(f"{tag}-v3-filter-{name}", V3, TO_SERVER, value(topic_filter), shows=three)
        v.accept(f"{tag}-v5-filter-{name}", V5, TO_SERVER, value(topic_filter),
                 shows=five + ["MQTT-4.8.2-1", "MQTT-4.8.2-2"])
    for name, topic_filter in (("share-name-empty", "$share//a"), ("share-name-plus", "$share/+/a"), ("share-bare", "$share/"),
                               ("share-no-slash", "$share/g"), ("share-no-filter", "$share/g/")):
        v.accept(f"{tag}-v3-filter-{name}", V3, TO_SERVER, value(topic_filter), shows=three)
    for name, topic_filter, at, clause_3, clause_5 in BAD_FILTERS:
        v.reject(f"{tag}-v3-filter-{name}", V3, TO_SERVER, packet(topic_filter, []),
                 malformed(clause_3, "topic_filter", ("topic_filter.data", at), 0x8F))
        v.reject(f"{tag}-v5-filter-{name}", V5, TO_SERVER, packet(topic_filter, block()),
                 malformed(clause_5, "topic_filter", ("topic_filter.data", at), 0x8F))
    for name, topic_filter, at, clause in BAD_SHARES:
        v.reject(f"{tag}-v5-filter-{name}", V5, TO_SERVER, packet(topic_filter, block()),
                 malformed(clause, "topic_filter", ("topic_filter.data", at), 0x8F))
    for version, versions, properties in (("v3", V3, []), ("v5", V5, block())):
        v.reject(f"{tag}-{version}-filter-empty", versions, TO_SERVER, packet("", properties),
                 malformed(EMPTY_TOPIC, "topic_filter", "topic_filter", 0x8F))
        v.reject(f"{tag}-{version}-identifier-0", versions, TO_SERVER,
                 frame(first, identifier(0), properties, text("topic_filter", "a"), options_byte),
                 malformed(PACKET_ID, "packet_identifier", "packet_identifier"))
        for number in (1, 65535):
            packet_value = dict(value("a"), packet_identifier=number)
            v.accept(f"{tag}-{version}-identifier-{number}", versions, TO_SERVER, packet_value,
                     shows=by_version(["MQTT-2.3.1-1"], ["MQTT-2.2.1-3"]))
        v.reject(f"{tag}-{version}-filter-truncated", versions, TO_SERVER,
                 frame(first, identifier(), properties, raw("0004", "length of topic filter, 4", "topic_filter"),
                       raw("612f62", "three bytes of it")), malformed(LENGTH, "topic_filter", "topic_filter"))
        v.reject(f"{tag}-{version}-half-a-filter-length", versions, TO_SERVER,
                 frame(first, identifier(), properties, raw("00", "half of a length", "topic_filter")),
                 malformed(LENGTH, "topic_filter", "topic_filter"))
        v.reject(f"{tag}-{version}-second-filter-truncated", versions, TO_SERVER,
                 frame(first, identifier(), properties, text("topic_filter", "a"), options_byte,
                       raw("0002", "length of the second topic filter, 2", "second"), raw("62", "one byte of it")),
                 malformed(LENGTH, "topic_filter", "second"))
        v.reject(f"{tag}-{version}-second-filter-bad", versions, TO_SERVER,
                 frame(first, identifier(), properties, text("topic_filter", "a/+"), options_byte,
                       text("topic_filter", "a/#/b"), options_byte),
                 malformed(by_version("MQTT-4.7.1-2", "MQTT-4.7.1-1"), "topic_filter", ("topic_filter.data", 2, 1), 0x8F))
        v.reject(f"{tag}-{version}-one-byte-after-filters", versions, TO_SERVER,
                 frame(first, identifier(), properties, text("topic_filter", "a"), options_byte,
                       raw("00", "half of a length", "second")), malformed(LENGTH, "topic_filter", "second"))
    v.reject(f"{tag}-remaining-length-0", ALL, TO_SERVER, frame(first), malformed(LENGTH, "packet_identifier", "end"))
    v.reject(f"{tag}-half-an-identifier", ALL, TO_SERVER,
             frame(first, raw("00", "half of an identifier", "packet_identifier")),
             malformed(LENGTH, "packet_identifier", "packet_identifier"))
    v.reject(f"{tag}-v5-no-property-length", V5, TO_SERVER, frame(first, identifier()),
             malformed(PROPERTY_LENGTH, "property_length", "end"), ["MQTT-2.2.2-1"])


def subscribe():
    v = Vectors("subscribe")
    filters(v, "subscribe", 0x82, options(0))
    for version, versions, properties in (("v3", V3, []), ("v5", V5, block())):
        least = by_version(["MQTT-3.8.3-3"], ["MQTT-3.8.3-2", "section 3.8.3"])
        v.accept(f"subscribe-{version}-one-filter", versions, TO_SERVER, subscribe_value(),
                 fields=frame(0x82, identifier(), properties, text("topic_filter", "a/b"), options(0)), shows=least)
        v.accept(f"subscribe-{version}-three-filters", versions, TO_SERVER,
                 subscribe_value(subscription_value("a", 0), subscription_value("b/+", 1), subscription_value("c/#", 2)),
                 fields=frame(0x82, identifier(), properties, text("topic_filter", "a"), options(0),
                              text("topic_filter", "b/+"), options(1), text("topic_filter", "c/#"), options(2)),
                 shows=least)
        v.accept(f"subscribe-{version}-same-filter-twice", versions, TO_SERVER,
                 subscribe_value(subscription_value("a", 1), subscription_value("a", 2)))
        v.reject(f"subscribe-{version}-no-filter", versions, TO_SERVER, frame(0x82, identifier(), properties),
                 protocol_error(by_version("MQTT-3.8.3-3", "MQTT-3.8.3-2"), "payload", "end"),
                 by_version([], ["section 3.8.3"]))
        v.reject(f"subscribe-{version}-no-options", versions, TO_SERVER,
                 frame(0x82, identifier(), properties, text("topic_filter", "a/b")),
                 malformed(LENGTH, "subscription_options", "end"), ["MQTT-3.8.3-3"] if version == "v3" else ["MQTT-3.8.3-2"])
        v.reject(f"subscribe-{version}-second-no-options", versions, TO_SERVER,
                 frame(0x82, identifier(), properties, text("topic_filter", "a"), options(0), text("topic_filter", "b")),
                 malformed(LENGTH, "subscription_options", "end"))

    # Options in 3.1 and 3.1.1: two bits of QoS. The others are unused in 3.1, and reserved in 3.1.1.
    def with_options(bits, *properties):
        return frame(0x82, identifier(), *properties, text("topic_filter", "a/b"), options(bits))

    for qos in range(3):
        v.accept(f"subscribe-v3-qos{qos}", V3, TO_SERVER, subscribe_value(subscription_value(qos=qos)),
                 fields=with_options(qos), shows=["MQTT-3.8.3-4"])
    v.reject("subscribe-v3-options-03", V3, TO_SERVER, with_options(0x03),
             malformed("MQTT-3.8.3-4", "subscription_options", "subscription_options"))
    for bits in (0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFC, 0x05, 0xFE):
        v.reject(f"subscribe-v311-options-{bits:02x}", V311, TO_SERVER, with_options(bits),
                 malformed("MQTT-3.8.3-4", "subscription_options", "subscription_options"))
        v.accept(f"subscribe-v31-options-{bits:02x}", V31, TO_SERVER, subscribe_value(subscription_value(qos=bits & 3)),
                 fields=with_options(bits), canonical=False)
    v.reject("subscribe-v31-options-ff", V31, TO_SERVER, with_options(0xFF),
             malformed("MQTT-3.8.3-4", "subscription_options", "subscription_options"))
    v.reject("subscribe-v3-second-options-03", V3, TO_SERVER,
             frame(0x82, identifier(), text("topic_filter", "a"), options(1), text("topic_filter", "b"), options(3)),
             malformed("MQTT-3.8.3-4", "subscription_options", ("subscription_options", 0, 1)))

    # Options in 5.0: every valid value of the byte, and every kind of invalid value.
    for bits in range(64):
        qos, no_local, as_published, handling = bits & 3, bool(bits & 4), bool(bits & 8), bits >> 4
        if qos == 3 and handling == 3:
            continue
        name = f"subscribe-v5-options-{bits:02x}"
        if qos == 3 or handling == 3:
            v.reject(name, V5, TO_SERVER, with_options(bits, block()),
                     protocol_error("section 3.8.3.1", "subscription_options", "subscription_options"))
        else:
            v.accept(name, V5, TO_SERVER,
                     subscribe_value(subscription_value("a/b", qos, no_local, as_published, handling)),
                     fields=with_options(bits, block()), shows=["MQTT-3.8.3-5", "section 3.8.3.1", "MQTT-3.8.3-4"])
    for bits in (0x40, 0x80, 0xC0, 0x41, 0x82):
        v.reject(f"subscribe-v5-options-{bits:02x}", V5, TO_SERVER, with_options(bits, block()),
                 malformed("MQTT-3.8.3-5", "subscription_options", "subscription_options"))
    v.reject("subscribe-v5-second-options-40", V5, TO_SERVER,
             frame(0x82, identifier(), block(), text("topic_filter", "a"), options(1), text("topic_filter", "b"),
                   options(0x40)), malformed("MQTT-3.8.3-5", "subscription_options", ("subscription_options", 0, 1)))
    for bits in (0x04, 0x05, 0x2E):
        v.reject(f"subscribe-v5-shared-no-local-{bits:02x}", V5, TO_SERVER,
                 frame(0x82, identifier(), block(), text("topic_filter", "$share/g/a"), options(bits)),
                 protocol_error("MQTT-3.8.3-4", "subscription_options", "subscription_options"))
    for bits in (0x00, 0x2A):
        s = subscription_value("$share/g/a", bits & 3, False, bool(bits & 8), bits >> 4)
        v.accept(f"subscribe-v5-shared-options-{bits:02x}", V5, TO_SERVER, subscribe_value(s),
                 shows=["MQTT-3.8.3-4", "MQTT-4.8.2-1"])
    v.accept("subscribe-v5-no-local-dollar-share-alone", V5, TO_SERVER,
             subscribe_value(subscription_value("$share", no_local=True)), shows=["MQTT-3.8.3-4"])
    v.accept("subscribe-v5-all-properties", V5, TO_SERVER,
             subscribe_value(properties=dict(subscription_identifier=300, user_properties=[["k", "1"], ["k", "2"]])),
             shows=["section 3.8.2.1.2", PROPERTIES, "MQTT-1.5.7-1"])
    return v


def unsubscribe():
    v = Vectors("unsubscribe")
    filters(v, "unsubscribe", 0xA2, [])
    for version, versions, properties in (("v3", V3, []), ("v5", V5, block())):
        least = by_version(["MQTT-3.10.3-2", "MQTT-3.10.3-1"], ["MQTT-3.10.3-2", "section 3.10.3", "MQTT-3.10.3-1"])
        v.accept(f"unsubscribe-{version}-one-filter", versions, TO_SERVER, unsubscribe_value(),
                 fields=frame(0xA2, identifier(), properties, text("topic_filter", "a/b")), shows=least)
        v.accept(f"unsubscribe-{version}-three-filters", versions, TO_SERVER, unsubscribe_value("a", "b/+", "c/#"),
                 fields=frame(0xA2, identifier(), properties, text("topic_filter", "a"), text("topic_filter", "b/+"),
                              text("topic_filter", "c/#")), shows=least)
        v.reject(f"unsubscribe-{version}-no-filter", versions, TO_SERVER, frame(0xA2, identifier(), properties),
                 protocol_error("MQTT-3.10.3-2", "payload", "end"), by_version([], ["section 3.10.3"]))
    v.reject("unsubscribe-v3-options-after-filter", V3, TO_SERVER,
             frame(0xA2, identifier(), text("topic_filter", "a"), raw("01", "options as in SUBSCRIBE", "second")),
             malformed(LENGTH, "topic_filter", "second"))
    v.accept("unsubscribe-v5-all-properties", V5, TO_SERVER,
             unsubscribe_value(properties=dict(user_properties=[["k", "1"], ["k", "2"]])),
             shows=[PROPERTIES, "MQTT-1.5.7-1"])
    return v


def list_ack(kind):
    v = Vectors(kind.lower())
    tag, first = kind.lower(), TYPES[kind] << 4
    clause = "MQTT-3.9.3-2" if kind == "SUBACK" else "MQTT-3.11.3-2"

    v.reject(f"{tag}-remaining-length-0", ALL, TO_CLIENT, frame(first), malformed(LENGTH, "packet_identifier", "end"))
    v.reject(f"{tag}-half-an-identifier", ALL, TO_CLIENT,
             frame(first, raw("00", "half of an identifier", "packet_identifier")),
             malformed(LENGTH, "packet_identifier", "packet_identifier"))
    if kind == "SUBACK":
        for number in REASONS_3[kind]:
            v.accept(f"{tag}-v3-code-{number:02x}", V3, TO_CLIENT, list_ack_value(kind, number),
                     fields=frame(first, identifier(), code(number)), shows=[clause])
        for number in sorted({*gaps(REASONS_3[kind]), 0x41, 0x82, 0x83, 0xFC, 0xFE}):
            v.reject(f"{tag}-v311-code-{number:02x}", V311, TO_CLIENT, frame(first, identifier(), code(number)),
                     malformed(clause, "reason_code", "reason_code"))
            # 3.1 does not use the upper six bits.
            if number & 3 == 3:
                v.reject(f"{tag}-v31-code-{number:02x}", V31, TO_CLIENT, frame(first, identifier(), code(number)),
                         malformed(clause, "reason_code", "reason_code"))
            else:
                v.accept(f"{tag}-v31-code-{number:02x}", V31, TO_CLIENT, list_ack_value(kind, number & 3),
                         fields=frame(first, identifier(), code(number)), canonical=False)
        v.accept(f"{tag}-v3-four-codes", V3, TO_CLIENT, list_ack_value(kind, 2, 0x80, 0, 1), shows=[clause])
        v.reject(f"{tag}-v3-last-code-bad", V3, TO_CLIENT, frame(first, identifier(), code(0), code(1), code(3)),
                 malformed(clause, "reason_code", ("reason_code", 0, 2)))
        v.reject(f"{tag}-v3-no-codes", V3, TO_CLIENT, frame(first, identifier()), malformed("MQTT-3.8.4-5", "payload", "end"))
        v.reject(f"{tag}-v3-identifier-0", V3, TO_CLIENT, frame(first, identifier(0), code(0)),
                 malformed(PACKET_ID, "packet_identifier", "packet_identifier"))
    else:
        for number in (1, 10, 65535):
            v.accept(f"{tag}-v3-identifier-{number}", V3, TO_CLIENT, dict(list_ack_value(kind), packet_identifier=number),
                     fields=frame(first, identifier(number)))
        v.reject(f"{tag}-v3-code", V3, TO_CLIENT, frame(first, identifier(), raw("00", "a byte too many", "extra")),
                 malformed(LENGTH, "remaining_length", "extra"))
        v.reject(f"{tag}-v3-identifier-0", V3, TO_CLIENT, frame(first, identifier(0)),
                 malformed(PACKET_ID, "packet_identifier", "packet_identifier"))
    for number in REASONS_5[kind]:
        v.accept(f"{tag}-v5-code-{number:02x}", V5, TO_CLIENT, list_ack_value(kind, number),
                 fields=frame(first, identifier(), block(), code(number)), shows=[clause])
    for number in wrong_codes(kind):
        v.reject(f"{tag}-v5-code-{number:02x}", V5, TO_CLIENT, frame(first, identifier(), block(), code(number)),
                 malformed(clause, "reason_code", "reason_code"))
    v.accept(f"{tag}-v5-all-codes", V5, TO_CLIENT, list_ack_value(kind, *reversed(REASONS_5[kind])), shows=[clause])
    v.reject(f"{tag}-v5-last-code-bad", V5, TO_CLIENT, frame(first, identifier(), block(), code(0), code(0x80), code(0x7F)),
             malformed(clause, "reason_code", ("reason_code", 0, 2)))
    v.reject(f"{tag}-v5-no-codes", V5, TO_CLIENT, frame(first, identifier(), block()),
             malformed("MQTT-3.8.4-6" if kind == "SUBACK" else "MQTT-3.11.3-1", "payload", "end"))
    v.reject(f"{tag}-v5-identifier-0", V5, TO_CLIENT, frame(first, identifier(0), block(), code(0)),
             malformed(PACKET_ID, "packet_identifier", "packet_identifier"))
    v.reject(f"{tag}-v5-no-property-length", V5, TO_CLIENT, frame(first, identifier()),
             malformed(PROPERTY_LENGTH, "property_length", "end"), ["MQTT-2.2.2-1"])
    v.accept(f"{tag}-v5-all-properties", V5, TO_CLIENT,
             list_ack_value(kind, 0, properties=dict(reason_string="why", user_properties=[["k", "1"], ["k", "2"]])),
             shows=[PROPERTIES, "MQTT-1.5.7-1"])
    return v
