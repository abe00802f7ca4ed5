"""PINGREQ, PINGRESP, DISCONNECT, AUTH."""

from .encode import block, code, one_property
from .table import REASONS_5, wrong_codes
from .vectors import *
from .vectors import end_value
from .wire import TYPES, frame, raw


def ping(kind):
    v = Vectors(kind.lower())
    tag, first = kind.lower(), TYPES[kind] << 4
    direction = TO_SERVER if kind == "PINGREQ" else TO_CLIENT
    v.accept(tag, ALL, direction, dict(type=kind), fields=frame(first), shows=by_version(["MQTT-2.2.2-2"], ["MQTT-2.1.3-1"]))
    v.reject(f"{tag}-trailing-byte", ALL, direction, frame(first, raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    v.reject(f"{tag}-trailing-bytes", ALL, direction, frame(first, raw("c000", "another PINGREQ inside", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    return v


def disconnect():
    v = Vectors("disconnect")

    def value(number=0, **properties):
        return end_value("DISCONNECT", number, **properties)

    v.accept("disconnect-v3", V3, TO_SERVER, value(), fields=frame(0xE0), shows=["MQTT-3.14.1-1"])
    v.reject("disconnect-v3-trailing-byte", V3, TO_SERVER, frame(0xE0, raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    v.reject("disconnect-v3-trailing-bytes", V3, TO_SERVER, frame(0xE0, raw("0000", "two bytes too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    short = ["section 3.14.2.1", "MQTT-3.14.2-1"]
    v.accept("disconnect-v5-empty", V5, EITHER, value(), fields=frame(0xE0), shows=[*short, "MQTT-3.14.1-1"])
    for number in REASONS_5["DISCONNECT"]:
        v.accept(f"disconnect-v5-code-{number:02x}", V5, EITHER, value(number), fields=frame(0xE0, code(number)),
                 canonical=number != 0, shows=short)
        v.accept(f"disconnect-v5-code-{number:02x}-property-length-0", V5, EITHER, value(number),
                 fields=frame(0xE0, code(number), block()), canonical=False, shows=["MQTT-3.14.2-1"])
    for number in wrong_codes("DISCONNECT"):
        v.reject(f"disconnect-v5-code-{number:02x}", V5, EITHER, frame(0xE0, code(number)),
                 malformed("MQTT-3.14.2-1", "reason_code", "reason_code"))
    v.reject("disconnect-v5-trailing-byte", V5, EITHER, frame(0xE0, code(0), block(), raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    v.accept("disconnect-v5-properties-from-client", V5, TO_SERVER,
             value(4, session_expiry_interval=3600, reason_string="bye", user_properties=[["k", "1"], ["k", "2"]]),
             shows=[PROPERTIES, "MQTT-1.5.7-1"])
    v.accept("disconnect-v5-properties-from-server", V5, TO_CLIENT,
             value(0x9C, server_reference="other:1883", reason_string="bye", user_properties=[["k", "1"], ["k", "2"]]),
             shows=[PROPERTIES])
    v.accept("disconnect-v5-success-with-reason-string", V5, EITHER, value(reason_string="bye"))
    v.reject("disconnect-v5-session-expiry-interval-from-server", V5, TO_CLIENT,
             frame(0xE0, code(0), block(one_property("session_expiry_interval", 60))),
             protocol_error("section 3.14.2.2.2", "session_expiry_interval", "session_expiry_interval.id"),
             ["MQTT-3.14.2-2"])
    v.reject("disconnect-v5-server-reference-from-client", V5, TO_SERVER,
             frame(0xE0, code(0), block(one_property("server_reference", "other"))),
             protocol_error("section 3.14.2.2.5", "server_reference", "server_reference.id"))
    return v


def auth():
    v = Vectors("auth")

    def value(number=0, **properties):
        return end_value("AUTH", number, **properties)

    method = one_property("authentication_method", "m")
    short = "section 3.15.2.1"
    v.accept("auth-empty", V5, EITHER, value(), fields=frame(0xF0), shows=[short, "MQTT-3.15.1-1", "MQTT-3.15.2-1"])
    for number in REASONS_5["AUTH"]:
        v.accept(f"auth-code-{number:02x}", V5, EITHER, value(number, authentication_method="m"),
                 fields=frame(0xF0, code(number), block(method)), shows=["MQTT-3.15.2-1"])
        v.accept(f"auth-code-{number:02x}-data", V5, EITHER,
                 value(number, authentication_method="SCRAM-SHA-1", authentication_data="00ff80"), shows=["MQTT-3.15.2-1"])
    for number in wrong_codes("AUTH"):
        v.reject(f"auth-code-{number:02x}", V5, EITHER, frame(0xF0, code(number), block(method)),
                 malformed("MQTT-3.15.2-1", "reason_code", "reason_code"))
    v.accept("auth-all-properties", V5, EITHER,
             value(0x18, authentication_method="m", authentication_data="", reason_string="more",
                   user_properties=[["k", "1"], ["k", "2"]]), shows=[PROPERTIES, "MQTT-1.5.7-1"])
    v.accept("auth-data-before-method", V5, EITHER, value(0x18, authentication_method="m", authentication_data="01"),
             fields=frame(0xF0, code(0x18), block(one_property("authentication_data", "01"), method)), canonical=False)
    for number in REASONS_5["AUTH"]:
        v.reject(f"auth-code-{number:02x}-no-property-length", V5, EITHER, frame(0xF0, code(number)),
                 malformed(PROPERTY_LENGTH, "property_length", "end"), [short, "MQTT-2.2.2-1"])
        v.reject(f"auth-code-{number:02x}-no-method", V5, EITHER, frame(0xF0, code(number), block()),
                 protocol_error("section 3.15.2.2.2", "authentication_method", "end"))
    v.reject("auth-other-properties-no-method", V5, EITHER,
             frame(0xF0, code(0x18), block(one_property("reason_string", "why"))),
             protocol_error("section 3.15.2.2.2", "authentication_method", "end"))
    v.reject("auth-data-without-method", V5, EITHER, frame(0xF0, code(0x18), block(one_property("authentication_data", "01"))),
             protocol_error("section 3.15.2.2.2", "authentication_method", "end"))
    v.reject("auth-trailing-byte", V5, EITHER, frame(0xF0, code(0x18), block(method), raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    for version, tag in ((V31, "v31"), (V311, "v311")):
        v.reject(f"auth-in-{tag}", version, EITHER, frame(0xF0, note="type 15, which this version does not have"),
                 malformed(PACKET_TYPE, "packet_type", 0))
    return v
