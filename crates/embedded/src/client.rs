//! A client with its commands.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;

use mqtt_sansio::client::{ClientConfig, ClientSession, SubscribeError};
use mqtt_sansio::codec::{Disconnect, PubAckReasonCode, Subscription};
use mqtt_sansio::{
    AckError, AckHandle, AuthenticateError, DisconnectError, Instant, Message, PublishError, Token, TopicFilter,
    UnknownToken,
};

use crate::clock::{Clock, after};
use crate::signal::Signal;

/// A client, across all its connections. Commands never wait: what cannot be sent at once waits in the session, also
/// without a connection. Outcomes come to the handler of [`run`](Self::run), as
/// [`Action::Done`](mqtt_sansio::client::Action::Done).
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::codec::Subscription;
/// # use mqtt_sansio::{Message, QoS};
/// # use mqtt_sansio_embedded::{Client, Clock};
/// # fn f(timer: impl Clock) -> Result<(), Box<dyn core::error::Error>> {
/// let client = Client::new(ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() }, timer);
/// client.subscribe(&[Subscription::new("home/+/set", QoS::AtLeastOnce)?])?;
/// client.publish(&Message::new("home/temp", "21.5").qos(QoS::ExactlyOnce))?;
/// # Ok(())
/// # }
/// ```
pub struct Client<C> {
    pub(crate) clock: C,
    session: RefCell<ClientSession>,
    /// Set when the session may have output.
    pub(crate) has_output: Signal,
    /// Set when the session, or its deadline, may have changed.
    pub(crate) has_changed: Signal,
    /// Whether the connection ends once the output is written.
    pub(crate) is_finishing: Cell<bool>,
}

impl<C: Clock> Client<C> {
    /// Creates a client without a connection. Its session is not durable: `durable` of the configuration is ignored.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # use core::num::NonZeroU32;
    /// # fn f<C: Clock>(timer: C) -> Client<C> {
    /// let config = ClientConfig {
    ///     client_id: "thermo-7".into(),
    ///     maximum_packet_size: NonZeroU32::new(2048),
    ///     max_stored_bytes: 4096,
    ///     ..ClientConfig::default()
    /// };
    /// Client::new(config, timer)
    /// # }
    /// ```
    pub fn new(config: ClientConfig, clock: C) -> Self {
        Self {
            clock,
            session: RefCell::new(ClientSession::new(ClientConfig { durable: false, ..config })),
            has_output: Signal::default(),
            has_changed: Signal::default(),
            is_finishing: Cell::new(false),
        }
    }

