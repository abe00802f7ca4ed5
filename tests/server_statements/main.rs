//! Every numbered statement of the specifications that binds a server in a session, and the rules without a number: one
//! test for each, named after it. Statements about senders and receivers bind clients too, and are shown for servers
//! here.
//!
//! The form of single packets is not tested here: the encoder cannot build malformed packets, the decoder refuses them,
//! and both have test vectors.

#![cfg(feature = "alloc")]

use std::collections::BTreeSet;

mod connecting;
mod deliveries;
mod end;
mod ending;
#[path = "../common/ends/mod.rs"]
mod ends;
mod requests;
#[path = "../common/server.rs"]
mod server;
mod unnumbered;
mod v311;

use self::server::packets;

/// Every statement and the test, or one of the tests, that shows it.
const STATEMENTS: [(&str, &str); 110] = [
    ("MQTT-2.2.1-4", "deliveries::mqtt_2_2_1_4_new_messages_take_an_unused_identifier"),
    ("MQTT-2.2.1-5", "deliveries::mqtt_2_2_1_5_acknowledgements_repeat_the_identifier"),
    ("MQTT-2.2.1-6", "requests::mqtt_2_2_1_6_suback_and_unsuback_repeat_the_identifier"),
    ("MQTT-3.1.0-2", "connecting::mqtt_3_1_0_2_a_second_connect_closes"),
    ("MQTT-3.1.2-2", "connecting::mqtt_3_1_2_2_an_unsupported_version_is_refused"),
    ("MQTT-3.1.2-4", "connecting::mqtt_3_1_2_4_clean_start_begins_anew"),
    ("MQTT-3.1.2-5", "connecting::mqtt_3_1_2_5_without_clean_start_a_session_is_resumed"),
    ("MQTT-3.1.2-6", "connecting::mqtt_3_1_2_6_without_a_session_there_is_a_new_one"),
    ("MQTT-3.1.2-7", "connecting::mqtt_3_1_2_7_a_will_is_stored_with_the_session"),
    ("MQTT-3.1.2-10", "connecting::mqtt_3_1_2_10_a_will_is_dropped_when_it_was_published_or_discarded"),
    ("MQTT-3.1.2-22", "connecting::mqtt_3_1_2_22_silence_for_one_and_a_half_intervals_closes"),
    ("MQTT-3.1.2-23", "connecting::mqtt_3_1_2_23_an_expiry_interval_keeps_the_session"),
    ("MQTT-3.1.2-24", "connecting::mqtt_3_1_2_24_nothing_above_the_maximum_packet_size"),
    ("MQTT-3.1.2-25", "connecting::mqtt_3_1_2_25_a_message_that_is_too_large_is_dropped"),
    ("MQTT-3.1.2-26", "connecting::mqtt_3_1_2_26_and_mqtt_3_3_2_11_aliases_stay_within_the_maximum"),
    ("MQTT-3.1.2-27", "connecting::mqtt_3_1_2_27_no_aliases_unless_the_client_announces_them"),
    ("MQTT-3.1.2-28", "connecting::mqtt_3_1_2_28_response_information_only_on_request"),
    ("MQTT-3.1.2-29", "connecting::mqtt_3_1_2_29_problem_information_unless_declined"),
    ("MQTT-3.1.3-2", "connecting::mqtt_3_1_3_2_the_client_identifier_keys_the_session"),
    ("MQTT-3.1.3-5", "connecting::mqtt_3_1_3_5_every_usual_client_identifier_is_accepted"),
    ("MQTT-3.1.3-6", "connecting::mqtt_3_1_3_6_and_mqtt_3_1_3_7_an_empty_client_identifier_is_assigned_one"),
    ("MQTT-3.1.3-7", "connecting::mqtt_3_1_3_6_and_mqtt_3_1_3_7_an_empty_client_identifier_is_assigned_one"),
    ("MQTT-3.1.3-8", "connecting::mqtt_3_1_3_8_a_client_identifier_can_be_refused"),
    ("MQTT-3.1.4-2", "connecting::mqtt_3_1_4_2_the_connection_of_an_unauthorized_client_is_closed"),
    ("MQTT-3.1.4-4", "connecting::mqtt_3_1_4_4_clean_start_is_applied"),
    ("MQTT-3.1.4-5", "connecting::mqtt_3_1_4_5_an_accepted_connect_is_acknowledged"),
    ("MQTT-3.1.4-6", "connecting::mqtt_3_1_4_6_nothing_is_processed_after_a_rejection"),
    ("MQTT-3.2.0-1", "connecting::mqtt_3_2_0_1_connack_comes_first"),
    ("MQTT-3.2.0-2", "connecting::mqtt_3_2_0_2_there_is_one_connack"),
    ("MQTT-3.2.2-2", "connecting::mqtt_3_2_2_2_with_clean_start_no_session_is_present"),
    ("MQTT-3.2.2-3", "connecting::mqtt_3_2_2_3_session_present_if_the_session_is_resumed"),
    ("MQTT-3.2.2-7", "connecting::mqtt_3_2_2_7_a_refusal_closes"),
    ("MQTT-3.2.2-9", "connecting::mqtt_3_2_2_9_a_limited_qos_is_announced"),
    ("MQTT-3.2.2-10", "connecting::mqtt_3_2_2_10_subscriptions_of_every_qos_are_accepted"),
    ("MQTT-3.2.2-12", "connecting::mqtt_3_2_2_12_a_will_above_the_maximum_qos_is_rejected"),
    ("MQTT-3.2.2-13", "connecting::mqtt_3_2_2_13_a_retained_will_is_rejected_without_retain_available"),
    ("MQTT-3.2.2-19", "connecting::mqtt_3_2_2_19_and_mqtt_3_2_2_20_connack_leaves_out_what_is_too_large"),
    ("MQTT-3.2.2-20", "connecting::mqtt_3_2_2_19_and_mqtt_3_2_2_20_connack_leaves_out_what_is_too_large"),
    ("MQTT-3.2.2-22", "connecting::mqtt_3_2_2_22_without_a_server_keep_alive_the_client_value_counts"),
    ("MQTT-3.3.1-1", "deliveries::mqtt_3_3_1_1_a_retransmission_has_dup"),
    ("MQTT-3.3.2-7", "deliveries::mqtt_3_3_2_7_aliases_end_with_the_connection"),
    ("MQTT-3.3.2-11", "connecting::mqtt_3_1_2_26_and_mqtt_3_3_2_11_aliases_stay_within_the_maximum"),
    ("MQTT-3.3.2-12", "deliveries::mqtt_3_3_2_12_every_alias_up_to_the_maximum_is_accepted"),
    ("MQTT-3.3.4-1", "deliveries::mqtt_3_3_4_1_each_qos_has_its_acknowledgement"),
    ("MQTT-3.3.4-9", "deliveries::mqtt_3_3_4_9_at_most_receive_maximum"),
    ("MQTT-3.3.4-10", "deliveries::mqtt_3_3_4_10_a_full_window_delays_messages_alone"),
    ("MQTT-3.4.2-2", "deliveries::mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large"),
    ("MQTT-3.4.2-3", "deliveries::mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large"),
    ("MQTT-3.5.2-2", "deliveries::mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large"),
    ("MQTT-3.5.2-3", "deliveries::mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large"),
    ("MQTT-3.6.2-2", "deliveries::mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.6.2-3", "deliveries::mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.7.2-2", "deliveries::mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.7.2-3", "deliveries::mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.8.4-1", "requests::mqtt_3_8_4_1_and_mqtt_3_8_4_2_every_subscribe_has_its_suback"),
    ("MQTT-3.8.4-2", "requests::mqtt_3_8_4_1_and_mqtt_3_8_4_2_every_subscribe_has_its_suback"),
    ("MQTT-3.8.4-6", "requests::mqtt_3_8_4_6_one_code_for_each_filter"),
    ("MQTT-3.8.4-7", "requests::mqtt_3_8_4_7_each_code_grants_or_refuses"),
    ("MQTT-3.9.2-1", "requests::mqtt_3_9_2_1_and_mqtt_3_9_2_2_suback_leaves_out_what_is_too_large"),
    ("MQTT-3.9.2-2", "requests::mqtt_3_9_2_1_and_mqtt_3_9_2_2_suback_leaves_out_what_is_too_large"),
    ("MQTT-3.9.3-1", "requests::mqtt_3_9_3_1_codes_follow_the_filters"),
    ("MQTT-3.10.4-4", "requests::mqtt_3_10_4_4_and_mqtt_3_10_4_5_every_unsubscribe_has_its_unsuback"),
    ("MQTT-3.10.4-5", "requests::mqtt_3_10_4_4_and_mqtt_3_10_4_5_every_unsubscribe_has_its_unsuback"),
    ("MQTT-3.11.2-1", "requests::mqtt_3_11_2_1_and_mqtt_3_11_2_2_unsuback_leaves_out_what_is_too_large"),
    ("MQTT-3.11.2-2", "requests::mqtt_3_11_2_1_and_mqtt_3_11_2_2_unsuback_leaves_out_what_is_too_large"),
    ("MQTT-3.11.3-1", "requests::mqtt_3_11_3_1_codes_follow_the_filters"),
    ("MQTT-3.12.4-1", "requests::mqtt_3_12_4_1_pingreq_is_answered"),
    ("MQTT-3.14.0-1", "ending::mqtt_3_14_0_1_no_disconnect_before_a_successful_connack"),
    ("MQTT-3.14.2-2", "ending::mqtt_3_14_2_2_a_server_sends_no_expiry_interval"),
    ("MQTT-3.14.2-3", "ending::mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large"),
    ("MQTT-3.14.2-4", "ending::mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large"),
    ("MQTT-3.14.4-1", "ending::mqtt_3_14_4_1_nothing_follows_disconnect"),
    ("MQTT-3.14.4-2", "ending::mqtt_3_14_4_2_the_connection_is_closed_after_disconnect"),
    ("MQTT-3.14.4-3", "ending::mqtt_3_14_4_3_a_normal_disconnection_discards_the_will"),
    ("MQTT-3.15.2-2", "ending::mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare"),
    ("MQTT-3.15.2-3", "ending::mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare"),
    ("MQTT-4.1.0-1", "ending::mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.1.0-2", "ending::mqtt_4_1_0_2_the_session_is_discarded_once_closed_and_expired"),
    ("MQTT-4.3.1-1", "deliveries::mqtt_4_3_1_1_qos_0_has_no_dup"),
    (
        "MQTT-4.3.2-1",
        "deliveries::mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup",
    ),
    (
        "MQTT-4.3.2-2",
        "deliveries::mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup",
    ),
    ("MQTT-4.3.2-3", "deliveries::mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback"),
    ("MQTT-4.3.2-4", "deliveries::mqtt_4_3_2_4_qos_1_is_acknowledged_after_ownership_is_accepted"),
    ("MQTT-4.3.2-5", "deliveries::mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message"),
    (
        "MQTT-4.3.3-1",
        "deliveries::mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup",
    ),
    (
        "MQTT-4.3.3-2",
        "deliveries::mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup",
    ),
    ("MQTT-4.3.3-3", "deliveries::mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec"),
    ("MQTT-4.3.3-4", "deliveries::mqtt_4_3_3_4_pubrec_without_an_error_is_answered_by_pubrel"),
    ("MQTT-4.3.3-5", "deliveries::mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp"),
    ("MQTT-4.3.3-6", "deliveries::mqtt_4_3_3_6_no_publish_after_pubrel"),
    ("MQTT-4.3.3-7", "deliveries::mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire"),
    ("MQTT-4.3.3-8", "deliveries::mqtt_4_3_3_8_qos_2_is_acknowledged_after_ownership_is_accepted"),
    ("MQTT-4.3.3-9", "deliveries::mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-10", "deliveries::mqtt_4_3_3_10_before_pubrel_a_duplicate_is_acknowledged_and_not_delivered"),
    ("MQTT-4.3.3-11", "deliveries::mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp"),
    ("MQTT-4.3.3-12", "deliveries::mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-13", "deliveries::mqtt_4_3_3_13_the_delivery_of_an_expired_message_is_completed"),
    ("MQTT-4.4.0-1", "deliveries::mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers"),
    ("MQTT-4.4.0-2", "deliveries::mqtt_4_4_0_2_a_refusal_ends_the_delivery"),
    ("MQTT-4.9.0-1", "deliveries::mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum"),
    ("MQTT-4.9.0-2", "deliveries::mqtt_4_9_0_2_each_publish_takes_quota"),
    ("MQTT-4.9.0-3", "deliveries::mqtt_4_9_0_3_without_quota_all_else_is_handled"),
    ("MQTT-4.12.0-1", "ending::mqtt_4_12_0_1_an_unsupported_method_is_refused"),
    ("MQTT-4.12.0-2", "ending::mqtt_4_12_0_2_a_challenge_has_continue_authentication"),
    ("MQTT-4.12.0-4", "ending::mqtt_4_12_0_4_a_rejected_authentication_closes"),
    ("MQTT-4.12.0-5", "ending::mqtt_4_12_0_5_the_method_stays_the_same"),
    ("MQTT-4.12.0-6", "ending::mqtt_4_12_0_6_without_a_method_there_is_no_auth"),
    ("MQTT-4.12.1-2", "ending::mqtt_4_12_1_2_a_failed_re_authentication_closes"),
    ("MQTT-4.13.1-1", "ending::mqtt_4_13_1_1_malformed_packets_and_protocol_errors_close"),
    ("MQTT-4.13.2-1", "ending::mqtt_4_13_2_1_an_error_code_ends_the_connection"),
];

