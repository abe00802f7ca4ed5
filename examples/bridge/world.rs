//! Two brokers, a bridge between them, a listener at each, and links that are cut at random bytes. Time is a number.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::{Buf, BufMut};
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Instant, Message, QoS, Transmit};

use crate::bridge::Bridge;

/// A link between a client and a broker.
struct Link {
    id: ConnectionId,
    to_broker: Vec<u8>,
    to_client: Vec<u8>,
    /// Number of bytes until the link is cut; `None` if it never is.
    lasts: Option<usize>,
}

/// A broker, its link with the bridge, and its listener.
struct Site {
    broker: Broker<AllowAll>,
    bridge: Option<Link>,
    listener: (ClientSession, Link),
    /// Number of times that each message has arrived at the listener.
    arrivals: BTreeMap<String, u32>,
}

pub(crate) struct World {
    now: Instant,
    random: u64,
    bridge: Bridge,
    sites: [Site; 2],
    /// Whether the links of the bridge are cut.
    cuts: bool,
    pub(crate) cut: u32,
    /// Whether the second broker loses the session of the bridge now and then.
    pub(crate) forgets: bool,
    pub(crate) forgotten: u32,
}

impl World {
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let now = Instant::EPOCH;
        let bridge = Bridge::new("bridge", "plant/#");
        let sites = [Site::new(now)?, Site::new(now)?];
        let mut world = Self { now, random: seed, bridge, sites, cuts: false, cut: 0, forgets: false, forgotten: 0 };
        world.step()?; // messages that are published before the bridge has subscribed are not forwarded
        Ok(world)
    }

    /// Sets whether the links of the bridge are cut.
    pub(crate) fn set_cuts(&mut self, cuts: bool) {
        self.cuts = cuts;
        for at in [0, 1] {
            let lasts = self.lasts();
            self.sites[at].bridge.iter_mut().for_each(|link| link.lasts = lasts);
        }
    }

    fn lasts(&mut self) -> Option<usize> {
        self.cuts.then(|| self.below(600))
    }

    /// Publishes a message at a broker.
    pub(crate) fn publish(&mut self, at: usize, payload: &str, qos: QoS) -> Result<()> {
        self.sites[at].broker.publish(self.now, &Message::new("plant/line", payload).qos(qos))?;
        Ok(())
    }

    /// Lets a second pass: links that are cut are replaced, and all bytes that can be sent are sent.
    pub(crate) fn step(&mut self) -> Result<()> {
        self.now = self.now + Duration::from_secs(1);
        for at in [0, 1] {
            if self.sites[at].bridge.is_none() {
                if at == 1 && self.forgets && self.below(2) == 0 {
                    self.forgotten += u32::from(self.sites[at].broker.end_session(self.now, "bridge"));
                }
                self.bridge.client(at).open(self.now)?;
                let lasts = self.lasts();
                self.sites[at].bridge = Some(Link::new(self.now, &mut self.sites[at].broker, lasts));
            }
        }
        // A message and its acknowledgements cross a few links.
        for _ in 0..20 {
            for at in [0, 1] {
                self.sites[at].broker.poll(self.now);
                self.sites[at].listen(self.now)?;
                self.carry(at)?;
            }
        }
        Ok(())
    }

    /// Moves bytes between the bridge and a broker.
    fn carry(&mut self, at: usize) -> Result<()> {
        let (now, is_lossy) = (self.now, self.below(2) == 0);
        let site = &mut self.sites[at];
        let Some(link) = &mut site.bridge else { return Ok(()) };
        link.carry(now, &mut site.broker, self.bridge.client(at));
        if link.lasts == Some(0) && is_lossy {
            link.to_client.clear(); // the last bytes were sent, and have not arrived
        }
        let mut input = &link.to_client[..];
        let over = self.bridge.poll(now, at, &mut input)?.map(|why| why.to_string());
        ensure!(over.is_none(), "a connection of the bridge is over: {over:?}");
        link.to_client.drain(..link.to_client.len() - input.len());
        if link.lasts == Some(0) || self.bridge.must_reconnect(at) {
            site.broker.closed(now, link.id);
            self.bridge.client(at).closed(now);
            self.bridge.poll(now, at, &mut &[][..])?; // outcomes caused by the end of the connection
            site.bridge = None;
            self.cut += 1;
        }
        Ok(())
    }

    /// Returns the number of times that a message has arrived at the listener of a broker.
    pub(crate) fn arrivals(&self, at: usize, payload: &str) -> u32 {
        self.sites[at].arrivals.get(payload).copied().unwrap_or(0)
    }

    /// SplitMix64.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) as usize % bound
    }
}

impl Site {
    fn new(now: Instant) -> Result<Self> {
        let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
        let mut client = ClientSession::new(ClientConfig { client_id: "listener".into(), ..ClientConfig::default() });
        client.subscribe(now, &[Subscription::new("plant/#", QoS::ExactlyOnce)?])?;
        client.open(now)?;
        let link = Link::new(now, &mut broker, None);
        Ok(Self { broker, bridge: None, listener: (client, link), arrivals: BTreeMap::new() })
    }

    fn listen(&mut self, now: Instant) -> Result<()> {
        let (client, link) = &mut self.listener;
        link.carry(now, &mut self.broker, client);
        let mut input = &link.to_client[..];
        while let Some(action) = client.poll(now, &mut input) {
            if let Action::Message(message) = action {
                *self.arrivals.entry(String::from_utf8(message.payload.to_vec())?).or_default() += 1;
            }
        }
        link.to_client.drain(..link.to_client.len() - input.len());
        Ok(())
    }
}

impl Link {
    fn new(now: Instant, broker: &mut Broker<AllowAll>, lasts: Option<usize>) -> Self {
        let id = broker.open(now, Origin::UNKNOWN);
        Self { id, to_broker: Vec::new(), to_client: Vec::new(), lasts }
    }

    /// Moves the output of both endpoints, up to the byte at which the link is cut.
    fn carry(&mut self, now: Instant, broker: &mut Broker<AllowAll>, client: &mut ClientSession) {
        take(client.transmit(), &mut self.to_broker, &mut self.lasts);
        let mut input = &self.to_broker[..];
        broker.receive(now, self.id, &mut input);
        self.to_broker.drain(..self.to_broker.len() - input.len());
        take(broker.transmit(self.id), &mut self.to_client, &mut self.lasts);
    }
}

fn take(transmit: &mut Transmit, wire: &mut Vec<u8>, lasts: &mut Option<usize>) {
    let count = transmit.remaining().min(lasts.unwrap_or(usize::MAX));
    wire.put(transmit.take(count));
    if let Some(lasts) = lasts {
        *lasts -= count;
    }
}
