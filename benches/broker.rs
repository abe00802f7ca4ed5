//! The time of routing and the size of a session, measured through the public interface of the broker and printed
//! beside the targets.
//!
//! ```console
//! $ cargo bench --bench broker              # everything
//! $ cargo bench --bench broker -- --test    # small, to see that it works
//! ```
//!
//! Each time covers the way from the bytes of a PUBLISH to the bytes taken for its subscribers: decoding, the policy,
//! routing and encoding. It is the median of several rounds.

// The broker is given the time, so the benchmark must read the clock.
#![allow(clippy::disallowed_types)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Instant as Clock;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{Connect, ConnectProperties, PacketId, Publish, Subscribe, Subscription};
use mqtt_sansio::{Instant, QoS, TopicName, Version};

struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The time given to the broker, which stands still.
const NOW: Instant = Instant::from_micros(1);
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// A broker and the packets of its clients.
struct Stage {
    broker: Broker<AllowAll>,
    version: Version,
}

impl Stage {
    fn new(version: Version) -> Self {
        let secret = Secret::new([7; 16]);
        let config = BrokerConfig { max_subscriptions_per_session: u32::MAX, ..BrokerConfig::new(secret) };
        Self { broker: Broker::new(config, AllowAll), version }
    }

    /// Connects a client whose session outlives its connection.
    fn connect(&mut self, name: &str) -> ConnectionId {
        let session_expiry_interval = (self.version == Version::V5).then_some(u32::MAX);
        let connect = Connect {
            version: self.version,
            client_identifier: name.try_into().expect("a text"),
            properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
            ..Connect::default()
        };
        let mut bytes = Vec::new();
        connect.encode(self.version, &mut bytes).expect("CONNECT");
        let id = self.broker.open(NOW, Origin::UNKNOWN);
        self.receive(id, &bytes);
        id
    }

    fn subscribe(&mut self, id: ConnectionId, filters: &[String]) {
        // Packets of a usual size.
        for filters in filters.chunks(100) {
            let subscriptions: Vec<_> =
                filters.iter().map(|filter| Subscription::new(filter, QoS::ExactlyOnce).expect("a filter")).collect();
            let mut bytes = Vec::new();
            let packet =
                Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties: Default::default() };
            packet.encode(self.version, &mut bytes).expect("SUBSCRIBE");
            self.receive(id, &bytes);
        }
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.give(id, bytes);
        self.take_output();
    }

    /// Gives the broker what a client has sent, and polls it for what does not finish at once.
    fn give(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut input = bytes;
        self.broker.receive(NOW, id, &mut input);
        while self.broker.deadline().is_some_and(|at| at <= NOW) {
            self.broker.poll(NOW);
            self.broker.receive(NOW, id, &mut input);
        }
        assert!(input.is_empty(), "everything is taken");
    }

    /// Takes all output and returns its size in bytes.
    fn take_output(&mut self) -> usize {
        let mut taken = 0;
        while let Some(id) = self.broker.next_ready() {
            let transmit = self.broker.transmit(id);
            let count = transmit.remaining();
            black_box(transmit.chunk());
            transmit.advance(count);
            taken += count;
        }
        taken
    }

    fn publish(&self, topic: &str) -> Vec<u8> {
        let topic = TopicName::new(topic).expect("a topic");
        let mut bytes = Vec::new();
        Publish { topic, payload: &PAYLOAD, ..Publish::default() }.encode(self.version, &mut bytes).expect("PUBLISH");
        bytes
    }
}

/// Messages that each match one of many subscriptions: a third of the filters are exact, a third have `+`, a third have
/// `#`. They belong to a thousand sessions.
struct Routing {
    stage: Stage,
    publisher: ConnectionId,
    packets: Vec<Vec<u8>>,
}

