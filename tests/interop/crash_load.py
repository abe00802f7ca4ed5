"""Clients that go on while their broker is killed, and record what they see."""

import random
import re
import socket
import subprocess
import threading
import time

from harness import HOST, PATIENCE, Failure, Program
from paho_client import CallbackAPIVersion, SubscribeOptions, paho, properties

HOUR = 3600
IN_FLIGHT = 20


class Client:
    """What all clients have in common."""

    failure = None

    def __init__(self, world, name):
        self.world, self.name = world, name
        world.clients.append(self)

    def close(self):
        pass


# Readers.


class PahoClient(Client):
    """A client of paho-mqtt that connects again by itself."""

    def __init__(self, world, name, expiry=HOUR, will=None, is_noted=True):
        super().__init__(world, name)
        self.changed = threading.Condition()
        self.messages, self.granted, self.connections, self.ends = [], 0, 0, 0
        self.is_noted, self.expiry = is_noted, expiry
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5, reconnect_on_failure=True
        )
        self.paho.max_inflight_messages_set(IN_FLIGHT)
        self.paho.reconnect_delay_set(0.02, 0.1)
        if will:
            topic, payload, delay = will
            self.paho.will_set(topic, payload, 2, properties=properties("WILLMESSAGE", WillDelayInterval=delay))
        self.paho.on_connect = self._connected
        self.paho.on_disconnect = self._disconnected
        self.paho.on_message = self._message
        self.paho.on_subscribe = self._subscribed

    def connect(self):
        said = properties("CONNECT", SessionExpiryInterval=self.expiry)
        give_up_at = time.monotonic() + PATIENCE
        while True:  # the broker may be down
            try:
                self.paho.connect(HOST, self.world.port, 60, clean_start=False, properties=said)
                break
            except OSError:
                if time.monotonic() > give_up_at:
                    raise Failure(f"{self.name} cannot connect") from None
                time.sleep(0.02)
        self.paho.loop_start()
        self.wait(lambda: self.connections, "CONNACK")

    def _change(self):
        with self.changed:
            self.changed.notify_all()

    def _connected(self, _client, _data, flags, reason, _properties):
        if reason.value == 0:
            if self.is_noted:
                self.world.note("connected", client=self.name, present=flags.session_present)
            self.connections += 1
            self.on_session(flags.session_present)
        self._change()

    def on_session(self, is_present):
        """Is called for each connection."""

    def _disconnected(self, *_):
        self.ends += 1
        self._change()

    def _message(self, _client, _data, message):
        if self.is_noted:
            self.world.note("received", client=self.name, id=message.payload.decode(), qos=message.qos)
        self.messages.append(message)
        self._change()

    def _subscribed(self, *_):
        self.granted += 1
        self._change()

    def wait(self, condition, what):
        with self.changed:
            if not self.changed.wait_for(condition, PATIENCE):
                raise Failure(f"{self.name}: waited {PATIENCE:.0f} s in vain for {what}")

    def wait_a_while(self, condition):
        """Waits for something that may not happen."""
        with self.changed:
            self.changed.wait_for(condition, 30)

    def close(self):
        self.paho.on_disconnect = None
        self.paho.disconnect()
        self.paho.loop_stop()


class PahoReader(PahoClient):
    """A subscriber of QoS 2."""

    def __init__(self, world, name, topics, lasting=True, is_noted=True):
        super().__init__(world, name, HOUR if lasting else 0, is_noted=is_noted)
        self.topics = topics
        self.filters = [f"{topics}#"] if lasting else [f"{topics}#", "end/late"]
        self.connect()
        self.wait(lambda: self.granted, "SUBACK")

    def on_session(self, is_present):
        if not is_present:
            self.paho.subscribe([(filter, SubscribeOptions(2)) for filter in self.filters])

    def _subscribed(self, *told):
        if self.is_noted:
            self.world.note("subscribed", client=self.name, topics=self.topics, qos=2, group=None)
        super()._subscribed(*told)

    def wait_until_subscribed(self):
        pass  # it is

    def seen(self, topic):
        return [message.payload.decode() for message in list(self.messages) if message.topic == topic]


