//! The commands of the embedding program: its own messages and subscriptions, and the sessions and retained messages of all.

use super::facade::Broker;
use super::listing::{Cursor, Page, SessionInfo, SubscriptionInfo};
use super::local::{LocalMessage, LocalSubscription, SubscribeError, SubscribeOptions};
use super::policy::{ConnectionId, Policy};
use super::{dispatch, embedder, jobs, lifecycle, listing, publish};
use crate::codec::DisconnectReasonCode;
use crate::session::{Message, PublishError};
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

impl<P: Policy> Broker<P> {
    /// Publishes a message of the embedding program's own: it is retained if it says so, and goes to all subscribers; to
    /// those that it does not get to at once by [`poll`](Self::poll). Messages go out in the order in which they were
    /// published.
    ///
    /// # Errors
    ///
    /// [`PublishError::Topic`] if the topic is not valid; [`PublishError::TopicAlias`] for a topic alias, which only the
    /// broker sets; [`PublishError::TooManyLevels`] for a topic with more levels than [`max_topic_levels`];
    /// [`PublishError::Encode`] if it cannot be sent; [`PublishError::QueueFull`] if there is no room to retain it, if 1,000
    /// earlier messages are still on their way, or if more changes than [`max_uncommitted`] are not committed and the message is
    /// retained or of QoS 1 or 2.
    ///
    /// [`max_topic_levels`]: super::BrokerConfig::max_topic_levels
    /// [`max_uncommitted`]: super::BrokerConfig::max_uncommitted
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::{Instant, Message};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// broker.publish(now, &Message::new("gateway/started", "yes").retain(true))?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<(), PublishError> {
        let mut cx = self.at(now);
        let accepted = publish::publish_own(&mut cx, message);
        dispatch::process_changes(&mut cx);
        accepted
    }

    /// Subscribes the embedding program itself: [`next_message`](Self::next_message) returns the messages of clients, wills,
    /// what the program [publishes](Self::publish), and with a filter under `$SYS/` what the broker publishes about itself. The
    /// policy is not asked. Each subscription gets its own copy of a message, also if the filters are the same. A
    /// [shared](TopicFilter::share_name) one is a member of its group beside clients.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let alarms = broker.subscribe(now, "plant/+/alarm", QoS::AtLeastOnce)?;
    /// # broker.publish(now, &Message::new("plant/7/alarm", "hot"))?;
    /// while let Some((subscription, message)) = broker.next_message() {
    ///     println!("{}: {:?}", message.topic(), message.payload());
    ///     # assert!(subscription == alarms && message.topic() == "plant/7/alarm");
    /// }
    /// broker.unsubscribe(now, alarms);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Messages wait in a queue of the subscription, whatever their QoS, until the program takes them. The queue has the limits
    /// of a session: `server.max_stored` messages and `server.max_stored_bytes` bytes, beyond which `server.overflow` says which
    /// message is dropped, and counted as [`DropReason::QueueFull`](super::DropReason::QueueFull); the policy gets
    /// [`Notice::LocalDropped`](super::Notice::LocalDropped). It is a part of
    /// [`BrokerConfig::max_memory`](super::BrokerConfig::max_memory), and of no principal's share. Retained messages wait until
    /// there is room in the queue.
    ///
    /// The subscriptions of the program do not survive a crash, nor do the messages in their queues: subscribe again after
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the filter or the options are not valid, or at a limit of the configuration.
    pub fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        options: impl Into<SubscribeOptions>,
    ) -> Result<LocalSubscription, SubscribeError> {
        let mut cx = self.at(now);
        let subscribed = embedder::subscribe(&mut cx, filter, options.into());
        dispatch::process_changes(&mut cx);
        subscribed
    }

    /// Ends a subscription of the embedding program; returns whether there was one. Its messages that were not taken are
    /// dropped, and counted as [`DropReason::SessionEnded`](super::DropReason::SessionEnded), but for those of a shared
    /// subscription, which go to another member.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, QoS};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let alarms = broker.subscribe(now, "plant/+/alarm", QoS::AtLeastOnce)?;
    /// assert!(broker.unsubscribe(now, alarms) && !broker.unsubscribe(now, alarms));
    /// # Ok(())
    /// # }
    /// ```
    pub fn unsubscribe(&mut self, now: Instant, subscription: LocalSubscription) -> bool {
        let mut cx = self.at(now);
        let was_subscribed = embedder::unsubscribe(&mut cx, subscription.key());
        dispatch::process_changes(&mut cx);
        was_subscribed
    }

    /// Takes the next message for a [subscription](Self::subscribe) of the embedding program; `None` if there is none now. The
    /// messages of a subscription come in order; subscriptions take turns. From here on the message is the program's, whatever
    /// its QoS: there is no acknowledgement.
    ///
    /// Call it after each call that may have led to messages, until there are no more, as
    /// [`next_ready`](Self::next_ready). Messages that have expired are dropped; if they are as many as the
    /// [work of a call](super::BrokerConfig::work_per_call), others come after the next [`poll`](Self::poll), whose
    /// [`deadline`](Self::deadline) is at once.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let requests = broker.subscribe(now, "gateway/ping", QoS::AtMostOnce)?;
    /// # broker.publish(now, &Message::new("gateway/ping", "7"))?;
    /// while let Some((subscription, message)) = broker.next_message() {
    ///     if subscription == requests {
    ///         broker.publish(now, &Message::new("gateway/pong", message.payload().clone()))?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_message(&mut self) -> Option<(LocalSubscription, LocalMessage)> {
        if !self.has_messages() {
            return None;
        }
        embedder::next_message(&mut self.again())
    }

    /// Disconnects a client, with a reason. Before 5.0 the client gets no reason; nor does one that is not accepted yet.
    /// Its will is published, unless the client connects again before the Will Delay Interval has passed.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::codec::DisconnectReasonCode;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// broker.disconnect(now, id, DisconnectReasonCode::ServerShuttingDown);
    /// assert!(broker.is_over(id)); // DISCONNECT is still to be written
    /// ```
    pub fn disconnect(&mut self, now: Instant, id: ConnectionId, reason_code: DisconnectReasonCode) {
        let mut cx = self.at(now);
        let principal = cx.connections.principal(id);
        jobs::work_for(&mut cx, principal, |cx| {
            lifecycle::disconnect_client(cx, id, reason_code);
            dispatch::process_changes(cx);
        });
    }

    /// Ends the session of a client, and its connection if it has one, with Administrative action (0x98); returns whether
    /// there was a session. Its will is published.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// assert!(broker.end_session(now, "thermo") && !broker.end_session(now, "thermo"));
    /// ```
    pub fn end_session(&mut self, now: Instant, client_id: &str) -> bool {
        self.end_session_with(now, client_id, DisconnectReasonCode::AdministrativeAction)
    }

    /// As [`end_session`](Self::end_session), with this reason for the connection, which a client of 5.0 is sent.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::codec::DisconnectReasonCode;
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let was_there = broker.end_session_with(now, "thermo-7", DisconnectReasonCode::ServerMoved);
    /// # assert!(!was_there);
    /// ```
    pub fn end_session_with(&mut self, now: Instant, client_id: &str, reason_code: DisconnectReasonCode) -> bool {
        let mut cx = self.at(now);
        let ended = lifecycle::end_session(&mut cx, client_id, reason_code);
        dispatch::process_changes(&mut cx);
        ended
    }

    /// Returns the details of the session of a client, if there is one.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// if let Some(session) = broker.session("thermo-7") {
    ///     println!("{} subscriptions, {} messages", session.subscriptions, session.stored);
    /// }
    /// ```
    pub fn session(&mut self, client_id: &str) -> Option<SessionInfo> {
        listing::session(&self.context(), client_id)
    }

    /// Lists the sessions of clients, a page at a time.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Cursor, Secret};
    /// # let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// let mut next = Some(Cursor::START);
    /// while let Some(from) = next {
    ///     let page = broker.list_sessions(from);
    ///     for session in &page.items {
    ///         println!("{}: {:?}", session.client_id, session.connection);
    ///     }
    ///     next = page.next; // other calls may come in between
    /// }
    /// ```
    pub fn list_sessions(&mut self, from: Cursor) -> Page<SessionInfo> {
        listing::sessions(&mut self.again(), from)
    }

    /// Lists the subscriptions of a client, a page at a time; none if it has no session.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Cursor, Secret};
    /// # let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// for subscription in broker.list_subscriptions("thermo-7", Cursor::START).items {
    ///     println!("{} {}", subscription.filter, subscription.qos);
    /// }
    /// ```
    pub fn list_subscriptions(&mut self, client_id: &str, from: Cursor) -> Page<SubscriptionInfo> {
        listing::subscriptions(&mut self.again(), client_id, from)
    }

    /// Lists the retained messages whose topics match a filter, a page at a time. All topics are looked at, whatever the
    /// filter is. `#` does not match what begins with `$`.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Cursor, Secret};
    /// # use mqtt_sansio::{Instant, Message, TopicFilter};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// let page = broker.list_retained(TopicFilter::new("plant/#")?, Cursor::START);
    /// for message in &page.items {
    ///     println!("{}: {:?}", message.topic(), message.payload());
    /// }
    /// # assert_eq!((page.items.len(), page.next), (1, None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_retained(&mut self, filter: TopicFilter<'_>, from: Cursor) -> Page<LocalMessage> {
        listing::retained(&mut self.again(), filter, from)
    }

    /// Returns the retained message of a topic, if there is one.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// assert_eq!(broker.retained_message("plant/1/state").ok_or("none")?.payload(), "on");
    /// # Ok(())
    /// # }
    /// ```
    pub fn retained_message(&mut self, topic: &str) -> Option<LocalMessage> {
        listing::retained_message(&self.context(), topic)
    }

    /// Removes the retained message of a topic; returns whether there was one. No subscriber is told, unlike by a
    /// [published](Self::publish) message without payload.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// assert!(broker.remove_retained(now, "plant/1/state") && !broker.remove_retained(now, "plant/1/state"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_retained(&mut self, now: Instant, topic: &str) -> bool {
        let Ok(topic) = TopicName::new(topic) else { return false };
        let mut cx = self.at(now);
        cx.work().spend_text(topic.as_bytes().len());
        publish::remove_retained(&mut cx, topic)
    }
}
