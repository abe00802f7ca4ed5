#!/usr/bin/env python3
"""Judges the record of a run in which the broker was killed: what it acknowledged must have survived.

    python3 tests/interop/crash_check.py

That checks the judgement itself, with recorded runs in crash_runs: one of a broker that forgot nothing, in which every
kind of fault is then made in turn, and one of a broker that kept its state in memory and was killed.
"""

import collections
import copy
import gzip
import json
import pathlib
import sys

SLACK = 1.0  # seconds that an expiry or a will may be early or late
UNKNOWN = 0.5  # seconds that the broker may need to see and store the end of a connection, beyond a message sent then
BEAT = "wills/beat"  # the topic of messages that tell how late any message is
RUNS = pathlib.Path(__file__).parent / "crash_runs"


class Record:
    """The events of a run in their order. Each has a time in seconds and a name, and what belongs to it:

    sent          id, topic, qos, retain    a client was told to publish a message
    acknowledged  id                        the message is the broker's: PUBACK or PUBCOMP
    refused       id, outcome               the client will not send the message again, and it is not acknowledged
    subscribed    client, topics, qos, group  SUBACK; topics is the beginning of all topics that match
    received      client, id, qos, run      run is the number of times that the client was killed before
    connected     client, present           CONNACK, with session present
    came          client                    a client begins to connect
    left          client, expiry            DISCONNECT with a session expiry in seconds
    cut           client, id, delay         the connection of a client ended with a will, whose delay is in seconds
    client killed client
    killed
    started                                 the broker listens again
    read          begin, topics             the retained messages of a new subscriber: a list of ids for each topic
    """

    def __init__(self, events=()):
        self.events = list(events)

    def of(self, name):
        return [event for event in self.events if event["event"] == name]

    def save(self, path):
        text = "".join(json.dumps(event, sort_keys=True) + "\n" for event in self.events)
        path.write_bytes(gzip.compress(text.encode(), mtime=0))

    @classmethod
    def load(cls, path):
        return cls(json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines())


def times(events, key="id"):
    """Returns the time of the first event for each key."""
    first = {}
    for event in events:
        first.setdefault(event[key], event["at"])
    return first


def received(record):
    """Returns the messages that each client has received, with the number of times, in the order of the first time."""
    by_client = collections.defaultdict(collections.Counter)
    for event in record.of("received"):
        by_client[event["client"]][event["id"]] += 1
    return by_client


def expected(record, subscription):
    """Returns the acknowledged messages that a subscription matches, in the order in which they were sent."""
    acknowledged = times(record.of("acknowledged"))
    return [
        message
        for message in record.of("sent")
        if message["topic"].startswith(subscription["topics"])
        and message["id"] in acknowledged
        and message["at"] > subscription["at"]
    ]


def readers(record):
    """Returns the first subscription of each client, with the clients of a shared one together."""
    first = {}
    for event in record.of("subscribed"):
        first.setdefault((event["client"], event["topics"]), event)
    groups = collections.defaultdict(list)
    for event in first.values():
        groups[event["group"] or event["client"], event["topics"]].append(event)
    return groups


def lost(record):
    """An acknowledged message has reached every subscriber, and one member of every group."""
    by_client = received(record)
    for (name, _), members in readers(record).items():
        got = set().union(*(by_client[member["client"]] for member in members))
        since = max(members, key=lambda member: member["at"])
        missing = [message["id"] for message in expected(record, since) if message["id"] not in got]
        if missing:
            yield f"{name} has not got {len(missing)} acknowledged messages: {missing[:5]}"


def twice(record):
    """A message of QoS 2 has reached no subscriber and no group twice. A client that was killed may print a message again,
    because it prints a message before it stores that."""
    exact = {message["id"] for message in record.of("sent") if message["qos"] == 2}
    in_run = collections.Counter((e["client"], e["id"], e.get("run", 0)) for e in record.of("received"))
    for (name, _), members in readers(record).items():
        if any(member["qos"] != 2 for member in members):
            continue
        clients = {member["client"] for member in members}
        by_id = collections.defaultdict(list)
        for (client, id, _), count in in_run.items():
            if client in clients and id in exact:
                by_id[id].append((client, count))
        again = [id for id, got in by_id.items() if len({c for c, _ in got}) > 1 or any(n > 1 for _, n in got)]
        if again:
            yield f"{name} has got {len(again)} messages of QoS 2 more than once: {again[:5]}"


def disordered(record):
    """Messages of QoS 2 of one topic have reached a subscriber in the order in which they were sent."""
    sent = [message for message in record.of("sent") if message["qos"] == 2]
    place = {message["id"]: (message["topic"], number) for number, message in enumerate(sent)}
    for (name, _), members in readers(record).items():
        if members[0]["group"]:
            continue
        last = {}
        for id in received(record)[members[0]["client"]]:
            if id not in place:
                continue
            topic, number = place[id]
            if last.get(topic, (-1, None))[0] > number:
                yield f"{name} has got {last[topic][1]} before {id}"
                break
            last[topic] = number, id