class LineReader(Client):
    """A program that prints a line for each message. It may be killed and run again."""

    group, qos = None, 2

    def __init__(self, world, name, topics, arguments):
        super().__init__(world, name)
        self.topics, self.arguments, self.runs = topics, arguments, []
        self.start()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def start(self):
        self.program = Program(self.name, self.arguments)
        self.world.programs.append(self.program)
        self.runs.append(self.program)

    def kill(self):
        self.world.note("client killed", client=self.name)
        self.program.process.kill()
        self.program.end()
        self.start()

    def lines(self, stream):
        """Yields the lines that all runs of the program print, with the number of the run."""
        run = place = 0
        while not self.world.is_over:
            program = self.runs[run]
            collected = getattr(program, stream)
            with program.changed:
                program.changed.wait_for(lambda: len(collected) > place or self.world.is_over, 0.5)
                is_at_end, lines = program.at_end == 2, collected[place:]
            for line in lines:
                yield run, line
            place += len(lines)
            if is_at_end and run + 1 < len(self.runs):
                run, place = run + 1, 0
            elif is_at_end and program is self.program and not self.world.is_over:
                time.sleep(0.5)  # it may be killed, and not run again yet
                if program is self.program:
                    self.failure = f"it has ended\n{program.tail()}"
                    return

    def _follow(self):
        for run, line in self.lines("out"):
            fields = line.split("\t")
            self.world.note("received", client=self.name, id=fields[3], qos=int(fields[1]), run=run)

    def subscribed(self):
        self.world.note("subscribed", client=self.name, topics=self.topics, qos=self.qos, group=self.group)
        self.thread.start()


class Ours(LineReader):
    """The example client as a subscriber of QoS 2, with a session in a directory."""

    def __init__(self, world, name, topics):
        filter = f"$share/{self.group}/{topics}#" if self.group else f"{topics}#"
        session = lasting(world, name) + stored(world, name)
        arguments = [world.client_program, "subscribe", *session, "--filter", filter, "--qos", 2]
        super().__init__(world, name, topics, arguments)
        threading.Thread(target=self._follow_session, daemon=True).start()

    def _follow_session(self):
        """Records whether its session was there, which it logs."""
        for _, line in self.lines("err"):
            if match := re.search("connected: (.*) session", line):
                self.world.note("connected", client=self.name, present=match[1] == "resumed")

    def wait_until_subscribed(self):
        self.program.wait_for_error_line("subscribed:")
        self.subscribed()


class Member(Ours):
    """A member of a group that shares a subscription."""

    def __init__(self, world, name, topics, group):
        self.group = group
        super().__init__(world, name, topics)


class Mosquitto(LineReader):
    """mosquitto_sub as a subscriber. It does not print what it is granted, so a first one subscribes and leaves.

    It has QoS 1: when a message of QoS 2 comes again on the next connection, versions such as 2.0.11 store it twice,
    and deliver the second one in place of the next message with the same packet identifier.
    """

    qos = 1

    def __init__(self, world, name, topics):
        arguments = [world.mosquitto[0], "-h", HOST, "-p", world.port, "-i", name, "-c"]
        arguments += ["-q", self.qos, "-t", f"{topics}#"]
        first = subprocess.run([*map(str, arguments), "-E"], capture_output=True, timeout=PATIENCE, check=False)
        if first.returncode != 0:
            raise Failure(f"{name} cannot subscribe: {first.stderr.decode(errors='replace')}")
        super().__init__(world, name, topics, [*arguments, "-F", "%t\t%q\t%r\t%p"])

    def wait_until_subscribed(self):
        self.subscribed()


