"""The recorder: a broker, a port for each conversation, and the clients that connect through it."""

import getpass
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HOST = "127.0.0.1"
PATIENCE = 20.0
SIDES = ("client", "server")
TYPES = (
    "RESERVED CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP "
    "SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH"
).split()
PROTOCOL_OPTION = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5.0": "mqttv5"}


def frames(data):
    """Yields the frames of a stream: (name of the type, start, end). The end of an incomplete frame is None."""
    found, start = [], 0
    while start < len(data):
        length, at = 0, start + 1
        while at < len(data) and at < start + 5:
            length += (data[at] & 0x7F) << (7 * (at - start - 1))
            at += 1
            if data[at - 1] < 0x80:
                break
        complete = at > start + 1 and data[at - 1] < 0x80 and at + length <= len(data)
        found.append((TYPES[data[start] >> 4], start, at + length if complete else None))
        if not complete:
            break
        start = at + length
    return found


def describe(data):
    """Returns the entry of index.json for one direction."""
    found = frames(data)
    entry = {"bytes": len(data), "packets": [kind for kind, _, end in found if end is not None]}
    if found and found[-1][2] is None:
        entry["cut"] = True
    return entry


def program_version(program):
    """Returns the version of a mosquitto program, from its help text."""
    option = "-h" if program == "mosquitto" else "--help"
    shown = subprocess.run([program, option], capture_output=True, text=True).stdout
    return re.search(r"version (\S+)", shown).group(1).rstrip(".")


