//! The client endpoint of a connection.
//!
//! [`ClientSession`] outlives its connections. The caller opens a transport, gives the session the received bytes and
//! the current time, performs the actions that it returns, and writes the bytes in `transmit()`:
//!
//! ```
//! # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
//! # use mqtt_sansio::{Instant, Message, QoS, codec::Subscription};
//! # use bytes::Buf;
//! # use core::num::NonZeroU16;
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let config = ClientConfig { client_id: "thermo-7".into(), keep_alive: NonZeroU16::new(30), ..ClientConfig::default() };
//! let mut client = ClientSession::new(config);
//! let now = Instant::from_micros(0);
//! let filter = client.subscribe(now, &[Subscription::new("home/+/set", QoS::AtLeastOnce)?])?; // waits for a connection
//!
//! client.open(now)?; // CONNECT is in transmit() now
//! # let mut written = Vec::new();
//! # fn write_all(written: &mut Vec<u8>, bytes: &mut impl Buf) { written.extend_from_slice(&bytes.copy_to_bytes(bytes.remaining())) }
//! write_all(&mut written, client.transmit());
//! assert_eq!(written[0], 0x10);
//!
//! let received = b"\x20\x03\x00\x00\x00"; // CONNACK
//! let mut input = &received[..];
//! while let Some(action) = client.poll(Instant::from_micros(900), &mut input) {
//!     match action {
//!         Action::Connected(connected) => println!("{} session", connected.session),
//!         Action::Message(m) => println!("{}: {:?}", m.topic, m.payload),
//!         Action::Done { token, outcome } if token == filter => println!("granted {:?}", outcome.codes()),
//!         Action::Done { token, outcome } => println!("{token}: {outcome:?}"),
//!         Action::Close(why) => println!("{why}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! write_all(&mut written, client.transmit()); // SUBSCRIBE
//! # assert!(written.ends_with(b"\x00\x0ahome/+/set\x01"));
//! # Ok(())
//! # }
//! ```
//!
//! | command | when | effect |
//! |---|---|---|
//! | [`open`](ClientSession::open) | the transport is connected | CONNECT |
//! | [`closed`](ClientSession::closed) | the transport is gone, or after [`Action::Close`] | ends the connection, and preserves the session |
//! | [`publish`](ClientSession::publish) | at any time | sends or queues a message |
//! | [`subscribe`](ClientSession::subscribe), [`unsubscribe`](ClientSession::unsubscribe) | at any time | sends or queues a request |
//! | [`withdraw`](ClientSession::withdraw) | at any time | abandons an operation that has no outcome yet |
//! | [`ack`](ClientSession::ack) | with manual acknowledgements | acknowledges a message |
//! | [`authenticate`](ClientSession::authenticate), [`reauthenticate`](ClientSession::reauthenticate) | in an enhanced authentication | AUTH |
//! | [`disconnect`](ClientSession::disconnect) | connected | DISCONNECT |
//! | [`backoff`](ClientSession::backoff) | before the next connection | returns how long to wait |
//! | [`reconfigure`](ClientSession::reconfigure), [`discard_session`](ClientSession::discard_session) | without a connection | changes the configuration; begins a new session |
//! | [`changes`](ClientSession::changes), [`committed`](ClientSession::committed), [`restore`](ClientSession::restore), [`snapshot`](ClientSession::snapshot) | if the session is [durable](ClientConfig::durable) | stores and restores the session across a crash, see [`store`](crate::store) |
//! | [`operations`](ClientSession::operations) | at any time | returns the operations that have no outcome yet |

mod action;
mod backoff;
mod commands;
mod config;
mod error;
mod owned_connected;
mod peer;
mod server;
mod session;
mod state;

pub use self::action::{Action, Close, Connected, Resumption};
pub use self::config::{Authentication, ClientConfig};
pub use self::error::{OpenError, ReconfigureError};
pub use self::owned_connected::OwnedConnected;
pub use self::server::ServerLimits;
pub use self::session::ClientSession;
pub use crate::session::SubscribeError;
