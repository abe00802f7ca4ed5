"""Properties: each of them in every packet, repeated, cut short, and at its limits."""

from .encode import block, one_property
from .table import ACKS, BY_NAME, LISTS, PLACES, TRUE_FALSE, may_repeat
from .table import PROPERTIES as TABLE
from .vectors import *
from .vectors import (ack_value, connack_value, connect_value, end_value, list_ack_value, publish_value, subscribe_value,
                      unsubscribe_value, will_value)
from .wire import TYPES, binary, flat, frame, raw, size, text, u8, u16, varint

SAMPLE = {"flag": 1, "u16": 10, "u32": 60, "varint": 300, "text": "x", "binary": "00ff", "pair": ["k", "v"]}

# The section with the permitted values of a property.
VALUE_CLAUSE = {
    ("receive_maximum", "CONNECT"): "section 3.1.2.11.3", ("receive_maximum", "CONNACK"): "section 3.2.2.3.3",
    ("maximum_packet_size", "CONNECT"): "section 3.1.2.11.4", ("maximum_packet_size", "CONNACK"): "section 3.2.2.3.6",
    ("subscription_identifier", "PUBLISH"): "section 3.3.2.3.8", ("subscription_identifier", "SUBSCRIBE"): "section 3.8.2.1.2",
    ("request_response_information", "CONNECT"): "section 3.1.2.11.6",
    ("request_problem_information", "CONNECT"): "section 3.1.2.11.7",
    ("maximum_qos", "CONNACK"): "section 3.2.2.3.4", ("retain_available", "CONNACK"): "section 3.2.2.3.5",
    ("wildcard_subscription_available", "CONNACK"): "section 3.2.2.3.11",
    ("subscription_identifiers_available", "CONNACK"): "section 3.2.2.3.12",
    ("shared_subscription_available", "CONNACK"): "section 3.2.2.3.13",
    ("payload_format_indicator", "PUBLISH"): "section 3.3.2.3.2", ("payload_format_indicator", "WILL"): "section 3.1.3.2.3",
    ("topic_alias", "PUBLISH"): "MQTT-3.3.2-8",
}


def place_tag(place):
    return place.lower()


def direction_of(prop, place):
    """Returns the direction in which the property may be sent in this packet."""
    if place in ("CONNECT", "WILL", "SUBSCRIBE", "UNSUBSCRIBE"):
        return TO_SERVER
    if place in ("CONNACK", *LISTS):
        return TO_CLIENT
    if place == "PUBLISH" and prop and prop.name == "subscription_identifier":
        return TO_CLIENT
    if place == "DISCONNECT" and prop and prop.name == "session_expiry_interval":
        return TO_SERVER
    if place == "DISCONNECT" and prop and prop.name == "server_reference":
        return TO_CLIENT
    return EITHER


def length_name(place):
    return "will_property_length" if place == "WILL" else "property_length"


def parts(place, properties):
    """Returns the packet around a property block: the parts before and after it."""
    start = [text("protocol_name", "MQTT"), u8("protocol_version", 5)]
    identifier = u16("packet_identifier", 10)
    if place == "CONNECT":
        return (0x10, [start, u8("connect_flags", 2, "connect flags 00000010"), u16("keep_alive", 60)],
                [text("client_identifier", "a")])
    if place == "WILL":
        return (0x10, [start, u8("connect_flags", 6, "connect flags 00000110"), u16("keep_alive", 60), block(),
                       text("client_identifier", "a")], [text("will_topic", "w"), binary("will_payload", b"by")])
    if place == "CONNACK":
        return 0x20, [u8("acknowledge_flags", 0), u8("reason_code", 0)], []
    if place == "PUBLISH":
        return 0x30, [text("topic_name", "a/b")], [raw("6869", "payload")]
    if place in ACKS:
        return TYPES[place] << 4 | (2 if place == "PUBREL" else 0), [identifier, u8("reason_code", 0)], []
    if place == "SUBSCRIBE":
        return 0x82, [identifier], [text("topic_filter", "a/b"), u8("subscription_options", 0)]
    if place == "UNSUBSCRIBE":
        return 0xA2, [identifier], [text("topic_filter", "a/b")]
    if place in LISTS:
        return TYPES[place] << 4, [identifier], [u8("reason_code", 0)]
    if place == "DISCONNECT":
        return 0xE0, [u8("reason_code", 0)], []
    assert place == "AUTH"
    return 0xF0, [u8("reason_code", 0x18, "reason code 0x18")], []


