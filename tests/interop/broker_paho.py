"""Checks of the broker with paho-mqtt, and with bytes that paho-mqtt does not send."""

import random
import time

from broker_stage import ALL, NEW, OLD_AND_NEW, PATIENCE, PLENTY, Failure, check, disconnect_bytes, equal, text
from paho_client import PacketTypes, ReasonCode, SubscribeOptions, properties

GONE = "größer"
CUTS = 200
DELAY = 3  # seconds of a will, in which a busy machine connects again


def told(messages):
    """Returns topic, payload, QoS and flags of messages."""
    return [(message.topic, message.qos, message.retain, message.payload.decode()) for message in messages]


def until_the_end(client, sender=None):
    """Publishes a message of QoS 2 to a topic of the client, and returns the messages it has received before that
    one."""
    mark = f"mark {time.monotonic_ns()}"
    (sender or client).deliver("end", mark, 2)
    client.wait(lambda: mark in client.payloads("end"), "the last message")
    return [message for message in client.messages if message.topic != "end"]


def reader(stage, name, *filters, **options):
    """Returns a client with subscriptions of QoS 2, one of which is for the last message."""
    client = stage.client(name, **options)
    client.connect()
    client.subscribe([(filter, 2) for filter in (*filters, "end")])
    return client


def sender(stage, name="sender", **options):
    client = stage.client(name, **options)
    client.connect()
    return client


# Checks for all versions.


@check(
    "paho: messages of every QoS arrive, with the lower QoS of publication and subscription",
    ALL,
    ("tcp", "tls", "ws"),
)
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
        for qos in 0, 1, 2:  # messages of different QoS may arrive in another order
            expected = [("a/b", qos, False, words) for sent_qos, words in sent if min(sent_qos, granted) == qos]
            equal([message for message in got if message[1] == qos], expected, f"messages of QoS {qos}")
        equal({message.dup for message in listener.messages}, {False}, "dup")
    equal({reason for _, reason in speaker.published}, {0}, "reason codes")


@check(
    "paho: all messages of three senders reach three readers, in the order of each sender",
    ALL,
    max_queued=PLENTY,
)
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


@check("paho: large messages arrive unchanged", ALL, ("tcp", "tls", "ws"))
def paho_large(stage):
    if stage.transport == "ws" and stage.spares_mosquitto("anything, since in 2.0.11 a WebSocket stalls at some size"):
        return
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


@check("paho: UNSUBSCRIBE ends subscriptions, and the answer says which did not exist", ALL)
def paho_unsubscribe(stage):
    client = reader(stage, "reader", "u/1", "u/2")
    codes = client.unsubscribe(["u/1", "u/+", "never"])
    equal(codes, [0x00, 0x11, 0x11] if stage.is_new else [], "reason codes")
    for topic in "u/1", "u/2":
        client.publish(topic, "word", 2)
    equal(told(until_the_end(client)), [("u/2", 2, False, "word")], "messages")


@check("paho: a will is published after a cut, and not after DISCONNECT", ALL, ("tcp", "tls", "ws"))
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


@check("paho: a retained message is stored, replaced, and removed by one with an empty payload", ALL)
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


@check("paho: retained messages below $ go only to filters that begin with $", ALL)
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


@check(
    "paho: a session is resumed, and receives the messages of QoS 1 and 2 published meanwhile", ALL, max_queued=PLENTY
)
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
            if stage.version != "3.1":  # 3.1 has no such flag
                equal(present, True, "session present")
            client.wait(lambda: len(client.messages) >= 200 * (turn + 1), "what was waiting")
            speaker.deliver("s/2", "here", 2)
            client.wait(lambda: client.payloads("s/2")[-1] == "here", "a message that has not waited")
            client.messages = [message for message in client.messages if message.payload != b"here"]
        expected = [f"{turn} {number}" for turn in range(3) for number in range(100)]
        equal(client.payloads("s/1"), expected, "messages of QoS 1")
        equal(client.payloads("s/2"), expected, "messages of QoS 2")
        equal({(message.topic, message.qos) for message in client.messages}, {("s/1", 1), ("s/2", 2)}, "QoS")


@check("paho: a clean start ends the previous session", ALL)
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


