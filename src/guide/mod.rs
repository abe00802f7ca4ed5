//! # Guide
//!
//! The pages of this module explain how the parts of the crate are used together. Each program on them is compiled and run
//! by the tests. The module contains no code, and exists in the documentation only.
//!
//! | page | read it to |
//! |---|---|
//! | [`packets`] | decode and encode packets without a session |
//! | [`client_session`] | connect, publish, subscribe, reconnect |
//! | [`server_session`] | accept clients, and answer them |
//! | [`embedded_broker`] | run a broker inside of a program |
//! | [`drivers`] | connect a session or a broker with a transport and a clock |
//! | [`transports`] | choose TCP, TLS, WebSocket, QUIC, a serial line, a channel |
//! | [`durability`] | survive a crash |
//! | [`limits`] | know what a peer can cost, and what is promised against hostile peers |
//! | [`testing`] | test a program with virtual time and a faulty link |
//! | [`fuzzing`] | fuzz a program that speaks MQTT |
//! | [`flows`] | see the life of a connection and each QoS flow as a diagram |
//! | [`from_rumqttc`] | move a program from `rumqttc` |
//! | [`from_mqtt_protocol_core`] | move a program from `mqtt-protocol-core` |

#[doc = include_str!("packets.md")]
pub mod packets {}

#[doc = include_str!("client_session.md")]
pub mod client_session {}

#[doc = include_str!("server_session.md")]
pub mod server_session {}

#[doc = include_str!("embedded_broker.md")]
pub mod embedded_broker {}

#[doc = include_str!("drivers.md")]
pub mod drivers {}

#[doc = include_str!("transports.md")]
pub mod transports {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[cfg_attr(feature = "arbitrary", doc = include_str!("fuzzing.md"))]
#[cfg_attr(not(feature = "arbitrary"), doc = "Fuzzing a program that speaks MQTT: with the feature `arbitrary`.")]
pub mod fuzzing {}

#[doc = include_str!("flows.md")]
pub mod flows {}

#[doc = include_str!("from_rumqttc.md")]
pub mod from_rumqttc {}

#[doc = include_str!("from_mqtt_protocol_core.md")]
pub mod from_mqtt_protocol_core {}
