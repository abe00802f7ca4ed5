//! The server endpoint of a connection.
//!
//! An [`Acceptor`] receives the first packet of a client, and returns it as a request to connect. The caller accepts
//! it, into a new or a stored session, or refuses it. An accepted client has a [`ServerSession`], which exchanges
//! messages with the client, and outlives the connection until it expires. A [durable](ServerConfig::durable) session also
//! survives a crash, see [`store`](crate::store).
//!
//! ```
//! # use std::collections::HashMap;
//! # use bytes::Buf;
//! # use mqtt_sansio::{Instant, QoS};
//! # use mqtt_sansio::codec::{ConnAckReasonCode, SubAckReasonCode};
//! # use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, Action, ServerConfig, ServerSession};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let now = Instant::from_micros(7);
//! # let mut sessions: HashMap<String, ServerSession> = HashMap::new();
//! let mut acceptor = Acceptor::new(ServerConfig::default(), now);
//! let mut session = None;
//! # let received = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo\x82\x09\x00\x01\x00\x00\x03a/b\x01";
//! let mut input = &received[..]; // the bytes that the transport has read
//! while let Some(action) = acceptor.poll(now, &mut input) {
//!     match action {
//!         AcceptorAction::Connect(request) if request.client_identifier.is_empty() => {
//!             acceptor.refuse(now, ConnAckReasonCode::ClientIdentifierNotValid)?;
//!         }
//!         AcceptorAction::Connect(request) => {
//!             let stored = sessions.remove(request.client_identifier.as_str());
//!             session = Some(acceptor.accept(now, stored, Accept::default())?);
//!             break;
//!         }
//!         AcceptorAction::Auth(_) => {} // the client was not challenged
//!         AcceptorAction::Close(why) => println!("{why}"),
//!     }
//! }
//!
//! let mut session = session.expect("it was accepted");
//! while let Some(action) = session.poll(now, &mut input) {
//!     match action {
//!         Action::Message(m) => println!("{}: {:?}", m.topic, m.payload),
//!         Action::Subscribe(request) => {
//!             let granted: Vec<_> = request.subscriptions.iter().map(|it| SubAckReasonCode::from(it.qos)).collect();
//!             session.suback(now, request.id, &granted)?;
//!         }
//!         Action::Close(why) => println!("{why}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! let transmit = session.transmit(); // CONNACK and SUBACK, to be written
//! assert!(transmit.chunk().starts_with(b"\x20") && transmit.chunk().ends_with(b"\x90\x04\x00\x01\x00\x01"));
//! # Ok(())
//! # }
//! ```
//!
//! The output of an accepted client is in the [`transmit`](ServerSession::transmit) of the session; the acceptor has
//! none any more. An enhanced authentication is shown at [`client::Authentication`](crate::client::Authentication).
//!
//! | command of an [`Acceptor`] | when | effect |
//! |---|---|---|
//! | [`accept`](Acceptor::accept) | after [`AcceptorAction::Connect`] or [`Auth`](AcceptorAction::Auth) | CONNACK with Success, and the session |
//! | [`refuse`](Acceptor::refuse) | likewise | CONNACK with an error, and the end of the connection |
//! | [`challenge`](Acceptor::challenge) | likewise, if CONNECT has an Authentication Method | AUTH; the answer is [`AcceptorAction::Auth`] |
//!
//! | command of a [`ServerSession`] | when | effect |
//! |---|---|---|
//! | [`publish`](ServerSession::publish) | at any time | sends or queues a message |
//! | [`withdraw`](ServerSession::withdraw) | at any time | abandons a message that has no outcome yet |
//! | [`suback`](ServerSession::suback), [`unsuback`](ServerSession::unsuback) | after [`Action::Subscribe`], [`Action::Unsubscribe`] | answers the request |
//! | [`ack`](ServerSession::ack) | with [manual](ServerConfig::manual_acks) acknowledgements | acknowledges a message, or refuses it with a reason code |
//! | [`challenge`](ServerSession::challenge), [`authenticated`](ServerSession::authenticated) | after [`Action::Auth`] | AUTH of a re-authentication |
//! | [`disconnect`](ServerSession::disconnect), [`take_over`](ServerSession::take_over) | connected | DISCONNECT in 5.0, and the end of the connection |
//! | [`closed`](ServerSession::closed) | the transport is gone, or after [`Action::Close`] | ends the connection, and preserves the session until it expires |
//! | [`end_session`](ServerSession::end_session) | at any time | ends the session |
//! | [`changes`](ServerSession::changes), [`committed`](ServerSession::committed), [`restore`](ServerSession::restore), [`snapshot`](ServerSession::snapshot) | if the session is [durable](ServerConfig::durable) | stores and restores the session across a crash |
//! | [`operations`](ServerSession::operations) | at any time | returns the messages that have no outcome yet |

mod accept;
mod acceptor;
mod action;
mod commands;
mod config;
mod error;
mod peer;
mod request;
#[allow(dead_code, reason = "the interface for a router; nothing else in the crate uses it")]
mod routing;
mod session;
mod state;

pub use self::accept::Accept;
pub use self::acceptor::Acceptor;
pub use self::action::{AcceptorAction, Action, Close};
pub use self::config::ServerConfig;
pub use self::error::{AcceptError, AnswerError, NotAccepted, RefuseError};
pub use self::request::{RequestId, SubscribeRequest, UnsubscribeRequest};
pub use self::session::ServerSession;
#[allow(unused_imports, reason = "the interface for a router")]
pub(crate) use self::{
    routing::{Copies, Encoded, Remains},
    session::Marked,
};
