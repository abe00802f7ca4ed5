"""The wire types of MQTT. Each helper returns a list of fields: bytes, a note, and a mark to find them by."""

from collections import namedtuple

Field = namedtuple("Field", "hex note mark")


def flat(parts):
    """Flattens nested lists of fields."""
    out = []
    for part in parts:
        if isinstance(part, Field):
            out.append(part)
        else:
            out.extend(flat(part))
    return out


def size(fields):
    return sum(len(f.hex) // 2 for f in flat([fields]))


def join(fields):
    return bytes.fromhex("".join(f.hex for f in flat([fields])))


def words(name):
    return name.replace("_", " ")


def raw(hexadecimal, note, mark=None):
    """Returns these bytes."""
    return [Field("".join(hexadecimal.split()).lower(), note, mark)]


def u8(name, value, note=None):
    return raw(f"{value:02x}", note or f"{words(name)} {value}", name)


def u16(name, value, note=None):
    return raw(f"{value:04x}", note or f"{words(name)} {value}", name)


def u32(name, value, note=None):
    return raw(f"{value:08x}", note or f"{words(name)} {value}", name)


def varint_hex(value):
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return out.hex()


def varint(name, value, note=None):
    return raw(varint_hex(value), note or f"{words(name)} {value}", name)


def binary(name, data, note=None):
    """A length of two bytes and the data. The mark is on the length, `<name>.data` on the data."""
    out = raw(f"{len(data):04x}", f"length of {words(name)}", name)
    if data:
        out += raw(data.hex(), note or words(name), name + ".data")
    return out


def show(text):
    """Formats a string for a note."""
    if len(text) > 40:
        text = text[:20] + "..." + text[-10:]
    def one(c):
        if " " <= c < "\x7f":
            return c
        return f"<byte {ord(c) - 0xDC00:02x}>" if 0xDC80 <= ord(c) <= 0xDCFF else f"<U+{ord(c):04X}>"
    return '"' + "".join(map(one, text)) + '"'


def text(name, value, note=None):
    """A string. A byte that is not valid UTF-8 is written as U+DC00 + byte."""
    return binary(name, value.encode("utf-8", "surrogateescape"), note or f"{words(name)} {show(value)}")


def pair(name, key, value):
    """A string pair. The mark is on the first length, `<name>.value` on the second."""
    first = text(name, key, f"{words(name)}, name {show(key)}")
    second = text(name, value, f"{words(name)}, value {show(value)}")
    return first + [f._replace(mark=name + ".value" + f.mark[len(name):]) for f in second]


NAMES = {
    1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP", 8: "SUBSCRIBE",
    9: "SUBACK", 10: "UNSUBSCRIBE", 11: "UNSUBACK", 12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT", 15: "AUTH",
}
TYPES = {name: number for number, name in NAMES.items()}


def first_byte(value, note=None):
    name = NAMES.get(value >> 4, f"packet type {value >> 4}")
    return raw(f"{value:02x}", note or (name + (f", flags {value & 15:04b}" if value & 15 else "")), "first")


def frame(first, *body, note=None, length=None):
    """A packet: first byte, remaining length, body. `length` replaces the remaining length."""
    body = flat(body)
    count = size(body) if length is None else length
    return first_byte(first, note) + varint("remaining_length", count) + body
