//! The limits on messages in flight, in both directions.

use mqtt_sansio::codec::{DisconnectReasonCode, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode};
use mqtt_sansio::{ProtocolError, Version};

use super::{Announced, End, Setup, delivered, success};
use crate::packets::{QOS_0, QOS_1, QOS_2, delivery, id, published};

pub(crate) fn at_most_receive_maximum<E: End>() {
    let mut end = E::open(Setup::windowed(3));
    for payload in ["1", "2", "3", "4", "5", "6"] {
        end.publish(payload, if payload == "2" { QOS_2 } else { QOS_1 });
    }
    assert_eq!(end.sent_payloads(), ["1", "2", "3"]);
    assert_eq!((end.in_flight(), end.queued()), (3, 3));
    // PUBREC alone does not free quota, and time does not either.
    end.receive(&[PubRec::new(id(2)).into()]);
    end.assert_sent(&[PubRel::new(id(2)).into()]);
    end.later(1000);
    end.poll();
    end.assert_silent();
    end.receive(&[PubComp::new(id(2)).into()]);
    assert_eq!(end.sent_payloads(), ["4"]);
    end.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(3)).into()]);
    assert_eq!(end.sent_payloads(), ["5", "6"]);
    // 65,535 messages if the peer announces no Receive Maximum.
    let mut end = E::open(Setup { is_roomy: true, ..Setup::of(Version::V5) });
    for _ in 0..65_535 {
        end.publish("", QOS_1);
    }
    assert_eq!(end.in_flight(), 65_535);
}

pub(crate) fn a_full_window_delays_messages_alone<E: End>() {
    let mut end = E::open(Setup::windowed(1));
    end.publish("1", QOS_1);
    end.publish("waits", QOS_1);
    end.assert_sent(&[published("1", delivery(QOS_1, 1))]);
    end.receive(&[published("a", delivery(QOS_1, 7)), published("b", delivery(QOS_2, 8)), PubRel::new(id(8)).into()]);
    end.publish("0", QOS_0);
    end.assert_sent(&[
        PubAck::new(id(7)).into(),
        PubRec::new(id(8)).into(),
        PubComp::new(id(8)).into(),
        published("0", delivery(QOS_0, 0)),
    ]);
    end.poll();
    end.exchange_others();
    assert_eq!(end.queued(), 1);
    end.disconnect();
}

pub(crate) fn the_quota_is_at_most_the_receive_maximum<E: End>() {
    for (ours, theirs) in [(10, 1), (1, 10), (3, 3), (65_535, 65_535)] {
        let mut end = E::open(Setup { max_in_flight: ours, is_roomy: true, ..Setup::windowed(theirs) });
        for _ in 0..u32::from(theirs) + 1 {
            end.publish("", QOS_1);
        }
        let sent = end.sent_ids().len();
        assert!(sent > 0 && sent == usize::from(ours.min(theirs)), "{ours}, {theirs}: {sent}");
    }
}

pub(crate) fn each_publish_takes_quota<E: End>() {
    let mut end = E::open(Setup::windowed(2));
    let mut open: Vec<u16> = Vec::new();
    let mut done = 0;
    for _ in 0..20 {
        end.publish("x", QOS_1);
        end.publish("0", QOS_0); // takes no quota
    }
    for _ in 0..100 {
        open.extend(end.sent_ids());
        assert!(open.len() <= 2 && end.in_flight() == open.len(), "{open:?}");
        let Some(number) = open.pop() else { break };
        end.receive(&[PubAck::new(id(number)).into()]);
        done += 1;
    }
    assert_eq!((done, end.queued()), (20, 0));
}