@check("paho: a second connection takes over the session, and the will of the first connection is published", ALL)
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
    if stage.is_new and not stage.spares_mosquitto("the reason 0x8E, which 2.0.11 does not tell"):
        equal(reason, 0x8E, "reason for the end of the first connection")
    sender(stage).deliver("s", "for the second", 2)
    equal(told(second.get(1)), [("s", 2, False, "for the second")], "what the second one gets")
    equal(first.messages, [], "what the first one gets")
    if not stage.spares_mosquitto("the will, which 2.0.11 forgets when a session is taken over"):
        equal(told(listener.get(1)), [("will/same", 0, False, "taken over")], "will")
    # Several clients in quick succession: the last one has the session.
    crowd = [stage.client("same", lasting=True).begin() for _ in range(10)]
    stage.wait(lambda: sum(bool(client.disconnected) for client in crowd) >= 9, "the end of all but one")
    listener.deliver("s", "for one of them", 2)
    stage.wait(lambda: any(client.payloads("s") == ["for one of them"] for client in crowd), "a message for the last")


class Cut:
    """A client whose connections are cut, and that reconnects at once."""

    def __init__(self, stage, name, filters=()):
        self.client = stage.client(name, lasting=True)
        self.client.connect()  # not through the proxy, to create the session
        if filters:
            self.client.subscribe(filters)
        self.client.disconnect()
        self.proxy = stage.proxy(CUTS, name)
        self.client.open(port=self.proxy.port)

    def go_on(self):
        """Runs the client's loop. Returns whether there is a connection."""
        return self.client.go_on()


@check(
    "paho: no message is lost, none of QoS 2 is duplicated, and all are in order, when both clients are cut 200 times",
    ALL,
    max_queued=PLENTY,
    max_inflight=20,
)
def paho_cuts(stage):
    reader, sender = Cut(stage, "reader", [("cut/1", 1), ("cut/2", 2)]), Cut(stage, "sender")
    messages, published = reader.client.messages, sender.client.published
    sent, got, arrived = 0, {1: [], 2: []}, set()
    give_up_at = time.monotonic() + 5 * PATIENCE
    while not (reader.proxy.is_through() and sender.proxy.is_through() and len(published) == len(arrived) == sent):
        reader.go_on()
        is_connected = sender.go_on()
        for message in messages[sum(map(len, got.values())) :]:
            got[message.qos].append(int(message.payload))
            arrived.add(int(message.payload))
        to_cut = not (reader.proxy.is_through() and sender.proxy.is_through())
        if to_cut and is_connected and sent - len(published) < 15 and sent - len(arrived) < 100:
            qos = 1 + sent % 2
            sender.client.publish(f"cut/{qos}", str(sent), qos)
            sent += 1
        if time.monotonic() > give_up_at:
            cuts = f"{reader.proxy.cuts} cuts of the reader, {sender.proxy.cuts} of the sender"
            raise Failure(f"{sent} messages sent, {len(published)} acknowledged, {len(arrived)} arrived; {cuts}")
    repeated = len(got[1]) - len(set(got[1]))
    equal(list(dict.fromkeys(got[1])), list(range(0, sent, 2)), "messages of QoS 1")
    equal(got[2], list(range(1, sent, 2)), "messages of QoS 2")
    cuts = f"{reader.proxy.cuts} cuts of the reader and {sender.proxy.cuts} of the sender"
    return f"{sent} messages in {cuts}, {repeated} of QoS 1 repeated"


# Features and reason codes of 5.0.


@check(
    "paho: a delayed will is dropped when the client reconnects, and published at the latest when the session ends", NEW
)
def paho_delayed_will(stage):
    listener = reader(stage, "listener", "will/#")

    def client(name, delay, expiry=600):
        said = properties("WILLMESSAGE", WillDelayInterval=delay, ContentType="text/plain", UserProperty=[("a", "b")])
        made = stage.client(name, lasting=expiry > 0, expiry=expiry)
        made.paho.will_set(f"will/{name}", name, 1, properties=said)
        made.connect()
        return made

    explicit = client("explicit", 0)
    explicit.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=4))
    listener.get(1)
    expected = ["explicit"]
    if not stage.spares_mosquitto("the end of the session, for which 2.0.11 does not care"):
        client("short session", 600, expiry=0).cut()
        listener.get(2)
        begun_anew = client("begun anew", 600)
        begun_anew.cut()
        begun_anew.connect(clean=True)
        listener.get(3)
        expected += ["short session", "begun anew"]
    patient, slow = client("patient", DELAY), client("slow", DELAY)
    cut_at = time.monotonic()
    patient.cut()
    slow.cut()
    equal(patient.connect()[0], True, "session present")
    listener.get(len(expected) + 1)
    waited = time.monotonic() - cut_at
    if waited < 0.9 * DELAY:
        raise Failure(f"the will has waited for {waited:.1f} s instead of {DELAY} s")
    got = until_the_end(listener)
    equal([message.payload.decode() for message in got], [*expected, "slow"], "wills")
    for message in got:
        equal(message.properties.json(), {"ContentType": "text/plain", "UserProperty": [("a", "b")]}, "properties")


