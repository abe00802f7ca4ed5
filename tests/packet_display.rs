//! `Display` prints a packet in one line, for a log.

use mqtt_sansio::codec::{
    Auth, ConnAck, ConnAckReasonCode, Connect, Delivery, Disconnect, List, Packet, PubAck, PubComp, PubRec, PubRel,
    Publish, SubAck, SubAckReasonCode, Subscribe, Subscription, UnsubAck, Unsubscribe, Will,
};
use mqtt_sansio::{PacketId, QoS, TopicFilter, TopicName, Utf8Str};

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap()
}

#[test]
fn every_packet_type() {
    let connect = Connect {
        clean_start: true,
        client_identifier: text("thermo-7"),
        keep_alive: 60,
        user_name: Some(text("ann")),
        password: Some(b"hidden"),
        will: Some(Will::default()),
        ..Connect::default()
    };
    let topic = TopicName::new("home/temp").unwrap();
    let publish = |delivery, retain| Publish { topic, payload: b"hidden", delivery, retain, ..Publish::default() };
    let refused = ConnAck { reason_code: ConnAckReasonCode::NotAuthorized, ..ConnAck::default() };
    let subscriptions = ["a/+", "#"].map(|filter| Subscription::new(filter, QoS::AtLeastOnce).unwrap());
    let filters = [TopicFilter::new("a/+").unwrap()];
    let codes = [SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized];
    let packets: [(Packet<'_>, &str); 18] = [
        (connect.into(), "CONNECT 5.0 \"thermo-7\", keep alive 60 s, clean start, will"),
        (ConnAck { session_present: true, ..ConnAck::default() }.into(), "CONNACK 0x00 (Success), session present"),
        (refused.into(), "CONNACK 0x87 (Not authorized)"),
        (publish(Delivery::AtMostOnce, true).into(), "PUBLISH QoS 0, RETAIN, \"home/temp\", 6 bytes"),
        (
            publish(Delivery::ExactlyOnce { id: id(7), dup: true }, false).into(),
            "PUBLISH 7, QoS 2, DUP, \"home/temp\", 6 bytes",
        ),
        (PubAck::new(id(7)).into(), "PUBACK 7, 0x00 (Success)"),
        (PubRec::new(id(7)).into(), "PUBREC 7, 0x00 (Success)"),
        (PubRel::new(id(7)).into(), "PUBREL 7, 0x00 (Success)"),
        (PubComp::new(id(7)).into(), "PUBCOMP 7, 0x00 (Success)"),
        (Subscribe::new(id(7), &subscriptions).into(), "SUBSCRIBE 7, \"a/+\" QoS 1, \"#\" QoS 1"),
        (SubAck::new(id(7), &codes).into(), "SUBACK 7, 0x01 (Granted QoS 1), 0x87 (Not authorized)"),
        (Unsubscribe::new(id(7), &filters).into(), "UNSUBSCRIBE 7, \"a/+\""),
        (UnsubAck::new(id(7), &[]).into(), "UNSUBACK 7"),
        (Packet::PingReq, "PINGREQ"),
        (Packet::PingResp, "PINGRESP"),
        (Disconnect::default().into(), "DISCONNECT 0x00 (Normal disconnection)"),
        (Auth::default().into(), "AUTH 0x00 (Success)"),
        (
            publish(Delivery::AtLeastOnce { id: id(1), dup: false }, false).into(),
            "PUBLISH 1, QoS 1, \"home/temp\", 6 bytes",
        ),
    ];
    for (packet, expected) in packets {
        assert_eq!(packet.to_string(), expected);
    }
}

/// A packet that a peer has made is one line, however many filters it has, and whatever they contain.
#[test]
fn a_line_is_bounded_and_one_line() {
    let filters: Vec<String> = (0..1000).map(|number| format!("a\n{number}")).collect();
    let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
    let packet =
        Packet::from(Unsubscribe { id: id(1), filters: List::from(&filters[..]), properties: Default::default() });
    let line = packet.to_string();
    assert!(
        line.starts_with(r#"UNSUBSCRIBE 1, "a\n0", "a\n1", "#) && line.ends_with(r#""a\n7" and 992 more"#),
        "{line}"
    );
    let connect = Connect { client_identifier: text("a\nb"), ..Connect::default() };
    assert_eq!(Packet::from(connect).to_string(), r#"CONNECT 5.0 "a\nb", keep alive 0 s"#);
}
