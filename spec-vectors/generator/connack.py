"""CONNACK."""

from .encode import block, code, one_property
from .table import REASONS_3, REASONS_5, gaps, wrong_codes
from .vectors import *
from .vectors import connack_value as value
from .wire import frame, raw, u8


def flags(bits):
    return u8("acknowledge_flags", bits, f"acknowledge flags {bits:08b}")


def write():
    v = Vectors("connack")
    for number in REASONS_3["CONNACK"]:
        v.accept(f"connack-v3-code-{number}", V3, TO_CLIENT, value(reason_code=number),
                 shows=["MQTT-3.2.2-4"] if number else [])
    v.accept("connack-v311-session-present", V311, TO_CLIENT, value(session_present=True), shows=["MQTT-3.2.2-4"])
    for bits in (0x01, 0x02, 0xFF):
        v.accept(f"connack-v31-reserved-byte-{bits:02x}", V31, TO_CLIENT, value(),
                 fields=frame(0x20, raw(f"{bits:02x}", "reserved in 3.1"), code(0)), canonical=False)
    v.accept("connack-v31-reserved-byte-refused", V31, TO_CLIENT, value(reason_code=5),
             fields=frame(0x20, raw("01", "reserved in 3.1"), code(5)), canonical=False)
    for number in gaps(REASONS_3["CONNACK"]):
        v.reject(f"connack-v3-code-{number}", V3, TO_CLIENT, frame(0x20, flags(0), code(number)),
                 malformed("section 3.2.2.3", "reason_code", "reason_code"))
    v.reject("connack-v3-code-128", V3, TO_CLIENT, frame(0x20, flags(0), code(128)),
             malformed("section 3.2.2.3", "reason_code", "reason_code"))
    for number in REASONS_3["CONNACK"][1:]:
        v.reject(f"connack-v311-session-present-code-{number}", V311, TO_CLIENT, frame(0x20, flags(1), code(number)),
                 protocol_error("MQTT-3.2.2-4", "acknowledge_flags", "acknowledge_flags"))
    v.reject("connack-v3-trailing-byte", V3, TO_CLIENT,
             frame(0x20, flags(0), code(0), raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))

    for bits in (0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x03, 0xFE, 0xFF):
        v.reject(f"connack-v311-flags-{bits:02x}", V311, TO_CLIENT, frame(0x20, flags(bits), code(0)),
                 malformed("section 3.2.2.1", "acknowledge_flags", "acknowledge_flags"))
        v.reject(f"connack-v5-flags-{bits:02x}", V5, TO_CLIENT, frame(0x20, flags(bits), code(0), block()),
                 malformed("MQTT-3.2.2-1", "acknowledge_flags", "acknowledge_flags"))
    v.reject("connack-remaining-length-0", ALL, TO_CLIENT, frame(0x20), malformed(LENGTH, "acknowledge_flags", "end"))
    v.reject("connack-no-code", ALL, TO_CLIENT, frame(0x20, flags(0)), malformed(LENGTH, "reason_code", "end"))

    v.accept("connack-v5-session-present", V5, TO_CLIENT, value(session_present=True),
             shows=["MQTT-3.2.2-1", "MQTT-3.2.2-6"])
    for number in REASONS_5["CONNACK"]:
        v.accept(f"connack-v5-code-{number:02x}", V5, TO_CLIENT, value(reason_code=number),
                 shows=["MQTT-3.2.2-8", "MQTT-3.2.2-1", "MQTT-2.2.2-1"] + (["MQTT-3.2.2-6"] if number else []))
        if number:
            v.reject(f"connack-v5-session-present-code-{number:02x}", V5, TO_CLIENT,
                     frame(0x20, flags(1), code(number), block()),
                     protocol_error("MQTT-3.2.2-6", "acknowledge_flags", "acknowledge_flags"))
    for number in sorted({*wrong_codes("CONNACK"), 3, 5}):
        v.reject(f"connack-v5-code-{number:02x}", V5, TO_CLIENT, frame(0x20, flags(0), code(number), block()),
                 malformed("MQTT-3.2.2-8", "reason_code", "reason_code"))
    v.reject("connack-v5-no-property-length", V5, TO_CLIENT, frame(0x20, flags(0), code(0)),
             malformed(PROPERTY_LENGTH, "property_length", "end"), ["MQTT-2.2.2-1"])
    v.reject("connack-v5-trailing-byte", V5, TO_CLIENT,
             frame(0x20, flags(0), code(0), block(), raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    v.accept("connack-v5-all-properties", V5, TO_CLIENT, value(
        session_expiry_interval=120, assigned_client_identifier="auto-1", server_keep_alive=30,
        authentication_method="m", authentication_data="00ff", response_information="r/", server_reference="other:1883",
        reason_string="fine", receive_maximum=10, topic_alias_maximum=5, maximum_qos=1, retain_available=True,
        user_properties=[["k", "1"], ["k", "2"]], maximum_packet_size=1048576, wildcard_subscription_available=False,
        subscription_identifiers_available=True, shared_subscription_available=False),
        shows=["section 3.2.2.3.4", "section 3.2.2.3.5", PROPERTIES])
    v.reject("connack-v5-authentication-data-without-method", V5, TO_CLIENT,
             frame(0x20, flags(0), code(0), block(one_property("authentication_data", "01"))),
             protocol_error("section 3.2.2.3.18", "authentication_data", "authentication_data.id"))
    return v
