"""The environment of the broker checks: the example or a mosquitto in its place, and clients of several kinds."""

import collections
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from harness import HOST, PATIENCE, Failure, Mosquitto, Program, build_broker, find_program, free_port
from mqttjs_client import Browser, Node, Script, find_mqttjs
from paho_client import Client, GentleProxy, equal

ALL = ("3.1", "3.1.1", "5.0")
OLD_AND_NEW = ("3.1.1", "5.0")
OLD = ("3.1.1",)
NEW = ("5.0",)
MOSQUITTO = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5.0": "mqttv5"}
PROTOCOL = {"3.1": b"\0\6MQIsdp\3", "3.1.1": b"\0\4MQTT\4", "5.0": b"\0\4MQTT\5"}
PLENTY = 100_000  # the messages that may be queued, so that none is dropped
CHECKS = []

Check = collections.namedtuple("Check", "text function versions transports mosquitto options")


def check(text, versions, transports=("tcp",), mosquitto=None, **options):
    """Registers a check, which is run once for each version and transport.

    `mosquitto` is the reason why a mosquitto in place of the example is not checked. The other options configure the
    broker: the options of its command line (True for one without a value); the passwords of its `users`, which are
    `hashed` by mosquitto_passwd or in plain text; and its `acl`, a list of lines for each user, for "anonymous" and for
    all clients (None).
    """

    def register(function):
        CHECKS.append(Check(text, function, versions, transports, mosquitto, options))
        return function

    return register


class Certificates:
    """The certificates of a test authority, and of a server that it has signed."""

    def __init__(self, openssl, folder):
        self.authority, self.certificate, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        authority_key, request, extensions = (folder / name for name in ("ca.key", "request.pem", "extensions"))
        extensions.write_text(f"subjectAltName=IP:{HOST}\nbasicConstraints=CA:FALSE\n")
        for command in (
            ["req", "-x509", *new_key, "-keyout", authority_key, "-out", self.authority, "-subj", "/CN=Interop CA"],
            ["req", *new_key, "-keyout", self.key, "-out", request, "-subj", "/CN=broker"],
            ["x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", authority_key, "-CAcreateserial"]
            + ["-days", "2", "-extfile", extensions, "-out", self.certificate],
        ):
            done = subprocess.run([openssl, *command], capture_output=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"openssl makes no certificate:\n{done.stderr.decode(errors='replace')}")
        self.key.chmod(0o644)  # a mosquitto started by root changes to another user


class Example:
    """The example broker on ports of its own."""

    def __init__(self, program, certificates, users=None, acl=None, hashed=False, **options):
        self.folder = tempfile.TemporaryDirectory()
        arguments = ["--listen", f"{HOST}:0", "--tls", f"{HOST}:0", "--ws", f"{HOST}:0"]
        arguments += ["--cert", certificates.certificate, "--key", certificates.key]
        if users:
            path = self._file("users", [f"{name}:{password}" for name, password in users.items()])
            if hashed:
                subprocess.run([find_program("mosquitto_passwd", "mosquitto"), "-U", path], check=True)
            arguments += ["--users", path]
        if acl:
            arguments += ["--acl", self._file("acl", self._acl(acl))]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
        self.server = Program("broker", [program, *arguments])
        try:
            lines = self.server.wait_for_lines(3)
        except Failure as failure:
            raise SystemExit(f"{failure}\n{self.server.tail()}") from None
        listeners = dict(line.removeprefix("listening on ").split("://") for line in lines)
        self.port, self.tls_port, self.ws_port = (int(listeners[kind].split(":")[1]) for kind in ("tcp", "tls", "ws"))

    def _file(self, name, lines):
        path = pathlib.Path(self.folder.name) / name
        path.write_text("\n".join([*lines, ""]))
        return path

    def _acl(self, acl):
        for name, lines in sorted(acl.items(), key=lambda section: section[0] is not None):
            if name is not None:
                yield "anonymous" if name == "anonymous" else f"user {name}"
            yield from lines

    def stop(self):
        self.server.stop()
        self.folder.cleanup()


