//! Section 4.9: flow control.

use super::*;

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
