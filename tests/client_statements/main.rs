//! Every numbered statement of the specifications that binds a client in a session, and the rules without a number: one
//! test for each, named after it.
//!
//! The form of single packets is not tested here: the encoder cannot build malformed packets, the decoder refuses them,
//! and both have test vectors.

#![cfg(feature = "alloc")]

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::BTreeSet;

use mqtt_sansio::client::{Authentication, ClientConfig, Resumption};
use mqtt_sansio::codec::{
    AckProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Disconnect, DisconnectProperties,
    DisconnectReasonCode, List, MaximumQoS, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, Publish,
    PublishProperties, ReasonCode, SubscribeProperties, Subscription, SubscriptionIdentifier, UserProperty,
};
use mqtt_sansio::{AbandonReason, Message, ProtocolError, QoS, Utf8Str, Version};

mod acks;
mod auth;
mod authentication;
#[path = "../common/client.rs"]
mod client;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod end;
#[path = "../common/ends/mod.rs"]
mod ends;
mod errors;
mod flow_control;
mod order;
mod packet_id;
mod publish;
mod session_state;
mod unnumbered;
mod v311;

use self::client::packets;
use self::client::{
    Done, Event, QOS_0, QOS_1, QOS_2, Why, Wire, abandoned, again, auth, connack, connack_with, connect_of, decode,
    delivered, delivery, filter, id, present, present_with, protocol_error, publish, published, suback, success,
    unsuback, v5,
};

/// Properties of a CONNACK with a Maximum Packet Size.
fn packet_size(bytes: u32) -> ConnAckProperties<'static> {
    ConnAckProperties { maximum_packet_size: NonZeroU32::new(bytes), ..Default::default() }
}

/// Properties of a CONNACK with a Topic Alias Maximum.
fn alias_maximum(number: u16) -> ConnAckProperties<'static> {
    ConnAckProperties { topic_alias_maximum: Some(number), ..Default::default() }
}

/// A configuration with the authentication method `M`.
fn authenticating() -> ClientConfig {
    let authentication = Authentication { method: "M".into(), data: None };
    ClientConfig { authentication: Some(authentication.into()), ..v5() }
}

/// A CONNACK with the authentication method `M`.
fn authenticated() -> ConnAck<'static> {
    let method = Some(Utf8Str::new("M").unwrap());
    connack_with(ConnAckProperties { authentication_method: method, ..Default::default() })
}

/// A configuration with manual acknowledgements.
fn manual() -> ClientConfig {
    ClientConfig { manual_acks: true, ..v5() }
}

/// The packet identifiers of the packets that were sent.
fn sent_ids(wire: &mut Wire) -> Vec<u16> {
    let sent = wire.take();
    decode(&sent, wire.version).iter().map(|packet| packet.packet_id().unwrap().get()).collect()
}

