//! Limits on the resources a client can use. Each limit has its reason code and its counter, and other clients are not
//! affected.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::broker::{BrokerConfig, Origin};
use mqtt_sansio::codec::{self, Connect, Limits, Packet, Publish, Subscribe, Subscription};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Instant, Message, QoS, TopicName, Version};

use crate::broker::{BOTH, Net, config, message, named, with_server};
use crate::server;
use crate::server::{id, will};

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let mut net = Net::new(BrokerConfig { max_connections: 2, ..config() });
    let (one, two) = (net.open(Version::V5), net.open(Version::V5));
    let three = net.open(Version::V5);
    assert!(net.is_over(three) && !net.is_over(one) && !net.is_over(two));
    assert_eq!(net.notices(), ["refused: too many"]);
    assert_eq!((net.broker.counters().connections, net.broker.counters().connections_refused), (3, 1));
    net.lose(one);
    let four = net.open(Version::V5);
    assert!(!net.is_over(four));
}

#[test]
fn sessions_beyond_the_limit_are_refused() {
    for (version, code) in [(Version::V5, "97"), (Version::V311, "88"), (Version::V31, "88")] {
        let mut net = Net::new(BrokerConfig { max_sessions: 1, ..config() });
        net.client(version, "one");
        let two = net.try_connect(&named(version, "two"));
        assert_eq!(net.received(two), [format!("CONNACK {code}")], "MQTT {version}");
        assert!(net.is_over(two));
        assert_eq!((net.broker.status().sessions, net.broker.counters().clients_refused), (1, 1));
        // A client with a session needs no room for another one.
        let one = net.try_connect(&named(version, "one"));
        assert!(!net.is_over(one));
    }
}

#[test]
fn subscriptions_beyond_the_limits_are_refused() {
    for (config, version, code) in [
        (BrokerConfig { max_subscriptions: 2, ..config() }, Version::V5, "97"),
        (BrokerConfig { max_subscriptions_per_session: 2, ..config() }, Version::V5, "97"),
        (BrokerConfig { max_subscriptions: 2, ..config() }, Version::V311, "80"),
    ] {
        let mut net = Net::new(config);
        let client = net.client(version, "client");
        let filters = ["a", "b", "a", "c", "$share/g/a"].map(|filter| (filter, QoS::AtMostOnce));
        net.subscribe_all(client, &filters);
        assert_eq!(net.received(client), [format!("SUBACK 1 00 00 00 {code} {code}")]);
        assert_eq!((net.broker.status().subscriptions, net.broker.counters().subscriptions_refused), (2, 2));
        net.unsubscribe(client, &["a"]);
        net.received(client);
        net.subscribe_all(client, &[("c", QoS::AtMostOnce)]);
        assert_eq!(net.received(client), ["SUBACK 1 00"]);
    }
}

/// CVE-2019-11779.
#[test]
fn topics_and_filters_have_a_maximum_number_of_levels() {
    let slashes = "/".repeat(65_400);
    for version in BOTH {
        let mut net = Net::plain();
        let (client, other) = (net.client(version, "client"), net.client(version, "other"));
        let (deep, too_deep) = ("a/".repeat(126) + "#", "a/".repeat(127) + "#");
        net.subscribe_all(client, &[(&slashes, QoS::AtMostOnce), (&deep, QoS::AtMostOnce)]);
        let code = if version == Version::V5 { "8f" } else { "80" };
        assert_eq!(net.received(client), [format!("SUBACK 1 {code} 00")]);
        net.subscribe_all(client, &[(&(too_deep + "/a").replace('#', "+"), QoS::AtMostOnce)]);
        assert_eq!(net.received(client), [format!("SUBACK 1 {code}")]);
        net.send(client, &[message(&slashes, "1", QoS::AtLeastOnce).into()]);
        let code = if version == Version::V5 { "90" } else { "00" };
        assert_eq!(net.received(client), [format!("PUBACK 1 {code}")]);
        assert_eq!(net.broker.counters().messages_refused, 1);
        assert!(!net.is_over(client) && !net.is_over(other));
        let last = mqtt_sansio::codec::Will { topic: TopicName::new(&slashes).unwrap(), ..will("gone", 0) };
        let refused = net.try_connect(&Connect { will: Some(last), ..named(version, "third") });
        // 3.1.1 has no return code for it.
        let reported: &[&str] = if version == Version::V5 { &["CONNACK 90"] } else { &[] };
        assert_eq!(net.received(refused), reported);
        assert!(net.is_over(refused));
    }
}

