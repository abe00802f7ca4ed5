"""Checks of the broker with paho-mqtt, and with bytes that it does not send."""

import random
import time

from broker_stage import ALL, NEW, OLD, OLD_AND_NEW, Failure, check, disconnect_bytes, equal, text
from paho_client import PacketTypes, ReasonCode, SubscribeOptions, properties

GONE = "größer"
CUTS = 200
FROM_ABOVE = "it delivers a copy for each of the subscriptions, as it may"


def told(messages):
    """Of messages, what is on the surface."""
    return [(message.topic, message.qos, message.retain, message.payload.decode()) for message in messages]


def until_the_end(client, sender=None):
    """What a client has got before a message of QoS 2 that is published now, on a topic that it has subscribed to."""
    mark = f"mark {time.monotonic_ns()}"
    (sender or client).deliver("end", mark, 2)
    client.wait(lambda: mark in client.payloads("end"), "the last message")
    return [message for message in client.messages if message.topic != "end"]


def reader(stage, name, *filters, **options):
    """A client with subscriptions of QoS 2, one of which is for the end."""
    client = stage.client(name, **options)
    client.connect()
    client.subscribe([(filter, 2) for filter in (*filters, "end")])
    return client


def sender(stage, name="sender", **options):
    client = stage.client(name, **options)
    client.connect()
    return client


# What all versions can do.


@check("paho: messages of every QoS arrive, with the lower one of those they were published and subscribed with", ALL, ("tcp", "tls", "ws"))
def paho_every_qos(stage):
    speaker = sender(stage, transport=stage.transport)
    for granted in 0, 1, 2:
        listener = stage.client(f"reader-{granted}", transport=stage.transport)
        listener.connect()
        equal(listener.subscribe("a/+", granted), [granted], "granted")
        sent = [(qos, f"{word} {qos}") for qos in (0, 1, 2) for word in ("first", "", "größer")]
        for qos, words in sent:
            speaker.deliver("a/b", words.encode(), qos)
        got = told(listener.get(len(sent)))
        for qos in 0, 1, 2:  # messages of different QoS may overtake each other
            expected = [("a/b", qos, False, words) for sent_qos, words in sent if min(sent_qos, granted) == qos]
            equal([message for message in got if message[1] == qos], expected, f"messages of QoS {qos}")
        equal({message.dup for message in listener.messages}, {False}, "dup")
    equal({reason for _, reason in speaker.published}, {0}, "reason codes")


@check("paho: messages of three senders reach three readers, all of them, and in the order of each sender", ALL, max_queued=100_000)
def paho_many(stage):
    count = 400
    readers = [reader(stage, f"reader-{number}", "m/#") for number in range(3)]
    senders = [sender(stage, f"sender-{number}") for number in range(3)]
    for number in range(count):
        for place, speaker in enumerate(senders):
            for qos in 0, 1, 2:
                speaker.publish(f"m/{place}/{qos}", str(number), qos)
    for listener in readers:
        listener.get(9 * count)
        for place in range(3):
            for qos in 0, 1, 2:
                topic = f"m/{place}/{qos}"
                equal(listener.payloads(topic), [str(number) for number in range(count)], f"{listener.name}: {topic}")
    return f"{9 * count} messages, three times"


@check("paho: large messages arrive as they were", ALL, ("tcp", "tls", "ws"))
def paho_large(stage):
    client = stage.client("large", transport=stage.transport)
    client.connect()
    client.subscribe("large", 2)
    sizes = (0, 1, 127, 128, 16_383, 16_384, 65_535, 65_536, 1_000_000, 2_097_151)
    payloads = [random.Random(size).randbytes(size) for size in sizes]
    for payload in payloads:
        client.publish("large", payload, 2)
    got = [message.payload for message in client.get(len(sizes))]
    equal([len(payload) for payload in got], list(sizes), "sizes")
    if got != payloads:
        raise Failure("the content is not what was sent")


@check("paho: unsubscribing ends what was subscribed, and tells what was not", ALL)
def paho_unsubscribe(stage):
    client = reader(stage, "reader", "u/1", "u/2")
    codes = client.unsubscribe(["u/1", "u/+", "never"])
    equal(codes, [0x00, 0x11, 0x11] if stage.is_new else [], "reason codes")
    for topic in "u/1", "u/2":
        client.publish(topic, "word", 2)
    equal(told(until_the_end(client)), [("u/2", 2, False, "word")], "messages")


