//! What happens, in the order in which it happened.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use mqtt_sansio::client::OwnedConnected;
use mqtt_sansio::codec::AuthReasonCode;
use mqtt_sansio::{AckHandle, OwnedMessage, OwnedOutcome, PayloadPart};

use crate::error::ConnectionError;
use crate::shared::Shared;

/// Something that the driver reports. It owns its content.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // most events are messages
#[non_exhaustive]
pub enum Event {
    /// The server has accepted a connection.
    Connected(OwnedConnected),
    /// A message has arrived.
    Message(OwnedMessage),
    /// The next part of a payload has arrived, with
    /// [delivery in parts](mqtt_sansio::client::ClientConfig::deliver_in_parts).
    Payload {
        /// The bytes of this part.
        bytes: Bytes,
        /// Number of bytes that follow; 0 in the last part.
        missing: u32,
        /// The handle of the acknowledgement that the application owes; in the last part only.
        ack_handle: Option<AckHandle>,
    },
    /// A step of an enhanced authentication has arrived. With Continue authentication the server waits for
    /// [`authenticate`](crate::Client::authenticate).
    Auth {
        /// The reason code.
        reason_code: AuthReasonCode,
        /// The Authentication Data.
        data: Option<Bytes>,
    },
    /// The driver has subscribed again, because the session was new, and this is the outcome.
    Resubscribed {
        /// The topic filters, in the order of the reason codes.
        filters: Vec<String>,
        /// The outcome. Filters that the server has refused are not requested again.
        outcome: OwnedOutcome,
    },
    /// A connection has ended, or could not be made.
    Disconnected {
        /// The reason.
        why: ConnectionError,
        /// The pause before the next attempt; `None` if there is none, because the driver ends.
        retry_in: Option<Duration>,
    },
}

impl Event {
    /// Makes the event of a part of a payload. A part is as long as what was read, so it is not shared but copied.
    pub(crate) fn payload(part: &PayloadPart<'_>) -> Self {
        Self::Payload { bytes: Bytes::copy_from_slice(part.bytes), missing: part.missing, ack_handle: part.ack_handle }
    }

    /// Returns the size of the content in bytes, for the limit on events.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Message(message) => message.payload().len() + message.topic().as_bytes().len(),
            Self::Payload { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Returns whether the event is a message or a part of one, and not about a connection.
    pub(crate) const fn is_message(&self) -> bool {
        matches!(self, Self::Message(_) | Self::Payload { .. })
    }
}

/// The events of a client, in order: a [`Stream`], which ends when the driver has ended.
///
/// The number and the size of the events that wait are [limited](crate::Options::max_events). While the application takes
/// none, the driver reads nothing more from the transport, so that the server has to wait as well; it sends pings and what
/// the application publishes nevertheless. Then no acknowledgements arrive either. So do not await
/// [`publish`](crate::Client::publish), [`subscribe`](crate::Client::subscribe) or [`queue`](crate::Client::queue) in the
/// loop that takes the events: use [`try_publish`](crate::Client::try_publish), or another task.
///
/// If the application needs no events, it drops this value: the driver then discards them.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    /// Events that were taken from the driver together.
    taken: VecDeque<Event>,
}

impl Events {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, taken: VecDeque::new() }
    }

    /// Returns the next event, and waits for it; `None` after the last one. Dropping the future loses nothing.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::{Event, Events};
    /// async fn print(mut events: Events) {
    ///     while let Some(event) = events.next().await {
    ///         match event {
    ///             Event::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
    ///             Event::Disconnected { why, retry_in: Some(pause) } => println!("{why}; connecting again in {pause:?}"),
    ///             Event::Disconnected { why, retry_in: None } => println!("{why}; the client ends"),
    ///             other => println!("{other:?}"),
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.taken.pop_front() {
            return Poll::Ready(Some(event));
        }
        match self.shared.poll_events(&mut self.taken, cx) {
            Poll::Ready(()) => Poll::Ready(self.taken.pop_front()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.drop_events();
    }
}
