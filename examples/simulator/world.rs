//! The broker, the devices and their links.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Resumption};
use mqtt_sansio::{Instant, Message, QoS, SessionExpiry, Subscription};

use crate::random::Random;

/// Later than any event.
const NEVER: Instant = Instant::from_micros(u64::MAX);
/// The dashboard is the first client, and receives the readings of all devices.
const DASHBOARD: usize = 0;

/// Longest time that a device is out of reach, in seconds.
const MAX_OUTAGE: u64 = 1800;

/// An event of a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Connect,
    LoseLink,
    Publish,
    /// A timer of the session is due.
    Timer,
    /// The operator sends a command to the device.
    Command,
}

struct Device {
    session: ClientSession,
    link: Option<ConnectionId>,
    /// Seconds between two readings.
    period: u64,
    /// The time of the timer event that counts; others are stale.
    timer: Instant,
}

/// The results of the simulation.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) readings_sent: u64,
    pub(crate) readings: u64,
    pub(crate) commands_sent: u64,
    pub(crate) commands: u64,
    pub(crate) lost: u64,
    pub(crate) half_open: u64,
    pub(crate) resumed: u64,
    pub(crate) received: u64,
    pub(crate) forwarded: u64,
}

pub(crate) struct World {
    now: Instant,
    random: Random,
    broker: Broker<AllowAll>,
    devices: Vec<Device>,
    /// The device of each connection, by the index of the connection.
    owners: Vec<usize>,
    agenda: BinaryHeap<Reverse<(Instant, usize, Event)>>,
    /// Whether devices publish and lose their links.
    is_busy: bool,
    results: Results,
}

impl World {
    pub(crate) fn new(devices: u32, seed: u32) -> Result<Self> {
        // All that a broker does follows from its secret and its input. A broker on a network has a secret one.
        let broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
        let mut world = Self {
            now: Instant::EPOCH,
            random: Random::new(seed),
            broker,
            devices: Vec::new(),
            owners: Vec::new(),
            agenda: BinaryHeap::new(),
            is_busy: true,
            results: Results::default(),
        };
        world.add(NonZeroU16::new(60), "devices/+/reading", QoS::AtLeastOnce)?;
        for number in 1..=devices {
            let keep_alive = NonZeroU16::new(600 * world.random.within(1..5) as u16);
            world.add(keep_alive, &format!("devices/{number}/set"), QoS::ExactlyOnce)?;
            let device = number as usize;
            let (first, lost) = (world.random.within(60..3600), world.random.within(600..36_000));
            let command = world.random.within(60..36_000);
            world.after(first, device, Event::Publish);
            world.after(lost, device, Event::LoseLink);
            world.after(command, device, Event::Command);
        }
        Ok(world)
    }

    /// Adds a client, which subscribes and connects within the first minute.
    fn add(&mut self, keep_alive: Option<NonZeroU16>, filter: &str, qos: QoS) -> Result<()> {
        let client_id = format!("client-{}", self.devices.len());
        let session_expiry_interval = SessionExpiry::after(86_400);
        let config = ClientConfig { client_id, keep_alive, session_expiry_interval, ..ClientConfig::default() };
        let mut session = ClientSession::new(config);
        session.subscribe(self.now, &[Subscription::new(filter, qos)?])?;
        let (period, at) = (self.random.within(300..3600), self.random.below(60));
        self.after(at, self.devices.len(), Event::Connect);
        self.devices.push(Device { session, link: None, period, timer: NEVER });
        Ok(())
    }

    fn after(&mut self, seconds: u64, device: usize, event: Event) {
        self.agenda.push(Reverse((self.now + Duration::from_secs(seconds), device, event)));
    }

