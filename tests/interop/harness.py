"""Programs whose output can be waited for, a server, and a proxy that cuts connections."""

import argparse
import json
import os
import pathlib
import random
import selectors
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import typing

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
PATIENCE = 120.0  # seconds after which what hangs is given up; a busy machine takes far less
MAX_IN_FLIGHT = 20


class Failure(Exception):
    """A check has failed."""


class Program:
    """A running program. Its output lines are collected and can be waited for."""

    def __init__(self, name, arguments, with_input=False):
        self.name = name
        self.out, self.err = [], []
        self.at_end = 0
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        pipes = (self.process.stdout, self.out), (self.process.stderr, self.err)
        self.readers = [threading.Thread(target=self._collect, args=pipe, daemon=True) for pipe in pipes]
        for reader in self.readers:
            reader.start()

    def _collect(self, pipe, lines):
        for line in pipe:
            with self.changed:
                lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        pipe.close()
        with self.changed:
            self.at_end += 1
            self.changed.notify_all()

    def write(self, line):
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failure(f"{self.name} takes no input any more: {error}") from None

    def close_input(self):
        self.process.stdin.close()

    def wait_until(self, condition, what, patience=PATIENCE):
        """Waits until the condition holds. Fails once both outputs of the program have ended without it."""
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.at_end == 2, patience)
            if not condition():
                why = "it has ended" if self.at_end == 2 else f"waited {patience:.0f} s in vain"
                raise Failure(f"{self.name}: no sign of {what}: {why}")

    def wait_for_error_line(self, text):
        self.wait_until(lambda: any(text in line for line in self.err), f"{text!r} on stderr")

    def wait_for_lines(self, count):
        self.wait_until(lambda: len(self.out) >= count, f"{count} lines on stdout")
        return self.out[:count]

    def end(self, patience=PATIENCE):
        """Waits for the exit of the program, and returns its exit code."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} has not ended within {patience:.0f} s") from None
        for reader in self.readers:
            reader.join()
        return code

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin:
            try:
                self.process.stdin.close()
            except OSError:
                pass  # the output has no reader any more
        for reader in self.readers:
            reader.join()

    def tail(self, lines=15):
        parts = [f"--- {self.name}, exit code {self.process.poll()}"]
        for title, collected in ("stdout", self.out), ("stderr", self.err):
            if collected:
                parts += [f"  {title}, the last of {len(collected)} lines:"]
                parts += [f"    {line[:200]}" for line in collected[-lines:]]
        return "\n".join(parts)

    def save(self, folder, number):
        """Writes all of its output into files."""
        for stream, collected in ("out", self.out), ("err", self.err):
            (folder / f"{number}-{self.name}.{stream}").write_text("\n".join([*collected, ""]))


class Part(typing.NamedTuple):
    """A part of the checks: one of `count`, beginning with the check of this number."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text):
        number, count = (int(it) for it in text.split("/"))
        if not 1 <= number <= count:
            raise ValueError(text)
        return cls(number, count)

    def of(self, runs):
        return runs[self.number - 1 :: self.count]


def parser(text):
    """Returns a parser of the arguments that all programs of checks have; `text` describes the program."""
    options = argparse.ArgumentParser(description=text.split("\n\n")[0])
    options.add_argument("seed", nargs="?", type=int, default=random.randrange(1 << 32))
    options.add_argument("check", nargs="?", default="")
    options.add_argument("--part", type=Part.parse, default=Part())
    return options


def build_example(name):
    """Builds an example, and returns its path."""
    return build(name, "--example", name)


def build_broker():
    """Builds the example broker, and returns its path."""
    return build("broker", "--package", "mqtt-sansio-broker", "--bin", "broker")