/// Every statement and the test, or one of the tests, that shows it.
const STATEMENTS: [(&str, &str); 74] = [
    ("MQTT-2.2.1-3", "mqtt_2_2_1_3_new_operations_take_an_unused_identifier"),
    ("MQTT-2.2.1-5", "mqtt_2_2_1_5_acknowledgements_repeat_the_identifier"),
    ("MQTT-3.1.0-1", "mqtt_3_1_0_1_the_first_packet_is_connect"),
    ("MQTT-3.1.2-4", "mqtt_3_1_2_4_clean_start_begins_anew"),
    ("MQTT-3.1.2-20", "mqtt_3_1_2_20_an_idle_client_sends_pingreq"),
    ("MQTT-3.1.2-21", "mqtt_3_1_2_21_and_mqtt_3_2_2_21_server_keep_alive_wins"),
    ("MQTT-3.1.2-23", "mqtt_3_1_2_23_an_expiry_interval_keeps_the_session"),
    ("MQTT-3.1.2-30", "mqtt_3_1_2_30_only_auth_or_disconnect_before_connack"),
    ("MQTT-3.1.3-2", "mqtt_3_1_3_2_the_client_identifier_keys_the_session"),
    ("MQTT-3.2.2-4", "mqtt_3_2_2_4_session_present_without_a_local_session_closes"),
    ("MQTT-3.2.2-5", "mqtt_3_2_2_5_without_a_session_the_state_is_discarded"),
    ("MQTT-3.2.2-11", "mqtt_3_2_2_11_no_qos_above_the_maximum"),
    ("MQTT-3.2.2-14", "mqtt_3_2_2_14_no_retain_where_it_is_not_available"),
    ("MQTT-3.2.2-15", "mqtt_3_2_2_15_nothing_above_the_maximum_packet_size"),
    ("MQTT-3.2.2-17", "mqtt_3_2_2_17_and_mqtt_3_3_2_9_aliases_stay_within_the_maximum"),
    ("MQTT-3.2.2-18", "mqtt_3_2_2_18_no_aliases_unless_the_server_announces_them"),
    ("MQTT-3.2.2-21", "mqtt_3_1_2_21_and_mqtt_3_2_2_21_server_keep_alive_wins"),
    ("MQTT-3.3.1-1", "mqtt_3_3_1_1_a_retransmission_has_dup"),
    ("MQTT-3.3.2-7", "mqtt_3_3_2_7_aliases_end_with_the_connection"),
    ("MQTT-3.3.2-9", "mqtt_3_2_2_17_and_mqtt_3_3_2_9_aliases_stay_within_the_maximum"),
    ("MQTT-3.3.2-10", "mqtt_3_3_2_10_every_alias_up_to_the_maximum_is_accepted"),
    ("MQTT-3.3.4-1", "mqtt_3_3_4_1_each_qos_has_its_acknowledgement"),
    ("MQTT-3.3.4-7", "mqtt_3_3_4_7_at_most_receive_maximum"),
    ("MQTT-3.3.4-8", "mqtt_3_3_4_8_a_full_window_delays_messages_alone"),
    ("MQTT-3.4.2-2", "mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large"),
    ("MQTT-3.4.2-3", "mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large"),
    ("MQTT-3.5.2-2", "mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large"),
    ("MQTT-3.5.2-3", "mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large"),
    ("MQTT-3.6.2-2", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.6.2-3", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.7.2-2", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.7.2-3", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.14.2-3", "mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large"),
    ("MQTT-3.14.2-4", "mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large"),
    ("MQTT-3.14.4-1", "mqtt_3_14_4_1_nothing_follows_disconnect"),
    ("MQTT-3.14.4-2", "mqtt_3_14_4_2_the_connection_is_closed_after_disconnect"),
    ("MQTT-3.15.2-2", "mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare"),
    ("MQTT-3.15.2-3", "mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare"),
    ("MQTT-4.1.0-1", "mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.3.1-1", "mqtt_4_3_1_1_qos_0_has_no_dup"),
    ("MQTT-4.3.2-1", "mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.2-2", "mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.2-3", "mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback"),
    ("MQTT-4.3.2-4", "mqtt_4_3_2_4_qos_1_is_acknowledged_after_ownership_is_accepted"),
    ("MQTT-4.3.2-5", "mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-1", "mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.3-2", "mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.3-3", "mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec"),
    ("MQTT-4.3.3-4", "mqtt_4_3_3_4_pubrec_without_an_error_is_answered_by_pubrel"),
    ("MQTT-4.3.3-5", "mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp"),
    ("MQTT-4.3.3-6", "mqtt_4_3_3_6_no_publish_after_pubrel"),
    ("MQTT-4.3.3-7", "mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire"),
    ("MQTT-4.3.3-8", "mqtt_4_3_3_8_qos_2_is_acknowledged_after_ownership_is_accepted"),
    ("MQTT-4.3.3-9", "mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-10", "mqtt_4_3_3_10_before_pubrel_a_duplicate_is_acknowledged_and_not_delivered"),
    ("MQTT-4.3.3-11", "mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp"),
    ("MQTT-4.3.3-12", "mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-13", "mqtt_4_3_3_13_the_delivery_of_an_expired_message_is_completed"),
    ("MQTT-4.4.0-1", "mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers"),
    ("MQTT-4.4.0-2", "mqtt_4_4_0_2_a_refusal_ends_the_delivery"),
    ("MQTT-4.5.0-2", "mqtt_4_5_0_2_ignored_messages_are_acknowledged"),
    ("MQTT-4.6.0-1", "mqtt_4_6_0_1_publishes_are_sent_again_in_order"),
    ("MQTT-4.6.0-2", "mqtt_4_6_0_2_pubacks_go_in_order"),
    ("MQTT-4.6.0-3", "mqtt_4_6_0_3_pubrecs_go_in_order"),
    ("MQTT-4.6.0-4", "mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs"),
    ("MQTT-4.9.0-1", "mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum"),
    ("MQTT-4.9.0-2", "mqtt_4_9_0_2_each_publish_takes_quota"),
    ("MQTT-4.9.0-3", "mqtt_4_9_0_3_without_quota_all_else_is_handled"),
    ("MQTT-4.12.0-3", "mqtt_4_12_0_3_the_answer_has_continue_authentication"),
    ("MQTT-4.12.0-5", "mqtt_4_12_0_5_the_method_stays_the_same"),
    ("MQTT-4.12.0-7", "mqtt_4_12_0_7_without_a_method_no_auth"),
    ("MQTT-4.12.1-1", "mqtt_4_12_1_1_re_authentication_by_the_original_method"),
    ("MQTT-4.12.1-2", "mqtt_4_12_1_2_a_failed_re_authentication_closes"),
    ("MQTT-4.13.2-1", "mqtt_4_13_2_1_an_error_code_ends_the_connection"),
];

