//! The broker's deadline is the earliest of all timers, and never in the past after a poll. A driver that polls late,
//! or at other times, misses no event.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin};
use mqtt_sansio::codec::{Connect, ConnectProperties, Publish, PublishProperties};
use mqtt_sansio::{QoS, Version};

use crate::broker::{Net, Peer, config, message, named, with_server};
use crate::server::{at, encoded, will};

/// Checks that the deadline lies this many seconds ahead.
#[track_caller]
fn assert_due_in(net: &Net, seconds: u64) {
    assert_eq!(net.broker.deadline(), Some(net.now + Duration::from_secs(seconds)));
}

fn with_session(expiry: u32) -> Connect<'static> {
    let properties = ConnectProperties { session_expiry_interval: Some(expiry), ..ConnectProperties::default() };
    Connect { properties, ..named(Version::V5, "client") }
}

#[test]
fn nothing_is_due_without_a_reason() {
    let mut net = Net::plain();
    assert_eq!(net.broker.deadline(), None);
    let client = net.client(Version::V311, "client"); // no Keep Alive, and a session that never expires
    net.subscribe(client, "a", QoS::AtLeastOnce);
    net.retain(client, "a", "x", QoS::AtLeastOnce);
    net.wait(10); // its connect timeout
    assert_eq!(net.broker.deadline(), None);
    net.lose(client);
    net.poll();
    assert_eq!(net.broker.deadline(), None);
}

#[test]
fn connect_must_arrive_within_the_timeout() {
    for (timeout, sent) in [(5, &b""[..]), (5, &b"\x10"[..]), (5, &b"\x10\x20\x00\x04MQTT"[..])] {
        let mut net = Net::new(with_server(|server| server.connect_timeout = NonZeroU16::new(timeout)));
        let client = net.open(Version::V5);
        net.wait(2);
        net.send_bytes(client, sent);
        assert_due_in(&net, 3);
        net.wait(2);
        assert!(!net.is_over(client));
        net.wait(1);
        assert!(net.is_over(client));
        assert_eq!(net.notices(), ["refused: no CONNECT"]);
    }
    let mut net = Net::new(with_server(|server| server.connect_timeout = None));
    net.open(Version::V5);
    assert_eq!(net.broker.deadline(), None);
}

/// The connection stays open while packets arrive within one and a half times the Keep Alive
/// [3.1.1: MQTT-3.1.2-24; 5.0: MQTT-3.1.2-22].
#[test]
fn keep_alive_counts_from_the_last_packet_received() {
    let mut net = Net::plain();
    let client = net.connect(&Connect { keep_alive: 10, ..named(Version::V5, "client") });
    for _ in 0..20 {
        net.wait(14);
        assert!(!net.is_over(client));
        net.send_bytes(client, b"\xC0\x00");
    }
    // Packets sent to the client do not count.
    let other = net.client(Version::V5, "other");
    net.received(client);
    net.subscribe(client, "a", QoS::AtMostOnce);
    for _ in 0..14 {
        net.wait(1);
        net.publish(other, "a", "x", QoS::AtMostOnce);
    }
    assert!(!net.is_over(client));
    net.wait(1);
    assert!(net.is_over(client));
    assert_eq!(net.received(client).last().unwrap(), "DISCONNECT 8d");
}

/// The deadline is that of the next event. Each step starts when the previous event is over.
#[test]
fn the_deadline_is_that_of_the_next_event() {
    let mut net = Net::new(BrokerConfig { sys_interval: NonZeroU32::new(1000), ..config() });
    net.poll(); // the first report is due at once
    assert_due_in(&net, 1000);
    let watcher = net.client(Version::V311, "watcher");
    net.wait(10); // the connect timeout does not matter any more
    assert_due_in(&net, 990);
    let client = net.connect(&Connect { keep_alive: 200, will: Some(will("gone", 40)), ..with_session(60) });
    net.wait(10);
    assert_due_in(&net, 290);
    let properties = PublishProperties { message_expiry_interval: Some(100), ..PublishProperties::default() };
    net.publish_packet(client, &Publish { retain: true, properties, ..message("a", "x", QoS::AtMostOnce) });
    assert_due_in(&net, 100);
    net.lose(client);
    assert_due_in(&net, 40);
    net.wait(40);
    assert_eq!(net.broker.counters().wills, 1);
    assert_due_in(&net, 20);
    net.wait(20);
    assert_eq!(net.notices().last().unwrap(), "client session ended");
    assert_due_in(&net, 40);
    let retained = net.broker.status().retained;
    net.wait(40);
    assert_eq!(net.broker.status().retained, retained - 1);
    // The deadline may be that of a connection which has ended.
    net.wait(200);
    assert_due_in(&net, 680);
    assert!(!net.is_over(watcher));
}