impl Routing {
    fn new(version: Version, subscriptions: u32, messages: u32) -> Self {
        let mut stage = Stage::new(version);
        let sessions = 1000.min(subscriptions);
        let place = |number: u32| format!("site/{}/device/{}", number / 1000, number % 1000);
        for session in 0..sessions {
            let id = stage.connect(&format!("subscriber-{session}"));
            let own = (session..subscriptions).step_by(sessions as usize);
            let filters: Vec<_> = own
                .map(|number| match number % 3 {
                    0 => format!("exact/{}/temperature", place(number)),
                    1 => format!("one/{}/+", place(number)),
                    _ => format!("many/{}/#", place(number)),
                })
                .collect();
            stage.subscribe(id, &filters);
        }
        assert_eq!(stage.broker.status().subscriptions, subscriptions);
        let publisher = stage.connect("publisher");
        let mut random = 1_u64;
        let packets = (0..messages).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = ((random >> 33) % u64::from(subscriptions)) as u32;
            let kind = ["exact", "one", "many"][number as usize % 3];
            stage.publish(&format!("{kind}/{}/temperature", place(number)))
        });
        let packets = packets.collect();
        Self { stage, publisher, packets }
    }

    /// The time for one message in nanoseconds, in the second of two rounds: the first one fills the caches.
    fn measure(&mut self) -> f64 {
        self.run();
        self.run()
    }

    fn run(&mut self) -> f64 {
        let before = self.stage.broker.counters().messages_forwarded;
        let start = Clock::now();
        // As many packets at a time as arrive with one read.
        for batch in self.packets.chunks(100) {
            for packet in batch {
                self.stage.give(self.publisher, packet);
            }
            self.stage.take_output();
        }
        let time = start.elapsed().as_nanos() as f64 / self.packets.len() as f64;
        let forwarded = self.stage.broker.counters().messages_forwarded - before;
        assert_eq!(forwarded, self.packets.len() as u64, "each message has one subscriber");
        time
    }
}

/// The times for a message with few and with many subscriptions, and their ratio. Both are measured in turns, so that
/// other load on the machine affects both.
fn route(version: Version, few: u32, many: u32, messages: u32) -> (f64, f64, f64) {
    let mut stages = [few, many].map(|subscriptions| Routing::new(version, subscriptions, messages));
    let rounds: Vec<_> = (0..ROUNDS).map(|_| stages.each_mut().map(Routing::measure)).collect();
    let of = |time: fn(&[f64; 2]) -> f64| median(rounds.iter().map(time));
    (of(|[few, _]| *few), of(|[_, many]| *many), of(|[few, many]| many / few))
}

/// The time of one message per subscriber of its topic, in nanoseconds.
fn fan_out(version: Version, subscribers: u32, messages: u32) -> f64 {
    let mut stage = Stage::new(version);
    for subscriber in 0..subscribers {
        let id = stage.connect(&format!("subscriber-{subscriber}"));
        stage.subscribe(id, &["news/+".into()]);
    }
    let publisher = stage.connect("publisher");
    let packet = stage.publish("news/weather");
    let rounds = (0..ROUNDS).map(|_| {
        let start = Clock::now();
        for _ in 0..messages {
            stage.give(publisher, &packet);
            stage.take_output();
        }
        start.elapsed().as_nanos() as f64 / f64::from(messages) / f64::from(subscribers)
    });
    median(rounds)
}

/// The size in bytes of a session with a subscription of its own and without a connection.
fn idle_sessions(version: Version, sessions: u32) -> f64 {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut stage = Stage::new(version);
    for session in 0..sessions {
        let id = stage.connect(&format!("device-{session:08}"));
        stage.subscribe(id, &[format!("site/{}/device/{}/set", session / 1000, session % 1000)]);
        stage.broker.closed(NOW, id);
    }
    assert_eq!(stage.broker.status().sessions, sessions);
    let weight = ALLOCATED.load(Ordering::Relaxed) - before;
    drop(black_box(stage));
    weight as f64 / f64::from(sessions)
}

const ROUNDS: usize = 9;

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a figure beside its target.
fn report(what: &str, measured: f64, unit: &str, wanted: f64) {
    let verdict = if measured <= wanted { "" } else { "  missed" };
    println!("{what:<66} {measured:>8.2} {unit:<5} at most {wanted:>7.1}{verdict}");
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let scale = if is_test { 1000 } else { 1 };
    for version in [Version::V311, Version::V5] {
        println!("MQTT {version}");
        let (few, many, ratio) = route(version, 100_000 / scale, 1_000_000 / scale, 100_000 / scale);
        println!("{:<66} {few:>8.2} ns", "a message to one of 100,000 subscriptions");
        report("a message to one of 1,000,000 subscriptions", many, "ns", 1000.0);
        report("  times as much as with 100,000", ratio, "", 1.5);
        let each = fan_out(version, 1000 / scale.min(10), 1000 / scale.min(10));
        report("a message of QoS 0 and 64 bytes to 1,000 subscribers, for each", each, "ns", 40.0);
        let weight = idle_sessions(version, 1_000_000 / scale);
        report("an idle session with a subscription, one of 1,000,000", weight, "bytes", 600.0);
        println!();
    }
}
