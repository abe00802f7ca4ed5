//! Clients that do what the specification allows, or nearly, in order to hurt others.

use mqtt_sansio::broker::ConnectionId;
use mqtt_sansio::codec::{
    self, Auth, AuthProperties, AuthReasonCode, Connect, ConnectProperties, Delivery, Disconnect, DisconnectProperties,
    DisconnectReasonCode, Limits, Packet, PacketId, PubAck, PubComp, PubRec, PubRel, Publish, PublishProperties,
    Subscribe, SubscribeProperties, Subscription, SubscriptionIdentifier, Unsubscribe, UserProperty, Will,
    WillProperties,
};
use mqtt_sansio::{QoS, TopicFilter, TopicName, Utf8Str, Version};
use mqtt_sansio_testkit::Random;

/// What a nasty client is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Overlaps,
    ManyFilters,
    AbsentMembers,
    Flood(QoS),
    Unreleased,
    LeavesFull,
    TakesOver,
    CleanStarts,
    Wills,
    Retains,
    Aliases,
    HugePayloads,
    UserProperties,
    Authenticates,
    Pings,
    Malformed,
    WrongAcks,
    KeepAlive,
    Expires,
    Trespasses,
}

pub(crate) const KINDS: [Kind; 22] = [
    Kind::Overlaps,
    Kind::ManyFilters,
    Kind::AbsentMembers,
    Kind::Flood(QoS::AtMostOnce),
    Kind::Flood(QoS::AtLeastOnce),
    Kind::Flood(QoS::ExactlyOnce),
    Kind::Unreleased,
    Kind::LeavesFull,
    Kind::TakesOver,
    Kind::CleanStarts,
    Kind::Wills,
    Kind::Retains,
    Kind::Aliases,
    Kind::HugePayloads,
    Kind::UserProperties,
    Kind::Authenticates,
    Kind::Pings,
    Kind::Malformed,
    Kind::WrongAcks,
    Kind::KeepAlive,
    Kind::Expires,
    Kind::Trespasses,
];

/// How much it reads in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Nothing,
    OneByte,
    Some,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    None,
    Right,
    Wrong,
}

pub(crate) struct Nasty {
    pub(crate) kind: Kind,
    pub(crate) version: Version,
    pub(crate) link: Option<Link>,
    pub(crate) reads: Reads,
    /// Whether what it sends arrives byte by byte.
    pub(crate) is_slow: bool,
    acks: Acks,
    number: usize,
    count: u16,
}

/// Its connection.
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    /// What it has sent, and the broker has not taken.
    pub(crate) up: Vec<u8>,
    /// How much of that has arrived at the broker's transport.
    pub(crate) arrived: usize,
    /// What it has got, and not answered.
    heard: Vec<u8>,
}

impl Link {
    pub(crate) const fn new(id: ConnectionId) -> Self {
        Self { id, up: Vec::new(), arrived: 0, heard: Vec::new() }
    }
}

fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap()
}

fn id(number: u16) -> PacketId {
    PacketId::new(number.max(1)).unwrap()
}

