//! The load: publishers that keep within a distance of their subscribers, and the messages that arrive.

use std::net::SocketAddr;
use std::ops::Range;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mqtt_bench_brokers::{Process, own_cpu};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Message, Outcome, QoS, ReceivedMessage, SessionExpiry, Version};

use crate::arguments::{Case, LoadArguments, Shape};
use crate::crowd::{Crowd, PATIENCE, Task};

/// A message of QoS 0 counts as lost after this time without any arrival.
const SILENCE: Duration = Duration::from_millis(500);

/// The maximum time of a turn, and so the maximum delay of a timer.
const SHORT: Duration = Duration::from_millis(20);

/// The results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    pub(crate) elapsed: Duration,
    /// The number of messages delivered to subscribers in that time.
    pub(crate) delivered: u64,
    /// The broker's processor time, if its process is known.
    pub(crate) broker_cpu: Option<Duration>,
    pub(crate) own_cpu: Duration,
    /// The number of messages that did not arrive, from the first to the last, and the number that should have.
    pub(crate) lost: u64,
    pub(crate) due: u64,
}

impl Measurement {
    pub(crate) fn per_second(&self) -> f64 {
        self.delivered as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn per_cpu_second(&self) -> Option<f64> {
        Some(self.delivered as f64 / self.broker_cpu?.as_secs_f64())
    }

    /// The load of the broker: 1.0 is one processor.
    pub(crate) fn broker_share(&self) -> Option<f64> {
        Some(self.broker_cpu?.as_secs_f64() / self.elapsed.as_secs_f64())
    }

    /// The load of this program.
    pub(crate) fn own_share(&self) -> f64 {
        self.own_cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Connects all clients, runs the load, measures it, and checks that every message has arrived.
pub(crate) fn measure(
    broker: SocketAddr,
    process: Option<Process>,
    case: Case,
    arguments: &LoadArguments,
) -> Result<Measurement> {
    let mut crowd = Crowd::new(broker)?;
    let mut load = Load::new(case, arguments);
    load.connect(&mut crowd, case).context("while connecting")?;
    load.run(&mut crowd, arguments.warm_up)?;
    let (begin, delivered) = (Instant::now(), load.delivered);
    let (broker_cpu, cpu) = (process.map(|it| it.cpu()).transpose()?, own_cpu()?);
    load.run(&mut crowd, arguments.seconds)?;
    let measurement = Measurement {
        elapsed: begin.elapsed(),
        delivered: load.delivered - delivered,
        broker_cpu: process
            .zip(broker_cpu)
            .map(|(it, before)| Ok::<_, anyhow::Error>(it.cpu()? - before))
            .transpose()?,
        own_cpu: own_cpu()? - cpu,
        lost: 0,
        due: 0,
    };
    load.finish(&mut crowd)?;
    let due = load.lanes.iter().map(|lane| lane.sent * lane.subscribers.len() as u64).sum();
    let lost = due - load.delivered;
    crowd.leave()?;
    Ok(Measurement { lost, due, ..measurement })
}

struct Load {
    qos: QoS,
    window: u64,
    in_flight: usize,
    is_persistent: bool,
    /// The payload of every message, apart from its first 16 bytes.
    payload: Vec<u8>,
    /// Distinguishes this load from others in topics, client identifiers and messages.
    run: u32,
    /// The publisher of a lane is the client with the same index.
    lanes: Vec<Lane>,
    /// The clients after the publishers.
    subscribers: Vec<Subscriber>,
    /// Lanes with progress, on which more may be published.
    moved: Vec<usize>,
    ready: usize,
    delivered: u64,
    heard: Instant,
}

/// A topic, its publisher and its subscribers.
struct Lane {
    topic: String,
    subscribers: Range<usize>,
    sent: u64,
    /// The number of messages that are not waited for any more.
    given_up: u64,
    has_moved: bool,
}

struct Subscriber {
    lane: usize,
    /// The number of the message expected next.
    next: u64,
}

impl Load {
    fn new(case: Case, arguments: &LoadArguments) -> Self {
        let run = process::id();
        let count = usize::from(arguments.subscribers);
        let lane = |index, subscribers| Lane {
            topic: format!("load/{run}/{index}"),
            subscribers,
            sent: 0,
            given_up: 0,
            has_moved: true,
        };
        let lanes: Vec<Lane> = match case.shape {
            Shape::Pairs => (0..count).map(|index| lane(index, index..index + 1)).collect(),
            Shape::FanOut => vec![lane(0, 0..count)],
        };
        let lane_of = |subscriber| match case.shape {
            Shape::Pairs => subscriber,
            Shape::FanOut => 0,
        };
        Self {
            qos: case.qos,
            window: arguments.window,
            in_flight: usize::from(arguments.in_flight),
            is_persistent: arguments.persistent,
            payload: vec![b'.'; arguments.payload as usize],
            run,
            subscribers: (0..count).map(|index| Subscriber { lane: lane_of(index), next: 0 }).collect(),
            moved: (0..lanes.len()).collect(),
            lanes,
            ready: 0,
            delivered: 0,
            heard: Instant::now(),
        }
    }

    /// Connects all clients and subscribes the subscribers.
    fn connect(&mut self, crowd: &mut Crowd, case: Case) -> Result<()> {
        let (run, is_v5) = (self.run, case.version == Version::V5);
        let config = |role: char, index: usize, is_persistent: bool| ClientConfig {
            version: case.version,
            client_id: format!("load-{run}-{role}{index}"),
            clean_start: !is_persistent,
            session_expiry_interval: SessionExpiry::after(if is_persistent && is_v5 { 3600 } else { 0 }),
            ..ClientConfig::default()
        };
        for index in 0..self.lanes.len() {
            crowd.connect(config('p', index, false), self)?;
        }
        for index in 0..self.subscribers.len() {
            let now = crowd.now();
            let client = crowd.connect(config('s', index, self.is_persistent), self)?;
            let topic = &self.lanes[self.subscribers[index].lane].topic;
            client.subscribe(now, &[Subscription::new(topic, case.qos)?])?;
        }
        let all = self.lanes.len() + self.subscribers.len();
        let begin = Instant::now();
        while self.ready < all {
            crowd.turn(SHORT, self)?;
            ensure!(begin.elapsed() < PATIENCE, "{} of {all} clients are not ready", all - self.ready);
        }
        Ok(())
    }

    fn run(&mut self, crowd: &mut Crowd, duration: Duration) -> Result<()> {
        let begin = Instant::now();
        self.heard = begin;
        let mut delivered = self.delivered;
        loop {
            self.publish(crowd)?;
            crowd.turn(SHORT, self)?;
            let now = Instant::now();
            if self.delivered != delivered {
                (delivered, self.heard) = (self.delivered, now);
            } else if self.qos == QoS::AtMostOnce && now - self.heard > SILENCE {
                self.give_up();
            } else if now - self.heard > PATIENCE {
                bail!("nothing has arrived for {PATIENCE:?}; {}", self.what_is_missing(crowd));
            }
            if now - begin >= duration {
                return Ok(());
            }
        }
    }

    /// Waits until every message has arrived and is acknowledged, to its last packet.
    fn finish(&mut self, crowd: &mut Crowd) -> Result<()> {
        let mut delivered = self.delivered;
        self.heard = Instant::now();
        while !self.is_finished(crowd) {
            crowd.turn(SHORT, self)?;
            if self.delivered != delivered {
                (delivered, self.heard) = (self.delivered, Instant::now());
            } else if self.qos == QoS::AtMostOnce && self.heard.elapsed() > SILENCE {
                return Ok(());
            } else if self.heard.elapsed() > PATIENCE {
                bail!("{}", self.what_is_missing(crowd));
            }
        }
        // Long enough for duplicates to arrive.
        let begin = Instant::now();
        while begin.elapsed() < SHORT {
            crowd.turn(SHORT, self)?;
        }
        Ok(())
    }

    fn is_finished(&self, crowd: &Crowd) -> bool {
        let has_arrived = |it: &Subscriber| it.next == self.lanes[it.lane].sent;
        self.subscribers.iter().all(has_arrived) && open_deliveries(crowd) == 0
    }

    fn what_is_missing(&self, crowd: &Crowd) -> String {
        let missing: u64 = self.subscribers.iter().map(|it| self.lanes[it.lane].sent - it.next).sum();
        format!("{missing} messages are missing, {} deliveries not ended", open_deliveries(crowd))
    }

    /// Stops waiting for messages on their way, which can only be of QoS 0.
    fn give_up(&mut self) {
        self.heard = Instant::now();
        for index in 0..self.lanes.len() {
            self.lanes[index].given_up = self.lanes[index].sent;
            self.move_on(index);
        }
    }

    fn move_on(&mut self, lane: usize) {
        if !std::mem::replace(&mut self.lanes[lane].has_moved, true) {
            self.moved.push(lane);
        }
    }

    /// Publishes as many messages as the distance allows.
    fn publish(&mut self, crowd: &mut Crowd) -> Result<()> {
        let now = crowd.now();
        for index in self.moved.drain(..) {
            let lane = &mut self.lanes[index];
            lane.has_moved = false;
            let slowest = self.subscribers[lane.subscribers.clone()].iter().map(|it| it.next).min();
            let end = slowest.unwrap_or(0).max(lane.given_up) + self.window;
            let client = crowd.client(index);
            while lane.sent < end && (self.qos == QoS::AtMostOnce || client.operations_in_flight() < self.in_flight) {
                stamp(&mut self.payload, lane.sent, index, self.run);
                client.publish(now, &Message::new(&lane.topic, &self.payload).qos(self.qos))?;
                lane.sent += 1;
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, message: &ReceivedMessage<'_>) -> Result<()> {
        let subscriber = &mut self.subscribers[index];
        let (number, lane, run) = read_stamp(message.payload).context("a message that nobody has sent")?;
        let is_whole = message.payload.len() == self.payload.len() && (lane, run) == (subscriber.lane, self.run);
        ensure!(is_whole, "a message that nobody has sent to this subscriber");
        ensure!(message.qos == self.qos, "a message with QoS {}", message.qos.value());
        ensure!(number >= subscriber.next, "message {number} again or late: {} is due", subscriber.next);
        // Messages of QoS 0 may be lost, and are counted at the end.
        let is_due = number == subscriber.next || self.qos == QoS::AtMostOnce;
        ensure!(is_due, "message {number}, and not {}, which is due", subscriber.next);
        subscriber.next = number + 1;
        self.delivered += 1;
        self.move_on(lane);
        Ok(())
    }
}

impl Task for Load {
    fn act(&mut self, index: usize, _: &mut ClientSession, action: Action<'_>) -> Result<()> {
        let is_publisher = index < self.lanes.len();
        match action {
            Action::Message(message) if is_publisher => bail!("a message for a publisher: {}", message.topic),
            Action::Message(message) => self.receive(index - self.lanes.len(), &message)?,
            Action::Connected(_) => self.ready += usize::from(is_publisher),
            Action::Done { outcome: outcome @ Outcome::Subscribed { .. }, .. } => {
                let granted = outcome.codes().all(|code| code.value() == self.qos.value());
                ensure!(granted, "the subscription is not granted as it was asked for: {:?}", outcome.codes());
                self.ready += 1;
            }
            Action::Done { outcome: Outcome::Sent, .. } => {}
            Action::Done { outcome, .. } => {
                ensure!(outcome.is_success(), "a message is not taken: {outcome:?}");
                self.move_on(index);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The number of deliveries of QoS 1 and 2 in flight.
fn open_deliveries(crowd: &Crowd) -> usize {
    crowd.clients().map(|client| client.operations_in_flight() + client.unreleased()).sum()
}

/// Writes the number, lane and run into the payload.
fn stamp(payload: &mut [u8], number: u64, lane: usize, run: u32) {
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload[8..12].copy_from_slice(&(lane as u32).to_le_bytes());
    payload[12..16].copy_from_slice(&run.to_le_bytes());
}

fn read_stamp(payload: &[u8]) -> Option<(u64, usize, u32)> {
    let (number, rest) = payload.split_first_chunk()?;
    let (lane, rest) = rest.split_first_chunk()?;
    let (run, _) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), u32::from_le_bytes(*lane) as usize, u32::from_le_bytes(*run)))
}
