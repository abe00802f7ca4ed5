//! Sections 4.4 to 4.6: retransmission, acknowledgement and their order.

use super::*;

/// [5.0: MQTT-4.4.0-1]
#[test]
fn mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers() {
    ends::resent_on_resumption_alone_and_with_the_same_identifiers::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.4.0-2]
#[test]
fn mqtt_4_4_0_2_a_refusal_ends_the_delivery() {
    ends::a_refusal_ends_the_delivery::<Wire>();
}

/// [5.0: MQTT-4.5.0-2]
#[test]
fn mqtt_4_5_0_2_ignored_messages_are_acknowledged() {
    ends::ignored_messages_are_acknowledged::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.6.0-1]
#[test]
fn mqtt_4_6_0_1_publishes_are_sent_again_in_order() {
    ends::publishes_are_sent_again_in_order::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.6.0-2]
#[test]
fn mqtt_4_6_0_2_pubacks_go_in_order() {
    ends::acknowledgements_go_in_order::<Wire>(Version::V5, QOS_1);
}

/// [5.0: MQTT-4.6.0-3]
#[test]
fn mqtt_4_6_0_3_pubrecs_go_in_order() {
    ends::acknowledgements_go_in_order::<Wire>(Version::V5, QOS_2);
}

/// Some are given at once, some later and in any order, while further messages arrive.
#[test]
fn acknowledgements_go_in_order_whenever_they_are_given() {
    ends::acknowledgements_go_in_order_whenever_they_are_given::<Wire>();
}

/// [5.0: MQTT-4.6.0-4]
#[test]
fn mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    ends::pubrels_go_in_the_order_of_the_pubrecs::<Wire>(Version::V5);
}
