//! Each rule, violated by the endpoint that is checked.

use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mqtt_sansio::codec::{
    AckProperties, Auth, AuthProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect,
    ConnectProperties, Delivery, Disconnect, MaximumQoS, Packet, PubAck, PubComp, PubRec, PubRel, Publish,
    PublishProperties, SubAck, SubAckReasonCode, Subscribe, Subscription, Unsubscribe,
};
use mqtt_sansio::{Instant, PacketId, QoS, TopicFilter, TopicName, Utf8Str};

use super::*;

/// What happens to the endpoint.
enum Step<'a> {
    Reads(Packet<'a>),
    Writes(Packet<'a>),
    /// This many seconds pass.
    Waits(u64),
    /// The connection is lost, and another one is opened.
    Reopens,
    /// The endpoint has nothing more to do.
    Rests,
}

use Step::{Reads, Reopens, Rests, Waits, Writes};

fn run(end: Sender, version: Version, steps: Vec<Step<'_>>) {
    let (mut rules, mut now) = (Rules::new(end, version), Instant::EPOCH);
    rules.resumes = true;
    rules.opened();
    let encoded = |packet: Packet<'_>| {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("the packet is valid");
        bytes
    };
    for step in steps {
        match step {
            Reads(packet) => rules.read(&encoded(packet)),
            Writes(packet) => rules.written(now, &encoded(packet)),
            Waits(seconds) => now = now + Duration::from_secs(seconds),
            Reopens => {
                rules.closed();
                rules.opened();
            }
            Rests => {
                rules.assert_answered();
                rules.flows.assert_requests_answered();
                rules.flows.assert_acknowledged();
            }
        }
    }
}

#[track_caller]
fn client_violates(clause: &str, steps: impl Fn() -> Vec<Step<'static>>) {
    violates(Sender::Client, clause, steps);
}

#[track_caller]
fn server_violates(clause: &str, steps: impl Fn() -> Vec<Step<'static>>) {
    violates(Sender::Server, clause, steps);
}

/// Checks that the last step of an endpoint violates a rule with this clause, and that those before it violate none.
#[track_caller]
fn violates(end: Sender, clause: &str, steps: impl Fn() -> Vec<Step<'static>>) {
    let mut before = steps();
    before.pop();
    run(end, Version::V5, before);
    let result = catch_unwind(AssertUnwindSafe(|| run(end, Version::V5, steps())));
    let panic = result.expect_err("the rule is violated, and nobody says so");
    let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let message = message.expect("a panic with a text");
    assert!(message.contains(clause), "{clause} is expected: {message}");
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap()
}

fn connect(properties: ConnectProperties<'static>) -> Packet<'static> {
    Connect { version: Version::V5, keep_alive: 10, client_identifier: text("c"), properties, ..Connect::default() }
        .into()
}

fn connack(session_present: bool, properties: ConnAckProperties<'static>) -> Packet<'static> {
    ConnAck { session_present, properties, ..ConnAck::default() }.into()
}

/// A PUBLISH of this QoS. Without DUP unless it is sent again.
fn message(qos: QoS, number: u16, again: bool) -> Packet<'static> {
    publish(qos, number, again, "x").into()
}

fn publish(qos: QoS, number: u16, dup: bool, payload: &str) -> Publish<'_> {
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: id(number), dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: id(number), dup },
    };
    Publish { delivery, topic: TopicName::new("t").unwrap(), payload: payload.as_bytes(), ..Publish::default() }
}

fn aliased(topic: &str, alias: u16) -> Packet<'_> {
    let topic = if topic.is_empty() { TopicName::default() } else { TopicName::new(topic).unwrap() };
    let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
    Publish { topic, properties, ..publish(QoS::AtMostOnce, 0, false, "x") }.into()
}

fn auth(reason_code: AuthReasonCode, method: &str) -> Packet<'_> {
    let properties = AuthProperties { authentication_method: Some(text(method)), ..AuthProperties::default() };
    Auth { reason_code, properties }.into()
}

