"""Clients of mqtt.js, in Node and in a browser, controlled from here: see mqttjs/remote.mjs."""

import functools
import http.server
import itertools
import json
import pathlib
import tempfile
import threading
import types

from harness import HOST, PATIENCE, REPOSITORY, Failure, Program

FOLDER = pathlib.Path(__file__).resolve().parent / "mqttjs"
MODULES = FOLDER / "node_modules" / "mqtt"
FILES = {
    "/": ("text/html; charset=utf-8", FOLDER / "page.html"),
    "/remote.mjs": ("text/javascript; charset=utf-8", FOLDER / "remote.mjs"),
    "/mqtt.esm.js": ("text/javascript; charset=utf-8", MODULES / "dist" / "mqtt.esm.js"),
}
IDLE = 5  # seconds after which the answer is that there are no commands
HEADLESS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-background-timer-throttling"
).split()
PROTOCOL = {
    "3.1": {"protocolId": "MQIsdp", "protocolVersion": 3},
    "3.1.1": {"protocolVersion": 4},
    "5.0": {"protocolVersion": 5},
}


class Event(types.SimpleNamespace):
    """An event. Members that it does not have are None."""

    def __getattr__(self, _):
        return None


def to_json(value):
    """Encodes bytes in the form of a JavaScript Buffer in JSON."""
    return json.dumps(value, default=lambda data: {"type": "Buffer", "data": list(data)})


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the page, returns commands, and takes events."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, host, *arguments):
        self.host = host
        super().__init__(*arguments)

    def log_message(self, *_):
        pass

    def _answer(self, code, kind="text/plain", body=b""):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/commands":
            self._answer(200, "application/json", to_json(self.host.take_commands()).encode())
        elif self.path in FILES:
            kind, file = FILES[self.path]
            self._answer(200, kind, file.read_bytes())
        else:
            self._answer(404)

    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.host.note(events)
        self._answer(200)


def find_mqttjs():
    if not MODULES.exists():
        raise SystemExit(f"mqtt.js is needed: please install it (npm ci --prefix {FOLDER.relative_to(REPOSITORY)}).")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Ignores a lost connection: the program was stopped."""


class Host:
    """A program that runs clients of mqtt.js."""

    def __init__(self, name, arguments):
        self.changed = threading.Condition()
        self.commands, self.scripts, self.errors = [], {}, []
        self.is_ready, self.is_closed = False, False
        self.numbers = itertools.count()
        self.server = Server((HOST, 0), functools.partial(Handler, self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.program = Program(name, [*arguments, f"http://{HOST}:{self.server.server_port}/"])
        try:
            self.wait(lambda: self.is_ready, f"{name} to be ready")
        except Failure as failure:
            raise SystemExit(f"{failure}\n{self.program.tail()}") from None

    def wait(self, condition, what, patience=PATIENCE):
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.errors, patience)
            if not condition():
                raise Failure(f"waited in vain for {what}" + "".join(f"\n{error}" for error in self.errors))

    def command(self, what, client, **more):
        with self.changed:
            self.commands.append({"what": what, "client": client, **more})
            self.changed.notify_all()

    def take_commands(self):
        """Called from the threads of the server."""
        with self.changed:
            self.changed.wait_for(lambda: self.commands or self.is_closed, IDLE)
            taken, self.commands = self.commands, []
            return taken

    def note(self, events):
        """Called from the threads of the server."""
        with self.changed:
            for event in events:
                client, kind = event.pop("client"), event.pop("event")
                if client in self.scripts:
                    self.scripts[client].note(kind, Event(**event))
                elif client is None and kind == "ready":
                    self.is_ready = True
                elif client is None:
                    self.errors.append(event["text"])
            self.changed.notify_all()

    def close(self):
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()
        self.program.stop()
        self.server.shutdown()
        self.server.server_close()


class Node(Host):
    def __init__(self, node):
        super().__init__("node", [node, FOLDER / "remote.mjs"])


class Browser(Host):
    def __init__(self, chromium):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # some process may still write to it
        super().__init__("chromium", [chromium, *HEADLESS, f"--user-data-dir={self.folder.name}"])

    def close(self):
        super().close()
        self.folder.cleanup()


class Script:
    """A client of mqtt.js, and its events."""

    def __init__(self, host, stage, name, options):
        self.host, self.name = host, name
        self.key = next(host.numbers)
        scheme = "mqtt" if stage.transport == "tcp" else "ws"
        port = options.pop("port", stage.ports[stage.transport])
        self.url = f"{scheme}://{HOST}:{port}/mqtt"
        self.options = {"clientId": name, "reconnectPeriod": 0, **PROTOCOL[stage.version], **options}
        self.events = {kind: [] for kind in ("connected", "message", "told to go", "closed", "error", "ended")}
        self.events |= {kind: [] for kind in ("granted", "removed", "published")}
        self.messages, self.published = self.events["message"], self.events["published"]
        self.sent = 0
        host.scripts[self.key] = self

    def note(self, kind, event):
        self.events[kind].append(event)

    def wait(self, condition, what):
        try:
            self.host.wait(condition, what)
        except Failure as failure:
            raise Failure(f"{self.name}: {failure}\n{self.tail()}") from None

    def _next(self, kind, count):
        self.wait(lambda: len(self.events[kind]) > count, kind)
        return self.events[kind][-1]

    def _do(self, what, kind, **more):
        count = len(self.events[kind])
        self.host.command(what, self.key, **more)
        return self._next(kind, count)

    def tail(self):
        counts = ", ".join(f"{kind}: {len(events)}" for kind, events in self.events.items())
        errors = "".join(f"\n    {error.text}" for error in self.events["error"][-5:])
        messages = [(message.topic, message.qos, message.payload[:40]) for message in self.messages[-10:]]
        return f"    {counts}\n    the last messages: {messages}{errors}"

    def begin(self):
        """Starts to connect, without waiting."""
        self.host.command("open", self.key, url=self.url, options=self.options)
        return self

    def connect(self):
        """Connects, and returns the fields of CONNACK."""
        return self._do("open", "connected", url=self.url, options=self.options)

    def subscribe(self, topics, qos=0, **options):
        return self._do("subscribe", "granted", topics=topics, options={"qos": qos, **options}).codes

    def unsubscribe(self, topics):
        return self._do("unsubscribe", "removed", topics=topics).codes

    def publish(self, topic, payload, qos=0, **options):
        """Publishes without waiting, and returns the number of the operation."""
        number, self.sent = self.sent, self.sent + 1
        more = {"topic": topic, "payload": payload, "options": {"qos": qos, **options}}
        self.host.command("publish", self.key, number=number, **more)
        return number

    def deliver(self, topic, payload, qos=1, **options):
        """Publishes, waits for the acknowledgement, and returns the reason code."""
        number = self.publish(topic, payload, qos, **options)
        self.wait(lambda: any(said.number == number for said in self.published), f"acknowledgement of {payload!r:.40}")
        return next(said.code or 0 for said in self.published if said.number == number)

    def get(self, count):
        """Returns the first messages."""
        self.wait(lambda: len(self.messages) >= count, f"{count} messages")
        return self.messages[:count]

    def payloads(self, topic):
        with self.host.changed:
            return [message.payload for message in self.messages if message.topic == topic]

    def cut(self):
        """Ends the connection without DISCONNECT."""
        self._do("cut", "closed")

    def disconnect(self):
        self._do("end", "ended")

    def close(self):
        self.host.command("forget", self.key)
        self.host.scripts.pop(self.key, None)
