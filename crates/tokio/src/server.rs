//! The server's end of a connection.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use mqtt_sansio::codec::{AuthReasonCode, Packet, PacketBuf, PacketId, Subscribe, Unsubscribe};
use mqtt_sansio::server::{
    self, Acceptor, AcceptorAction, Action, Close, NotAccepted, RequestId, ServerConfig, ServerSession,
};
use mqtt_sansio::{AckHandle, Instant, OwnedMessage, OwnedOutcome, Token, Transmit, Version, Will};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::decision::{Decision, Request};
use crate::options::Options;
use crate::pipe::Pipe;
use crate::state::own;
use crate::timer::Timer;

/// Maximum number of events that are made of what was received before the application takes them.
const BATCH: usize = 64;

/// The reason why no client was accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The transport was lost.
    #[error(transparent)]
    Transport(#[from] io::Error),
    /// The client was refused, has sent something wrong, or has not sent CONNECT in time.
    #[error("{0}")]
    Closed(String),
    /// The decision cannot be carried out. The stored session, if there was one, is in the error.
    #[error(transparent)]
    NotAccepted(Box<NotAccepted>),
}

/// Accepts a client on this stream. `decide` is asked about its CONNECT, and about its answers to challenges; meanwhile the
/// stream is not looked at.
///
/// What `decide` has found out, such as the user of an enhanced authentication, leaves it in something shared, an
/// `Arc<OnceLock<_>>` for instance.
///
/// ```
/// use std::sync::Arc;
///
/// use mqtt_sansio::codec::{ConnAckReasonCode, SubAckReasonCode};
/// use mqtt_sansio::server::ServerConfig;
/// use mqtt_sansio_tokio::{Decision, Request, ServerEvent, accept};
/// use tokio::net::{TcpListener, TcpStream};
///
/// async fn listen(listener: TcpListener, password: Arc<[u8]>) -> std::io::Result<()> {
///     loop {
///         let (stream, _) = listener.accept().await?;
///         let password = Arc::clone(&password);
///         tokio::spawn(async move { println!("{:?}", serve(stream, password).await) });
///     }
/// }
///
/// async fn serve(stream: TcpStream, password: Arc<[u8]>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let decide = async move |request: Request| match request.connect() {
///         Some(connect) if connect.password == Some(&password[..]) => Decision::accept(),
///         _ => Decision::Refuse(ConnAckReasonCode::BadUserNameOrPassword),
///     };
///     let mut connection = accept(stream, ServerConfig::default(), decide).await?;
///     while let Some(event) = connection.next().await {
///         match event {
///             ServerEvent::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
///             ServerEvent::Subscribe { id, .. } => {
///                 connection.command(|session, now| session.suback(now, id, &[SubAckReasonCode::NotAuthorized]))?;
///             }
///             other => println!("{other:?}"),
///         }
///     }
///     Ok(())
/// }
/// ```
///
/// A task that is spawned needs a `decide` that holds no reference: an `async move` closure, with what it needs moved or cloned
/// into it. With one that borrows, or whose state has a reference in it, even a `&'static str`, the compiler says at `spawn` that
/// the `implementation of Send is not general enough`. Here the closure has its own handle of the sessions that are stored between connections:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
///
/// use mqtt_sansio::codec::ConnAckReasonCode;
/// use mqtt_sansio::server::{Accept, ServerConfig, ServerSession};
/// use mqtt_sansio_tokio::{Decision, Request, accept};
/// use tokio::net::TcpListener;
///
/// async fn serve(listener: TcpListener) -> std::io::Result<()> {
///     let sessions: Arc<Mutex<HashMap<String, ServerSession>>> = Arc::default();
///     loop {
///         let (stream, _) = listener.accept().await?;
///         let sessions = Arc::clone(&sessions);
///         tokio::spawn(async move {
///             let stored = Arc::clone(&sessions);
///             let decide = async move |request: Request| {
///                 if let Some(connect) = request.connect() {
///                     let session = stored.lock().unwrap().remove(connect.client_identifier.as_str());
///                     return Decision::Accept(session, Accept::default());
///                 }
///                 Decision::Refuse(ConnAckReasonCode::BadAuthenticationMethod)
///             };
///             let Ok(mut connection) = accept(stream, ServerConfig::default(), decide).await else { return };
///             while let Some(event) = connection.next().await {
///                 println!("{event:?}");
///             }
///             let session = connection.into_session();
///             sessions.lock().unwrap().insert(session.client_id().to_string(), session);
///         });
///     }
/// }
/// ```
///
/// # Errors
///
/// [`AcceptError`] if there is no accepted client in the end. The refusal was written then, as far as possible.
pub async fn accept<S>(
    stream: S,
    config: impl Into<Arc<ServerConfig>>,
    mut decide: impl AsyncFnMut(Request) -> Decision,
) -> Result<ServerConnection<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let clock = Clock::new();
    let mut acceptor = Acceptor::new(config, clock.now());
    let mut link = Link { pipe: Pipe::new(stream), clock, timer: Timer::default() };
    loop {
        let request = match link.request(&mut acceptor).await? {
            Ok(request) => request,
            Err(closed) => {
                link.finish(acceptor.transmit()).await;
                return Err(AcceptError::Closed(closed));
            }
        };
        let decision = decide(request).await;
        let now = link.clock.now();
        let done = match decision {
            Decision::Accept(stored, accept) => match acceptor.accept(now, stored, accept) {
                Ok(session) => return Ok(ServerConnection { link, session, events: VecDeque::new(), end: None }),
                Err(error) => return Err(AcceptError::NotAccepted(Box::new(error))),
            },
            Decision::Refuse(reason_code) => acceptor.refuse(now, reason_code).map_err(|error| error.to_string()),
            Decision::Challenge(data) => acceptor.challenge(now, &data).map_err(|error| error.to_string()),
        };
        done.map_err(AcceptError::Closed)?;
    }
}

