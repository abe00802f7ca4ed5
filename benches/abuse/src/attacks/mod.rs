//! The attacks.
//!
//! An attack makes its preparations, calls [`Stage::begin`], and acts until [`Stage::goes_on`] returns false. Its random
//! numbers follow from the seed.

mod connections;
mod floods;
mod memory;
mod retained;
mod routing;
mod sessions;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::packets::{self, ConnectOptions, DISCONNECT};
use crate::peer::{Peer, is_over};
use crate::stage::Stage;

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// A description for `--list`.
    pub(crate) what: &'static str,
    run: fn(&Stage) -> Result<()>,
    /// The reason for which the attack does not apply to mosquitto.
    pub(crate) not_mosquitto: Option<&'static str>,
    /// Minimum number of MiB that the attackers send in the short form, so that a slow machine comes under attack too.
    pub(crate) minimum: u64,
    /// The broker has users with passwords; clients without a user name are accepted, too.
    pub(crate) needs_passwords: bool,
}

impl Attack {
    const fn new(name: &'static str, what: &'static str, run: fn(&Stage) -> Result<()>) -> Self {
        Self { name, what, run, not_mosquitto: None, minimum: 0, needs_passwords: false }
    }

    const fn not_mosquitto(mut self, why: &'static str) -> Self {
        self.not_mosquitto = Some(why);
        self
    }

    const fn at_least(mut self, minimum: u64) -> Self {
        self.minimum = minimum;
        self
    }

    const fn with_passwords(mut self) -> Self {
        self.needs_passwords = true;
        self
    }

    pub(crate) fn is_control(&self) -> bool {
        self.name == "none"
    }

    /// Makes the attack. The end of its time is no error.
    pub(crate) fn run(&self, stage: &Stage) -> Result<()> {
        (self.run)(stage).or_else(|error| if is_over(&error) { Ok(()) } else { Err(error) })
    }
}

