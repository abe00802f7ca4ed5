//! The handle of a client.

use std::sync::Arc;

use mqtt_sansio::client::{ClientConfig, ReconfigureError, ServerLimits};
use mqtt_sansio::codec::{
    Packet, PacketBuf, PacketId, PubAckReasonCode, Subscribe, SubscribeProperties, Subscription, Unsubscribe,
    UnsubscribeProperties,
};
use mqtt_sansio::{
    AckError, AckHandle, AuthenticateError, Message, OwnedOutcome, QoS, Token, TopicFilter, UnknownToken, client,
};

use crate::completion::Completion;
use crate::error::{Closed, DisconnectError, PublishError, SubscribeError};
use crate::operations::Request;
use crate::shared::Shared;
use crate::state::Phase;

/// The handle of a client. Clones give commands to the same client.
///
/// No command waits for a connection: what cannot be sent yet is queued, within the limits of the
/// [configuration](mqtt_sansio::client::ClientConfig::max_stored), and sent when there is one.
///
/// Every future can be dropped at any time: either the command has not been given, or it goes on. Each method says when
/// the command is given.
///
/// When all handles and [`Events`](crate::Events) are dropped, the driver disconnects, as with
/// [`disconnect`](Self::disconnect).
#[derive(Clone, Debug)]
pub struct Client(Arc<Handle>);

