//! The loop around one connection of a server.

use std::io;
use std::sync::Arc;

use mqtt_sansio::codec::{Auth, ConnAckReasonCode, Connect};
use mqtt_sansio::server::{Acceptor, AcceptorAction, Action, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, StdClock};

use crate::link::Link;
use crate::transport::Transport;

/// The decisions of a server about one connection, for [`serve`]. All methods are called on the thread that serves.
pub trait Service {
    /// Decides about a client that wants to connect: [accepts](Acceptor::accept) it into a new or a stored session, which
    /// is returned, or [refuses](Acceptor::refuse) or [challenges](Acceptor::challenge) it and returns `None`. A client
    /// about which nothing is decided is refused.
    fn connect(&mut self, now: Instant, acceptor: &mut Acceptor, request: &Connect<'_>) -> Option<ServerSession>;

    /// Decides about the answer to a challenge, as [`connect`](Self::connect) does. The default decides nothing.
    fn authenticate(&mut self, now: Instant, acceptor: &mut Acceptor, answer: &Auth<'_>) -> Option<ServerSession> {
        let _ = (now, acceptor, answer);
        None
    }

    /// Handles an action of the session: a message, a request to subscribe, an outcome.
    fn action(&mut self, now: Instant, session: &mut ServerSession, action: Action<'_>);

    /// Gives the session the commands that the service has for it. Returns the time of the next ones, if it is known.
    /// Called after the actions of each turn; another thread that has new commands wakes the thread that serves with
    /// `unpark`. The default has no commands.
    fn advance(&mut self, now: Instant, session: &mut ServerSession) -> Option<Instant> {
        let _ = (now, session);
        None
    }
}

/// The end of a connection that was [served](serve).
#[derive(Debug)]
#[non_exhaustive]
pub struct Served {
    /// The session, if the client was accepted. It is [closed](ServerSession::closed); store it until it expires, for the
    /// next connection of the client, and [poll](ServerSession::poll_timeout) it for a will and its expiry.
    pub session: Option<ServerSession>,
    /// Why the connection has ended.
    pub reason: String,
}

/// Runs one connection of a server from its beginning to its end, on the calling thread: reads CONNECT, lets the service
/// decide, and then reads, writes and waits. The clock is that with which the sessions of the server are stored.
///
/// The session is not [durable](ServerConfig::durable).
///
/// # Errors
///
/// The error of the system if it refuses a thread.
///
/// # Examples
///
/// ```no_run
/// # use std::net::TcpListener;
/// # use std::sync::Arc;
/// # use mqtt_sansio::codec::{Connect, SubAckReasonCode};
/// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig, ServerSession};
/// # use mqtt_sansio::{Instant, Message, StdClock};
/// # use mqtt_sansio_std::{Service, serve};
/// /// Sends each client its own messages.
/// struct Echo;
///
/// impl Service for Echo {
///     fn connect(&mut self, now: Instant, acceptor: &mut Acceptor, _: &Connect<'_>) -> Option<ServerSession> {
///         acceptor.accept(now, None, Accept::default()).ok()
///     }
///
///     fn action(&mut self, now: Instant, session: &mut ServerSession, action: Action<'_>) {
///         match action {
///             Action::Subscribe(request) => {
///                 let codes: Vec<_> = request.subscriptions.iter().map(|it| SubAckReasonCode::from(it.qos)).collect();
///                 let _ = session.suback(now, request.id, &codes);
///             }
///             Action::Message(message) => drop(session.publish(now, &Message::from(&message))),
///             _ => {}
///         }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let (config, clock) = (Arc::new(ServerConfig::default()), StdClock::new());
/// for socket in TcpListener::bind("127.0.0.1:1883")?.incoming() {
///     let (transport, config) = (socket?.try_into()?, Arc::clone(&config));
///     std::thread::spawn(move || serve(transport, config, &clock, &mut Echo));
/// }
/// # Ok(())
/// # }
/// ```
pub fn serve(
    transport: Transport,
    config: Arc<ServerConfig>,
    clock: &StdClock,
    service: &mut impl Service,
) -> io::Result<Served> {
    let mut link = Link::new(transport, *clock)?;
    let mut acceptor = Acceptor::new(config, clock.now());
    Ok(match greet(&mut link, &mut acceptor, clock, service) {
        Greeted::Accepted(mut session) => {
            let reason = converse(&mut link, &mut session, clock, service);
            link.flush(|link| link.write(session.transmit()));
            link.finish();
            session.closed(clock.now());
            Served { session: Some(*session), reason }
        }
        Greeted::Over(reason) => {
            link.flush(|link| link.write(acceptor.transmit()));
            link.finish();
            Served { session: None, reason }
        }
    })
}

/// How the first packets of a client have ended.
enum Greeted {
    Accepted(Box<ServerSession>),
    /// The connection is over for this reason.
    Over(String),
}

/// Waits for CONNECT, and lets the service decide.
fn greet(link: &mut Link, acceptor: &mut Acceptor, clock: &StdClock, service: &mut impl Service) -> Greeted {
    loop {
        let end = link.receive();
        let mut input = link.input();
        let greeted = loop {
            let session = match acceptor.poll(clock.now(), &mut input) {
                None => break None,
                Some(AcceptorAction::Close(why)) => break Some(Greeted::Over(why.to_string())),
                Some(AcceptorAction::Connect(request)) => service.connect(clock.now(), acceptor, &request),
                Some(AcceptorAction::Auth(answer)) => service.authenticate(clock.now(), acceptor, &answer),
            };
            match session {
                Some(session) => break Some(Greeted::Accepted(Box::new(session))),
                // Fails if the service has decided.
                None => drop(acceptor.refuse(clock.now(), ConnAckReasonCode::NotAuthorized)),
            }
        };
        let left = input.len();
        link.keep(left);
        if let Some(greeted) = greeted {
            return greeted;
        }
        link.write(acceptor.transmit());
        if let Some(error) = end {
            return Greeted::Over(error.to_string());
        }
        link.wait(acceptor.deadline());
    }
}

/// Runs the session until the connection has ended, and returns the reason.
fn converse(link: &mut Link, session: &mut ServerSession, clock: &StdClock, service: &mut impl Service) -> String {
    loop {
        // Input that is left has its turn before more is received: there is never more of it than one receipt.
        let mut close = take_actions(link, session, clock, service);
        let mut lost = None;
        if close.is_none() && session.takes_input() {
            lost = link.receive();
            close = take_actions(link, session, clock, service);
        } else if close.is_none() {
            lost = link.write_error();
        }
        let next = service.advance(clock.now(), session);
        link.write(session.transmit());
        if let Some(reason) = close.or(lost.map(|error| error.to_string())) {
            return reason;
        }
        link.wait([session.deadline(), next].into_iter().flatten().min());
    }
}

/// Lets the service handle the actions of the session. Returns the reason if the connection is over.
fn take_actions(
    link: &mut Link,
    session: &mut ServerSession,
    clock: &StdClock,
    service: &mut impl Service,
) -> Option<String> {
    let mut input = link.input();
    let mut close = None;
    while let Some(action) = session.poll(clock.now(), &mut input) {
        if let Action::Close(why) = &action {
            close = Some(why.to_string());
        }
        service.action(clock.now(), session, action);
    }
    let left = input.len();
    link.keep(left);
    close
}
