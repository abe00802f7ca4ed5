//! Section 3.15: AUTH.

use super::*;

/// AUTH packets of the client have a method and data, and never a Reason String or User Properties.
/// [5.0: MQTT-3.15.2-2, MQTT-3.15.2-3]
#[test]
fn mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare() {
    let mut wire = Wire::new(authenticating());
    wire.open();
    wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"1").into()]);
    wire.client.authenticate(wire.now, b"2").unwrap();
    wire.receive(&[authenticated().into()]);
    wire.client.reauthenticate(wire.now, b"3").unwrap();
    wire.assert_sent(&[
        auth(AuthReasonCode::ContinueAuthentication, "M", b"2").into(),
        auth(AuthReasonCode::ReAuthenticate, "M", b"3").into(),
    ]);
}