class Conversation:
    """One connection through a port of its own; keeps what each side was sent.

    `cut` is (side, type, n): from the first packet of that type and side, n bytes are passed on, and both connections
    are closed. With `reconnects` the port stays open for `reconnected`.
    """

    def __init__(self, name, facts, broker_port, cut=None, reconnects=False, listener=None):
        self.name, self.facts, self.cut_at = name, facts, cut
        self.data = {side: bytearray() for side in SIDES}
        self.broker_port, self.reconnects = broker_port, reconnects
        self.listener = listener or socket.create_server((HOST, 0))
        self.listener.settimeout(PATIENCE)
        self.port = self.listener.getsockname()[1]
        self.process = None
        self.sockets = []
        self.ended = {side: threading.Event() for side in SIDES}
        self.done = threading.Event()
        threading.Thread(target=self._relay, daemon=True).start()

    def _relay(self):
        client, _ = self.listener.accept()
        if not self.reconnects:
            self.listener.close()
        server = socket.create_connection((HOST, self.broker_port))
        self.sockets = [client, server]
        pumps = [
            threading.Thread(target=self._pump, args=("client", client, server), daemon=True),
            threading.Thread(target=self._pump, args=("server", server, client), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        for end in self.sockets:
            end.close()
        self.done.set()

    def _pump(self, side, source, sink):
        try:
            while data := source.recv(65536):
                limit = self._limit(side, self.data[side] + data)
                if limit is not None:
                    data = data[: limit - len(self.data[side])]
                sink.sendall(data)
                self.data[side] += data
                if limit == len(self.data[side]):
                    self.cut()
                    return
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # the peer has closed
            self.cut()
        finally:
            self.ended[side].set()

    def _limit(self, side, stream):
        if self.cut_at is None or self.cut_at[0] != side:
            return None
        starts = [start for kind, start, _ in frames(stream) if kind == self.cut_at[1]]
        return starts[0] + self.cut_at[2] if starts else None

    def cut(self):
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_for(self, kind, count=1, side="server"):
        """Waits until `side` has sent this many packets of a type."""
        deadline = time.monotonic() + PATIENCE
        while describe(self.data[side])["packets"].count(kind) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: waited in vain for {kind} from the {side}")
            time.sleep(0.01)
        return self

    def count(self, kind, side="server"):
        return describe(self.data[side])["packets"].count(kind)

    def finish(self):
        """Waits for the end of the connection, and of the program if there is one."""
        if not self.done.wait(PATIENCE):
            raise SystemExit(f"{self.name}: waited in vain for the end of the connection")
        if self.process is not None and not self.reconnects:
            self.process.wait(PATIENCE)
        return self

    def stop(self, how=signal.SIGKILL):
        """Ends the program, by its process id, and waits for the end of the connection."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(PATIENCE)
        self.reconnects = False
        return self.finish()

    def stop_after_cut(self):
        """Waits for the cut, then ends the program, which would connect again."""
        self.done.wait(PATIENCE)
        return self.stop()

    def stop_when(self, kind):
        """Ends the program once the server has sent a packet of this type, in case it does not exit."""
        self.wait_for(kind)
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            pass
        return self.stop()


class Broker:
    """A mosquitto on a free port, with its files in a temporary directory."""

    def __init__(self, config="", files=None):
        self.directory = tempfile.mkdtemp(prefix="captures-")
        for name, text in (files or {}).items():
            with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
                file.write(text)
        with socket.create_server((HOST, 0)) as probe:
            self.port = probe.getsockname()[1]
        lines = [f"user {getpass.getuser()}", "per_listener_settings false", f"listener {self.port} {HOST}"]
        if "allow_anonymous" not in config:
            lines.append("allow_anonymous true")
        lines.append(config.replace("DIRECTORY", self.directory))
        path = os.path.join(self.directory, "mosquitto.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        self.log = open(os.path.join(self.directory, "log"), "w")
        self.process = subprocess.Popen(["mosquitto", "-c", path], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((HOST, self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(self.log.name) as log:
                        raise SystemExit(f"mosquitto does not start: {log.read()}")
                time.sleep(0.01)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)

    def close(self):
        self.stop()
        self.log.close()
        shutil.rmtree(self.directory)


class Play:
    """One scenario while it is played: its broker, and its conversations so far."""

    def __init__(self, versions, config="", files=None, broker=None):
        self.versions = versions
        self.broker = broker or Broker(config, files)
        self.conversations = []

    def open(self, program, version, label, what, cut=None, reconnects=False, listener=None, refuse=None):
        facts = {
            "program": program,
            "program_version": self.versions[program],
            "broker": {"name": "mosquitto", "version": self.versions["mosquitto"]},
            "version": version,
            "what": what,
        }
        if refuse:
            facts["refuse"] = refuse
        name = f"{program}-{version}-{label}".replace(" ", "_")
        talk = Conversation(name, facts, self.broker.port, cut, reconnects, listener)
        self.conversations.append(talk)
        return talk

    def reconnected(self, talk, label, what, reconnects=False):
        """Returns the next connection of the same client to the same port."""
        facts = talk.facts
        again = self.open(
            facts["program"], facts["version"], label, what, reconnects=reconnects, listener=talk.listener
        )
        again.process = talk.process
        return again

    def start(self, program, version, label, what, options, client_id=None, text=None, **how):
        """Starts a program of mosquitto, with a fixed client identifier unless it is ''."""
        talk = self.open(program, version, label, what, **how)
        command = [program, "-h", HOST, "-p", str(talk.port), "-V", PROTOCOL_OPTION[version]]
        client_id = program.replace("mosquitto_", "") if client_id is None else client_id
        if client_id:
            command += ["-i", client_id]
        talk.process = subprocess.Popen(
            command + shlex.split(options), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if text is not None:
            talk.process.stdin.write(text.encode())
        talk.process.stdin.close()
        return talk

    def publish(self, version, label, what, options, **how):
        """Runs mosquitto_pub from beginning to end."""
        return self.start("mosquitto_pub", version, label, what, options, **how).finish()

    def subscriber(self, version, label, what, options, acks=1, **how):
        """Starts mosquitto_sub and waits until its subscriptions are acknowledged."""
        return self.start("mosquitto_sub", version, label, what, options, **how).wait_for("SUBACK", acks)

    def handmade(self, version, label, what, *packets, refuse=None):
        """Sends bytes that no client writes, to record the answer."""
        talk = self.open("handmade", version, label, what, refuse=refuse)
        with socket.create_connection((HOST, talk.port)) as client:
            client.settimeout(PATIENCE)
            for packet in packets:
                client.sendall(bytes.fromhex(packet))
            try:
                while client.recv(4096):
                    pass
            except OSError:
                pass
        return talk.finish()

    def close(self):
        for talk in self.conversations:
            talk.reconnects = False
            if talk.process is not None and talk.process.poll() is None:
                talk.process.kill()
                talk.process.wait()
            talk.listener.close()
        self.broker.close()