#[test]
fn retained_messages_beyond_the_limits_are_refused() {
    for limit in [BrokerConfig { max_retained: 2, ..config() }, BrokerConfig { max_memory: 4 * (60 + 64), ..config() }]
    {
        let mut net = Net::new(limit);
        let client = net.client(Version::V5, "client");
        for (topic, size, code) in
            [("a", 40, "00"), ("b", 40, "00"), ("c", 40, "97"), ("a", 41, "00"), ("b", 0, "00"), ("c", 40, "00")]
        {
            let payload = "x".repeat(size);
            let packet = Publish { retain: true, ..message(topic, &payload, QoS::AtLeastOnce) };
            net.send(client, &[packet.into()]);
            assert_eq!(net.received(client), [format!("PUBACK 1 {code}")], "{topic} {size}");
        }
        assert_eq!((net.broker.status().retained, net.broker.counters().messages_refused), (2, 1));
        let text = "x".repeat(400); // more than what is left: the broker itself has no share
        assert!(net.broker.publish(net.now, &Message::new("d", &text).retain(true)).is_err());
    }
}

#[test]
fn messages_stored_for_a_client_are_limited() {
    for (limits, kept) in [
        (ServerConfig { max_stored: 3, ..server::config() }, 3),
        (ServerConfig { max_stored_bytes: 3 * 10 + 5, ..server::config() }, 3),
    ] {
        for there in [false, true] {
            let mut net = Net::new(with_server(|server| *server = limits.clone()));
            let (client, watcher) = (net.client(Version::V5, "client"), net.client(Version::V5, "watcher"));
            net.subscribe(watcher, "a", QoS::AtLeastOnce);
            net.hold_acks(watcher);
            if !there {
                net.lose(watcher);
            }
            net.notices();
            for number in 0..10 {
                net.publish(client, "a", &format!("m{number}"), QoS::AtLeastOnce);
            }
            assert_eq!(net.broker.status().stored, kept, "{limits:?}");
            assert_eq!(net.broker.counters().dropped.queue_full, 10 - kept);
            let too_much = ["client publish refused: a 97", "watcher dropped: QueueFull"];
            assert_eq!(net.notices(), too_much.repeat(10 - kept as usize));
        }
    }
}

#[test]
fn messages_stored_for_all_clients_are_limited() {
    let mut net = Net::new(BrokerConfig { max_memory: 1000, ..config() });
    let client = net.client(Version::V5, "client");
    for name in ["one", "two", "three"] {
        let watcher = net.client(Version::V5, name);
        net.subscribe(watcher, "#", QoS::AtLeastOnce);
        net.lose(watcher);
    }
    let payload = "x".repeat(90);
    for _ in 0..10 {
        net.publish(client, "a", &payload, QoS::AtLeastOnce);
    }
    let (status, dropped) = (net.broker.status(), net.broker.counters().dropped);
    assert!(status.stored_bytes < 1000 + 100, "{} bytes", status.stored_bytes);
    assert_eq!(status.stored + dropped.memory, 30);
    net.send(client, &[Publish { retain: true, ..message("b", &payload, QoS::AtLeastOnce) }.into()]);
    assert_eq!(net.received(client), ["PUBACK 1 97"], "nor is there room to retain anything");
}

#[test]
fn the_announced_limits_are_enforced() {
    let limits = |server: &mut ServerConfig| {
        server.receive_maximum = NonZeroU16::new(2).unwrap();
        server.maximum_packet_size = NonZeroU32::new(200);
        server.maximum_qos = QoS::ExactlyOnce;
    };
    // More unacknowledged messages of QoS 2 than the Receive Maximum; a packet above the Maximum Packet Size, as soon
    // as its size is known.
    for (bytes, code) in
        [(&b"\x34\x06\0\x01a\0\x01\0\x34\x06\0\x01a\0\x02\0\x34\x06\0\x01a\0\x03\0"[..], "93"), (b"\x30\xC9\x01", "95")]
    {
        let mut net = Net::new(with_server(limits));
        let watcher = net.open(Version::V5);
        let connect = Connect { will: Some(will("gone", 0)), ..named(Version::V5, "client") };
        net.send(watcher, &[named(Version::V5, "watcher").into()]);
        net.received(watcher);
        net.subscribe(watcher, "will", QoS::AtMostOnce);
        let client = net.open(Version::V5);
        net.send(client, &[connect.into()]);
        net.hold_acks(client);
        net.received(client);
        net.send_bytes(client, bytes);
        assert_eq!(net.received(client).last().unwrap(), &format!("DISCONNECT {code}"));
        assert!(net.is_over(client));
        assert_eq!(net.received(watcher), ["will: gone"], "its will follows the rules");
        assert_eq!(
            (net.broker.status().sessions, net.broker.counters().protocol_errors),
            (2, 1),
            "and its session too"
        );
        assert!(!net.is_over(watcher));
    }
}