/// A transport with its clock.
struct Link<S> {
    pipe: Pipe<S>,
    clock: Clock,
    timer: Timer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Returns what there is to decide, or why the connection is over.
    async fn request(&mut self, acceptor: &mut Acceptor) -> io::Result<Result<Request, String>> {
        poll_fn(|cx| {
            loop {
                self.pipe.report(acceptor.transmit());
                let input = self.pipe.take_input();
                let mut rest = &input[..];
                let request = match acceptor.poll(self.clock.now(), &mut rest) {
                    Some(AcceptorAction::Connect(connect)) => {
                        let packet = Packet::Connect(*connect);
                        let packet = PacketBuf::encode(&packet, connect.version);
                        Some(packet.map(Request::Connect).map_err(|error| error.to_string()))
                    }
                    Some(AcceptorAction::Auth(auth)) => {
                        let data = auth.properties.authentication_data.unwrap_or_default();
                        Some(Ok(Request::Auth(Bytes::copy_from_slice(data))))
                    }
                    Some(AcceptorAction::Close(why)) => Some(Err(why.to_string())),
                    None => None,
                };
                let rest = rest.len();
                self.pipe.put_back(input, rest);
                if let Some(request) = request {
                    return Poll::Ready(Ok(request));
                }
                self.pipe.fill(acceptor.transmit());
                match self.poll_io(cx, acceptor.deadline(), true) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(done) => done?,
                }
            }
        })
        .await
    }

    /// Writes and reads what is possible, and waits for more to do.
    fn poll_io(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>, reads: bool) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.pipe.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        if reads && let Poll::Ready(read) = self.pipe.poll_read(cx) {
            return Poll::Ready(match read {
                Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the client has closed the transport")),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            });
        }
        if self.pipe.has_unreported() {
            return Poll::Ready(Ok(()));
        }
        self.timer.poll(cx, deadline.and_then(|at| self.clock.at(at))).map(Ok)
    }

    /// Writes the rest of the output, stops writing, and waits a short time for the client to close.
    async fn finish(&mut self, transmit: &mut Transmit) {
        let all = poll_fn(|cx| {
            self.pipe.poll_finish(cx, |pipe| {
                pipe.report(transmit);
                pipe.fill(transmit);
            })
        });
        let _ = timeout(Options::default().linger, all).await;
    }
}

/// Something that the client has done. It owns its content.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // most events are messages
#[non_exhaustive]
pub enum ServerEvent {
    /// A message has arrived.
    Message(OwnedMessage),
    /// The next part of a payload has arrived, with [delivery in parts](ServerConfig::deliver_in_parts).
    Payload {
        /// The bytes of this part.
        bytes: Bytes,
        /// Number of bytes that follow; 0 in the last part.
        missing: u32,
        /// The handle of the acknowledgement that the application owes; in the last part only.
        ack_handle: Option<AckHandle>,
    },
    /// The client wants to subscribe; answered with [`suback`](ServerSession::suback).
    Subscribe {
        /// Identifies the request in the answer.
        id: RequestId,
        /// A SUBSCRIBE with the subscriptions and the properties. Its packet identifier means nothing.
        packet: PacketBuf,
    },
    /// The client wants to unsubscribe; answered with [`unsuback`](ServerSession::unsuback).
    Unsubscribe {
        /// Identifies the request in the answer.
        id: RequestId,
        /// An UNSUBSCRIBE with the topic filters and the properties. Its packet identifier means nothing.
        packet: PacketBuf,
    },
    /// The delivery with this token is complete.
    Done {
        /// The token that [`publish`](ServerSession::publish) returned.
        token: Token,
        /// The outcome.
        outcome: OwnedOutcome,
    },
    /// A step of a re-authentication has arrived.
    Auth {
        /// The reason code.
        reason_code: AuthReasonCode,
        /// The Authentication Data.
        data: Option<Bytes>,
    },
    /// The will of the client is to be published now.
    Will(Box<Will>),
    /// The session has expired.
    Expired,
}

