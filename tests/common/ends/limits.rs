//! Topic aliases, and the size of packets.

use mqtt_sansio::codec::{Delivery, DisconnectReasonCode, Packet, PubRel, Publish, PublishProperties, ReasonCode};
use mqtt_sansio::{ProtocolError, TopicName, Version};

use super::{Announced, End, Event, Setup, delivered};
use crate::packets::{QOS_0, QOS_1, QOS_2, again, delivery, id, publish, published};

/// A PUBLISH that uses a topic alias, or sets it.
fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16, delivery: Delivery) -> Packet<'a> {
    let properties = PublishProperties { topic_alias: alias.try_into().ok(), ..Default::default() };
    let topic = if topic.is_empty() { TopicName::default() } else { TopicName::new(topic).unwrap() };
    Publish { topic, properties, ..publish(payload, delivery) }.into()
}

/// An end that accepts so many topic aliases.
fn accepting<E: End>(maximum: u16) -> E {
    E::open(Setup { topic_alias_maximum: maximum, ..Setup::of(Version::V5) })
}

pub(crate) fn aliases_end_with_the_connection<E: End>() {
    let peer = Announced { topic_alias_maximum: Some(5), ..Announced::default() };
    let setup = Setup { topic_alias_maximum: 5, topic_aliases: 5, peer, ..Setup::of(Version::V5) };
    let mut end = E::open(setup);
    // Those of the peer.
    let events = end.receive(&[aliased("t", "1", 5, delivery(QOS_0, 0)), aliased("", "2", 5, delivery(QOS_0, 0))]);
    assert_eq!(events, [delivered("1", QOS_0), delivered("2", QOS_0)]);
    // Its own.
    end.publish("a", QOS_1);
    end.publish("b", QOS_1);
    end.assert_sent(&[aliased("t", "a", 1, delivery(QOS_1, 1)), aliased("", "b", 1, delivery(QOS_1, 2))]);
    // In the retransmission the alias is set again before it is used.
    end.lose();
    end.reconnect(peer);
    end.assert_sent(&[aliased("t", "a", 1, again(QOS_1, 1)), aliased("", "b", 1, again(QOS_1, 2))]);
    end.resume();
    end.assert_sent(&[published("a", again(QOS_1, 1)), published("b", again(QOS_1, 2))]);
    let events = end.receive(&[aliased("", "3", 5, delivery(QOS_0, 0))]);
    assert_eq!(events, [Event::ProtocolError(ProtocolError::UnknownTopicAlias)]);
}

pub(crate) fn every_alias_up_to_the_maximum_is_accepted<E: End>() {
    let topic_of = |alias: u16| format!("topic/{alias}");
    for maximum in [1, 10, 300, u16::MAX] {
        let mut end: E = accepting(maximum);
        let some = if maximum == 300 { Vec::from_iter(1..=maximum) } else { vec![1, maximum / 2 + 1, maximum] };
        for &alias in &some {
            end.receive(&[aliased(&topic_of(alias), "", alias, delivery(QOS_0, 0))]);
        }
        for &alias in &some {
            let events = end.receive(&[aliased("", "", alias, delivery(QOS_2, alias)), PubRel::new(id(alias)).into()]);
            assert!(matches!(&events[..], [Event::Message { topic, .. }] if *topic == topic_of(alias)), "{events:?}");
        }
        assert_eq!(end.sent_ids().len(), 2 * some.len());
    }
}

pub(crate) fn an_alias_out_of_range_closes<E: End>() {
    let code = DisconnectReasonCode::TopicAliasInvalid;
    for (maximum, alias) in [(0, 1), (1, 2), (5, 6), (10, 11), (5, 65_535), (65_534, 65_535)] {
        let packet = aliased("t", "x", alias, delivery(QOS_0, 0));
        accepting::<E>(maximum).assert_closes(&[packet], ProtocolError::TopicAliasInvalid, code);
    }
    // Alias 0, which the encoder cannot build.
    let mut end: E = accepting(5);
    let events = end.receive_bytes(b"\x30\x07\x00\x01t\x03\x23\x00\x00");
    assert_eq!(events, [Event::Malformed(ReasonCode::TopicAliasInvalid)]);
    end.assert_closed(code);
}

pub(crate) fn an_alias_that_was_never_set_closes<E: End>() {
    let mut end: E = accepting(5);
    assert_eq!(end.receive(&[aliased("t", "x", 1, delivery(QOS_0, 0))]), [delivered("x", QOS_0)]);
    let packet = aliased("", "x", 2, delivery(QOS_1, 1));
    end.assert_closes(&[packet], ProtocolError::UnknownTopicAlias, DisconnectReasonCode::ProtocolError);
}

pub(crate) fn an_alias_can_be_set_again<E: End>() {
    let mut end: E = accepting(5);
    let mut topics = Vec::new();
    for topic in ["first", "", "second", "", "second", ""] {
        let events = end.receive(&[aliased(topic, "", 3, delivery(QOS_0, 0))]);
        let [Event::Message { topic, .. }] = &events[..] else { panic!("{events:?}") };
        topics.push(topic.clone());
    }
    assert_eq!(topics, ["first", "first", "second", "second", "second", "second"]);
}

/// The fixed header is enough to refuse a packet.
pub(crate) fn a_packet_above_the_own_maximum_closes<E: End>(version: Version) {
    let limited = Setup { maximum_packet_size: Some(100), ..Setup::of(version) };
    let head = if version == Version::V5 { 2 + 3 + 1 } else { 2 + 3 };
    let fitting = "x".repeat(100 - head);
    let mut end = E::open(limited);
    assert_eq!(end.receive(&[published(&fitting, delivery(QOS_0, 0))]), [delivered(&fitting, QOS_0)]);
    let larger = fitting + "x";
    assert_eq!(end.receive(&[published(&larger, delivery(QOS_0, 0))]), [Event::Malformed(ReasonCode::PacketTooLarge)]);
    end.assert_closed(DisconnectReasonCode::PacketTooLarge);
    let mut end = E::open(limited);
    assert_eq!(end.receive_bytes(b"\x32\x63"), [Event::Malformed(ReasonCode::PacketTooLarge)]);
    end.assert_closed(DisconnectReasonCode::PacketTooLarge);
}
