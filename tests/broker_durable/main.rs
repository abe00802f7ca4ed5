//! A durable broker: what waits for which changes, what is there after a crash, and what damage does.

#![cfg(feature = "broker")]

#[path = "../common/broker.rs"]
mod broker;
#[path = "../common/server.rs"]
mod server;

mod bytes;
mod crashes;
mod early;
mod restored;
mod schedules;
mod shared;
mod waiting;
mod walks;
mod world;