/// A client that does not read receives as many messages as fit, and others receive all.
#[test]
fn a_slow_subscriber_delays_nobody() {
    for version in BOTH {
        let mut net = Net::new(with_server(|server| {
            server.transmit_limit = NonZeroU32::new(1000).unwrap();
            server.max_stored = 10;
        }));
        let client = net.client(version, "client");
        let (slow, quick) = (net.client(version, "slow"), net.client(version, "quick"));
        for watcher in [slow, quick] {
            net.subscribe(watcher, "#", QoS::AtLeastOnce);
        }
        net.set_reading(slow, false);
        for number in 0..1000 {
            let qos = if number % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            net.publish(client, "a", &format!("{number:04}"), qos);
            assert_eq!(net.received(quick).len(), 1);
        }
        let (status, dropped) = (net.broker.status(), net.broker.counters().dropped);
        assert!(status.stored <= 10, "{} are kept", status.stored);
        assert!(dropped.queue_full > 800, "{dropped:?}");
        net.set_reading(slow, true);
        let received = net.received(slow);
        assert_eq!(received.len() as u64, 1000 - dropped.total());
        net.publish(client, "a", "at last", QoS::AtMostOnce);
        assert_eq!(net.received(slow), ["a: at last"]);
    }
}

/// A client that reads slowly receives all retained messages in their current state, although few are queued for it at
/// a time.
#[test]
fn retained_messages_are_sent_as_fast_as_the_client_reads() {
    for version in BOTH {
        let mut net = Net::new(with_server(|server| {
            server.max_stored = 5;
            server.max_in_flight = NonZeroU16::new(3).unwrap();
            server.transmit_limit = NonZeroU32::new(300).unwrap();
        }));
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        for number in 0..2000 {
            net.retain(client, &format!("t/{number}"), "old", QoS::AtLeastOnce);
        }
        net.set_reading(watcher, false);
        let subscriptions = [Subscription::new("t/#", QoS::AtLeastOnce).unwrap()];
        net.send(watcher, &[Subscribe::new(id(1), &subscriptions).into()]);
        // Two of them change before or after they are sent: the order is not specified.
        net.retain(client, "t/7", "new", QoS::AtMostOnce);
        net.retain(client, "t/8", "", QoS::AtMostOnce);
        net.set_reading(watcher, true);
        let received = net.received(watcher);
        assert_eq!(net.broker.counters().dropped.total(), 0);
        let of = |topic: &str| received.iter().filter(|line| line.starts_with(topic)).cloned().collect::<Vec<_>>();
        let topics: std::collections::BTreeSet<_> = received.iter().filter_map(|line| line.split_once(": ")).collect();
        assert!((2000..=2001).contains(&topics.len()), "{}", topics.len());
        assert_eq!(of("t/7: ").last().unwrap(), "t/7: new", "the newer one is the last");
        assert_eq!(of("t/8: ").last().unwrap(), "t/8: ", "that it is gone is told last");
    }
}

#[test]
fn an_outdated_connection_id_matches_no_connection() {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "client");
    let old = net.id(client);
    net.lose(client);
    let next = net.client(Version::V5, "next");
    assert_eq!(net.id(next).index(), old.index(), "its number is used again");
    let (now, status) = (net.now, net.broker.status());
    let mut input = &b"\xE0\x00"[..];
    net.broker.receive(now, old, &mut input);
    assert!(input.is_empty(), "there is no use in giving it again");
    net.broker.disconnect(now, old, mqtt_sansio::codec::DisconnectReasonCode::ServerBusy);
    net.broker.closed(now, old);
    assert_eq!(net.broker.client_id(old), None);
    assert!(net.broker.is_over(old) && !net.broker.takes_input(old));
    assert_eq!(bytes::Buf::remaining(net.broker.transmit(old)), 0);
    assert_eq!(net.broker.status(), status);
    net.flush();
    assert!(!net.is_over(next));
}