/// What all clones share.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.drop_clients();
    }
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle(shared)))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Publishes a message, and returns its outcome: QoS 0 is sent, QoS 1 and 2 are acknowledged, or the message was
    /// given up. Waits for room if the session is full. Without a connection the outcome takes as long as there is none: a
    /// program that goes on meanwhile uses [`queue`](Self::queue).
    ///
    /// The command is given when there is room; if the future is dropped after that, the message is published
    /// nevertheless.
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn publish(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let outcome = client.publish(Message::new("home/temp", "21.5").qos(QoS::ExactlyOnce)).await?;
    /// if !outcome.is_success() {
    ///     println!("the server has refused it: {outcome:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PublishError::Refused`] if the session refuses the message for another reason than that it is full;
    /// [`PublishError::Closed`] if the client ends before there is an outcome.
    pub async fn publish<'m>(&self, message: impl Into<Message<'m>>) -> Result<OwnedOutcome, PublishError> {
        Ok(self.queue(message).await?.await?)
    }

    /// Publishes a message as [`publish`](Self::publish) does, and returns as soon as the session has it, with the future
    /// of its outcome. So many messages can be in flight at a time, and a sender that is faster than the server is slowed
    /// down. Messages that one task queues are sent in their order.
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn publish(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let first = client.queue(Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce)).await?;
    /// let second = client.queue(Message::new("home/temp", "21.6").qos(QoS::AtLeastOnce)).await?;
    /// println!("{:?}, {:?}", first.await?, second.await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn queue<'m>(&self, message: impl Into<Message<'m>>) -> Result<Completion, PublishError> {
        let message = message.into();
        tokio::task::coop::consume_budget().await; // a loop of commands lets the driver run
        loop {
            match self.try_publish(&message) {
                Err(error) if error.is_full() => self.shared().room.notified().await,
                result => {
                    self.shared().room.notify_one(); // there may be room for the next task that waits, also after an error
                    return result;
                }
            }
        }
    }

    /// Publishes a message if there is room for it, without waiting, and returns the future of its outcome. The future can
    /// be dropped.
    ///
    /// ```
    /// # use mqtt_sansio::Message;
    /// # use mqtt_sansio_tokio::Client;
    /// # fn publish(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// match client.try_publish(&Message::new("home/temp", "21.5")) {
    ///     Ok(completion) => drop(completion), // the outcome does not matter
    ///     Err(error) if error.is_full() => println!("too many messages: this one is dropped"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PublishError::Refused`] if the session refuses the message, also if it [is full](PublishError::is_full);
    /// [`PublishError::Closed`] if the client has ended. The message is not published then.
    pub fn try_publish(&self, message: &Message<'_>) -> Result<Completion, PublishError> {
        let token = self.shared().command(|state, now| {
            let token = state.session.publish(now, message)?;
            state.operations.insert(token, None);
            Ok::<_, mqtt_sansio::PublishError>(token)
        })??;
        Ok(self.completion(token))
    }

    fn completion(&self, token: Token) -> Completion {
        Completion::new(Arc::clone(self.shared()), token)
    }

    /// Subscribes to a topic filter, and waits until the server has granted the subscription. It can be granted with a
    /// lower QoS. Without a connection that takes as long as there is none; meanwhile
    /// [`Event::Disconnected`](crate::Event::Disconnected) says why.
    ///
    /// The command is given when the session has room, mostly at once. If the future is dropped after that, the client
    /// subscribes nevertheless.
    ///
    /// ```
    /// # use mqtt_sansio::QoS;
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn subscribe(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.subscribe("home/+/set", QoS::AtLeastOnce).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Filter`] if the filter is not valid; [`SubscribeError::Refused`] if the session refuses the
    /// request; [`SubscribeError::Failed`] if the server refuses it, or no connection has brought an answer;
    /// [`SubscribeError::Closed`] if the client ends before.
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<OwnedOutcome, SubscribeError> {
        let subscription = Subscription::new(filter, qos)?;
        successful(self.subscribe_with(&[subscription], &SubscribeProperties::default()).await?)
    }

    /// Subscribes as [`subscribe`](Self::subscribe) does, to several filters, with options and properties. The outcome has
    /// one reason code for each filter; those of 0x80 and above are refusals.
    ///
    /// ```
    /// # use mqtt_sansio::QoS;
    /// # use mqtt_sansio::codec::{SubscribeProperties, Subscription, SubscriptionIdentifier};
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn subscribe(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let alarms = Subscription { no_local: true, ..Subscription::new("home/+/alarm", QoS::ExactlyOnce)? };
    /// let subscription_identifier = Some(SubscriptionIdentifier::new(7)?);
    /// let properties = SubscribeProperties { subscription_identifier, ..SubscribeProperties::default() };
    /// let outcome = client.subscribe_with(&[alarms], &properties).await?;
    /// println!("{:?}", outcome.outcome().codes());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe), except that a refusal of the server is an outcome.
    pub async fn subscribe_with(
        &self,
        subscriptions: &[Subscription<'_>],
        properties: &SubscribeProperties<'_>,
    ) -> Result<OwnedOutcome, SubscribeError> {
        let packet = Subscribe { properties: *properties, ..Subscribe::new(PacketId::MIN, subscriptions) };
        let packet = Arc::new(self.encode(&packet.into())?);
        self.request(|state, now| {
            let token = state.session.subscribe_with(now, subscriptions, properties)?;
            Ok((token, Request::Subscribe(Arc::clone(&packet))))
        })
        .await
    }

    /// Unsubscribes from a topic filter, and waits for the answer of the server. As with [`subscribe`](Self::subscribe),
    /// the command is given even if the future is dropped.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn unsubscribe(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.unsubscribe("home/+/set").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(&self, filter: &str) -> Result<OwnedOutcome, SubscribeError> {
        let filter = TopicFilter::new(filter)?;
        successful(self.unsubscribe_with(&[filter], &UnsubscribeProperties::default()).await?)
    }

    /// Unsubscribes as [`unsubscribe`](Self::unsubscribe) does, from several filters, with properties.
    ///
    /// ```
    /// # use mqtt_sansio::TopicFilter;
    /// # use mqtt_sansio::codec::UnsubscribeProperties;
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn unsubscribe(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let filters = [TopicFilter::new("home/+/set")?, TopicFilter::new("home/+/alarm")?];
    /// client.unsubscribe_with(&filters, &UnsubscribeProperties::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`unsubscribe`](Self::unsubscribe), except that a refusal of the server is an outcome.
    pub async fn unsubscribe_with(
        &self,
        filters: &[TopicFilter<'_>],
        properties: &UnsubscribeProperties<'_>,
    ) -> Result<OwnedOutcome, SubscribeError> {
        let packet = Unsubscribe { id: PacketId::MIN, filters: filters.into(), properties: *properties };
        let packet = self.encode(&packet.into())?;
        self.request(|state, now| {
            let token = state.session.unsubscribe_with(now, filters, properties)?;
            Ok((token, Request::Unsubscribe(packet.clone())))
        })
        .await
    }

    /// Encodes a request, to remember it.
    fn encode(&self, packet: &Packet<'_>) -> Result<PacketBuf, SubscribeError> {
        let version = self.shared().with(|state| state.session.config().version);
        Ok(PacketBuf::encode(packet, version).map_err(client::SubscribeError::from)?)
    }

    /// Gives a request to the session as soon as there is room, and waits for the outcome.
    async fn request(
        &self,
        request: impl Fn(&mut crate::state::State, mqtt_sansio::Instant) -> Result<(Token, Request), client::SubscribeError>,
    ) -> Result<OwnedOutcome, SubscribeError> {
        loop {
            let given = self.shared().command(|state, now| {
                let (token, request) = request(state, now)?;
                state.operations.insert(token, Some(request));
                Ok(token)
            })?;
            match given {
                Err(client::SubscribeError::QueueFull) => self.shared().room.notified().await,
                result => {
                    let completion = result.map(|token| self.completion(token));
                    self.shared().room.notify_one(); // as above
                    return Ok(completion?.await?);
                }
            }
        }
    }

    /// Acknowledges a message, with [manual](mqtt_sansio::client::ClientConfig::manual_acks) acknowledgements: see
    /// [`ClientSession::ack`](mqtt_sansio::client::ClientSession::ack).
    ///
    /// ```
    /// # use mqtt_sansio::codec::PubAckReasonCode;
    /// # use mqtt_sansio_tokio::{Client, Event, Events};
    /// # async fn process(client: Client, mut events: Events) -> Result<(), Box<dyn std::error::Error>> {
    /// while let Some(event) = events.next().await {
    ///     if let Event::Message(message) = event {
    ///         // ... store the message ...
    ///         if let Some(ack_handle) = message.ack_handle() {
    ///             // The server sends the message again if the connection was lost meanwhile.
    ///             let _ = client.ack(ack_handle, PubAckReasonCode::Success);
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the session; [`AckError::NotConnected`] if the client has ended.
    pub fn ack(&self, ack_handle: AckHandle, reason_code: PubAckReasonCode) -> Result<(), AckError> {
        let result = self.shared().command(|state, now| state.session.ack(now, ack_handle, reason_code));
        result.unwrap_or(Err(AckError::NotConnected))
    }

    /// Withdraws an operation that has no outcome yet: see
    /// [`ClientSession::withdraw`](mqtt_sansio::client::ClientSession::withdraw).
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn publish(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let completion = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// client.withdraw(completion.token())?;
    /// println!("{:?}", completion.await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownToken`] if the operation cannot be withdrawn, or if the client has ended.
    pub fn withdraw(&self, token: Token) -> Result<(), UnknownToken> {
        self.shared().command(|state, now| state.session.withdraw(now, token)).unwrap_or(Err(UnknownToken))
    }

    /// Sends the next step of an enhanced authentication, in answer to [`Event::Auth`](crate::Event::Auth): see
    /// [`ClientSession::authenticate`](mqtt_sansio::client::ClientSession::authenticate).
    ///
    /// ```
    /// # use mqtt_sansio_tokio::{Client, Event};
    /// # fn answer(data: Option<bytes::Bytes>) -> Vec<u8> { Vec::new() }
    /// # fn handle(client: &Client, event: Event) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Event::Auth { data, .. } = event {
    ///     client.authenticate(&answer(data))?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the session; [`AuthenticateError::NotConnected`] if the client has ended.
    pub fn authenticate(&self, data: &[u8]) -> Result<(), AuthenticateError> {
        let result = self.shared().command(|state, now| state.session.authenticate(now, data));
        result.unwrap_or(Err(AuthenticateError::NotConnected))
    }

    /// Begins a re-authentication: see
    /// [`ClientSession::reauthenticate`](mqtt_sansio::client::ClientSession::reauthenticate).
    ///
    /// ```
    /// # use mqtt_sansio_tokio::Client;
    /// # fn renew(client: &Client, token: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    /// client.reauthenticate(token)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the session; [`AuthenticateError::NotConnected`] if the client has ended.
    pub fn reauthenticate(&self, data: &[u8]) -> Result<(), AuthenticateError> {
        let result = self.shared().command(|state, now| state.session.reauthenticate(now, data));
        result.unwrap_or(Err(AuthenticateError::NotConnected))
    }

    /// Replaces the configuration for the following connections, for instance with a password that has not expired, or with
    /// fresh data for an enhanced authentication: see
    /// [`ClientSession::reconfigure`](mqtt_sansio::client::ClientSession::reconfigure). It is possible between two connections,
    /// so the place for it is the event that reports the end of one, with the pause before the next. It has no effect if the
    /// client has ended.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_tokio::{Client, Event, Events};
    /// # fn token() -> Vec<u8> { Vec::new() }
    /// # async fn f(client: Client, mut events: Events, config: ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// while let Some(event) = events.next().await {
    ///     if let Event::Disconnected { .. } = event {
    ///         client.reconfigure(ClientConfig { password: Some(token().into()), ..config.clone() })?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReconfigureError`] while there is a connection, or one is being made, or if the version differs.
    pub fn reconfigure(&self, config: ClientConfig) -> Result<(), ReconfigureError> {
        self.shared().command(|state, _| state.session.reconfigure(config)).unwrap_or(Ok(()))
    }

    /// Returns whether the server has accepted the connection and the connection is not over.
    ///
    /// ```
    /// # fn print(client: &mqtt_sansio_tokio::Client) {
    /// println!("{}", if client.is_connected() { "online" } else { "offline" });
    /// # }
    /// ```
    pub fn is_connected(&self) -> bool {
        self.shared().with(|state| state.session.is_connected())
    }

    /// Returns the number of messages and requests that wait to be sent, and those that wait for an acknowledgement.
    ///
    /// ```
    /// # fn print(client: &mqtt_sansio_tokio::Client) {
    /// println!("{} operations have no outcome yet", client.outstanding());
    /// # }
    /// ```
    pub fn outstanding(&self) -> usize {
        self.shared().with(|state| state.session.queued() + state.session.operations_in_flight())
    }

    /// Waits until no message and no request is without an outcome: the server has acknowledged all of them, or they were
    /// given up. Messages of QoS 0 count until they are in the output. That takes as long as there is no connection, and as
    /// long as other tasks publish more. Dropping the future has no effect.
    ///
    /// Acknowledgements arrive only while the application takes its [`Events`](crate::Events), or after it has dropped them.
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn report(client: Client, values: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// for value in values {
    ///     drop(client.queue(Message::new("home/temp", value).qos(QoS::AtLeastOnce)).await?);
    /// }
    /// client.drained().await?; // the program may go to sleep
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`] if the client ends before.
    pub async fn drained(&self) -> Result<(), Closed> {
        loop {
            let mut drained = std::pin::pin!(self.shared().drained.notified());
            drained.as_mut().enable();
            let result = self.shared().with(|state| match &state.phase {
                _ if state.is_idle() => Some(Ok(())),
                Phase::Ended(_) => Some(Err(Closed)),
                _ => None,
            });
            match result {
                Some(result) => return result,
                None => drained.await,
            }
        }
    }

    /// Returns the limits that the server has announced on this connection; without a connection they are not known.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::Client;
    /// # fn fits(client: &Client, payload: &[u8]) -> bool {
    /// payload.len() < client.server().maximum_packet_size as usize
    /// # }
    /// ```
    pub fn server(&self) -> ServerLimits {
        self.shared().with(|state| *state.session.server())
    }

    /// Disconnects in an orderly way, and waits until that is done: no more commands are accepted; all operations get their
    /// outcomes; DISCONNECT is sent, so that the server discards the will; the transport is closed; the driver ends.
    ///
    /// If the connection ends before, or there is none, there is no other: the error tells how many operations were not
    /// done. To deliver everything in any case, await the [completions](crate::Completion) before. An attempt to connect that
    /// is in progress is waited for. The time is limited by the server's answers only: to limit it further, use
    /// [`tokio::time::timeout`] and then [`disconnect_now`](Self::disconnect_now).
    ///
    /// Acknowledgements arrive only while the application takes its [`Events`](crate::Events), or after it has dropped them: do
    /// not await this where events wait that nobody takes.
    ///
    /// The command is given at the first poll, and goes on if the future is dropped.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::{Client, DisconnectError};
    /// # async fn end(client: Client) -> Result<(), DisconnectError> {
    /// client.disconnect().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DisconnectError::Unfinished`] if operations were given up; [`DisconnectError::Driver`] if the driver has ended
    /// with an error.
    pub async fn disconnect(&self) -> Result<(), DisconnectError> {
        self.shared().leave(Phase::Draining);
        self.wait_for_end().await
    }

    /// Disconnects as [`disconnect`](Self::disconnect) does, without waiting for operations that have no outcome yet.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mqtt_sansio_tokio::{Client, DisconnectError};
    /// # async fn end(client: Client) -> Result<(), DisconnectError> {
    /// match tokio::time::timeout(Duration::from_secs(5), client.disconnect()).await {
    ///     Ok(result) => result,
    ///     Err(_) => client.disconnect_now().await,
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`disconnect`](Self::disconnect).
    pub async fn disconnect_now(&self) -> Result<(), DisconnectError> {
        self.shared().leave(Phase::Leaving);
        self.wait_for_end().await
    }

    async fn wait_for_end(&self) -> Result<(), DisconnectError> {
        loop {
            let mut ended = std::pin::pin!(self.shared().ended.notified());
            ended.as_mut().enable();
            let end = self.shared().with(|state| match &state.phase {
                Phase::Ended(result) => Some((result.clone(), state.unfinished)),
                _ => None,
            });
            match end {
                Some((Err(error), _)) => return Err(error.into()),
                Some((Ok(()), 0)) => return Ok(()),
                Some((Ok(()), operations)) => return Err(DisconnectError::Unfinished { operations }),
                None => ended.await,
            }
        }
    }
}

/// Returns the outcome if the operation has succeeded.
fn successful(outcome: OwnedOutcome) -> Result<OwnedOutcome, SubscribeError> {
    if outcome.is_success() { Ok(outcome) } else { Err(SubscribeError::Failed(outcome)) }
}
