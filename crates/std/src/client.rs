//! The handle of a client.

use std::sync::Arc;

use mqtt_sansio::client::{ClientConfig, ReconfigureError};
use mqtt_sansio::codec::{AckProperties, PubAckReasonCode, Subscription, SubscriptionIdentifier};
use mqtt_sansio::{
    AckHandle, AuthenticateError, Message, OwnedOutcome, PublishError, QoS, Token, TopicFilter, UnknownToken,
};

use crate::error::{Ended, Error};
use crate::pending::Pending;
use crate::state::{Shared, Waiting};
use crate::subscriptions::Request;

/// A handle of a client, for the threads that give commands. All handles are equal.
///
/// The client ends, with DISCONNECT, at [`disconnect`](Self::disconnect), or when all handles and the
/// [`Events`](crate::Events) are dropped. A program that ends without that leaves the server to find out, which publishes
/// the will.
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::{Message, QoS};
/// # use mqtt_sansio_std::{connect, tcp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (client, events) = connect(ClientConfig::default(), tcp("127.0.0.1:1883"))?;
/// let other = client.clone();
/// std::thread::spawn(move || other.publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce)));
/// let outcome = client.subscribe("home/+/set", QoS::AtLeastOnce)?;
/// assert!(outcome.is_success());
/// client.unsubscribe(&["home/+/set"])?;
/// client.disconnect();
/// # drop(events);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Publishes a message, and waits for the outcome: for QoS 0 until it is written, for QoS 1 and 2 until the server has
    /// acknowledged it, across connections. Waits for room if no more messages can be stored.
    ///
    /// # Errors
    ///
    /// [`Error::Publish`] if the message cannot be published, as
    /// [`ClientSession::publish`](mqtt_sansio::client::ClientSession::publish) says; [`Error::Ended`] if the client has
    /// ended. A refusal by the server is an outcome.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), mqtt_sansio_std::Error> {
    /// let outcome = client.publish(&Message::new("home/temp", "21.5").qos(QoS::ExactlyOnce))?;
    /// println!("{:?}", outcome.outcome());
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, message: &Message<'_>) -> Result<OwnedOutcome, Error> {
        let mut state = self.shared.lock();
        let pending = loop {
            state.check()?;
            match state.session.publish(self.shared.clock.now(), message) {
                Ok(token) => {
                    let (sender, pending) = Pending::new(token);
                    state.wait_for(token, Waiting::Publish(sender));
                    break pending;
                }
                // There is room when another operation has its outcome. An empty session has room for every message.
                Err(PublishError::QueueFull) => state = self.shared.wait_for_outcome(state),
                Err(error) => return Err(error.into()),
            }
        };
        drop(state);
        self.shared.wake();
        Ok(pending.wait()?)
    }

    /// Publishes a message without waiting. The outcome can be waited for later, or ignored.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish), and [`PublishError::QueueFull`] if no more messages can be stored.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::Message;
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), mqtt_sansio_std::Error> {
    /// client.try_publish(&Message::new("home/temp", "21.5"))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_publish(&self, message: &Message<'_>) -> Result<Pending, Error> {
        let mut state = self.shared.lock();
        state.check()?;
        let token = state.session.publish(self.shared.clock.now(), message)?;
        let (sender, pending) = Pending::new(token);
        state.wait_for(token, Waiting::Publish(sender));
        drop(state);
        self.shared.wake();
        Ok(pending)
    }

    /// Subscribes to a topic filter, and waits for SUBACK. The outcome says whether the server has granted the
    /// subscription.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] if the filter is not valid; [`Error::Subscribe`] if the request cannot be sent;
    /// [`Error::Ended`] if the client has ended.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::QoS;
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), mqtt_sansio_std::Error> {
    /// let outcome = client.subscribe("home/#", QoS::AtLeastOnce)?;
    /// println!("granted: {:?}", outcome.outcome().codes());
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&self, filter: &str, qos: QoS) -> Result<OwnedOutcome, Error> {
        Ok(self.try_subscribe(&[Subscription::new(filter, qos)?], None)?.wait()?)
    }

    /// Subscribes to topic filters with options, and a subscription identifier, which the server adds to each message for
    /// them; without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Subscribe`] if the request cannot be sent; [`Error::Ended`] if the client has ended.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::QoS;
    /// # use mqtt_sansio::codec::{Subscription, SubscriptionIdentifier};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let subscription = Subscription { no_local: true, ..Subscription::new("home/#", QoS::AtMostOnce)? };
    /// let pending = client.try_subscribe(&[subscription], Some(SubscriptionIdentifier::new(7)?))?;
    /// println!("{:?}", pending.wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_subscribe(
        &self,
        subscriptions: &[Subscription<'_>],
        identifier: Option<SubscriptionIdentifier>,
    ) -> Result<Pending, Error> {
        let request = Request::new(subscriptions, identifier);
        let mut state = self.shared.lock();
        state.check()?;
        let token = request.send(self.shared.clock.now(), &mut state.session)?;
        let (sender, pending) = Pending::new(token);
        state.wait_for(token, Waiting::Subscribe(sender, request));
        drop(state);
        self.shared.wake();
        Ok(pending)
    }

    /// Unsubscribes from topic filters, and waits for UNSUBACK.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), mqtt_sansio_std::Error> {
    /// client.unsubscribe(&["home/#"])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn unsubscribe(&self, filters: &[&str]) -> Result<OwnedOutcome, Error> {
        let names = filters.iter().map(|&filter| filter.to_owned()).collect();
        let filters = filters.iter().map(|filter| TopicFilter::new(filter)).collect::<Result<Vec<_>, _>>()?;
        let mut state = self.shared.lock();
        state.check()?;
        let token = state.session.unsubscribe(self.shared.clock.now(), &filters)?;
        let (sender, pending) = Pending::new(token);
        state.wait_for(token, Waiting::Unsubscribe(sender, names));
        drop(state);
        self.shared.wake();
        Ok(pending.wait()?)
    }

    /// Acknowledges a message, with [manual](mqtt_sansio::client::ClientConfig::manual_acks) acknowledgements. A reason
    /// code of 0x80 or above refuses the message in 5.0.
    ///
    /// # Errors
    ///
    /// [`Error::Ack`] as [`ClientSession::ack`](mqtt_sansio::client::ClientSession::ack) says: the server sends a message
    /// of an earlier connection again. [`Error::Ended`] if the client has ended.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::codec::PubAckReasonCode;
    /// # use mqtt_sansio_std::{Client, Event, Events};
    /// # fn f(client: &Client, events: Events) -> Result<(), mqtt_sansio_std::Error> {
    /// for event in events {
    ///     let Event::Message(message) = event else { continue };
    ///     println!("{}: {:?}", message.topic(), message.payload()); // or store it
    ///     if let Some(handle) = message.ack_handle() {
    ///         client.ack(handle, PubAckReasonCode::Success)?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ack(&self, handle: AckHandle, reason_code: PubAckReasonCode) -> Result<(), Error> {
        self.ack_with(handle, reason_code, &AckProperties::default())
    }

    /// Acknowledges a message as [`ack`](Self::ack) does, with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::codec::{AckProperties, PubAckReasonCode};
    /// # use mqtt_sansio::{OwnedMessage, Utf8Str};
    /// # fn f(client: &mqtt_sansio_std::Client, message: &OwnedMessage) -> Result<(), Box<dyn std::error::Error>> {
    /// let properties = AckProperties { reason_string: Some(Utf8Str::new("too hot")?), ..AckProperties::default() };
    /// if let Some(handle) = message.ack_handle() {
    ///     client.ack_with(handle, PubAckReasonCode::NotAuthorized, &properties)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ack_with(
        &self,
        handle: AckHandle,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), Error> {
        let mut state = self.shared.lock();
        state.check()?;
        state.session.ack_with(self.shared.clock.now(), handle, reason_code, properties)?;
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Withdraws an operation, as [`ClientSession::withdraw`](mqtt_sansio::client::ClientSession::withdraw) says. Its
    /// outcome is [`AbandonReason::Withdrawn`](mqtt_sansio::AbandonReason::Withdrawn).
    ///
    /// # Errors
    ///
    /// [`UnknownToken`] if the outcome is known already, or if the operation is a QoS 0 message that is being written.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut pending = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// if pending.wait_within(Duration::from_secs(10))?.is_none() {
    ///     client.withdraw(pending.token())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn withdraw(&self, token: Token) -> Result<(), UnknownToken> {
        self.shared.lock().session.withdraw(self.shared.clock.now(), token)?;
        self.shared.wake();
        Ok(())
    }

    /// Begins a re-authentication, as
    /// [`ClientSession::reauthenticate`](mqtt_sansio::client::ClientSession::reauthenticate) says.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError`] if there is no connection, or no authentication.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), mqtt_sansio::AuthenticateError> {
    /// client.reauthenticate(b"a new token")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reauthenticate(&self, data: &[u8]) -> Result<(), AuthenticateError> {
        self.shared.lock().session.reauthenticate(self.shared.clock.now(), data)?;
        self.shared.wake();
        Ok(())
    }

    /// Waits until everything that was done before, on any thread, is [stored](crate::Builder::store): a message that was
    /// published then survives a crash, also if the server cannot be reached. While a transport connects, it waits for that
    /// too. It returns at once if the client has no store.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the client has ended before: then it is not known what is stored.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.try_publish(&Message::new("meter/kwh", "17").qos(QoS::ExactlyOnce))?;
    /// client.wait_until_stored()?; // now the meter may forget the value
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_until_stored(&self) -> Result<(), Ended> {
        self.shared.wait_until_stored()
    }

    /// Replaces the configuration for the following connections, for instance with a password that has not expired, or with
    /// fresh data for an enhanced authentication: see
    /// [`ClientSession::reconfigure`](mqtt_sansio::client::ClientSession::reconfigure). It is possible between two connections,
    /// so the place for it is the event that reports the end of one, with the pause before the next. It has no effect if the
    /// client has ended.
    ///
    /// # Errors
    ///
    /// [`ReconfigureError`] while there is a connection, or if the version differs.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::{Client, Event, Events};
    /// # fn token() -> Vec<u8> { Vec::new() }
    /// # fn f(client: &Client, events: Events, config: &ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// for event in events {
    ///     if let Event::Closed(_) = event {
    ///         client.reconfigure(ClientConfig { password: Some(token().into()), ..config.clone() })?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfigure(&self, config: ClientConfig) -> Result<(), ReconfigureError> {
        let mut state = self.shared.lock();
        let seed = if config.seed == 0 { state.session.config().seed } else { config.seed };
        state.session.reconfigure(ClientConfig { deliver_in_parts: None, seed, ..config })?;
        drop(state);
        self.shared.wake(); // a durable session stores it
        Ok(())
    }

    /// Returns the tokens of the operations that have no outcome. After a restart these are the messages that were
    /// published before; [`Event::Done`](crate::Event::Done) reports their outcomes.
    ///
    /// ```no_run
    /// # fn f(client: &mqtt_sansio_std::Client) {
    /// println!("{} messages of a run before are under way", client.operations().len());
    /// # }
    /// ```
    pub fn operations(&self) -> Vec<Token> {
        self.shared.lock().session.operations().map(|operation| operation.token).collect()
    }

    /// Returns whether the server has accepted the connection and the connection is not over.
    ///
    /// ```no_run
    /// # fn f(client: &mqtt_sansio_std::Client) {
    /// println!("{}", if client.is_connected() { "online" } else { "offline" });
    /// # }
    /// ```
    pub fn is_connected(&self) -> bool {
        self.shared.lock().session.is_connected()
    }

    /// Disconnects, and ends the client: writes DISCONNECT, so that the server discards the will, and waits until the
    /// connection is closed, for about a second at most. If the client is about to connect, it does not wait. Operations
    /// without an outcome have none any more; a durable session goes on with its messages after a restart.
    ///
    /// ```no_run
    /// # fn f(client: &mqtt_sansio_std::Client) {
    /// client.disconnect();
    /// # }
    /// ```
    pub fn disconnect(&self) {
        let mut state = self.shared.lock();
        state.leave();
        self.shared.notify();
        self.shared.wake();
        while state.is_ending() {
            state = self.shared.wait_for_outcome(state);
        }
    }

    /// Returns an error if the client has ended.
    ///
    /// # Errors
    ///
    /// [`Ended`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn f(client: &mqtt_sansio_std::Client) {
    /// if client.check().is_err() {
    ///     println!("the client has ended; the last event says why");
    /// }
    /// # }
    /// ```
    pub fn check(&self) -> Result<(), Ended> {
        self.shared.lock().check()
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.drop_handle();
    }
}