/// The same for rules without a number, by section.
const UNNUMBERED: [(&str, &str); 16] = [
    ("3.2.2.3.4-b", "unnumbered::section_3_2_2_3_4_b_a_message_above_the_maximum_qos"),
    ("3.2.2.3.5-b", "unnumbered::section_3_2_2_3_5_b_a_retained_message_without_retain_available"),
    ("3.2.2.3.6", "unnumbered::section_3_2_2_3_6_a_packet_above_the_server_maximum"),
    ("3.2.2.3.11", "unnumbered::section_3_2_2_3_11_a_wildcard_subscription_where_not_available"),
    ("3.2.2.3.12", "unnumbered::section_3_2_2_3_12_a_subscription_identifier_where_not_available"),
    ("3.2.2.3.13", "unnumbered::section_3_2_2_3_13_a_shared_subscription_where_not_available"),
    ("3.3.2.3.2", "unnumbered::section_3_3_2_3_2_a_payload_that_is_not_utf_8_can_be_refused"),
    ("3.3.2.3.4-a", "unnumbered::section_3_3_2_3_4_a_an_alias_out_of_range"),
    ("3.3.2.3.4-b", "unnumbered::section_3_3_2_3_4_b_an_alias_that_was_never_set"),
    ("3.3.2.3.4-c", "unnumbered::section_3_3_2_3_4_c_an_alias_can_be_set_again"),
    ("3.3.4-a", "unnumbered::section_3_3_4_a_more_than_the_server_receive_maximum"),
    ("3.6.2", "unnumbered::section_3_6_2_an_unknown_identifier_is_no_error"),
    ("3.14.2.2.2-a", "unnumbered::section_3_14_2_2_2_a_an_expiry_interval_for_a_session_without_one"),
    ("3.15.1", "unnumbered::section_3_15_1_unrequested_auth_is_a_protocol_error"),
    ("4.9", "unnumbered::section_4_9_the_quota_returns_to_its_maximum_and_no_further"),
    ("4.9-b", "unnumbered::section_4_9_b_the_quota_of_a_resumed_connection"),
];

