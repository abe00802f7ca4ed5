#!/usr/bin/env python3
"""Kills the example broker again and again under load, and checks that what it has acknowledged survives.

    python3 tests/interop/crash.py [SEED] [--kills COUNT] [--pause SECONDS] [--instead cut|forget] [--save FILE]

The broker has --data, and is killed with SIGKILL at moments that the seed decides, under messages of QoS 1 and 2 of
clients of three projects, with retained messages, lasting and expiring sessions, delayed wills and shared
subscriptions. Some of the clients are killed, too. `crash_check.py` says what must be true. Two other kinds of runs show
that these rules are right, and that they bite:

    --instead cut     the broker lives on, and all connections are cut at those moments: nothing may be wrong
    --instead forget  the broker is killed and has no --data: much must be wrong
"""

import argparse
import pathlib
import random
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

from crash_check import BEAT, SLACK, Record, expected, readers, received, retained_from, violations  # noqa: E402
from crash_load import Guest, Member, Mosquitto, Ours, OursPublisher, PahoPublisher  # noqa: E402
from crash_load import PahoReader, Shots, WillClient  # noqa: E402
from harness import HOST, Failure, Program, Proxy, build_broker, build_client, find_program, free_port  # noqa: E402

PATIENCE = 300.0
BETWEEN = 0.1, 0.8  # seconds between the start of the broker and the next kill
WILL_DELAY = 2
EXPIRY = 3


class World:
    """The broker, its clients, and the record of what happens."""

    def __init__(self, seed, instead, pause):
        self.random = random.Random(seed)
        self.instead, self.pause = instead, pause
        self.broker_program, self.client_program = build_broker(), build_client()
        self.mosquitto = [find_program(f"mosquitto_{name}", "mosquitto-clients") for name in ("sub", "pub")]
        self.folder = tempfile.TemporaryDirectory()
        self.record, self.lock = Record(), threading.Lock()
        self.is_over = False
        self.programs, self.clients = [], []
        self.broker, self.proxy = None, None
        self.broker_port = self.port = free_port()
        self.start()
        if instead == "cut":
            self.proxy = Proxy(self.broker_port)
            self.port = self.proxy.port

    def note(self, event, at=None, **values):
        with self.lock:
            at = time.monotonic() if at is None else at
            self.record.events.append({"at": round(at, 6), "event": event} | values)
            return self.record.events[-1]["at"]

    def snapshot(self):
        with self.lock:
            return Record(self.record.events)

    def start(self):
        data = [] if self.instead else ["--data", self.folder.name, "--sync", "always"]
        arguments = ["--listen", f"{HOST}:{self.broker_port}", "--max-queued", 1_000_000, *data]
        for _ in range(100):  # the port may stay in use for a moment
            self.broker = Program("broker", [self.broker_program, *arguments])
            try:
                self.broker.wait_for_lines(1)
                break
            except Failure:
                if not any("in use" in line and "listen" in line for line in self.broker.err):
                    raise SystemExit(f"the broker does not start\n{self.broker.tail()}") from None
                time.sleep(0.02)
        else:
            raise SystemExit(f"the broker does not start\n{self.broker.tail()}")
        self.note("started")

    def kill(self, *victims):
        """Kills the broker and starts it again. Victims are connected clients whose wills are due some time later."""
        if self.instead == "cut":
            at = self.note("cut off")
            self.proxy.cut()
        else:
            with self.lock:  # what is noted later may have happened before
                self.broker.process.kill()
                at = round(time.monotonic(), 6)
                self.record.events.append({"at": at, "event": "killed"})
            self.broker.end()
        for victim in victims:
            victim.note_cut(at)
        if self.instead != "cut":
            self.start()

    def read_retained(self):
        """Reads the retained messages with a new subscriber."""
        begin = time.monotonic()
        reader = PahoReader(self, f"late-{len(self.clients)}", "kept/", lasting=False, is_noted=False)
        reader.paho.publish("end/late", reader.name, 1)
        reader.wait(lambda: reader.name in reader.seen("end/late"), "the last message")
        # Other messages may come before retained ones.
        due = {topic for topic, allowed in retained_from(self.snapshot(), begin).items() if [] not in allowed}
        reader.wait_a_while(lambda: due <= {message.topic for message in list(reader.messages) if message.retain})
        topics = {}
        for message in list(reader.messages):
            if message.retain:
                topics.setdefault(message.topic, []).append(message.payload.decode())
        reader.close()
        self.note("read", begin=round(begin, 6), topics=topics)

    def close(self):
        self.is_over = True
        for client in self.clients:
            client.close()
        for program in self.programs:
            program.stop()
        if self.proxy:
            self.proxy.close()
        self.broker.stop()


