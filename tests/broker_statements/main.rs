//! Every statement of the specifications that binds a broker between sessions. One test for each, named after it.

#![cfg(feature = "broker")]

#[path = "../common/broker.rs"]
mod broker;
mod deliveries;
mod retained;
#[path = "../common/server.rs"]
mod server;
mod shared;
mod subscriptions;
mod wills;
