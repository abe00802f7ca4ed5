"""Checks of the broker with the clients of mosquitto."""

import os
import random
import signal
import subprocess
import tempfile
import time

from broker_stage import ALL, NEW, OLD_AND_NEW, Failure, Raw, check, equal, heard
from harness import HOST, PATIENCE

BOTH = ("tcp", "tls")
USERS = {"alice": "secret", "bob": "größer als"}
ENDS_HERE = ("-t", "end", "-q", 2)
TOO_MANY = "QoS 2, of which 2.0.11 at times sends more than its own client's Receive Maximum of 20"


def until_the_end(stage, reader):
    """Publishes a message to a topic of the reader, and returns the messages it has received before that one."""
    mark = f"mark-{time.monotonic_ns()}"
    stage.send("end", "-m", mark, "-q", 2)
    reader.wait_until(lambda: any(line.endswith(mark) for line in reader.out), "the last message")
    return [line for line in heard(reader) if not line.startswith("end ")]


@check(
    "mosquitto: messages of every QoS arrive, with the lower QoS of publication and subscription",
    ALL,
    BOTH,
)
def mosquitto_every_qos(stage):
    payloads = {qos: [f"first {qos}", "", f"größer {qos}"] for qos in (0, 1, 2)}
    for granted in 0, 1, 2:
        reader = stage.reader(f"reader-{granted}", "-t", "a/+", "-q", granted, "-C", 9)
        for qos, texts in payloads.items():
            for payload in texts:
                stage.send("a/b", "-q", qos, *(["-m", payload] if payload else ["-n"]))
        equal(reader.end(), 0, "exit code")
        for qos in range(granted + 1):  # messages of different QoS may arrive in another order
            texts = [text for sent, texts in payloads.items() if min(sent, granted) == qos for text in texts]
            got = [line for line in heard(reader) if line.startswith(f"a/b {qos} ")]
            equal(got, [f"a/b {qos} 0 {text}" for text in texts], f"messages of QoS {qos}")


@check("mosquitto: many lines arrive in order", ALL, BOTH)
def mosquitto_many(stage):
    count = 1000
    for qos in 0, 1, 2:
        if qos == 2 and stage.is_new and stage.spares_mosquitto(TOO_MANY):
            continue
        reader = stage.reader("reader", "-t", "many", "-q", qos, "-C", count, form="%q %p")
        sender = stage.run("mosquitto_pub", "sender", "-t", "many", "-q", qos, "-l", with_input=True)
        sender.write("\n".join(map(str, range(count))))
        sender.close_input()
        for program in sender, reader:
            equal(program.end(), 0, f"{program.name}: exit code")
        equal(heard(reader), [f"{qos} {number}" for number in range(count)], f"messages of QoS {qos}")


@check("mosquitto: a message of 1 MiB arrives unchanged", ALL, BOTH)
def mosquitto_large(stage):
    payload = random.Random(stage.seed).randbytes(1 << 20)
    with tempfile.NamedTemporaryFile() as file:
        file.write(payload)
        file.flush()
        for qos in 0, 1, 2:
            reader = stage.reader("reader", "-t", "large", "-q", qos, "-C", 1, form="%x")
            stage.send("large", "-f", file.name, "-q", qos)
            equal(reader.end(), 0, "exit code")
            if bytes.fromhex(heard(reader)[0]) != payload:
                raise Failure(f"a message of QoS {qos} has not arrived as it was")


@check("mosquitto: a retained message is stored, replaced, and removed by one with an empty payload", ALL, BOTH)
def mosquitto_retained(stage):
    live = stage.reader("live", "-t", "kept/#", *ENDS_HERE)

    def late(expected, what):
        reader = stage.reader("late", "-t", "kept/#", *ENDS_HERE)
        equal(sorted(until_the_end(stage, reader)), expected, what)
        reader.stop()

    late([], "at first")
    stage.send("kept/1", "-r", "-q", 1, "-m", "one")
    stage.send("kept/1", "-q", 1, "-m", "not kept")
    stage.send("kept/2", "-r", "-q", 2, "-m", "two")
    late(["kept/1 1 1 one", "kept/2 2 1 two"], "kept")
    stage.send("kept/1", "-r", "-q", 0, "-m", "other")
    stage.send("kept/1", "-r", "-q", 1, "-m", "another")
    stage.send("kept/2", "-r", "-q", 1, "-n")
    late(["kept/1 1 1 another"], "replaced and deleted")
    stage.send("kept/1", "-r", "-q", 1, "-n")
    late([], "all deleted")
    expected = ["1 1 0 one", "1 1 0 not kept", "2 2 0 two", "1 0 0 other", "1 1 0 another", "2 1 0 ", "1 1 0 "]
    got = [line.removeprefix("kept/") for line in until_the_end(stage, live)]
    equal(sorted(got), sorted(expected), "what a subscriber gets that was there before, always without RETAIN")