@check("paho: the broker obeys Retain Handling and Retain As Published", NEW)
def paho_retain_options(stage):
    speaker = sender(stage)
    speaker.deliver("kept", "old", retain=True)
    for handling, at_first, again in (0, ["old"], ["old"]), (1, ["old"], []), (2, [], []):
        client = stage.client("reader")
        client.connect()
        client.subscribe("end", 2)
        count = 0
        for expected in at_first, again:
            client.subscribe("kept", options=SubscribeOptions(qos=1, retainHandling=handling))
            got = until_the_end(client)
            equal([message.payload.decode() for message in got[count:]], expected, f"Retain Handling {handling}")
            equal({message.retain for message in got[count:]} - {True}, set(), "RETAIN")
            count = len(got)
        client.disconnect()
    for as_published in False, True:
        client = stage.client("reader")
        client.connect()
        client.subscribe("new", options=SubscribeOptions(qos=1, retainAsPublished=as_published))
        speaker.deliver("new", "now", 1, retain=True)
        speaker.deliver("new", "passing", 1)
        expected = [("new", 1, as_published, "now"), ("new", 1, False, "passing")]
        equal(told(client.get(2)), expected, "what is told as it was published")
        client.disconnect()
        speaker.deliver("new", "", 1, retain=True)


@check("paho: No Local excludes the messages of the client itself, and no others", NEW)
def paho_no_local(stage):
    client = stage.client("reader")
    client.connect()
    client.subscribe("end", 2)
    client.subscribe("n/#", options=SubscribeOptions(qos=2, noLocal=True))
    client.deliver("n/1", "mine")
    other = sender(stage)
    other.deliver("n/1", "another's")
    equal(told(until_the_end(client)), [("n/1", 1, False, "another's")], "messages")
    if stage.spares_mosquitto("a shared subscription with No Local, which 2.0.11 does not refuse"):
        return
    client.paho.subscribe("$share/g/n", options=SubscribeOptions(qos=2, noLocal=True))
    equal(client.ended(), 0x82, "answer to a shared subscription with No Local")


COPIES = "of the overlapping subscriptions, each of which gets a copy of its own in 2.0.11, as is allowed"


@check(
    "paho: overlapping subscriptions deliver one message, with the highest QoS and all subscription identifiers",
    ALL,
    mosquitto=COPIES,
)
def paho_overlapping(stage):
    client = stage.client("reader")
    client.connect()
    client.subscribe("end", 2)
    filters = {"o/#": (1, 1), "o/+": (2, 268_435_455), "+/1": (0, 3), "+/+/+": (0, None)}
    for filter, (qos, identifier) in filters.items():
        client.subscribe(filter, qos, identifier=identifier if stage.is_new else None)
    speaker = sender(stage)
    for topic in "o/1", "o/2", "o/1/2", "x/1", "x/y/z":
        speaker.deliver(topic, "word", 2)
    got = until_the_end(client)
    expected = {
        "o/1": (2, [1, 3, 268_435_455]),
        "o/2": (2, [1, 268_435_455]),
        "o/1/2": (1, [1]),
        "x/1": (0, [3]),
        "x/y/z": (0, []),
    }
    equal(
        sorted((message.topic, message.qos) for message in got),
        sorted((t, q) for t, (q, _) in expected.items()),
        "messages",
    )
    if stage.is_new:
        for message in got:
            identifiers = sorted(getattr(message.properties, "SubscriptionIdentifier", []))
            equal(identifiers, expected[message.topic][1], f"identifiers for {message.topic}")


@check("paho: a message has the subscription identifier of the latest SUBSCRIBE", NEW)
def paho_identifiers(stage):
    client = stage.client("reader")
    client.connect()
    sender(stage).deliver("i", "kept", retain=True)
    for number, identifier in enumerate((5, 6, None)):
        client.subscribe("i", 1, identifier=identifier)
        message = client.get(number + 1)[-1]
        expected = [identifier] if identifier else []
        equal(getattr(message.properties, "SubscriptionIdentifier", []), expected, "identifiers of a retained message")