class InItsPlace(Mosquitto):
    """A mosquitto configured like the example."""

    def __init__(self, program, certificates, users=None, acl=None, hashed=True, allow_anonymous=None, **options):
        self.certificates, self.users, self.acl, self.options = certificates, users, acl, options
        super().__init__(program)

    def _ports(self):
        return [self.port, self.tls_port, self.ws_port]

    def _file(self, name, lines):
        path = pathlib.Path(self.folder.name) / name
        path.write_text("\n".join([*lines, ""]))
        path.chmod(0o644)
        return path

    def _acl(self):
        """Rules for all clients are patterns in this format, and the first section is for anonymous clients."""
        yield from (f"topic {line}" for line in self.acl.get("anonymous", ()))
        yield from (f"pattern {line}" for line in self.acl.get(None, ()))
        for name, lines in self.acl.items():
            if name not in (None, "anonymous"):
                yield f"user {name}"
                yield from (f"topic {line}" for line in lines)

    def _config(self):
        self.tls_port, self.ws_port = free_port(), free_port()
        options = {"max_queued": 0, "max_inflight": 0, "sys_interval": 0} | self.options
        of_listeners = []
        if "max_qos" in options:
            of_listeners.append(f"max_qos {options.pop('max_qos')}")
        if "topic_alias_maximum" in options:
            of_listeners.append(f"max_topic_alias {options.pop('topic_alias_maximum')}")
        certificates = [f"certfile {self.certificates.certificate}", f"keyfile {self.certificates.key}"]
        lines = []
        for port, more in (self.port, []), (self.tls_port, certificates), (self.ws_port, ["protocol websockets"]):
            lines += [f"listener {port} {HOST}", *of_listeners, *more]
        if options["max_queued"] >= PLENTY:
            options["max_queued"] = 0
        # mosquitto has one number for both directions.
        in_flight = options.pop("max_inflight")
        lines.append(f"max_inflight_messages {options.pop('receive_maximum', in_flight)}")
        names = {"max_queued": "max_queued_messages", "max_keep_alive": "max_keepalive"}
        lines += [f"{names.get(name, name)} {value}" for name, value in options.items()]
        if self.users:
            users = self._file("users", [f"{name}:{password}" for name, password in self.users.items()])
            subprocess.run([find_program("mosquitto_passwd", "mosquitto"), "-U", users], check=True)
            users.chmod(0o644)
            lines.append(f"password_file {users}")
        if self.acl:
            lines.append(f"acl_file {self._file('acl', self._acl())}")
        lines += ["allow_anonymous " + ("true" if self.users is None or self.acl else "false"), "persistence false"]
        return "\n".join([*lines, "set_tcp_nodelay true", "log_dest stderr", "log_type all", ""])


