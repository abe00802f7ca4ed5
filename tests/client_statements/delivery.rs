//! Section 4.3: delivery.

use super::*;

/// [5.0: MQTT-4.3.1-1]
#[test]
fn mqtt_4_3_1_1_qos_0_has_no_dup() {
    ends::qos_0_has_no_dup::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.2-1, MQTT-4.3.2-2]
#[test]
fn mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup() {
    ends::qos_1_begins_with_an_unused_identifier_and_without_dup::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.2-3]
#[test]
fn mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback() {
    ends::qos_1_is_unacknowledged_until_puback::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.2-4]
#[test]
fn mqtt_4_3_2_4_qos_1_is_acknowledged_after_ownership_is_accepted() {
    ends::a_message_is_acknowledged_after_ownership_is_accepted::<Wire>(Version::V5, QOS_1);
}

/// [5.0: MQTT-4.3.2-5]
#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message() {
    ends::after_puback_the_identifier_is_a_new_message::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-1, MQTT-4.3.3-2]
#[test]
fn mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup() {
    ends::qos_2_begins_with_an_unused_identifier_and_without_dup::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-3]
#[test]
fn mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec() {
    ends::qos_2_is_unacknowledged_until_pubrec::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-4]
#[test]
fn mqtt_4_3_3_4_pubrec_without_an_error_is_answered_by_pubrel() {
    ends::pubrec_without_an_error_is_answered_by_pubrel::<Wire>();
}

/// [5.0: MQTT-4.3.3-5]
#[test]
fn mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp() {
    ends::pubrel_is_unacknowledged_until_pubcomp::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-6]
#[test]
fn mqtt_4_3_3_6_no_publish_after_pubrel() {
    ends::no_publish_follows_pubrel::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-7]
#[test]
fn mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    ends::a_message_that_was_sent_does_not_expire::<Wire>();
}

/// [5.0: MQTT-4.3.3-8]
#[test]
fn mqtt_4_3_3_8_qos_2_is_acknowledged_after_ownership_is_accepted() {
    ends::a_message_is_acknowledged_after_ownership_is_accepted::<Wire>(Version::V5, QOS_2);
}

/// [5.0: MQTT-4.3.3-9]
#[test]
fn mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message() {
    ends::after_a_refusal_the_identifier_is_a_new_message::<Wire>();
}

/// [5.0: MQTT-4.3.3-10]
#[test]
fn mqtt_4_3_3_10_before_pubrel_a_duplicate_is_acknowledged_and_not_delivered() {
    ends::before_pubrel_a_duplicate_is_acknowledged_and_not_delivered::<Wire>(Version::V5);
}

/// A message that the client has accepted ownership of is not delivered again, even if PUBREC had to wait for its turn
/// and the connection ended before it was sent.
/// [5.0: MQTT-4.3.3-10]
#[test]
fn mqtt_4_3_3_10_an_acknowledged_message_is_not_delivered_again() {
    ends::an_acknowledged_message_is_not_delivered_again::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-11]
#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp() {
    ends::pubrel_is_answered_by_pubcomp::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-12]
#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message() {
    ends::after_pubcomp_the_identifier_is_a_new_message::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.3.3-13]
#[test]
fn mqtt_4_3_3_13_the_delivery_of_an_expired_message_is_completed() {
    ends::the_delivery_of_an_expired_message_is_completed::<Wire>();
}