/// The reason why the connection of a client is over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerEnd {
    /// The transport was lost.
    #[error(transparent)]
    Transport(#[from] io::Error),
    /// One endpoint has ended the connection. The text is that of [`server::Close`].
    #[error("{0}")]
    Closed(String),
}

/// One connection of a client that was accepted, and its session. It does nothing by itself: [`next`](Self::next) moves the
/// bytes.
pub struct ServerConnection<S> {
    link: Link<S>,
    session: ServerSession,
    /// What was received, and not taken by the application.
    events: VecDeque<ServerEvent>,
    end: Option<ServerEnd>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerConnection<S> {
    /// Returns the next event, and writes, reads and waits until there is one. `None` when the connection is over and
    /// everything is reported; a will that is due later and the expiry of the session are not waited for: the session goes
    /// on in [`into_session`](Self::into_session).
    ///
    /// Dropping the future loses nothing. While the application calls nothing, nothing is read, so that the client has to
    /// wait.
    ///
    /// ```
    /// # use tokio::io::{AsyncRead, AsyncWrite};
    /// # use mqtt_sansio_tokio::{ServerConnection, ServerEvent};
    /// async fn print<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut ServerConnection<S>) {
    ///     while let Some(event) = connection.next().await {
    ///         if let ServerEvent::Message(message) = event {
    ///             println!("{}: {:?}", message.topic(), message.payload());
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.end.is_some() {
                return None;
            }
            let end = poll_fn(|cx| self.poll_events(cx)).await;
            if let Some(end) = end {
                if let ServerEnd::Closed(_) = end {
                    self.link.finish(self.session.transmit()).await;
                }
                self.closed(end);
            }
        }
    }

    /// Makes events; returns the reason if the connection is over.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<ServerEnd>> {
        loop {
            let now = self.link.clock.now();
            self.link.pipe.report(self.session.transmit());
            let input = self.link.pipe.take_input();
            let (mut rest, mut closed) = (&input[..], None);
            while self.events.len() < BATCH && closed.is_none() {
                match self.session.poll(now, &mut rest) {
                    Some(Action::Close(why)) => closed = Some(closed_by(&why)),
                    Some(action) => self.events.extend(event(action, &input, self.session.version())),
                    None => break,
                }
            }
            let rest = rest.len();
            self.link.pipe.put_back(input, rest);
            self.link.pipe.fill(self.session.transmit());
            if closed.is_some() {
                return Poll::Ready(closed);
            }
            let reads = self.session.takes_input() && self.events.is_empty();
            let done = self.link.poll_io(cx, self.session.deadline(), reads);
            match done {
                Poll::Ready(Err(error)) if self.events.is_empty() => return Poll::Ready(Some(error.into())),
                _ if !self.events.is_empty() => return Poll::Ready(None),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Notes that the connection is over.
    fn closed(&mut self, end: ServerEnd) {
        let now = self.link.clock.now();
        self.session.closed(now);
        while let Some(action) = self.session.poll_timeout(now) {
            self.events.extend(event(action, &Bytes::new(), self.session.version()));
        }
        self.end = Some(end);
    }

    /// Gives a command to the session. What it has to send is written by [`next`](Self::next) or [`flush`](Self::flush).
    ///
    /// ```
    /// # use mqtt_sansio::codec::{Packet, PacketBuf, SubAckReasonCode};
    /// # use mqtt_sansio::server::RequestId;
    /// # use mqtt_sansio_tokio::ServerConnection;
    /// # use tokio::io::{AsyncRead, AsyncWrite};
    /// /// Grants every subscription of a SUBSCRIBE.
    /// fn grant<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut ServerConnection<S>, id: RequestId, packet: &PacketBuf) {
    ///     let Packet::Subscribe(subscribe) = packet.packet() else { return };
    ///     let codes: Vec<_> = subscribe.subscriptions.iter().map(|it| SubAckReasonCode::from(it.qos)).collect();
    ///     let _ = connection.command(|session, now| session.suback(now, id, &codes)); // fails if the connection is over
    /// }
    /// ```
    pub fn command<T>(&mut self, command: impl FnOnce(&mut ServerSession, Instant) -> T) -> T {
        command(&mut self.session, self.link.clock.now())
    }

    /// Writes all output of the session.
    ///
    /// ```
    /// # use mqtt_sansio::Message;
    /// # async fn greet<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    /// #     mut connection: mqtt_sansio_tokio::ServerConnection<S>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// connection.command(|session, now| session.publish(now, &Message::new("greetings", "hello")))?;
    /// connection.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the transport.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            loop {
                self.link.pipe.report(self.session.transmit());
                self.link.pipe.fill(self.session.transmit());
                let written = self.link.pipe.poll_write(cx);
                if !self.link.pipe.has_unreported() {
                    return written;
                }
            }
        })
        .await
    }

    /// Returns the session.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::ServerConnection;
    /// # use tokio::io::{AsyncRead, AsyncWrite};
    /// # fn f<S: AsyncRead + AsyncWrite + Unpin>(connection: &ServerConnection<S>) {
    /// println!("{} has {} messages waiting", connection.session().client_id(), connection.session().queued());
    /// # }
    /// ```
    pub const fn session(&self) -> &ServerSession {
        &self.session
    }

    /// Returns the reason why the connection is over, if it is.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::ServerConnection;
    /// # use tokio::io::{AsyncRead, AsyncWrite};
    /// # async fn f<S: AsyncRead + AsyncWrite + Unpin>(mut connection: ServerConnection<S>) {
    /// while connection.next().await.is_some() {}
    /// println!("{}", connection.end().map_or_else(String::new, ToString::to_string));
    /// # }
    /// ```
    pub const fn end(&self) -> Option<&ServerEnd> {
        self.end.as_ref()
    }

    /// Closes the transport, and returns the session, for the next connection of the client. Events that were not taken are
    /// dropped: call [`next`](Self::next) until it returns `None` before, or messages that were acknowledged are lost.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use mqtt_sansio::server::ServerSession;
    /// # use mqtt_sansio_tokio::ServerConnection;
    /// # use tokio::io::{AsyncRead, AsyncWrite};
    /// # async fn f<S: AsyncRead + AsyncWrite + Unpin>(
    /// #     mut connection: ServerConnection<S>,
    /// #     sessions: &mut HashMap<String, ServerSession>,
    /// # ) {
    /// while connection.next().await.is_some() {}
    /// let session = connection.into_session();
    /// sessions.insert(session.client_id().to_string(), session);
    /// # }
    /// ```
    pub fn into_session(mut self) -> ServerSession {
        self.session.closed(self.link.clock.now());
        self.session
    }
}