@check("paho: each message for a shared subscription goes to one of its members, and all members receive some", NEW)
def paho_shared(stage):
    count = 120
    members = [stage.client(f"member-{number}") for number in range(3)]
    for member in members:
        member.connect()
        equal(member.subscribe("$share/group/t/+", 2), [2], "granted")
    other, everything = reader(stage, "other", "$share/other/t/+"), reader(stage, "everything", "t/+")
    speaker = sender(stage)
    speaker.deliver("t/kept", "not for shared subscriptions", 1, retain=True)
    late = reader(stage, "late", "$share/third/t/+")
    if not stage.spares_mosquitto("retained messages, which 2.0.11 sends to new shared subscriptions"):
        equal(until_the_end(late), [], "what a new shared subscription gets of what was retained")

    def publish(first, last):
        for number in range(first, last):
            speaker.publish(f"t/{number % 3}", str(number), number % 3)
        speaker.deliver("done", "done", 2)
        stage.wait(lambda: len(numbers()) >= last, f"{last} messages in the group")
        equal(sorted(numbers()), list(range(last)), "messages in the group")
        for alone in other, everything:
            got = [int(message.payload) for message in until_the_end(alone, speaker) if message.topic != "t/kept"]
            equal(sorted(got), list(range(last)), f"messages for {alone.name}")

    def numbers():
        return [int(m.payload) for member in members for m in list(member.messages) if m.topic != "t/kept"]

    publish(0, count)
    shares = [len(member.messages) for member in members]
    if not all(shares):
        raise Failure(f"a member gets nothing: {shares}")
    members[0].disconnect()
    members[1].unsubscribe("$share/group/t/+")
    before = len(members[2].messages)
    publish(count, 2 * count)
    equal(len(members[2].messages) - before, count, "messages for the last member")
    return f"shares {shares}"


@check("paho: an expired message is not delivered, and others carry the rest of their expiry interval", NEW)
def paho_expiry(stage):
    sleeper = reader(stage, "sleeper", "e/+", lasting=True)
    sleeper.disconnect()
    # A message that is sent before the broker has read DISCONNECT is in flight, and does not expire [MQTT-4.3.3-7]. A second
    # connection takes the session over, and is read to its end.
    raw = stage.raw()
    raw.connect(stage.version, "sleeper", clean=False, properties=b"\x11" + (600).to_bytes(4, "big"))
    raw.send((0xE0, b""))
    raw.rest()
    speaker = sender(stage)
    for topic, retain in ("e/1", False), ("r/1", True):
        for name, expiry in ("short", 1), ("long", 100), ("endless", None):
            said = {} if expiry is None else {"MessageExpiryInterval": expiry}
            speaker.deliver(
                f"{topic}/{name}" if retain else topic, name, retain=retain, properties=properties("PUBLISH", **said)
            )
    published_at = time.monotonic()
    time.sleep(2.1)
    sleeper.connect()
    late = reader(stage, "late", "r/#")
    for client in sleeper, late:
        got = {m.payload.decode(): getattr(m.properties, "MessageExpiryInterval", None) for m in until_the_end(client)}
        equal(set(got), {"long", "endless"}, f"what {client.name} gets")
        equal(got["endless"], None, "time of a message that has all of it")
        least = 100 - 1 - (time.monotonic() - published_at)
        if not least <= got["long"] <= 98:
            raise Failure(f"the time that is left is {got['long']} s, where about 98 were expected")


@check("paho: a topic alias stands for its topic, until the connection ends", NEW, topic_alias_maximum=3)
def paho_aliases(stage):
    client = reader(stage, "reader", "t/+")

    def publish(topic, payload, alias, speaker):
        return speaker.publish(topic, payload, 1, properties=properties("PUBLISH", TopicAlias=alias))

    speaker = stage.client("speaker")
    equal(speaker.connect()[1].TopicAliasMaximum, 3, "Topic Alias Maximum")
    for topic, payload, alias in (
        ("t/1", "set", 1),
        ("t/3", "set", 3),
        ("", "used", 1),
        ("", "used", 3),
        ("t/2", "set again", 1),
        ("", "used again", 1),
    ):
        publish(topic, payload, alias, speaker)
    expected = [
        ("t/1", "set"),
        ("t/3", "set"),
        ("t/1", "used"),
        ("t/3", "used"),
        ("t/2", "set again"),
        ("t/2", "used again"),
    ]
    equal([(message.topic, message.payload.decode()) for message in client.get(6)], expected, "messages")
    speaker.disconnect()
    for alias, topic, reasons in (1, "", {0x82, 0x94}), (4, "t/1", {0x94}), (0, "t/1", {0x81, 0x82, 0x94}):
        other = stage.raw()  # paho refuses to send some of these
        other.connect(stage.version, "speaker")
        other.send((0x30, text(topic) + bytes([3, 0x23, 0, alias]) + b"never told"))
        if (answer := other.rest()) not in [said for reason in reasons for said in disconnect_bytes(reason)]:
            raise Failure(f"the answer to the alias {alias} for {topic!r} is {answer.hex()}")
    equal(len(until_the_end(client)), 6, "messages")