def lasting(world, name):
    session = ["--no-clean-start", "--session-expiry", HOUR, "--client-id", name, "--version", "5.0"]
    return ["--host", HOST, "--port", world.port, *session, "--reconnect", "--backoff", "0..0", "--request-tries", 0]


def stored(world, name):
    return ["--data", f"{world.folder.name}/{name}"]


# Publishers.


class Publisher(Client):
    """Publishes messages from a thread, with some in flight."""

    qos = 2

    def __init__(self, world, name, topic, pause=None):
        super().__init__(world, name)
        self.pause = world.pause if pause is None else pause
        self.topic, self.count, self.is_finished = topic, 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.start = self.thread.start

    def _run(self):
        try:
            while not self.is_finished:
                self.publish_next()
                time.sleep(self.pause)
        except Failure as failure:
            self.failure = failure

    def next_id(self):
        self.count += 1
        return f"{self.name}-{self.count:06}"

    def sent(self, id, topic, retain=False):
        self.world.note("sent", id=id, topic=topic, qos=self.qos, retain=retain)

    def finish(self):
        """Publishes no more, and waits for the acknowledgements."""
        self.is_finished = True
        self.thread.join()


class OursPublisher(Publisher):
    """The example client, which publishes lines, and has its session in a directory. It may be killed and run again."""

    def __init__(self, world, name, topic):
        super().__init__(world, name, topic)
        self.lock, self.by_token = threading.Lock(), {}
        self.run()

    def run(self):
        arguments = ["publish", *lasting(self.world, self.name), *stored(self.world, self.name), "--qos", 2]
        arguments += ["--topic", self.topic, "--lines", "--max-in-flight", IN_FLIGHT]
        self.program = Program(self.name, [self.world.client_program, *arguments], with_input=True)
        self.world.programs.append(self.program)
        # The lines of this run, the token of the first one, and the number of outcomes that were read.
        self.ids, self.first, self.place = [], None, 0
        self.program.wait_for_error_line("connected:")
        earlier = (re.search("message ([0-9]+) .*of a run before", line) for line in self.program.err)
        self.earlier = {int(match[1]) for match in earlier if match}

    def kill(self):
        with self.lock:
            self.world.note("client killed", client=self.name)
            self.program.process.kill()
            self.program.end()
            self.follow()
            self.run()

    def publish_next(self):
        with self.lock:
            self.follow()
            # The token of the first line is known by its outcome.
            open = len(self.ids) + len(self.earlier) - self.place
            if open < 2 * IN_FLIGHT if self.first else not self.ids:
                id = self.next_id()
                self.sent(id, self.topic)
                self.ids.append(id)
                if self.first:
                    self.by_token[self.first + len(self.ids) - 1] = id
                self.program.write(id)

    def follow(self):
        with self.program.changed:
            lines = self.program.out[self.place :]
        for line in lines:
            token, outcome = line.split("\t")[:2]
            token = int(token)
            if not self.first and token not in self.earlier:
                self.first = token
                self.by_token[token] = self.ids[0]
            event = {} if outcome == "acknowledged" else {"outcome": outcome}
            # The line of a token is not known if the program was killed before the first outcome.
            if token in self.by_token:
                self.world.note("refused" if event else "acknowledged", id=self.by_token[token], **event)
        self.place += len(lines)

    def finish(self):
        super().finish()
        count = len(self.ids) + len(self.earlier)
        self.program.wait_until(lambda: len(self.program.out) >= count, "all outcomes")
        self.follow()


