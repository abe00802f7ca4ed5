//! Messages that an end sends.

use std::collections::BTreeSet;

use mqtt_sansio::codec::{
    AckProperties, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode, PublishProperties,
    ReasonCode,
};
use mqtt_sansio::{AbandonReason, Message, Version};

use super::{Announced, End, Event, Setup, delivered, success};
use crate::packets::{Done, QOS_0, QOS_1, QOS_2, again, decode_of, delivery, id, published};

/// More messages than there are identifiers skip those that are in use.
pub(crate) fn identifiers_in_use_are_skipped(end: &mut impl End, open: &BTreeSet<u16>) {
    assert_eq!(end.in_use(), open.len());
    for _ in 0..70_000 {
        let token = end.publish("more", QOS_1);
        let [number] = end.sent_ids()[..] else { panic!("one packet") };
        assert!(number != 0 && !open.contains(&number), "{number} is in use");
        assert_eq!(end.receive(&[PubAck::new(id(number)).into()]), [success(token)]);
    }
    assert_eq!(end.in_use(), open.len());
}

pub(crate) fn new_messages_take_an_unused_identifier<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.publish("1", QOS_1);
    end.publish("2", QOS_2);
    end.publish("3", QOS_2);
    end.receive(&[PubRec::new(id(3)).into()]);
    end.take();
    identifiers_in_use_are_skipped(&mut end, &BTreeSet::from([1, 2, 3]));
}

pub(crate) fn a_retransmission_has_dup<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.publish("1", QOS_1);
    end.publish("2", QOS_2);
    end.assert_sent(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    for _ in 0..3 {
        end.resume();
        end.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
    }
    // No byte of this one has left, so it is sent for the first time.
    end.publish("3", QOS_1);
    end.resume();
    let first_time = published("3", delivery(QOS_1, 4)); // 3 is not reused at once
    end.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2)), first_time]);
}

pub(crate) fn qos_0_has_no_dup<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.lose();
    end.publish("waits", QOS_0);
    end.reconnect(Announced::default());
    end.publish("now", QOS_0);
    end.assert_sent(&[published("waits", delivery(QOS_0, 0)), published("now", delivery(QOS_0, 0))]);
    // A message of QoS 0 that was not written is lost and never sent again.
    end.poll();
    let token = end.publish("lost", QOS_0);
    assert_eq!(end.lose(), [Event::Done(token, Done::Abandoned(AbandonReason::Connection))]);
    end.reconnect(Announced::default());
    end.assert_silent();
}

pub(crate) fn qos_1_begins_with_an_unused_identifier_and_without_dup<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    // A message that waits for a connection is sent for the first time as well.
    end.lose();
    end.publish("a", QOS_1);
    end.reconnect(Announced::default());
    end.publish("b", QOS_1);
    end.assert_sent(&[published("a", delivery(QOS_1, 1)), published("b", delivery(QOS_1, 2))]);
    // `a` is in flight and `b` is not any more, so the third message shows which identifiers are unused.
    end.receive(&[PubAck::new(id(2)).into()]);
    end.publish("c", QOS_1);
    end.publish("d", QOS_1);
    let ids = end.sent_ids();
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1), "{ids:?}");
}

pub(crate) fn qos_1_is_unacknowledged_until_puback<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    let token = end.publish("x", QOS_1);
    end.take();
    for _ in 0..3 {
        end.later(10_000);
        assert_eq!((end.poll(), end.in_use()), (vec![], 1));
        end.resume();
        end.assert_sent(&[published("x", again(QOS_1, 1))]);
    }
    assert_eq!(end.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    assert_eq!(end.in_use(), 0);
    end.resume();
    end.assert_silent();
}

pub(crate) fn qos_2_begins_with_an_unused_identifier_and_without_dup<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.lose();
    end.publish("a", QOS_2);
    end.reconnect(Announced::default());
    end.publish("b", QOS_2);
    end.publish("c", QOS_2);
    let first_times = [("a", 1), ("b", 2), ("c", 3)].map(|(payload, at)| published(payload, delivery(QOS_2, at)));
    end.assert_sent(&first_times);
    // One message is unacknowledged, one is released, one is complete: two identifiers are in use.
    end.receive(&[PubRec::new(id(2)).into(), PubRec::new(id(3)).into(), PubComp::new(id(3)).into()]);
    end.take();
    end.publish("d", QOS_2);
    end.publish("e", QOS_2);
    let ids = end.sent_ids();
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1) && !ids.contains(&2), "{ids:?}");
}

