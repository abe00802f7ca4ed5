//! Events of a client, and their queue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mqtt_sansio::client::{Close, OwnedConnected, SubscribeError};
use mqtt_sansio::{OwnedMessage, OwnedOutcome, ReasonCode, Token};

use crate::state::Shared;

/// An event of a client. It owns its content.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server has accepted the connection.
    Connected(OwnedConnected),
    /// A message has arrived.
    Message(OwnedMessage),
    /// An operation has its outcome that no [`Pending`](crate::Pending) belongs to: a message that was published before a
    /// restart.
    Done {
        /// The token of the operation.
        token: Token,
        /// The outcome of the operation.
        outcome: OwnedOutcome,
    },
    /// The client has subscribed again, because the session was lost, and this is the outcome; or it could not.
    Resubscribed(Result<OwnedOutcome, SubscribeError>),
    /// The connection has ended, or could not be established.
    Closed(Closed),
}

/// The end of a connection, or of the attempt to establish one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// The reason as a text.
    pub reason: String,
    /// The reason code of the endpoint that has ended the connection; `None` where no packet has one.
    pub reason_code: Option<ReasonCode>,
    /// Another server to connect to, if the server has named one (Server Reference).
    pub server_reference: Option<String>,
    /// The pause before the next connection; `None` if there is no other: the client has ended.
    pub retry_after: Option<Duration>,
}

impl Closed {
    /// Creates the report of a connection that ended without a reason code.
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), reason_code: None, server_reference: None, retry_after: None }
    }

    /// Creates the report of a connection that an endpoint has closed.
    pub(crate) fn by(close: &Close<'_>) -> Self {
        Self {
            reason_code: close.reason_code(),
            server_reference: close.server_reference().map(|reference| reference.as_str().into()),
            ..Self::new(close)
        }
    }
}

/// Prints the reason.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.reason)
    }
}

/// The events of a client, in order. As an iterator it waits for each event, and ends when the client has ended.
///
/// If the events are dropped, later ones are dropped as well: a message with manual acknowledgements stays
/// unacknowledged then.
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio_std::{Event, connect, tcp};
/// # let (client, mut events) = connect(ClientConfig::default(), tcp("127.0.0.1:1883"))?;
/// for event in &mut events {
///     match event {
///         Event::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
///         Event::Closed(closed) => println!("{closed}"),
///         event => println!("{event:?}"),
///     }
/// }
/// # drop(client);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Events(pub(crate) Arc<Shared>);

impl Events {
    /// Returns the next event if there is one.
    ///
    /// ```no_run
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::{connect, tcp};
    /// # let (client, mut events) = connect(ClientConfig::default(), tcp("127.0.0.1:1883"))?;
    /// while let Some(event) = events.try_next() {
    ///     println!("{event:?}");
    /// }
    /// # drop(client);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_next(&mut self) -> Option<Event> {
        self.0.take_event(Some(Duration::ZERO))
    }

    /// Waits for the next event, at most for this time. Returns `None` if there was none, or if the client has ended.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::{connect, tcp};
    /// # let (client, mut events) = connect(ClientConfig::default(), tcp("127.0.0.1:1883"))?;
    /// if let Some(event) = events.next_within(Duration::from_secs(1)) {
    ///     println!("{event:?}");
    /// }
    /// # drop(client);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn next_within(&mut self, patience: Duration) -> Option<Event> {
        self.0.take_event(Some(patience))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.0.take_event(None)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.drop_events();
    }
}
