#!/usr/bin/env python3
"""Checks the example std_server, and so the server session, with clients of other projects: mosquitto and paho-mqtt.

    python3 tests/interop/server.py [SEED [CHECK]] [--part N/COUNT]

The seed decides where connections are cut. CHECK is a part of the name of a function in here: only such checks are run.
With `--part 1/3`, every third check is run, from the first on: parts can run side by side.
"""

import os
import pathlib
import random
import signal
import socket
import sys
import tempfile
import time

sys.dont_write_bytecode = True

from harness import (  # noqa: E402
    HOST,
    PATIENCE,
    Failure,
    Program,
    Proxy,
    build_client,
    build_example,
    find_program,
    parser,
)
from paho_client import (  # noqa: E402
    Client,
    GentleProxy,
    PacketTypes,
    ReasonCode,
    SubscribeOptions,
    equal,
    properties,
)

ALL = ("3.1", "3.1.1", "5.0")
OLD_AND_NEW = ("3.1.1", "5.0")
OLD = ("3.1.1",)
NEW = ("5.0",)
MOSQUITTO = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5.0": "mqttv5"}
TICK = 40  # milliseconds
DELAY = 3  # seconds of a will, in which a busy machine connects again
CHECKS = []


def check(text, versions, *options):
    """Registers a check. The options configure the server."""

    def register(function):
        CHECKS.append((text, versions, options, function))
        return function

    return register


def consecutive(numbers, what):
    """Returns the numbers of clock messages, after checking that they are consecutive."""
    got = [int(number) for number in numbers]
    equal(got, list(range(got[0], got[0] + len(got))), what)
    return got


