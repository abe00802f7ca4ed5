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
//!   violation is a panic that names the rule.
//!
//! [`BrokerWorld`] is the same with a whole broker and any number of clients, and with hostile ones.
//!
//! # A program that reacts
//!
//! The program is called between the events, and its own timers run in the same time:
//!
//! ```
//! use core::time::Duration;
//!
//! use mqtt_sansio::broker::AllowAll;
//! use mqtt_sansio::client::{ClientConfig, ClientSession};
//! use mqtt_sansio::{Instant, Message, QoS};
//! use mqtt_sansio_testkit::{BrokerWorld, Participant};
//!
//! /// The program: it raises an alarm when no reading has come for ten minutes.
//! struct Guard {
//!     deadline: Option<Instant>,
//! }
//!
//! impl Guard {
//!     fn reading(&mut self, now: Instant) {
//!         self.deadline = Some(now + Duration::from_secs(600));
//!     }
//!
//!     fn tick(&mut self, now: Instant, client: &mut ClientSession) {
//!         if self.deadline.is_some_and(|deadline| deadline <= now) {
//!             client.publish(now, &Message::new("alarm", "no reading").qos(QoS::AtLeastOnce)).expect("there is room");
//!             self.deadline = None;
//!         }
//!     }
//! }
//!
//! /// Runs the world and the program for this time.
//! fn run(world: &mut BrokerWorld<AllowAll>, client: Participant, guard: &mut Guard, time: Duration) {
//!     let end = world.now() + time;
//!     loop {
//!         let seen = world.messages(client).count();
//!         let has_stepped = world.step_until(guard.deadline.map_or(end, |deadline| deadline.min(end)));
//!         let now = world.now();
//!         for _ in world.messages(client).skip(seen) {
//!             guard.reading(now);
//!         }
//!         guard.tick(now, world.client_mut(client));
//!         if !has_stepped && now >= end {
//!             return;
//!         }
//!     }
//! }
//!
//! let mut world = BrokerWorld::seeded(42);
//! let named = |name: &str| ClientConfig { client_id: name.into(), ..ClientConfig::default() };
//! let (sensor, own, siren) = (world.client(named("sensor")), world.client(named("guard")), world.client(named("siren")));
//! world.subscribe(own, "temp", QoS::AtLeastOnce);
//! world.subscribe(siren, "alarm", QoS::AtLeastOnce);
//! let mut guard = Guard { deadline: None };
//! run(&mut world, own, &mut guard, Duration::from_secs(10));
//! world.publish(sensor, &Message::new("temp", "21.5").qos(QoS::AtLeastOnce));
//! run(&mut world, own, &mut guard, Duration::from_secs(599));
//! assert!(world.delivered_to(siren).is_empty());
//! run(&mut world, own, &mut guard, Duration::from_secs(3600));
//! assert_eq!(world.delivered_to(siren), ["no reading"]);
//! ```
//!
//! # Other implementations
//!
//! To test another implementation: [`strategies`] of `proptest` make valid and almost valid packets (feature `proptest`),
//! [`Hostile`] is a client that means harm, and [`generators`](mqtt_sansio::generators) turn the bytes of a fuzzer into packets
//! (feature `arbitrary`). `spec-vectors/corpus.py` in the repository writes a corpus and a dictionary for fuzzers.

#![forbid(unsafe_code)]

mod event;
mod flows;
mod hostile;
mod link;
mod mutation;
mod pair;
mod random;
mod rules;
#[cfg(feature = "proptest")]
pub mod strategies;
mod timeline;
mod world;

pub use self::event::{Event, Fate, Log, Received};
pub use self::hostile::Hostile;
pub use self::link::Reconnect;
pub use self::mutation::{other_form, with_fault};
pub use self::pair::{Delivered, EngineServer, ModelServer, Pair, Seeded, Server, Ticket, WithClient, accept_all};
pub use self::random::Random;
pub use self::world::{BrokerWorld, Participant};