@check("paho: a session expires after its expiry interval, which DISCONNECT can change", NEW)
def paho_session_expiry(stage):
    for name, expiry, pause, expected in (
        ("none", None, 0, False),
        ("long", 600, 0, True),
        ("endless", 0xFFFF_FFFF, 0, True),
    ):
        client = stage.client(name, lasting=True, expiry=expiry)
        equal(client.connect()[0], False, "session present at first")
        client.cut()
        equal(client.connect()[0], expected, f"session present after one with the expiry interval {expiry}")
    # Raw connections are read to their end, so that the next connection opens after the DISCONNECT was handled.
    for name, at_first, at_last, expected in (
        ("shorter", 600, 0, False),
        ("longer", 1, 600, True),
        ("one", 1, None, False),
    ):
        raw = stage.raw()
        raw.connect(stage.version, name, properties=b"\x11" + at_first.to_bytes(4, "big"))
        raw.send((0xE0, b"" if at_last is None else b"\0\x05\x11" + at_last.to_bytes(4, "big")))
        raw.rest()
    time.sleep(2.1)
    for name, expected in ("shorter", False), ("longer", True), ("one", False):
        present, _ = stage.client(name, lasting=True).connect()
        equal(present, expected, f"session present for {name}")
    raw = stage.raw()
    raw.connect(stage.version, "zero")
    raw.send((0xE0, b"\0\x05\x11\0\0\0\1"))
    if raw.rest() not in disconnect_bytes(0x82):
        raise Failure("a session that has no time may not be given some by DISCONNECT")


@check(
    "paho: no more messages than Receive Maximum are in flight, in both directions",
    NEW,
    mosquitto="2.0.11 does not count well",
    receive_maximum=2,
)
def paho_receive_maximum(stage):
    client = stage.client("reader", says={"ReceiveMaximum": 3}, manual_ack=True)
    equal(client.connect()[1].ReceiveMaximum, 2, "Receive Maximum of the broker")
    raw = stage.raw()
    raw.connect(stage.version, "raw")
    raw.send(*((0x34, text("m") + bytes([0, number, 0])) for number in (1, 2, 3)))
    answer = raw.rest()
    if not answer.endswith(disconnect_bytes(0x93)):
        raise Failure(f"the answer to a third message of QoS 2 is {answer.hex()}")
    client.subscribe([("m", 1), ("mark", 0)])
    speaker = sender(stage)
    for number in range(6):
        speaker.deliver("m", str(number))
    for acknowledged in range(4):
        speaker.deliver("mark", str(acknowledged))  # QoS 0 needs no acknowledgement
        client.wait(lambda: len(client.payloads("mark")) > acknowledged, "a message of QoS 0")
        client.wait(lambda: len(client.payloads("m")) >= min(6, 3 + acknowledged), "messages of QoS 1")
        equal(
            len(client.payloads("m")), min(6, 3 + acknowledged), "messages of QoS 1 that are under way or acknowledged"
        )
        message = [message for message in client.messages if message.topic == "m"][acknowledged]
        client.paho.ack(message.mid, message.qos)


@check("paho: no packet larger than the Maximum Packet Size is sent or accepted", NEW, max_packet_size=1000)
def paho_max_packet_size(stage):
    client = reader(stage, "reader", "p", says={"MaximumPacketSize": 100})
    equal(client.connected[-1][2].MaximumPacketSize, 1000, "Maximum Packet Size of the broker")
    speaker = sender(stage)
    for size in 50, 200, 60:
        speaker.deliver("p", bytes(size))
    equal([len(message.payload) for message in until_the_end(client)], [50, 60], "sizes of the messages")
    # The first byte and two bytes of length, topic, identifier and property length. mosquitto 2.0.11 counts only the
    # others.
    around = 0 if stage.spares_mosquitto("to count all of a packet") else 3 + 3 + 2 + 1
    speaker.deliver("p", bytes(1000 - around - (0 if around else 9)))
    speaker.publish("p", bytes(1000 - around + 1), 1)
    equal(speaker.ended(), 0x95, "answer to a packet of 1001 bytes")


@check(
    "paho: the Maximum QoS limits subscriptions, is announced to clients of 5.0, and must be obeyed by them",
    OLD_AND_NEW,
    max_qos=1,
)
def paho_max_qos(stage):
    client = stage.client("reader")
    _, said = client.connect()
    equal(getattr(said, "MaximumQoS", None), 1 if stage.is_new else None, "Maximum QoS")
    equal(client.subscribe("q", 2), [1], "granted")
    client.deliver("q", "one", 1)
    equal(told(client.get(1)), [("q", 1, False, "one")], "message")
    if stage.is_new:
        client.publish("q", "two", 2)
        equal(client.ended(), 0x9B, "answer to a message of QoS 2")
        will = stage.client("will")
        will.paho.will_set("q", "two", 2)
        will.connect(refused=0x9B)


