//! The operations of a client: publishing, subscribing and unsubscribing.

use alloc::vec::Vec;

use super::session::ClientSession;
use crate::codec::{Subscribe, SubscribeProperties, Subscription, Unsubscribe, UnsubscribeProperties};
use crate::session::{End, Kind, Message, PublishError, SubscribeError, Token, UNASSIGNED, UnknownToken};
use crate::time::Instant;
use crate::topic::TopicFilter;

impl ClientSession {
    /// Publishes a message. The session sends it at once if possible; otherwise it is queued until there is a
    /// connection, the server's Receive Maximum allows it, or enough of the output is written.
    ///
    /// [`Action::Done`](super::Action::Done) with the token reports the outcome. Messages of the same QoS are sent in
    /// the order in which they were published.
    ///
    /// # Errors
    ///
    /// [`PublishError::Topic`] and [`PublishError::Encode`] if the message cannot be encoded in this version;
    /// [`PublishError::QueueFull`] if no more messages can be stored; with a connection, [`PublishError::TooLarge`],
    /// [`PublishError::QoSNotSupported`] and [`PublishError::RetainNotSupported`] if the server does not support the
    /// message; [`PublishError::TopicAlias`] and [`PublishError::SubscriptionIdentifier`] for properties that the
    /// caller must not set. After an error the session is unchanged, and does not store the message.
    #[inline]
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Token, PublishError> {
        self.engine.advance(now);
        if message.has_subscription_identifiers() {
            return Err(PublishError::SubscriptionIdentifier);
        }
        let (engine, mut side) = self.split();
        engine.publish(&mut side, message)
    }

    /// Withdraws the operation with this token. Its outcome is
    /// [`AbandonReason::Withdrawn`](crate::AbandonReason::Withdrawn), reported by the next [`poll`](Self::poll).
    ///
    /// A queued operation is not sent. An operation that was sent cannot be revoked: the server may have received it,
    /// and a subscription that it grants nevertheless exists until the client unsubscribes. The next connection does
    /// not send a withdrawn SUBSCRIBE or UNSUBSCRIBE again. A withdrawn QoS 1 or QoS 2 message is not sent again
    /// either, but its packet identifier stays in use, and counts against the server's Receive Maximum, until the
    /// server completes the delivery on this connection; after that, until the session ends. A QoS 2 message that the
    /// server has received is released in any case \[MQTT-4.3.3-4\].
    ///
    /// # Errors
    ///
    /// [`UnknownToken`] if the outcome is known already, or if the operation is a QoS 0 message in the
    /// output.
    pub fn withdraw(&mut self, now: Instant, token: Token) -> Result<(), UnknownToken> {
        self.engine.advance(now);
        self.engine.withdraw(token)
    }

    /// Returns the number of connections on which the packet of an operation has been sent, the present one included. A
    /// packet counts even if it was sent only in part, and whether or not it has arrived. `None` if no operation with
    /// this token is queued, in flight or in the output.
    pub fn tries(&self, token: Token) -> Option<u16> {
        self.engine.tries(token)
    }

    /// Sends SUBSCRIBE, at once if possible; otherwise the request is queued. An unanswered request is sent again by
    /// the next connection, up to [`max_request_tries`](super::ClientConfig::max_request_tries).
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Encode`] if the request cannot be encoded in this version; [`SubscribeError::QueueFull`] if no
    /// more requests can be stored; with a connection, [`SubscribeError::TooLarge`] and
    /// [`SubscribeError::NotSupported`] if the server does not support the request.
    pub fn subscribe(&mut self, now: Instant, subscriptions: &[Subscription<'_>]) -> Result<Token, SubscribeError> {
        self.subscribe_with(now, subscriptions, &SubscribeProperties::default())
    }

    /// Sends SUBSCRIBE as [`subscribe`](Self::subscribe) does, with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &mut self,
        now: Instant,
        subscriptions: &[Subscription<'_>],
        properties: &SubscribeProperties<'_>,
    ) -> Result<Token, SubscribeError> {
        self.engine.advance(now);
        let subscribe = Subscribe { id: UNASSIGNED, subscriptions: subscriptions.into(), properties: *properties };
        if self.is_connected() {
            self.server.check_subscriptions(subscriptions.iter().copied(), properties)?;
        }
        let mut packet = Vec::new();
        subscribe.encode(self.engine.version, &mut packet)?;
        let (engine, mut side) = self.split();
        engine.request(&mut side, Kind::Subscribe(subscriptions.len() as u32), packet)
    }

    /// Sends UNSUBSCRIBE, at once if possible; otherwise the request is queued. An unanswered request is sent again by
    /// the next connection, up to [`max_request_tries`](super::ClientConfig::max_request_tries).
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, now: Instant, filters: &[TopicFilter<'_>]) -> Result<Token, SubscribeError> {
        self.unsubscribe_with(now, filters, &UnsubscribeProperties::default())
    }

    /// Sends UNSUBSCRIBE as [`unsubscribe`](Self::unsubscribe) does, with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe_with(
        &mut self,
        now: Instant,
        filters: &[TopicFilter<'_>],
        properties: &UnsubscribeProperties<'_>,
    ) -> Result<Token, SubscribeError> {
        self.engine.advance(now);
        let unsubscribe = Unsubscribe { id: UNASSIGNED, filters: filters.into(), properties: *properties };
        let mut packet = Vec::new();
        unsubscribe.encode(self.engine.version, &mut packet)?;
        let (engine, mut side) = self.split();
        engine.request(&mut side, Kind::Unsubscribe(filters.len() as u32), packet)
    }
}
