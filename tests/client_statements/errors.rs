//! Section 4.13: errors.

use super::*;

/// [5.0: MQTT-4.13.2-1]
#[test]
fn mqtt_4_13_2_1_an_error_code_ends_the_connection() {
    for &reason_code in ConnAckReasonCode::ALL {
        let mut wire = Wire::new(v5());
        let events = wire.connect(ConnAck { reason_code, ..ConnAck::default() });
        if reason_code.is_error() {
            assert_eq!(events, [Event::Close(Why::Refused(reason_code))]);
        }
        assert_eq!(wire.client.is_connected(), !reason_code.is_error());
    }
    for &reason_code in DisconnectReasonCode::ALL {
        let disconnect = Disconnect { reason_code, ..Disconnect::default() };
        let mut wire = Wire::connected(v5());
        assert_eq!(wire.receive(&[disconnect.into()]), [Event::Close(Why::Disconnected(reason_code))]);
        assert!(!wire.client.is_connected());
        // An error that the client detects, whether DISCONNECT can be sent or not.
        let mut wire = Wire::connected(v5());
        wire.client.disconnect(wire.now, &disconnect).unwrap();
        assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
        assert!(!wire.client.is_connected());
    }
}
