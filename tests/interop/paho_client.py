"""Clients of paho-mqtt, and their events."""

import socket
import threading

from harness import HOST, PATIENCE, Failure, Proxy

try:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError:
    raise SystemExit("paho-mqtt 2 is needed: please install it (python3 -m pip install 'paho-mqtt>=2').") from None

PAHO = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}


def equal(got, expected, what):
    if got != expected:
        parts = expected, got
        if isinstance(got, list) and isinstance(expected, list) and len(got) + len(expected) > 100:
            pairs = enumerate(zip(got, expected))
            place = next((number for number, (one, other) in pairs if one != other), min(len(got), len(expected)))
            what += f": {len(got)} instead of {len(expected)}, different from number {place} on"
            parts = [part[max(0, place - 3) : place + 10] for part in parts]
        raise Failure(f"{what}: expected {parts[0]!r}, got {parts[1]!r}")


def properties(packet_type, **values):
    made = Properties(getattr(PacketTypes, packet_type))
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """A client of paho-mqtt, and its events."""

    def __init__(self, stage, name, lasting=False, user=None, **options):
        self.name, self.port, self.is_new = name, stage.port, stage.version == "5.0"
        self.lasting, self.expiry = lasting, options.pop("expiry", 600 if lasting else None)
        self.keep_alive = options.pop("keep_alive", 60)
        self.says = options.pop("says", {})  # additional properties for CONNECT
        clean = {} if self.is_new else {"clean_session": not lasting}
        options.setdefault("reconnect_on_failure", False)
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=PAHO[stage.version], **clean, **options
        )
        if user:
            self.paho.username_pw_set(*user)
        self.changed = threading.Condition()
        self.connected, self.disconnected, self.messages = [], [], []
        self.granted, self.removed, self.published = [], [], []
        self.paho.on_connect = lambda _, __, *said: self._note(self.connected, said)
        self.paho.on_disconnect = lambda _, __, ___, reason, *____: self._note(self.disconnected, reason.value)
        self.paho.on_message = lambda _, __, message: self._note(self.messages, message)
        self.paho.on_subscribe = lambda _, __, ___, codes, *____: self._note(self.granted, [c.value for c in codes])
        self.paho.on_unsubscribe = lambda _, __, ___, codes, *____: self._note(self.removed, codes)
        self.paho.on_publish = lambda _, __, mid, reason, *____: self._note(self.published, (mid, reason.value))
        stage.clients.append(self)

    def _note(self, where, what):
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait(self, condition, what, patience=PATIENCE):
        with self.changed:
            if not self.changed.wait_for(condition, patience):
                raise Failure(f"{self.name}: waited {patience:.0f} s in vain for {what}\n{self.tail()}")

    def tail(self):
        messages = [(message.topic, message.qos, message.payload[:40]) for message in self.messages[-10:]]
        return (
            f"    {len(self.connected)} connections, ended with {self.disconnected}\n"
            f"    granted {self.granted}, {len(self.published)} messages published\n"
            f"    the last of {len(self.messages)} messages: {messages}"
        )

    def open(self, clean=None, port=None):
        """Sends CONNECT. The caller must run the loop of paho."""
        options = {}
        if self.is_new:
            options["clean_start"] = not self.lasting if clean is None else clean
            expiry = {} if self.expiry is None else {"SessionExpiryInterval": self.expiry}
            if expiry or self.says:
                options["properties"] = properties("CONNECT", **expiry, **self.says)
        self.paho.connect(HOST, port or self.port, self.keep_alive, **options)

    def begin(self, clean=None, port=None):
        """Starts to connect, without waiting."""
        self.open(clean, port)
        self.paho.loop_start()
        return self

    def go_on(self):
        """Runs the loop of a client that has no thread, and connects again after a cut. Returns whether there is a connection.

        Only then may messages be published: paho sends a message that is published just before CONNACK ahead of its
        retransmissions. For the same reason it has no thread.
        """
        if self.paho.loop(0.001) != 0:
            self.paho.reconnect()
        return self.paho.is_connected()

    def connect(self, clean=None, port=None, refused=None):
        """Connects, and returns whether a session is present, and the properties."""
        count = len(self.connected)
        self.begin(clean, port)
        self.wait(lambda: len(self.connected) > count, "CONNACK")
        flags, reason, said = self.connected[-1]
        equal(reason.value, refused or 0, f"{self.name}: answer to CONNECT")
        return flags.session_present, said

    def subscribe(self, topic, qos=0, options=None, identifier=None):
        count = len(self.granted)
        said = {"properties": properties("SUBSCRIBE", SubscriptionIdentifier=identifier)} if identifier else {}
        if options:
            self.paho.subscribe(topic, options=options, **said)
        else:
            self.paho.subscribe(topic, qos, **said)
        self.wait(lambda: len(self.granted) > count, "SUBACK")
        return self.granted[-1]

    def unsubscribe(self, topics):
        count = len(self.removed)
        self.paho.unsubscribe(topics)
        self.wait(lambda: len(self.removed) > count, "UNSUBACK")
        return [code.value for code in self.removed[-1]]

    def publish(self, topic, payload, qos=0, **options):
        return self.paho.publish(topic, payload, qos, **options)

    def deliver(self, topic, payload, qos=1, **options):
        """Publishes, waits for the acknowledgement, and returns the reason code."""
        mid = self.publish(topic, payload, qos, **options).mid
        self.wait(lambda: any(mid == number for number, _ in self.published), f"the acknowledgement of {payload!r:.40}")
        return next(reason for number, reason in self.published if number == mid)

    def get(self, count):
        """Returns the first messages."""
        self.wait(lambda: len(self.messages) >= count, f"{count} messages")
        return self.messages[:count]

    def payloads(self, topic):
        with self.changed:
            return [message.payload.decode() for message in self.messages if message.topic == topic]

    def cut(self):
        """Ends the connection without DISCONNECT."""
        count = len(self.disconnected)
        connection = self.paho.socket()
        getattr(connection, "_socket", connection).shutdown(socket.SHUT_RDWR)  # the socket below a WebSocket
        self.wait(lambda: len(self.disconnected) > count, "the end of the connection")
        self.paho.loop_stop()

    def disconnect(self, **options):
        count = len(self.disconnected)
        self.paho.disconnect(**options)
        self.wait(lambda: len(self.disconnected) > count, "the end of the connection")
        self.paho.loop_stop()

    def ended(self):
        """Waits for the end of the connection by the server, and returns the reason."""
        self.wait(lambda: self.disconnected, "the end of the connection")
        self.paho.loop_stop()
        return self.disconnected[-1]

    def close(self):
        self.paho.on_disconnect = None
        try:
            self.paho.disconnect()
        except ValueError:
            pass  # it was never connected
        self.paho.loop_stop()


class GentleProxy(Proxy):
    """Cuts connections only after CONNACK has arrived, and loses no byte that was passed on.

    paho-mqtt needs both: when it loses two connections in a row without a CONNACK in between, versions such as 2.2.0
    forget that they have sent PUBREL, and send the PUBLISH again [MQTT-4.3.3-6].
    """

    def _budget(self):
        budget = super()._budget()
        return budget and budget._replace(bytes=100 + budget.bytes, abruptly=False)