def packet_with(place, properties):
    """Returns a packet with this property block (with its length), and otherwise valid."""
    first, before, after = parts(place, properties)
    return frame(first, before, properties, after)


def companions(prop, place):
    """Returns the authentication method that authentication data, and every AUTH, requires."""
    if prop and prop.name == "authentication_method":
        return []
    if place == "AUTH" or (prop and prop.name == "authentication_data" and place in prop.places):
        return [one_property("authentication_method", "m")]
    return []


def value_with(place, properties):
    """Returns the value of that packet."""
    properties = dict(properties)
    if "user_property" in properties:
        properties["user_properties"] = [properties.pop("user_property")]
    if place == "PUBLISH" and "subscription_identifier" in properties:
        properties["subscription_identifiers"] = [properties.pop("subscription_identifier")]
    if "authentication_method" not in properties and (place == "AUTH" or (
            "authentication_data" in properties and place in ("CONNECT", "CONNACK"))):
        properties["authentication_method"] = "m"
    for name in TRUE_FALSE & properties.keys():
        properties[name] = bool(properties[name])
    order = [p.name for p in TABLE]
    plural = {"user_properties": "user_property", "subscription_identifiers": "subscription_identifier"}
    properties = dict(sorted(properties.items(), key=lambda kv: order.index(plural.get(kv[0], kv[0]))))
    if place == "CONNECT":
        return connect_value("5.0", properties=properties)
    if place == "WILL":
        return connect_value("5.0", will=will_value(properties=properties))
    if place == "CONNACK":
        return connack_value(**properties)
    if place == "PUBLISH":
        return publish_value(properties=properties, payload="6869")
    if place in ACKS:
        return ack_value(place, **properties)
    if place == "SUBSCRIBE":
        return subscribe_value(properties=properties)
    if place == "UNSUBSCRIBE":
        return unsubscribe_value(properties=properties)
    if place in LISTS:
        return list_ack_value(place, 0, properties=properties)
    return end_value(place, 0x18 if place == "AUTH" else 0, **properties)


def in_block(place, *properties):
    return packet_with(place, block(*properties, name=length_name(place)))


def cells(v):
    """Every property in every packet."""
    for prop in TABLE:
        for place in PLACES:
            name = f"property-{prop.name.replace('_', '-')}-in-{place_tag(place)}"
            one = one_property(prop.name, SAMPLE[prop.type])
            direction = direction_of(prop, place)
            fields = in_block(place, companions(prop, place), one)
            if place in prop.places:
                shows = [PROPERTIES] + [c for c in [VALUE_CLAUSE.get((prop.name, place))] if c]
                if (prop.name, place) == ("response_topic", "PUBLISH"):
                    shows += ["MQTT-3.3.2-13", "MQTT-3.3.2-14"]
                v.accept(name, V5, direction, value_with(place, {prop.name: SAMPLE[prop.type]}), fields=fields, shows=shows)
            else:
                v.reject(name, V5, direction_of(None, place), fields, malformed(PROPERTIES, prop.name, f"{prop.name}.id"))


def twice(v):
    for prop in TABLE:
        for place in prop.places:
            name = f"property-{prop.name.replace('_', '-')}-twice-in-{place_tag(place)}"
            one = one_property(prop.name, SAMPLE[prop.type])
            direction = direction_of(prop, place)
            fields = in_block(place, companions(prop, place), one, one)
            if may_repeat(prop, place):
                plural = "user_properties" if prop.type == "pair" else "subscription_identifiers"
                value = value_with(place, {plural: [SAMPLE[prop.type]] * 2})
                v.accept(name, V5, direction, value, fields=fields, shows=[PROPERTIES])
            else:
                v.reject(name, V5, direction, fields, protocol_error(PROPERTIES, prop.name, (f"{prop.name}.id", 0, 1)))
    v.reject("property-topic-alias-twice-another-between", V5, EITHER,
             in_block("PUBLISH", one_property("topic_alias", 1), one_property("message_expiry_interval", 1),
                      one_property("topic_alias", 2)),
             protocol_error(PROPERTIES, "topic_alias", ("topic_alias.id", 0, 1)))


