//! Errors, and the reasons why connections end.

use std::fmt;
use std::io;
use std::sync::Arc;

use mqtt_sansio::client::{self, Close, OpenError};
use mqtt_sansio::{OwnedOutcome, ReasonCode, TopicError};
use thiserror::Error;

/// The client has ended: [`disconnect`](crate::Client::disconnect) was called, or the driver has ended or was dropped.
/// Whether the server has received what was not acknowledged is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client has ended")]
pub struct Closed;

/// The error of publishing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The session has refused the message, which is not sent.
    #[error(transparent)]
    Refused(#[from] mqtt_sansio::PublishError),
    /// The client has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl PublishError {
    /// Returns whether the message was refused because the session is full. There is room again when other messages
    /// have their outcomes.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::PublishError;
    /// assert!(PublishError::Refused(mqtt_sansio::PublishError::QueueFull).is_full());
    /// assert!(!PublishError::Closed(mqtt_sansio_tokio::Closed).is_full());
    /// ```
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Refused(mqtt_sansio::PublishError::QueueFull))
    }
}

/// The error of subscribing or unsubscribing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic filter is not valid.
    #[error("topic filter {} (at byte {})", .0.kind, .0.at)]
    Filter(#[from] TopicError),
    /// The session has refused the request, which is not sent.
    #[error(transparent)]
    Refused(#[from] client::SubscribeError),
    /// The server has refused the request, or the session has given it up.
    #[error("the request has failed: {0:?}")]
    Failed(OwnedOutcome),
    /// The client has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error of [`Client::disconnect`](crate::Client::disconnect).
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The connection ended before all operations had their outcomes, or there was none. The server may have received
    /// some of the messages that are not acknowledged.
    #[error("{operations} operations have not succeeded")]
    Unfinished {
        /// Number of messages and requests that were given up or have no outcome.
        operations: usize,
    },
    /// The driver has ended before.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// The reason why a [`Driver`](crate::Driver) has ended, if not because the application has disconnected.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The configuration cannot be encoded: no connection was made.
    #[error("the configuration is not valid: {0}")]
    Config(#[from] OpenError),
    /// The connection has ended in a way that another connection would repeat:
    /// [`may_retry`](CloseReason::may_retry) is false.
    #[error(transparent)]
    Closed(#[from] CloseReason),
    /// The session is durable, and its changes cannot be stored: see [`connect_durable`](crate::connect_durable).
    #[error("the session cannot be stored: {0}")]
    Store(Arc<io::Error>),
    /// The driver was dropped.
    #[error("the driver was dropped")]
    Dropped,
}

/// The reason why one endpoint has ended a connection: the owned form of [`Close`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    text: String,
    reason_code: Option<ReasonCode>,
    may_retry: bool,
    server_reference: Option<String>,
}

impl CloseReason {
    /// Returns the reason code of the endpoint that has ended the connection; `None` where no packet has one.
    ///
    /// ```
    /// # use mqtt_sansio::ReasonCode;
    /// # use mqtt_sansio_tokio::CloseReason;
    /// # fn f(why: &CloseReason) {
    /// if why.reason_code() == Some(ReasonCode::NotAuthorized) {
    ///     println!("the password is wrong, or has expired");
    /// }
    /// # }
    /// ```
    pub const fn reason_code(&self) -> Option<ReasonCode> {
        self.reason_code
    }

    /// Returns whether the client connects again: see [`Close::may_retry`].
    ///
    /// ```
    /// # use mqtt_sansio_tokio::CloseReason;
    /// # fn f(why: &CloseReason) {
    /// println!("{why}; {}", if why.may_retry() { "connecting again" } else { "giving up" });
    /// # }
    /// ```
    pub const fn may_retry(&self) -> bool {
        self.may_retry
    }

    /// Returns the Server Reference, another server to connect to, if there is one (section 4.11).
    ///
    /// ```
    /// # use mqtt_sansio_tokio::CloseReason;
    /// # fn f(why: &CloseReason) {
    /// if let Some(other) = why.server_reference() {
    ///     println!("the server names another one: {other}");
    /// }
    /// # }
    /// ```
    pub fn server_reference(&self) -> Option<&str> {
        self.server_reference.as_deref()
    }
}

impl From<&Close<'_>> for CloseReason {
    fn from(close: &Close<'_>) -> Self {
        Self {
            text: close.to_string(),
            reason_code: close.reason_code(),
            may_retry: close.may_retry(),
            server_reference: close.server_reference().map(|reference| reference.as_str().into()),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CloseReason {}

/// The reason why a connection has ended, or could not be made.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The transport could not be connected, or was lost.
    #[error(transparent)]
    Transport(Arc<io::Error>),
    /// One endpoint has ended the connection.
    #[error(transparent)]
    Closed(#[from] CloseReason),
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Transport(Arc::new(error))
    }
}