@check("paho: with a Maximum QoS of 0, every message has QoS 0", NEW, max_qos=0)
def paho_max_qos_0(stage):
    client = stage.client("reader")
    equal(client.connect()[1].MaximumQoS, 0, "Maximum QoS")
    equal(client.subscribe("q", 1), [0], "granted")
    client.publish("q", "zero", 0)
    equal(told(client.get(1)), [("q", 0, False, "zero")], "message")
    client.publish("q", "one", 1)
    equal(client.ended(), 0x9B, "answer to a message of QoS 1")


@check("paho: a keep-alive interval that is too long is replaced", NEW, max_keep_alive=10)
def paho_server_keep_alive(stage):
    for asked, expected in (60, 10), (0, 10), (11, 10), (5, None):
        client = stage.client(f"asks for {asked}", keep_alive=max(asked, 1))
        if asked:
            told_so = getattr(client.connect()[1], "ServerKeepAlive", None)
            equal(told_so if told_so != asked else None, expected, f"Server Keep Alive for {asked} s")
        else:  # paho has no such client
            body = stage.raw().connect(stage.version, "asks for none", keep_alive=0)
            if b"\x13\0\x0a" not in body:
                raise Failure(f"no Server Keep Alive where none was asked for: {body.hex()}")


@check(
    "paho: a client that sends nothing for one and a half times the Server Keep Alive is disconnected",
    NEW,
    mosquitto="2.0.11 takes no less than 10 s",
    max_keep_alive=2,
)
def paho_silence(stage):
    idle = stage.client("idle")
    equal(idle.connect()[1].ServerKeepAlive, 2, "Server Keep Alive")
    listener = reader(stage, "listener")
    silent = stage.raw()
    began = time.monotonic()
    silent.connect(stage.version, "silent")
    if silent.rest() not in disconnect_bytes(0x8D):
        raise Failure("no DISCONNECT with 0x8D for the one who is silent")
    waited = time.monotonic() - began
    if waited < 2.9:
        raise Failure(f"the silent client was disconnected after {waited:.1f} s instead of 3 s")
    equal((idle.disconnected, listener.disconnected), ([], []), "ends of those who send PINGREQ")


@check("paho: a message without subscribers is acknowledged with success", ALL)
def paho_no_subscribers(stage):
    client = sender(stage)
    for qos in 0, 1, 2:
        if client.deliver("nobody", "hears", qos) not in ((0x00, 0x10) if stage.is_new and qos else (0x00,)):
            raise Failure(f"the reason codes are {client.published}")


@check("paho: the properties of a message arrive unchanged", NEW)
def paho_properties(stage):
    client = reader(stage, "reader", "p")
    speaker = sender(stage)
    said = {
        "PayloadFormatIndicator": 1,
        "ContentType": "text/größer; charset=utf-8",
        "ResponseTopic": "answers/to/größer",
        "CorrelationData": bytes(range(256)),
        "UserProperty": [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("größer", "größer" * 50)],
    }
    for number, qos in enumerate((0, 1, 2)):
        for retain in False, True:
            sent = properties("PUBLISH", **said)
            speaker.deliver("p", "größer", qos, retain=retain, properties=sent)
            message = client.get(2 * number + 1 + retain)[-1]
            equal(message.properties.json(), sent.json(), "properties")
    late = reader(stage, "late", "p")
    equal(late.get(1)[0].properties.json(), sent.json(), "properties of what was retained")


@check(
    "paho: a client without a client identifier gets one, unless it has 3.1.1 and asks for a persistent session",
    OLD_AND_NEW,
)
def paho_nameless(stage):
    names = set()
    for _ in range(3):
        client = stage.client("")
        present, said = client.connect()
        equal(present, False, "session present")
        client.subscribe("n", 1)
        client.deliver("n", "here")
        client.get(1)
        if stage.is_new:
            names.add(said.AssignedClientIdentifier)
    if stage.is_new:
        equal(len(names - {""}), 3, "different names")
        by_name = stage.client(sorted(names)[0])
        by_name.connect()
        stage.wait(lambda: any(client.disconnected for client in stage.clients), "the end of the one with this name")
    else:
        nameless = stage.raw()
        equal(nameless.connect(stage.version, "", clean=False), b"\0\2", "answer to one that wants to come back")
        equal(nameless.rest(), b"", "what comes after it")


