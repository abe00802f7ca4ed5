//! The loop around one connection of a client session.

use std::io;

use mqtt_sansio::client::{Action, ClientSession};
use mqtt_sansio::{Instant, StdClock};

use crate::link::Link;
use crate::transport::Transport;

/// A program around a client session, for [`run`]. All methods are called on the thread that runs it.
pub trait Program {
    /// Handles an action of the session: a message, an outcome, the end of a connection.
    fn action(&mut self, now: Instant, session: &mut ClientSession, action: Action<'_>);

    /// Gives the session the commands that the program has for it, and stores the
    /// [changes](ClientSession::changes) of a durable session. Returns the time of the next commands, if it is known.
    /// Called after the actions of each turn, and before the output is written; another thread that has new commands wakes the
    /// thread that runs the program with `unpark`. The default has no commands.
    ///
    /// # Errors
    ///
    /// The program cannot go on, for instance because its store has failed. The connection is closed without DISCONNECT, and
    /// nothing that waits for the changes was sent.
    fn advance(&mut self, now: Instant, session: &mut ClientSession) -> io::Result<Option<Instant>> {
        let _ = (now, session);
        Ok(None)
    }
}

/// Runs one connection of a client session from CONNECT to its end, on the calling thread: reads, writes and waits. Returns
/// the reason of the end. The session is [closed](ClientSession::closed) then, and goes on with the next connection.
///
/// [`connect`](crate::connect) is for programs that give commands from several threads, and leave the session to the crate.
/// With this function a program has the session to itself. So it can store its own changes in one transaction with those
/// of a durable session, and each message of QoS 2 has its effect exactly once, even if the process is killed.
///
/// A transport that could not be connected is told to the session by [`open`](ClientSession::open) and
/// [`closed`](ClientSession::closed), so that the next [pause](ClientSession::backoff) is longer.
///
/// # Errors
///
/// The error of the system if it refuses a thread; `InvalidInput` if CONNECT cannot be made of the configuration, or if
/// the session has a connection; and that of [`Program::advance`].
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use std::net::TcpStream;
///
/// use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Resumption};
/// use mqtt_sansio::codec::Subscription;
/// use mqtt_sansio::store::{Batch, Pairs};
/// use mqtt_sansio::{Instant, QoS, SessionExpiry, StdClock};
/// use mqtt_sansio_std::{Program, run};
///
/// /// Counts messages, and stores the number with the session.
/// #[derive(Default)]
/// struct Counter {
///     number: u64,
///     database: (Pairs, u64), // stands for a database
/// }
///
/// impl Program for Counter {
///     fn action(&mut self, now: Instant, session: &mut ClientSession, action: Action<'_>) {
///         match action {
///             Action::Message(_) => self.number += 1,
///             Action::Connected(connected) if connected.session != Resumption::Resumed => {
///                 let events = Subscription::new("events/#", QoS::ExactlyOnce).expect("it is valid");
///                 let _ = session.subscribe(now, &[events]); // fails if the session is full
///             }
///             other => println!("{other:?}"),
///         }
///     }
///
///     fn advance(&mut self, now: Instant, session: &mut ClientSession) -> io::Result<Option<Instant>> {
///         let batches: Vec<Batch> = std::iter::from_fn(|| session.changes()).collect();
///         if let Some(last) = batches.last() {
///             batches.iter().for_each(|batch| self.database.0.apply(batch)); // one transaction,
///             self.database.1 = self.number; // with this
///             session.committed(now, last.number());
///         }
///         Ok(None)
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (clock, mut counter) = (StdClock::new(), Counter::default());
/// let config = ClientConfig {
///     client_id: "counter".into(),
///     session_expiry_interval: SessionExpiry::after(3600),
///     durable: true,
///     ..ClientConfig::default()
/// };
/// let mut session = ClientSession::restore(config, clock.now(), counter.database.0.iter())?;
/// loop {
///     std::thread::sleep(session.backoff());
///     match TcpStream::connect("127.0.0.1:1883") {
///         Ok(socket) => println!("{}", run(socket.try_into()?, &mut session, &clock, &mut counter)?),
///         Err(error) => {
///             println!("{error}");
///             session.open(clock.now())?;
///             session.closed(clock.now());
///         }
///     }
/// }
/// # }
/// ```
pub fn run(
    transport: Transport,
    session: &mut ClientSession,
    clock: &StdClock,
    program: &mut impl Program,
) -> io::Result<String> {
    let mut link = Link::new(transport, *clock)?;
    session.open(clock.now()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let reason = converse(&mut link, session, clock, program);
    if reason.is_ok() {
        link.flush(|link| link.write(session.transmit()));
    }
    link.finish();
    session.closed(clock.now());
    let reason = reason?;
    while let Some(action) = session.poll_timeout(clock.now()) {
        program.action(clock.now(), session, action); // what has ended with the connection
    }
    program.advance(clock.now(), session)?;
    Ok(reason)
}

/// Runs the session until the connection has ended, and returns the reason.
fn converse(
    link: &mut Link,
    session: &mut ClientSession,
    clock: &StdClock,
    program: &mut impl Program,
) -> io::Result<String> {
    loop {
        // Input that is left has its turn before more is received: there is never more of it than one receipt.
        let mut close = take_actions(link, session, clock, program);
        let mut lost = None;
        if close.is_none() && session.takes_input() {
            lost = link.receive();
            close = take_actions(link, session, clock, program);
        } else if close.is_none() {
            lost = link.write_error();
        }
        let next = program.advance(clock.now(), session)?;
        link.write(session.transmit());
        if let Some(reason) = close.or(lost.map(|error| error.to_string())) {
            return Ok(reason);
        }
        link.wait([session.deadline(), next].into_iter().flatten().min());
    }
}

/// Lets the program handle the actions of the session. Returns the reason if the connection is over.
fn take_actions(
    link: &mut Link,
    session: &mut ClientSession,
    clock: &StdClock,
    program: &mut impl Program,
) -> Option<String> {
    let mut input = link.input();
    let mut close = None;
    while let Some(action) = session.poll(clock.now(), &mut input) {
        if let Action::Close(why) = &action {
            close = Some(why.to_string());
        }
        program.action(clock.now(), session, action);
    }
    let left = input.len();
    link.keep(left);
    close
}
