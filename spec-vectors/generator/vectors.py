"""Collects vectors, computes offsets and shortest forms, and refuses inconsistent vectors."""

from .encode import encode
from .wire import flat, join

V31, V311, V5 = ["3.1"], ["3.1.1"], ["5.0"]
V3 = V31 + V311
V4 = V311 + V5  # all but 3.1
ALL = V3 + V5
EITHER, TO_SERVER, TO_CLIENT = "either", "client_to_server", "server_to_client"


def by_version(three, five):
    """A clause, or a list of statements, for 3.1 and 3.1.1, and one for 5.0."""
    return {"3.1": three, "3.1.1": three, "5.0": five}


# The clauses that all packets share.
LENGTH = by_version("section 2.2.3", "section 2.1.4")
ILL_FORMED = by_version("MQTT-1.5.3-1", "MQTT-1.5.4-1")
NULL = by_version("MQTT-1.5.3-2", "MQTT-1.5.4-2")
PACKET_ID = by_version("MQTT-2.3.1-1", "MQTT-2.2.1-3")
PACKET_TYPE = by_version("section 2.2.1", "section 2.1.2")
FLAGS = by_version("MQTT-2.2.2-2", "MQTT-2.1.3-1")
EMPTY_TOPIC = "MQTT-4.7.3-1"
PROPERTY_LENGTH = "section 2.2.2.1"
PROPERTIES = "section 2.2.2.2"
VARINT = "MQTT-1.5.5-1"


def malformed(clause, field, offset, reason=0x81):
    return dict(outcome="reject", kind="malformed_packet", clause=clause, field=field, reason_code=reason, offset=offset)


def protocol_error(clause, field, offset, reason=0x82):
    return dict(outcome="reject", kind="protocol_error", clause=clause, field=field, reason_code=reason, offset=offset)


def refused(clause, field, offset, reason):
    return dict(outcome="reject", kind="refused", clause=clause, field=field, reason_code=reason, offset=offset)


def incomplete(needs):
    return dict(outcome="incomplete", needs=needs)


def find(fields, where):
    """Resolves an offset: a number, "end", the mark of a field, (mark, distance from it), or (mark, distance,
    occurrence)."""
    if isinstance(where, int):
        return where
    if where == "end":
        return len(join(fields))
    mark, more, which = (where, 0, 0) if isinstance(where, str) else (*where, 0)[:3]
    found, at = [], 0
    for field in fields:
        if field.mark == mark:
            found.append(at)
        at += len(field.hex) // 2
    return found[which] + more


def per_version(value, version):
    return value[version] if isinstance(value, dict) else value


class Vectors:
    """The vectors of one file."""

    names = set()  # across all files

    def __init__(self, file):
        self.file = file
        self.list = []

    def add(self, name, versions, direction, fields, expect, shows=(), canonical=True):
        """`shows` names statements; the clause of a reject is added to them."""
        assert name not in Vectors.names, f"the name {name} is taken"
        Vectors.names.add(name)
        fields = flat([fields])
        expect = dict(expect)
        shown = {v: list(per_version(shows, v) or []) for v in versions}
        if "clause" in expect and expect["clause"] is None:
            del expect["clause"]
        if "clause" in expect:
            clauses = {v: per_version(expect["clause"], v) for v in versions}
            for v in versions:
                if clauses[v] not in shown[v]:
                    shown[v].insert(0, clauses[v])
            same = len(set(clauses.values())) == 1
            expect["clause"] = clauses[versions[0]] if same else clauses
        if "offset" in expect:
            expect["offset"] = find(fields, expect["offset"])
            assert 0 <= expect["offset"] <= len(join(fields)), name
        if expect["outcome"] == "accept":
            expect["canonical"] = self.shortest(name, versions, fields, expect["packet"], canonical)
        statements = []
        for v in versions:
            statements += [s for s in shown[v] if s not in statements]
        self.list.append(dict(name=name, versions=versions, direction=direction, statements=statements, fields=fields,
                              expect=expect, shown=shown))

    def shortest(self, name, versions, fields, packet, canonical):
        forms = {join(encode(v, packet)) for v in versions}
        assert len(forms) == 1, f"{name}: the versions differ in their bytes"
        form = forms.pop()
        assert (form == join(fields)) == canonical, f"{name}: canonical is not {canonical}: {form.hex()}"
        return True if canonical else form.hex()

    def accept(self, name, versions, direction, packet, fields=None, shows=(), canonical=True):
        """Without `fields` the input is the shortest form of the packet."""
        if fields is None:
            fields = encode(versions[0], packet)
        self.add(name, versions, direction, fields, dict(outcome="accept", packet=packet), shows, canonical)

    def reject(self, name, versions, direction, fields, expect, shows=()):
        self.add(name, versions, direction, fields, expect, shows)


# The values of packets, with the values that most vectors have in common.

def connect_value(version, **more):
    out = dict(type="CONNECT", version=version, clean_start=True, keep_alive=60, client_identifier="a", will=None,
               user_name=None, password=None, properties={})
    out.update(more)
    return out


def will_value(**more):
    return dict(dict(topic="w", payload="6279", qos=0, retain=False, properties={}), **more)


def connack_value(session_present=False, reason_code=0, **properties):
    return dict(type="CONNACK", session_present=session_present, reason_code=reason_code, properties=properties)


def publish_value(**more):
    out = dict(type="PUBLISH", dup=False, qos=0, retain=False, topic_name="a/b", packet_identifier=None, properties={},
               payload="")
    out.update(more)
    return out


def ack_value(kind, packet_identifier=10, reason_code=0, **properties):
    return dict(type=kind, packet_identifier=packet_identifier, reason_code=reason_code, properties=properties)


def subscription_value(topic_filter="a/b", qos=0, no_local=False, retain_as_published=False, retain_handling=0):
    return dict(topic_filter=topic_filter, qos=qos, no_local=no_local, retain_as_published=retain_as_published,
                retain_handling=retain_handling)


def subscribe_value(*subscriptions, packet_identifier=10, properties=None):
    return dict(type="SUBSCRIBE", packet_identifier=packet_identifier, properties=properties or {},
                subscriptions=list(subscriptions) or [subscription_value()])


def unsubscribe_value(*topic_filters, packet_identifier=10, properties=None):
    return dict(type="UNSUBSCRIBE", packet_identifier=packet_identifier, properties=properties or {},
                topic_filters=list(topic_filters) or ["a/b"])


def list_ack_value(kind, *reason_codes, packet_identifier=10, properties=None):
    return dict(type=kind, packet_identifier=packet_identifier, properties=properties or {},
                reason_codes=list(reason_codes))


def end_value(kind, reason_code=0, **properties):
    return dict(type=kind, reason_code=reason_code, properties=properties)