def cut(v):
    """Properties that exceed the end of their block."""
    for prop in TABLE:
        for place in prop.places:
            name = f"property-{prop.name.replace('_', '-')}-in-{place_tag(place)}"
            value = {"text": "xyz", "pair": ["key", "value"]}.get(prop.type, SAMPLE[prop.type])
            one = flat(one_property(prop.name, value))
            direction = direction_of(prop, place)
            clause = PROPERTY_LENGTH
            v.reject(f"{name}-without-value", V5, direction, in_block(place, companions(prop, place), one[:1]),
                     malformed(clause, prop.name, (f"{prop.name}.id", 1)))
            if prop.type == "flag":
                continue
            last = one[-1]._replace(hex=one[-1].hex[:-2], note=one[-1].note + ", its last byte is not in the block")
            start = "user_property.value" if prop.type == "pair" else prop.name
            v.reject(f"{name}-truncated", V5, direction, in_block(place, companions(prop, place), one[:-1], last),
                     malformed(clause, prop.name, start))


def limits(v):
    bounds = {"flag": [0], "u16": [0, 1, 2, 65535], "u32": [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF],
              "varint": [0, 1, 2, 127, 128, 16383, 16384, 2097151, 2097152, 268435455],
              "text": ["", "a" * 40], "binary": ["", "00" * 3], "pair": [["", ""], ["k", ""], ["", "v"]]}
    no_zero = {"receive_maximum", "maximum_packet_size", "subscription_identifier", "topic_alias"}
    for prop in TABLE:
        for place in prop.places:
            direction = direction_of(prop, place)
            clause = VALUE_CLAUSE.get((prop.name, place))
            for number, bound in enumerate(bounds[prop.type]):
                tag = bound if isinstance(bound, int) else {"text": ["empty", "long"], "binary": ["empty", "nulls"],
                                                            "pair": ["empty", "no-value", "no-name"]}[prop.type][number]
                name = f"property-{prop.name.replace('_', '-')}-{tag}-in-{place_tag(place)}"
                fields = in_block(place, companions(prop, place), one_property(prop.name, bound))
                if bound == 0 and prop.name in no_zero:
                    alias = prop.name == "topic_alias"
                    v.reject(name, V5, direction, fields, protocol_error(clause, prop.name, prop.name, 0x94 if alias else 0x82))
                elif bound == "" and prop.name == "response_topic":
                    v.reject(name, V5, direction, fields, malformed(EMPTY_TOPIC, prop.name, prop.name, 0x90))
                else:
                    v.accept(name, V5, direction, value_with(place, {prop.name: bound}), fields=fields,
                             shows=[clause] if clause else [])
            for bound in (2, 3, 128, 255) if prop.type == "flag" else ():
                v.reject(f"property-{prop.name.replace('_', '-')}-{bound}-in-{place_tag(place)}", V5, direction,
                         in_block(place, one_property(prop.name, bound)), protocol_error(clause, prop.name, prop.name))
    for place in ("WILL",):
        for name, topic, at in (("plus", "r/+", 2), ("hash", "r/#", 2)):
            v.reject(f"property-response-topic-{name}-in-will", V5, TO_SERVER,
                     in_block(place, one_property("response_topic", topic)),
                     malformed("MQTT-3.3.2-14", "response_topic", ("response_topic.data", at), 0x90))
    for place, direction in (("PUBLISH", TO_CLIENT), ("SUBSCRIBE", TO_SERVER)):
        identifier = raw("0b", "property 11, subscription identifier", "subscription_identifier.id")
        for hexadecimal, clause, at in (("8100", VARINT, 1), ("818000", VARINT, 2), ("81808000", VARINT, 3),
                                        ("ffffffff01", "section 1.5.5", 3), ("8180808000", "section 1.5.5", 3)):
            v.reject(f"property-subscription-identifier-bytes-{hexadecimal}-in-{place_tag(place)}", V5, direction,
                     in_block(place, identifier, raw(hexadecimal, "subscription identifier", "subscription_identifier")),
                     malformed(clause, "subscription_identifier", ("subscription_identifier", at)))