pub(crate) fn without_quota_all_else_is_handled<E: End>() {
    let mut end = E::open(Setup::windowed(1));
    let token = end.publish("1", QOS_2);
    end.publish("waits", QOS_2);
    end.take();
    let events =
        end.receive(&[published("in", delivery(QOS_1, 1)), PubRec::new(id(1)).into(), PubRel::new(id(9)).into()]);
    assert_eq!(events, [delivered("in", QOS_1)]);
    let comp = PubComp { reason_code: PubRelReasonCode::PacketIdentifierNotFound, ..PubComp::new(id(9)) };
    end.assert_sent(&[PubAck::new(id(1)).into(), PubRel::new(id(1)).into(), comp.into()]);
    end.poll();
    end.exchange_others();
    assert_eq!(end.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    assert_eq!(end.sent_payloads(), ["waits"]);
}

pub(crate) fn the_quota_returns_to_its_maximum_and_no_further<E: End>() {
    let mut end = E::open(Setup::windowed(2));
    for qos in [QOS_1, QOS_2, QOS_2, QOS_1, QOS_1, QOS_1, QOS_1] {
        end.publish("x", qos);
    }
    assert_eq!(end.sent_ids(), [1, 2]);
    // By PUBACK, with or without an error.
    let reason_code = PubAckReasonCode::QuotaExceeded;
    end.receive(&[PubAck { reason_code, ..PubAck::new(id(1)) }.into()]);
    let [third] = end.sent_ids()[..] else { panic!("one message") };
    // By PUBREC with an error.
    end.receive(&[PubRec { reason_code, ..PubRec::new(id(2)) }.into()]);
    assert_eq!(end.sent_ids().len(), 1);
    // By PUBCOMP, once, and not by PUBREC alone.
    end.receive(&[PubRec::new(id(third)).into()]);
    assert_eq!(end.in_flight(), 2);
    end.assert_sent(&[PubRel::new(id(third)).into()]);
    end.receive(&[PubComp::new(id(third)).into(), PubComp::new(id(third)).into()]);
    assert_eq!(end.sent_ids().len(), 1);
    // Not by acknowledgements of packets that were not sent.
    for number in 100..110 {
        end.receive(&[PubAck::new(id(number)).into(), PubComp::new(id(number)).into()]);
    }
    end.assert_silent();
    assert_eq!((end.in_flight(), end.queued()), (2, 2));
}

/// A resumed connection starts with its full quota, which retransmissions take like new messages.
pub(crate) fn the_quota_of_a_resumed_connection<E: End>() {
    let limited = |number| Announced { receive_maximum: Some(number), ..Announced::default() };
    let mut end = E::open(Setup::of(Version::V5));
    for payload in ["1", "2", "3", "4", "5"] {
        end.publish(payload, QOS_1);
    }
    end.take();
    end.lose();
    end.reconnect(limited(2));
    assert_eq!(end.sent_payloads(), ["1", "2"]);
    let new = end.publish("new", QOS_1);
    end.assert_silent();
    for (number, payload) in [(1, "3"), (2, "4"), (3, "5")] {
        assert_eq!(end.in_flight(), 2);
        end.receive(&[PubAck::new(id(number)).into()]);
        assert_eq!(end.sent_payloads(), [payload]);
    }
    end.receive(&[PubAck::new(id(4)).into(), PubAck::new(id(5)).into()]);
    let [number] = end.sent_ids()[..] else { panic!("one message") };
    assert_eq!(end.receive(&[PubAck::new(id(number)).into()]), [success(new)]);
    // On another connection the peer accepts many at once.
    for payload in ["1", "2", "3"] {
        end.publish(payload, QOS_1);
    }
    assert_eq!(end.sent_payloads(), ["1", "2"]);
    end.resume();
    assert_eq!(end.sent_payloads(), ["1", "2", "3"]);
    // With more PUBRELs to send than the Receive Maximum, no message is sent before there is quota. All of them are
    // delivered in the end.
    let mut end = E::open(Setup::of(Version::V5));
    for payload in ["1", "2", "3"] {
        end.publish(payload, QOS_2);
    }
    end.receive(&[1, 2, 3].map(|number| PubRec::new(id(number)).into()));
    let last = end.publish("4", QOS_1);
    end.take();
    end.lose();
    end.reconnect(limited(1));
    end.take();
    end.receive(&[1, 2, 3].map(|number| PubComp::new(id(number)).into()));
    let [number] = end.sent_ids()[..] else { panic!("one message") };
    assert_eq!(end.receive(&[PubAck::new(id(number)).into()]), [success(last)]);
}

pub(crate) fn more_than_the_own_receive_maximum_closes<E: End>() {
    let (why, code) = (ProtocolError::ReceiveMaximumExceeded, DisconnectReasonCode::ReceiveMaximumExceeded);
    let limited = Setup { receive_maximum: 2, ..Setup::of(Version::V5) };
    let manual = Setup { manual_acks: true, ..limited };
    let qos_2 = |number| published("x", delivery(QOS_2, number));
    let qos_1 = |number| published("x", delivery(QOS_1, number));
    // Neither PUBREC nor an acknowledgement that has not been sent frees quota, and QoS 0 takes none.
    E::open(limited).assert_closes(&[qos_2(1), qos_2(2), qos_2(3)], why, code);
    E::open(limited).assert_closes(&[qos_1(1), qos_1(2), qos_1(3)], why, code);
    E::open(manual).assert_closes(&[qos_1(1), qos_2(2), qos_1(3)], why, code);
    let mut end = E::open(manual);
    assert_eq!(end.receive(&[qos_1(1), qos_1(2), published("0", delivery(QOS_0, 0))]).len(), 3);
    end.assert_closes(&[qos_1(3)], why, code);
    let mut end = E::open(limited);
    end.receive(&[qos_2(1), qos_2(2)]);
    end.take();
    end.receive(&[PubRel::new(id(1)).into()]);
    end.assert_sent(&[PubComp::new(id(1)).into()]);
    assert_eq!(end.receive(&[qos_2(3)]), [delivered("x", QOS_2)]);
    end.assert_closes(&[qos_1(4)], why, code);
    // Sent acknowledgements free quota: PUBACK, PUBCOMP, and PUBREC with an error.
    let mut end = E::open(limited);
    for _ in 0..10 {
        end.receive(&[qos_1(1), qos_2(2)]);
        end.take();
        end.receive(&[qos_1(3), PubRel::new(id(2)).into()]);
        end.take();
    }
    assert!(end.is_connected());
    let mut end = E::open(manual);
    for _ in 0..10 {
        let before = end.arrived();
        end.receive(&[qos_1(1), qos_2(2)]);
        for index in before..end.arrived() {
            end.ack(index, PubAckReasonCode::QuotaExceeded);
        }
        end.take();
    }
    assert!(end.is_connected());
}

/// Each connection starts with the peer's full quota, and a PUBREL takes none of it: packets of an earlier connection do not
/// count.
pub(crate) fn packets_of_an_earlier_connection_do_not_count<E: End>() {
    for (qos, later) in [(QOS_1, false), (QOS_1, true), (QOS_2, false), (QOS_2, true)] {
        let mut end = E::open(Setup { receive_maximum: 1, ..Setup::of(Version::V5) });
        end.receive(&[published("before", delivery(QOS_2, 1))]);
        end.take();
        end.resume();
        let mut events = end.receive(&[PubRel::new(id(1)).into()]);
        if later {
            end.take();
        }
        events.extend(end.receive(&[published("after", delivery(qos, 2))]));
        assert_eq!(events, [delivered("after", qos)], "{qos}, {later}");
        assert!(end.is_connected());
    }
}
