//! Section 4.12: enhanced authentication.

use super::*;
use mqtt_sansio::AuthenticateError;
use mqtt_sansio::client::ReconfigureError;

/// [5.0: MQTT-4.12.0-3]
#[test]
fn mqtt_4_12_0_3_the_answer_has_continue_authentication() {
    let mut wire = Wire::new(authenticating());
    wire.open();
    for step in [&b"1"[..], b"2", b""] {
        wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"?").into()]);
        wire.client.authenticate(wire.now, step).unwrap();
        wire.assert_sent(&[auth(AuthReasonCode::ContinueAuthentication, "M", step).into()]);
    }
    assert_eq!(wire.receive(&[authenticated().into()]), [Event::Connected(Resumption::New)]);
    wire.client.reauthenticate(wire.now, b"3").unwrap();
    wire.take();
    wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"?").into()]);
    wire.client.authenticate(wire.now, b"4").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"4").into()]);
}

/// [5.0: MQTT-4.12.0-5]
#[test]
fn mqtt_4_12_0_5_the_method_stays_the_same() {
    let changed = [protocol_error(ProtocolError::AuthenticationMethodChanged)];
    let other = Some(Utf8Str::new("other").unwrap());
    let by_another = connack_with(ConnAckProperties { authentication_method: other, ..Default::default() });
    // CONNACK with another method, without a method, and with a method where CONNECT had none.
    for (config, connack) in [(authenticating(), by_another), (authenticating(), connack()), (v5(), by_another)] {
        let mut wire = Wire::new(config);
        assert_eq!(wire.connect(connack), changed);
    }
    // AUTH with another method, before and after CONNACK.
    let step = auth(AuthReasonCode::ContinueAuthentication, "other", b"");
    let mut wire = Wire::new(authenticating());
    wire.open();
    assert_eq!(wire.receive(&[step.into()]), changed);
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    wire.client.reauthenticate(wire.now, b"").unwrap();
    assert_eq!(wire.receive(&[step.into()]), changed);
}

/// [5.0: MQTT-4.12.0-7]
#[test]
fn mqtt_4_12_0_7_without_a_method_no_auth() {
    let mut wire = Wire::new(v5());
    assert_eq!(wire.client.authenticate(wire.now, b"x"), Err(AuthenticateError::NoAuthentication));
    wire.open();
    assert_eq!(wire.client.authenticate(wire.now, b"x"), Err(AuthenticateError::NoAuthentication));
    wire.receive(&[connack().into()]);
    assert_eq!(wire.client.authenticate(wire.now, b"x"), Err(AuthenticateError::NoAuthentication));
    assert_eq!(wire.client.reauthenticate(wire.now, b"x"), Err(AuthenticateError::NoAuthentication));
    wire.assert_silent();
}

/// [5.0: MQTT-4.12.1-1]
#[test]
fn mqtt_4_12_1_1_re_authentication_by_the_original_method() {
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    for _ in 0..2 {
        wire.client.reauthenticate(wire.now, b"x").unwrap();
        wire.assert_sent(&[auth(AuthReasonCode::ReAuthenticate, "M", b"x").into()]);
        let events = wire.receive(&[auth(AuthReasonCode::Success, "M", b"").into()]);
        assert_eq!(events, [Event::Auth(AuthReasonCode::Success)]);
    }
}

/// A method configured during a connection is used by the next connection, and not by this one.
/// [5.0: MQTT-4.12.1-1]
#[test]
fn mqtt_4_12_1_1_a_change_of_the_configuration_is_for_the_next_connection() {
    let authentication = Some(Authentication { method: "N".into(), data: None }.into());
    let other = ClientConfig { authentication, ..v5() };
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    assert_eq!(wire.client.reconfigure(other.clone()), Err(ReconfigureError::AlreadyConnected));
    wire.client.reauthenticate(wire.now, b"x").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::ReAuthenticate, "M", b"x").into()]);
    wire.lose();
    wire.client.reconfigure(other).unwrap();
    let connect = wire.open();
    assert_eq!(connect_of(&connect, Version::V5).properties.authentication_method.unwrap(), "N");
}

/// [5.0: MQTT-4.12.1-2]
#[test]
fn mqtt_4_12_1_2_a_failed_re_authentication_closes() {
    // The server refuses the re-authentication.
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    wire.client.reauthenticate(wire.now, b"x").unwrap();
    let reason_code = DisconnectReasonCode::NotAuthorized;
    let events = wire.receive(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
    assert_eq!(events, [Event::Close(Why::Disconnected(reason_code))]);
    assert!(!wire.client.is_connected());
    // The client refuses the server's proof.
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    wire.client.reauthenticate(wire.now, b"x").unwrap();
    wire.take();
    wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"false").into()]);
    let disconnect = Disconnect { reason_code, ..Disconnect::default() };
    wire.client.disconnect(wire.now, &disconnect).unwrap();
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    wire.assert_sent(&[disconnect.into()]);
}
