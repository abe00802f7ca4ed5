//! Section 4.1: session state.

use super::*;
use mqtt_sansio::SessionExpiry;

/// [5.0: MQTT-4.1.0-1]
#[test]
fn mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection() {
    ends::the_session_lasts_as_long_as_the_connection(&mut Wire::connected(ClientConfig {
        session_expiry_interval: SessionExpiry::WITH_CONNECTION,
        keep_alive: None,
        ..v5()
    }));
}
