"""The properties of MQTT 5.0, and the reason codes that each packet may carry."""

from collections import namedtuple

Property = namedtuple("Property", "id name type places once")

CONNECT, WILL, CONNACK, PUBLISH = "CONNECT", "WILL", "CONNACK", "PUBLISH"
SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH = "SUBSCRIBE", "UNSUBSCRIBE", "DISCONNECT", "AUTH"
ACKS = ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"]
LISTS = ["SUBACK", "UNSUBACK"]

# Every packet, and the will, with properties.
PLACES = [CONNECT, WILL, CONNACK, PUBLISH, *ACKS, SUBSCRIBE, "SUBACK", UNSUBSCRIBE, "UNSUBACK", DISCONNECT, AUTH]

PROPERTIES = [
    Property(1, "payload_format_indicator", "flag", [PUBLISH, WILL], True),
    Property(2, "message_expiry_interval", "u32", [PUBLISH, WILL], True),
    Property(3, "content_type", "text", [PUBLISH, WILL], True),
    Property(8, "response_topic", "text", [PUBLISH, WILL], True),
    Property(9, "correlation_data", "binary", [PUBLISH, WILL], True),
    Property(11, "subscription_identifier", "varint", [PUBLISH, SUBSCRIBE], True),
    Property(17, "session_expiry_interval", "u32", [CONNECT, CONNACK, DISCONNECT], True),
    Property(18, "assigned_client_identifier", "text", [CONNACK], True),
    Property(19, "server_keep_alive", "u16", [CONNACK], True),
    Property(21, "authentication_method", "text", [CONNECT, CONNACK, AUTH], True),
    Property(22, "authentication_data", "binary", [CONNECT, CONNACK, AUTH], True),
    Property(23, "request_problem_information", "flag", [CONNECT], True),
    Property(24, "will_delay_interval", "u32", [WILL], True),
    Property(25, "request_response_information", "flag", [CONNECT], True),
    Property(26, "response_information", "text", [CONNACK], True),
    Property(28, "server_reference", "text", [CONNACK, DISCONNECT], True),
    Property(31, "reason_string", "text", [CONNACK, *ACKS, *LISTS, DISCONNECT, AUTH], True),
    Property(33, "receive_maximum", "u16", [CONNECT, CONNACK], True),
    Property(34, "topic_alias_maximum", "u16", [CONNECT, CONNACK], True),
    Property(35, "topic_alias", "u16", [PUBLISH], True),
    Property(36, "maximum_qos", "flag", [CONNACK], True),
    Property(37, "retain_available", "flag", [CONNACK], True),
    Property(38, "user_property", "pair", PLACES, False),
    Property(39, "maximum_packet_size", "u32", [CONNECT, CONNACK], True),
    Property(40, "wildcard_subscription_available", "flag", [CONNACK], True),
    Property(41, "subscription_identifiers_available", "flag", [CONNACK], True),
    Property(42, "shared_subscription_available", "flag", [CONNACK], True),
]
BY_NAME = {p.name: p for p in PROPERTIES}

# One-byte properties whose value is true or false; the values of others are numbers.
TRUE_FALSE = {
    "request_problem_information", "request_response_information", "retain_available", "wildcard_subscription_available",
    "subscription_identifiers_available", "shared_subscription_available",
}


def may_repeat(prop, place):
    return prop.name == "user_property" or (prop.name, place) == ("subscription_identifier", PUBLISH)


def codes(*parts):
    out = []
    for part in parts:
        out.extend(part if isinstance(part, range) else [part])
    return out


REASONS_3 = {"CONNACK": codes(range(0, 6)), "SUBACK": codes(0, 1, 2, 0x80)}
REASONS_5 = {
    "CONNACK": codes(0, range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F),
    "PUBACK": codes(0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99),
    "PUBREC": codes(0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99),
    "PUBREL": codes(0, 0x92),
    "PUBCOMP": codes(0, 0x92),
    "SUBACK": codes(0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2),
    "UNSUBACK": codes(0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91),
    "DISCONNECT": codes(0, 4, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, range(0x8B, 0x91), range(0x93, 0xA3)),
    "AUTH": codes(0, 0x18, 0x19),
}


def gaps(legal, top=255):
    """Returns the first and the last value of every range that `legal` leaves out."""
    out = []
    for value in range(top + 1):
        if value not in legal and (value - 1 in legal or value + 1 in legal or value in (0, top)):
            out.append(value)
    return out


def wrong_codes(kind):
    """Returns reason codes that a packet must not have: those of other packets, and the ends of every range without a code."""
    others = (code for legal in REASONS_5.values() for code in legal)
    return sorted({*gaps(REASONS_5[kind]), *others} - {*REASONS_5[kind]})
