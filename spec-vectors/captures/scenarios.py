"""The scenarios. Each is played with a broker of its own; client identifiers and payloads are fixed."""

import base64
import glob
import hashlib
import json
import signal

import players
from players import Paho, options, properties
from recorder import Broker, Play, program_version

ALL = ("3.1", "3.1.1", "5.0")
OLD_AND_NEW = ("3.1.1", "5.0")
NEW = ("5.0",)
PROGRAMS = ("mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr")
SCENARIOS = []


def scenario(versions, config="", files=None):
    def register(function):
        SCENARIOS.append((function, versions, config, files))
        return function

    return register


def play_all():
    """Plays all scenarios and returns the conversations, without auxiliary ones."""
    versions = {program: program_version(program) for program in PROGRAMS}
    versions[players.PROGRAM] = players.VERSION
    versions["mosquitto bridge"] = versions["mosquitto"]
    versions["handmade"] = "1"
    conversations = []
    for function, protocol_versions, config, files in SCENARIOS:
        for version in protocol_versions:
            play = Play(versions, config, files)
            try:
                function(play, version)
                for talk in play.conversations:
                    talk.finish()
            finally:
                play.close()
            conversations += play.conversations
            print(f"{function.__name__} {version}: {len(play.conversations)} conversations")
    return conversations