class Raw:
    """A connection that can send any bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection((HOST, port), PATIENCE)
        self.ahead = b""

    def read_ahead(self, count):
        """Reads at most `count` bytes, which `packet` takes first, and returns their number: 0 at the end of the
        connection."""
        piece = self.socket.recv(count)
        self.ahead += piece
        return len(piece)

    def send(self, *packets):
        """Sends packets, each given by its first byte and the bytes after its length."""
        for first, body in packets:
            size, length = len(body), b""
            while size > 127:
                length, size = length + bytes([size % 128 + 128]), size // 128
            self.socket.sendall(bytes([first]) + length + bytes([size]) + body)

    def connect(self, version, name, clean=True, keep_alive=60, properties=b""):
        """Sends CONNECT, and returns the bytes after the length of CONNACK."""
        new = bytes([len(properties)]) + properties if version == "5.0" else b""
        flags = bytes([2 if clean else 0]) + struct.pack(">H", keep_alive)
        self.send((0x10, PROTOCOL[version] + flags + new + text(name)))
        first, body = self.packet()
        equal(first, 0x20, "type of the answer to CONNECT")
        return body

    def _exactly(self, count):
        data, self.ahead = self.ahead[:count], self.ahead[count:]
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise Failure(f"the connection has ended where {count - len(data)} bytes were expected")
            data += piece
        return data

    def packet(self):
        """Returns the next packet: its first byte and the bytes after its length."""
        first, shift, size = self._exactly(1)[0], 0, 0
        while True:
            byte = self._exactly(1)[0]
            size, shift = size | (byte & 127) << shift, shift + 7
            if byte < 128:
                return first, self._exactly(size)

    def rest(self):
        """Returns everything up to the end of the connection."""
        data, self.ahead = self.ahead, b""
        try:
            while piece := self.socket.recv(4096):
                data += piece
        except ConnectionResetError:
            pass  # a reset ends the connection too
        except TimeoutError:
            raise Failure("the connection does not end") from None
        return data

    def close(self):
        self.socket.close()


def text(words):
    encoded = words.encode()
    return struct.pack(">H", len(encoded)) + encoded


def disconnect_bytes(code):
    """Returns a DISCONNECT of 5.0, with and without a property length."""
    return bytes([0xE0, 1, code]), bytes([0xE0, 2, code, 0])


class Tools:
    """The programs that the checks need, started once for all of them."""

    def __init__(self, against):
        names = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")
        self.mosquitto_clients = {name: find_program(name, "mosquitto-clients") for name in names}
        self.stdbuf = find_program("stdbuf", "coreutils")
        openssl = find_program("openssl", "openssl")
        node, chromium = find_program("node", "nodejs"), find_program("chromium", "chromium")
        find_mqttjs()
        self.is_mosquitto, self.is_durable = against == "mosquitto", against == "durable"
        if self.is_mosquitto:
            self.broker = find_program("mosquitto", "mosquitto")
        else:
            self.broker = build_broker()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="interop-"))
        os.chmod(self.folder, 0o755)
        self.certificates = Certificates(openssl, self.folder)
        self._hosts = {}
        self._makers = {"tcp": lambda: Node(node), "browser": lambda: Browser(chromium)}

    def host(self, transport):
        """Returns the program that runs the clients of mqtt.js."""
        kind = "browser" if transport == "browser" else "tcp"
        if kind not in self._hosts:
            self._hosts[kind] = self._makers[kind]()
        return self._hosts[kind]

    def start_broker(self, options):
        if self.is_durable:
            options = options | {"data": tempfile.mkdtemp(dir=self.folder)}
        return (InItsPlace if self.is_mosquitto else Example)(self.broker, self.certificates, **options)

    def close(self):
        for host in self._hosts.values():
            host.close()
        shutil.rmtree(self.folder)


class Stage:
    """A broker for one check, clients of one version over one transport, and their cleanup."""

    def __init__(self, tools, version, transport, seed, options):
        self.tools, self.version, self.transport, self.seed = tools, version, transport, seed
        self.is_new = version == "5.0"
        self.programs, self.clients, self.scripts, self.proxies, self.sockets = [], [], [], [], []
        self.spared = []
        self.broker = tools.start_broker(options)
        self.ports = {"tcp": self.broker.port, "tls": self.broker.tls_port}
        self.ports |= {"ws": self.broker.ws_port, "browser": self.broker.ws_port}
        self.port = self.broker.port

    def spares_mosquitto(self, why):
        """Returns whether the broker is mosquitto, which does not take part in the rest of the check."""
        if self.tools.is_mosquitto and why not in self.spared:
            self.spared.append(why)
        return self.tools.is_mosquitto

    def wait(self, condition, what):
        """Polls until the condition holds."""
        give_up_at = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > give_up_at:
                raise Failure(f"waited {PATIENCE:.0f} s in vain for {what}")
            time.sleep(0.005)

    def run(self, program, name, *arguments, with_input=False):
        """Starts a client of mosquitto."""
        command = [self.tools.stdbuf, "-oL", self.tools.mosquitto_clients[program], "-V", MOSQUITTO[self.version]]
        command += ["-h", HOST, "-p", self.ports[self.transport], "-i", name]
        if self.transport == "tls":
            command += ["--cafile", self.tools.certificates.authority]
        started = Program(name, [*command, *arguments], with_input)
        self.programs.append(started)
        return started

    def send(self, topic, *arguments, name="sender", expected=0):
        """Publishes with mosquitto_pub and waits for its exit."""
        sender = self.run("mosquitto_pub", name, "-t", topic, *arguments)
        equal(sender.end(), expected, f"{name}: exit code")
        return sender

    def reader(self, name, *arguments, form="%t %q %r %p"):
        """Starts mosquitto_sub and waits until its subscriptions are granted. See `heard`."""
        reader = self.run("mosquitto_sub", name, "-d", "-F", f"> {form}", *arguments)
        reader.wait_until(lambda: any(line.startswith("Subscribed") for line in reader.out), "SUBACK")
        return reader

    def lasting(self, seconds=600):
        """The arguments with which a session of mosquitto_sub outlives its connection."""
        return ["-c", *(["-x", seconds] if self.is_new else [])]

    def client(self, name, transport="tcp", **options):
        """Returns a client of paho-mqtt."""
        if transport == "ws":
            options["transport"] = "websockets"
        client = Client(self, name, **options)
        client.port = self.ports[transport]
        if transport == "tls":
            client.paho.tls_set(self.tools.certificates.authority)
        return client

    def script(self, name, **options):
        """Returns a client of mqtt.js over this transport."""
        self.scripts.append(Script(self.tools.host(self.transport), self, name, options))
        return self.scripts[-1]

    def raw(self, transport="tcp"):
        self.sockets.append(Raw(self.ports[transport]))
        return self.sockets[-1]

    def proxy(self, cuts, seed, kind=GentleProxy, transport="tcp"):
        self.proxies.append(kind(self.ports[transport], cuts, f"{self.seed} {self.version} {seed}"))
        return self.proxies[-1]

    def end(self):
        """Stops the broker with a signal, as every check does at its end."""
        if self.tools.is_mosquitto:  # mosquitto may miss a signal just after its start
            self.broker.server.stop()
        else:
            self.broker.server.process.terminate()
            equal(self.broker.server.end(), 0, "exit code of the broker")

    def close_clients(self):
        for ended in *self.clients, *self.scripts, *self.sockets:
            ended.close()

    def close(self):
        self.close_clients()
        for program in self.programs:
            program.stop()
        for proxy in self.proxies:
            proxy.close()
        self.broker.stop()

    def logs(self):
        """Returns the last lines of the programs' output, and the paths of all of it."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="interop-logs-"))
        programs = [self.broker.server, *self.programs]
        for number, program in enumerate(programs):
            program.save(folder, number)
        clients = [f"--- {client.name}\n{client.tail()}" for client in (*self.clients, *self.scripts)]
        tails = [program.tail() for program in programs if program.out or program.err]
        return "\n".join([*tails, *clients, f"all logs: {folder}"])


def heard(reader, count=None):
    """Returns the messages that a `reader` has printed, or the first `count` of them."""

    def messages():
        return [line[2:] for line in reader.out if line.startswith("> ")]

    if count is not None:
        reader.wait_until(lambda: len(messages()) >= count, f"{count} messages")
    return messages()[:count]
