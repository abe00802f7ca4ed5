//! Tests of programs that use [`mqtt_sansio`]: a client and a server in one process, joined by a simulated link that
//! delays, splits and loses bytes.
//!
//! [`Pair`] holds the two endpoints, the link and a virtual clock. There is no socket, no thread and no waiting: the
//! time jumps from one event to the next, and every choice follows from one seed. A failing test prints its seed, and
//! with it the same events happen again.
//!
//! ```
//! use mqtt_sansio::client::ClientConfig;
//! use mqtt_sansio::{Message, QoS, SessionExpiry};
//! use mqtt_sansio_testkit::{Pair, accept_all};
//!
//! let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
//! let mut net = Pair::seeded(42).client(config).server(accept_all());
//! let now = net.now();
//! net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
//! net.cut_after(23); // the connection is lost when 23 more bytes have arrived
//! net.run_until_quiet();
//! assert_eq!(net.delivered_to_server(), ["1"]);
//! # Ok::<(), mqtt_sansio::PublishError>(())
//! ```
//!
//! - The client is the [`ClientSession`](mqtt_sansio::client::ClientSession) of the tested program: give it commands with
//!   [`Pair::client`], and read its actions and outcomes with [`Pair::events`], [`Pair::messages`] and [`Pair::fate`].
//! - The server is either [`EngineServer`], which runs the acceptor and the session of `mqtt_sansio`, or
//!   [`ModelServer`], which shares no code with them. Other servers implement [`Server`].
//! - [`Pair::cut_after`] and [`Pair::crash`] cause failures, and [`Reconnect`] says when the client connects again.
//! - Every packet that the client and the [`EngineServer`] write is checked against the rules of the specification. A
//! - Every packet that the client and the [`EngineServer`] write is checked against the rules of the specification. A
//!   violation is a panic that names the rule.

#![forbid(unsafe_code)]

mod pair;
mod random;

pub use self::pair::*;
pub use self::random::Random;