/// Adds a packet, unless this version has no such packet.
fn put<'a>(out: &mut Vec<u8>, version: Version, packet: impl Into<Packet<'a>>) {
    let mut bytes = Vec::new();
    if packet.into().encode(version, &mut bytes).is_ok() {
        out.extend_from_slice(&bytes);
    }
}

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl Nasty {
    pub(crate) fn new(number: usize, random: &mut Random) -> Self {
        let kind = KINDS[random.index(KINDS.len())];
        let reads = match kind {
            Kind::WrongAcks => Reads::All,
            _ => [Reads::Nothing, Reads::OneByte, Reads::Some, Reads::All][random.index(4)],
        };
        let acks = match kind {
            Kind::WrongAcks => Acks::Wrong,
            _ => [Acks::None, Acks::Right, Acks::Wrong][random.index(3)],
        };
        Self {
            kind,
            version: Version::ALL[random.index(3)],
            link: None,
            reads,
            is_slow: random.percent(15),
            acks,
            number,
            count: 0,
        }
    }

    /// The client identifier: its own, one of another nasty client, or one of an honest client, which it is refused.
    fn client_id(&self, random: &mut Random) -> String {
        match self.kind {
            Kind::TakesOver => format!("nasty-{}", random.index(8)),
            Kind::CleanStarts | Kind::AbsentMembers | Kind::Expires => {
                format!("nasty-{}-{}", self.number, random.index(5))
            }
            Kind::Trespasses if random.percent(70) => format!("honest-{}", random.index(4)),
            _ if random.percent(5) => String::new(),
            _ => format!("nasty-{}", self.number),
        }
    }

    /// Sends CONNECT.
    pub(crate) fn connect(&mut self, random: &mut Random) {
        let (version, kind) = (self.version, self.kind);
        let client_id = self.client_id(random);
        let has_will = kind == Kind::Wills || random.percent(10);
        let will_topic = if random.percent(90) { "nasty/w" } else { "h/0/0" };
        let payload = vec![b'w'; random.index(300)];
        let many = self.user_properties(random);
        let will = Will {
            topic: topic(will_topic),
            payload: &payload,
            qos: QOS[random.index(3)],
            retain: random.percent(30),
            properties: WillProperties {
                will_delay_interval: random.percent(30).then(|| random.below(3) as u32),
                ..WillProperties::default()
            },
        };
        let will =
            Will { properties: if version == Version::V5 { will.properties } else { Default::default() }, ..will };
        let properties = ConnectProperties {
            session_expiry_interval: [None, Some(1), Some(2), Some(100), Some(u32::MAX)][random.index(5)],
            receive_maximum: [None, 1.try_into().ok(), 10.try_into().ok()][random.index(3)],
            maximum_packet_size: if random.percent(10) { 40.try_into().ok() } else { None },
            topic_alias_maximum: [None, Some(1), Some(100)][random.index(3)],
            authentication_method: (kind == Kind::Authenticates).then(|| text("M")),
            user_properties: many[..].into(),
            ..ConnectProperties::default()
        };
        let connect = Connect {
            version,
            clean_start: client_id.is_empty() || random.percent(50),
            keep_alive: if kind == Kind::KeepAlive { 1 + random.below(2) as u16 } else { [0, 30][random.index(2)] },
            client_identifier: text(&client_id),
            will: has_will.then_some(will),
            properties: if version == Version::V5 { properties } else { ConnectProperties::default() },
            ..Connect::default()
        };
        let Some(link) = &mut self.link else { return };
        put(&mut link.up, version, connect);
    }

    /// As many user properties as the broker allows, for those that like them.
    fn user_properties(&self, random: &mut Random) -> Vec<UserProperty<'static>> {
        let is_likely = self.kind == Kind::UserProperties && self.version == Version::V5;
        let count = if is_likely && random.percent(50) { 256 } else { 0 };
        vec![UserProperty { name: text("name"), value: text("a value that is somewhat longer") }; count]
    }

    /// Sends something.
    pub(crate) fn act(&mut self, random: &mut Random) {
        const MOST: usize = 1 << 20;
        let Some(link) = &self.link else { return };
        if link.up.len() > MOST {
            return; // its transport is full
        }
        if random.percent(3) {
            self.kind = KINDS[random.index(KINDS.len())]; // on the same connection
        }
        let mut out = Vec::new();
        match self.kind {
            Kind::Overlaps => self.subscribe_overlapping(random, &mut out),
            Kind::ManyFilters => self.subscribe_many(random, &mut out),
            Kind::AbsentMembers => self.share(random, &mut out),
            Kind::Flood(qos) => self.flood(qos, 200, random, &mut out),
            Kind::Unreleased => self.flood(QoS::ExactlyOnce, 1000, random, &mut out),
            Kind::LeavesFull | Kind::TakesOver | Kind::CleanStarts => {
                self.subscribe_all(&mut out);
                self.flood(QOS[random.index(3)], 20, random, &mut out);
                if random.percent(30) {
                    self.disconnect(random, &mut out);
                }
            }
            Kind::Wills => {
                if random.percent(50) {
                    self.disconnect(random, &mut out);
                }
            }
            Kind::Retains => self.retain(random, &mut out),
            Kind::Aliases => self.change_aliases(random, &mut out),
            Kind::HugePayloads => self.publish_huge(random, &mut out),
            Kind::UserProperties => self.publish_with_properties(random, &mut out),
            Kind::Authenticates => {
                let again = random.percent(30);
                let reason_code =
                    if again { AuthReasonCode::ReAuthenticate } else { AuthReasonCode::ContinueAuthentication };
                let data = vec![7; random.index(500)];
                let properties = AuthProperties {
                    authentication_method: Some(text("M")),
                    authentication_data: Some(&data),
                    ..AuthProperties::default()
                };
                for _ in 0..1 + random.index(50) {
                    put(&mut out, self.version, Auth { reason_code, properties });
                }
            }
            Kind::Pings => out.extend([0xC0, 0].repeat(1 + random.index(5000))),
            Kind::Malformed => self.garble(random, &mut out),
            Kind::WrongAcks => {
                self.subscribe_all(&mut out);
                self.acknowledge_wrongly(random, &mut out);
            }
            Kind::KeepAlive => {
                if random.percent(20) {
                    out.extend([0xC0, 0]);
                }
            }
            Kind::Expires => {
                self.subscribe_all(&mut out);
                self.disconnect(random, &mut out);
            }
            Kind::Trespasses => self.trespass(random, &mut out),
        }
        if let Some(link) = &mut self.link {
            link.up.extend(out);
        }
    }

    fn next_id(&mut self) -> PacketId {
        self.count = if self.count == u16::MAX { 1 } else { self.count + 1 };
        id(self.count)
    }

    fn delivery(&mut self, qos: QoS) -> Delivery {
        match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            qos => Delivery::new(qos, self.next_id(), false),
        }
    }

    fn subscribe(&mut self, filters: &[String], random: &mut Random, out: &mut Vec<u8>) {
        let subscriptions: Vec<_> = filters
            .iter()
            .map(|filter| {
                let subscription = Subscription::new(filter, QOS[random.index(3)]).unwrap();
                let is_v5 = self.version == Version::V5;
                let no_local = is_v5 && !filter.starts_with("$share") && random.percent(20);
                Subscription { no_local, retain_as_published: is_v5 && random.percent(20), ..subscription }
            })
            .collect();
        let identifier = if self.version == Version::V5 { random.below(3) as u32 } else { 0 };
        let properties = SubscribeProperties {
            subscription_identifier: SubscriptionIdentifier::new(identifier).ok(),
            ..SubscribeProperties::default()
        };
        let id = self.next_id();
        put(out, self.version, Subscribe { properties, ..Subscribe::new(id, &subscriptions) });
    }

    fn unsubscribe(&mut self, filters: &[String], out: &mut Vec<u8>) {
        let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
        let id = self.next_id();
        put(out, self.version, Unsubscribe::new(id, &filters));
    }

    /// All combinations of literals and wildcards that match one topic of the honest clients, or of its own kind.
    fn subscribe_overlapping(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        let levels = if random.percent(50) { ["h", "1", "2"] } else { ["nasty", "1", "2"] };
        let mut filters = Vec::new();
        for bits in 0..8 {
            let of = |level: usize| if bits >> level & 1 == 0 { levels[level] } else { "+" };
            filters.push(format!("{}/{}/{}", of(0), of(1), of(2)));
            filters.push(format!("{}/{}/#", of(0), of(1)));
            filters.push(format!("{}/#", of(0)));
        }
        filters.push("#".into());
        let from = random.index(filters.len());
        if random.percent(60) {
            self.subscribe(&filters[from..], random, out);
        } else {
            self.unsubscribe(&filters[from..], out);
        }
        self.flood(QOS[random.index(3)], 3, random, out);
    }

    fn subscribe_many(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        let (from, count) = (random.index(1000), 1 + random.index(500));
        let last = ["#", "x", "+"][random.index(3)];
        let name = |number| format!("{}/{number}/{last}", if number % 2 == 0 { "h" } else { "nasty" });
        let filters: Vec<_> = (from..from + count).map(name).collect();
        if random.percent(60) {
            self.subscribe(&filters, random, out);
        } else {
            self.unsubscribe(&filters, out);
        }
    }

    /// Joins groups, and leaves them as an absent member.
    fn share(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        let filters = ["$share/g/nasty/#", "$share/g/s/#", "$share/h/h/#", "$share/g/r/#"].map(String::from);
        self.subscribe(&filters, random, out);
        if random.percent(60) {
            self.disconnect(random, out);
        }
    }

    fn subscribe_all(&mut self, out: &mut Vec<u8>) {
        let subscriptions = ["#", "h/#", "+/+/+", "nasty/#"].map(|filter| Subscription::new(filter, QOS[2]).unwrap());
        let id = self.next_id();
        put(out, self.version, Subscribe::new(id, &subscriptions));
    }

    fn flood(&mut self, qos: QoS, most: usize, random: &mut Random, out: &mut Vec<u8>) {
        let payload = vec![b'x'; random.index(200)];
        for _ in 0..random.index(most + 1) {
            let name = format!("nasty/{}/{}", random.index(3), random.index(3));
            let delivery = self.delivery(qos);
            put(out, self.version, Publish { delivery, topic: topic(&name), payload: &payload, ..Publish::default() });
        }
    }

    fn retain(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        for _ in 0..random.index(50) {
            let name = format!("nasty/r/{}/{}", random.index(20), random.index(20));
            let payload = vec![b'r'; random.index(500)];
            let delivery = self.delivery(QOS[random.index(3)]);
            let publish =
                Publish { delivery, retain: true, topic: topic(&name), payload: &payload, ..Publish::default() };
            put(out, self.version, publish);
        }
        if random.percent(30) {
            self.subscribe(&["nasty/r/#".into(), "#".into()], random, out);
        }
    }

    /// Maps topic aliases again and again; now and then one that does not exist.
    fn change_aliases(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        for number in 0..random.index(50) {
            let name = format!("nasty/{}", "long ".repeat(random.index(20)));
            let is_known = number > 20 && random.percent(50);
            let alias = if random.percent(1) { 9999 } else { 1 + random.below(10) as u16 };
            let publish = Publish {
                topic: if is_known { TopicName::default() } else { topic(&name) },
                payload: b"alias",
                properties: PublishProperties { topic_alias: alias.try_into().ok(), ..PublishProperties::default() },
                ..Publish::default()
            };
            put(out, self.version, publish);
        }
    }

    fn publish_huge(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        let payload = vec![b'h'; random.index(200_000)];
        let delivery = self.delivery(QOS[random.index(3)]);
        let retain = random.percent(20);
        put(
            out,
            self.version,
            Publish { delivery, retain, topic: topic("nasty/huge"), payload: &payload, ..Publish::default() },
        );
    }

    fn publish_with_properties(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        let many = self.user_properties(random);
        let properties = PublishProperties {
            user_properties: many[..].into(),
            message_expiry_interval: (self.version == Version::V5).then(|| random.below(3) as u32),
            ..PublishProperties::default()
        };
        for _ in 0..random.index(10) {
            let delivery = self.delivery(QOS[random.index(3)]);
            let publish =
                Publish { delivery, topic: topic("nasty/p"), payload: b"p", properties, ..Publish::default() };
            put(out, self.version, publish);
        }
        let subscription = [Subscription::new("nasty/#", QOS[2]).unwrap()];
        let properties = SubscribeProperties { user_properties: many[..].into(), ..SubscribeProperties::default() };
        let id = self.next_id();
        put(out, self.version, Subscribe { properties, ..Subscribe::new(id, &subscription) });
    }

    fn disconnect(&self, random: &mut Random, out: &mut Vec<u8>) {
        let is_v5 = self.version == Version::V5;
        let with_will = is_v5 && random.percent(50);
        let properties = DisconnectProperties {
            session_expiry_interval: if is_v5 && random.percent(30) { Some(random.below(3) as u32) } else { None },
            ..DisconnectProperties::default()
        };
        let reason_code = if with_will {
            DisconnectReasonCode::DisconnectWithWillMessage
        } else {
            DisconnectReasonCode::NormalDisconnection
        };
        put(out, self.version, Disconnect { reason_code, properties });
    }

    /// Whole packets with a bit that is wrong, or bytes that are none.
    fn garble(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        self.flood(QOS[random.index(3)], 5, random, out);
        self.subscribe(&["nasty/1/2".into()], random, out);
        if random.percent(30) && !out.is_empty() {
            let at = random.index(out.len());
            out[at] ^= 1 << random.index(8);
        } else if random.percent(10) {
            out.extend((0..random.index(50)).map(|_| random.number() as u8));
        }
    }

    fn acknowledge_wrongly(&self, random: &mut Random, out: &mut Vec<u8>) {
        for _ in 0..random.index(30) {
            let id = id(random.below(30) as u16);
            let packet: Packet<'_> = match random.index(4) {
                0 => PubAck::new(id).into(),
                1 => PubRec::new(id).into(),
                2 => PubRel::new(id).into(),
                _ => PubComp::new(id).into(),
            };
            put(out, self.version, packet);
        }
    }

    /// Publishes to topics of honest clients and joins their group, and is refused.
    fn trespass(&mut self, random: &mut Random, out: &mut Vec<u8>) {
        for name in ["h/0/1", "r/0/1", "w/0", "$SYS/broker/version", "s/1"] {
            let delivery = self.delivery(QOS[random.index(3)]);
            let retain = random.percent(50);
            put(
                out,
                self.version,
                Publish { delivery, retain, topic: topic(name), payload: b"!", ..Publish::default() },
            );
        }
        self.subscribe(&["$share/honest/s/#".into(), "$share/other/s/#".into()], random, out);
    }

    /// Answers what it has got, rightly or wrongly.
    pub(crate) fn hear(&mut self, bytes: &[u8], random: &mut Random) {
        let (acks, version) = (self.acks, self.version);
        let Some(link) = &mut self.link else { return };
        if acks == Acks::None {
            return;
        }
        link.heard.extend_from_slice(bytes);
        let mut packets = codec::packets(&link.heard, version, Limits::from_server());
        let mut answers = Vec::new();
        for packet in packets.by_ref().map_while(Result::ok) {
            let is_wrong = acks == Acks::Wrong && random.percent(30);
            let of = |id: PacketId| if is_wrong { PacketId::new(id.get() / 2 + 1).unwrap() } else { id };
            match packet {
                Packet::Publish(publish) => match publish.delivery {
                    Delivery::AtLeastOnce { id, .. } if !is_wrong => put(&mut answers, version, PubAck::new(of(id))),
                    Delivery::ExactlyOnce { id, .. } | Delivery::AtLeastOnce { id, .. } => {
                        put(&mut answers, version, PubRec::new(of(id)));
                    }
                    Delivery::AtMostOnce => {}
                },
                Packet::PubRel(ack) => put(&mut answers, version, PubComp::new(of(ack.id))),
                Packet::PubRec(ack) if !ack.reason_code.is_error() => {
                    put(&mut answers, version, PubRel::new(of(ack.id)));
                }
                _ => {}
            }
        }
        let rest = packets.rest().len();
        let taken = link.heard.len() - rest;
        link.heard.drain(..taken);
        link.up.extend(answers);
    }
}