pub(crate) fn qos_2_is_unacknowledged_until_pubrec<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.publish("x", QOS_2);
    end.take();
    for _ in 0..3 {
        end.resume();
        end.assert_sent(&[published("x", again(QOS_2, 1))]);
        assert_eq!(end.in_use(), 1);
    }
    assert_eq!(end.receive(&[PubRec::new(id(1)).into()]), []);
    end.assert_sent(&[PubRel::new(id(1)).into()]);
    end.resume();
    end.assert_sent(&[PubRel::new(id(1)).into()]);
}

pub(crate) fn pubrec_without_an_error_is_answered_by_pubrel<E: End>() {
    for &reason_code in PubAckReasonCode::ALL {
        let mut end = E::open(Setup::of(Version::V5));
        let token = end.publish("x", QOS_2);
        end.take();
        let events = end.receive(&[PubRec { reason_code, ..PubRec::new(id(1)) }.into()]);
        if reason_code.is_error() {
            assert_eq!(events, [Event::Done(token, Done::Acknowledged(reason_code.into()))]);
            end.assert_silent();
        } else {
            assert_eq!(events, []);
            end.assert_sent(&[PubRel::new(id(1)).into()]);
        }
    }
}

pub(crate) fn pubrel_is_unacknowledged_until_pubcomp<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    let token = end.publish("x", QOS_2);
    end.receive(&[PubRec::new(id(1)).into()]);
    end.take();
    for _ in 0..3 {
        end.later(10_000);
        assert_eq!((end.poll(), end.in_use()), (vec![], 1));
        end.resume();
        end.assert_sent(&[PubRel::new(id(1)).into()]);
    }
    assert_eq!(end.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    end.resume();
    end.assert_silent();
}

pub(crate) fn no_publish_follows_pubrel<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.publish("x", QOS_2);
    end.receive(&[PubRec::new(id(1)).into()]);
    end.assert_sent(&[published("x", delivery(QOS_2, 1)), PubRel::new(id(1)).into()]);
    for _ in 0..3 {
        end.resume();
        end.assert_sent(&[PubRel::new(id(1)).into()]);
        end.receive(&[PubRec::new(id(1)).into()]);
        end.assert_sent(&[PubRel::new(id(1)).into()]);
    }
}

pub(crate) fn a_message_that_was_sent_does_not_expire<E: End>() {
    let mut end = E::open(Setup::of(Version::V5));
    let properties = PublishProperties { message_expiry_interval: Some(5), ..Default::default() };
    let token = end.send(&Message::new("t", "x").qos(QOS_2).properties(properties));
    end.poll();
    end.take();
    end.later(60_000);
    end.resume();
    let sent = end.take();
    let [Packet::Publish(sent)] = decode_of(&sent, Version::V5, E::SENDER)[..] else { panic!("one message") };
    assert_eq!((sent.delivery, sent.payload), (again(QOS_2, 1), &b"x"[..]));
    assert_eq!(sent.properties.message_expiry_interval, Some(1)); // what is left, but not 0
    end.receive(&[PubRec::new(id(1)).into()]);
    end.later(60_000);
    end.assert_sent(&[PubRel::new(id(1)).into()]);
    assert_eq!(end.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
}

/// PUBREL never has a Reason String or User Properties: not on success, not for an unknown identifier, not when sent again.
/// Nor has PUBCOMP.
pub(crate) fn pubrel_and_pubcomp_are_bare<E: End>() {
    for limit in [5, 8, 1000] {
        let peer = Announced { maximum_packet_size: Some(limit), ..Announced::default() };
        let mut end = E::open(Setup { peer, ..Setup::of(Version::V5) });
        if limit >= 8 {
            end.publish("", QOS_2);
            end.publish("", QOS_2);
            end.take();
            for _ in 0..2 {
                end.receive(&[PubRec::new(id(1)).into()]);
                end.assert_sent(&[PubRel::new(id(1)).into()]);
            }
            end.lose();
            end.reconnect(peer);
            end.assert_sent(&[PubRel::new(id(1)).into(), published("", again(QOS_2, 2))]);
        }
        let (reason_code, properties) = (PubRelReasonCode::PacketIdentifierNotFound, AckProperties::default());
        end.receive(&[PubRec::new(id(50)).into(), PubRel::new(id(60)).into()]);
        end.assert_sent(&[
            PubRel { id: id(50), reason_code, properties }.into(),
            PubComp { id: id(60), reason_code, properties }.into(),
        ]);
        end.receive(&[published("x", delivery(QOS_2, 9)), PubRel::new(id(9)).into()]);
        end.assert_sent(&[PubRec::new(id(9)).into(), PubComp::new(id(9)).into()]);
    }
}

pub(crate) fn resent_on_resumption_alone_and_with_the_same_identifiers<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    for payload in ["1", "2", "3", "4"] {
        end.publish(payload, QOS_2);
    }
    end.receive(&[PubAck::new(id(50)).into(), PubRec::new(id(2)).into(), PubRec::new(id(4)).into()]);
    end.take();
    // While the connection lasts nothing is sent again, however long no answer arrives.
    for _ in 0..10 {
        end.idle();
    }
    end.resume();
    end.assert_sent(&[
        PubRel::new(id(2)).into(),
        PubRel::new(id(4)).into(),
        published("1", again(QOS_2, 1)),
        published("3", again(QOS_2, 3)),
    ]);
    // Nothing is sent again if the peer has no session.
    end.resume_without_a_session();
    end.assert_silent();
}