/// All attacks, the control run first.
pub(crate) const ATTACKS: &[Attack] = &[
    Attack::new("none", "nothing: the control run", control),
    // Subscriptions and matching.
    Attack::new(
        "subscribe-walk",
        "SUBSCRIBE of 10,000 filters that match none of 100,000 retained topics",
        retained::subscribe_walk,
    ),
    Attack::new("overlap", "PUBLISH to a topic of 14 levels that filters in all combinations match", routing::overlap),
    Attack::new("overlap-sessions", "the same filters, each of another client", routing::overlap_sessions),
    Attack::new(
        "identifiers",
        "thousands of overlapping filters with a subscription identifier each",
        routing::identifiers,
    ),
    Attack::new(
        "deep-topics",
        "PUBLISH and SUBSCRIBE with 65,535 bytes of topic, in thousands of levels",
        routing::deep_topics,
    ),
    Attack::new("absent-share", "PUBLISH to a shared subscription with 10,000 absent members", routing::absent_share),
    Attack::new(
        "subscribe-churn",
        "SUBSCRIBE and UNSUBSCRIBE of one filter, again and again",
        routing::subscribe_churn,
    ),
    Attack::new("unsubscribe", "UNSUBSCRIBE of 10,000 filters, again and again", routing::unsubscribe),
    Attack::new(
        "share-churn",
        "members that enter and leave groups while others publish to them",
        routing::share_churn,
    ),
    Attack::new("orphans", "clients that start much work and close the connection", routing::orphans),
    Attack::new("hash-shares", "share names that collide where a hash has a constant secret", routing::hash_shares)
        .not_mosquitto("its tables have another hash, and it refuses control characters"),
    Attack::new("everything", "hundreds of subscribers of # and a flood", routing::everything).at_least(2),
    Attack::new("large-fan-out", "large payloads to many subscribers", routing::large_fan_out).at_least(16),
    // Retained messages.
    Attack::new("retained-flood", "retained messages with ever new topics", retained::flood).at_least(16),
    Attack::new("retained-names", "retained messages with ever new topics of 60,000 bytes", retained::names)
        .at_least(48),
    Attack::new(
        "retained-walk",
        "many clients that subscribe to # over 100,000 retained topics at once",
        retained::walk,
    ),
    Attack::new("retained-churn", "retained messages set and deleted while others walk over them", retained::churn),
    Attack::new("retained-expiry", "retained messages that expire at the same moment", retained::expiry),
    // Sessions.
    Attack::new("hash-ids", "client identifiers that collide where a hash has a constant secret", sessions::hash_ids)
        .not_mosquitto("its tables have another hash, and it refuses control characters"),
    Attack::new("takeover", "many connections that take over one session from each other", sessions::takeover),
    Attack::new("takeover-full", "the same, of a session with thousands of messages", sessions::takeover_full),
    Attack::new("clean-start", "clean starts on a session with thousands of subscriptions", sessions::clean_start),
    Attack::new(
        "leaving",
        "clients with full queues that leave and come back while others publish to them",
        sessions::leaving,
    ),
    Attack::new("expiry", "10,000 sessions that expire at the same moment", sessions::expiry),
    Attack::new("expiring-queues", "full queues whose messages expire at the same moment", sessions::expiring_queues),
    Attack::new("will-delays", "wills with a delay that are cancelled again and again", sessions::will_delays),
    Attack::new("wills", "many wills that are due at once", sessions::wills).at_least(48),
    Attack::new("reconnect", "clients that connect and leave at once", sessions::reconnect),
    // Memory.
    Attack::new(
        "hoarder",
        "messages of QoS 1 for absent sessions, and for present ones that do not acknowledge",
        memory::hoarder,
    )
    .at_least(4),
    Attack::new("slow-reader", "subscribers of a flood that do not read", memory::slow_reader).at_least(32),
    Attack::new("slow-pinger", "a subscriber of a flood that reads little and sends PINGREQ", memory::slow_pinger)
        .at_least(32),
    Attack::new("deaf-writer", "clients that write 40 MB of QoS 0 to themselves and read nothing", memory::deaf_writer)
        .at_least(16),
    Attack::new("aliases", "topic aliases of long topics, changed all the time", memory::aliases).at_least(48),
    Attack::new("huge-publish", "PUBLISH of 16 MiB that never ends", memory::huge_publish).at_least(64),
    Attack::new("huge-connect", "CONNECT of 256 KiB that never ends", memory::huge_connect).at_least(64),
    Attack::new("unreleased", "QoS 2 with all packet identifiers, never released", memory::unreleased),
    Attack::new("user-properties", "PUBLISH with as many and as long user properties as fit", memory::user_properties)
        .at_least(32),
    Attack::new("long-ids", "sessions with client identifiers of 60,000 bytes", memory::long_ids).at_least(48),
    Attack::new("long-filters", "sessions with filters of 60,000 bytes", memory::long_filters).at_least(48),
    Attack::new("heavy-wills", "clients with wills of 240 KiB", memory::heavy_wills).at_least(64),
    // Below MQTT, and before it.
    Attack::new("websocket-pings", "WebSocket pings of a client that reads nothing", connections::pings_late)
        .at_least(16),
    Attack::new("websocket-pings-early", "the same without CONNECT", connections::pings_early).at_least(16),
    Attack::new("websocket-frames", "WebSocket frames of one byte", connections::frames),
    Attack::new("websocket-requests", "WebSocket requests that never end", connections::requests),
    Attack::new("tls-handshakes", "TLS handshakes that never end", connections::tls_handshakes),
    Attack::new("silence", "thousands of connections without CONNECT", connections::silence),
    Attack::new("drip", "CONNECT and PUBLISH byte by byte", connections::drip),
    // Floods.
    Attack::new("busy", "many busy connections, with QoS 0", floods::busy),
    Attack::new("busy-qos-2", "many busy connections, with QoS 2", floods::busy_qos_2),
    Attack::new("pings", "PINGREQ without end", floods::pings),
    Attack::new(
        "acknowledgements",
        "PUBACK, PUBREC and PUBREL of messages that nobody has sent",
        floods::acknowledgements,
    ),
    Attack::new("auth", "AUTH, with and without an authentication method", floods::auth),
    Attack::new("malformed", "malformed packets, and connections anew", floods::malformed),
    Attack::new("passwords", "wrong passwords", floods::passwords).with_passwords(),
    Attack::new("forbidden-topics", "PUBLISH to $SYS and to topics with wildcards", floods::forbidden_topics),
];

fn control(stage: &Stage) -> Result<()> {
    stage.begin()?;
    Ok(stage.pause(Duration::MAX)?)
}

/// Number of attackers that act at the same time where a single one would be too slow.
const FEW: usize = 4;