@check("paho: a will is told after a cut, and not after DISCONNECT", ALL, ("tcp", "tls", "ws"))
def paho_will(stage):
    listener = reader(stage, "reader", "will/#")
    for name, qos, retain, leave in (
        ("polite", 1, False, lambda client: client.disconnect()),
        ("zero", 0, False, lambda client: client.cut()),
        ("one", 1, True, lambda client: client.cut()),
        ("two", 2, False, lambda client: client.cut()),
    ):
        client = stage.client(name, transport=stage.transport)
        client.paho.will_set(f"will/{name}", f"{GONE} {name}", qos, retain)
        client.connect()
        leave(client)
    expected = [(f"will/{name}", qos, False, f"{GONE} {name}") for qos, name in enumerate(("zero", "one", "two"))]
    listener.get(3)
    equal(sorted(told(until_the_end(listener))), sorted(expected), "wills")
    late = reader(stage, "late", "will/#")
    equal(told(until_the_end(late)), [("will/one", 1, True, f"{GONE} one")], "the will that was retained")


@check("paho: a retained message is kept, replaced, and deleted by an empty one", ALL)
def paho_retained(stage):
    live = reader(stage, "live", "kept/#")
    speaker = sender(stage)
    late = stage.client("late")
    late.connect()
    late.subscribe("end", 2)

    def kept(qos, expected, what):
        count = len(until_the_end(late))
        late.subscribe("kept/#", qos)
        got = told(until_the_end(late))[count:]
        equal(sorted(got), sorted(expected), what)
        late.unsubscribe("kept/#")

    kept(2, [], "at first")
    for qos in 0, 1, 2:
        equal(speaker.deliver(f"kept/{qos}", f"{qos}", qos, retain=True), 0, "reason code")
    speaker.deliver("kept/1", "not kept")
    for qos in 0, 1, 2:
        expected = [(f"kept/{sent}", min(sent, qos), True, f"{sent}") for sent in (0, 1, 2)]
        kept(qos, expected, f"kept, and subscribed with QoS {qos}")
    late.subscribe("kept/1", 1)
    count = len(until_the_end(late))
    late.subscribe("kept/1", 2)
    again = [message for message in told(until_the_end(late))[count:]]
    equal(again, [("kept/1", 1, True, "1")], "what comes again with a subscription that replaces another")
    late.unsubscribe("kept/1")
    speaker.deliver("kept/1", "other", 2, retain=True)
    speaker.deliver("kept/2", "", 1, retain=True)
    speaker.deliver("kept/3", "", 1, retain=True)
    kept(2, [("kept/0", 0, True, "0"), ("kept/1", 2, True, "other")], "replaced and deleted")
    equal({message.retain for message in until_the_end(live)}, {False}, "RETAIN for one who was there before")
    equal(sorted(live.payloads("kept/2")), ["", "2"], "the message that deletes is told, too")


@check("paho: what was retained below $ is for those who ask for it", ALL)
def paho_dollar(stage):
    sender(stage).deliver("$mine/a", "kept", retain=True)
    for filter, expected in ("#", []), ("+/a", []), ("+/#", []), ("$mine/#", ["kept"]), ("$mine/+", ["kept"]):
        client = stage.client("reader")
        client.connect()
        client.subscribe([(filter, 1), ("end", 2)])
        client.deliver("$mine/a", "new")
        client.deliver("end", "end", 2)
        client.wait(lambda: client.payloads("end"), "the end")
        equal(client.payloads("$mine/a"), [*expected, "new"] if expected else [], f"messages for {filter}")
        client.disconnect()


@check("paho: a session goes on, with the messages of QoS 1 and 2 that were published meanwhile", ALL, max_queued=100_000)
def paho_session(stage):
    speaker = sender(stage)
    for clean_end in True, False:
        client = stage.client(f"sleeper-{clean_end}", lasting=True)
        equal(client.connect()[0], False, "session present at first")
        client.subscribe([("s/1", 1), ("s/2", 2)])
        for turn in range(3):
            client.disconnect() if clean_end else client.cut()
            for number in range(100):
                speaker.publish("s/1", f"{turn} {number}", 2)
                speaker.publish("s/2", f"{turn} {number}", 2)
            speaker.deliver("s/3", "nobody has subscribed to it", 2)
            present, _ = client.connect()
            if stage.version != "3.1":  # which cannot say it
                equal(present, True, "session present")
            client.wait(lambda: len(client.messages) >= 200 * (turn + 1), "what was waiting")
            speaker.deliver("s/2", "here", 2)
            client.wait(lambda: client.payloads("s/2")[-1] == "here", "a message that has not waited")
            client.messages = [message for message in client.messages if message.payload != b"here"]
        expected = [f"{turn} {number}" for turn in range(3) for number in range(100)]
        equal(client.payloads("s/1"), expected, "messages of QoS 1")
        equal(client.payloads("s/2"), expected, "messages of QoS 2")
        equal({(message.topic, message.qos) for message in client.messages}, {("s/1", 1), ("s/2", 2)}, "QoS")