def run(world, kills):
    readers = [
        Ours(world, "ours", "load/"),
        PahoReader(world, "paho", "load/"),
        Mosquitto(world, "mosquitto", "load/"),
        Member(world, "member-1", "load/", "group"),
        Member(world, "member-2", "load/", "group"),
        PahoReader(world, "watcher", "wills/"),
    ]
    for reader in readers:
        reader.wait_until_subscribed()
    publishers = [
        OursPublisher(world, "publisher-1", "load/ours"),
        PahoPublisher(world, "publisher-2", "load/paho"),
        PahoPublisher(world, "publisher-3", "kept/", retain=True),
        Shots(world, "shots", "load/shots"),
        PahoPublisher(world, "beat", BEAT, pause=0.1),
    ]
    for publisher in publishers:
        publisher.start()
    programs = [readers[0], readers[3], publishers[0]]  # with sessions of their own in a directory
    guests = []
    for number in range(kills):
        # Every will and every expiry takes seconds: there are some at a time.
        victims = [WillClient(world, f"will-{number}", WILL_DELAY)] if number % 2 == 0 else []
        early = [victim for victim in victims if world.random.random() < 0.5]
        if number % 5 == 0:
            away = world.random.choice((EXPIRY - SLACK - 1.2, EXPIRY + SLACK + 0.7))
            guests.append(Guest(world, f"guest-{number}", EXPIRY, away))
        pause = world.random.uniform(*BETWEEN)
        before = world.random.uniform(0, pause)
        time.sleep(before)
        for victim in early:
            victim.cut()
        if world.random.random() < 0.3:
            world.random.choice(programs).kill()
        time.sleep(pause - before)
        world.kill(*(victim for victim in victims if victim not in early))
        if number % 10 == 9 or number == kills - 1:
            world.read_retained()
        if failed := [client for client in world.clients if client.failure]:
            raise Failure(f"{failed[0].name}: {failed[0].failure}")
    for guest in guests:
        guest.join()
    for publisher in publishers:
        publisher.finish()
    settle(world)
    world.read_retained()


def settle(world):
    """Waits until every acknowledged message has arrived, or until nothing more arrives for some time."""
    end, last, since = time.monotonic() + PATIENCE, None, time.monotonic()
    while time.monotonic() < end:
        record = world.snapshot()
        got, due = received(record), []
        for members in readers(record).values():
            have = set().union(*(got[member["client"]] for member in members))
            newest = max(members, key=lambda member: member["at"])
            due += [message["id"] for message in expected(record, newest) if message["id"] not in have]
        due += [cut["id"] for cut in record.of("cut") if cut["id"] not in got["watcher"]]
        if not due:
            break
        if last != len(due):
            last, since = len(due), time.monotonic()
        if time.monotonic() - since > WILL_DELAY + 20:
            return
        time.sleep(0.2)
    time.sleep(0.5)  # for what comes twice


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("seed", nargs="?", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.002, help="the pause of a publisher between two messages")
    parser.add_argument("--instead", choices=("cut", "forget"))
    parser.add_argument("--save", type=pathlib.Path)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begin = time.monotonic()
    world = World(arguments.seed, arguments.instead, arguments.pause)
    try:
        run(world, arguments.kills)
        wrong = violations(world.snapshot())
    except Failure as failure:
        wrong = [str(failure), world.broker.tail()]
    finally:
        world.close()
    record = world.snapshot()
    counts = {name: len(record.of(name)) for name in ("sent", "acknowledged", "received", "killed", "client killed", "connected")}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    if arguments.save:
        record.save(arguments.save)
    if wrong:
        for text in wrong:
            print(f"FAILED  {text}")
        if not arguments.save:
            path = pathlib.Path(tempfile.mkdtemp(prefix="crash-")) / "run.jsonl.gz"
            record.save(path)
            print(f"the record is {path}")
        print(f"seed {arguments.seed}: {summary}")
        return 1
    print(f"all is well ({summary}, {time.monotonic() - begin:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
