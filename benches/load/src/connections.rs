//! Many connections at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Message, Outcome, QoS};

use crate::arguments::ConnectionsArguments;
use crate::broker::Broker;
use crate::crowd::{Crowd, PATIENCE, Task};

/// The number of messages on their way to the broker at a time.
const IN_FLIGHT: usize = 20;

/// The maximum time of a turn.
const SHORT: Duration = Duration::from_millis(20);

/// The results.
pub(crate) struct Census {
    /// The time until all clients were connected and subscribed, and the broker's processor time for that.
    pub(crate) connecting: Duration,
    pub(crate) connecting_cpu: Duration,
    /// The broker's memory without connections, with all of them, and after each has received its message.
    pub(crate) memory_before: u64,
    pub(crate) memory: u64,
    pub(crate) memory_after: u64,
    /// The time until each client had received its message.
    pub(crate) messages: Duration,
    /// The time until all connections were closed.
    pub(crate) leaving: Duration,
}

/// Connects this many clients, which subscribe and stay; sends a message to each; checks that each message has arrived
/// and that no client was disconnected.
pub(crate) fn measure(broker: &Broker, arguments: &ConnectionsArguments) -> Result<Census> {
    let count = arguments.count as usize;
    let (memory_before, cpu_before) = (broker.process.memory()?.now, broker.process.cpu()?);
    let mut crowd = Crowd::new(broker.address)?;
    let mut task = Receivers { received: vec![0; count], subscribed: 0, arrived: 0 };

    let begin = Instant::now();
    for index in 0..count {
        let config =
            ClientConfig { version: arguments.version, client_id: format!("many-{index}"), ..ClientConfig::default() };
        let now = crowd.now();
        let client = crowd.connect(config, &mut task).with_context(|| format!("at connection {index}"))?;
        client.subscribe(now, &[Subscription::new(&topic(index), QoS::AtLeastOnce)?])?;
    }
    wait(&mut crowd, &mut task, |task| task.subscribed, count, "clients are subscribed")?;
    let (connecting, connecting_cpu) = (begin.elapsed(), broker.process.cpu()? - cpu_before);

    let begin = Instant::now();
    while begin.elapsed() < arguments.hold {
        crowd.turn(SHORT, &mut task)?;
    }
    let memory = broker.process.memory()?.now;

    let begin = Instant::now();
    let config = ClientConfig { version: arguments.version, client_id: "many".into(), ..ClientConfig::default() };
    crowd.connect(config, &mut task)?;
    for index in 0..count {
        let (topic, payload) = (topic(index), (index as u64).to_le_bytes());
        while crowd.client(count).operations_in_flight() >= IN_FLIGHT {
            crowd.turn(PATIENCE / 10, &mut task)?;
            ensure!(begin.elapsed() < PATIENCE * 6, "the messages are not acknowledged");
        }
        let message = Message::new(&topic, &payload).qos(QoS::AtLeastOnce);
        let now = crowd.now();
        crowd.client(count).publish(now, &message)?;
    }
    wait(&mut crowd, &mut task, |task| task.arrived, count, "messages have arrived")?;
    let messages = begin.elapsed();

    // A duplicate message, or a disconnection, would show now.
    let begin = Instant::now();
    while begin.elapsed() < SHORT * 10 {
        crowd.turn(SHORT, &mut task)?;
    }
    let memory_after = broker.process.memory()?.now;
    ensure!(crowd.clients().all(ClientSession::is_connected), "not all connections are open");

    let begin = Instant::now();
    crowd.leave()?;
    let leaving = begin.elapsed();
    Ok(Census { connecting, connecting_cpu, memory_before, memory, memory_after, messages, leaving })
}

fn topic(index: usize) -> String {
    format!("many/{index}")
}

/// Waits until the counter has this value. It must change within each [`PATIENCE`].
fn wait(
    crowd: &mut Crowd,
    task: &mut Receivers,
    counted: impl Fn(&Receivers) -> usize,
    count: usize,
    what: &str,
) -> Result<()> {
    let (mut last, mut moved) = (counted(task), Instant::now());
    while counted(task) < count {
        crowd.turn(SHORT, task)?;
        if counted(task) != last {
            (last, moved) = (counted(task), Instant::now());
        }
        ensure!(moved.elapsed() < PATIENCE, "only {last} of {count} {what}");
    }
    Ok(())
}

struct Receivers {
    /// The number of messages received, by client.
    received: Vec<u8>,
    subscribed: usize,
    arrived: usize,
}

impl Task for Receivers {
    fn act(&mut self, index: usize, _: &mut ClientSession, action: Action<'_>) -> Result<()> {
        match action {
            Action::Message(message) => {
                let is_mine = message.payload == (index as u64).to_le_bytes() && message.qos == QoS::AtLeastOnce;
                ensure!(is_mine, "a message that nobody has sent to this client: {message:?}");
                let received = self.received.get_mut(index).context("a message for the publisher")?;
                *received += 1;
                ensure!(*received == 1, "the message has arrived again");
                self.arrived += 1;
            }
            Action::Done { outcome, .. } if !outcome.is_success() => bail!("refused: {outcome:?}"),
            Action::Done { outcome: Outcome::Subscribed { .. }, .. } => self.subscribed += 1,
            _ => {}
        }
        Ok(())
    }
}
