//! Many connections at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Message, Outcome, QoS};

use crate::arguments::ConnectionsArguments;
use crate::broker::Broker;
use crate::crowd::{Crowd, PATIENCE, Task};

/// How many messages are under way to the broker at a time.
const IN_FLIGHT: usize = 20;

/// How long a turn waits at most.
const SHORT: Duration = Duration::from_millis(20);

/// What was measured.
pub(crate) struct Census {
    /// How long it took until all were connected and subscribed, and which processor time of the broker.
    pub(crate) connecting: Duration,
    pub(crate) connecting_cpu: Duration,
    /// How much memory the broker had with no connection, with all, and when each had got its message.
    pub(crate) memory_before: u64,
    pub(crate) memory: u64,
    pub(crate) memory_after: u64,
    /// How long it took until each had got its message.
    pub(crate) messages: Duration,
    /// How long it took until all were closed.
    pub(crate) leaving: Duration,
}

/// Connects that many clients, which subscribe and stay; sends a message to each; and sees to it that it has arrived
/// and that nobody was disconnected.
pub(crate) fn measure(broker: &Broker, arguments: &ConnectionsArguments) -> Result<Census> {
    let count = arguments.count as usize;
    let (memory_before, cpu_before) = (broker.process.memory()?, broker.process.cpu()?);
    let mut crowd = Crowd::new(broker.address)?;
    let mut task = Everybody { received: vec![0; count], subscribed: 0, arrived: 0 };

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
    let memory = broker.process.memory()?;

    let begin = Instant::now();
    let config = ClientConfig { version: arguments.version, client_id: "many".into(), ..ClientConfig::default() };
    crowd.connect(config, &mut task)?;
    for index in 0..count {
        let (topic, payload) = (topic(index), (index as u64).to_le_bytes());
        while crowd.client(count).open_operations() >= IN_FLIGHT {
            crowd.turn(PATIENCE / 10, &mut task)?;
            ensure!(begin.elapsed() < PATIENCE * 6, "the messages are not acknowledged");
        }
        let message = Message::new(&topic, &payload).qos(QoS::AtLeastOnce);
        let now = crowd.now();
        crowd.client(count).publish(now, &message)?;
    }
    wait(&mut crowd, &mut task, |task| task.arrived, count, "messages have arrived")?;
    let messages = begin.elapsed();

    // Whoever gets another one, or is disconnected after all, shows it now.
    let begin = Instant::now();
    while begin.elapsed() < SHORT * 10 {
        crowd.turn(SHORT, &mut task)?;
    }
    let memory_after = broker.process.memory()?;
    ensure!(crowd.clients().all(ClientSession::is_connected), "not all connections are open");

    let begin = Instant::now();
    crowd.leave()?;
    let leaving = begin.elapsed();
    Ok(Census { connecting, connecting_cpu, memory_before, memory, memory_after, messages, leaving })
}

fn topic(index: usize) -> String {
    format!("many/{index}")
}

/// Waits until so many are counted. There is always some progress within [`PATIENCE`].
fn wait(
    crowd: &mut Crowd,
    task: &mut Everybody,
    counted: impl Fn(&Everybody) -> usize,
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

struct Everybody {
    /// How many messages each has got.
    received: Vec<u8>,
    subscribed: usize,
    arrived: usize,
}

impl Task for Everybody {
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