def retained_from(record, begin):
    """Returns what a subscriber that connects at some time may get as the retained message of each topic: the last
    acknowledged message, or a later one whose outcome was not known then."""
    acknowledged = times(record.of("acknowledged"))
    by_topic = collections.defaultdict(list)
    for message in record.of("sent"):
        if message["retain"]:
            by_topic[message["topic"]].append(message)
    allowed = {}
    for topic, messages in by_topic.items():
        known = [n for n, message in enumerate(messages) if acknowledged.get(message["id"], begin) < begin]
        ids = [message["id"] for message in messages[known[-1] if known else 0 :]]
        allowed[topic] = [[] if id.endswith("-none") else [id] for id in ids] + ([] if known else [[]])
    return allowed


def retained(record):
    """A new subscriber gets the retained message of each topic."""
    for read in record.of("read"):
        earlier = Record(event for event in record.events if event["at"] < read["at"] or event["event"] != "sent")
        for topic, allowed in retained_from(earlier, read["begin"]).items():
            got = read["topics"].get(topic, [])
            if got not in allowed:
                yield f"the retained message of {topic} is {got}, and should be one of {allowed[:5]}"


def sessions(record):
    """A session is there until it expires, and not after that, unless a kill has come between the new session and its
    CONNACK."""
    left, came, seen, cut = {}, {}, set(), -1
    for event in record.events:
        client = event.get("client")
        if event["event"] in ("killed", "cut off"):
            cut = event["at"]
        elif event["event"] == "came":
            came[client] = event["at"]
        elif event["event"] == "left":
            left[client] = event
        elif event["event"] == "connected":
            gone = left.pop(client, None)
            away = event["at"] - gone["at"] if gone else None
            if gone and away > gone["expiry"] + SLACK:
                if event["present"] and not came.get(client, event["at"]) < cut:
                    yield f"{client} has a session {away:.1f} s after it left with an expiry of {gone['expiry']} s"
            elif client in seen and not event["present"] and not (gone and away > gone["expiry"] - SLACK):
                yield f"{client} has lost its session"
            seen.add(client)


def wills(record):
    """A will is published when its delay is over, counted from the end of the connection, or from the next start if the
    broker's death has ended it, or if the broker has died before it had stored that: under load that takes as long as to
    store another message, so the acknowledgement of one that was sent then tells when it may have known. If the broker is
    not there when the will is due, it is published when it starts. The will may be late by as much as another message
    published when it is due."""
    seen, acknowledged = times(record.of("received")), times(record.of("acknowledged"))
    beats = [message for message in record.of("sent") if message["topic"] == BEAT]
    started = [event["at"] for event in record.of("started")]
    killed = [event["at"] for event in record.of("killed")]
    for cut in record.of("cut"):
        begin = cut["at"]
        beat = next((acknowledged.get(message["id"], begin) for message in beats if message["at"] >= begin), begin)
        died = next((at for at in killed if begin <= at <= max(begin, beat) + UNKNOWN), None)
        after = next((at for at in started if died and at > died), begin)
        first, last = (after if died == begin else begin) + cut["delay"], after + cut["delay"]
        # The broker was down when the will was due.
        last = max([last, *(up for down, up in zip(killed, started[1:]) if down <= last <= up)])
        beat = next((seen.get(message["id"], 0) for message in beats if message["at"] >= last), 0)
        last = max(last, beat)
        if cut["id"] not in seen:
            yield f"the will of {cut['client']} was not published"
        elif not first - SLACK <= seen[cut["id"]] <= last + SLACK:
            wrong = seen[cut["id"]] - first
            yield f"the will of {cut['client']} came {abs(wrong):.1f} s too {'late' if wrong > 0 else 'early'}"


def outcomes(record):
    """No client has given up a message, for example because its session was lost."""
    refused = [(event["id"], event["outcome"]) for event in record.of("refused")]
    if refused:
        yield f"{len(refused)} messages were given up: {refused[:5]}"


RULES = (outcomes, lost, twice, disordered, retained, sessions, wills)


def violations(record):
    """Returns what was wrong, with the name of the rule."""
    return [f"{rule.__name__}: {text}" for rule in RULES for text in rule(record)]


# The rest checks the rules.