@check("paho: a clean start is the end of the session before", ALL)
def paho_clean_start(stage):
    speaker = sender(stage)
    for clean_end in True, False:
        sleeper = reader(stage, "same", "s", lasting=True)
        sleeper.disconnect() if clean_end else sleeper.cut()
        speaker.deliver("s", "for nobody", 2)
        clean = stage.client("same")
        equal(clean.connect()[0], False, "session present with a clean start")
        clean.subscribe("end", 2)
        speaker.deliver("s", "for nobody", 2)
        equal(until_the_end(clean), [], "messages without a subscription")
        clean.cut()
        third = stage.client("same", lasting=True)
        equal(third.connect()[0], False, "session present after a session without duration")
        third.subscribe("end", 2)
        equal(until_the_end(third), [], "messages without a subscription")
        third.disconnect()
        fourth = stage.client("same")
        fourth.connect()
        fourth.disconnect()


@check("paho: a second connection takes over the session, and the first one's will is told", ALL)
def paho_take_over(stage):
    listener = reader(stage, "listener", "will/#")
    first = stage.client("same", lasting=True)
    first.paho.will_set("will/same", "taken over")
    first.connect()
    first.subscribe("s", 2)
    second = stage.client("same", lasting=True)
    present, _ = second.connect()
    if stage.version != "3.1":
        equal(present, True, "session present")
    reason = first.ended()
    if stage.is_new:
        equal(reason, 0x8E, "reason for the end of the first connection")
    sender(stage).deliver("s", "for the second", 2)
    equal(told(second.get(1)), [("s", 2, False, "for the second")], "what the second one gets")
    equal(first.messages, [], "what the first one gets")
    equal(told(listener.get(1)), [("will/same", 0, False, "taken over")], "will")
    # One after the other, as fast as they can: one has it in the end.
    crowd = [stage.client("same", lasting=True).begin() for _ in range(10)]
    crowd[-1].wait(lambda: sum(bool(client.disconnected) for client in crowd) >= 9, "the end of all but one")
    listener.deliver("s", "for one of them", 2)
    crowd[-1].wait(lambda: any(client.payloads("s") == ["for one of them"] for client in crowd), "a message for the last")


@check("paho: nothing is lost, nothing of QoS 2 comes twice, and all is in order, when both ends are cut 200 times", ALL, max_queued=100_000)
def paho_cuts(stage):
    proxies, clients = {}, {}
    for name in "reader", "sender":
        proxies[name] = stage.proxy(CUTS, name)
        client = clients[name] = stage.client(name, lasting=True, reconnect_on_failure=True)
        client.connect()  # past the proxy, so that there is a session
        if name == "reader":
            client.subscribe([("cut/1", 1), ("cut/2", 2)])
        client.disconnect()
        client.paho.reconnect_delay_set(0.005, 0.02)
        client.begin(port=proxies[name].port)
    sent, under_way = 0, 30
    listener, speaker = clients["reader"], clients["sender"]
    give_up_at = time.monotonic() + 90
    while not all(proxy.is_through() for proxy in proxies.values()):
        if time.monotonic() > give_up_at:
            counts = [(proxy.cuts, proxy.connections) for proxy in proxies.values()]
            raise Failure(f"too slow: cuts and connections {counts}, {sent} messages")
        if sent - len(speaker.published) < under_way and 2 * sent - len(listener.messages) < 500:
            speaker.publish(f"cut/{1 + sent % 2}", str(sent // 2), 1 + sent % 2)
            sent += 1
        else:
            time.sleep(0.001)
    speaker.wait(lambda: len(speaker.published) == sent, "acknowledgements")
    expected = {qos: [str(number) for number in range((sent + 2 - qos) // 2)] for qos in (1, 2)}
    listener.wait(lambda: len(set(listener.payloads("cut/1"))) == len(expected[1]), "messages of QoS 1")
    listener.wait(lambda: len(listener.payloads("cut/2")) >= len(expected[2]), "messages of QoS 2")
    got = {qos: listener.payloads(f"cut/{qos}") for qos in (1, 2)}
    equal(got[2], expected[2], "messages of QoS 2")
    equal(list(dict.fromkeys(got[1])), expected[1], "messages of QoS 1")
    cuts = ", ".join(f"{proxy.cuts} cuts of the {name}" for name, proxy in proxies.items())
    return f"{sent} messages, {cuts}, {len(got[1]) - len(expected[1])} messages of QoS 1 repeated"