def build(name, *target):
    if "EXAMPLES_ARE_BUILT" in os.environ:  # by `cargo test`, as in .ci/run
        profile = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug"
        return profile / "examples" / name if target[0] == "--example" else profile / name
    command = ["cargo", "build", "--locked", *target, "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=False)
    if built.returncode != 0:
        raise SystemExit(f"the example {name} does not build")
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    raise SystemExit(f"cargo has not said where the example {name} is")


def build_client():
    return build_example("std_client")


def find_program(name, package):
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit(f"{name} is needed: please install the package {package} (apt-get install {package}).")
    return program


def find_mosquitto():
    return find_program("mosquitto", "mosquitto")


class Mosquitto:
    """A mosquitto without any state, on a port of its own."""

    def __init__(self, program, anonymous=True, max_in_flight=MAX_IN_FLIGHT):
        self.program, self.anonymous, self.max_in_flight = program, anonymous, max_in_flight
        self.folder = tempfile.TemporaryDirectory()
        for _ in range(5):  # another program may take a port that was free
            self.port = free_port()
            if self._start():
                return
        raise Failure("mosquitto does not start\n" + self.server.tail())

    def _config(self):
        return (
            f"listener {self.port} {HOST}\n"
            f"allow_anonymous {str(self.anonymous).lower()}\n"
            "persistence false\n"
            "max_queued_messages 0\n"
            f"max_inflight_messages {self.max_in_flight}\n"
            "set_tcp_nodelay true\n"
            "sys_interval 0\n"
            "log_dest stderr\n"
            "log_type all\n"
        )

    def _ports(self):
        return [self.port]

    def _start(self):
        config = pathlib.Path(self.folder.name) / "mosquitto.conf"
        config.write_text(self._config())
        os.chmod(self.folder.name, 0o755)  # started by root, mosquitto changes to another user
        self.server = Program("mosquitto", [self.program, "-c", config])
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.server.process.poll() is None:
            try:
                for port in self._ports():
                    socket.create_connection((HOST, port), 1).close()
                return self.server.process.poll() is None
            except OSError:
                time.sleep(0.01)
        self.server.stop()
        return False

    def restart(self):
        """Stops mosquitto, which discards its state, and starts it again."""
        self.server.stop()
        for _ in range(50):  # the port may stay in use for a moment
            if self._start():
                return
            time.sleep(0.1)
        raise Failure("mosquitto does not start again")

    def stop(self):
        self.server.stop()
        self.folder.cleanup()


def free_port():
    """Returns a port that nothing uses, below those that the system gives to connections: none of them takes the port while
    the server is about to start or to start again, and no client is connected to itself meanwhile."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


class Budget(typing.NamedTuple):
    """The point at which a connection is cut: after this many bytes in one direction."""

    to_server: bool
    bytes: int
    abruptly: bool


class Proxy:
    """Passes connections on to a port, and cuts them.

    Each of the first `cuts` connections is cut after a number of bytes in one of the directions, chosen from `seed`.
    Later connections are not cut.
    """

    def __init__(self, port, cuts=0, seed=None):
        self.port_behind = port
        self.to_cut = cuts
        self.random = random.Random(seed)
        self.cuts = 0
        self.connections = 0
        self.open = []
        self.lock = threading.Lock()
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # the proxy is closed
            budget = self._budget()
            threading.Thread(target=self._pass_on, args=(client, budget), daemon=True).start()

    def _budget(self):
        """Chooses where the next connection is cut: within CONNECT, soon, or later."""
        self.connections += 1
        if self.connections > self.to_cut:
            return None
        most = self.random.choice((50, 300, 1500))
        return Budget(self.random.random() < 0.5, self.random.randint(0, most), self.random.random() < 0.5)

    def _pass_on(self, client, budget):
        try:
            server = socket.create_connection((HOST, self.port_behind), PATIENCE)
        except OSError:
            client.close()
            return
        wake, woken = socket.socketpair()
        with self.lock:
            self.open.append(wake)
        with client, server, wake, woken:
            was_cut = self._copy(client, server, woken, budget)
            with self.lock:
                self.open.remove(wake)
                self.cuts += was_cut
                if budget and not was_cut:
                    self.to_cut += 1  # it ended by itself, so another one will be cut instead
            self._end(client, server, abruptly=was_cut and budget.abruptly)

    def _copy(self, client, server, woken, budget):
        """Copies bytes both ways until one peer closes, or until the cut. Returns whether the connection was cut."""
        other = {client: server, server: client}
        left = budget.bytes if budget else None
        with selectors.DefaultSelector() as selector:
            for end in client, server:
                end.settimeout(PATIENCE)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(end, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while left != 0:
                for key, _ in selector.select():
                    source = key.fileobj
                    if source is woken:
                        return False
                    is_counted = budget and (source is client) == budget.to_server
                    try:
                        data = source.recv(min(left, 4096) if is_counted else 4096)
                        other[source].sendall(data)
                    except OSError:
                        data = b""
                    if not data:
                        return False
                    if is_counted:
                        left -= len(data)
                        if left == 0:
                            break
        return True

    def _end(self, client, server, abruptly):
        """Ends a connection: at once for the client, with an end of file for the server.

        Further bytes from the server are discarded, so that its writes never fail: when mosquitto cannot write a PUBREL
        that it has to send again, versions such as 2.0.11 fall back to the PUBLISH before it, and a message of QoS 2
        would be delivered twice [MQTT-4.3.3-6].
        """
        try:
            if abruptly:  # bytes on their way to the client may be lost too
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            server.shutdown(socket.SHUT_WR)
            while server.recv(4096):
                pass
        except OSError:
            pass  # the server has already closed it

    def cut(self):
        """Ends all connections now."""
        with self.lock:
            for wake in self.open:
                wake.send(b".")

    def is_through(self):
        """Returns whether all cuts are done."""
        return self.cuts >= self.to_cut

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        except OSError:
            pass  # it was closed before
        self.listener.close()
        self.cut()
