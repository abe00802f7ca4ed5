//! MQTT inside one process: a broker and two clients in threads, with channels in place of sockets.
//!
//! ```text
//! cargo run --example memory
//! ```
//!
//! A transport is anything that moves bytes in order: here a channel of chunks for each direction.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Counters, Host, Origin};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{Instant, Message, QoS, StdClock, Subscription};

fn main() -> Result<()> {
    let (clock, (to_broker, events)) = (StdClock::new(), channel());
    let mut host = Host::new(Broker::new(BrokerConfig::default(), AllowAll));
    let [display, thermometer] = [(); 2].map(|()| attach(clock, &mut host, &to_broker));
    drop(to_broker); // the broker ends with its last client
    let counters = thread::scope(|scope| {
        let host = scope.spawn(move || run(clock, host, &events));
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
type Event = (ConnectionId, Option<Bytes>);

/// A transport, as its client uses it.
struct Transport {
    clock: StdClock,
    id: ConnectionId,
    to_broker: Sender<Event>,
    from_broker: Receiver<Bytes>,
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
            to_broker.send((id, Some(client.transmit().take_all())))?;
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

/// Makes a transport between the broker and a new client.
fn attach(clock: StdClock, host: &mut Host<AllowAll, Sender<Bytes>>, events: &Sender<Event>) -> Transport {
    let (to_client, from_broker) = channel();
    let id = host.open(clock.now(), Origin::UNKNOWN, to_client);
    Transport { clock, id, to_broker: events.clone(), from_broker }
}

/// Runs the broker until all clients are gone.
fn run(clock: StdClock, mut host: Host<AllowAll, Sender<Bytes>>, events: &Receiver<Event>) -> Counters {
    loop {
        match events.recv_timeout(wait(&clock, host.deadline())) {
            Ok((id, Some(bytes))) => host.receive(clock.now(), id, &bytes),
            Ok((id, None)) => drop(host.closed(clock.now(), id)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return *host.broker().counters(),
        }
        host.serve(clock.now(), |to_client, output| to_client.send(output.take_all()));
    }
}

/// Returns how long to wait for input.
fn wait(clock: &StdClock, deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| clock.until(deadline))
}