/// CVE-2018-12543, and the topics under `$SYS`.
#[test]
fn only_the_broker_publishes_under_sys() {
    for version in BOTH {
        let mut net = Net::new(BrokerConfig { sys_interval: NonZeroU32::new(10), ..config() });
        let client = net.client(version, "client");
        net.subscribe(client, "$SYS/broker/clients/+", QoS::AtMostOnce);
        for topic in ["$SYS/broker/clients/connected", "$SYS", "$SYS/x"] {
            net.send(client, &[message(topic, "7", QoS::AtLeastOnce).into()]);
            let code = if version == Version::V5 { "87" } else { "00" };
            assert_eq!(net.received(client).last().unwrap(), &format!("PUBACK 1 {code}"));
        }
        net.send(client, &[message("$other/x", "7", QoS::AtLeastOnce).into()]);
        let code = if version == Version::V5 { "10" } else { "00" };
        assert_eq!(net.received(client), [format!("PUBACK 1 {code}")]);
        net.wait(10);
        let received = net.received(client);
        assert!(received.contains(&"$SYS/broker/clients/connected: 1".to_owned()), "{received:?}");
        let late = net.client(version, "late");
        net.subscribe(late, "$SYS/broker/version", QoS::AtMostOnce);
        let expected = format!("$SYS/broker/version: mqtt-sansio {} retained", env!("CARGO_PKG_VERSION"));
        assert_eq!(net.received(late), [expected]);
        let last = mqtt_sansio::codec::Will { topic: TopicName::new("$SYS/x").unwrap(), ..will("gone", 0) };
        let third = net.connect(&Connect { will: Some(last), ..named(version, "third") });
        net.subscribe(late, "$SYS/x", QoS::AtMostOnce);
        net.lose(third);
        assert!(net.received(late).is_empty(), "not by a will either");
    }
}

#[test]
fn the_clock_may_jump() {
    let mut net = Net::new(with_server(|server| server.connect_timeout = NonZeroU16::new(5)));
    let silent = net.open(Version::V5);
    let client = net.connect(&Connect { keep_alive: 10, ..named(Version::V5, "client") });
    net.now = Instant::from_micros(3_000_000);
    net.poll();
    net.now = Instant::from_micros(1_000_000); // backwards: as if no time had passed
    net.broker.poll(net.now);
    net.flush();
    assert!(!net.is_over(silent) && !net.is_over(client));
    net.now = Instant::from_micros(1 << 50);
    net.notices();
    net.poll();
    let mut notices = net.notices();
    notices.sort();
    assert_eq!(notices, ["client disconnected: silent", "refused: no CONNECT"], "each once");
    assert_eq!(net.received(client), ["DISCONNECT 8d"]);
    net.now = Instant::from_micros(1 << 60);
    net.poll();
    assert_eq!(net.notices(), ["client session ended"]);
}

/// A client that reads slowly but steadily is not dead: its PINGREQs are taken and answered.
#[test]
fn pitfall_26_a_slow_reader_that_pings_is_not_dead() {
    use bytes::Buf;
    for version in BOTH {
        for (messages, size) in [(1, 14_000_000), (140, 100_000)] {
            let mut net = Net::plain();
            let (writer, slow) =
                (net.client(version, "writer"), net.connect(&Connect { keep_alive: 2, ..named(version, "slow") }));
            net.subscribe(slow, "a", QoS::AtMostOnce);
            net.received(slow);
            net.set_reading(slow, false);
            let payload = "x".repeat(size);
            for _ in 0..messages {
                net.publish(writer, "a", &payload, QoS::AtMostOnce);
            }
            // In 70 seconds the client reads 14 MB, and it pings every second.
            let (conn, mut read) = (net.id(slow), Vec::new());
            for _ in 0..70 {
                net.wait(1);
                assert!(!net.is_over(slow), "{:?}", net.notices());
                net.broker.receive(net.now, conn, &mut &b"\xC0\x00"[..]);
                let mut left = 205_000;
                while left > 0 && net.broker.transmit(conn).has_remaining() {
                    let transmit = net.broker.transmit(conn);
                    let count = transmit.remaining().min(left);
                    read.extend_from_slice(&transmit.copy_to_bytes(count));
                    left -= count;
                }
            }
            let packets: Vec<_> = codec::packets(&read, version, Limits::from_server()).collect();
            let pings = packets.iter().filter(|packet| matches!(packet, Ok(Packet::PingResp))).count();
            assert_eq!((pings, packets.len()), (70, 70 + messages), "every ping is answered, every message there");
        }
    }
}