FILTERS = {
    "a/b": {"a/b"},
    "a": {"a"},
    "+": {"a", "b"},
    "a/+": {"a/b", "a/"},
    "+/+": {"a/b", "a/", "/a"},
    "/+": {"/a"},
    "+/b/c": {"a/b/c"},
    "a/#": {"a", "a/b", "a/b/c", "a/"},
    "a/b/#": {"a/b", "a/b/c"},
    "+/b/#": {"a/b", "a/b/c"},
    "#": {"a", "b", "a/b", "a/b/c", "a/", "/a"},
    "$x/#": {"$x/y"},
    "$x/+": {"$x/y"},
    "+/y": set(),
}


@check(
    "mosquitto: filters match live and retained messages, and topics with $ only if the filter begins with it",
    ALL,
)
def mosquitto_filters(stage):
    topics = ("a", "b", "a/b", "a/b/c", "a/", "/a", "$x/y")
    names = {filter: f"reader {number}" for number, filter in enumerate(FILTERS)}
    early = {filter: stage.reader(names[filter], "-t", filter, "-t", "end", "-q", 1) for filter in FILTERS}
    for topic in topics:
        stage.send(topic, "-m", "m", "-r", "-q", 1)
    late = {filter: stage.reader(f"late {names[filter]}", "-t", filter, "-t", "end", "-q", 1) for filter in FILTERS}
    stage.send("end", "-m", "end", "-q", 1)
    for readers, retain in (early, 0), (late, 1):
        for filter, reader in readers.items():
            reader.wait_until(lambda: "> end 1 0 end" in reader.out, "the last message")
            got = [line for line in heard(reader) if not line.startswith("end ")]
            expected = sorted(f"{topic} 1 {retain} m" for topic in FILTERS[filter])
            equal(sorted(got), expected, f"messages for {filter}, {'retained' if retain else 'new'}")


@check("mosquitto_rr receives the response to its request", OLD_AND_NEW, BOTH)
def mosquitto_rr(stage):
    helper = stage.client("helper")
    helper.connect()
    helper.subscribe("ask/+", 2)
    for number, qos in enumerate((0, 1, 2)):
        options = ["-t", "ask/me", "-e", f"answers/{qos}", "-m", f"how {qos}", "-q", qos]
        correlation = ["-D", "publish", "correlation-data", f"c{qos}"] if stage.is_new else []
        asker = stage.run("mosquitto_rr", "asker", *options, *correlation, "-F", "%t %q %p")
        asked = helper.get(number + 1)[-1]
        equal((asked.payload.decode(), asked.qos), (f"how {qos}", qos), "request")
        if stage.is_new:
            equal(asked.properties.ResponseTopic, f"answers/{qos}", "response topic")
            equal(asked.properties.CorrelationData, f"c{qos}".encode(), "correlation data")
        helper.deliver(f"answers/{qos}", "so", 2)
        equal(asker.end(), 0, "exit code")
        equal(asker.out, [f"answers/{qos} {qos} so"], "answer")


@check("mosquitto: a will is published when the client is killed, and not after DISCONNECT", ALL, BOTH)
def mosquitto_will(stage):
    reader = stage.reader("reader", "-t", "will/#", *ENDS_HERE)

    def leaver(name, *arguments):
        will = ["--will-topic", f"will/{name}", "--will-payload", "gone", "--will-qos", 1]
        return stage.reader(name, "-t", "go", *will, *arguments)

    polite = leaver("polite", "-C", 1)
    stage.send("go", "-m", "now")
    equal(polite.end(), 0, "exit code")
    for name, retain in ("victim", []), ("lasting", ["--will-retain"]):
        leaver(name, *retain).process.send_signal(signal.SIGKILL)
    expected = ["will/lasting 1 0 gone", "will/victim 1 0 gone"]
    equal(sorted(heard(reader, 2)), expected, "wills")
    late = stage.reader("late", "-t", "will/#", *ENDS_HERE)
    equal(until_the_end(stage, late), ["will/lasting 1 1 gone"], "the retained will")
    equal(sorted(until_the_end(stage, reader)), expected, "all wills")


@check("mosquitto: a session outlives its connections, and receives the messages published meanwhile", ALL, BOTH)
def mosquitto_session(stage):
    for qos in 1, 2:
        if qos == 2 and stage.is_new and stage.spares_mosquitto(TOO_MANY):
            continue
        filters = ["-t", "s/+", "-q", qos, *stage.lasting()]
        equal(stage.run("mosquitto_sub", f"sleeper-{qos}", *filters, "-E").end(), 0, "exit code of a subscription")
        got, sent = [], 0
        for count in 1, 20, 50:
            sender = stage.run("mosquitto_pub", "sender", "-t", "s/x", "-q", 2, "-l", with_input=True)
            sender.write("\n".join(str(sent + number) for number in range(count)))
            sender.close_input()
            equal(sender.end(), 0, "exit code of the sender")
            # mosquitto_sub subscribes again on each connection. When it exits, an acknowledgement may be lost, and a
            # message of QoS 1 is sent again. (It is killed, because it may print a line twice when a signal arrives.)
            sent += count
            expected = [f"{qos} {number}" for number in range(sent)]
            reader = stage.reader(f"sleeper-{qos}", *filters, form="%q %p")
            reader.wait_until(lambda: f"> {expected[-1]}" in reader.out, "what was waiting")
            reader.process.kill()
            reader.end()
            got += heard(reader)
            equal(list(dict.fromkeys(got)) if qos == 1 else got, expected, "all that was waiting")


