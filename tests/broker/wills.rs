//! Exactly one will or none, for every combination of the end of the connection, the Session Expiry Interval, the Will
//! Delay Interval, and the time at which the client reconnects (section 3.1.3.2.2).

use mqtt_sansio::codec::{Connect, ConnectProperties, DisconnectReasonCode};
use mqtt_sansio::{QoS, Version};

use crate::broker::{Net, Peer, named};
use crate::server::will;

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Disconnect(DisconnectReasonCode),
    Lost,
    Silent,
    Malformed,
    TakenOver,
    Command,
    SessionEnded,
}

/// When the client reconnects after that, in seconds, and whether with Clean Start.
type Return = Option<(u64, bool)>;

const KEEP_ALIVE: u16 = 10;
const FOREVER: u32 = u32::MAX;

/// When the will is published, in seconds after the end: an independent reading of the specification.
fn expected(end: End, expiry: u32, delay: u32, back: Return) -> Option<u64> {
    if end == End::Disconnect(DisconnectReasonCode::NormalDisconnection) {
        return None;
    }
    // If the session ends before the delay has passed, the will is published at the end of the session.
    let expiry = if end == End::SessionEnded { 0 } else { u64::from(expiry) };
    let due = u64::from(delay).min(expiry);
    match back {
        // Clean Start ends the session, and the will is published then at the latest.
        Some((at, true)) => Some(due.min(at)),
        Some((at, false)) if at < due => None,
        // A client that reconnects when the will is due is too late.
        _ => Some(due),
    }
}

struct Case {
    end: End,
    expiry: u32,
    delay: u32,
    back: Return,
}

impl Case {
    fn connect(&self, clean_start: bool) -> Connect<'static> {
        let session_expiry_interval = Some(self.expiry).filter(|&seconds| seconds != 0);
        let properties = ConnectProperties { session_expiry_interval, ..ConnectProperties::default() };
        Connect { clean_start, properties, ..named(Version::V5, "client") }
    }

    fn end(&self, net: &mut Net, client: Peer) {
        match self.end {
            End::Disconnect(reason_code) => net.leave(client, reason_code),
            End::Lost => net.lose(client),
            End::Silent => net.wait(u64::from(KEEP_ALIVE) * 3 / 2),
            End::Malformed => net.send_bytes(client, b"\xFF\x00"),
            End::Command => net.disconnect(client, DisconnectReasonCode::ServerBusy),
            End::SessionEnded => {
                net.broker.end_session(net.now, "client");
                net.flush();
            }
            // The connection is taken over when the client reconnects.
            End::TakenOver => {}
        }
    }

    fn check(&self) {
        let Self { end, expiry, delay, back } = *self;
        let case = format!("{end:?}, expiry {expiry}, delay {delay}, back {back:?}");
        let mut net = Net::plain();
        let watcher = net.client(Version::V5, "watcher");
        net.subscribe(watcher, "will", QoS::AtMostOnce);
        let keep_alive = if end == End::Silent { KEEP_ALIVE } else { 0 };
        let connect = Connect { keep_alive, will: Some(will("gone", delay)), ..self.connect(true) };
        let client = net.connect(&connect);
        net.subscribe(client, "news", QoS::AtLeastOnce);
        self.end(&mut net, client);
        let start = net.now;
        let mut published = Vec::new();
        let mut look = |net: &mut Net| {
            for line in net.received(watcher) {
                assert_eq!(line, "will: gone");
                published.push(net.now.since(start).as_secs());
            }
        };
        look(&mut net);
        let mut second = 0;
        while second < 40 {
            if let Some((_, clean_start)) = back.filter(|&(at, _)| at == second) {
                let peer = net.try_connect(&self.connect(clean_start));
                let lasts = u64::from(if end == End::SessionEnded { 0 } else { expiry });
                let was_there = end == End::TakenOver && expiry != 0 || end != End::TakenOver && second < lasts;
                let present = if was_there && !clean_start { " present" } else { "" };
                assert_eq!(net.received(peer), [format!("CONNACK 00{present}")], "{case}");
                assert_eq!(net.broker.status().subscriptions, 1 + u32::from(!present.is_empty()), "{case}");
                look(&mut net);
            }
            net.wait(1);
            second += 1;
            look(&mut net);
        }
        net.wait(u64::from(u32::MAX));
        look(&mut net);
        let wanted: Vec<_> = expected(end, expiry, delay, back).into_iter().collect();
        assert_eq!(published, wanted, "{case}");
    }
}

/// [5.0: MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.1.3-9, MQTT-3.14.4-3]
#[test]
fn exactly_one_will_or_none() {
    use DisconnectReasonCode::{DisconnectWithWillMessage, NormalDisconnection};
    let ends = [
        End::Disconnect(NormalDisconnection),
        End::Disconnect(DisconnectWithWillMessage),
        End::Lost,
        End::Silent,
        End::Malformed,
        End::Command,
        End::SessionEnded,
    ];
    let mut cases = 0;
    for end in ends {
        for expiry in [0, 5, 10, 20, FOREVER] {
            for delay in [0, 5, 10, 20] {
                let returns =
                    [0, 3, 5, 7, 10, 15, 20, 30].into_iter().flat_map(|at| [Some((at, false)), Some((at, true))]);
                for back in returns.chain([None]) {
                    Case { end, expiry, delay, back }.check();
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 7 * 5 * 4 * 17);
}

/// The client reconnects while it is still connected: the older connection ends at that moment.
#[test]
fn a_takeover_ends_a_connection_and_resumes_the_session() {
    for expiry in [0, 5, 20, FOREVER] {
        for delay in [0, 5, 30] {
            for clean_start in [false, true] {
                Case { end: End::TakenOver, expiry, delay, back: Some((0, clean_start)) }.check();
            }
        }
    }
}

/// Before 5.0 a will has no delay, and a session never expires or ends with its connection.
/// [3.1.1: MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3]
#[test]
fn before_5_0_a_will_is_published_when_the_connection_ends() {
    for version in [Version::V31, Version::V311] {
        for clean_start in [false, true] {
            for loses in [false, true] {
                let mut net = Net::plain();
                let watcher = net.client(version, "watcher");
                net.subscribe(watcher, "will", QoS::AtMostOnce);
                let will = Some(will("gone", 0));
                let client = net.connect(&Connect { clean_start, will, ..named(version, "client") });
                if loses {
                    net.lose(client);
                } else {
                    net.leave(client, DisconnectReasonCode::NormalDisconnection);
                }
                net.wait(1000);
                let expected: &[&str] = if loses { &["will: gone"] } else { &[] };
                assert_eq!(net.received(watcher), expected);
                assert_eq!(net.broker.status().sessions, 1 + u32::from(!clean_start));
            }
        }
    }
}
