//! Tests of programs that use [`mqtt_sansio`]: a client and a server in one process, and between them a link that
//! delays, splits and loses what it carries.
//!
//! [`Pair`] holds the two endpoints, the link and a virtual clock. There is no socket, no thread and no waiting: time
//! jumps from one event to the next, and every choice follows from one seed. A failing test prints its seed, and with
//! it the same things happen again.
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
//!   [`Pair::client`], and read what it reported with [`Pair::events`], [`Pair::messages`] and [`Pair::fate`].
//! - The server is either [`EngineServer`], which runs the acceptor and the session of `mqtt_sansio`, or
//!   [`ModelServer`], which shares no code with them and decides everything by itself. Another server implements
//!   [`Server`].
//! - [`Pair::cut_after`], [`Pair::crash`], [`Seeded`] and [`Reconnect`] say what goes wrong, and when.
//! - Every packet that the client and the [`EngineServer`] write is checked against the rules of the specification. A
//!   packet that breaks one is a panic that names the rule.
//! - [`Random`] gives a test of your own the same kind of chance: numbers that follow from a seed alone.

#![forbid(unsafe_code)]

mod pair;
mod random;

pub use self::pair::*;
pub use self::random::Random;
