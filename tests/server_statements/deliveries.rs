//! Sections 2.2, 3.3 to 3.7, 4.3, 4.4 and 4.9: messages in both directions.

use mqtt_sansio::Version;
use mqtt_sansio::codec::PubAckReasonCode;
use mqtt_sansio::server::ServerConfig;

use crate::ends;
use crate::server::{QOS_1, QOS_2, Wire, again, config, delivery, id, lasting, published};

// Section 2.2: packet identifiers.

/// A message that is not acknowledged comes again with the same packet identifier after a cut, by which the application
/// recognises it.
#[test]
fn section_4_4_an_unacknowledged_message_is_recognised_by_its_packet_identifier() {
    for (version, qos) in
        [Version::V311, Version::V5].into_iter().flat_map(|version| [(version, QOS_1), (version, QOS_2)])
    {
        let mut wire = Wire::connected(ServerConfig { manual_acks: true, ..config() }, &lasting(version));
        wire.receive(&[published("x", delivery(qos, 7))]);
        let of = |wire: &Wire, index: usize| wire.server.packet_id(wire.ack_handles[index]);
        assert_eq!(of(&wire, 0), Some(id(7)));
        wire.resume();
        wire.receive(&[published("x", again(qos, 7))]);
        assert_eq!([of(&wire, 0), of(&wire, 1)], [None, Some(id(7))]);
        wire.server.ack(wire.now, wire.ack_handles[1], PubAckReasonCode::Success).unwrap();
        assert_eq!(of(&wire, 1), None);
    }
}

/// [5.0: MQTT-2.2.1-4]
#[test]
fn mqtt_2_2_1_4_new_messages_take_an_unused_identifier() {
    ends::new_messages_take_an_unused_identifier::<Wire>(Version::V5);
}

/// [5.0: MQTT-2.2.1-5]
#[test]
fn mqtt_2_2_1_5_acknowledgements_repeat_the_identifier() {
    ends::acknowledgements_repeat_the_identifier::<Wire>(Version::V5);
}

// Section 3.3: PUBLISH.

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

/// [5.0: MQTT-3.3.2-12]
#[test]
fn mqtt_3_3_2_12_every_alias_up_to_the_maximum_is_accepted() {
    ends::every_alias_up_to_the_maximum_is_accepted::<Wire>();
}

/// [5.0: MQTT-3.3.4-1]
#[test]
fn mqtt_3_3_4_1_each_qos_has_its_acknowledgement() {
    ends::each_qos_has_its_acknowledgement::<Wire>(Version::V5);
}

/// [5.0: MQTT-3.3.4-9]
#[test]
fn mqtt_3_3_4_9_at_most_receive_maximum() {
    ends::at_most_receive_maximum::<Wire>();
}

/// [5.0: MQTT-3.3.4-10]
#[test]
fn mqtt_3_3_4_10_a_full_window_delays_messages_alone() {
    ends::a_full_window_delays_messages_alone::<Wire>();
}

// Sections 3.4 to 3.7: acknowledgements.

/// [5.0: MQTT-3.4.2-2, MQTT-3.4.2-3]
#[test]
fn mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large() {
    ends::puback_leaves_out_what_is_too_large::<Wire>();
}

/// [5.0: MQTT-3.5.2-2, MQTT-3.5.2-3]
#[test]
fn mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large() {
    ends::pubrec_leaves_out_what_is_too_large::<Wire>();
}

/// PUBREL and PUBCOMP never have a Reason String or User Properties: not on success, not for an unknown identifier, not
/// when sent again.
/// [5.0: MQTT-3.6.2-2, MQTT-3.6.2-3, MQTT-3.7.2-2, MQTT-3.7.2-3]
#[test]
fn mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare() {
    ends::pubrel_and_pubcomp_are_bare::<Wire>();
}

// Section 4.3: delivery.

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

// Section 4.4: retransmission.

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

// Sections 4.5 and 4.6: order. The statements bind clients; a server does the same.

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[test]
fn section_4_3_3_an_acknowledged_message_is_not_delivered_again() {
    for version in VERSIONS {
        ends::an_acknowledged_message_is_not_delivered_again::<Wire>(version);
    }
}

#[test]
fn section_4_5_ignored_messages_are_acknowledged() {
    for version in VERSIONS {
        ends::ignored_messages_are_acknowledged::<Wire>(version);
    }
}

#[test]
fn section_4_6_messages_are_sent_again_in_order() {
    for version in VERSIONS {
        ends::publishes_are_sent_again_in_order::<Wire>(version);
    }
}

#[test]
fn section_4_6_acknowledgements_go_in_order() {
    for version in VERSIONS {
        ends::acknowledgements_go_in_order::<Wire>(version, QOS_1);
        ends::acknowledgements_go_in_order::<Wire>(version, QOS_2);
    }
    ends::acknowledgements_go_in_order_whenever_they_are_given::<Wire>();
}

#[test]
fn section_4_6_pubrels_go_in_the_order_of_the_pubrecs() {
    for version in VERSIONS {
        ends::pubrels_go_in_the_order_of_the_pubrecs::<Wire>(version);
    }
}

// Section 4.9: flow control.

/// [5.0: MQTT-4.9.0-1]
#[test]
fn mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum() {
    ends::the_quota_is_at_most_the_receive_maximum::<Wire>();
}

/// [5.0: MQTT-4.9.0-2]
#[test]
fn mqtt_4_9_0_2_each_publish_takes_quota() {
    ends::each_publish_takes_quota::<Wire>();
}

/// [5.0: MQTT-4.9.0-3]
#[test]
fn mqtt_4_9_0_3_without_quota_all_else_is_handled() {
    ends::without_quota_all_else_is_handled::<Wire>();
}