def text(size):
    """Returns a payload of this size that is the same each time."""
    line = "".join(f"line {number:05d} of a long report\n" for number in range(size // 28 + 1))
    return line[:size]


def filters(version, *pairs):
    """Returns the argument of a subscription to several filters, with options in 5.0."""
    return [(name, options(qos) if version == "5.0" else qos) for name, qos in pairs]


def password(secret):
    """Returns salt and hash in mosquitto's format: PBKDF2 with SHA-512, 101 rounds, base64."""
    salt = b"twelve bytes"
    made = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, 101)
    return base64.b64encode(salt).decode(), base64.b64encode(made).decode()


# One mosquitto_sub and one mosquitto_pub: label, versions, sentence, options of each, text on standard input.
PAIRS = [
    (
        "qos0", ALL, "one message at QoS 0", "-t home/kitchen/temperature -q 0 -C 1",
        "-t home/kitchen/temperature -m 21.5 -q 0", None,
    ),
    (
        "qos1", ALL, "one message at QoS 1", "-t home/kitchen/temperature -q 1 -C 1",
        "-t home/kitchen/temperature -m 21.5 -q 1", None,
    ),
    (
        "qos2", ALL, "one message at QoS 2", "-t home/kitchen/temperature -q 2 -C 1",
        "-t home/kitchen/temperature -m 21.5 -q 2", None,
    ),
    (
        "non-ascii", ALL, "topic and payload in other scripts", "-t дом/кухня/温度 -t наружу/+ -q 1 -C 1 -i подписчик",
        "-t дом/кухня/温度 -m '−5,5 °C ☃ 🌡' -q 1", None,
    ),
    (
        "downgrade", OLD_AND_NEW, "published at QoS 2, subscribed at QoS 0", "-t news/# -q 0 -C 1",
        "-t news/today -m hello -q 2", None,
    ),
    ("empty-payload", OLD_AND_NEW, "a message without payload", "-t door/bell -q 1 -C 1", "-t door/bell -n -q 1", None),
    (
        "lines", OLD_AND_NEW, "five lines of standard input, a QoS 2 message for each",
        "-t log/+/# -t $SYS/nothing -q 2 -C 5", "-t log/app -l -q 2 -M 1", "one\ntwo\nthree\nfour\nfive\n",
    ),
    ("300-bytes", ALL, "a remaining length of two bytes", "-t report -q 1 -C 1", "-t report -s -q 1", text(300)),
    (
        "17000-bytes", OLD_AND_NEW, "a remaining length of three bytes", "-t report -q 0 -C 1", "-t report -s -q 0",
        text(17000),
    ),
    (
        "unsubscribe", ALL, "subscribed to two filters and unsubscribed from two, one of them never subscribed",
        "-t a/b -t a/c -U a/b -U never/seen -q 1 -C 1", "-t a/c -m left -q 1", None,
    ),
    (
        "publish-properties", NEW, "every property of a PUBLISH that mosquitto_pub can set, at QoS 1",
        "-t orders/new -q 1 -C 1",
        "-t orders/new -m '{\"id\":17}' -q 1 -D PUBLISH payload-format-indicator 1"
        " -D PUBLISH message-expiry-interval 3600"
        " -D PUBLISH content-type application/json -D PUBLISH response-topic orders/answers/17"
        " -D PUBLISH correlation-data order-17 -D PUBLISH user-property source till-3"
        " -D PUBLISH user-property source till-3 -D PUBLISH user-property größe XL", None,
    ),
    (
        "publish-properties-qos2", NEW, "properties of a PUBLISH at QoS 2", "-t orders/new -q 2 -C 1",
        "-t orders/new -m 17 -q 2 -D PUBLISH content-type text/plain -D PUBLISH user-property a b", None,
    ),
    (
        "topic-alias", NEW, "three messages by topic alias, the topic only in the first",
        "-t very/long/topic/for/a/small/message -q 1 -C 3",
        "-t very/long/topic/for/a/small/message -m x -q 1 --repeat 3 -D PUBLISH topic-alias 5", None,
    ),
    (
        "connect-properties", NEW, "the properties of a CONNECT and of a DISCONNECT",
        "-t x/y -q 1 -C 1 -x 120 -D CONNECT receive-maximum 20 -D CONNECT maximum-packet-size 65536"
        " -D CONNECT topic-alias-maximum 10 -D CONNECT request-problem-information 1"
        " -D CONNECT user-property role reader"
        " -D DISCONNECT session-expiry-interval 30 -D DISCONNECT user-property why done",
        "-t x/y -m z -q 1 -x 120 -D CONNECT receive-maximum 10 -D CONNECT maximum-packet-size 268435455"
        " -D CONNECT topic-alias-maximum 65535 -D CONNECT request-problem-information 0"
        " -D CONNECT request-response-information 1 -D CONNECT user-property role writer"
        " -D CONNECT user-property büro 3"
        " -D DISCONNECT session-expiry-interval 60 -D DISCONNECT user-property why finished", None,
    ),
    (
        "subscription-identifier", NEW,
        "a SUBSCRIBE with identifier and user property, and the message that carries the identifier",
        "-t s/# -q 1 -C 1 -D SUBSCRIBE subscription-identifier 42 -D SUBSCRIBE user-property purpose test",
        "-t s/1 -m one -q 1", None,
    ),
    (
        "subscription-identifier-four-bytes", NEW, "the greatest subscription identifier",
        "-t s/# -q 0 -C 1 -D SUBSCRIBE subscription-identifier 268435455", "-t s/1 -m one", None,
    ),
    (
        "unsubscribe-properties", NEW, "an UNSUBSCRIBE with a user property",
        "-t a/b -t a/c -U a/b -C 1 -D UNSUBSCRIBE user-property why enough", "-t a/c -m left", None,
    ),
    (
        "will-properties", NEW, "every property of a will that the program can set; the will is not sent",
        "-t a -C 1 --will-topic status/reader --will-payload gone --will-qos 2 --will-retain"
        " -D WILL will-delay-interval 5"
        " -D WILL payload-format-indicator 1 -D WILL message-expiry-interval 600 -D WILL content-type text/plain"
        " -D WILL response-topic status/ask -D WILL correlation-data abc -D WILL user-property unit 7",
        "-t a -m b --will-topic status/writer --will-payload gone --will-qos 1 -D WILL will-delay-interval 5"
        " -D WILL payload-format-indicator 0 -D WILL message-expiry-interval 600 -D WILL content-type text/plain"
        " -D WILL response-topic status/ask -D WILL correlation-data abc -D WILL user-property unit 8", None,
    ),
]


def add_pair(label, versions, sentence, sub, pub, standard_input):
    def pair(play, version):
        how = {"client_id": ""} if " -i " in sub else {}
        subscriber = play.subscriber(version, label, f"The subscribing side: {sentence}.", sub, **how)
        if " -U " in sub:
            subscriber.wait_for("UNSUBACK", sub.count(" -U "))
        play.publish(version, label, f"The publishing side: {sentence}.", pub, text=standard_input)
        subscriber.finish()

    pair.__name__ = label
    scenario(versions)(pair)


for row in PAIRS:
    add_pair(*row)


# --- retained messages and wills ---


@scenario(ALL)
def retained(play, version):
    for qos in "012":
        play.publish(
            version, f"qos{qos}-retain", f"Publishes a retained message at QoS {qos}.",
            f"-t room/{qos} -m 'light {qos}' -q {qos} -r", client_id=f"pub{qos}",
        )
    play.subscriber(
        version, "retained", "Receives three retained messages on subscribing.", "-t room/+ -q 2 -C 3"
    ).finish()
    play.publish(version, "retain-clear", "Clears a retained message with an empty one.", "-t room/1 -n -r -q 1")
    if version == "5.0":
        play.subscriber(
            version, "remove-retained", "Receives retained messages and clears each with an empty one.",
            "-t room/+ --remove-retained -W 1",
        ).finish()


@scenario(NEW)
def retain_as_published(play, version):
    sub = play.subscriber(
        version, "retain-as-published", "The option retain as published, and a live message with RETAIN 1.",
        "-t r/a -q 1 -C 1 --retain-as-published",
    )
    play.publish(
        version, "retain-seen-live", "Publishes a retained message while somebody is subscribed.",
        "-t r/a -m live -q 1 -r",
    )
    sub.finish()


@scenario(ALL)
def will(play, version):
    watcher = play.subscriber(
        version, "will-received", "Receives the will of a client whose connection was cut.", "-t status/+ -q 1 -C 1"
    )
    given = "--will-topic status/pump --will-payload offline --will-qos 1 --will-retain"
    if version == "5.0":
        given += " -D WILL content-type text/plain -D WILL user-property unit 7 -D WILL message-expiry-interval 600"
    pump = play.subscriber(
        version, "will-cut", "A client with a will whose connection is cut after it has subscribed.",
        f"-t pump/commands -q 1 {given}", client_id="pump",
    )
    pump.cut()
    pump.stop()
    watcher.finish()


@scenario(OLD_AND_NEW)
def will_after_half_a_packet(play, version):
    watcher = Paho(
        play, version, "will-after-cut-publish",
        "Receives the will of a client that was cut in the middle of a PUBLISH.", client_id="watcher",
    )
    watcher.subscribe("status/#", qos=2)
    play.start(
        "mosquitto_pub", version, "cut-in-publish",
        "The connection is cut after 1000 bytes of a PUBLISH; the client has a will.",
        "-t report -s -q 1 --will-topic status/sender --will-payload 'broken off' --will-qos 2", text=text(6000),
        cut=("client", "PUBLISH", 1000),
    ).stop_after_cut()
    watcher.talk.wait_for("PUBREL").wait_for("PUBCOMP", side="client")
    watcher.disconnect()


@scenario(OLD_AND_NEW)
def cut_while_receiving(play, version):
    sub = play.start(
        "mosquitto_sub", version, "cut-in-publish",
        "The connection is cut after 700 bytes of a PUBLISH from the server.", "-t report",
        cut=("server", "PUBLISH", 700),
    ).wait_for("SUBACK")
    play.publish(version, "2500-bytes", "Publishes 2500 bytes at QoS 2.", "-t report -s -q 2", text=text(2500))
    sub.stop_after_cut()


@scenario(NEW)
def will_on_request(play, version):
    watcher = play.subscriber(
        version, "will-on-request-received", "Receives the will of a client that asked for it with DISCONNECT 0x04.",
        "-t status/+ -q 2 -C 1",
    )
    pump = play.subscriber(
        version, "disconnect-with-will", "Ends by a signal: DISCONNECT with reason 0x04 and a user property.",
        "-t pump/commands --will-topic status/pump --will-payload 'switched off' --will-qos 2"
        " -D DISCONNECT user-property why signal",
        client_id="pump",
    )
    pump.stop(signal.SIGTERM)
    watcher.finish()


# --- sessions, retransmission, takeover, pings ---


@scenario(ALL)
def session(play, version):
    keep = "-t jobs/# -q 2 -c" + (" -x 600" if version == "5.0" else "")
    play.start(
        "mosquitto_sub", version, "session-begin", "Begins a session that stays, subscribes and leaves.", f"{keep} -E",
        client_id="worker",
    ).finish()
    for qos in "012":
        play.publish(
            version, f"for-session-qos{qos}", f"Publishes at QoS {qos} for a client that is away.",
            f"-t jobs/{qos} -m 'job {qos}' -q {qos}", client_id=f"pub{qos}",
        )
    play.subscriber(
        version, "session-resumed", "Resumes the session and receives what was queued.", f"{keep} -C 2",
        client_id="worker",
    ).finish()


# The packet that never arrives and its direction, the QoS, and the expected packets of the next connection.
LOST = [
    ("puback-lost", "PUBACK", 1, "the PUBLISH again, with DUP 1"),
    ("pubrec-lost", "PUBREC", 2, "the PUBLISH again, with DUP 1"),
    ("pubcomp-lost", "PUBCOMP", 2, "the PUBREL again"),
]


@scenario(ALL)
def replay_by_server(play, version):
    for label, packet, qos, seen in LOST:
        topic = f"jobs/{label}"
        keep = f"-t {topic} -q {qos} -c" + (" -x 600" if version == "5.0" else "")
        sub = play.subscriber(
            version, label, f"The connection is cut before the {packet} of the client arrives.", keep, client_id=label,
            cut=("client", packet, 0), reconnects=True,
        )
        play.publish(
            version, f"for-{label}", f"Publishes at QoS {qos} for a client that is about to be cut off.",
            f"-t {topic} -m job -q {qos}", client_id=f"for-{label}",
        )
        sub.finish()
        again = play.reconnected(sub, f"{label}-resumed", f"The session of the cut connection, resumed: {seen}.")
        again.wait_for("SUBACK").wait_for("PUBREL" if qos == 2 else "PUBLISH").wait_for(
            "PUBCOMP" if qos == 2 else "PUBACK", side="client"
        )
        again.stop(signal.SIGTERM)
        sub.reconnects = False


@scenario(ALL)
def replay_by_client(play, version):
    for label, packet, qos, seen in LOST:
        connect = properties("CONNECT", SessionExpiryInterval=600) if version == "5.0" else None
        first = Paho(
            play, version, f"publish-{label}", f"The connection is cut before the {packet} of the server arrives.",
            client_id=label, clean=False, connect=connect, cut=("server", packet, 0), reconnects=True,
        )
        if version == "5.0":  # the next connection resumes the session
            first.client._clean_start = False
        first.client.publish("jobs/done", f"done at QoS {qos}", qos)
        first.talk.finish()
        again = play.reconnected(
            first.talk, f"publish-{label}-resumed", f"The session of the cut connection, resumed: {seen}."
        )
        again.wait_for(packet if qos == 1 else "PUBCOMP")
        first.stop()
        again.finish()


@scenario(ALL)
def keep_alive(play, version):
    what = "Pings with a keep alive of five seconds, then receives a message."
    idle = play.subscriber(version, "ping", what, "-t quiet -k 5 -C 1")
    client = Paho(play, version, "ping", "Pings twice with a keep alive of one second.", keepalive=1)
    client.talk.wait_for("PINGRESP", 2)
    client.disconnect()
    idle.wait_for("PINGRESP")
    play.publish(version, "after-ping", "Publishes for a client that has been idle.", "-t quiet -m over")
    idle.finish()


@scenario(NEW)
def keep_alive_exceeded(play, version):
    silent = Paho(
        play, version, "keep-alive-exceeded", "Sends nothing after CONNECT until the server closes for the keep alive.",
        keepalive=1, loop=False,
    )
    silent.talk.ended["server"].wait(20)
    silent.client.loop_start()
    silent.finish()


@scenario(ALL)
def takeover(play, version):
    first = play.subscriber(
        version, "taken-over",
        "Another connection with the same client identifier takes over, and the server closes this one.", "-t a",
        client_id="twin",
    )
    second = play.subscriber(
        version, "takes-over", "Connects with the client identifier of a client that is connected.", "-t b -C 1",
        client_id="twin",
    )
    first.stop()
    third = Paho(
        play, version, "takes-over", "Connects with the client identifier of a client that is connected.",
        client_id="twin",
    )
    second.stop()
    third.disconnect()


@scenario(ALL)
def server_shutdown(play, version):
    sub = play.subscriber(version, "server-shutdown", "The server shuts down.", "-t a")
    client = Paho(play, version, "server-shutdown", "The server shuts down.")
    play.broker.stop()
    sub.stop()
    client.finish()


# --- requests, shared subscriptions ---


@scenario(OLD_AND_NEW)
def request_response(play, version):
    def answer(client, message):
        if version == "5.0":
            asked = message.properties
            made = (
                properties("PUBLISH", CorrelationData=asked.CorrelationData)
                if hasattr(asked, "CorrelationData")
                else None
            )
            client.publish(asked.ResponseTopic, b"42", 1, properties=made)
        else:
            client.publish("answers/1", b"42", 1)

    responder = Paho(play, version, "responder", "Answers a request.", client_id="responder", on_message=answer)
    responder.subscribe("questions/+", qos=1)
    more = "-D PUBLISH correlation-data question-1 -D PUBLISH user-property lang en" if version == "5.0" else ""
    play.start(
        "mosquitto_rr", version, "request", "Asks, and waits for the answer.",
        f"-t questions/life -e answers/1 -m '6 times 9?' -q 1 {more}",
    ).finish()
    responder.talk.wait_for("PUBACK")
    responder.disconnect()


@scenario(NEW)
def shared_subscription(play, version):
    members = [
        play.subscriber(
            version, f"shared-{name}", "One of two members of a shared subscription; gets every other message.",
            "-t $share/workers/tasks/# -q 1 -C 2", client_id=f"worker-{name}",
        )
        for name in ("first", "second")
    ]
    play.publish(
        version, "for-shared", "Publishes four messages for a shared subscription.", "-t tasks/print -l -q 1 -M 1",
        text="page 1\npage 2\npage 3\npage 4\n",
    )
    for member in members:
        member.finish()


# --- refusals ---

USERS = {"passwords": "anna:$7$101${}${}\n".format(*password("correct horse"))}


@scenario(ALL, "allow_anonymous false\npassword_file DIRECTORY/passwords", USERS)
def passwords(play, version):
    code = "0x87" if version == "5.0" else "5"
    play.publish(
        version, "right-password", "Connects with user name and password.", "-t a -m b -q 1 -u anna -P 'correct horse'"
    )
    play.start(
        "mosquitto_pub", version, "bad-password", f"Refused for a wrong password: CONNACK {code}.",
        "-t a -m b -u anna -P wrong",
    ).finish()
    play.start(
        "mosquitto_sub", version, "no-password", f"Refused without a password: CONNACK {code}.", "-t a -u anna"
    ).stop_when("CONNACK")
    Paho(
        play, version, "bad-password", f"Refused for a wrong password: CONNACK {code}.", login=("anna", "wrong")
    ).finish()
    Paho(
        play, version, "right-password", "Connects with user name and password, publishes at QoS 2.",
        login=("anna", "correct horse"),
    ).publish("a", "b", 2).disconnect()


@scenario(OLD_AND_NEW, "allow_zero_length_clientid false")
def no_client_identifier(play, version):
    code = "0x80" if version == "5.0" else "2"
    Paho(
        play, version, "identifier-refused", f"Refused for its empty client identifier: CONNACK {code}.", client_id=""
    ).finish()


@scenario(OLD_AND_NEW)
def empty_client_identifier(play, version):
    note = "; the server assigns one" if version == "5.0" else ""
    Paho(play, version, "empty-identifier", f"Connects with an empty client identifier{note}.", client_id="").publish(
        "a", "b", 1
    ).disconnect()


@scenario(NEW)
def authentication_method(play, version):
    play.start(
        "mosquitto_pub", version, "authentication-method",
        "Refused for an authentication method that the server does not know: CONNACK 0x8C.",
        "-t a -m b -D CONNECT authentication-method SCRAM-SHA-256 -D CONNECT authentication-data n,,n=user,r=fyko",
    ).finish()
    connect = properties("CONNECT", AuthenticationMethod="PLAIN", AuthenticationData=b"\x00anna\x00secret")
    Paho(
        play, version, "authentication-method",
        "Refused for an authentication method that the server does not know: CONNACK 0x8C.", connect=connect,
    ).finish()


LIMITS = """max_qos 1
retain_available false
max_topic_alias 3
max_packet_size 2000
max_keepalive 30
max_inflight_messages 5"""


@scenario(NEW, LIMITS)
def limits(play, version):
    def client(label, what, **how):
        return Paho(play, version, f"limits-{label}", what, client_id=label, **how)

    client(
        "told", "A CONNACK with most of the limits that a server can name; keep alive and QoS are lowered."
    ).subscribe("a", qos=2).disconnect()
    trespasser = client("packet-size", "Publishes more bytes than the server takes: DISCONNECT 0x95.")
    trespasser.client.publish("a", text(2100), 1)
    trespasser.finish()
    trespasser = client("topic-alias", "Uses a topic alias above the maximum: DISCONNECT 0x94.")
    trespasser.client.publish("a", "b", 1, properties=properties("PUBLISH", TopicAlias=4))
    trespasser.finish()
    trespasser = client("qos", "Publishes at a QoS that the server does not have: DISCONNECT 0x9B.")
    trespasser.client.publish("a", "b", 2)
    trespasser.finish()
    trespasser = client("retain", "Publishes a retained message to a server without them: DISCONNECT 0x9A.")
    trespasser.client.publish("a", "b", 1, retain=True)
    trespasser.finish()
    client(
        "will-qos", "Refused for the QoS of its will: CONNACK 0x9B.", will={"topic": "w", "payload": "x", "qos": 2}
    ).finish()
    client(
        "will-retain", "Refused for a retained will: CONNACK 0x9A.",
        will={"topic": "w", "payload": "x", "qos": 1, "retain": True},
    ).finish()


DYNAMIC_SECURITY = """allow_anonymous true
plugin {}
plugin_opt_config_file DIRECTORY/security.json"""


def access(kind, topic, allow):
    return {"acltype": kind, "topic": topic, "priority": 0, "allow": allow}


def security():
    """Allows everything except topics under secret/. The user guest can be locked out by command."""
    kinds = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    salt, made = password("guest")
    rules = [access("publishClientSend", "secret/#", False), access("subscribePattern", "secret/#", False)]
    rules += [access(kind, "$CONTROL/#", True) for kind in (*kinds[:2], "subscribePattern")]
    return {
        "defaultACLAccess": {kind: True for kind in kinds},
        "clients": [{"username": "guest", "roles": [], "password": made, "salt": salt, "iterations": 101}],
        "groups": [{"groupname": "everybody", "roles": [{"rolename": "public"}]}],
        "roles": [{"rolename": "public", "acls": rules}], "anonymousGroup": "everybody",
    }


PLUGIN = (glob.glob("/usr/lib/*/mosquitto_dynamic_security.so") + ["mosquitto_dynamic_security.so"])[0]
SECURITY = (DYNAMIC_SECURITY.format(PLUGIN), {"security.json": json.dumps(security())})


@scenario(ALL, *SECURITY)
def access_control(play, version):
    refused = "reason 0x87" if version == "5.0" else "acknowledged all the same, as the version has no way to say it"
    for qos in "12":
        play.publish(
            version, f"acl-publish-qos{qos}", f"A publish at QoS {qos} that the server refuses: {refused}.",
            f"-t secret/plan -m no -q {qos}",
        )
    refused = {"3.1": "acknowledged all the same", "3.1.1": "0x80", "5.0": "0x87"}[version]
    client = Paho(
        play, version, "acl",
        f"A SUBSCRIBE for three filters and a PUBLISH; one filter and the PUBLISH are refused: {refused}.",
    )
    client.subscribe(filters(version, ("open/a", 1), ("secret/b", 2), ("open/c", 2)))
    client.publish("secret/plan", "no", 1).disconnect()
    play.start(
        "mosquitto_sub", version, "acl-subscribe", f"A SUBSCRIBE that the server refuses: {refused}.",
        "-t secret/# -q 1",
    ).stop_when("SUBACK")


@scenario(NEW, *SECURITY)
def administrator(play, version):
    guest = Paho(
        play, version, "administrative-action", "Shut out by an administrator: DISCONNECT 0x98.",
        login=("guest", "guest"),
    )
    command = {"commands": [{"command": "disableClient", "username": "guest", "correlationData": "1"}]}
    chief = Paho(
        play, version, "administrator", "Sends a command to the server's security plugin and receives the answer.",
        client_id="chief",
    )
    chief.subscribe("$CONTROL/dynamic-security/v1/response", qos=1)
    chief.publish("$CONTROL/dynamic-security/v1", json.dumps(command), 1)
    chief.talk.wait_for("PUBLISH")
    chief.disconnect()
    guest.finish()


@scenario(OLD_AND_NEW)
def broken_rules(play, version):
    level, tail = ("05", "00") if version == "5.0" else ("04", "")
    size = "0f" if tail else "0e"
    connect = f"10 {size} 0004 4d515454 {level} 02 003c {tail} 0002 6f6b"
    broken = [("second-connect", connect, None), ("publish-qos3", "36 05 0001 61 0001", ["client"])]
    if version == "5.0":
        broken += [
            ("publish-with-subscription-identifier", "30 06 0001 61 02 0b01", ["client"]),
            ("topic-alias-0", "30 07 0001 61 03 230000", ["client"]),
        ]
    for label, packet, refuse in broken:
        what = f"A client breaks the rules ({label.replace('-', ' ')}), and the server closes."
        play.handmade(version, label, what, connect, packet, refuse=refuse)
    if version == "3.1.1":
        play.handmade(
            version, "protocol-version-6", "Refused for a protocol version that does not exist: CONNACK 1.",
            "10 0e 0004 4d515454 06 02 003c 0002 6f6b", refuse=["client"],
        )


# --- paho-mqtt ---


# Messages to the client itself: topic, payload, QoS, RETAIN, and the acknowledgement that the client sends.
TOUR = [
    ("a/0", "nothing is sure", 0, False, None),
    ("a/1", b"\x00\x01\xfe\xff", 1, False, "PUBACK"),
    ("a/2/x", None, 2, False, "PUBCOMP"),
    ("b/中/é", "naïve 🐙", 2, False, "PUBACK"),
    ("a/1", "kept", 1, True, "PUBACK"),
    ("a/1", "", 1, True, "PUBACK"),
    ("nobody/listens", "?", 1, False, None),
    ("nobody/listens", "?", 2, False, None),
]


@scenario(ALL)
def paho_tour(play, version):
    client = Paho(
        play, version, "tour",
        "Subscribes to four filters, publishes at each QoS to itself and to nobody, unsubscribes, leaves.",
        client_id="tour",
    )
    client.subscribe("a/0", 0).subscribe(filters(version, ("a/1", 1), ("a/2/#", 2), ("+/中/é", 1)))
    for topic, payload, qos, retain, own in TOUR:
        before = client.talk.count(own, "client")
        client.publish(topic, payload, qos, retain)
        if own:
            client.talk.wait_for(own, before + 1, "client")
    client.unsubscribe(["a/1", "a/2/#"]).unsubscribe("never/seen").disconnect()


@scenario(ALL)
def paho_will(play, version):
    watcher = Paho(
        play, version, "will-received", "Receives a will and a message that was retained by one.", client_id="watcher"
    ).subscribe("status/#", 2)
    given = {"topic": "status/насос", "payload": "не работает", "qos": 2, "retain": True}
    if version == "5.0":
        given["properties"] = properties(
            "WILLMESSAGE", WillDelayInterval=0, PayloadFormatIndicator=1, MessageExpiryInterval=3600,
            ContentType="text/plain; charset=utf-8", ResponseTopic="status/ask", CorrelationData=b"\x00\xff\x10",
            UserProperty=[("unit", "7"), ("unit", "8")],
        )
    cut = Paho(
        play, version, "will-cut", "A client with a retained will at QoS 2 whose connection is cut.", client_id="pump",
        will=given,
    )
    cut.talk.cut()
    cut.finish()
    watcher.talk.wait_for("PUBREL").wait_for("PUBCOMP", side="client")
    watcher.disconnect()


@scenario(ALL)
def paho_session(play, version):
    connect = properties("CONNECT", SessionExpiryInterval=0xFFFFFFFF) if version == "5.0" else None
    how = {"client_id": "keeper", "clean": False, "connect": connect}
    Paho(play, version, "session-begin", "Begins a session that stays.", **how).subscribe("mail/#", 2).disconnect()
    Paho(play, version, "for-session", "Publishes for a client that is away.", client_id="sender").publish(
        "mail/1", "letter", 1
    ).publish("mail/2", "parcel", 2).publish("mail/3", "card", 0).disconnect()
    again = Paho(
        play, version, "session-resumed", "Resumes the session (session present) and receives what was queued.", **how
    )
    again.talk.wait_for("PUBREL").wait_for("PUBCOMP", side="client").wait_for("PUBACK", side="client")
    again.disconnect()


@scenario(OLD_AND_NEW)
def paho_lengths(play, version):
    """Messages at the remaining lengths whose encoding takes one byte more."""
    extra = 3 + (1 if version == "5.0" else 0)
    client = Paho(
        play, version, "remaining-lengths", "Publishes at the remaining lengths 127, 128, 16383 and 16384.",
        client_id="long",
    )
    for length in (127, 128, 16383, 16384):
        client.publish("t", text(length - extra), 0)
    client.disconnect()


@scenario(NEW)
def paho_properties(play, version):
    reader = Paho(
        play, version, "properties-received",
        "All properties of a CONNECT; two subscriptions with identifiers for one message.", client_id="reader",
        connect=properties(
            "CONNECT", SessionExpiryInterval=60, ReceiveMaximum=1, MaximumPacketSize=5000, TopicAliasMaximum=20,
            RequestResponseInformation=1, RequestProblemInformation=1,
            UserProperty=[("role", "reader"), ("role", "second"), ("", "")],
        ),
    )
    reader.subscribe(
        "p/#", options=options(1, retainAsPublished=True, retainHandling=2),
        properties=properties("SUBSCRIBE", SubscriptionIdentifier=127, UserProperty=("why", "all")),
    )
    reader.subscribe(
        "p/+", options=options(2, retainHandling=1), properties=properties("SUBSCRIBE", SubscriptionIdentifier=128)
    )
    reader.subscribe("own/#", options=options(1, noLocal=True))
    reader.publish("own/a", "not sent back", 1)
    writer = Paho(
        play, version, "properties",
        "All properties of a PUBLISH; a DISCONNECT with reason, properties and reason string.", client_id="writer",
        connect=properties("CONNECT", SessionExpiryInterval=300),
    )
    everything = {
        "PayloadFormatIndicator": 1, "MessageExpiryInterval": 86400, "ContentType": "text/plain",
        "ResponseTopic": "p/answers", "CorrelationData": bytes(range(16)),
        "UserProperty": [("a", "1"), ("a", "2"), ("ключ", "значение")], "TopicAlias": 1,
    }
    writer.publish("p/x", "with everything", 1, True, properties("PUBLISH", **everything))
    writer.publish("", "by alias", 2, False, properties("PUBLISH", TopicAlias=1))
    writer.publish(
        "p/long", "many properties", 0, False,
        properties("PUBLISH", UserProperty=[(f"key {n}", "value " * 4) for n in range(8)]),
    )
    writer.disconnect(
        0x04,
        properties("DISCONNECT", SessionExpiryInterval=10, ReasonString="end of shift", UserProperty=[("by", "hand")]),
    )
    reader.talk.wait_for("PUBLISH", 6).wait_for("PUBCOMP", 1, side="client").wait_for("PUBACK", 3, side="client")
    reader.unsubscribe("p/+", properties=properties("UNSUBSCRIBE", UserProperty=[("why", "enough")]))
    reader.unsubscribe(["p/+", "p/#"]).disconnect()


# --- a server as the client of another server ---


@scenario(OLD_AND_NEW)
def bridge(play, version):
    talk = play.open(
        "mosquitto bridge", version, "two-ways",
        "Another mosquitto connects as a bridge, with a will about its own state, and passes messages both ways.",
    )
    config = f"""connection far
address 127.0.0.1:{talk.port}
bridge_protocol_version {"mqttv50" if version == "5.0" else "mqttv311"}
try_private false
remote_clientid bridge
local_clientid bridge-inside
topic up/# out 1
topic down/# in 2 here/ there/
cleansession true"""
    other = Broker(config)
    try:
        talk.wait_for("SUBACK", 1)
        play.publish(version, "to-bridge", "Publishes at QoS 2 for a bridge.", "-t there/down/x -m 'from above' -q 2")
        talk.wait_for("PUBCOMP", side="client")
        inside = Play(play.versions, broker=other)
        inside.publish(
            version, "behind-bridge", "Publishes at QoS 1 to the server behind the bridge.",
            "-t up/x -m 'from below' -q 1",
        )
        play.conversations += inside.conversations
        talk.wait_for("PUBLISH", 2, side="client").wait_for("PUBACK", 1)
    finally:
        other.close()
