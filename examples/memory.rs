//! MQTT inside one process: a broker and two clients in threads, with channels in place of sockets.
//!
//! ```text
//! cargo run --example memory
//! ```
//!
//! A transport is anything that moves bytes in order: here a channel of chunks for each direction.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Counters, Origin};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{Instant, Message, QoS, StdClock, Subscription};

fn main() -> Result<()> {
    let (events, inbox) = channel();
    let broker = Broker::new(BrokerConfig::default(), AllowAll);
    let mut host = Host { clock: StdClock::new(), broker, connections: BTreeMap::new() };
    let (display, thermometer) = (host.attach(&events), host.attach(&events));
    drop(events); // the broker ends with its last client
    let counters = thread::scope(|scope| {
        let host = scope.spawn(move || host.run(&inbox));
        let display = scope.spawn(move || show(display, 3));
        measure(thermometer, &[("hall", "18.0"), ("kitchen", "21.5"), ("attic", "12.5")])?;
        display.join().map_err(|_| anyhow!("the display has panicked"))??;
        host.join().map_err(|_| anyhow!("the broker has panicked"))
    })?;
    println!("{} messages to the broker, {} from it", counters.messages_received, counters.messages_forwarded);
    Ok(())
}

/// Subscribes, and prints this number of messages.
fn show(transport: Transport, mut count: u32) -> Result<()> {
    let mut client = ClientSession::new(ClientConfig { client_id: "display".into(), ..ClientConfig::default() });
    client.subscribe(transport.clock.now(), &[Subscription::new("home/+/temp", QoS::ExactlyOnce)?])?;
    transport.converse(&mut client, |client, now, action| {
        if let Action::Message(message) = action {
            println!("{}: {}", message.topic, message.payload.escape_ascii());
            count -= 1;
            if count == 0 {
                client.disconnect(now, &Disconnect::default())?;
            }
        }
        Ok(())
    })
}

/// Publishes readings. They are retained, because the display may subscribe later.
fn measure(transport: Transport, readings: &[(&str, &str)]) -> Result<()> {
    let mut client = ClientSession::new(ClientConfig { client_id: "thermometer".into(), ..ClientConfig::default() });
    for (room, celsius) in readings {
        let topic = format!("home/{room}/temp");
        let message = Message::new(&topic, *celsius).qos(QoS::ExactlyOnce).retain(true);
        client.publish(transport.clock.now(), &message)?;
    }
    transport.converse(&mut client, |client, now, action| {
        // All readings have arrived when nothing is queued or in flight any more.
        if let Action::Done { .. } = action
            && client.operations_in_flight() + client.queued() == 0
        {
            client.disconnect(now, &Disconnect::default())?;
        }
        Ok(())
    })
}

/// A chunk of bytes from a client; `None` at the end of its transport.
type Event = (ConnectionId, Option<Vec<u8>>);

/// A transport, as its client uses it.
struct Transport {
    clock: StdClock,
    id: ConnectionId,
    to_broker: Sender<Event>,
    from_broker: Receiver<Vec<u8>>,
}

impl Transport {
    /// Runs a client until its connection is over.
    fn converse(
        self,
        client: &mut ClientSession,
        mut handle: impl FnMut(&mut ClientSession, Instant, Action<'_>) -> Result<()>,
    ) -> Result<()> {
        let Self { clock, id, to_broker, from_broker } = self;
        let (mut received, mut is_over) = (Vec::new(), false);
        client.open(clock.now())?;
        loop {
            let mut input = &received[..];
            while let Some(action) = client.poll(clock.now(), &mut input) {
                is_over |= matches!(action, Action::Close(_));
                handle(client, clock.now(), action)?;
            }
            received.drain(..received.len() - input.len()); // the rest is an incomplete packet
            to_broker.send((id, Some(take(client.transmit()))))?;
            if is_over {
                client.closed(clock.now());
                return Ok(to_broker.send((id, None))?);
            }
            match from_broker.recv_timeout(wait(&clock, client.deadline())) {
                Ok(bytes) => received.extend(bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the broker has closed the transport"),
            }
        }
    }
}

/// A broker, and its connections.
struct Host {
    clock: StdClock,
    broker: Broker<AllowAll>,
    connections: BTreeMap<ConnectionId, Connection>,
}

/// A transport, as the broker uses it.
struct Connection {
    to_client: Sender<Vec<u8>>,
    /// Bytes that the broker has not taken yet.
    received: Vec<u8>,
}

impl Host {
    /// Makes a transport between the broker and a new client.
    fn attach(&mut self, events: &Sender<Event>) -> Transport {
        let (to_client, from_broker) = channel();
        let id = self.broker.open(self.clock.now(), Origin::UNKNOWN);
        self.connections.insert(id, Connection { to_client, received: Vec::new() });
        Transport { clock: self.clock, id, to_broker: events.clone(), from_broker }
    }

    /// Runs the broker until all clients are gone.
    fn run(mut self, inbox: &Receiver<Event>) -> Counters {
        let clock = self.clock;
        loop {
            match inbox.recv_timeout(wait(&clock, self.broker.deadline())) {
                Ok((id, Some(bytes))) => self.receive(clock.now(), id, &bytes),
                Ok((id, None)) => self.close(clock.now(), id),
                Err(RecvTimeoutError::Timeout) => self.broker.poll(clock.now()),
                Err(RecvTimeoutError::Disconnected) => return *self.broker.counters(),
            }
            while let Some(id) = self.broker.next_ready() {
                let bytes = take(self.broker.transmit(id));
                if let Some(connection) = self.connections.get(&id) {
                    let _ = connection.to_client.send(bytes); // a client that is gone has sent `None`
                }
                self.receive(clock.now(), id, &[]); // the connection may take the rest of its input now
                if self.broker.is_over(id) {
                    self.close(clock.now(), id);
                }
            }
        }
    }

    fn receive(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Some(Connection { received, .. }) = self.connections.get_mut(&id) else { return };
        received.extend_from_slice(bytes);
        let mut input = &received[..];
        self.broker.receive(now, id, &mut input);
        let used = received.len() - input.len();
        received.drain(..used);
    }

    fn close(&mut self, now: Instant, id: ConnectionId) {
        self.connections.remove(&id);
        self.broker.closed(now, id);
    }
}

/// Returns how long to wait for input.
fn wait(clock: &StdClock, deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| clock.until(deadline))
}

fn take(transmit: &mut impl Buf) -> Vec<u8> {
    let mut bytes = vec![0; transmit.remaining()];
    transmit.copy_to_slice(&mut bytes);
    bytes
}
