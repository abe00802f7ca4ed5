//! Section 3.1: CONNECT.

use super::*;
use mqtt_sansio::SessionExpiry;

/// [5.0: MQTT-3.1.0-1]
#[test]
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    let mut wire = Wire::new(v5());
    wire.publish("0", QOS_0);
    wire.publish("1", QOS_1);
    wire.subscribe();
    wire.unsubscribe();
    wire.poll();
    wire.assert_silent();
    let sent = wire.open();
    assert_eq!(sent[0], 0x10);
    wire.publish("2", QOS_2);
    wire.later(29_000);
    wire.poll();
    wire.assert_silent();
}

/// [5.0: MQTT-3.1.2-4]
#[test]
fn mqtt_3_1_2_4_clean_start_begins_anew() {
    let mut wire = Wire::new(ClientConfig { session_expiry_interval: SessionExpiry::WITH_CONNECTION, ..v5() });
    let connect = wire.open();
    assert!(connect_of(&connect, Version::V5).clean_start);
    wire.receive(&[connack().into()]);
    let token = wire.publish("old", QOS_1);
    wire.receive(&[published("half", delivery(QOS_2, 1))]);
    wire.take();
    // The session ends with its connection, and the client discards its state.
    assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Session)]);
    assert_eq!(wire.client.operations_in_flight(), 0);
    let connect = wire.open();
    assert!(connect_of(&connect, Version::V5).clean_start);
    assert_eq!(wire.receive(&[connack().into()]), [Event::Connected(Resumption::New)]);
    wire.assert_silent();
    // The same identifier means a new message in a new session.
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 1))]), [delivered("new", QOS_2)]);
}

/// Polls a client at its deadlines only. Returns the times of its PINGREQs in milliseconds.
pub(crate) fn pings(wire: &mut Wire, until: u64) -> Vec<u64> {
    let (start, mut pings) = (wire.now, Vec::new());
    while let Some(deadline) = wire.client.deadline()
        && deadline.since(start).as_millis() <= u128::from(until)
    {
        wire.now = deadline;
        assert_eq!(wire.poll(), []);
        wire.assert_sent(&[Packet::PingReq]);
        pings.push(wire.now.since(start).as_millis() as u64);
        assert_eq!(wire.receive(&[Packet::PingResp]), []);
    }
    pings
}

/// [5.0: MQTT-3.1.2-20]
#[test]
fn mqtt_3_1_2_20_an_idle_client_sends_pingreq() {
    for keep_alive in [1, 2, 10, 60, 65_535] {
        let mut wire = Wire::connected(ClientConfig { keep_alive: NonZeroU16::new(keep_alive), ..v5() });
        let (interval, mut before) = (u64::from(keep_alive) * 1000, 0);
        let pings = pings(&mut wire, interval * 10);
        assert!((10..=13).contains(&pings.len()), "{pings:?}");
        for at in pings {
            assert!(at > before && at - before <= interval, "{at} comes {} ms after {before}", at - before);
            before = at;
        }
    }
    // Without a Keep Alive there is no PINGREQ and no deadline.
    let mut wire = Wire::connected(ClientConfig { keep_alive: None, ..v5() });
    assert_eq!(wire.client.deadline(), None);
    wire.later(1_000_000_000);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
}

/// [5.0: MQTT-3.1.2-21, MQTT-3.2.2-21]
#[test]
fn mqtt_3_1_2_21_and_mqtt_3_2_2_21_server_keep_alive_wins() {
    let server = |seconds| connack_with(ConnAckProperties { server_keep_alive: Some(seconds), ..Default::default() });
    for (ours, theirs) in [(60, 5), (5, 60), (0, 5)] {
        let mut wire = Wire::connected_by(ClientConfig { keep_alive: NonZeroU16::new(ours), ..v5() }, server(theirs));
        let first = pings(&mut wire, 120_000)[0];
        let latest = u64::from(theirs) * 1000;
        assert!(first <= latest && first >= latest / 2, "{ours}, {theirs}: {first}");
    }
    let wire = Wire::connected_by(ClientConfig { keep_alive: NonZeroU16::new(5), ..v5() }, server(0));
    assert_eq!(wire.client.deadline(), None);
}

