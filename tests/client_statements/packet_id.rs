//! Section 2.2: packet identifiers.

use super::*;

/// [3.1.1: MQTT-2.3.1-2; 5.0: MQTT-2.2.1-3]
#[test]
fn mqtt_2_2_1_3_new_operations_take_an_unused_identifier() {
    for config in [v5(), super::client::v311()] {
        let mut wire = Wire::connected(config);
        wire.publish("1", QOS_1);
        wire.publish("2", QOS_2);
        wire.subscribe();
        wire.unsubscribe();
        let sent = wire.take();
        let open: BTreeSet<_> = decode(&sent, wire.version).iter().filter_map(Packet::packet_id).collect();
        assert_eq!((open.len(), wire.client.operations_in_flight()), (4, 4));
        // More than all 65,535 identifiers: those in use are skipped.
        for _ in 0..70_000 {
            let token = wire.publish("more", QOS_1);
            let [number] = sent_ids(&mut wire)[..] else { panic!("one packet") };
            assert!(number != 0 && !open.contains(&id(number)), "{number} is in use");
            assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(token)]);
        }
    }
}

/// [5.0: MQTT-2.2.1-5]
#[test]
fn mqtt_2_2_1_5_acknowledgements_repeat_the_identifier() {
    let mut wire = Wire::connected(v5());
    for number in [1, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        let at = id(number);
        wire.receive(&[published("a", delivery(QOS_1, number))]);
        wire.assert_sent(&[PubAck::new(at).into()]);
        wire.receive(&[published("b", delivery(QOS_2, number))]);
        wire.assert_sent(&[PubRec::new(at).into()]);
        wire.receive(&[PubRel::new(at).into()]);
        wire.assert_sent(&[PubComp::new(at).into()]);
    }
    wire.publish("c", QOS_1);
    wire.publish("d", QOS_2);
    let [_, second] = sent_ids(&mut wire)[..] else { panic!("two packets") };
    wire.receive(&[PubRec::new(id(second)).into()]);
    wire.assert_sent(&[PubRel::new(id(second)).into()]);
}
