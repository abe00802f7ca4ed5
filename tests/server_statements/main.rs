//! Every numbered statement of the specifications that binds a server in a session, and the rules without a number: one
//! test for each, named after it. Statements about senders and receivers bind clients too, and are shown for servers
//! here.
//!
//! The form of single packets is not tested here: the encoder cannot build malformed packets, the decoder refuses them,
//! and both have test vectors.

#![cfg(feature = "alloc")]

mod connecting;
mod deliveries;
mod end;
mod ending;
#[path = "../common/ends/mod.rs"]
mod ends;
mod requests;
#[path = "../common/server.rs"]
mod server;
mod unnumbered;
mod v311;

use self::server::packets;