/// While unsent answers stop the input, time does not count against the client as long as bytes leave. If none leave,
/// the connection ends.
#[test]
fn pitfall_26_silence_counts_only_while_input_is_taken() {
    use bytes::Buf;
    for reads in [true, false] {
        let mut net = Net::new(with_server(|server| server.answer_limit = NonZeroU32::new(100).unwrap()));
        let slow = net.connect(&Connect { keep_alive: 2, ..named(Version::V5, "slow") });
        net.set_reading(slow, false);
        let conn = net.id(slow);
        // The last answer before the limit exceeds it by far.
        net.send_bytes(slow, &[0xC0, 0].repeat(49));
        let subscriptions = vec![Subscription::new("a", QoS::AtMostOnce).unwrap(); 80];
        net.send(slow, &[Subscribe::new(id(1), &subscriptions).into()]);
        assert!(!net.broker.takes_input(conn) && net.broker.transmit(conn).remaining() > 170);
        // The output takes a minute to leave.
        for _ in 0..60 {
            if reads {
                net.broker.transmit(conn).advance(1);
                net.broker.transmit(conn);
            }
            net.wait(1);
        }
        assert_eq!(net.is_over(slow), !reads);
        if reads {
            net.broker.transmit(conn).advance(40);
            net.wait(1);
            assert!(net.broker.takes_input(conn), "and then it is listened to again");
            // Silence is noticed at the next poll, which may be this late.
            net.wait(6);
            assert!(net.is_over(slow), "and is silent");
        }
    }
}

/// The broker keeps reading from a client that does not read.
#[test]
fn pitfall_32_a_writer_that_does_not_read_is_not_blocked() {
    for version in BOTH {
        let mut net = Net::new(with_server(|server| {
            server.transmit_limit = NonZeroU32::new(1000).unwrap();
            server.max_stored = 10;
        }));
        let (writer, other) = (net.client(version, "writer"), net.client(version, "other"));
        net.subscribe(writer, "a", QoS::AtMostOnce);
        net.subscribe(other, "a", QoS::AtMostOnce);
        net.received(writer);
        net.received(other);
        net.set_reading(writer, false);
        for number in 0..5000 {
            net.publish(writer, "a", "0123456789", QoS::AtMostOnce);
            assert_eq!(net.received(other).len(), 1, "message {number} was taken");
        }
        assert!(net.broker.takes_input(net.id(writer)));
        let dropped = net.broker.counters().dropped;
        assert!(dropped.queue_full > 4900, "what exceeds the limits is dropped and counted: {dropped:?}");
        net.set_reading(writer, true);
        assert_eq!(net.received(writer).len() as u64, 5000 - dropped.total());
        // Answers to the client's own packets have a limit of their own.
        net.set_reading(writer, false);
        let (conn, pings) = (net.id(writer), [0xC0, 0].repeat(100_000));
        let mut input = &pings[..];
        net.broker.receive(net.now, conn, &mut input);
        while net.broker.deadline().is_some_and(|at| at <= net.now) {
            net.broker.poll(net.now);
            net.broker.receive(net.now, conn, &mut input);
        }
        assert!(!input.is_empty() && !net.broker.takes_input(conn));
        let unsent = bytes::Buf::remaining(net.broker.transmit(conn));
        assert!((64 * 1024..64 * 1024 + 2).contains(&unsent), "{unsent}");
    }
}

/// A principal that retains what it may leaves half of the memory to the others, however long its topics are.
#[test]
fn the_retained_messages_of_one_principal_take_at_most_half() {
    for (levels, size) in [(1, 500), (100, 1)] {
        let limit = 200_000;
        let mut net = Net::new(BrokerConfig { max_memory: limit, ..config() });
        let mut taken = Vec::new();
        for principal in 0..2 {
            net.origin = Origin::new(principal);
            let client = net.client(Version::V5, &principal.to_string());
            let before = net.broker.status().retained_bytes;
            for number in 0.. {
                let topic = format!("{principal}/{number}{}", "/l".repeat(levels));
                let payload = "x".repeat(size);
                let packet = Publish { retain: true, ..message(&topic, &payload, QoS::AtLeastOnce) };
                net.send(client, &[packet.into()]);
                let answer = net.received(client);
                if answer == ["PUBACK 1 97"] {
                    break;
                }
                assert!(answer == ["PUBACK 1 10"] || answer == ["PUBACK 1 00"], "{answer:?}");
                assert!(number < 10_000, "a limit is met");
            }
            taken.push(net.broker.status().retained_bytes - before);
        }
        assert!(taken[0] <= limit * 55 / 100, "{taken:?} bytes");
        assert!(taken[0] >= limit * 35 / 100, "{taken:?} bytes");
        assert!(taken[1] >= limit * 15 / 100, "{taken:?} bytes");
    }
}