/// The notices of clients with all kinds of intervals, when the broker is polled at these times only.
fn notices_when_polled_at(calls: &[u64]) -> Vec<String> {
    let mut net = Net::new(with_server(|server| server.connect_timeout = NonZeroU16::new(30)));
    for (name, keep_alive, expiry, delay) in
        [("a", 4, 0, 0), ("b", 4, 10, 5), ("c", 0, 50, 100), ("d", 10, 3, 1), ("e", 20, u32::MAX, 7)]
    {
        let client = named_with(name, keep_alive, expiry);
        net.try_connect(&Connect { will: Some(will("gone", delay)), ..client });
    }
    net.open(Version::V5);
    let lost: Peer = 2;
    net.lose(lost);
    let mut notices = net.notices();
    for &seconds in calls {
        net.now = net.now.max(at(seconds));
        net.poll();
        let mut news = net.notices();
        news.sort();
        notices.extend(news);
    }
    notices.push(format!("{} wills", net.broker.counters().wills));
    assert_eq!(net.broker.deadline(), None);
    notices
}

fn named_with(name: &str, keep_alive: u16, expiry: u32) -> Connect<'_> {
    let properties = ConnectProperties { session_expiry_interval: Some(expiry), ..ConnectProperties::default() };
    Connect { keep_alive, properties, ..named(Version::V5, name) }
}

/// After a clock jump forwards every timer fires once. Timers that start then run from then.
#[test]
fn late_polls_miss_no_event() {
    let mut each: Vec<_> = notices_when_polled_at(&(0..=100).collect::<Vec<_>>());
    for calls in [&[100, 10_000][..], &[7, 8, 9, 90, 200, 10_000], &[0, 31, 10_000], &[40, 40, 40, 3, 80, 10_000]] {
        let mut notices = notices_when_polled_at(calls);
        each.sort();
        notices.sort();
        assert_eq!(notices, each, "{calls:?}");
    }
}

/// When the clock goes back, the time counts as unchanged, and no event is delayed.
#[test]
fn a_clock_that_goes_back_delays_no_event() {
    let mut net = Net::plain();
    let client = net.connect(&Connect { keep_alive: 10, ..named(Version::V5, "client") });
    net.now = at(10);
    net.send_bytes(client, b"\xC0\x00");
    for seconds in [0, 5, 9, 24] {
        net.now = at(seconds);
        net.broker.poll(net.now);
        net.flush();
        assert!(!net.is_over(client));
        let deadline = net.broker.deadline().unwrap();
        assert!(at(10) < deadline && deadline <= at(25), "{deadline:?}");
    }
    net.now = at(25);
    net.poll();
    assert!(net.is_over(client));
}

/// Timers that are postponed again and again do not accumulate.
#[test]
fn postponed_timers_do_not_accumulate() {
    let mut broker = Broker::new(config(), AllowAll);
    let properties = PublishProperties { message_expiry_interval: Some(5000), ..PublishProperties::default() };
    let retained = Publish { retain: true, properties, ..message("a", "x", QoS::AtMostOnce) };
    let client = broker.open(at(0), Origin::UNKNOWN);
    let bytes = encoded(&named(Version::V5, "client").into(), Version::V5);
    broker.receive(at(0), client, &mut &bytes[..]);
    let bytes = encoded(&retained.into(), Version::V5);
    let mut calls = 0;
    for second in 0..20_000 {
        broker.receive(at(second), client, &mut &bytes[..]);
        if broker.deadline().is_some_and(|deadline| deadline <= at(second)) {
            broker.poll(at(second));
            calls += 1;
        }
        assert!(broker.deadline().is_some_and(|deadline| deadline > at(second)));
    }
    assert!(calls < 10, "it wants to be called for messages that were replaced long ago: {calls}");
    assert_eq!(broker.status().retained, 1);
    broker.poll(at(25_000));
    assert_eq!((broker.status().retained, broker.deadline()), (0, None));
}