pub(crate) fn a_refusal_ends_the_delivery<E: End>() {
    let mut end = E::open(Setup::of(Version::V5));
    let tokens = [end.publish("1", QOS_1), end.publish("2", QOS_2)];
    end.take();
    let reason_code = PubAckReasonCode::NotAuthorized;
    let events = end.receive(&[
        PubAck { reason_code, ..PubAck::new(id(1)) }.into(),
        PubRec { reason_code, ..PubRec::new(id(2)) }.into(),
    ]);
    let refused = Done::Acknowledged(ReasonCode::NotAuthorized);
    assert_eq!(events, tokens.map(|token| Event::Done(token, refused.clone())));
    assert_eq!(end.in_use(), 0);
    end.resume();
    end.assert_silent();
}

pub(crate) fn publishes_are_sent_again_in_order<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    // Free identifiers are reused in between, so that their order is not the order of the messages.
    for payload in ["1", "2", "3", "4", "5"] {
        end.publish(payload, QOS_1);
    }
    end.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(4)).into(), PubAck::new(id(2)).into()]);
    end.later(60_000);
    end.poll();
    for payload in ["6", "7", "8", "9"] {
        end.publish(payload, if payload == "7" { QOS_2 } else { QOS_1 });
    }
    end.take();
    for _ in 0..2 {
        end.resume();
        assert_eq!(end.sent_payloads(), ["3", "5", "6", "7", "8", "9"]);
    }
}

pub(crate) fn pubrels_go_in_the_order_of_the_pubrecs<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    for _ in 0..5 {
        end.publish("x", QOS_2);
    }
    end.take();
    let order = [3, 1, 5, 2, 4];
    end.receive(&order.map(|number| PubRec::new(id(number)).into()));
    assert_eq!(end.sent_ids(), order);
    for _ in 0..2 {
        end.resume();
        assert_eq!(end.sent_ids(), order);
    }
}

/// The session lasts as long as its connection, in both directions.
pub(crate) fn the_session_lasts_as_long_as_the_connection(end: &mut impl End) {
    let tokens = [end.publish("1", QOS_1), end.publish("2", QOS_2)];
    assert_eq!(end.receive(&[published("half", delivery(QOS_2, 5))]), [delivered("half", QOS_2)]);
    end.receive(&[PubRec::new(id(2)).into()]);
    end.take();
    end.later(10_000_000_000);
    assert_eq!(end.poll(), []);
    assert_eq!(end.in_use(), 2);
    assert_eq!(end.receive(&[published("half", again(QOS_2, 5))]), []);
    end.assert_sent(&[PubRec::new(id(5)).into()]);
    let events = end.receive(&[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
    assert_eq!(events, tokens.map(success));
}