def unknown(v):
    known = {p.id for p in TABLE}
    for number in range(128):
        if number not in known and (number < 46 or number in (64, 126)):
            v.reject(f"property-identifier-{number:02x}", V5, EITHER,
                     in_block("PUBLISH", raw(f"{number:02x}", "no property has this identifier", "unknown"), raw("00", "a value")),
                     malformed(PROPERTIES, "property_identifier", "unknown"))
    for hexadecimal in ("80", "8000", "8001", "8100", "a600", "ff", "ffffff7f", "ffffffff7f"):
        v.reject(f"property-identifier-bytes-{hexadecimal}", V5, EITHER,
                 in_block("PUBLISH", raw(hexadecimal, "no property has this identifier", "unknown"), raw("01", "a value")),
                 malformed(PROPERTIES, "property_identifier", "unknown"))
    for place in PLACES:
        v.reject(f"property-identifier-7f-in-{place_tag(place)}", V5, direction_of(None, place),
                 in_block(place, companions(None, place), raw("7f", "no property has this identifier", "unknown"),
                          raw("00", "a value")), malformed(PROPERTIES, "property_identifier", "unknown"))
    v.reject("property-unknown-after-known", V5, EITHER,
             in_block("PUBLISH", one_property("topic_alias", 1), raw("2b", "no property has this identifier", "unknown")),
             malformed(PROPERTIES, "property_identifier", "unknown"))


def blocks(v):
    for place in PLACES:
        tag, direction, name = place_tag(place), direction_of(None, place), length_name(place)
        for count in (127, 128, 129):
            method = companions(None, place)
            padding = "x" * (count - 6 - size(method))
            v.accept(f"property-block-of-{count}-in-{tag}", V5, direction, value_with(place, {"user_property": ["k", padding]}),
                     fields=in_block(place, method, one_property("user_property", ["k", padding])), shows=[VARINT])
        first, before, after = parts(place, [])
        for extra in (1, 100):
            count = size(after) + extra
            v.reject(f"property-length-{extra}-past-end-in-{tag}", V5, direction,
                     frame(first, before, varint(name, count, f"property length {count}, more than is left"), after),
                     malformed(PROPERTY_LENGTH, name, name))
        v.reject(f"property-length-far-past-end-in-{tag}", V5, direction,
                 frame(first, before, varint(name, 268435455, "property length 268435455"), after),
                 malformed(PROPERTY_LENGTH, name, name))
        v.reject(f"property-length-over-long-in-{tag}", V5, direction,
                 frame(first, before, raw("8000", "property length 0 in two bytes", name), after),
                 malformed(VARINT, name, (name, 1)))
        v.reject(f"property-length-over-long-four-bytes-in-{tag}", V5, direction,
                 frame(first, before, raw("80808000", "property length 0 in four bytes", name), after),
                 malformed(VARINT, name, (name, 3)))
        v.reject(f"property-length-five-bytes-in-{tag}", V5, direction,
                 frame(first, before, raw("8080808001", "property length in five bytes", name), after),
                 malformed("section 1.5.5", name, (name, 3)))
        v.reject(f"property-length-unfinished-in-{tag}", V5, direction,
                 frame(first, before, raw("80", "half of a property length", name)), malformed(None, name, name))


def order(v):
    properties = dict(session_expiry_interval=1, receive_maximum=2, topic_alias_maximum=3, maximum_packet_size=4)
    v.accept("property-order-descending", V5, TO_SERVER, connect_value("5.0", properties=properties), canonical=False,
             fields=in_block("CONNECT", *[one_property(n, properties[n]) for n in reversed(properties)]))
    a, b, c = ["b", "1"], ["a", "2"], ["b", "1"]
    v.accept("property-order-of-user-properties", V5, EITHER,
             publish_value(properties=dict(message_expiry_interval=7, user_properties=[a, b, c]), payload="6869"),
             canonical=False, shows=[PROPERTIES],
             fields=in_block("PUBLISH", one_property("user_property", a), one_property("message_expiry_interval", 7),
                             one_property("user_property", b), one_property("user_property", c)))
    v.accept("property-order-of-subscription-identifiers", V5, TO_CLIENT,
             publish_value(properties=dict(content_type="t", subscription_identifiers=[9, 3]), payload="6869"),
             canonical=False, shows=[PROPERTIES, "section 3.3.2.3.8"],
             fields=in_block("PUBLISH", one_property("subscription_identifier", 9), one_property("content_type", "t"),
                             one_property("subscription_identifier", 3)))
    v.accept("property-many-user-properties", V5, EITHER,
             publish_value(properties=dict(user_properties=[["", ""]] * 300), payload="6869"),
             fields=in_block("PUBLISH", raw("26 0000 0000" * 300, "300 user properties without name and value")),
             shows=[PROPERTIES])


def write():
    v = Vectors("properties")
    cells(v)
    twice(v)
    cut(v)
    limits(v)
    unknown(v)
    blocks(v)
    order(v)
    return v