    /// Lets the world go on for this number of virtual seconds.
    pub(crate) fn run(&mut self, seconds: u64) -> Result<()> {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            let next = self.agenda.peek().map_or(NEVER, |Reverse((at, ..))| *at);
            let deadline = self.broker.deadline().unwrap_or(NEVER);
            if next.min(deadline) >= end {
                self.now = end;
                return Ok(());
            }
            self.now = self.now.max(next.min(deadline));
            if deadline <= self.now {
                self.broker.poll(self.now);
            } else if let Some(Reverse((at, device, event))) = self.agenda.pop() {
                self.happen(at, device, event)?;
            }
            while let Some(id) = self.broker.next_ready() {
                self.serve(id)?;
            }
        }
    }

    /// Lets all devices connect, without new events, until all messages have arrived.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.is_busy = false;
        self.run(MAX_OUTAGE + 60)
    }

    fn happen(&mut self, at: Instant, number: usize, event: Event) -> Result<()> {
        let now = self.now;
        let device = &mut self.devices[number];
        match event {
            Event::Connect => {
                device.session.open(now)?;
                let id = self.broker.open(now, Origin::UNKNOWN);
                device.link = Some(id);
                self.owners.resize(self.owners.len().max(id.index() + 1), 0);
                self.owners[id.index()] = number;
            }
            Event::Timer if at == device.timer => device.timer = NEVER,
            Event::Publish if self.is_busy => {
                let (topic, period) = (format!("devices/{number}/reading"), device.period);
                device.session.publish(now, &Message::new(&topic, "21.5").qos(QoS::AtLeastOnce))?;
                self.results.readings_sent += 1;
                self.after(period, number, Event::Publish);
            }
            Event::Command if self.is_busy => {
                let topic = format!("devices/{number}/set");
                self.broker.publish(now, &Message::new(&topic, "18.0").qos(QoS::ExactlyOnce))?;
                self.results.commands_sent += 1;
                let next = self.random.within(3600..36_000);
                self.after(next, number, Event::Command);
            }
            Event::LoseLink if self.is_busy => {
                // Sometimes only the device notices: the broker finds out when the keep-alive interval has passed, or when
                // the device is back.
                let is_half_open = self.random.below(2) == 0;
                self.lose(number, !is_half_open);
                self.results.half_open += u64::from(is_half_open);
                let next = self.random.within(3600..36_000);
                self.after(next, number, Event::LoseLink);
            }
            Event::Timer | Event::Publish | Event::Command | Event::LoseLink => return Ok(()),
        }
        self.exchange(number)
    }

    /// A device loses its link, and connects again later.
    fn lose(&mut self, number: usize, broker_notices: bool) {
        let device = &mut self.devices[number];
        let Some(id) = device.link.take() else { return };
        device.session.closed(self.now);
        if broker_notices {
            self.broker.closed(self.now, id);
        }
        self.results.lost += 1;
        let (pause, out_of_reach) = (device.session.backoff().as_secs(), self.random.within(1..MAX_OUTAGE));
        self.after(pause.max(out_of_reach), number, Event::Connect);
    }

    /// Serves a connection that is ready: it has output, takes input again, or is over.
    fn serve(&mut self, id: ConnectionId) -> Result<()> {
        let number = self.owners[id.index()];
        if self.devices[number].link == Some(id) {
            self.exchange(number)?;
        } else {
            let transmit = self.broker.transmit(id);
            transmit.advance(transmit.remaining()); // the link is lost, and so are these bytes
        }
        if self.broker.is_over(id) {
            self.broker.closed(self.now, id);
            if self.devices[number].link == Some(id) {
                bail!("the broker has closed the connection of device {number}");
            }
        }
        Ok(())
    }

    /// Moves bytes between a device and the broker until neither has output. The output of one endpoint is the input of the
    /// other: nothing is copied.
    fn exchange(&mut self, number: usize) -> Result<()> {
        let now = self.now;
        let device = &mut self.devices[number];
        loop {
            let mut input = device.link.map_or(&[][..], |id| (*self.broker.transmit(id)).chunk());
            let offered = input.len();
            while let Some(action) = device.session.poll(now, &mut input) {
                match action {
                    Action::Message(_) if number == DASHBOARD => self.results.readings += 1,
                    Action::Message(_) => self.results.commands += 1,
                    Action::Connected(connected) => {
                        self.results.resumed += u64::from(connected.session == Resumption::Resumed);
                    }
                    Action::Done { outcome, .. } if !outcome.is_success() => bail!("device {number}: {outcome:?}"),
                    Action::Close(why) => bail!("device {number}: {why}"),
                    _ => {}
                }
            }
            let read = offered - input.len();
            let Some(id) = device.link else { break };
            self.broker.transmit(id).advance(read);

            let mut input = (*device.session.transmit()).chunk();
            let offered = input.len();
            self.broker.receive(now, id, &mut input);
            let written = offered - input.len();
            device.session.transmit().advance(written);
            if read + written == 0 {
                break;
            }
        }
        if let Some(at) = device.session.deadline()
            && at < device.timer
        {
            device.timer = at.max(now);
            self.agenda.push(Reverse((device.timer, number, Event::Timer)));
        }
        Ok(())
    }

    /// Returns the memory of the broker in bytes, by its own account.
    pub(crate) fn broker_memory(&self) -> u64 {
        self.broker.status().memory.total()
    }

    pub(crate) fn results(mut self) -> Results {
        let counters = self.broker.counters();
        self.results.received = counters.messages_received;
        self.results.forwarded = counters.messages_forwarded;
        self.results
    }
}
