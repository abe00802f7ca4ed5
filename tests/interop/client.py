#!/usr/bin/env python3
"""Checks the example std_client, and so the client session, with a real mosquitto.

    python3 tests/interop/client.py [SEED [CHECK]] [--part N/COUNT]

The seed decides where connections are cut; a run without one chooses its own, and prints it. The order of events
around a cut depends on the system, so a seed does not always reproduce a failure. CHECK is a part of the name of a
function in this file: only such checks are run. With `--part 1/3`, every third check is run, from the first on: parts can
run side by side.
"""

import pathlib
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
    Mosquitto,
    Program,
    Proxy,
    build_client,
    find_mosquitto,
    parser,
)

ALL = ("3.1", "3.1.1", "5.0")
OLD_AND_NEW = ("3.1.1", "5.0")
NEW = ("5.0",)
CUTS = {"publisher-1": 50, "publisher-2": 50, "subscriber": 100}
UNDER_WAY = 40
CHECKS = []


def check(text, versions, **server):
    """Registers a check. The other arguments configure the server."""

    def register(function):
        CHECKS.append((text, versions, server, function))
        return function

    return register


class Stage:
    """The environment of a check: its server, clients of one version, and their cleanup."""

    def __init__(self, client, mosquitto, version, seed, server):
        self.client, self.version, self.seed = client, version, seed
        self.mosquitto = mosquitto
        self.servers = [Mosquitto(mosquitto, **server)]
        self.programs, self.proxies = [], []

    @property
    def server(self):
        return self.servers[0]

    def server_for_known_users(self):
        """Starts a second server that accepts no anonymous clients."""
        self.servers.append(Mosquitto(self.mosquitto, anonymous=False))
        return self.servers[-1]

    def start(self, command, name, *arguments, port=None, with_input=False):
        common = ["--host", HOST, "--port", port or self.server.port, "--version", self.version, "--client-id", name]
        if self.version != "5.0" and "--max-in-flight" not in arguments:  # only 5.0 has Receive Maximum in CONNACK
            common += ["--max-in-flight", self.server.max_in_flight]
        program = Program(name, [self.client, command, *common, *arguments], with_input)
        self.programs.append(program)
        return program

    def publish(self, topic, *messages, qos=0, options=(), expected=0):
        """Publishes messages and waits for the outcomes."""
        payloads = [part for message in messages for part in ("--message", message)]
        program = self.start("publish", "sender", "--topic", topic, "--qos", qos, *payloads, *options)
        equal(program.end(), expected, f"{program.name}: exit code")
        return program

    def subscriber(self, name, *arguments, port=None):
        """Starts a subscriber and waits until its subscription is granted."""
        program = self.start("subscribe", name, *arguments, port=port)
        program.wait_for_error_line("subscribed:")
        return program

    def lasting(self):
        """The arguments with which a session outlives its connections."""
        return ["--no-clean-start", *(["--session-expiry", 600] if self.version == "5.0" else [])]

    def proxy(self, cuts=0, seed=None):
        proxy = Proxy(self.server.port, cuts, seed)
        self.proxies.append(proxy)
        return proxy

    def close(self):
        for program in self.programs:
            program.stop()
        for proxy in self.proxies:
            proxy.close()
        for server in self.servers:
            server.stop()

    def logs(self):
        """Returns the last lines of the programs' output, and the paths of all of it."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="interop-"))
        programs = [*(server.server for server in self.servers), *self.programs]
        for number, program in enumerate(programs):
            program.save(folder, number)
        return "\n".join([*(program.tail() for program in programs), f"all logs: {folder}"])


def equal(got, expected, what):
    if got != expected:
        raise Failure(f"{what}: expected {expected!r}, got {got!r}")


def fields(line):
    return line.split("\t")


@check("messages of every QoS arrive", ALL)
def every_qos(stage):
    for granted in 0, 1, 2:
        subscriber = stage.subscriber("reader", "--filter", "a/+", "--qos", granted, "--count", 9)
        expected = []
        for qos in 0, 1, 2:
            payloads = [f"first {qos}", "", f"größer {qos}"]
            sender = stage.publish("a/b", *payloads, qos=qos)
            word = "acknowledged" if qos else "sent"
            equal([fields(line)[:2] for line in sender.out], [[str(n), word] for n in (1, 2, 3)], "outcomes")
            expected += [f"a/b\t{min(qos, granted)}\t0\t{payload}" for payload in payloads]
        equal(subscriber.end(), 0, "exit code of the subscriber")
        equal(subscriber.out, expected, f"messages with QoS {granted} granted")


@check("large messages arrive", ALL)
def large(stage):
    sizes = (100, 127, 128, 2_047, 2_048, 16_384, 65_535, 300_000, 2_500_000)
    subscriber = stage.subscriber("reader", "--filter", "large", "--qos", 2, "--count", len(sizes))
    sender = stage.start("publish", "sender", "--topic", "large", "--qos", 2, "--lines", with_input=True)
    for size in sizes:
        sender.write("x" * size)
    sender.close_input()
    equal(sender.end(), 0, "exit code")
    equal(subscriber.end(), 0, "exit code of the subscriber")
    equal([len(fields(line)[3]) for line in subscriber.out], list(sizes), "sizes")
    equal({*"".join(fields(line)[3] for line in subscriber.out)}, {"x"}, "content")


@check("retained messages are stored, replaced and removed", ALL)
def retained(stage):
    stage.publish("r/1", "old", "new", qos=1, options=["--retain"])
    stage.publish("r/2", "other", qos=2, options=["--retain"])
    stage.publish("r/3", "not retained")
    reader = stage.start("subscribe", "reader", "--filter", "r/#", "--qos", 2, "--count", 2)
    equal(reader.end(), 0, "exit code")
    equal(sorted(reader.out), ["r/1\t1\t1\tnew", "r/2\t2\t1\tother"], "retained messages")
    stage.publish("r/1", "", options=["--retain"])
    stage.publish("r/2", "", options=["--retain"])
    reader = stage.subscriber("reader", "--filter", "r/#", "--count", 1)
    stage.publish("r/4", "the first one")
    equal(reader.end(), 0, "exit code")
    equal(reader.out, ["r/4\t0\t0\tthe first one"], "messages after the removal")


@check("the will is published after a cut, and not after DISCONNECT", ALL)
def will(stage):
    watcher = stage.subscriber("watcher", "--filter", "will/#", "--qos", 2)
    proxy = stage.proxy()
    options = ["--filter", "x", "--will-topic", "will/x", "--will-message", "gone", "--will-qos", 2, "--will-retain"]
    victim = stage.subscriber("victim", *options, port=proxy.port)
    proxy.cut()
    equal(victim.end(), 1, "exit code of the client that was cut off")
    equal(watcher.wait_for_lines(1), ["will/x\t2\t0\tgone"], "will")
    late = stage.start("subscribe", "late", "--filter", "will/#", "--qos", 2, "--count", 1)
    equal(late.end(), 0, "exit code")
    equal(late.out, ["will/x\t2\t1\tgone"], "retained will")
    polite = stage.subscriber("polite", *options, "--count", 1, port=proxy.port)
    stage.publish("x", "leave")
    equal(polite.end(), 0, "exit code of the client that has left")
    stage.publish("will/y", "last", qos=2)
    equal(watcher.wait_for_lines(2)[1], "will/y\t2\t0\tlast", "what comes after DISCONNECT")


@check("a signal sends DISCONNECT, and the will is not published", ALL)
def signals(stage):
    watcher = stage.subscriber("watcher", "--filter", "will/#", "--qos", 2)
    options = ["--will-topic", "will/x", "--will-message", "gone", "--reconnect"]
    for number in signal.SIGINT, signal.SIGTERM:
        reader = stage.subscriber(f"reader-{number}", "--filter", "x", *options)
        reader.process.send_signal(number)
        equal(reader.end(), 0, "exit code of the subscriber")
        publish = ["--topic", "t", "--qos", 1, "--lines", *options]
        writer = stage.start("publish", f"writer-{number}", *publish, with_input=True)
        writer.write("one")
        writer.wait_for_lines(1)
        writer.process.send_signal(number)
        equal(writer.end(), 0, "exit code of the publisher")
        equal([fields(line)[:2] for line in writer.out], [["1", "acknowledged"]], "outcomes")
    stage.publish("will/y", "last", qos=2)
    equal(watcher.wait_for_lines(1), ["will/y\t2\t0\tlast"], "what comes after DISCONNECT")


@check("a session is resumed with the messages that have waited", ALL)
def resume(stage):
    options = ["--filter", "s/#", "--qos", 2, *stage.lasting()]
    first = stage.subscriber("sleeper", *options, "--count", 1)
    stage.publish("s/0", "good night", qos=1)
    equal(first.end(), 0, "exit code")
    expected = []
    for qos in 1, 2:
        payloads = [f"{qos}.{number}" for number in range(30)]
        stage.publish(f"s/{qos}", *payloads, qos=qos)
        expected += [f"s/{qos}\t{qos}\t0\t{payload}" for payload in payloads]
    second = stage.start("subscribe", "sleeper", *options, "--count", len(expected))
    equal(second.end(), 0, "exit code")
    second.wait_for_error_line("connected: resumed session")
    equal(second.out, expected, "messages that have waited")


@check("a client that leaves early leaves the rest of the messages to the next connection", OLD_AND_NEW)
def leave_in_the_middle(stage):
    options = ["--filter", "m", "--qos", 1, *stage.lasting()]
    stage.subscriber("half", *options, "--count", 1)
    payloads = [f"{number}" for number in range(15)]
    stage.publish("m", "begin", qos=1)
    stage.publish("m", *payloads, qos=1)
    got = []
    for _ in range(3):
        reader = stage.start("subscribe", "half", *options, "--count", 5)
        equal(reader.end(), 0, "exit code")
        got += [fields(line)[3] for line in reader.out]
    equal(got, payloads, "messages in three parts")


@check("the client subscribes again when the server has lost the session", ALL)
def forgotten(stage):
    options = ["--filter", "f", "--qos", 1, "--reconnect", "--backoff", "1..1", *stage.lasting()]
    reader = stage.subscriber("reader", *options)
    stage.server.restart()
    reader.wait_until(lambda: sum("subscribed:" in line for line in reader.err) == 2, "the second SUBACK")
    if stage.version != "3.1":  # 3.1 has no Session Present
        reader.wait_for_error_line("connected: lost session")
    stage.publish("f", "hello again", qos=1)
    equal(reader.wait_for_lines(1), ["f\t1\t0\thello again"], "messages after the restart")


@check("a refused connection, a dead port and a lost connection are failures", ALL)
def failures(stage):
    strict = stage.server_for_known_users()
    refused = stage.start("publish", "nobody", "--topic", "t", "--message", "m", "--reconnect", port=strict.port)
    equal(refused.end(), 1, "exit code")
    refused.wait_for_error_line("the server refuses the connection: 0x87")
    proxy = stage.proxy()
    sender = stage.start("publish", "cut", "--topic", "t", "--lines", "--qos", 1, port=proxy.port, with_input=True)
    sender.write("one")
    sender.wait_for_lines(1)
    proxy.cut()
    equal(sender.end(), 1, "exit code")
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))  # and nothing can listen there meanwhile
        port = reserved.getsockname()[1]
        dead = stage.start("publish", "dead", "--topic", "t", "--message", "m", port=port)
        equal(dead.end(), 1, "exit code")


@check("an idle connection is kept alive", ALL)
def keep_alive(stage):
    idle = stage.subscriber("idle", "--filter", "k", "--keep-alive", 1, "--count", 1)
    pings = "Received PINGREQ from idle"
    server = stage.server.server
    server.wait_until(lambda: sum(pings in line for line in server.err) >= 3, "three PINGREQs")
    stage.publish("k", "still there")
    equal(idle.end(), 0, "exit code")


@check("properties, subscription options and identifiers of 5.0 arrive", NEW)
def properties(stage):
    options = ["--user-property", "a=1", "--user-property", "a=2", "--content-type", "text/plain"]
    options += ["--response-topic", "answers/here", "--message-expiry", 500]
    reader = stage.subscriber("reader", "--filter", "p", "--qos", 1, "--count", 1, "--subscription-identifier", 300)
    stage.publish("p", "hello", qos=1, options=options)
    equal(reader.end(), 0, "exit code")
    got = fields(reader.out[0])
    equal(got[:4], ["p", "1", "0", "hello"], "message")
    for part in (
        'name: "a", value: "1"',
        'name: "a", value: "2"',
        'content_type: Some("text/plain")',
        'response_topic: Some("answers/here")',
        "message_expiry_interval: Some(500)",
        "SubscriptionIdentifier(300)",
    ):
        if part not in got[4]:
            raise Failure(f"{part} is missing in {got[4]}")
    stage.publish("kept", "old", qos=1, options=["--retain"])
    reader = stage.subscriber("reader", "--filter", "kept", "--count", 1, "--retain-handling", 2)
    stage.publish("kept", "new")
    equal(reader.end(), 0, "exit code")
    equal(reader.out, ["kept\t0\t0\tnew"], "messages with retain handling 2")


@check("a delayed will waits, and is dropped when the client reconnects", NEW)
def delayed_will(stage):
    watcher = stage.subscriber("watcher", "--filter", "will/#")
    proxy = stage.proxy()
    options = ["--filter", "x", *stage.lasting(), "--will-topic", "will/x", "--will-message", "gone"]
    patient = [*options, "--will-delay", 600, "--reconnect", "--backoff", "0..1"]
    reader = stage.subscriber("patient", *patient, port=proxy.port)
    proxy.cut()
    reader.wait_for_error_line("connected: resumed session")
    victim = stage.subscriber("victim", *options, "--will-delay", 1, port=proxy.port)
    proxy.cut()
    cut_at = time.monotonic()
    equal(victim.end(), 1, "exit code")
    equal(watcher.wait_for_lines(1), ["will/x\t0\t0\tgone"], "will")
    if time.monotonic() - cut_at < 0.5:
        raise Failure("the will did not wait")
    stage.publish("will/y", "last")
    equal(watcher.wait_for_lines(2)[1], "will/y\t0\t0\tlast", "what comes after the delayed will")


class Source:
    """A publisher behind a proxy, the messages given to it, and the outcomes it has printed."""

    def __init__(self, stage, qos):
        self.qos, self.payloads = qos, []
        name = f"publisher-{qos}"
        self.proxy = stage.proxy(CUTS[name], f"{stage.seed} {stage.version} {name}")
        options = ["--topic", f"cut/{qos}", "--qos", qos, "--lines", "--reconnect", "--backoff", "0..1"]
        options += ["--max-in-flight", UNDER_WAY // 4, *stage.lasting()]
        self.program = stage.start("publish", name, *options, port=self.proxy.port, with_input=True)

    def feed(self):
        """Publishes another message unless too many are without an outcome. Returns whether it did."""
        if len(self.payloads) - len(self.program.out) >= UNDER_WAY:
            return False
        self.payloads.append(f"{self.qos}.{len(self.payloads) + 1}")
        self.program.write(self.payloads[-1])
        return True

    def finish(self):
        self.program.close_input()
        equal(self.program.end(), 0, f"{self.program.name}: exit code")
        tokens = sorted(int(fields(line)[0]) for line in self.program.out)
        equal(tokens, list(range(1, len(self.payloads) + 1)), f"{self.program.name}: tokens with an outcome")
        equal({fields(line)[1] for line in self.program.out}, {"acknowledged"}, f"{self.program.name}: outcomes")


class Sink:
    """A subscriber behind a proxy, and the messages it has received in each QoS."""

    def __init__(self, stage):
        options = ["--filter", "cut/#", "--qos", 2, *stage.lasting()]
        # The subscription exists before anything is published.
        first = stage.subscriber("subscriber", *options, "--count", 1)
        stage.publish("cut/0", "begin")
        equal(first.end(), 0, f"{first.name}: exit code")
        self.proxy = stage.proxy(CUTS["subscriber"], f"{stage.seed} {stage.version} subscriber")
        # With so many messages before it, SUBACK may be cut more often than the client tolerates by default.
        options += ["--reconnect", "--backoff", "0..1", "--request-tries", 0]
        self.program = stage.start("subscribe", "subscriber", *options, port=self.proxy.port)
        self.lines = 0
        self.received = {1: [], 2: []}
        self.different = {1: {}, 2: {}}
        self.at_end = False

    def look(self):
        """Takes the new lines, and returns the number of different messages."""
        for line in self.program.out[self.lines :]:
            self.lines += 1
            topic, qos, _, payload = fields(line)
            if topic == "cut/end":
                self.at_end = True
                continue
            equal(topic, f"cut/{qos}", "topic of a message")
            self.received[int(qos)].append(payload)
            self.different[int(qos)][payload] = None
        return sum(map(len, self.different.values()))


# The server's window is larger than the number of messages ever in flight: when the window is full, mosquitto sends new
# messages before queued ones.
@check(f"nothing is lost in {sum(CUTS.values())} cuts, QoS 2 comes once, all in order", ALL, max_in_flight=1000)
def cuts(stage):
    sink = Sink(stage)
    sources = [Source(stage, qos) for qos in (1, 2)]
    proxies = [end.proxy for end in (sink, *sources)]
    programs = [end.program for end in (sink, *sources)]
    give_up_at = time.monotonic() + 5 * PATIENCE
    while not all(proxy.is_through() for proxy in proxies):
        for program in programs:
            if program.process.poll() is not None:
                raise Failure(f"{program.name} has ended too early")
        if time.monotonic() > give_up_at:
            raise Failure(f"too slow: {[(proxy.cuts, proxy.connections) for proxy in proxies]} cuts and connections")
        behind = sum(len(source.payloads) for source in sources) - sink.look()
        fed = [source.feed() for source in sources] if behind < 10 * UNDER_WAY else []
        if not any(fed):
            with sink.program.changed:  # messages wake this loop; other events are seen soon enough
                sink.program.changed.wait(0.005)
    for source in sources:
        source.finish()
    stage.publish("cut/end", "end", qos=2)
    sink.program.wait_until(lambda: sink.look() and sink.at_end, "the last message")
    sink.program.stop()
    sink.look()

    for source in sources:
        got = list(sink.different[source.qos])
        if lost := [payload for payload in source.payloads if payload not in sink.different[source.qos]]:
            raise Failure(f"{len(lost)} messages of QoS {source.qos} are lost: {lost[:10]}")
        if got != source.payloads:
            place = next(n for n, pair in enumerate(zip(got, source.payloads)) if pair[0] != pair[1])
            raise Failure(f"QoS {source.qos} is out of order: {got[max(0, place - 3) : place + 5]}")
        again = f"Received PUBLISH from {source.program.name} (d1,"
        if not any(again in line for line in stage.server.server.err):
            raise Failure(f"{source.program.name} has never set DUP")
    repeated = {qos: len(sink.received[qos]) - len(sink.different[qos]) for qos in (1, 2)}
    equal(repeated[2], 0, "how often a message of QoS 2 came once more")
    return (
        f"{sum(proxy.cuts for proxy in proxies)} cuts, {len(sources[0].payloads)} messages of QoS 1"
        f" and {repeated[1]} repeated ones, {len(sources[1].payloads)} of QoS 2"
    )


def main():
    arguments = parser(__doc__).parse_args()
    seed = arguments.seed
    mosquitto = find_mosquitto()
    client = build_client()
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    runs = [(check, version) for check in CHECKS if arguments.check in check[3].__name__ for version in check[1]]
    for (text, _, server, function), version in arguments.part.of(runs):
        start = time.monotonic()
        stage = Stage(client, mosquitto, version, seed, server)
        try:
            said = function(stage)
        except Failure as failure:
            stage.close()
            print(f"FAILED  {version:5}  {text}\n{failure}\n{stage.logs()}\nseed {seed}", flush=True)
            return 1
        finally:
            stage.close()
        seconds = f"{time.monotonic() - start:.1f} s"
        print(f"ok  {version:5}  {text} ({seconds}{'; ' + said if said else ''})", flush=True)
    print(f"all is well ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