/// The same for rules without a number, by section.
const UNNUMBERED: [(&str, &str); 13] = [
    ("3.1.2.11.4-b", "unnumbered::section_3_1_2_11_4_b_a_packet_above_the_client_maximum"),
    ("3.2", "unnumbered::section_3_2_connack_comes_once_and_first"),
    ("3.3.2.3.4-a", "unnumbered::section_3_3_2_3_4_a_an_alias_out_of_range"),
    ("3.3.2.3.4-b", "unnumbered::section_3_3_2_3_4_b_an_alias_that_was_never_set"),
    ("3.3.2.3.4-c", "unnumbered::section_3_3_2_3_4_c_an_alias_can_be_set_again"),
    ("3.3.2.3.8-b", "unnumbered::section_3_3_2_3_8_b_a_subscription_identifier_that_was_never_used"),
    ("3.3.4-a", "unnumbered::section_3_3_4_a_more_than_the_client_receive_maximum"),
    ("3.6.2", "unnumbered::section_3_6_2_an_unknown_identifier_is_no_error"),
    ("3.14.2.2.2-b", "unnumbered::section_3_14_2_2_2_b_a_server_sends_no_expiry_interval"),
    ("3.15.1", "unnumbered::section_3_15_1_unrequested_auth_is_a_protocol_error"),
    ("4.9", "unnumbered::section_4_9_the_quota_returns_to_its_maximum_and_no_further"),
    ("4.9-b", "unnumbered::section_4_9_b_the_quota_of_a_resumed_connection"),
    ("4.13.1", "unnumbered::section_4_13_1_an_error_is_reported_and_the_connection_closed"),
];