@check("paho: the broker publishes under $SYS, and clients must not", ALL, sys_interval=1)
def paho_sys(stage):
    client = stage.client("reader")
    client.connect()
    client.subscribe([("$SYS/#", 1), ("#", 1)])
    number = "$SYS/broker/clients/connected"
    client.wait(lambda: client.payloads("$SYS/broker/version"), "the version")
    client.wait(lambda: client.payloads(number)[-1:] == ["1"], "one client")
    other = sender(stage, "other")
    client.wait(lambda: client.payloads(number)[-1:] == ["2"], "two clients")
    reason = other.deliver("$SYS/broker/version", "a lie", retain=True)
    equal(reason, 0x87 if stage.is_new else 0, "reason code")
    client.deliver("truth", "told", 2)
    client.wait(lambda: client.payloads("truth"), "a message")
    if "a lie" in client.payloads("$SYS/broker/version"):
        raise Failure("a client may publish under $SYS")
    if not other.disconnected:  # earlier versions can only disconnect
        other.disconnect()
    client.wait(lambda: client.payloads(number)[-1:] == ["1"], "one client")


@check(
    "paho: a subscription that is not authorized is refused, and others of the same SUBSCRIBE are granted",
    OLD_AND_NEW,
    mosquitto="2.0.11 lets everybody subscribe to everything",
    deny_subscribe="forbidden/#",
)
def paho_denied(stage):
    client = stage.client("reader")
    client.connect()
    client.subscribe([("forbidden/1", 2), ("forbidden/#", 2), ("allowed", 1), ("end", 2)])
    equal(client.granted, [[2, 0x87 if stage.is_new else 0x80, 1, 2]], "granted")
    for topic in "forbidden/1", "forbidden/2", "allowed":
        client.deliver(topic, "word", 2)
    equal(told(until_the_end(client)), [("forbidden/1", 2, False, "word"), ("allowed", 1, False, "word")], "messages")


CLOSES = "a message that is denied, after which 2.0.11 closes the connection"
ACL = {
    None: ["readwrite end", "read public/#"],
    "alice": ["write public/+", "readwrite alice/#"],
    "bob": ["read alice/out/+"],
}


@check("paho: a client without the right password is refused", ALL, users={"alice": "secret"})
def paho_users(stage):
    stage.client("good", user=("alice", "secret")).connect()
    for user in ("alice", "wrong"), ("alice", ""), ("bob", "secret"), None:
        client = stage.client("bad", user=user).begin()
        client.wait(lambda: client.connected, "CONNACK")
        reason = client.connected[0][1].value
        if reason == 0 or not stage.spares_mosquitto("the reason, which is 0x87 or 5 in 2.0.11"):
            # paho gives the return codes of earlier versions the names of the reason codes.
            allowed = {0x86} if user else {0x86, 0x87}
            if reason not in allowed:
                raise Failure(f"the answer to {user} is 0x{reason:02X}")


@check(
    "paho: the access control list decides who may read and write which topics",
    ALL,
    users={"alice": "a", "bob": "b"},
    acl=ACL,
)
def paho_acl(stage):
    alice = stage.client("alice", user=("alice", "a"))
    bob = stage.client("bob", user=("bob", "b"))
    for client in alice, bob:
        client.connect()
        filters = ("public/#", "alice/#", "alice/out/+", "secret", "end")
        codes = [client.subscribe(filter, 1)[0] for filter in filters]
        if stage.spares_mosquitto("whether subscriptions are refused, which 2.0.11 never does"):
            continue
        if stage.version != "3.1":  # 3.1 has no such code
            denied = 0x87 if stage.is_new else 0x80
            expected = [1, 1, 1, denied, 1] if client is alice else [1, denied, 1, denied, 1]
            equal(codes, expected, f"what is granted to {client.name}")
    for client, topic, allowed in (
        (alice, "public/1", True),
        (alice, "public/1/2", False),
        (bob, "public/1", False),
        (alice, "alice/out/1", True),
        (alice, "alice/in", True),
        (bob, "alice/out/1", False),
        (bob, "secret", False),
    ):
        if not allowed and stage.spares_mosquitto(CLOSES):
            continue
        reason = client.deliver(topic, f"by {client.name}", 1)
        if stage.is_new:
            equal(reason in (0x00, 0x10), allowed, f"{client.name} may publish to {topic}, as 0x{reason:02X} says")
            equal(reason if not allowed else 0x87, 0x87, "reason code")
    alice.deliver("end", "end")
    for client, expected in (alice, ["public/1", "alice/out/1", "alice/in"]), (bob, ["public/1", "alice/out/1"]):
        client.wait(lambda: client.payloads("end"), "the last message")
        got = {(message.topic, message.payload.decode()) for message in client.messages}
        equal(got, {(topic, "by alice") for topic in expected} | {("end", "end")}, f"what {client.name} reads")