/// Creates absent sessions, by several clients at a time. `packets` returns the packets that a client sends before it leaves.
fn leave_sessions(stage: &Stage, count: usize, packets: impl Fn(usize) -> Result<Vec<u8>> + Sync) -> Result<()> {
    stage.crowd(FEW, |part| {
        for index in (part..count).step_by(FEW) {
            let mut bytes = packets(index)?;
            bytes.extend(DISCONNECT);
            stage.insist(|| {
                let mut peer = Peer::open(stage, stage.broker.tcp)?;
                peer.send_without_reading(&bytes)?;
                Ok(peer.leave()?)
            })?;
        }
        Ok(())
    })?;
    Ok(stage.check()?)
}

/// Runs an action while clients with subscriptions read and acknowledge messages.
fn with_readers(
    stage: &Stage,
    readers: usize,
    filters: impl Fn(usize) -> Vec<String> + Sync,
    qos: u8,
    act: impl Fn() -> Result<()> + Sync,
) -> Result<()> {
    let mut peers = Vec::new();
    for index in 0..readers {
        let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("reader {index}")))?.acknowledging();
        for filters in filters(index).chunks(1000) {
            peer.subscribe(filters, qos)?;
        }
        peers.push(peer);
    }
    // A few threads read for all.
    let share = peers.len().div_ceil(FEW).max(1);
    std::thread::scope(|scope| {
        for peers in peers.chunks_mut(share) {
            scope.spawn(move || {
                while stage.goes_on() {
                    for peer in &mut *peers {
                        if peer.absorb().is_err() {
                            peer.free_buffers();
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        act()
    })
}

/// Names of 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// The last 8 bytes are close to a constant with which foldhash multiplies if it has no secret of its own. The product is
    /// hardly mixed: the first 4 bytes do not affect the bits that choose the position in a table, whatever the seed.
    Colliding,
    Harmless,
}

impl Names {
    fn name(self, number: usize) -> String {
        const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        let mut name: String = (0..4).map(|digit| char::from(DIGITS[number >> (6 * digit) & 63])).collect();
        name += match self {
            Self::Colliding => "same\x17\x09\u{7d75}\u{544}?",
            Self::Harmless => "sameharmless",
        };
        name
    }
}

/// Runs an action with colliding names and with others, in turns, and notes the ratio of the costs for the broker.
fn compare(stage: &Stage, act: impl Fn(usize, Names) -> Result<()>) -> Result<()> {
    let mut costs = [Duration::ZERO; 2];
    let mut rounds = 0;
    loop {
        let cost = |names| {
            let before = stage.process.cpu()?;
            act(rounds, names)?;
            Ok(stage.process.cpu()?.saturating_sub(before))
        };
        let both = match cost(Names::Colliding).and_then(|colliding| Ok([colliding, cost(Names::Harmless)?])) {
            Ok(both) => both,
            Err(error) if is_over(&error) => break,
            Err(error) => return Err(error),
        };
        costs = [costs[0] + both[0], costs[1] + both[1]];
        rounds += 1;
    }
    if rounds == 0 {
        ensure!(stage.is_short, "there was no time for a single round");
        return Ok(());
    }
    let ratio = costs[0].as_secs_f64() / costs[1].as_secs_f64();
    stage.note(format!("colliding names cost {ratio:.1} times as much as others, over {rounds} rounds"));
    ensure!(stage.is_short || ratio < WORST_RATIO, "colliding names cost {ratio:.1} times as much as others");
    Ok(())
}

/// Maximum ratio of the costs. Colliding names should cost as much as others, but other work of the broker is measured too.
const WORST_RATIO: f64 = 2.0;

/// Retains messages with these topics.
fn retain_topics(stage: &Stage, topics: impl Iterator<Item = String>) -> Result<()> {
    let mut peer = Peer::connect(stage, &ConnectOptions::new("gardener"))?;
    let mut bytes = Vec::new();
    for topic in topics {
        bytes.extend(packets::retain(&topic, b"retained")?);
        if bytes.len() > 64 * 1024 {
            peer.send(&bytes)?;
            bytes.clear();
        }
    }
    peer.send(&bytes)?;
    Ok(peer.catch_up()?)
}

/// Repeats a packet until it fills about 64 KiB, which saves system calls of the attacker.
fn many(packet: &[u8]) -> Vec<u8> {
    packet.repeat((64 * 1024_usize).div_ceil(packet.len()))
}