impl<S> fmt::Debug for ServerConnection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection")
            .field("session", &self.session)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

fn closed_by(why: &Close<'_>) -> ServerEnd {
    ServerEnd::Closed(why.to_string())
}

/// Makes an event of an action.
fn event(action: Action<'_>, input: &Bytes, version: Version) -> Option<ServerEvent> {
    Some(match action {
        Action::Message(message) => ServerEvent::Message(own(&message, input)),
        Action::Payload(part) => ServerEvent::Payload {
            bytes: Bytes::copy_from_slice(part.bytes),
            missing: part.missing,
            ack_handle: part.ack_handle,
        },
        Action::Subscribe(server::SubscribeRequest { id, subscriptions, properties, .. }) => {
            let packet = Subscribe { id: PacketId::MIN, subscriptions, properties };
            ServerEvent::Subscribe { id, packet: PacketBuf::encode(&packet.into(), version).ok()? }
        }
        Action::Unsubscribe(server::UnsubscribeRequest { id, filters, properties, .. }) => {
            let packet = Unsubscribe { id: PacketId::MIN, filters, properties };
            ServerEvent::Unsubscribe { id, packet: PacketBuf::encode(&packet.into(), version).ok()? }
        }
        Action::Done { token, outcome } => ServerEvent::Done { token, outcome: outcome.to_owned() },
        Action::Auth(auth) => ServerEvent::Auth {
            reason_code: auth.reason_code,
            data: auth.properties.authentication_data.map(Bytes::copy_from_slice),
        },
        Action::Will(will) => ServerEvent::Will(will),
        Action::Expired => ServerEvent::Expired,
        _ => return None,
    })
}
