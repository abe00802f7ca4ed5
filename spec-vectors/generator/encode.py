"""Turns the value of a packet into the fields of its shortest form."""

from .table import BY_NAME, PROPERTIES
from .wire import TYPES, binary, flat, frame, pair, raw, size, text, u8, u16, u32, varint

LEVELS = {"3.1": 3, "3.1.1": 4, "5.0": 5}


def one_property(name, value):
    """Returns the identifier (mark `<name>.id`) and the value (mark `<name>`) of a property."""
    prop = BY_NAME[name]
    head = raw(f"{prop.id:02x}", f"property {prop.id}, {name.replace('_', ' ')}", name + ".id")
    if prop.type == "pair":
        return head + pair(name, *value)
    write = {"flag": u8, "u16": u16, "u32": u32, "varint": varint, "text": text, "binary": binary}[prop.type]
    if prop.type == "binary" and isinstance(value, str):
        value = bytes.fromhex(value)
    return head + write(name, int(value) if prop.type == "flag" else value)


def block(*properties, name="property_length", length=None):
    """Returns a property length and the properties. `length` replaces the property length."""
    body = flat(properties)
    return varint(name, size(body) if length is None else length) + body


def property_list(values):
    """Returns the properties of a packet's value, in ascending order of identifier."""
    out = []
    for prop in PROPERTIES:
        if prop.name == "user_property":
            out += [one_property(prop.name, v) for v in values.get("user_properties", [])]
        elif prop.name == "subscription_identifier" and "subscription_identifiers" in values:
            out += [one_property(prop.name, v) for v in values["subscription_identifiers"]]
        elif prop.name in values:
            out.append(one_property(prop.name, values[prop.name]))
    return out


def properties(version, values, name="property_length"):
    if version != "5.0":
        assert not values, "only 5.0 has properties"
        return []
    return block(property_list(values), name=name)


def connect_flags(p):
    will = p["will"]
    flags = (2 if p["clean_start"] else 0) | (0x80 if p["user_name"] is not None else 0)
    flags |= 0x40 if p["password"] is not None else 0
    if will:
        flags |= 4 | will["qos"] << 3 | (0x20 if will["retain"] else 0)
    return flags


def connect(p, flags=None):
    version, will = p["version"], p["will"]
    flags = connect_flags(p) if flags is None else flags
    level = LEVELS[version] | (0x80 if p.get("is_bridge") else 0)
    out = [text("protocol_name", "MQIsdp" if version == "3.1" else "MQTT"), u8("protocol_version", level),
           u8("connect_flags", flags, f"connect flags {flags:08b}"), u16("keep_alive", p["keep_alive"]),
           properties(version, p["properties"]), text("client_identifier", p["client_identifier"])]
    if will:
        out += [properties(version, will["properties"], "will_property_length"), text("will_topic", will["topic"]),
                binary("will_payload", bytes.fromhex(will["payload"]))]
    if p["user_name"] is not None:
        out.append(text("user_name", p["user_name"]))
    if p["password"] is not None:
        out.append(binary("password", bytes.fromhex(p["password"])))
    return frame(0x10, out)


def publish(version, p):
    flags = (8 if p["dup"] else 0) | p["qos"] << 1 | (1 if p["retain"] else 0)
    out = [text("topic_name", p["topic_name"])]
    if p["qos"]:
        out.append(u16("packet_identifier", p["packet_identifier"]))
    out.append(properties(version, p["properties"]))
    if p["payload"]:
        out.append(raw(p["payload"], "payload", "payload"))
    return frame(0x30 | flags, out)


def code(value):
    return u8("reason_code", value, f"reason code 0x{value:02x}")


def subscription(s):
    options = s["qos"] | s["no_local"] << 2 | s["retain_as_published"] << 3 | s["retain_handling"] << 4
    return [text("topic_filter", s["topic_filter"]),
            u8("subscription_options", options, f"subscription options {options:08b}")]


def encode(version, p):
    kind = p["type"]
    first = TYPES[kind] << 4 | (2 if kind in ("PUBREL", "SUBSCRIBE", "UNSUBSCRIBE") else 0)
    if kind == "CONNECT":
        return connect(p)
    if kind == "CONNACK":
        return frame(first, u8("acknowledge_flags", int(p["session_present"])), code(p["reason_code"]),
                     properties(version, p["properties"]))
    if kind == "PUBLISH":
        return publish(version, p)
    if kind in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        out = [u16("packet_identifier", p["packet_identifier"])]
        if p["reason_code"] or p["properties"]:
            out.append(code(p["reason_code"]))
        if p["properties"]:
            out.append(properties(version, p["properties"]))
        return frame(first, out)
    if kind == "SUBSCRIBE":
        return frame(first, u16("packet_identifier", p["packet_identifier"]), properties(version, p["properties"]),
                     [subscription(s) for s in p["subscriptions"]])
    if kind == "UNSUBSCRIBE":
        return frame(first, u16("packet_identifier", p["packet_identifier"]), properties(version, p["properties"]),
                     [text("topic_filter", f) for f in p["topic_filters"]])
    if kind in ("SUBACK", "UNSUBACK"):
        return frame(first, u16("packet_identifier", p["packet_identifier"]), properties(version, p["properties"]),
                     [code(c) for c in p["reason_codes"]])
    if kind in ("PINGREQ", "PINGRESP"):
        return frame(first)
    assert kind in ("DISCONNECT", "AUTH")
    if kind == "DISCONNECT" and p["reason_code"] and not p["properties"]:
        return frame(first, code(p["reason_code"]))
    if p["reason_code"] == 0 and not p["properties"]:
        return frame(first)
    return frame(first, code(p["reason_code"]), properties(version, p["properties"]))