def faults(honest):
    """Yields runs with a fault each, and the rule that it breaks."""

    def changed(change):
        record = copy.deepcopy(honest)
        change(record)
        return record

    def first(record, name, **values):
        return next(
            number
            for number, event in enumerate(record.events)
            if event["event"] == name and all(event[key] == value for key, value in values.items())
        )

    received_twice = next(
        event for event in honest.of("received") if event["qos"] == 2 and event["client"] == "ours"
    )
    acknowledged = times(honest.of("acknowledged"))
    of_group = next(e for e in honest.of("received") if e["client"].startswith("member") and e["qos"] == 2)

    def forget(record, **values):
        record.events = [
            event
            for event in record.events
            if event["event"] != "received" or any(event[key] != value for key, value in values.items())
        ]

    for client in sorted({e["client"] for e in honest.of("subscribed") if not e["group"] and e["topics"] == "load/"}):
        got = next(e for e in honest.of("received") if e["client"] == client and e["id"] in acknowledged)
        yield "lost", changed(lambda record, got=got: forget(record, client=got["client"], id=got["id"]))
    yield "lost", changed(lambda record: forget(record, client=of_group["client"], id=of_group["id"]))
    yield "twice", changed(lambda record: record.events.append(received_twice))
    other = "member-2" if of_group["client"] == "member-1" else "member-1"
    yield "twice", changed(lambda record: record.events.append(of_group | {"client": other}))

    def swap(record):
        exact = {event["id"] for event in record.of("sent") if event["qos"] == 2 and event["topic"] == "load/ours"}
        events = enumerate(record.events)
        got = [n for n, e in events if e["event"] == "received" and e["client"] == "ours" and e["id"] in exact]
        one, two = got[:2]
        record.events[one], record.events[two] = record.events[two], record.events[one]

    yield "disordered", changed(swap)

    def change_read(change):
        def apply(record):
            read = record.events[first(record, "read")]
            change(read["topics"], next(topic for topic, ids in read["topics"].items() if ids))

        return changed(apply)

    yield "retained", change_read(lambda topics, topic: topics.pop(topic))
    yield "retained", change_read(lambda topics, topic: topics.update({topic: topics[topic] * 2}))
    older = next(event["id"] for event in honest.of("sent") if event["retain"])
    yield "retained", change_read(lambda topics, topic: topics.update({topic: [older]}))

    def forget_session(record):
        clients = [event["client"] for event in record.of("connected")]
        client = next(client for client in clients if clients.count(client) > 2 and not client.startswith("guest"))
        places = [n for n, event in enumerate(record.events) if event.get("client") == client and "present" in event]
        record.events[places[1]]["present"] = False

    yield "sessions", changed(forget_session)
    for present in True, False:
        # A guest that was away for too long, and one that was not.
        def turn(record, present=present):
            left = times(record.of("left"), "client")
            event = next(
                event
                for event in record.of("connected")
                if event["at"] > left.get(event["client"], event["at"]) and event["present"] is present
            )
            event["present"] = not present

        yield "sessions", changed(turn)
    given_up = honest.of("acknowledged")[0] | {"event": "refused", "outcome": "unknown"}
    yield "outcomes", changed(lambda record: record.events.append(given_up))
    cut = honest.of("cut")[0]
    yield "wills", changed(lambda record: forget(record, id=cut["id"]))
    yield "wills", late_will(0.02)
    for shift in -cut["delay"] - 1, 4:

        def move(record, shift=shift):
            for event in record.of("received"):
                if event["id"] == cut["id"]:
                    event["at"] += shift

        yield "wills", changed(move)


def late_will(lag):
    """Returns a run in which the broker is killed 0.7 s after a connection with a will ends, and counts the delay from its
    next start, with the time that it takes to acknowledge a message."""
    record = Record([{"at": 0.0, "event": "started"}])
    for number in range(150):
        at, id = 9 + number / 10, f"beat-{number}"
        record.events.append({"at": at, "event": "sent", "id": id, "topic": BEAT, "qos": 1, "retain": False})
        record.events.append({"at": at + lag, "event": "acknowledged", "id": id})
        record.events.append({"at": at + lag, "event": "received", "client": "watcher", "id": id, "qos": 1})
    record.events += [
        {"at": 10.0, "event": "cut", "client": "will", "id": "will", "delay": 2},
        {"at": 10.7, "event": "killed"},
        {"at": 11.5, "event": "started"},
        {"at": 13.6, "event": "received", "client": "watcher", "id": "will", "qos": 1},
    ]
    record.events.sort(key=lambda event: event["at"])
    return record


def main():
    honest, forgetful = (Record.load(RUNS / f"{name}.jsonl.gz") for name in ("honest", "forgetful"))
    failures = [f"the honest run: {text}" for text in violations(honest)]
    failures += [f"a broker under load: {text}" for text in wills(late_will(0.4))]
    count = 0
    for rule, record in faults(honest):
        count += 1
        if not any(text.startswith(f"{rule}: ") for text in violations(record)):
            failures.append(f"fault {count} is not noticed by the rule {rule!r}")
    found = {text.split(":")[0] for text in violations(forgetful)}
    broken = {"outcomes", "lost", "retained", "sessions", "wills"}
    failures += [f"the forgetful run passes the rule {rule!r}" for rule in broken - found]
    for failure in failures:
        print(f"FAILED  {failure}")
    if not failures:
        print(f"all is well ({len(honest.events)} events, {count} faults noticed)")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