/// [5.0: MQTT-3.1.2-23]
#[test]
fn mqtt_3_1_2_23_an_expiry_interval_keeps_the_session() {
    let mut wire = Wire::connected(ClientConfig { session_expiry_interval: SessionExpiry::after(1), ..v5() });
    let token = wire.publish("kept", QOS_1);
    wire.receive(&[published("half", delivery(QOS_2, 9))]);
    wire.take();
    assert_eq!(wire.lose(), []);
    assert_eq!(wire.client.operations_in_flight(), 1);
    let connect = wire.open();
    assert!(!connect_of(&connect, Version::V5).clean_start);
    assert_eq!(wire.receive(&[present().into()]), [Event::Connected(Resumption::Resumed)]);
    wire.assert_sent(&[published("kept", again(QOS_1, 1))]);
    assert_eq!(wire.receive(&[published("half", again(QOS_2, 9))]), []);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    // The Session Expiry Interval granted by the server holds.
    let none = ConnAckProperties { session_expiry_interval: Some(0), ..Default::default() };
    let mut wire = Wire::connected_by(v5(), connack_with(none));
    let token = wire.publish("not kept", QOS_1);
    wire.take();
    assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Session)]);
}

/// [5.0: MQTT-3.1.2-30]
#[test]
fn mqtt_3_1_2_30_only_auth_or_disconnect_before_connack() {
    let mut wire = Wire::new(authenticating());
    wire.subscribe();
    wire.open();
    wire.publish("0", QOS_0);
    wire.publish("1", QOS_1);
    wire.unsubscribe();
    wire.assert_silent();
    assert_eq!(
        wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"1").into()]),
        [Event::Auth(AuthReasonCode::ContinueAuthentication)]
    );
    wire.later(20_000);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    wire.client.authenticate(wire.now, b"2").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"2").into()]);
    wire.client.disconnect(wire.now, &Disconnect::default()).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
}

/// [5.0: MQTT-3.1.3-2]
#[test]
fn mqtt_3_1_3_2_the_client_identifier_keys_the_session() {
    // A client reconnects with the Assigned Client Identifier.
    let mut wire = Wire::new(ClientConfig { client_id: String::new(), ..v5() });
    let connect = wire.open();
    assert_eq!(connect_of(&connect, Version::V5).client_identifier, "");
    let assigned = Some(Utf8Str::new("chosen").unwrap());
    let properties = ConnAckProperties { assigned_client_identifier: assigned, ..Default::default() };
    wire.receive(&[connack_with(properties).into()]);
    wire.lose();
    let connect = wire.open();
    assert_eq!(connect_of(&connect, Version::V5).client_identifier, "chosen");
    assert_eq!(wire.client.config().client_id, "chosen");
}

/// The state of a session does not apply to a session of another client identifier.
/// [5.0: MQTT-3.1.3-2]
#[test]
fn mqtt_3_1_3_2_another_client_identifier_is_another_session() {
    let mut wire = Wire::connected(v5());
    wire.publish("of the first", QOS_1);
    wire.take();
    wire.lose();
    let another = ClientConfig { client_id: "another".into(), ..v5() };
    wire.client.reconfigure(another).unwrap();
    let connect = wire.open();
    let clean_start = connect_of(&connect, Version::V5).clean_start;
    let events = wire.receive(&[if clean_start { connack() } else { present() }.into()]);
    // A client may ask for a new session, or discard the one that it knows nothing of. In both cases a message that may
    // have been delivered in one session is not sent again in another, where its identifier means nothing.
    let sent = wire.take();
    let packets = decode(&sent, Version::V5);
    let repeated = packets.iter().any(|packet| matches!(packet, Packet::Publish(publish) if publish.delivery.dup()));
    assert!(!repeated, "{events:?}, then {packets:?}");
}
