//! The server: a task for each connection, and one broker that all of them use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::{Buf, Bytes, BytesMut};
use mqtt_sansio::StdClock;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId};
use quinn::{Endpoint, Incoming, RecvStream, SendStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The broker, and the handles that wake the task of each connection.
struct Shared {
    broker: Broker<AllowAll>,
    tasks: BTreeMap<ConnectionId, Arc<Notify>>,
}

/// Serves clients until the endpoint is closed; returns the number of messages that the broker has forwarded.
pub(crate) async fn serve(endpoint: Endpoint) -> Result<u64> {
    let broker = Broker::new(BrokerConfig::default(), AllowAll);
    let shared = Arc::new(Mutex::new(Shared { broker, tasks: BTreeMap::new() }));
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if let Err(error) = accept(incoming, &shared).await {
                eprintln!("{error:#}");
            }
        });
    }
    connections.join_all().await;
    let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(shared.broker.counters().messages_forwarded)
}

/// Accepts a connection and its stream, and serves it until the connection is over.
async fn accept(incoming: Incoming, shared: &Mutex<Shared>) -> Result<()> {
    let origin = incoming.remote_address().ip().into();
    let connection = incoming.await?;
    let (send, receive) = connection.accept_bi().await?;
    let (clock, wake) = (StdClock::new(), Arc::new(Notify::new()));
    let id = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let id = shared.broker.open(clock.now(), origin);
        shared.tasks.insert(id, Arc::clone(&wake));
        id
    };
    let served = relay(id, &clock, &wake, shared, send, receive).await;
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.tasks.remove(&id);
    shared.broker.closed(clock.now(), id);
    served
}

async fn relay(
    id: ConnectionId,
    clock: &StdClock,
    wake: &Notify,
    shared: &Mutex<Shared>,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let mut received = BytesMut::new();
    loop {
        let (output, is_over, deadline) =
            shared.lock().unwrap_or_else(PoisonError::into_inner).turn(id, clock, &mut received);
        send.write_chunk(output).await?;
        if is_over {
            return Ok(send.finish()?);
        }
        let pause = deadline.map_or(Duration::MAX, |deadline| clock.until(deadline));
        tokio::select! {
            chunk = receive.read_chunk(65_536, true) => match chunk? {
                Some(chunk) => received.extend_from_slice(&chunk.bytes),
                None => return Ok(()),
            },
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Shared {
    /// Gives the broker the bytes that a connection has received, and returns its output, whether it is over, and the deadline
    /// of the broker. Wakes the tasks of other connections that have output now.
    fn turn(
        &mut self,
        id: ConnectionId,
        clock: &StdClock,
        received: &mut BytesMut,
    ) -> (Bytes, bool, Option<mqtt_sansio::Instant>) {
        let now = clock.now();
        let mut input = &received[..];
        self.broker.receive(now, id, &mut input);
        let used = received.len() - input.len();
        received.advance(used);
        if self.broker.deadline().is_some_and(|deadline| deadline <= now) {
            self.broker.poll(now);
        }
        let transmit = self.broker.transmit(id);
        let output = transmit.copy_to_bytes(transmit.remaining());
        while let Some(ready) = self.broker.next_ready() {
            if let Some(task) = self.tasks.get(&ready) {
                task.notify_one();
            }
        }
        (output, self.broker.is_over(id), self.broker.deadline())
    }
}
