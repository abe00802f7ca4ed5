"""Checks of the broker with a mosquitto that connects to it as a bridge."""

from broker_stage import ALL, MOSQUITTO, check, equal, heard
from harness import HOST, Mosquitto, find_mosquitto

BRIDGE = "bridge"
PROTOCOLS = MOSQUITTO | {"5.0": "mqttv50"}
FORM = "%t %q %r %p"


class Bridge(Mosquitto):
    """A mosquitto with a bridge to a port, in its default configuration: its protocol level has the bridge bit
    (try_private), and it publishes its state under $SYS, with a will (notifications)."""

    def __init__(self, version, port):
        self.version, self.remote_port = version, port
        super().__init__(find_mosquitto())

    def _config(self):
        lines = [
            "connection there",
            f"address {HOST}:{self.remote_port}",
            f"remote_clientid {BRIDGE}",
            f"bridge_protocol_version {PROTOCOLS[self.version]}",
            "try_private true",
            "notifications true",
            "restart_timeout 1",
            "topic up/# out 2",
            "topic down/# in 2",
            "topic both/# both 2",
        ]
        return super()._config() + "\n".join([*lines, ""])

    def wait_until_subscribed(self, times):
        """Waits until SUBACK has arrived this many times for each of its two filters."""

        def count():
            return sum(f"Received SUBACK from local.{BRIDGE}" in line for line in self.server.err)

        self.server.wait_until(lambda: count() >= 2 * times, f"{2 * times} SUBACKs")


def both_sides(stage, bridge):
    """The options of a client for each of the two brokers."""
    return {"there": ["-p", stage.port], "here": ["-p", bridge.port]}


@check("a mosquitto bridge passes messages both ways, retained ones as such, and none comes back", ALL)
def bridge_both_ways(stage):
    # Retained before the bridge connects.
    for qos in 0, 1, 2:
        stage.send(f"down/old/{qos}", "-m", "old", "-r", "-q", qos)
    proxy = stage.proxy(0, "bridge")
    bridge = Bridge(stage.version, proxy.port)
    stage.programs.append(bridge.server)
    try:
        pass_messages(stage, bridge, proxy)
    finally:
        bridge.stop()


def pass_messages(stage, bridge, proxy):
    bridge.wait_until_subscribed(1)
    equal(proxy.connections, 1, "connections that the bridge has needed")
    sides = both_sides(stage, bridge)

    def late(side, filter):
        """Returns the messages for a new subscriber."""
        reader = stage.reader("late", "-t", filter, "-t", "end/+", "-q", 2, *sides[side], form=FORM)
        stage.send(f"end/{side}", "-m", "end", "-q", 2, *sides[side])
        reader.wait_until(lambda: any(line.startswith(f"> end/{side}") for line in reader.out), "the end")
        reader.stop()
        return sorted(line for line in heard(reader) if not line.startswith("end/"))

    stage.wait(lambda: len(late("here", "down/#")) == 3, "what was retained before")
    equal(late("here", "down/#"), [f"down/old/{qos} {qos} 1 old" for qos in (0, 1, 2)], "what was retained before")

    readers = {
        side: stage.reader(f"reader-{side}", *sum((["-t", f"{part}/#"] for part in ("up", "down", "both")), []), "-q", 2,
                           *sides[side], "-R", form=FORM)
        for side in sides
    }
    expected = {"there": [], "here": []}

    def pass_on(side, part, *retain):
        """Publishes on one broker in every QoS and waits for the messages on the other. An echo would arrive before the
        next message from the other broker."""
        other = {"there": "here", "here": "there"}[side]
        for qos in 0, 1, 2:
            topic, payload = f"{part}/{side}/{qos}", f"{len(expected[side])}"
            stage.send(topic, "-m", payload, "-q", qos, *retain, *sides[side])
            for reader_side in sides:
                expected[reader_side].append(f"{topic} {qos} 0 {payload}")
                heard(readers[reader_side], len(expected[reader_side]))
            if part == "both":
                echo_end = f"both/mark/{side}/{qos}"
                stage.send(echo_end, "-m", payload, "-q", qos, *sides[other])
                for reader_side in sides:
                    expected[reader_side].append(f"{echo_end} {qos} 0 {payload}")
                    heard(readers[reader_side], len(expected[reader_side]))
        for reader_side in sides:
            equal(heard(readers[reader_side]), expected[reader_side], f"messages {reader_side}, from {side}")

    for retain in [], ["-r"]:
        for side, part in ("here", "up"), ("there", "down"), ("here", "both"), ("there", "both"):
            pass_on(side, part, *retain)

    def check_retained():
        """Checks that both brokers have retained the same messages, and no others."""
        for side in sides:
            for origin in sides:
                got = [line.rsplit(" ", 1)[0] for line in late(side, f"both/{origin}/#")]
                # After its connection was lost the bridge sends retained messages again: copies without RETAIN.
                got = [line for line in got if line.endswith(" 1")]
                equal(got, [f"both/{origin}/{qos} {qos} 1" for qos in (0, 1, 2)], f"retained {side}, from {origin}")
            equal(late(side, "both/mark/#"), [], f"not retained {side}")

    check_retained()

    # The connection is lost while messages wait on both brokers for the next one. (Retained messages are sent again
    # then.) In 5.0 mosquitto 2.0.11 does not ask for a session that outlives the connection.
    proxy.cut()
    waiting = []
    for side, part in (("here", "up"),) if stage.is_new else (("here", "up"), ("there", "down")):
        for qos in 1, 2:
            stage.send(f"{part}/meanwhile/{qos}", "-m", "waits", "-q", qos, *sides[side])
            waiting.append(f"{part}/meanwhile/{qos} {qos} 0 waits")
    bridge.wait_until_subscribed(2)
    for reader in readers.values():
        reader.wait_until(lambda: all(f"> {line}" in reader.out for line in waiting), "what has waited")
        equal(sorted(line for line in heard(reader) if "/meanwhile/" in line), sorted(waiting), "what has waited")
    check_retained()

    # A retained message with an empty payload deletes on both brokers.
    for qos in 0, 1, 2:
        for side in sides:
            stage.send(f"both/{side}/{qos}", "-n", "-r", "-q", qos, *sides[side])
    stage.wait(lambda: not any(late(side, f"both/{origin}/#") for side in sides for origin in sides), "all deleted")
    equal([line for line in bridge.server.err if "refused" in line.lower()], [], "refusals")
    equal(proxy.connections, 2, "connections of the bridge")
