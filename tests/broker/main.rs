//! The broker core, through its public interface: each file is about one subject. They are one program, because each program
//! compiles the broker again for its policies.

#![cfg(feature = "broker")]

#[path = "../common/broker.rs"]
mod broker;
#[path = "../common/server.rs"]
mod server;

mod bounds;
mod bridges;
mod commits;
mod damage;
mod deliveries;
mod drops;
mod durable;
mod embedder;
mod ends;
mod exploration;
mod host;
mod later;
mod limits;
mod listing;
mod mounts;
mod owners;
mod policy;
mod ready;
mod refusals;
mod resume;
mod retained;
mod services;
mod sessions;
mod shares;
mod timers;
mod turns;
mod units;
mod walks;
mod wills;
mod work;
