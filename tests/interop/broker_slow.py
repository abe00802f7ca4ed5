"""Checks of the broker with clients that read slowly, or not at all."""

import struct
import time

from broker_stage import ALL, OLD_AND_NEW, PLENTY, Failure, check, equal, text

PINGREQ, PINGRESP = (0xC0, b""), (0xD0, b"")


def subscribe(raw, version, topic, qos):
    properties = b"\0" if version == "5.0" else b""
    raw.send((0x82, b"\0\1" + properties + text(topic) + bytes([qos])))
    first, body = raw.packet()
    equal((first, body[-1]), (0x90, qos), "SUBACK")


def publish(version, topic, payload, qos=0, packet_id=1):
    """Returns a PUBLISH: its first byte, and the bytes after its length."""
    identifier = struct.pack(">H", packet_id) if qos else b""
    properties = b"\0" if version == "5.0" else b""
    return 0x30 | qos << 1, text(topic) + identifier + properties + payload


def numbered(body, version, topic, qos):
    """Returns packet identifier and number of a message whose payload begins with a number."""
    at = len(text(topic))
    packet_id = body[at : at + 2]
    at += (2 if qos else 0) + (1 if version == "5.0" else 0)
    return packet_id, struct.unpack(">I", body[at : at + 4])[0]


@check(
    "a client that is 14 MB behind and sends PINGREQ stays connected, and gets every message",
    OLD_AND_NEW,
    max_queued=PLENTY,
)
def slow_pinger(stage):
    count, size, keep_alive = 3500, 4000, 2
    slow = stage.raw()
    slow.connect(stage.version, "slow", keep_alive=keep_alive)
    subscribe(slow, stage.version, "slow", 1)
    sender = stage.raw()
    sender.connect(stage.version, "sender")
    for number in range(count):
        sender.send(publish(stage.version, "slow", struct.pack(">I", number) + bytes(size - 4), 1, number + 1))
        # No more are in flight than any broker allows.
        if number % 10 == 9:
            equal({sender.packet()[0] for _ in range(10)}, {0x40}, "answers to PUBLISH")
    # The client is silent for no longer than its Keep Alive, and reads so little that it stays behind.
    pings, began = 0, time.monotonic()
    while time.monotonic() < began + 3 * keep_alive:
        slow.send(PINGREQ)
        pings += 1
        if not slow.read_ahead(1000):
            raise Failure(f"the client was disconnected after {time.monotonic() - began:.1f} s, with {pings} PINGREQ")
        time.sleep(0.25)
    expected, answers = 0, 0
    while (expected, answers) < (count, pings):
        packet = slow.packet()
        if packet == PINGRESP:
            answers += 1
            continue
        equal(packet[0], 0x32, "type of a packet")
        packet_id, number = numbered(packet[1], stage.version, "slow", 1)
        equal(number, expected, "number of the message")
        expected += 1
        slow.send((0x40, packet_id))
    equal((expected, answers), (count, pings), "messages and PINGRESP")


@check("a client that writes 40 MB of QoS 0 to itself and reads nothing is not blocked", ALL, max_queued=PLENTY)
def deaf_writer(stage):
    count, size = 400, 100_000
    listener = stage.raw()
    listener.connect(stage.version, "listener")
    subscribe(listener, stage.version, "last", 0)
    deaf = stage.raw()
    deaf.connect(stage.version, "deaf")
    subscribe(deaf, stage.version, "deaf", 0)
    try:
        for number in range(count):
            deaf.send(publish(stage.version, "deaf", bytes(size)))
        deaf.send(publish(stage.version, "last", b"written"))
    except TimeoutError:
        raise Failure(f"the broker has taken no more than {number * size / 1e6:.0f} MB") from None
    # The broker has not only received the last message, it has forwarded it.
    first, body = listener.packet()
    equal((first, body[-7:]), (0x30, b"written"), "the last message")
    # The connection lives on: the client reads what was not dropped, and is answered.
    deaf.send(PINGREQ)
    received = 0
    while (packet := deaf.packet()) != PINGRESP:
        equal(packet[0], 0x30, "type of a packet")
        received += 1
    return f"{received} of {count} messages were not dropped"
