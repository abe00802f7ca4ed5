//! Waits that have to end: a task that waits is woken, and a connection that cannot go on ends. On a paused clock.

mod common;

use std::future::ready;
use std::io;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use common::World;
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{AbandonReason, Message, Outcome, QoS, SessionExpiry};
use mqtt_sansio_tokio::{Decision, Event, PublishError, accept, connect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, timeout};

/// A virtual time after which nothing happens any more.
const PATIENCE: Duration = Duration::from_secs(3600);

fn config() -> ClientConfig {
    ClientConfig {
        client_id: "a".into(),
        session_expiry_interval: SessionExpiry::after(3600),
        ..ClientConfig::default()
    }
}

/// Two tasks wait for room. The first one that gets some cannot use it, because the server has no QoS 2: the other one gets it.
#[tokio::test(start_paused = true)]
async fn room_that_a_message_cannot_use_goes_to_the_next_one() {
    let (sender, mut streams) = unbounded_channel();
    let connector = move || {
        let (own, other) = duplex(1000);
        ready(sender.send(other).map(|()| own).map_err(io::Error::other))
    };
    let (client, _events, driver) = connect(ClientConfig { max_stored: 1, ..config() }, connector);
    let first = client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    let publish = |qos| {
        let client = client.clone();
        tokio::spawn(async move { client.publish(Message::new("t", "2").qos(qos)).await })
    };
    let (refused, accepted) = (publish(QoS::ExactlyOnce), publish(QoS::AtLeastOnce));
    tokio::task::yield_now().await; // both wait
    tokio::spawn(driver);
    let config = ServerConfig { maximum_qos: QoS::AtLeastOnce, ..ServerConfig::default() };
    let mut connection = accept(streams.recv().await.unwrap(), config, async |_| Decision::accept()).await.unwrap();
    tokio::spawn(async move { while connection.next().await.is_some() {} });
    assert!(first.await.unwrap().is_success());
    assert!(matches!(refused.await.unwrap(), Err(PublishError::Refused(_))));
    let outcome = timeout(PATIENCE, accepted).await.expect("there is room").unwrap().unwrap();
    assert!(outcome.is_success());
}

/// More outcomes than the driver reports at a time are all reported at once, and not with the next attempt to connect.
#[tokio::test(start_paused = true)]
async fn many_outcomes_without_a_connection_are_reported_at_once() {
    let world = World::new();
    world.set_down(true);
    let (client, mut events, driver) = connect(config(), world.connector());
    tokio::spawn(driver);
    assert!(matches!(events.next().await, Some(Event::Disconnected { retry_in: Some(_), .. })));
    let begin = Instant::now();
    let publish = || client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    let completions: Vec<_> = (0..1000).map(|_| publish()).collect();
    for completion in &completions {
        client.withdraw(completion.token()).unwrap();
    }
    for completion in completions {
        assert_eq!(completion.await.unwrap().outcome(), Outcome::Abandoned(AbandonReason::Withdrawn));
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

/// A server that accepts the connection, sends messages, and reads no more than CONNECT.
struct Deaf {
    input: Vec<u8>,
    has_read: bool,
}

impl AsyncRead for Deaf {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input[..count]);
        self.input.drain(..count);
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let is_broken = std::mem::replace(&mut self.has_read, true);
        Poll::Ready(if is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Nothing more can be written, and so many answers wait that the session takes no input: the connection is lost.
#[tokio::test(start_paused = true)]
async fn a_connection_that_can_neither_write_nor_read_ends() {
    let mut input = b"\x20\x03\0\0\0".to_vec();
    for id in 1..=1000_u16 {
        let [high, low] = id.to_be_bytes();
        input.extend([0x32, 6, 0, 1, b't', high, low, 0]);
    }
    let config = ClientConfig { answer_limit: NonZeroU32::new(1000).unwrap(), ..config() };
    let mut transport = Some(Deaf { input, has_read: false });
    let connector = move || ready(transport.take().ok_or_else(|| io::ErrorKind::ConnectionRefused.into()));
    let (_client, mut events, driver) = connect(config, connector);
    tokio::spawn(driver);
    let lost = async {
        loop {
            if let Some(Event::Disconnected { why, .. }) = events.next().await {
                return why.to_string();
            }
        }
    };
    let why = timeout(PATIENCE, lost).await.expect("the connection ends");
    assert_eq!(why, io::Error::from(io::ErrorKind::BrokenPipe).to_string());
}