class PahoPublisher(Publisher):
    """A client of paho-mqtt. It has QoS 1: with QoS 2 it may publish a message again when it loses two connections in a
    row [MQTT-4.3.3-6]. Retained messages have some topics in turn, and are removed now and then. One message of a topic
    waits for its acknowledgement at a time: after a loss of its connection the client may send a new message before one
    that it sends again."""

    qos = 1

    def __init__(self, world, name, topic, retain=False, pause=None):
        super().__init__(world, name, topic, pause)
        self.retain, self.open = retain, {}
        self.client = PahoClient(world, name)
        self.client.paho.on_publish = self._published
        self.client.connect()

    def _published(self, _client, _data, mid, *_):
        with self.client.changed:
            self.client.changed.wait_for(lambda: mid in self.open, PATIENCE)
            self.world.note("acknowledged", id=self.open.pop(mid)[0])
            self.client.changed.notify_all()

    def publish_next(self):
        changed = self.client.changed
        topic = f"{self.topic}{(self.count + 1) % 7}" if self.retain else self.topic

        def may_publish():
            waits = self.retain and any(topic == other for _, other in self.open.values())
            return len(self.open) < IN_FLIGHT and not waits

        with changed:
            if not changed.wait_for(lambda: may_publish() or self.is_finished, PATIENCE):
                raise Failure(f"{self.name}: no acknowledgement for {PATIENCE:.0f} s")
            if not may_publish():
                return
        id = self.next_id()
        if self.retain and self.count % 11 == 0:
            id += "-none"
        self.sent(id, topic, self.retain)
        payload = "" if id.endswith("-none") else id
        mid = self.client.paho.publish(topic, payload, self.qos, self.retain).mid
        with changed:
            self.open[mid] = id, topic
            changed.notify_all()

    def finish(self):
        super().finish()
        self.client.wait(lambda: not self.open, f"{len(self.open)} acknowledgements")


class Shots(Publisher):
    """mosquitto_pub, once for each message. When it has succeeded, the message is acknowledged. Some are killed."""

    def __init__(self, world, name, topic):
        super().__init__(world, name, topic, 0.1)

    def publish_next(self):
        id = self.next_id()
        self.sent(id, self.topic)
        program = [self.world.mosquitto[1], "-h", HOST, "-p", str(self.world.port), "-i", id, "-q", "2"]
        program += ["-t", self.topic, "-m", id]
        done = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + (random.uniform(0, 0.02) if self.count % 8 == 0 else 3)
        while done.poll() is None and time.monotonic() < end and not self.is_finished:
            time.sleep(0.005)
        if done.poll() is None:
            done.kill()
        if done.wait() == 0:
            self.world.note("acknowledged", id=id)


# Clients that come and go.


class WillClient(PahoClient):
    """A client whose connection ends without DISCONNECT, and that does not come back."""

    def __init__(self, world, name, delay):
        self.delay, self.will_id = delay, f"the will of {name}"
        super().__init__(world, name, will=(f"wills/{name}", self.will_id, delay))
        self.paho.on_disconnect = None
        self.connect()

    def _stop(self):
        """Stops its thread first, so that it does not connect again."""
        connection = self.paho.socket()
        self.paho.loop_stop_now = True
        self.paho._thread_terminate = True  # what loop_stop sets before it waits
        if connection:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended

    def cut(self):
        at = time.monotonic()
        self._stop()
        self.note_cut(at)

    def note_cut(self, at):
        self._stop()
        self.world.note("cut", at=at, client=self.name, id=self.will_id, delay=self.delay)

    def close(self):
        pass


class Guest(Client):
    """A client that leaves a session with an expiry, and comes back some time later."""

    def __init__(self, world, name, expiry, away):
        super().__init__(world, name)
        self.expiry, self.away = expiry, away
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self._visit()
            time.sleep(self.away)
            self._visit()
        except Failure as failure:
            self.failure = failure

    def _visit(self):
        client = PahoClient(self.world, self.name, self.expiry)
        self.world.note("came", client=self.name)
        client.connect()
        # When a kill ends the connection first, it connects again: the session is not older than this.
        client.paho.disconnect()
        client.wait(lambda: client.ends, "the end of the connection")
        self.world.note("left", client=self.name, expiry=self.expiry)
        client.paho.loop_stop()

    def join(self):
        self.thread.join()
