//! The start of the example with a large state.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mqtt_bench_brokers::Kind;
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Message, Outcome, QoS, SessionExpiry, Version};

use crate::arguments::RestartArguments;
use crate::broker::{Brokers, Storage};
use crate::crowd::{Crowd, PATIENCE, Task};
use crate::durable::Directory;

/// The number of messages of a publisher in flight.
const IN_FLIGHT: usize = 1000;

/// The number of clients that subscribe and leave together.
const TOGETHER: u32 = 1000;

/// The maximum time of a turn.
const SHORT: Duration = Duration::from_millis(20);

/// The results.
pub(crate) struct Restart {
    pub(crate) content: String,
    /// The size of the files, in bytes.
    pub(crate) size: u64,
    pub(crate) after_end: Start,
    pub(crate) after_kill: Start,
}

/// The resources that a broker has used until it listened.
pub(crate) struct Start {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    /// The peak memory, in bytes.
    pub(crate) peak: u64,
}

/// Fills a broker with retained messages, then another one with sessions, and starts each of them again.
pub(crate) fn measure(brokers: &Brokers, arguments: &RestartArguments) -> Result<Vec<Restart>> {
    let directory = Directory::create(&arguments.directory.data)?;
    let RestartArguments { retained, sessions, messages, .. } = *arguments;
    let mut results = Vec::new();
    if retained > 0 {
        let content = format!("{retained} retained messages");
        results.push(restart(brokers, &directory, content, |crowd, task| {
            publish(crowd, task, retained, arguments.payload, true, |number| format!("retained/{number}"))
        })?);
    }
    if sessions > 0 {
        directory.clear()?;
        let content = format!("{sessions} sessions with a subscription and {messages} messages");
        results.push(restart(brokers, &directory, content, |_, task| {
            let address = task.address;
            for first in (0..sessions).step_by(TOGETHER as usize) {
                let mut crowd = Crowd::new(address)?;
                subscribe(&mut crowd, task, first..sessions.min(first.saturating_add(TOGETHER)))?;
                crowd.leave()?;
            }
            let mut crowd = Crowd::new(address)?;
            let topic = |number: u32| format!("session/{}", number % sessions);
            publish(&mut crowd, task, sessions * messages, arguments.payload, false, topic)?;
            crowd.leave()
        })?);
    }
    Ok(results)
}

/// Counts the operations that are complete.
struct Counts {
    address: SocketAddr,
    done: u32,
}

impl Task for Counts {
    fn act(&mut self, _: usize, _: &mut ClientSession, action: Action<'_>) -> Result<()> {
        if let Action::Done { outcome, .. } = action {
            ensure!(outcome.is_success() || matches!(outcome, Outcome::Sent), "{outcome:?}");
            self.done += 1;
        }
        Ok(())
    }
}

/// Starts a broker, fills it, and starts it again after each kind of end.
fn restart(
    brokers: &Brokers,
    directory: &Directory,
    content: String,
    fill: impl FnOnce(&mut Crowd, &mut Counts) -> Result<()>,
) -> Result<Restart> {
    eprintln!("{content}");
    let storage = Storage::EverySecond(directory.path().to_path_buf());
    let broker = brokers.start_with(Kind::Ours, &storage)?;
    let mut crowd = Crowd::new(broker.address)?;
    fill(&mut crowd, &mut Counts { address: broker.address, done: 0 })?;
    crowd.leave()?;
    drop(broker);
    let start = || {
        let begin = Instant::now();
        let broker = brokers.start_with(Kind::Ours, &storage)?;
        let time = begin.elapsed();
        let start = Start { time, cpu: broker.process.cpu()?, peak: broker.process.memory()?.peak };
        Ok::<_, anyhow::Error>((broker, start))
    };
    let (broker, after_end) = start()?;
    broker.kill();
    let (broker, after_kill) = start()?;
    drop(broker);
    Ok(Restart { content, size: size_of(directory.path())?, after_end, after_kill })
}

/// Publishes messages of QoS 1.
fn publish(
    crowd: &mut Crowd,
    task: &mut Counts,
    count: u32,
    payload: u32,
    is_retained: bool,
    topic: impl Fn(u32) -> String,
) -> Result<()> {
    let config = ClientConfig { client_id: "filler".into(), ..ClientConfig::default() };
    crowd.connect(config, task)?;
    task.done = 0;
    let payload = vec![b'.'; payload as usize];
    let (mut sent, mut done, mut since) = (0, 0, Instant::now());
    while task.done < count {
        let now = crowd.now();
        let client = crowd.client(0);
        while sent < count && client.operations_in_flight() + client.queued() < IN_FLIGHT {
            let topic = topic(sent);
            let message = Message::new(&topic, &payload).qos(QoS::AtLeastOnce).retain(is_retained);
            client.publish(now, &message)?;
            sent += 1;
        }
        crowd.turn(SHORT, task)?;
        if task.done != done {
            (done, since) = (task.done, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "no message was acknowledged for {PATIENCE:?}");
    }
    Ok(())
}

/// Connects clients that subscribe, each to a topic of its own, and disconnects them.
fn subscribe(crowd: &mut Crowd, task: &mut Counts, numbers: std::ops::Range<u32>) -> Result<()> {
    task.done = 0;
    let count = numbers.len();
    for number in numbers {
        let config = ClientConfig {
            client_id: format!("session-{number}"),
            version: Version::V5,
            clean_start: false,
            session_expiry_interval: SessionExpiry::after(3600),
            ..ClientConfig::default()
        };
        let now = crowd.now();
        let topic = format!("session/{number}");
        crowd.connect(config, task)?.subscribe(now, &[Subscription::new(&topic, QoS::AtLeastOnce)?])?;
    }
    let begin = Instant::now();
    while (task.done as usize) < count {
        crowd.turn(SHORT, task)?;
        ensure!(begin.elapsed() < PATIENCE, "{} of {count} clients have subscribed", task.done);
    }
    Ok(())
}

/// Returns the size of the files in a directory.
fn size_of(directory: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(directory)? {
        size += entry?.metadata()?.len();
    }
    Ok(size)
}
