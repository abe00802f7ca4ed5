#![doc = include_str!("../README.md")]
//!
//! # Threads
//!
//! [`connect`] starts a thread that drives the session, and for each connection a thread that reads and one that writes.
//! A command of a [`Client`] runs on the thread that gives it, under a lock that is never held during a call of the
//! system, and wakes the driving thread. [`Link`] and [`serve`] start the same two threads for a loop of your own.
//!
//! # Limits
//!
//! All queues have limits. Outgoing messages wait in the session, up to
//! [`max_stored`](mqtt_sansio::client::ClientConfig::max_stored); at the limit [`Client::try_publish`] returns an error and
//! [`Client::publish`] waits. Incoming messages wait in [`Events`], up to [`Builder::max_events`]; at the limit nothing more
//! is processed and, after another 128 KiB, nothing more is read, so that the server has to wait. Keep-alive packets are
//! sent meanwhile.
//!
//! The thread that takes the events must not wait for outcomes with [`Client::publish`], [`Client::subscribe`] or
//! [`Pending::wait`]: an outcome behind a full queue of events never arrives. It uses [`Client::try_publish`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod builder;
mod channel;
mod client;
mod driver;
mod error;
mod event;
mod file;
mod link;
mod pending;
mod run;
mod serve;
mod state;
mod store;
mod subscriptions;
mod transport;

pub use self::builder::{Builder, connect};
pub use self::client::Client;
pub use self::error::{Ended, Error};
pub use self::event::{Closed, Event, Events};
pub use self::file::FileStore;
pub use self::link::Link;
pub use self::pending::Pending;
pub use self::run::{Program, run};
pub use self::serve::{Served, Service, serve};
pub use self::store::Store;
#[cfg(unix)]
pub use self::transport::unix;
pub use self::transport::{Close, Transport, tcp};
