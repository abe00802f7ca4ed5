//! Section 4.1: session state.

use super::*;
use mqtt_sansio::SessionExpiry;

/// [5.0: MQTT-4.1.0-1]
#[test]
fn mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection() {
    let mut wire = Wire::connected(ClientConfig {
        session_expiry_interval: SessionExpiry::WITH_CONNECTION,
        keep_alive: None,
        ..v5()
    });
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.receive(&[published("half", delivery(QOS_2, 5)), PubRec::new(id(2)).into()]);
    wire.take();
    wire.later(10_000_000_000);
    assert_eq!(wire.poll(), []);
    assert_eq!(wire.client.operations_in_flight(), 2);
    assert_eq!(wire.receive(&[published("half", again(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
    let events = wire.receive(&[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
    assert!(matches!(events[..], [Event::Done(..), Event::Done(..)]), "{events:?}");
}
