//! What a client asks for: messages to be published, and subscriptions.

use alloc::vec::Vec;

use super::session::ClientSession;
use crate::codec::{Subscribe, SubscribeProperties, Subscription, Unsubscribe, UnsubscribeProperties};
use crate::session::{CommandError, End, Kind, Message, Token, UNASSIGNED};
use crate::time::Instant;
use crate::topic::TopicFilter;

impl ClientSession {
    /// Publishes a message, at once if that is possible; else it is kept until there is a connection, until the server
    /// takes more, or until some of what is to be written has been written.
    ///
    /// What has become of it is told by [`Action::Done`](super::Action::Done) with the token. Messages of one QoS
    /// are sent in the order in which they were published.
    ///
    /// # Errors
    ///
    /// [`CommandError::Text`] and [`CommandError::Encode`] if it cannot be sent in this version;
    /// [`CommandError::QueueFull`] if no more can be kept; what the server does not take, if there is a connection:
    /// [`CommandError::TooLarge`], [`CommandError::QoSNotSupported`], [`CommandError::RetainNotSupported`];
    /// [`CommandError::TopicAlias`] and [`CommandError::SubscriptionIdentifier`] for properties that are not the
    /// caller's. Nothing has changed then: the message is still the caller's.
    #[inline]
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Token, CommandError> {
        self.engine.advance(now);
        if message.has_subscription_identifiers() {
            return Err(CommandError::SubscriptionIdentifier);
        }
        let (engine, mut side) = self.split();
        engine.publish(&mut side, message)
    }

    /// Withdraws what was asked for under a token: its outcome is [`AbandonReason::Withdrawn`](crate::AbandonReason::Withdrawn), reported by the
    /// next [`poll`](Self::poll).
    ///
    /// What waits is not sent. What was sent cannot be taken back: the server may have it, and a subscription that
    /// it grants nevertheless is there until it is unsubscribed. A SUBSCRIBE or UNSUBSCRIBE is not sent again by the next
    /// connection. A message of QoS 1 or 2 is not sent again either, but its packet identifier stays in use, and
    /// counts against the server's Receive Maximum, until the server has settled it on this connection; after that, until
    /// the session ends. A message of QoS 2 that the server has received is released in any case \[MQTT-4.3.3-4\].
    ///
    /// # Errors
    ///
    /// [`CommandError::UnknownToken`] if the outcome is known already, or if it is a message of QoS 0 that is in the output.
    pub fn withdraw(&mut self, now: Instant, token: Token) -> Result<(), CommandError> {
        self.engine.advance(now);
        self.engine.withdraw(token)
    }

    /// Returns the number of connections on which the packet of an operation has been sent, the present one included; be it
    /// in part, and whether it has arrived or not. `None` if nothing is open under the token.
    pub fn tries(&self, token: Token) -> Option<u16> {
        self.engine.tries(token)
    }

    /// Asks for messages, at once if that is possible; else as soon as it is. An unanswered request is sent again by
    /// the next connection.
    ///
    /// # Errors
    ///
    /// [`CommandError::Encode`] if it cannot be sent in this version; [`CommandError::QueueFull`] if no more can be
    /// kept; what the server does not take, if there is a connection: [`CommandError::TooLarge`],
    /// [`CommandError::SubscriptionNotSupported`].
    pub fn subscribe(&mut self, now: Instant, subscriptions: &[Subscription<'_>]) -> Result<Token, CommandError> {
        self.subscribe_with(now, subscriptions, &SubscribeProperties::default())
    }

    /// As [`subscribe`](Self::subscribe), with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &mut self,
        now: Instant,
        subscriptions: &[Subscription<'_>],
        properties: &SubscribeProperties<'_>,
    ) -> Result<Token, CommandError> {
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

    /// Ends subscriptions, at once if that is possible; else as soon as it is. An unanswered request is sent again by the
    /// next connection.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, now: Instant, filters: &[TopicFilter<'_>]) -> Result<Token, CommandError> {
        self.unsubscribe_with(now, filters, &UnsubscribeProperties::default())
    }

    /// As [`unsubscribe`](Self::unsubscribe), with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe_with(
        &mut self,
        now: Instant,
        filters: &[TopicFilter<'_>],
        properties: &UnsubscribeProperties<'_>,
    ) -> Result<Token, CommandError> {
        self.engine.advance(now);
        let unsubscribe = Unsubscribe { id: UNASSIGNED, filters: filters.into(), properties: *properties };
        let mut packet = Vec::new();
        unsubscribe.encode(self.engine.version, &mut packet)?;
        let (engine, mut side) = self.split();
        engine.request(&mut side, Kind::Unsubscribe(filters.len() as u32), packet)
    }
}
