//! The task that keeps a client connected.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::store::Batch;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::client::Client;
use crate::committer::Committer;
use crate::connection::Connection;
use crate::error::{ConnectionError, DriverError};
use crate::event::{Event, Events};
use crate::options::Options;
use crate::shared::Shared;
use crate::state::{Over, Phase};
use crate::timer::Timer;

/// Makes a client: a handle for commands, the events, and the driver, a future to spawn.
///
/// `connector` opens a transport: [`tcp`](crate::tcp), [`tls`](crate::tls), [`websocket`](crate::websocket),
/// [`unix`](crate::unix), or any closure that returns a future of something that reads and writes. It is called for each
/// connection. Nothing is done before the driver is polled.
///
/// A durable session needs a place where its changes are stored: see [`connect_durable`]. Here the setting is ignored.
///
/// ```
/// use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::{connect, tcp};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let config = ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() };
/// let (client, mut events, driver) = connect(config, tcp("localhost:1883"));
/// tokio::spawn(driver);
/// # drop((client, events));
/// # }
/// ```
pub fn connect<C, F, S>(config: ClientConfig, connector: C) -> (Client, Events, Driver)
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    connect_with(config, Options::default(), connector)
}

/// Makes a client as [`connect`] does, with settings of the driver.
///
/// ```
/// use std::num::NonZeroUsize;
/// use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::{Options, connect_with, tcp};
///
/// let options = Options { max_events: NonZeroUsize::new(64).unwrap(), ..Options::default() };
/// let (client, events, driver) = connect_with(ClientConfig::default(), options, tcp("localhost:1883"));
/// ```
pub fn connect_with<C, F, S>(config: ClientConfig, options: Options, connector: C) -> (Client, Events, Driver)
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let session = ClientSession::new(ClientConfig { durable: false, ..config });
    start(session, options, connector, Committer::default())
}

/// Makes a client whose session survives a crash of the program.
///
/// `session` is new or [restored](ClientSession::restore), with [`durable`](ClientConfig::durable) set. `store` stores
/// batches, in their order, each as one transaction, or all as one; it is called with further batches when the future is
/// done, and what depends on batches is sent then. An error ends the driver. See [`mqtt_sansio::store`] for what a store
/// does.
///
/// A message of QoS 2 that has become an event does not come again after a crash, whether or not the application has got
/// it. To process each message at least once, set [`manual_acks`](ClientConfig::manual_acks).
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use mqtt_sansio::StdClock;
/// use mqtt_sansio::client::{ClientConfig, ClientSession};
/// use mqtt_sansio::store::{Batch, Pairs};
/// use mqtt_sansio_tokio::{Options, connect_durable, tcp};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pairs = Arc::new(Mutex::new(Pairs::default())); // or a file, or a database
/// let config = ClientConfig { durable: true, ..ClientConfig::default() };
/// let session = ClientSession::restore(config, StdClock::new().now(), pairs.lock().unwrap().iter())?;
/// let store = move |batches: Vec<Batch>| {
///     let pairs = Arc::clone(&pairs);
///     async move {
///         batches.iter().for_each(|batch| pairs.lock().unwrap().apply(batch));
///         Ok(())
///     }
/// };
/// let (client, events, driver) = connect_durable(session, Options::default(), tcp("localhost:1883"), store);
/// # Ok(())
/// # }
/// ```
pub fn connect_durable<C, F, S, W, R>(
    session: ClientSession,
    options: Options,
    connector: C,
    store: W,
) -> (Client, Events, Driver)
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    W: FnMut(Vec<Batch>) -> R + Send + 'static,
    R: Future<Output = io::Result<()>> + Send + 'static,
{
    start(session, options, connector, Committer::new(store))
}

fn start<C, F, S>(
    session: ClientSession,
    options: Options,
    connector: C,
    committer: Committer,
) -> (Client, Events, Driver)
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let linger = options.linger;
    let shared = Arc::new(Shared::new(session, options));
    let run =
        Run { shared: Arc::clone(&shared), connector, linger, timer: Timer::default(), wakers: Vec::new(), committer };
    let guard = EndGuard(Arc::clone(&shared));
    let driver = Driver(Box::pin(async move {
        let mut run = run;
        let mut result = run.run().await;
        poll_fn(|cx| run.committer.poll_flush(&run.shared, cx)).await;
        if let Some(error) = run.committer.take_error() {
            result = Err(DriverError::Store(Arc::new(error)));
        }
        guard.0.end(result.clone());
        result
    }));
    (Client::new(Arc::clone(&shared)), Events::new(shared), driver)
}