/// The same for 3.1.1.
const STATEMENTS_OF_311: [(&str, &str); 44] = [
    ("MQTT-2.3.1-4", "v311::mqtt_2_3_1_4_new_messages_take_an_unused_identifier"),
    ("MQTT-2.3.1-6", "v311::mqtt_2_3_1_6_acknowledgements_repeat_the_identifier"),
    ("MQTT-2.3.1-7", "v311::mqtt_2_3_1_7_suback_and_unsuback_repeat_the_identifier"),
    ("MQTT-3.1.0-2", "v311::mqtt_3_1_0_2_a_second_connect_closes"),
    ("MQTT-3.1.2-2", "v311::mqtt_3_1_2_2_an_unsupported_protocol_level_is_refused"),
    ("MQTT-3.1.2-4", "v311::mqtt_3_1_2_4_without_clean_session_the_session_is_resumed"),
    ("MQTT-3.1.2-6", "v311::mqtt_3_1_2_6_a_clean_session_ends_with_its_connection"),
    ("MQTT-3.1.2-10", "v311::mqtt_3_1_2_10_and_mqtt_3_14_4_3_a_will_is_discarded"),
    ("MQTT-3.1.2-24", "v311::mqtt_3_1_2_24_silence_for_one_and_a_half_intervals_closes"),
    ("MQTT-3.1.3-2", "v311::mqtt_3_1_3_2_the_client_identifier_keys_the_session"),
    ("MQTT-3.1.3-5", "v311::mqtt_3_1_3_5_every_usual_client_identifier_is_accepted"),
    ("MQTT-3.1.3-6", "v311::mqtt_3_1_3_6_an_empty_client_identifier_is_assigned_one"),
    ("MQTT-3.1.3-8", "v311::mqtt_3_1_3_8_an_empty_client_identifier_without_clean_session_is_refused"),
    ("MQTT-3.1.3-9", "v311::mqtt_3_1_3_9_a_client_identifier_can_be_refused"),
    ("MQTT-3.1.4-3", "v311::mqtt_3_1_4_3_clean_session_is_applied"),
    ("MQTT-3.1.4-4", "v311::mqtt_3_1_4_4_an_accepted_connect_is_acknowledged"),
    ("MQTT-3.1.4-5", "v311::mqtt_3_1_4_5_nothing_is_processed_after_a_refusal"),
    ("MQTT-3.2.0-1", "v311::mqtt_3_2_0_1_connack_comes_first"),
    ("MQTT-3.2.2-1", "v311::mqtt_3_2_2_1_mqtt_3_2_2_2_and_mqtt_3_2_2_3_session_present_if_resumed"),
    ("MQTT-3.2.2-2", "v311::mqtt_3_2_2_1_mqtt_3_2_2_2_and_mqtt_3_2_2_3_session_present_if_resumed"),
    ("MQTT-3.2.2-3", "v311::mqtt_3_2_2_1_mqtt_3_2_2_2_and_mqtt_3_2_2_3_session_present_if_resumed"),
    ("MQTT-3.2.2-5", "v311::mqtt_3_2_2_5_and_mqtt_3_2_2_6_a_refusal_closes_with_a_fitting_code_or_none"),
    ("MQTT-3.2.2-6", "v311::mqtt_3_2_2_5_and_mqtt_3_2_2_6_a_refusal_closes_with_a_fitting_code_or_none"),
    ("MQTT-3.3.1-1", "v311::mqtt_3_3_1_1_a_retransmission_has_dup"),
    ("MQTT-3.3.4-1", "v311::mqtt_3_3_4_1_each_qos_has_its_acknowledgement"),
    ("MQTT-3.3.5-2", "v311::mqtt_3_3_5_2_an_unauthorized_message_is_acknowledged_or_closes"),
    (
        "MQTT-3.8.4-1",
        "v311::mqtt_3_8_4_1_mqtt_3_8_4_2_mqtt_3_8_4_5_and_mqtt_3_9_3_1_suback_answers_each_filter_in_order",
    ),
    (
        "MQTT-3.8.4-2",
        "v311::mqtt_3_8_4_1_mqtt_3_8_4_2_mqtt_3_8_4_5_and_mqtt_3_9_3_1_suback_answers_each_filter_in_order",
    ),
    (
        "MQTT-3.8.4-5",
        "v311::mqtt_3_8_4_1_mqtt_3_8_4_2_mqtt_3_8_4_5_and_mqtt_3_9_3_1_suback_answers_each_filter_in_order",
    ),
    (
        "MQTT-3.9.3-1",
        "v311::mqtt_3_8_4_1_mqtt_3_8_4_2_mqtt_3_8_4_5_and_mqtt_3_9_3_1_suback_answers_each_filter_in_order",
    ),
    ("MQTT-3.10.4-4", "v311::mqtt_3_10_4_4_and_mqtt_3_10_4_5_every_unsubscribe_has_its_unsuback"),
    ("MQTT-3.10.4-5", "v311::mqtt_3_10_4_4_and_mqtt_3_10_4_5_every_unsubscribe_has_its_unsuback"),
    ("MQTT-3.12.4-1", "v311::mqtt_3_12_4_1_pingreq_is_answered"),
    ("MQTT-3.14.4-3", "v311::mqtt_3_1_2_10_and_mqtt_3_14_4_3_a_will_is_discarded"),
    ("MQTT-4.1.0-1", "v311::mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.1.0-2", "v311::mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.3.1-1", "v311::mqtt_4_3_1_1_qos_0_has_no_dup"),
    ("MQTT-4.3.2-1", "v311::mqtt_4_3_2_1_the_sender_of_qos_1"),
    ("MQTT-4.3.2-2", "v311::mqtt_4_3_2_2_the_receiver_of_qos_1"),
    ("MQTT-4.3.3-1", "v311::mqtt_4_3_3_1_the_sender_of_qos_2"),
    ("MQTT-4.3.3-2", "v311::mqtt_4_3_3_2_the_receiver_of_qos_2"),
    ("MQTT-4.4.0-1", "v311::mqtt_4_4_0_1_unacknowledged_packets_are_sent_again"),
    ("MQTT-4.8.0-1", "v311::mqtt_4_8_0_1_a_violation_closes_the_connection"),
    ("MQTT-4.8.0-2", "v311::mqtt_4_8_0_2_a_packet_above_the_size_limit_closes_the_connection"),
];

/// The tests of each module.
const SOURCES: [(&str, &str); 6] = [
    ("connecting", include_str!("connecting.rs")),
    ("deliveries", include_str!("deliveries.rs")),
    ("ending", include_str!("ending.rs")),
    ("requests", include_str!("requests.rs")),
    ("unnumbered", include_str!("unnumbered.rs")),
    ("v311", include_str!("v311.rs")),
];

/// The lists are complete, and every test in them exists and has the statement in its name.
#[test]
fn every_statement_has_a_test() {
    let lists = [(&STATEMENTS[..], 110), (&UNNUMBERED, 16), (&STATEMENTS_OF_311, 44)];
    for (list, count) in lists {
        let ids: BTreeSet<_> = list.iter().map(|(id, _)| id).collect();
        assert_eq!((list.len(), ids.len()), (count, count), "one is missing, or there twice");
        for (id, test) in list {
            let (module, name) = test.split_once("::").unwrap();
            let (_, source) = SOURCES.iter().find(|(known, _)| *known == module).unwrap();
            assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "{test} is not there");
            let number = id.replace(['.', '-'], "_").to_lowercase();
            let words = format!("_{name}_");
            assert!(words.contains(&format!("_{number}_")), "{test} is not about {id}");
        }
    }
}