fn subscribe(number: u16) -> Packet<'static> {
    let subscriptions = Box::leak(Box::new([Subscription::new("t", QoS::AtMostOnce).unwrap()]));
    Subscribe::new(id(number), &*subscriptions).into()
}

fn unsubscribe(number: u16) -> Packet<'static> {
    let filters = Box::leak(Box::new([TopicFilter::new("t").unwrap()]));
    Unsubscribe::new(id(number), &*filters).into()
}

fn suback(number: u16, properties: AckProperties<'static>) -> Packet<'static> {
    SubAck { properties, ..SubAck::new(id(number), &[SubAckReasonCode::GrantedQoS0]) }.into()
}

const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;
const STEP: AuthReasonCode = AuthReasonCode::ContinueAuthentication;

fn method(method: &'static str) -> ConnectProperties<'static> {
    ConnectProperties { authentication_method: Some(text(method)), ..ConnectProperties::default() }
}

fn method_of_connack(method: &'static str) -> ConnAckProperties<'static> {
    ConnAckProperties { authentication_method: Some(text(method)), ..ConnAckProperties::default() }
}

/// A limit of two topic aliases.
fn aliases() -> ConnAckProperties<'static> {
    ConnAckProperties { topic_alias_maximum: Some(2), ..ConnAckProperties::default() }
}

/// A client that was accepted with these properties, and what follows.
fn client_with(properties: ConnAckProperties<'static>, steps: Vec<Step<'static>>) -> Vec<Step<'static>> {
    let mut all = vec![Writes(connect(ConnectProperties::default())), Reads(connack(false, properties))];
    all.extend(steps);
    all
}

fn client(steps: Vec<Step<'static>>) -> Vec<Step<'static>> {
    client_with(ConnAckProperties::default(), steps)
}

/// A client that comes back to its session after these steps, and what follows.
fn client_resumes(before: Vec<Step<'static>>, after: Vec<Step<'static>>) -> Vec<Step<'static>> {
    let mut all = client(before);
    all.extend([Reopens, Writes(connect(ConnectProperties::default()))]);
    all.push(Reads(connack(true, ConnAckProperties::default())));
    all.extend(after);
    all
}

/// A server that has accepted a client with these properties, and what follows.
fn server_with(properties: ConnectProperties<'static>, steps: Vec<Step<'static>>) -> Vec<Step<'static>> {
    let mut all = vec![Reads(connect(properties)), Writes(connack(false, ConnAckProperties::default()))];
    all.extend(steps);
    all
}

