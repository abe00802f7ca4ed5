"""The paho-mqtt client as a player of scenarios, and short names for its types."""

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from recorder import HOST

PROGRAM = "paho-mqtt"
VERSION = paho.mqtt.__version__
PROTOCOL = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}


def properties(packet, **values):
    """properties("PUBLISH", ContentType="text/plain", UserProperty=[("a", "b")])"""
    made = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(made, name, value)
    return made


def options(qos=0, **values):
    return SubscribeOptions(qos=qos, **values)


def reason(code):
    return ReasonCode(PacketTypes.DISCONNECT, identifier=code)


class Paho:
    """A connected paho client. Its methods wait for the answer to appear in the recording."""

    def __init__(
        self,
        play,
        version,
        label,
        what,
        client_id="paho",
        clean=True,
        keepalive=60,
        connect=None,
        will=None,
        login=None,
        on_message=None,
        loop=True,
        wait=True,
        **how,
    ):
        self.version = version
        self.talk = play.open(PROGRAM, version, label, what, **how)
        session = {} if version == "5.0" else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=PROTOCOL[version],
            reconnect_on_failure=how.get("reconnects", False),
            **session,
        )
        self.client.reconnect_delay_set(1, 1)
        if will:
            self.client.will_set(**will)
        if login:
            self.client.username_pw_set(*login)
        if on_message:
            self.client.on_message = lambda client, _, message: on_message(client, message)
        session = {"clean_start": clean, "properties": connect} if version == "5.0" else {}
        self.client.connect(HOST, self.talk.port, keepalive, **session)
        if loop:
            self.client.loop_start()
            if wait:
                self.talk.wait_for("CONNACK")

    def subscribe(self, *what, **how):
        before = self.talk.count("SUBACK")
        self.client.subscribe(*what, **how)
        self.talk.wait_for("SUBACK", before + 1)
        return self

    def unsubscribe(self, *what, **how):
        before = self.talk.count("UNSUBACK")
        self.client.unsubscribe(*what, **how)
        self.talk.wait_for("UNSUBACK", before + 1)
        return self

    def publish(self, topic, payload=None, qos=0, retain=False, properties=None):
        ack = (None, "PUBACK", "PUBCOMP")[qos]
        before = self.talk.count(ack)
        self.client.publish(topic, payload, qos, retain, properties).wait_for_publish(5)
        if ack:
            self.talk.wait_for(ack, before + 1)
        return self

    def disconnect(self, code=None, properties=None):
        if self.version == "5.0":
            self.client.disconnect(reason(code) if code else None, properties)
        else:
            self.client.disconnect()
        return self.finish()

    def finish(self):
        self.talk.finish()
        self.client.loop_stop()
        return self

    def stop(self):
        """Stops a client that would otherwise connect again."""
        self.client.disconnect()
        self.client.loop_stop()