/// The same for 3.1.1.
const STATEMENTS_OF_311: [(&str, &str); 27] = [
    ("MQTT-2.3.1-2", "v311::mqtt_2_3_1_2_new_operations_take_an_unused_identifier"),
    ("MQTT-2.3.1-3", "v311::mqtt_2_3_1_3_an_identifier_is_in_use_until_the_last_acknowledgement"),
    ("MQTT-2.3.1-6", "v311::mqtt_2_3_1_6_acknowledgements_repeat_the_identifier"),
    ("MQTT-3.1.0-1", "v311::mqtt_3_1_0_1_the_first_packet_is_connect"),
    ("MQTT-3.1.2-4", "v311::mqtt_3_1_2_4_without_clean_session_the_session_is_resumed"),
    ("MQTT-3.1.2-6", "v311::mqtt_3_1_2_6_a_clean_session_ends_with_its_connection"),
    ("MQTT-3.1.2-23", "v311::mqtt_3_1_2_23_an_idle_client_sends_pingreq"),
    ("MQTT-3.1.3-2", "v311::mqtt_3_1_3_2_the_client_identifier_keys_the_session"),
    ("MQTT-3.3.1-1", "v311::mqtt_3_3_1_1_a_retransmission_has_dup"),
    ("MQTT-3.3.4-1", "v311::mqtt_3_3_4_1_each_qos_has_its_acknowledgement"),
    ("MQTT-3.14.4-1", "v311::mqtt_3_14_4_1_and_mqtt_3_14_4_2_nothing_follows_disconnect"),
    ("MQTT-3.14.4-2", "v311::mqtt_3_14_4_1_and_mqtt_3_14_4_2_nothing_follows_disconnect"),
    ("MQTT-4.1.0-1", "v311::mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.1.0-2", "v311::mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.3.1-1", "v311::mqtt_4_3_1_1_qos_0_has_no_dup"),
    ("MQTT-4.3.2-1", "v311::mqtt_4_3_2_1_the_sender_of_qos_1"),
    ("MQTT-4.3.2-2", "v311::mqtt_4_3_2_2_the_receiver_of_qos_1"),
    ("MQTT-4.3.3-1", "v311::mqtt_4_3_3_1_the_sender_of_qos_2"),
    ("MQTT-4.3.3-2", "v311::mqtt_4_3_3_2_the_receiver_of_qos_2"),
    ("MQTT-4.4.0-1", "v311::mqtt_4_4_0_1_unacknowledged_packets_are_sent_again"),
    ("MQTT-4.5.0-2", "v311::mqtt_4_5_0_2_ignored_messages_are_acknowledged"),
    ("MQTT-4.6.0-1", "v311::mqtt_4_6_0_1_publishes_are_sent_again_in_order"),
    ("MQTT-4.6.0-2", "v311::mqtt_4_6_0_2_pubacks_go_in_order"),
    ("MQTT-4.6.0-3", "v311::mqtt_4_6_0_3_pubrecs_go_in_order"),
    ("MQTT-4.6.0-4", "v311::mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs"),
    ("MQTT-4.8.0-1", "v311::mqtt_4_8_0_1_a_violation_closes_the_connection"),
    ("MQTT-4.8.0-2", "v311::mqtt_4_8_0_2_a_packet_above_the_size_limit_closes_the_connection"),
];

/// The lists are complete, and every test in them exists and has the statement in its name.
#[test]
fn every_statement_has_a_test() {
    let sources = [
        ("acks", include_str!("acks.rs")),
        ("auth", include_str!("auth.rs")),
        ("authentication", include_str!("authentication.rs")),
        ("connack", include_str!("connack.rs")),
        ("connect", include_str!("connect.rs")),
        ("delivery", include_str!("delivery.rs")),
        ("disconnect", include_str!("disconnect.rs")),
        ("errors", include_str!("errors.rs")),
        ("flow_control", include_str!("flow_control.rs")),
        ("order", include_str!("order.rs")),
        ("packet_id", include_str!("packet_id.rs")),
        ("publish", include_str!("publish.rs")),
        ("session_state", include_str!("session_state.rs")),
        ("unnumbered", include_str!("unnumbered.rs")),
        ("v311", include_str!("v311.rs")),
    ];
    let lists = [(&STATEMENTS[..], 74), (&UNNUMBERED, 13), (&STATEMENTS_OF_311, 27)];
    for (list, count) in lists {
        let ids: BTreeSet<_> = list.iter().map(|(id, _)| id).collect();
        assert_eq!((list.len(), ids.len()), (count, count), "one is missing, or there twice");
        for (id, test) in list {
            let (module, name) = test.split_once("::").unwrap_or(("", test));
            let is_there = |(of, source): &(&str, &str)| {
                (module.is_empty() || module == *of)
                    && source.contains(&format!(
                        "#[test]
fn {name}() {{"
                    ))
            };
            assert!(sources.iter().any(is_there), "{test} is not there");
            let number = id.replace(['.', '-'], "_").to_lowercase();
            let words = format!("_{name}_");
            assert!(words.contains(&format!("_{number}_")), "{test} is not about {id}");
        }
    }
}