fn server(steps: Vec<Step<'static>>) -> Vec<Step<'static>> {
    server_with(ConnectProperties::default(), steps)
}

#[test]
fn what_is_right_violates_nothing() {
    run(
        Sender::Client,
        Version::V5,
        client_resumes(
            vec![
                Writes(message(Q1, 1, false)),
                Writes(message(Q2, 2, false)),
                Writes(message(Q2, 3, false)),
                Writes(subscribe(4)),
                Reads(suback(4, AckProperties::default())),
                Reads(PubRec::new(id(2)).into()),
                Writes(PubRel::new(id(2)).into()),
                Reads(message(Q1, 7, false)),
                Reads(message(Q2, 8, false)),
                Writes(PubAck::new(id(7)).into()),
                Writes(PubRec::new(id(8)).into()),
                Reads(PubRel::new(id(8)).into()),
                Writes(PubComp::new(id(8)).into()),
                Rests,
                Waits(10),
                Writes(Packet::PingReq),
            ],
            vec![
                Writes(PubRel::new(id(2)).into()),
                Writes(message(Q1, 1, true)),
                Writes(message(Q2, 3, true)),
                Reads(PubAck::new(id(1)).into()),
                Writes(message(Q1, 1, false)),
                Writes(Disconnect::default().into()),
                Rests,
            ],
        ),
    );
}

#[test]
fn the_beginning_and_the_end_of_a_client() {
    client_violates("MQTT-3.1.0-1", || vec![Writes(Packet::PingReq)]);
    client_violates("MQTT-3.1.0-2", || client(vec![Writes(connect(ConnectProperties::default()))]));
    client_violates("MQTT-3.1.2-30", || vec![Writes(connect(ConnectProperties::default())), Writes(subscribe(1))]);
    client_violates("MQTT-3.14.4-1", || client(vec![Writes(Disconnect::default().into()), Writes(Packet::PingReq)]));
    client_violates("MQTT-3.1.2-20", || client(vec![Waits(11), Writes(Packet::PingReq)]));
    client_violates("MQTT-3.1.2-20", || {
        let other = ConnAckProperties { server_keep_alive: Some(5), ..ConnAckProperties::default() };
        client_with(other, vec![Waits(6), Writes(Packet::PingReq)])
    });
    client_violates("MQTT-4.12.0-7", || client(vec![Writes(auth(AuthReasonCode::ReAuthenticate, "M"))]));
    client_violates("MQTT-4.12.0-5", || {
        let again = Writes(auth(AuthReasonCode::ReAuthenticate, "other"));
        vec![Writes(connect(method("M"))), Reads(connack(false, method_of_connack("M"))), again]
    });
    client_violates("MQTT-4.12.0-3", || {
        vec![Writes(connect(method("M"))), Reads(auth(STEP, "M")), Writes(auth(AuthReasonCode::ReAuthenticate, "M"))]
    });
}

#[test]
fn the_limits_of_a_server() {
    client_violates("MQTT-3.2.2-15", || {
        let limit = ConnAckProperties { maximum_packet_size: NonZeroU32::new(6), ..ConnAckProperties::default() };
        client_with(limit, vec![Writes(message(QoS::AtMostOnce, 0, false))])
    });
    client_violates("MQTT-3.2.2-11", || {
        let limit = ConnAckProperties { maximum_qos: Some(MaximumQoS::AtLeastOnce), ..ConnAckProperties::default() };
        client_with(limit, vec![Writes(message(Q1, 1, false)), Writes(message(Q2, 2, false))])
    });
    client_violates("MQTT-3.2.2-14", || {
        let limit = ConnAckProperties { retain_available: Some(false), ..ConnAckProperties::default() };
        client_with(limit, vec![Writes(Publish { retain: true, ..publish(QoS::AtMostOnce, 0, false, "x") }.into())])
    });
    client_violates("MQTT-3.3.4-7", || {
        let limit = ConnAckProperties { receive_maximum: NonZeroU16::new(1), ..ConnAckProperties::default() };
        client_with(limit, vec![Writes(message(Q1, 1, false)), Writes(message(Q2, 2, false))])
    });
    client_violates("MQTT-3.3.2-9", || {
        client_with(aliases(), vec![Writes(aliased("t", 2)), Writes(aliased("", 2)), Writes(aliased("t", 3))])
    });
    client_violates("MQTT-3.3.2-7", || client_with(aliases(), vec![Writes(aliased("t", 2)), Writes(aliased("", 1))]));
}

#[test]
fn the_deliveries_of_a_sender() {
    client_violates("MQTT-2.2.1-3", || client(vec![Writes(message(Q1, 1, false)), Writes(unsubscribe(1))]));
    client_violates("MQTT-2.2.1-3", || client(vec![Writes(subscribe(1)), Writes(message(Q1, 1, false))]));
    client_violates("MQTT-2.2.1-3", || {
        let other = publish(Q1, 1, true, "y").into();
        client_resumes(vec![Writes(message(Q1, 1, false))], vec![Writes(other)])
    });
    client_violates("MQTT-3.3.1-1", || client(vec![Writes(message(Q1, 1, true))]));
    client_violates("MQTT-3.3.1-1", || {
        client_resumes(vec![Writes(message(Q1, 1, false))], vec![Writes(message(Q1, 1, false))])
    });
    client_violates("MQTT-4.4.0-1", || client(vec![Writes(message(Q1, 1, false)), Writes(message(Q1, 1, true))]));
    client_violates("MQTT-4.4.0-1", || {
        client_resumes(vec![Writes(message(Q1, 1, false))], vec![Writes(message(Q2, 1, true))])
    });
    client_violates("retransmission of older ones", || {
        client_resumes(vec![Writes(message(Q1, 1, false))], vec![Writes(message(Q1, 2, false))])
    });
    client_violates("MQTT-4.6.0-1", || {
        let both = vec![Writes(message(Q1, 1, false)), Writes(message(Q1, 2, false))];
        client_resumes(both, vec![Writes(message(Q1, 2, true))])
    });
    client_violates("MQTT-4.3.3-6", || {
        let released = vec![Writes(message(Q2, 1, false)), Reads(PubRec::new(id(1)).into())];
        client_resumes(released, vec![Writes(message(Q2, 1, true))])
    });
    client_violates("MQTT-4.3.3-4", || client(vec![Writes(message(Q2, 1, false)), Writes(PubRel::new(id(1)).into())]));
    client_violates("MQTT-4.3.3-4", || {
        client(vec![Writes(message(Q2, 1, false)), Reads(PubRec::new(id(1)).into()), Rests])
    });
    client_violates("MQTT-4.6.0-4", || {
        client(vec![
            Writes(message(Q2, 1, false)),
            Writes(message(Q2, 2, false)),
            Reads(PubRec::new(id(2)).into()),
            Reads(PubRec::new(id(1)).into()),
            Writes(PubRel::new(id(1)).into()),
        ])
    });
}

#[test]
fn the_deliveries_of_a_receiver() {
    client_violates("MQTT-4.6.0-2", || {
        client(vec![Reads(message(Q1, 1, false)), Reads(message(Q1, 2, false)), Writes(PubAck::new(id(2)).into())])
    });
    client_violates("MQTT-4.6.0-3", || {
        client(vec![Reads(message(Q2, 1, false)), Reads(message(Q2, 2, false)), Writes(PubRec::new(id(2)).into())])
    });
    client_violates("MQTT-4.3.3-11", || client(vec![Reads(message(Q2, 1, false)), Writes(PubComp::new(id(1)).into())]));
    client_violates("MQTT-4.3.3-11", || client(vec![Reads(PubRel::new(id(1)).into()), Rests]));
    client_violates("MQTT-3.3.4-1", || client(vec![Reads(message(Q1, 1, false)), Rests]));
    client_violates("MQTT-3.3.4-1", || client(vec![Reads(message(Q2, 1, false)), Rests]));
}

#[test]
fn the_beginning_and_the_end_of_a_server() {
    server_violates("MQTT-3.2.0-1", || vec![Writes(connack(false, ConnAckProperties::default()))]);
    server_violates("MQTT-3.2.0-1", || vec![Reads(connect(ConnectProperties::default())), Writes(Packet::PingResp)]);
    server_violates("MQTT-3.2.0-1", || {
        vec![Reads(connect(ConnectProperties::default())), Writes(Disconnect::default().into())]
    });
    server_violates("MQTT-3.2.0-2", || server(vec![Writes(connack(false, ConnAckProperties::default()))]));
    server_violates("MQTT-3.14.4-1", || {
        server(vec![Writes(Disconnect::default().into()), Writes(message(Q1, 1, false))])
    });
    server_violates("MQTT-3.14.4-1", || {
        let refused = ConnAck { reason_code: ConnAckReasonCode::Banned, ..ConnAck::default() };
        let reads = Reads(connect(ConnectProperties::default()));
        vec![reads, Writes(refused.into()), Writes(Disconnect::default().into())]
    });
    server_violates("MQTT-3.2.2-2", || {
        let connect = Connect { version: Version::V5, clean_start: true, ..Connect::default() };
        vec![Reads(connect.into()), Writes(connack(true, ConnAckProperties::default()))]
    });
    server_violates("MQTT-3.1.3-7", || {
        let connect = Connect { version: Version::V5, clean_start: true, ..Connect::default() };
        vec![Reads(connect.into()), Writes(connack(false, ConnAckProperties::default()))]
    });
    server_violates("MQTT-3.1.2-28", || {
        let response_information = Some(text("base"));
        let properties = ConnAckProperties { response_information, ..ConnAckProperties::default() };
        vec![Reads(connect(ConnectProperties::default())), Writes(connack(false, properties))]
    });
    server_violates("MQTT-4.12.0-6", || vec![Reads(connect(ConnectProperties::default())), Writes(auth(STEP, "M"))]);
    server_violates("MQTT-4.12.0-6", || {
        vec![Reads(connect(ConnectProperties::default())), Writes(connack(false, method_of_connack("M")))]
    });
    server_violates("MQTT-4.12.0-5", || {
        vec![Reads(connect(method("M"))), Writes(connack(false, ConnAckProperties::default()))]
    });
    server_violates("MQTT-4.12.0-5", || vec![Reads(connect(method("M"))), Writes(auth(STEP, "other"))]);
    server_violates("MQTT-4.12.0-2", || vec![Reads(connect(method("M"))), Writes(auth(AuthReasonCode::Success, "M"))]);
}

#[test]
fn the_answers_of_a_server() {
    server_violates("MQTT-3.12.4-1", || server(vec![Writes(Packet::PingResp)]));
    server_violates("MQTT-3.12.4-1", || server(vec![Reads(Packet::PingReq), Rests]));
    server_violates("MQTT-3.8.4-2", || server(vec![Reads(subscribe(1)), Writes(suback(2, AckProperties::default()))]));
    server_violates("MQTT-3.8.4-1", || server(vec![Reads(subscribe(1)), Rests]));
    server_violates("MQTT-3.1.2-29", || {
        let declines = ConnectProperties { request_problem_information: Some(false), ..ConnectProperties::default() };
        let because = AckProperties { reason_string: Some(text("because")), ..AckProperties::default() };
        server_with(declines, vec![Reads(subscribe(1)), Writes(suback(1, because))])
    });
    server_violates("MQTT-3.1.2-24", || {
        let limit = ConnectProperties { maximum_packet_size: NonZeroU32::new(6), ..ConnectProperties::default() };
        server_with(limit, vec![Writes(message(QoS::AtMostOnce, 0, false))])
    });
    server_violates("MQTT-3.1.2-26", || server(vec![Writes(aliased("t", 1))]));
    server_violates("MQTT-3.3.4-9", || {
        let limit = ConnectProperties { receive_maximum: NonZeroU16::new(1), ..ConnectProperties::default() };
        server_with(limit, vec![Writes(message(Q1, 1, false)), Writes(message(Q2, 2, false))])
    });
}

/// A packet that is malformed, or that the endpoint must not send: the decoder refuses it.
#[test]
fn a_malformed_packet_of_the_endpoint() {
    let connects = |rules: &mut Rules| {
        let mut bytes = Vec::new();
        connect(ConnectProperties::default()).encode(Version::V5, &mut bytes).unwrap();
        rules.written(Instant::EPOCH, &bytes);
        rules.read(b"\x20\x03\x00\x00\x00");
    };
    let cases: [&[u8]; 4] = [
        b"\x80\x06\x00\x01\x00\x00\x01a", // SUBSCRIBE without its flag
        b"\x30\x84\x00\x00\x01t\x00",     // a Remaining Length with a byte too many
        b"\xd0\x00",                      // PINGRESP
        b"\x30\x06\x00\x01t\x02\x0b\x01", // a Subscription Identifier
    ];
    for bytes in cases {
        let mut rules = Rules::new(Sender::Client, Version::V5);
        connects(&mut rules);
        let result = catch_unwind(AssertUnwindSafe(|| rules.written(Instant::EPOCH, bytes)));
        assert!(result.is_err(), "{bytes:02x?}");
    }
}
