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
        let open = BTreeSet::from_iter(sent_ids(&mut wire));
        assert_eq!(open.len(), 4);
        ends::identifiers_in_use_are_skipped(&mut wire, &open);
    }
}

/// [5.0: MQTT-2.2.1-5]
#[test]
fn mqtt_2_2_1_5_acknowledgements_repeat_the_identifier() {
    ends::acknowledgements_repeat_the_identifier::<Wire>(Version::V5);
}