/// The future that keeps a client connected. It is to be spawned, or polled beside other futures.
///
/// It connects, reconnects after a [pause](mqtt_sansio::client::ClientSession::backoff), resumes the session, and
/// subscribes again if the session was lost. It ends after [`disconnect`](Client::disconnect), or with an error if another
/// connection would end in the same way. When it ends or is dropped, all that was not done ends with
/// [`Closed`](crate::Closed).
#[must_use = "the driver does nothing unless it is spawned or polled"]
pub struct Driver(Pin<Box<dyn Future<Output = Result<(), DriverError>> + Send>>);

impl Future for Driver {
    type Output = Result<(), DriverError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Ends the client when the driver is dropped.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end(Err(DriverError::Dropped));
    }
}

/// The end of an attempt to connect, or of a connection.
enum End {
    /// The application has disconnected.
    Requested,
    Failed(ConnectionError),
}

impl From<Over> for End {
    fn from(over: Over) -> Self {
        match over {
            Over::Requested => Self::Requested,
            Over::Closed(reason) => Self::Failed(reason.into()),
        }
    }
}

/// The body of the driver.
struct Run<C> {
    shared: Arc<Shared>,
    connector: C,
    linger: std::time::Duration,
    timer: Timer,
    /// Those who are to be woken after a step; empty between the steps.
    wakers: Vec<Waker>,
    committer: Committer,
}

impl<C, F, S> Run<C>
where
    C: FnMut() -> F,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    async fn run(&mut self) -> Result<(), DriverError> {
        let mut has_tried = false;
        loop {
            let pause = self.shared.with(|state| state.session.backoff());
            if !self.pause(Instant::now() + pause, has_tried).await {
                return Ok(());
            }
            has_tried = true;
            let now = self.shared.clock.now();
            self.shared.with(|state| state.session.open(now))?;
            let end = self.attempt().await;
            self.shared.closed(&mut self.wakers);
            if self.committer.has_failed() {
                return Ok(()); // the caller has the error
            }
            let End::Failed(why) = end else { return Ok(()) };
            let is_final = matches!(&why, ConnectionError::Closed(reason) if !reason.may_retry());
            let retry_in = self.shared.with(|state| {
                let goes_on = !is_final && matches!(state.phase, Phase::Running);
                goes_on.then(|| state.session.backoff())
            });
            log_end(&why, retry_in);
            self.shared.push_event(Event::Disconnected { why: why.clone(), retry_in });
            match why {
                ConnectionError::Closed(reason) if is_final => return Err(reason.into()),
                _ if retry_in.is_none() => return Ok(()),
                _ => {}
            }
        }
    }

    /// Waits before the next attempt; returns whether there is to be one. The first one is made even for a client that is
    /// to end when its operations are done.
    async fn pause(&mut self, until: Instant, has_tried: bool) -> bool {
        poll_fn(|cx| {
            self.shared.step_alone(cx.waker(), &mut self.wakers);
            self.committer.poll(&self.shared, cx);
            let goes_on = self.shared.with(|state| match state.phase {
                Phase::Running => true,
                Phase::Draining => !has_tried && !state.is_idle(),
                Phase::Leaving | Phase::Ended(_) => false,
            });
            if !goes_on || self.committer.has_failed() {
                return Poll::Ready(false);
            }
            self.timer.poll(cx, Some(until)).map(|()| true)
        })
        .await
    }

    /// Makes one connection, and returns how it has ended.
    async fn attempt(&mut self) -> End {
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        let mut connection =
            Connection::new(&self.shared, stream, &mut self.timer, &mut self.wakers, &mut self.committer);
        let over = poll_fn(|cx| connection.poll(cx)).await;
        match over {
            Ok(over) => {
                connection.finish(self.linger).await;
                over.into()
            }
            Err(error) => End::Failed(error.into()),
        }
    }

    /// Opens the transport, within the time that the session has for it.
    async fn connect(&mut self) -> Result<S, End> {
        let mut connecting = pin!((self.connector)());
        poll_fn(|cx| {
            let step = self.shared.step_alone(cx.waker(), &mut self.wakers);
            self.committer.poll(&self.shared, cx);
            if let Some(over) = step.close {
                return Poll::Ready(Err(over.into()));
            }
            if self.committer.has_failed() || self.shared.with(|state| matches!(state.phase, Phase::Leaving)) {
                return Poll::Ready(Err(End::Requested));
            }
            if let Poll::Ready(stream) = connecting.as_mut().poll(cx) {
                return Poll::Ready(stream.map_err(|error| End::Failed(error.into())));
            }
            let deadline = step.deadline.and_then(|at| self.shared.clock.at(at));
            if self.timer.poll(cx, deadline).is_ready() {
                cx.waker().wake_by_ref(); // the next step handles the timeout
            }
            Poll::Pending
        })
        .await
    }
}

/// Logs the end of a connection.
fn log_end(why: &ConnectionError, retry_in: Option<std::time::Duration>) {
    #[cfg(feature = "tracing")]
    tracing::info!(%why, ?retry_in, "the connection has ended");
    #[cfg(not(feature = "tracing"))]
    let _ = (why, retry_in);
}
