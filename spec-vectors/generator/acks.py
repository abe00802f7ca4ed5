"""PUBACK, PUBREC, PUBREL, PUBCOMP."""

from .encode import block, code, one_property
from .table import REASONS_5, wrong_codes
from .vectors import *
from .vectors import ack_value as value
from .wire import TYPES, frame, raw, u16

CLAUSE = {"PUBACK": "MQTT-3.4.2-1", "PUBREC": "MQTT-3.5.2-1", "PUBREL": "MQTT-3.6.2-1", "PUBCOMP": "MQTT-3.7.2-1"}


def write(kind):
    v = Vectors(kind.lower())
    tag, clause, short = kind.lower(), CLAUSE[kind], ["section 3.4.2.1"]
    first = TYPES[kind] << 4 | (2 if kind == "PUBREL" else 0)

    def identifier(number=10):
        return u16("packet_identifier", number)

    for number in (1, 10, 256, 65535):
        v.accept(f"{tag}-identifier-{number}", ALL, EITHER, value(kind, number),
                 fields=frame(first, identifier(number)), shows=by_version([], [*short, clause]))
    v.reject(f"{tag}-identifier-0", ALL, EITHER, frame(first, identifier(0)),
             malformed(PACKET_ID, "packet_identifier", "packet_identifier"))
    v.reject(f"{tag}-remaining-length-0", ALL, EITHER, frame(first), malformed(LENGTH, "packet_identifier", "end"))
    v.reject(f"{tag}-half-an-identifier", ALL, EITHER, frame(first, raw("00", "half of an identifier", "packet_identifier")),
             malformed(LENGTH, "packet_identifier", "packet_identifier"))
    v.reject(f"{tag}-v3-trailing-byte", V3, EITHER, frame(first, identifier(), raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    v.reject(f"{tag}-v3-trailing-bytes", V3, EITHER, frame(first, identifier(), raw("0000", "two bytes too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))

    for number in REASONS_5[kind]:
        v.accept(f"{tag}-v5-code-{number:02x}", V5, EITHER, value(kind, reason_code=number),
                 fields=frame(first, identifier(), code(number)), shows=[clause, *short], canonical=number != 0)
        v.accept(f"{tag}-v5-code-{number:02x}-property-length-0", V5, EITHER, value(kind, reason_code=number),
                 fields=frame(first, identifier(), code(number), block()), shows=[clause, *short], canonical=False)
    for number in wrong_codes(kind):
        v.reject(f"{tag}-v5-code-{number:02x}", V5, EITHER, frame(first, identifier(), code(number)),
                 malformed(clause, "reason_code", "reason_code"))
    v.reject(f"{tag}-v5-code-ff-properties", V5, EITHER,
             frame(first, identifier(), code(0xFF), block(one_property("reason_string", "no"))),
             malformed(clause, "reason_code", "reason_code"))
    bad = REASONS_5[kind][-1]
    v.accept(f"{tag}-v5-success-reason-string", V5, EITHER, value(kind, reason_string="done"), shows=[clause])
    v.accept(f"{tag}-v5-all-properties", V5, EITHER,
             value(kind, reason_code=bad, reason_string="why", user_properties=[["k", "1"], ["k", "2"]]),
             shows=[clause, PROPERTIES, "MQTT-1.5.7-1"])
    v.reject(f"{tag}-v5-trailing-byte", V5, EITHER,
             frame(first, identifier(), code(0), block(), raw("00", "a byte too many", "extra")),
             malformed(LENGTH, "remaining_length", "extra"))
    return v
