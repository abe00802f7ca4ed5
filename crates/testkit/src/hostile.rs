//! Clients that mean harm.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::codec::{
    Connect, ConnectProperties, Delivery, Packet, PubAck, PubComp, PubRec, PubRel, Publish, PublishProperties,
    Subscribe, Subscription, UserProperty, Will,
};
use mqtt_sansio::{PacketId, QoS, TopicName, Utf8Str, Version};

use crate::mutation::with_fault;
use crate::random::Random;

/// A client that means harm: a source of bytes for a server's transport, all from one seed. Each seed has a habit, or
/// changes it with every packet: it floods, claims sizes, repeats identifiers, releases nothing, acknowledges what was
/// not sent, leaves packets unfinished, sends garbage.
///
/// ```
/// use mqtt_sansio_testkit::Hostile;
///
/// let mut hostile = Hostile::seeded(3);
/// let first = hostile.bytes(); // to be given to the server, on a new connection
/// assert_eq!(first, Hostile::seeded(3).bytes());
/// ```
#[derive(Clone, Debug)]
pub struct Hostile {
    random: Random,
    habit: Option<u64>,
    version: Version,
    has_connected: bool,
    count: u16,
}

/// The number of habits.
const HABITS: u64 = 14;

impl Hostile {
    /// Creates the client of this seed.
    pub const fn seeded(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let habit = if random.percent(70) { Some(random.below(HABITS)) } else { None };
        let version = Version::ALL[random.index(3)];
        Self { random, habit, version, has_connected: false, count: 0 }
    }

    /// Begins another connection: CONNECT comes first again.
    pub const fn reconnect(&mut self) {
        self.has_connected = false;
    }

    /// Returns the next bytes to send.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Acceptor, ServerConfig};
    /// # use mqtt_sansio_testkit::Hostile;
    /// # let now = Instant::EPOCH;
    /// for seed in 0..20 {
    ///     let mut hostile = Hostile::seeded(seed);
    ///     let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    ///     let bytes = hostile.bytes();
    ///     println!("{:?}", acceptor.poll(now, &mut &bytes[..])); // refused or accepted, but no panic
    ///     hostile.reconnect();
    /// }
    /// ```
    pub fn bytes(&mut self) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        if !core::mem::replace(&mut self.has_connected, true) {
            return self.connect();
        }
        let habit = self.habit.unwrap_or_else(|| self.random.below(HABITS));
        let id = PacketId::new(self.count.max(1)).unwrap_or_else(|_| unreachable!("it is not 0"));
        let number = self.count % 500;
        let (levels, dup) = (self.random.index(300), self.random.percent(20));
        match habit {
            0 => self.publish(&format!("flood/{number}"), Delivery::AtMostOnce, 200, false),
            1 => self.publish("flood", Delivery::AtLeastOnce { id, dup: false }, 30, false),
            // Released never, and beyond any Receive Maximum.
            2 => self.publish("unreleased", Delivery::ExactlyOnce { id, dup }, 10, false),
            3 => self.publish(&format!("retained/{}", self.count), Delivery::AtMostOnce, 100, true),
            4 => self.subscribe(id, &format!("{}#", "+/".repeat(levels))),
            5 => self.subscribe(id, &format!("$share/{number}/{}", "a/".repeat(levels))),
            6 => self.answers(id),
            // A packet that claims to be long, and never comes.
            7 => vec![[0x30, 0x32, 0x82, 0x10, 0xF0][self.random.index(5)], 0xFF, 0xFF, 0xFF, 0x7F],
            8 => (0..1 + self.random.index(40)).map(|_| self.random.below(256) as u8).collect(),
            9 => b"\xc0\0".repeat(1 + self.random.index(100)),
            10 => self.properties(number),
            11 => self.aliases(number),
            12 => {
                let packet = self.publish("a/b", Delivery::AtLeastOnce { id, dup: false }, 20, false);
                with_fault(&packet, &mut self.random)
            }
            _ => self.connect(), // a second CONNECT
        }
    }

    fn put<'a>(&self, packet: impl Into<Packet<'a>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if packet.into().encode(self.version, &mut bytes).is_err() {
            bytes.clear(); // this version has no such packet
        }
        bytes
    }

    fn connect(&mut self) -> Vec<u8> {
        let name = format!("hostile-{}", self.random.below(4));
        let topic = format!("will/{}", self.random.below(100));
        let is_v5 = self.version == Version::V5;
        let properties = ConnectProperties {
            session_expiry_interval: Some(u32::MAX),
            receive_maximum: NonZeroU16::new(1 + self.random.below(3) as u16),
            maximum_packet_size: NonZeroU32::new(1 + self.random.below(100) as u32),
            ..ConnectProperties::default()
        };
        let connect = Connect {
            version: self.version,
            clean_start: self.random.percent(40),
            keep_alive: [0, 1, u16::MAX][self.random.index(3)],
            client_identifier: text(&name),
            will: self.random.percent(30).then(|| Will {
                topic: topic_name(&topic),
                payload: &[7; 300],
                retain: true,
                ..Will::default()
            }),
            properties: if is_v5 && self.random.percent(50) { properties } else { ConnectProperties::default() },
            ..Connect::default()
        };
        let packet = self.put(connect);
        if self.random.percent(10) { with_fault(&packet, &mut self.random) } else { packet }
    }

    fn publish(&self, topic: &str, delivery: Delivery, size: usize, retain: bool) -> Vec<u8> {
        let payload = vec![b'x'; size];
        self.put(Publish { delivery, retain, topic: topic_name(topic), payload: &payload, ..Publish::default() })
    }

    fn subscribe(&self, id: PacketId, filter: &str) -> Vec<u8> {
        let Ok(subscription) = Subscription::new(filter, QoS::ExactlyOnce) else { return Vec::new() };
        let subscriptions = [subscription];
        self.put(Subscribe { id, subscriptions: (&subscriptions).into(), properties: Default::default() })
    }

    /// Acknowledges what was not sent.
    fn answers(&mut self, id: PacketId) -> Vec<u8> {
        match self.random.below(4) {
            0 => self.put(PubAck::new(id)),
            1 => self.put(PubRec::new(id)),
            2 => self.put(PubRel::new(id)),
            _ => self.put(PubComp::new(id)),
        }
    }

    /// Very many user properties.
    fn properties(&self, number: u16) -> Vec<u8> {
        let pairs = vec![UserProperty { name: text("k"), value: text("v") }; usize::from(number)];
        let properties = PublishProperties { user_properties: (&pairs).into(), ..PublishProperties::default() };
        self.put(Publish { topic: topic_name("p"), properties, ..Publish::default() })
    }

    /// Topic aliases, known and unknown.
    fn aliases(&self, number: u16) -> Vec<u8> {
        let properties = PublishProperties { topic_alias: NonZeroU16::new(number), ..PublishProperties::default() };
        let topic = if number.is_multiple_of(2) { "alias" } else { "" };
        self.put(Publish { topic: TopicName::new(topic).unwrap_or_default(), properties, ..Publish::default() })
    }
}

fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn topic_name(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