@check("mosquitto: a session ends when its expiry interval has passed, and with a clean start", NEW)
def mosquitto_session_ends(stage):
    filters = ["-t", "s/+", "-t", "end", "-q", 1]

    def subscribe(name, *arguments):
        equal(stage.run("mosquitto_sub", name, *filters, *arguments, "-E").end(), 0, "exit code")

    subscribe("short", "-c", "-x", 1)
    subscribe("anew", "-c", "-x", 600)
    stage.send("s/x", "-m", "lost", "-q", 1)
    time.sleep(2)
    for name, arguments in ("short", ["-c", "-x", 1]), ("anew", []):
        reader = stage.reader(name, *filters, *arguments)
        equal(until_the_end(stage, reader), [], f"what has waited for {name}")


@check("mosquitto: only clients with the right password are accepted", ALL, BOTH, users=USERS)
def mosquitto_users(stage):
    # Each user has a client identifier of its own: the broker may read a CONNECT before the DISCONNECT on another connection.
    stage.send("t", "-m", "m", "-q", 1, "-u", "alice", "-P", "secret", name="sender-alice")
    stage.send("t", "-m", "m", "-q", 1, "-u", "bob", "-P", "größer als", name="sender-bob")
    for wrong in ["-u", "alice", "-P", "wrong"], ["-u", "alice"], ["-u", "carol", "-P", "secret"], []:
        refused = stage.run("mosquitto_pub", "somebody", "-t", "t", "-m", "m", "-q", 1, *wrong)
        if refused.end() == 0:
            raise Failure(f"somebody is let in with {wrong}")


@check("mosquitto: the hashes of mosquitto_passwd are understood", ALL, users=USERS, hashed=True)
def mosquitto_hashed(stage):
    mosquitto_users(stage)


@check("mosquitto: a broker whose log is not read goes on", OLD_AND_NEW, mosquitto="it is the example's own log")
def mosquitto_no_log(stage):
    """Standard error is closed, or a full pipe."""
    for is_closed in True, False:
        reader, writer = os.pipe()
        if is_closed:
            os.close(reader)
        command = [stage.tools.broker, "--listen", f"{HOST}:0"]
        environment = os.environ | {"RUST_LOG": "trace"}
        broker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env=environment)
        os.close(writer)
        try:
            port = int(broker.stdout.readline().decode().rsplit(":", 1)[1])
            for _ in range(300):
                client = Raw(port)
                client.connect(stage.version, "c" * 1000)
                client.close()
            broker.terminate()
            equal(broker.wait(PATIENCE), 0, "exit code of the broker")
        finally:
            broker.kill()
            broker.wait()
            broker.stdout.close()
            if not is_closed:
                os.close(reader)


@check(
    "mosquitto: the access control list decides who may read and write which topics",
    ALL,
    BOTH,
    users={"alice": "a", "bob": "b"},
    acl={
        None: ["read news/#", "readwrite end", "readwrite of/%u/%c"],
        "alice": ["readwrite alice/+"],
        "bob": ["write alice/in", "write news/#"],
    },
)
def mosquitto_acl(stage):
    alice, bob = ["-u", "alice", "-P", "a"], ["-u", "bob", "-P", "b"]
    filters = ["-t", "alice/in", "-t", "alice/out", "-t", "news/today", "-t", "secret"]
    for_alice, for_bob = (
        stage.reader(name, *user, *ENDS_HERE, *filters, form="%t %p") for name, user in (("alice", alice), ("bob", bob))
    )
    for topic, user, allowed in (
        ("alice/in", bob, True),
        ("alice/out", bob, False),
        ("alice/out", alice, True),
        ("alice/in/deep", alice, False),
        ("news/today", bob, True),
        ("news/today", alice, False),
        ("secret", alice, False),
        ("of/bob/sender-bob", bob, True),
        ("of/bob/bob", bob, False),
        ("of/alice/sender-bob", bob, False),
        ("end", alice, True),
    ):
        # The broker may read a CONNECT before the DISCONNECT on another connection: so each user has its own client identifier.
        sender = stage.send(topic, "-m", f"by {user[1]}", "-q", 1, *user, name=f"sender-{user[1]}")
        refused = any("Not authorized" in line for line in sender.err)
        equal(refused, stage.is_new and not allowed, f"{user[1]} is told that {topic} is not allowed")
    for reader in for_alice, for_bob:
        reader.wait_until(lambda: "> end by alice" in reader.out, "the last message")
    expected = ["alice/in by bob", "alice/out by alice", "news/today by bob", "end by alice"]
    equal(heard(for_alice), expected, "alice reads")
    equal(heard(for_bob), ["news/today by bob", "end by alice"], "bob reads")