class Stage:
    """The environment of a check: its server, clients of one version, and their cleanup."""

    def __init__(self, server, std_client, mosquitto, version, seed, options):
        self.std_client, self.mosquitto, self.version, self.seed = std_client, mosquitto, version, seed
        self.server = Program("std_server", [server, "--listen", f"{HOST}:0", "--log-wills", *(options or ("--tick", TICK))])
        self.programs, self.clients, self.proxies = [], [], []
        try:
            self.port = int(self.server.wait_for_lines(1)[0].removeprefix(f"listening on {HOST}:"))
        except Failure as failure:
            raise SystemExit(f"{failure}\n{self.server.tail()}") from None

    def run(self, program, name, *arguments, with_input=False):
        """Starts a client of mosquitto."""
        command = [self.mosquitto[program], "-h", HOST, "-p", self.port, "-V", MOSQUITTO[self.version], "-i", name]
        started = Program(name, [*command, *arguments], with_input)
        self.programs.append(started)
        return started

    def client(self, name, *arguments, **options):
        return Client(self, name, *arguments, **options)

    def proxy(self, cuts, seed, kind=GentleProxy):
        self.proxies.append(kind(self.port, cuts, seed))
        return self.proxies[-1]

    def log_has(self, text):
        """Waits for a line of the server's log."""
        self.server.wait_for_error_line(text)

    def wills(self, count):
        """Waits for wills, and returns the first `count` of them."""
        return self.server.wait_for_lines(count + 1)[1:]

    def lasting(self):
        """The arguments with which a session of mosquitto_sub outlives its connection."""
        return ["-c", *(["-x", 600] if self.version == "5.0" else [])]

    def close(self):
        for client in self.clients:
            client.close()
        for program in self.programs:
            program.stop()
        for proxy in self.proxies:
            proxy.close()
        self.server.stop()

    def logs(self):
        """Returns the last lines of the programs' output, and the paths of all of it."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="interop-"))
        programs = [self.server, *self.programs]
        for number, program in enumerate(programs):
            program.save(folder, number)
        clients = [f"--- {client.name}\n{client.tail()}" for client in self.clients]
        return "\n".join([*(program.tail() for program in programs), *clients, f"all logs: {folder}"])


# The clients of mosquitto.


@check("mosquitto_pub publishes, one message and many", ALL)
def mosquitto_pub(stage):
    with tempfile.NamedTemporaryFile() as large:
        large.write(os.urandom(1_500_000))
        large.flush()
        for qos in 0, 1, 2:
            one = stage.run("mosquitto_pub", f"one-{qos}", "-t", "a/b", "-m", "hello", "-q", qos)
            file = stage.run("mosquitto_pub", f"large-{qos}", "-t", "a/b", "-f", large.name, "-q", qos)
            many = stage.run("mosquitto_pub", f"many-{qos}", "-t", "a/b", "-l", "-q", qos, with_input=True)
            many.write("\n".join(f"message {number}" for number in range(500)))
            many.close_input()
            for program in one, file, many:
                equal(program.end(), 0, f"{program.name}: exit code")
                stage.log_has(f"{program.name}: the client disconnects: 0x00")


@check("mosquitto_sub receives the messages of the clock", ALL)
def mosquitto_sub(stage):
    for qos in 0, 1, 2:
        options = ["-q", qos, "-C", 3, "-F", "%t %q %r %p"]
        filters = "clock", "clock/#", "+"
        for reader in [stage.run("mosquitto_sub", f"reader {filter}", "-t", filter, *options) for filter in filters]:
            equal(reader.end(), 0, f"{reader.name}: exit code")
            equal(reader.out, [f"clock {qos} 0 {number}" for number in (1, 2, 3)], f"{reader.name}: messages")


@check("mosquitto_sub resumes its session, and receives the messages that the clock has published meanwhile", ALL)
def mosquitto_resumes(stage):
    for qos in 1, 2:
        name, got = f"sleeper-{qos}", []
        for count in 2, 15:
            options = ["-t", "clock", "-q", qos, "-C", count, *stage.lasting()]
            reader = stage.run("mosquitto_sub", name, *options)
            equal(reader.end(), 0, "exit code")
            got += [int(number) for number in reader.out]
            time.sleep(0.3)
        # A message that mosquitto_sub acknowledges while it exits is not printed, so some may be missing.
        equal(sorted(set(got)), got, "in order, and none twice")
        if got[-1] > 17 + 8:
            raise Failure(f"too many are missing: {got}")
        stage.log_has(f"{name}: connected with MQTT {stage.version}, resumed session")


@check("the will of mosquitto_sub is published when it is killed, and not after DISCONNECT", ALL)
def mosquitto_will(stage):
    will = ["--will-topic", "will/x", "--will-payload", "gone", "--will-qos", 1]
    polite = stage.run("mosquitto_sub", "polite", "-t", "clock", "-C", 1, *will)
    equal(polite.end(), 0, "exit code")
    victim = stage.run("mosquitto_sub", "victim", "-t", "clock", *will)
    victim.wait_for_lines(1)
    victim.process.send_signal(signal.SIGKILL)
    equal(stage.wills(1), ["victim\twill/x\t1\tgone"], "wills")


@check("mosquitto_rr receives the response to its request", NEW)
def mosquitto_rr(stage):
    for qos in 0, 1, 2:
        asker = stage.run("mosquitto_rr", "asker", "-t", "ask/me", "-e", "answers/asker", "-m", f"hello {qos}", "-q", qos)
        equal(asker.end(), 0, "exit code")
        equal(asker.out, [f"hello {qos}"], "answers")


@check("only the known user is accepted", ALL, "--user", "known:secret", "--tick", TICK)
def refused(stage):
    good, bad = ["-u", "known", "-P", "secret"], ["-u", "known", "-P", "wrong"]
    for credentials, expected in (good, True), (bad, False), (["-u", "other", "-P", "secret"], False), ([], False):
        program = stage.run("mosquitto_pub", "somebody", "-t", "t", "-m", "m", "-q", 1, *credentials)
        equal(program.end() == 0, expected, f"mosquitto_pub is let in with {credentials}")
    stage.client("known", user=("known", "secret")).connect()
    stage.client("wrong", user=("known", "wrong")).connect(refused=0x86)
    stage.client("nobody").connect(refused=0x86)


# paho-mqtt.


@check("messages of every QoS are echoed", ALL)
def every_qos(stage):
    for granted in 0, 1, 2:
        client = stage.client(f"echo-{granted}")
        client.connect()
        equal(client.subscribe("a/+", granted), [granted], "granted")
        sent = [(qos, f"{text} {qos}") for qos in (0, 1, 2) for text in ("first", "", "größer")]
        for qos, text in sent:
            client.publish("a/b", text.encode(), qos)
        got = [(m.topic, m.qos, m.retain, m.dup, m.payload.decode()) for m in client.get(len(sent))]
        for qos in 0, 1, 2:  # messages of different QoS may arrive in another order
            expected = [text for sent_qos, text in sent if min(sent_qos, granted) == qos]
            equal([m[4] for m in got if m[1] == qos], expected, f"messages with QoS {qos}")
        equal({m[:1] + m[2:4] for m in got}, {("a/b", False, False)}, "topic, retain and dup")
        client.wait(lambda: len(client.published) == len(sent), "acknowledgements")
        equal({reason for _, reason in client.published}, {0}, "reason codes")
        client.publish("b/b", "not subscribed", 1)
        client.publish("a/b", "last", 1)
        equal(client.get(len(sent) + 1)[-1].payload, b"last", "what comes last")


@check("many messages are echoed, in order", ALL)
def many(stage):
    client = stage.client("many")
    client.connect()
    client.subscribe("m/#", 2)
    count = 700
    for number in range(count):
        for qos in 0, 1, 2:
            client.publish(f"m/{qos}", str(number), qos)
    client.get(3 * count)
    for qos in 0, 1, 2:
        equal(client.payloads(f"m/{qos}"), [str(number) for number in range(count)], f"messages of QoS {qos}")
    return f"{3 * count} messages"


@check("large messages are echoed", ALL)
def large(stage):
    client = stage.client("large")
    client.connect()
    client.subscribe("large", 2)
    sizes = (0, 1, 100, 127, 128, 2_047, 2_048, 16_384, 65_535, 300_000, 2_500_000)
    payloads = [random.Random(size).randbytes(size) for size in sizes]
    for payload in payloads:
        client.publish("large", payload, 2)
    got = [message.payload for message in client.get(len(sizes))]
    equal([len(payload) for payload in got], list(sizes), "sizes")
    if got != payloads:
        raise Failure("the content is not what was sent")


@check("UNSUBSCRIBE ends the messages of the clock and of the echo", ALL)
def unsubscribe(stage):
    client = stage.client("reader")
    client.connect()
    client.subscribe([("clock", 1), ("e/#", 1)])
    client.publish("e/1", "echo", 1)
    client.wait(lambda: client.payloads("e/1") and len(client.payloads("clock")) > 2, "clock and echo")
    codes = client.unsubscribe(["clock", "e/#", "never"])
    equal(codes, [0, 0, 17] if stage.version == "5.0" else [], "reason codes")
    count = len(client.messages)
    client.publish("e/1", "silence", 1)
    client.wait(lambda: len(client.published) == 2, "the acknowledgement")
    time.sleep(4 * TICK / 1000)
    equal(len(client.messages), count, "messages after UNSUBACK")
    client.subscribe("clock", 2)
    client.get(count + 2)


@check("the will is published after a cut, and not after DISCONNECT", ALL)
def will(stage):
    for name, leave in ("polite", Client.disconnect), ("victim", Client.cut):
        client = stage.client(name)
        client.paho.will_set(f"will/{name}", "größer".encode(), 2)
        client.connect()
        leave(client)
    escaped = "gr\\xc3\\xb6\\xc3\\x9fer"
    equal(stage.wills(1), [f"victim\twill/victim\t2\t{escaped}"], "wills")


@check("a delayed will waits, is dropped when the client reconnects, and DISCONNECT can ask for it", NEW)
def delayed_will(stage):
    names = ("patient", "slow", "explicit")
    clients = {name: stage.client(name, lasting=True) for name in names}
    delays = {"patient": DELAY, "slow": DELAY, "explicit": 0}
    for name, client in clients.items():
        client.paho.will_set(f"will/{name}", name, properties=properties("WILLMESSAGE", WillDelayInterval=delays[name]))
        client.connect()
    clients["explicit"].disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=4))
    equal(stage.wills(1), ["explicit\twill/explicit\t0\texplicit"], "the will of DISCONNECT with will")
    cut_at = time.monotonic()
    clients["patient"].cut()
    clients["slow"].cut()
    equal(clients["patient"].connect()[0], True, "session present")
    equal(stage.wills(2)[1], "slow\twill/slow\t0\tslow", "the delayed will")
    waited = time.monotonic() - cut_at
    if waited < 0.9 * DELAY:
        raise Failure(f"the will has waited for {waited:.1f} s instead of {DELAY} s")
    time.sleep(0.3)
    equal(len(stage.server.out), 3, "lines: the first, and two wills")


@check("a second connection takes over the session, and the will of the first connection is published", ALL)
def take_over(stage):
    first, second = (stage.client("same", lasting=True) for _ in range(2))
    first.paho.will_set("will/same", "taken over")
    first.connect()
    first.subscribe("clock", 1)
    first.get(2)
    present, _ = second.connect()
    if stage.version != "3.1":  # 3.1 has no Session Present
        equal(present, True, "session present")
    reason = first.ended()
    if stage.version == "5.0":
        equal(reason, 0x8E, "reason for the end of the first connection")
    equal(stage.wills(1), ["same\twill/same\t0\ttaken over"], "wills")
    second.get(3)  # the subscription exists
    numbers = first.payloads("clock") + second.payloads("clock")
    equal(sorted({int(number) for number in numbers})[:3], [1, 2, 3], "the clock")
    # Several clients in quick succession: the last one has the session.
    crowd = [stage.client("same", lasting=True).begin() for _ in range(10)]
    crowd[-1].wait(lambda: sum(bool(client.disconnected) for client in crowd) >= 9, "the end of all but one")
    stage.log_has("connected with MQTT")


@check("a clean start ends the previous session", ALL)
def clean_start(stage):
    first = stage.client("same", lasting=True)
    first.connect()
    first.subscribe("clock", 1)
    first.get(1)
    second = stage.client("same")
    equal(second.connect(), (False, second.connected[-1][2]), "session present")
    first.ended()
    time.sleep(4 * TICK / 1000)
    equal(second.messages, [], "messages without a subscription")
    second.disconnect()
    third = stage.client("same", lasting=True)
    if stage.version != "3.1":
        equal(third.connect()[0], False, "session present after a session without duration")


@check("a session is resumed after a cut, and receives the messages that the clock has published meanwhile", ALL)
def resume(stage):
    for qos in 1, 2:
        client = stage.client(f"sleeper-{qos}", lasting=True)
        client.connect()
        client.subscribe("clock", qos)
        client.get(3)
        for _ in range(3):
            client.cut()
            before = len(client.messages)
            time.sleep(0.3)
            present, _ = client.connect()
            if stage.version != "3.1":
                equal(present, True, "session present")
            client.get(before + 10)  # more messages than it has missed
        numbers = client.payloads("clock")
        if qos == 1:  # QoS 1 may deliver duplicates
            numbers = sorted(set(numbers), key=int)
        consecutive(numbers, f"the clock with QoS {qos}")
        equal({message.qos for message in client.messages}, {qos}, "QoS")


@check("messages of QoS 0 are not stored for an absent session", OLD_AND_NEW)
def qos_0_does_not_wait(stage):
    client = stage.client("sleeper", lasting=True)
    client.connect()
    client.subscribe("clock", 0)
    client.get(2)
    client.cut()
    before = int(client.payloads("clock")[-1])
    time.sleep(0.5)
    client.connect()
    count = len(client.messages)
    client.get(count + 1)
    if int(client.payloads("clock")[count]) < before + 5:
        raise Failure(f"a message of QoS 0 has waited: {client.payloads('clock')}")


@check("no message is lost in cuts, and none of QoS 2 is duplicated", OLD_AND_NEW)
def cuts(stage):
    count, cut = 400, 20
    said = []
    proxies = {}
    for qos in 1, 2:
        proxies[qos] = stage.proxy(cut, f"{stage.seed} {stage.version} {qos}")
        client = stage.client(f"cut-{qos}", lasting=True)
        client.connect()  # not through the proxy, to create a session with a subscription
        client.subscribe(f"cut/{qos}", qos)
        client.disconnect()
        client.open(port=proxies[qos].port)
        sent, arrived = 0, 0
        give_up_at = time.monotonic() + 5 * PATIENCE
        while not (proxies[qos].is_through() and count <= sent == len(client.published) == arrived):
            is_connected = client.go_on()
            arrived = len(set(client.payloads(f"cut/{qos}")))
            if time.monotonic() > give_up_at:
                made = f"{proxies[qos].cuts} cuts, {proxies[qos].connections} connections"
                raise Failure(f"{sent} messages sent, {len(client.published)} acknowledged, {arrived} arrived; {made}")
            is_wanted = sent < count or not proxies[qos].is_through()
            if is_connected and is_wanted and sent - len(client.published) < 15:
                client.publish(f"cut/{qos}", str(sent), qos)
                sent += 1
        got = client.payloads(f"cut/{qos}")
        if qos == 2:
            equal(got, [str(number) for number in range(sent)], "messages of QoS 2")
        else:
            equal(list(dict.fromkeys(got)), [str(number) for number in range(sent)], "messages of QoS 1")
        said.append(f"{sent} messages of QoS {qos} in {proxies[qos].cuts} cuts, {len(got) - sent} of them repeated")
    return "; ".join(said)


def own(stage, command, *arguments, port=None, **options):
    """Starts the client of this crate, always with the same client identifier."""
    common = ["--host", HOST, "--port", port or stage.port, "--version", stage.version, "--client-id", "own"]
    common += ["--no-clean-start", *(["--session-expiry", 600] if stage.version == "5.0" else [])]
    program = Program(f"own-{command}", [stage.std_client, command, *common, *arguments], **options)
    stage.programs.append(program)
    return program


# With so many messages before it, SUBACK may be cut more often than the client tolerates by default.
RECONNECT = ("--reconnect", "--backoff", "0..1", "--request-tries", 0)


@check("the client of this crate receives each message of the clock once in QoS 2, whatever is cut", ALL, "--tick", 3)
def own_subscriber(stage):
    options = ["--filter", "clock", "--qos", 2]
    first = own(stage, "subscribe", *options, "--count", 1)  # creates a session with a subscription
    equal(first.end(), 0, "exit code")
    proxy = stage.proxy(40, f"{stage.seed} {stage.version}", Proxy)
    reader = own(stage, "subscribe", *options, *RECONNECT, port=proxy.port)
    reader.wait_until(proxy.is_through, "all cuts")
    reader.wait_for_lines(len(reader.out) + 10)
    numbers = [line.split("\t")[3] for line in [*first.out, *reader.out]]
    return f"{len(consecutive(numbers, 'the clock'))} messages in {proxy.cuts} cuts"


@check("messages of QoS 2 are echoed once to the client of this crate, whatever is cut", OLD_AND_NEW)
def own_publisher(stage):
    first = own(stage, "subscribe", "--filter", "own/#", "--qos", 2)
    first.wait_for_error_line("subscribed:")
    first.stop()
    proxy = stage.proxy(40, f"{stage.seed} {stage.version}", Proxy)
    options = ["--topic", "own/echo", "--qos", 2, "--lines", "--max-in-flight", 10, *RECONNECT]
    publisher = own(stage, "publish", *options, port=proxy.port, with_input=True)
    sent, give_up_at = 0, time.monotonic() + PATIENCE
    while not proxy.is_through() and time.monotonic() < give_up_at:
        if sent - len(publisher.out) < 30:
            publisher.write(str(sent))
            sent += 1
        else:
            time.sleep(0.001)
    publisher.close_input()
    equal(publisher.end(), 0, "exit code")
    equal([line.split("\t")[1] for line in publisher.out], ["acknowledged"] * sent, "outcomes")
    # The publisher logs each echoed message, and exits once all its messages are acknowledged; the reader gets the
    # rest.
    echoed = sum("a message for own/echo" in line for line in publisher.err)
    left = [str(number) for number in range(echoed, sent)]
    reader = own(stage, "subscribe", "--filter", "own/#", "--qos", 2, "--count", len(left) + 1)
    reader.wait_for_error_line("connected: resumed session")
    reader.wait_for_lines(len(left))
    time.sleep(0.1)
    equal([line.split("\t")[3] for line in reader.out], left, "what comes after the publisher has left")
    return f"{sent} messages in {proxy.cuts} cuts"


@check("a session ends with its connection, or when its expiry interval has passed", NEW)
def expiry(stage):
    for expiry, pause, expected in (None, 0, False), (600, 0.1, True), (1, 1.5, False), (30, 0.3, True):
        client = stage.client(f"expiry-{expiry}-{pause}", lasting=True, expiry=expiry)
        equal(client.connect()[0], False, "session present at first")
        client.subscribe("clock", 1)
        client.get(1)
        client.disconnect()
        # Two connections are not ordered: the next one may arrive first, and then it takes the session over.
        stage.log_has(f"expiry-{expiry}-{pause}: the client disconnects")
        time.sleep(pause)
        count = len(client.messages)
        present, _ = client.connect()
        equal(present, expected, f"session present {pause} s after one with an expiry interval of {expiry}")
        if expected:
            client.get(count + 2)
        else:
            time.sleep(3 * TICK / 1000)
            equal(len(client.messages), count, "messages in a session without subscriptions")
    changed = stage.client("changed", lasting=True, expiry=600)
    changed.connect()
    changed.disconnect(properties=properties("DISCONNECT", SessionExpiryInterval=0))
    stage.log_has("changed: the client disconnects")
    equal(changed.connect()[0], False, "session present after an end that has taken its time away")
    endless = stage.client("endless", lasting=True, expiry=0xFFFF_FFFF)
    equal(endless.connect()[1].SessionExpiryInterval, 24 * 60 * 60, "the longest time")


@check("a session with Clean Session 0 outlives its connection, and one with 1 does not", OLD)
def clean_session(stage):
    for lasting in False, True:
        client = stage.client(f"lasting-{lasting}", lasting=lasting)
        for _ in range(2):
            present, _ = client.connect()
            client.cut()
        equal(present, lasting, "session present")


@check("a silent client is disconnected, and an idle one is not", ALL)
def keep_alive(stage):
    idle = stage.client("idle", keep_alive=2)
    idle.connect()
    name = {"3.1": b"\0\6MQIsdp\3", "3.1.1": b"\0\4MQTT\4", "5.0": b"\0\4MQTT\5"}[stage.version]
    connect = name + b"\x02\0\1" + (b"\0" if stage.version == "5.0" else b"") + b"\0\6silent"
    with socket.create_connection((HOST, stage.port), PATIENCE) as silent:
        began, received = time.monotonic(), b""
        silent.sendall(bytes([0x10, len(connect)]) + connect)
        while piece := silent.recv(100):
            received += piece
        waited = time.monotonic() - began
    if waited < 1.4:
        raise Failure(f"the silent client was disconnected after {waited:.1f} s instead of 1.5 s")
    if stage.version == "5.0" and not received.endswith(b"\xe0\1\x8d") and not received.endswith(b"\xe0\2\x8d\0"):
        raise Failure(f"no DISCONNECT with Keep Alive timeout: {received!r}")
    stage.log_has("silent: nothing has arrived for one and a half times the keep-alive interval")
    time.sleep(max(0, began + 3.2 - time.monotonic()))
    equal(idle.disconnected, [], "ends of the idle connection")


@check("an idle server uses no processor time, and shuts down after a signal", NEW, "--tick", 1_000_000)
def idle(stage):
    kept = stage.client("kept", lasting=True)
    kept.connect()
    kept.subscribe("clock", 1)
    kept.cut()
    stage.client("idle").connect()
    with socket.create_connection((HOST, stage.port)), socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((HOST, stage.port))
        deaf.settimeout(0.5)
        # The client subscribes to its own messages and never reads.
        message = b"\0\1a" + b"\0" + bytes(100_000)
        deaf.sendall(b"\x10\x11\0\4MQTT\5\2\0\0\0\0\4deaf" + b"\x82\x07\0\1\0\0\1a\0")
        try:
            while True:
                deaf.sendall(b"\x30" + bytes([len(message) % 128 + 128, len(message) // 128 % 128 + 128]))
                deaf.sendall(bytes([len(message) // 128 // 128]) + message)
        except TimeoutError:
            pass  # the server takes no more of its input
        # On a busy machine it may still have something to do.
        for _ in range(20):
            used = cpu_seconds(stage.server)
            time.sleep(1)
            used = cpu_seconds(stage.server) - used
            if used <= 0.05:
                break
        else:
            raise Failure(f"the server has computed for {used:.2f} s of one in which there was nothing to do")
        kept.connect()  # the server still answers
    stage.server.process.terminate()
    equal(stage.server.end(), 0, "exit code")


def cpu_seconds(program):
    """Returns the processor time of a program."""
    fields = pathlib.Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@check("a client without a client identifier is assigned one", OLD_AND_NEW)
def assigned(stage):
    names = set()
    for _ in range(2):
        client = stage.client("")
        present, said = client.connect()
        equal(present, False, "session present")
        if stage.version == "5.0":
            names.add(said.AssignedClientIdentifier)
        client.subscribe("clock", 1)
        client.get(1)
    if stage.version == "5.0":
        equal(len(names), 2, "different names")
        name = names.pop()
        if not name.startswith("auto-"):
            raise Failure(f"a strange name: {name}")
        stage.log_has(f"{name}: connected")
    else:
        with socket.create_connection((HOST, stage.port), PATIENCE) as nameless:  # paho does not send this
            nameless.sendall(b"\x10\x0c\0\4MQTT\4\0\0\x3c\0\0")
            equal(nameless.recv(100), b"\x20\2\0\2", "answer to a client without a name that wants to come back")


@check("requests are answered, and properties are echoed", NEW)
def request(stage):
    client = stage.client("asker")
    client.connect()
    client.subscribe("answers/#", 2, identifier=7)
    client.subscribe("ask/+", 1, identifier=268_435_455)
    for qos in 0, 1, 2:
        asked = properties(
            "PUBLISH",
            ResponseTopic="answers/here",
            CorrelationData=b"\0\xff" + bytes([qos]),
            ContentType="text/plain",
            PayloadFormatIndicator=1,
            MessageExpiryInterval=500,
            UserProperty=[("a", "1"), ("a", "2")],
        )
        client.publish("ask/me", f"question {qos}", qos, properties=asked)
        client.get(2 * qos + 2)
        echo, answer = sorted(client.messages[-2:], key=lambda message: message.topic, reverse=True)
        equal((echo.topic, echo.qos, echo.payload), ("ask/me", min(qos, 1), f"question {qos}".encode()), "echo")
        equal((answer.topic, answer.qos, answer.payload), ("answers/here", qos, f"question {qos}".encode()), "answer")
        expected = asked.json() | {"SubscriptionIdentifier": [268_435_455]}
        equal(echo.properties.json(), expected, "properties of the echo")
        equal(answer.properties.CorrelationData, asked.CorrelationData, "correlation data")
        equal(answer.properties.SubscriptionIdentifier, [7], "subscription identifier of the answer")


@check("overlapping subscriptions deliver one message, and No Local none", NEW)
def overlapping(stage):
    client = stage.client("reader")
    client.connect()
    client.subscribe("o/#", 1, identifier=1)
    client.subscribe("o/+", 2, identifier=2)
    client.subscribe("silent", options=SubscribeOptions(qos=2, noLocal=True))
    client.publish("silent", "nothing", 2)
    client.publish("o/1", "both", 2)
    client.publish("o/1/2", "one", 2)
    got = [(m.payload, m.qos, sorted(m.properties.SubscriptionIdentifier)) for m in client.get(2)]
    equal(sorted(got), [(b"both", 2, [1, 2]), (b"one", 1, [1])], "messages")


@check("features that the server does not support are announced and refused", NEW)
def not_available(stage):
    for name, act, reason in (
        ("retain", lambda client: client.publish("a", "b", retain=True), 0x9A),
        ("shared", lambda client: client.paho.subscribe("$share/a/b"), 0x9E),
    ):
        client = stage.client(name)
        _, said = client.connect()
        equal((said.RetainAvailable, said.SharedSubscriptionAvailable), (0, 0), "announced")
        act(client)
        equal(client.ended(), reason, "reason for the end")
    client = stage.client("will")
    client.paho.will_set("a", "b", retain=True)
    client.connect(refused=0x9A)


@check("clients of 3.x, which cannot know that RETAIN is not available, may set it", ("3.1", "3.1.1"))
def not_retained(stage):
    client = stage.client("reader")
    client.paho.will_set("a", "b", retain=True)
    client.connect()
    client.subscribe("r", 1)
    client.publish("r", "now", 1, retain=True)
    equal(client.get(1)[0].retain, False, "retain")
    equal(client.subscribe("r", 1), [1], "granted again")
    client.publish("r", "later", 1)
    equal([message.payload for message in client.get(2)], [b"now", b"later"], "messages")


def main():
    arguments = parser(__doc__).parse_args()
    seed = arguments.seed
    names = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")
    mosquitto = {name: find_program(name, "mosquitto-clients") for name in names}
    server, std_client = build_example("std_server"), build_client()
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    runs = [(check, version) for check in CHECKS if arguments.check in check[3].__name__ for version in check[1]]
    for (text, _, options, function), version in arguments.part.of(runs):
        start = time.monotonic()
        stage = Stage(server, std_client, mosquitto, version, seed, options)
        try:
            said = function(stage)
        except Failure as failure:
            logs = stage.logs()
            stage.close()
            print(f"FAILED  {version:5}  {text}\n{failure}\n{logs}\nseed {seed}", flush=True)
            return 1
        finally:
            stage.close()
        seconds = f"{time.monotonic() - start:.1f} s"
        print(f"ok  {version:5}  {text} ({seconds}{'; ' + said if said else ''})", flush=True)
    print(f"all is well ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