    /// Gives the session a command that this type does not have, with the present time.
    ///
    /// `poll`, `open`, `closed` and the output belong to [`run`](Self::run), and the commands of this client must not be
    /// called inside of the function.
    ///
    /// ```
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) {
    /// let waiting = client.with(|session, _now| session.queued());
    /// # drop(waiting);
    /// # }
    /// ```
    pub fn with<R>(&self, command: impl FnOnce(&mut ClientSession, Instant) -> R) -> R {
        let result = self.borrowed(command);
        self.has_output.set();
        self.has_changed.set();
        result
    }

    /// As [`with`](Self::with), without waking the connection.
    pub(crate) fn borrowed<R>(&self, command: impl FnOnce(&mut ClientSession, Instant) -> R) -> R {
        let now = self.clock.now();
        command(&mut self.session.borrow_mut(), now)
    }

    /// Publishes a message: see [`ClientSession::publish`].
    ///
    /// # Errors
    ///
    /// As [`ClientSession::publish`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::{Message, PublishError, QoS};
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) -> Result<(), PublishError> {
    /// let token = client.publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// # let _ = token;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, message: &Message<'_>) -> Result<Token, PublishError> {
        self.with(|session, now| session.publish(now, message))
    }

    /// Subscribes: see [`ClientSession::subscribe`]. If the server loses the session, the program subscribes again, on
    /// [`Action::Connected`](mqtt_sansio::client::Action::Connected): the handler's request is sent before what is queued.
    ///
    /// # Errors
    ///
    /// As [`ClientSession::subscribe`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::QoS;
    /// # use mqtt_sansio::codec::Subscription;
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) -> Result<(), Box<dyn core::error::Error>> {
    /// client.subscribe(&[Subscription::new("home/+/set", QoS::AtLeastOnce)?])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&self, subscriptions: &[Subscription<'_>]) -> Result<Token, SubscribeError> {
        self.with(|session, now| session.subscribe(now, subscriptions))
    }

    /// Unsubscribes: see [`ClientSession::unsubscribe`].
    ///
    /// # Errors
    ///
    /// As [`ClientSession::unsubscribe`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::TopicFilter;
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) -> Result<(), Box<dyn core::error::Error>> {
    /// client.unsubscribe(&[TopicFilter::new("home/+/set")?])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn unsubscribe(&self, filters: &[TopicFilter<'_>]) -> Result<Token, SubscribeError> {
        self.with(|session, now| session.unsubscribe(now, filters))
    }

    /// Withdraws an operation: see [`ClientSession::withdraw`].
    ///
    /// # Errors
    ///
    /// As [`ClientSession::withdraw`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::{Token, UnknownToken};
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>, token: Token) -> Result<(), UnknownToken> {
    /// client.withdraw(token)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn withdraw(&self, token: Token) -> Result<(), UnknownToken> {
        self.with(|session, now| session.withdraw(now, token))
    }

    /// Acknowledges a message, with [manual](ClientConfig::manual_acks) acknowledgements: see [`ClientSession::ack`].
    ///
    /// # Errors
    ///
    /// As [`ClientSession::ack`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::PubAckReasonCode;
    /// # use mqtt_sansio::{AckError, ReceivedMessage};
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>, message: &ReceivedMessage<'_>) -> Result<(), AckError> {
    /// if let Some(handle) = message.ack_handle {
    ///     client.ack(handle, PubAckReasonCode::Success)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ack(&self, handle: AckHandle, reason_code: PubAckReasonCode) -> Result<(), AckError> {
        self.with(|session, now| session.ack(now, handle, reason_code))
    }

    /// Answers a step of an enhanced authentication: see [`ClientSession::authenticate`].
    ///
    /// # Errors
    ///
    /// As [`ClientSession::authenticate`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::AuthenticateError;
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) -> Result<(), AuthenticateError> {
    /// client.authenticate(b"the answer")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn authenticate(&self, data: &[u8]) -> Result<(), AuthenticateError> {
        self.with(|session, now| session.authenticate(now, data))
    }

    /// Disconnects, so that the server discards the will. [`run`](Self::run) then writes the output and returns.
    ///
    /// # Errors
    ///
    /// As [`ClientSession::disconnect`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::DisconnectError;
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) -> Result<(), DisconnectError> {
    /// client.disconnect()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn disconnect(&self) -> Result<(), DisconnectError> {
        self.with(|session, now| session.disconnect(now, &Disconnect::default()))
    }

    /// Returns whether the server has accepted the connection and the connection is not over.
    ///
    /// ```
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) {
    /// println!("{}", if client.is_connected() { "online" } else { "offline" });
    /// # }
    /// ```
    pub fn is_connected(&self) -> bool {
        self.session.borrow().is_connected()
    }

    /// Returns the pause before the next connection: see [`ClientSession::backoff`].
    ///
    /// ```
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # fn f(client: &Client<impl Clock>) {
    /// println!("connecting again in {:?}", client.backoff());
    /// # }
    /// ```
    pub fn backoff(&self) -> Duration {
        self.session.borrow().backoff()
    }

    /// Waits for the [pause](Self::backoff) before the next connection: not at all before the first one.
    ///
    /// ```
    /// # use embedded_io_async::{Read, Write};
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # async fn modem() -> Option<(impl Read, impl Write)> { Some((&[][..], Vec::new().leak() as &mut [u8])) }
    /// async fn stay_connected(client: &Client<impl Clock>) {
    ///     loop {
    ///         client.pause().await;
    ///         match modem().await {
    ///             Some((reader, writer)) => {
    ///                 if !client.run(reader, writer, async |action| println!("{action:?}")).await.may_retry() {
    ///                     break;
    ///                 }
    ///             }
    ///             None => client.not_connected(),
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn pause(&self) {
        let backoff = self.backoff();
        if !backoff.is_zero() {
            self.clock.wait_until(after(&self.clock, backoff)).await;
        }
    }

    /// Notes that a transport could not be connected, which lengthens the next [pause](Self::pause).
    ///
    /// ```
    /// # use embedded_io_async::{Read, Write};
    /// # use mqtt_sansio_embedded::{Client, Clock};
    /// # async fn dial() -> Result<(impl Read, impl Write), &'static str> { Ok((&[][..], Vec::new().leak() as &mut [u8])) }
    /// async fn connect_once(client: &Client<impl Clock>) {
    ///     match dial().await {
    ///         Ok((reader, writer)) => println!("{}", client.run(reader, writer, async |action| println!("{action:?}")).await),
    ///         Err(error) => {
    ///             println!("{error}");
    ///             client.not_connected();
    ///         }
    ///     }
    /// }
    /// ```
    pub fn not_connected(&self) {
        self.borrowed(ClientSession::closed);
    }
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}
