//! Section 4.9: flow control.

use super::*;

/// [5.0: MQTT-4.9.0-1]
#[test]
fn mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum() {
    for (ours, theirs) in [(10, 1), (1, 10), (3, 3), (65_535, 65_535)] {
        let config =
            ClientConfig { max_in_flight: maximum(ours), transmit_limit: NonZeroU32::MAX, max_stored: 70_000, ..v5() };
        let mut wire = Wire::connected_by(config, connack_with(receive_maximum(theirs)));
        for _ in 0..u32::from(theirs) + 1 {
            wire.publish("", QOS_1);
        }
        let sent = sent_ids(&mut wire).len();
        assert!(sent > 0 && sent == usize::from(ours.min(theirs)), "{ours}, {theirs}: {sent}");
    }
}

/// [5.0: MQTT-4.9.0-2]
#[test]
fn mqtt_4_9_0_2_each_publish_takes_quota() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(2)));
    let mut open: Vec<u16> = Vec::new();
    let mut done = 0;
    for _ in 0..20 {
        wire.publish("x", QOS_1);
        wire.publish("0", QOS_0); // takes no quota
    }
    for _ in 0..100 {
        let sent = wire.take();
        open.extend(decode(&sent, Version::V5).iter().filter_map(Packet::packet_id).map(|id| id.get()));
        assert!(open.len() <= 2 && wire.client.in_flight() == open.len(), "{open:?}");
        let Some(number) = open.pop() else { break };
        wire.receive(&[PubAck::new(id(number)).into()]);
        done += 1;
    }
    assert_eq!((done, wire.client.queued()), (20, 0));
}

/// [5.0: MQTT-4.9.0-3]
#[test]
fn mqtt_4_9_0_3_without_quota_all_else_is_handled() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    let token = wire.publish("1", QOS_2);
    wire.publish("waits", QOS_2);
    let asked = wire.subscribe();
    let ended = wire.unsubscribe();
    wire.take();
    let events = wire.receive(&[
        published("in", delivery(QOS_1, 1)),
        PubRec::new(id(1)).into(),
        PubRel::new(id(9)).into(),
        suback(2),
        unsuback(3, Version::V5),
        Packet::PingResp,
    ]);
    assert_eq!(
        events,
        [
            delivered("in", QOS_1),
            Event::Done(asked, Done::Subscribed(vec![0])),
            Event::Done(ended, Done::Unsubscribed(vec![0]))
        ]
    );
    let comp = PubComp { reason_code: PubRelReasonCode::PacketIdentifierNotFound, ..PubComp::new(id(9)) };
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRel::new(id(1)).into(), comp.into()]);
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    assert_eq!(sent_payloads(&mut wire), ["waits"]);
}