@check(
    "paho: the access control list has rules for anonymous clients, and a will that is not authorized is refused",
    ALL,
    users={"alice": "a"},
    allow_anonymous=True,
    acl={None: ["readwrite end"], "anonymous": ["readwrite free/#"], "alice": ["readwrite alice/#"]},
)
def paho_anonymous(stage):
    anonymous, alice = (
        reader(stage, name, user=user) for name, user in (("anonymous", None), ("alice", ("alice", "a")))
    )
    allowed = {(anonymous, "free/1"), (alice, "alice/1")}
    for client in anonymous, alice:
        for topic in "free/1", "alice/1":
            is_allowed = (client, topic) in allowed
            if not is_allowed and stage.spares_mosquitto(CLOSES):
                continue
            client.subscribe(topic, 1)
            client.deliver(topic, f"by {client.name}")
        got = [(message.topic, message.payload.decode()) for message in until_the_end(client)]
        equal(
            got, [(topic, f"by {client.name}") for who, topic in allowed if who is client], f"what {client.name} reads"
        )
    if not stage.spares_mosquitto("a will that is not allowed, which 2.0.11 takes, and does not tell"):
        for topic, refused in ("free/1", None), ("alice/1", 0x87):
            client = stage.client("will")
            client.paho.will_set(topic, "gone")
            client.connect(refused=refused)


@check(
    "paho: at most the allowed number of messages is in flight to a client, and the others wait",
    OLD_AND_NEW,
    mosquitto="2.0.11 does not count well",
    max_inflight=3,
)
def paho_max_inflight(stage):
    client = stage.client("reader", manual_ack=True)
    client.connect()
    client.subscribe([("m", 1), ("mark", 0)])
    speaker = sender(stage)
    for number in range(10):
        speaker.deliver("m", str(number))
    for acknowledged in range(10):
        speaker.deliver("mark", str(acknowledged))
        under_way = min(10, 3 + acknowledged)
        client.wait(lambda: len(client.payloads("mark")) > acknowledged, "a message of QoS 0")
        client.wait(lambda: len(client.payloads("m")) >= under_way, "messages of QoS 1")
        equal(client.payloads("m"), [str(number) for number in range(under_way)], "messages under way or acknowledged")
        message = [message for message in client.messages if message.topic == "m"][acknowledged]
        client.paho.ack(message.mid, message.qos)


@check(
    "paho: at most the allowed number of messages is stored for an absent session",
    OLD_AND_NEW,
    max_queued=10,
    max_inflight=5,
)
def paho_max_queued(stage):
    client = reader(stage, "reader", "q", lasting=True)
    client.disconnect()
    speaker = sender(stage)
    for number in range(50):
        speaker.deliver("q", str(number))
    client.connect()
    client.get(10)
    # One more message may find the queue still full, until the first one is acknowledged.
    stage.wait(lambda: speaker.deliver("end", "end") is None or client.payloads("end"), "a message that has not waited")
    got = [int(payload) for payload in client.payloads("q")]
    equal(sorted(set(got)), got, "in order, and none twice")
    if not 10 <= len(got) <= 15:
        raise Failure(f"of 50 messages, {len(got)} were kept")
    return f"{len(got)} of 50, from {got[0]} to {got[-1]}"


@check("paho: the broker shuts down after a signal, and disconnects its clients with the reason", ALL)
def paho_shutdown(stage):
    idle = stage.client("idle", lasting=True)
    idle.connect()
    stage.raw()
    deaf = stage.raw("ws")
    deaf.socket.sendall(b"GET /mqtt HTTP/1.1\r\n")
    stage.end()
    reason = idle.ended()
    if stage.is_new and not stage.spares_mosquitto("the reason, which 2.0.11 does not tell"):
        equal(reason, 0x8B, "reason for the end")


@check("paho: connections with another protocol are closed, and other clients are not affected", NEW)
def paho_strangers(stage):
    client = reader(stage, "reader", "t")
    for transport in "tcp", "tls", "ws":
        for said in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(400), b"\0" * 1000:
            stranger = stage.raw(transport)
            try:
                stranger.socket.sendall(said)
            except OSError:
                continue  # the connection was closed before all was sent
            if transport == "ws" and said.startswith(b"GET"):
                answer = stranger.rest()
                if answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")):
                    raise Failure(f"the answer to a request for a page is {answer!r}")
            stranger.close()
    for transport in "tcp", "tls", "ws":
        sender(stage, f"over {transport}", transport=transport).deliver("t", transport)
    equal([message.payload.decode() for message in until_the_end(client)], ["tcp", "tls", "ws"], "messages")
