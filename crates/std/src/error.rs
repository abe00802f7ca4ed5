//! Errors of the commands.

use mqtt_sansio::client::SubscribeError;
use mqtt_sansio::{AckError, PublishError, TopicError};
use thiserror::Error;

/// The client has ended: it was disconnected, or the server has ended the connection for good. An operation without an
/// outcome may or may not have had its effect; a durable session goes on with it after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client has ended")]
pub struct Ended;

/// The error of a command of a [`Client`](crate::Client). The command has no effect, unless the client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The message cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A topic filter is not valid.
    #[error("topic filter {} (at byte {})", .0.kind, .0.at)]
    Filter(#[from] TopicError),
    /// The request cannot be sent.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The message cannot be acknowledged.
    #[error(transparent)]
    Ack(#[from] AckError),
}
