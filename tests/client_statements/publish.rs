//! Section 3.3: PUBLISH.

use super::*;

/// [5.0: MQTT-3.3.1-1]
#[test]
fn mqtt_3_3_1_1_a_retransmission_has_dup() {
    ends::a_retransmission_has_dup::<Wire>(Version::V5);
}

/// [5.0: MQTT-3.3.2-7]
#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    ends::aliases_end_with_the_connection::<Wire>();
}

/// [5.0: MQTT-3.3.2-10]
#[test]
fn mqtt_3_3_2_10_every_alias_up_to_the_maximum_is_accepted() {
    ends::every_alias_up_to_the_maximum_is_accepted::<Wire>();
}

/// [5.0: MQTT-3.3.4-1]
#[test]
fn mqtt_3_3_4_1_each_qos_has_its_acknowledgement() {
    ends::each_qos_has_its_acknowledgement::<Wire>(Version::V5);
}

/// [5.0: MQTT-3.3.4-7]
#[test]
fn mqtt_3_3_4_7_at_most_receive_maximum() {
    ends::at_most_receive_maximum::<Wire>();
}

/// [5.0: MQTT-3.3.4-8]
#[test]
fn mqtt_3_3_4_8_a_full_window_delays_messages_alone() {
    ends::a_full_window_delays_messages_alone::<Wire>();
}
