//! Sections 3.4 to 3.7: acknowledgements.

use super::*;

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
