//! Subscriptions of the embedding program: which messages it gets, in which form, and within which bounds.

use std::num::NonZeroU32;

use mqtt_sansio::broker::{
    AllowAll, Broker, BrokerConfig, LocalMessage, LocalSubscription, Origin, Secret, SubscribeError, SubscribeOptions,
};
use mqtt_sansio::codec::{
    Connect, DisconnectReasonCode, Publish, PublishProperties, RetainHandling, SubAckReasonCode, Will,
};
use mqtt_sansio::store::Pairs;
use mqtt_sansio::{Message, Overflow, QoS, TopicName, Version};

use crate::broker::{BOTH, Net, config, message, named, with_server};
use crate::server::{at, encoded_all, text};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A message as `topic: payload`, and where it applies its QoS and ` retained`, as `broker::line` shows packets.
fn line(message: &LocalMessage) -> String {
    let payload = String::from_utf8_lossy(message.payload());
    let qos = if message.qos() == QoS::AtMostOnce { String::new() } else { format!(" q{}", message.qos()) };
    format!("{}: {payload}{qos}{}", message.topic(), if message.retain() { " retained" } else { "" })
}

/// Takes all messages that there are.
fn heard(net: &mut Net) -> Vec<(LocalSubscription, String)> {
    let mut heard = Vec::new();
    loop {
        while let Some((subscription, message)) = net.broker.next_message() {
            heard.push((subscription, line(&message)));
        }
        net.broker.assert_consistent();
        if net.broker.deadline() != Some(net.now) {
            return heard;
        }
        net.flush();
    }
}

/// As [`heard`], of a single subscription.
fn lines(net: &mut Net) -> Vec<String> {
    heard(net).into_iter().map(|(_, line)| line).collect()
}

#[test]
fn a_program_gets_what_clients_publish() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "c");
        let alarms = net.broker.subscribe(net.now, "plant/+/alarm", QoS::AtLeastOnce).unwrap();
        let rest = net.broker.subscribe(net.now, "#", QoS::ExactlyOnce).unwrap();
        for qos in ALL_QOS {
            net.publish(client, "plant/1/alarm", "x", qos);
        }
        net.publish(client, "plant/1/other", "y", QoS::AtMostOnce);
        let (of_alarms, of_rest): (Vec<_>, Vec<_>) = heard(&mut net).into_iter().partition(|it| it.0 == alarms);
        let lines =
            |messages: Vec<(LocalSubscription, String)>| messages.into_iter().map(|it| it.1).collect::<Vec<_>>();
        assert!(of_rest.iter().all(|it| it.0 == rest));
        assert_eq!(lines(of_alarms), ["plant/1/alarm: x", "plant/1/alarm: x q1", "plant/1/alarm: x q1"]);
        let expected = ["plant/1/alarm: x", "plant/1/alarm: x q1", "plant/1/alarm: x q2", "plant/1/other: y"];
        assert_eq!(lines(of_rest), expected);
        assert!(net.broker.unsubscribe(net.now, alarms) && !net.broker.unsubscribe(net.now, alarms));
        net.publish(client, "plant/1/alarm", "z", QoS::AtMostOnce);
        assert_eq!(heard(&mut net), [(rest, "plant/1/alarm: z".to_owned())]);
    }
}

/// The publisher is told that there is a subscriber, and an own message and a will come too.
#[test]
fn a_program_gets_wills_and_its_own_messages() {
    let mut net = Net::plain();
    net.broker.subscribe(net.now, "#", QoS::ExactlyOnce).unwrap();
    let will =
        Will { topic: TopicName::new("gone").unwrap(), payload: b"bye", qos: QoS::AtLeastOnce, ..Will::default() };
    let client = net.connect(&Connect { will: Some(will), ..named(Version::V5, "c") });
    net.send(client, &[message("a", "1", QoS::AtLeastOnce).into()]);
    assert_eq!(net.received(client), ["PUBACK 1 00"], "the message has a subscriber");
    net.publish_own(&Message::new("own", "2").qos(QoS::ExactlyOnce).retain(true));
    net.lose(client);
    assert_eq!(lines(&mut net), ["a: 1 q1", "own: 2 q2", "gone: bye q1"]);
}

#[test]
fn no_local_is_about_messages_of_the_program() {
    let mut net = Net::plain();
    net.publish_own(&Message::new("r/own", "1").retain(true));
    let client = net.client(Version::V5, "c");
    net.retain(client, "r/client", "2", QoS::AtMostOnce);
    let options = SubscribeOptions { no_local: true, ..SubscribeOptions::from(QoS::AtMostOnce) };
    net.broker.subscribe(net.now, "#", options).unwrap();
    net.publish_own(&Message::new("own", "3"));
    net.publish(client, "client", "4", QoS::AtMostOnce);
    net.publish_own(&Message::new("r/own", "5").retain(true));
    let mut lines = lines(&mut net);
    lines.sort();
    assert_eq!(lines, ["client: 4", "r/client: 2 retained"]);
}

/// A message of a client whose session has ended while the message is on its way is not one of the program.
#[test]
fn no_local_is_not_about_clients_that_have_left() {
    let config = BrokerConfig { work_per_call: NonZeroU32::MIN, ..config() };
    let mut net = Net::new(config);
    let options = SubscribeOptions { no_local: true, ..SubscribeOptions::from(QoS::AtMostOnce) };
    for _ in 0..10 {
        net.broker.subscribe(net.now, "#", options).unwrap();
    }
    let client = net.connect(&named(Version::V5, "c"));
    let id = net.id(client);
    let bytes = encoded_all(&[Publish { retain: true, ..message("a", "1", QoS::AtMostOnce) }.into()], Version::V5);
    net.broker.receive(net.now, id, &mut &bytes[..]);
    net.broker.end_session(net.now, "c");
    let mut count = 0;
    for _ in 0..1000 {
        net.broker.poll(net.now);
        while net.broker.next_message().is_some() {
            count += 1;
        }
    }
    net.flush();
    assert_eq!((net.broker.status().sessions, count + heard(&mut net).len()), (0, 10));
}

#[test]
fn retained_messages_come_as_the_options_say() {
    let mut net = Net::plain();
    net.publish_own(&Message::new("r", "1").qos(QoS::AtLeastOnce).retain(true));
    let with = |retain_handling, retain_as_published| SubscribeOptions {
        qos: QoS::ExactlyOnce,
        retain_handling,
        retain_as_published,
        ..SubscribeOptions::default()
    };
    let handlings = [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    for (handling, count) in handlings.into_iter().zip([1, 1, 0]) {
        for as_published in [false, true] {
            let subscription = net.broker.subscribe(net.now, "r", with(handling, as_published)).unwrap();
            assert_eq!(lines(&mut net), vec!["r: 1 q1 retained"; count]);
            net.publish_own(&Message::new("r", "1").qos(QoS::AtLeastOnce).retain(true));
            assert_eq!(lines(&mut net), [if as_published { "r: 1 q1 retained" } else { "r: 1 q1" }]);
            net.broker.unsubscribe(net.now, subscription);
        }
    }
}

/// Retained messages wait until there is room in the queue: none is lost, and none comes twice.
#[test]
fn retained_messages_wait_for_room() {
    for work in [1, 7, 2000] {
        let server = with_server(|server| server.max_stored = 3);
        let mut net = Net::new(BrokerConfig { work_per_call: NonZeroU32::new(work).unwrap(), ..server });
        for number in 0..50 {
            net.publish_own(&Message::new(&format!("r/{number}"), "x").retain(true));
        }
        net.broker.subscribe(net.now, "r/#", QoS::AtMostOnce).unwrap();
        net.flush();
        assert_eq!(net.broker.status().stored, 3);
        // A newer message does not come before the retained one of its topic, which it replaces.
        let mut lines = lines(&mut net);
        lines.sort();
        let mut expected: Vec<_> = (0..50).map(|number| format!("r/{number}: x retained")).collect();
        expected.sort();
        assert_eq!(lines, expected);
        assert_eq!((net.broker.counters().dropped.total(), net.broker.status().stored), (0, 0));
    }
}

#[test]
fn a_program_shares_a_subscription_with_clients() {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "c");
    net.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
    let subscription = net.broker.subscribe(net.now, "$share/g/t", QoS::AtLeastOnce).unwrap();
    let publisher = net.client(Version::V5, "p");
    for number in 0..4 {
        net.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
    }
    let received = net.received(client);
    let own = lines(&mut net);
    assert_eq!((received.len(), own.len()), (2, 2), "{received:?} {own:?}");
    // A member that has lost its connection comes behind the program, which is always there.
    net.lose(client);
    for number in 4..8 {
        net.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
    }
    assert_eq!(lines(&mut net), ["t: 4 q1", "t: 5 q1", "t: 6 q1", "t: 7 q1"]);
    // What the program has not taken goes to the other member.
    for number in 8..10 {
        net.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
    }
    net.broker.unsubscribe(net.now, subscription);
    let client = net.resume(&named(Version::V5, "c"));
    assert_eq!(net.received(client), ["t: 8 q1", "t: 9 q1"]);
    assert_eq!(net.broker.counters().dropped.total(), 0);
}

#[test]
fn the_values_under_sys_come_too() {
    let mut net = Net::new(BrokerConfig { sys_interval: NonZeroU32::new(10), ..config() });
    net.broker.subscribe(net.now, "$SYS/broker/subscriptions/count", QoS::AtMostOnce).unwrap();
    net.broker.subscribe(net.now, "#", QoS::AtMostOnce).unwrap();
    net.wait(15);
    let lines = lines(&mut net);
    assert_eq!(lines, vec!["$SYS/broker/subscriptions/count: 2"; lines.len()]);
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
}

#[test]
fn a_message_has_its_properties_and_what_is_left_of_its_life() {
    let mut net = Net::plain();
    net.broker.subscribe(net.now, "t", QoS::ExactlyOnce).unwrap();
    let client = net.client(Version::V5, "c");
    let properties = PublishProperties {
        message_expiry_interval: Some(10),
        content_type: Some(text("text/plain")),
        response_topic: TopicName::new("back").ok(),
        correlation_data: Some(b"7"),
        ..PublishProperties::default()
    };
    for size in [5, 5000] {
        let payload = "z".repeat(size);
        net.publish_packet(client, &Publish { properties, ..message("t", &payload, QoS::AtLeastOnce) });
        net.wait(4);
        let (_, received) = net.broker.next_message().unwrap();
        assert_eq!((received.topic(), received.payload().len(), received.qos()), ("t", size, QoS::AtLeastOnce));
        let expected = PublishProperties { message_expiry_interval: Some(6), ..properties };
        assert_eq!(received.properties(), expected);
        let again = Message::new("t", payload.as_bytes()).qos(QoS::AtLeastOnce).properties(expected);
        assert_eq!(received.message(), again);
        assert_eq!(format!("{received:?}"), format!("{again:?}").replace("Borrowed", "Shared"));
        let payload = received.payload().clone();
        assert_eq!(payload.as_ptr(), received.payload().as_ptr(), "a clone copies nothing");
    }
    // Payloads that several subscriptions share are one.
    net.broker.subscribe(net.now, "t", QoS::ExactlyOnce).unwrap();
    net.publish_own(&Message::new("t", vec![7; 5000]));
    let (first, second) = (net.broker.next_message().unwrap(), net.broker.next_message().unwrap());
    assert!(first.0 != second.0 && first.1.payload().as_ptr() == second.1.payload().as_ptr());
}

#[test]
fn messages_that_have_expired_do_not_come() {
    for work in [1, 100] {
        let mut net = Net::new(BrokerConfig { work_per_call: NonZeroU32::new(work).unwrap(), ..config() });
        let subscription = net.broker.subscribe(net.now, "t", QoS::AtLeastOnce).unwrap();
        let expiring = PublishProperties { message_expiry_interval: Some(5), ..PublishProperties::default() };
        for number in 0..500 {
            let properties = if number % 50 == 49 { PublishProperties::default() } else { expiring };
            net.publish_own(&Message::new("t", number.to_string()).properties(properties));
        }
        net.broker.poll(net.now);
        net.now = at(6000);
        // Nothing but `next_message` sees that the time has come.
        net.broker.poll(net.now);
        let lines = lines(&mut net);
        assert_eq!(lines, (1..=10).map(|number| format!("t: {}", number * 50 - 1)).collect::<Vec<_>>());
        let dropped = net.broker.counters().dropped;
        assert_eq!((dropped.expired, dropped.total()), (490, 490));
        assert!(net.broker.unsubscribe(net.now, subscription));
    }
}

/// At the limits of its queue a subscription loses messages as the configuration says, and no other one does.
#[test]
fn the_queue_is_bounded_by_count_and_by_bytes() {
    for overflow in [Overflow::Refuse, Overflow::DropOldest] {
        for (max_stored, max_stored_bytes, size) in [(10, u32::MAX, 1), (u32::MAX, 1000, 100), (u32::MAX, 9000, 3000)] {
            let mut net = Net::new(with_server(|server| {
                (server.max_stored, server.max_stored_bytes, server.overflow) =
                    (max_stored, max_stored_bytes, overflow);
            }));
            let full = net.broker.subscribe(net.now, "t/#", QoS::AtLeastOnce).unwrap();
            let other = net.broker.subscribe(net.now, "t/last", QoS::AtLeastOnce).unwrap();
            for number in 0..50 {
                let payload = format!("{number:0size$}");
                net.publish_own(
                    &Message::new(if number == 49 { "t/last" } else { "t" }, payload).qos(QoS::AtLeastOnce),
                );
                assert!(net.broker.status().stored_bytes <= 2 * 9100);
            }
            let numbers = |heard: &[(LocalSubscription, String)], of| {
                let own = heard.iter().filter(|it| it.0 == of).map(|it| it.1.rsplit_once(": ").unwrap().1);
                own.map(|line| line.trim_end_matches(" q1").parse().unwrap()).collect::<Vec<u32>>()
            };
            let heard = heard(&mut net);
            assert_eq!(numbers(&heard, other), [49]);
            let of_full = numbers(&heard, full);
            let count = of_full.len() as u32;
            assert!(if size == 1 { count == 10 } else { (2..10).contains(&count) }, "{count} messages of {size} bytes");
            let expected = if overflow == Overflow::Refuse { 0..count } else { 50 - count..50 };
            assert!(of_full.into_iter().eq(expected), "{overflow:?}");
            let dropped = net.broker.counters().dropped;
            assert_eq!((dropped.queue_full, dropped.total()), (u64::from(50 - count), u64::from(50 - count)));
            let notices = net.notices();
            assert_eq!(notices, vec!["for the program, dropped: QueueFull"; notices.len()]);
            assert_eq!(notices.len() as u32, 50 - count);
        }
    }
}

/// A publisher is not told that a message was accepted of which no copy is stored.
#[test]
fn a_full_queue_refuses_the_publisher() {
    let mut net = Net::new(with_server(|server| server.max_stored = 1));
    net.broker.subscribe(net.now, "t", QoS::AtLeastOnce).unwrap();
    let client = net.client(Version::V5, "c");
    for expected in ["PUBACK 1 00", "PUBACK 1 97"] {
        net.send(client, &[message("t", "1", QoS::AtLeastOnce).into()]);
        assert_eq!(net.received(client), [expected]);
    }
}

/// What waits for the program is in the account of memory, and nothing of it is left at the end.
#[test]
fn memory_is_counted() {
    let config = BrokerConfig { max_memory: 100_000, reserved_memory: 0, ..config() };
    let mut net = Net::new(config);
    let before = net.broker.status();
    let subscriptions: Vec<_> =
        (0..20).map(|_| net.broker.subscribe(net.now, "t", QoS::AtLeastOnce).unwrap()).collect();
    let status = net.broker.status();
    assert_eq!((status.local_subscriptions, status.subscriptions, status.sessions), (20, 20, 0));
    assert!(status.memory.sessions >= before.memory.sessions + 20 * 472);
    for _ in 0..100 {
        net.publish_own(&Message::new("t", vec![b'x'; 1000]));
    }
    let status = net.broker.status();
    assert!((80_000..=100_000).contains(&status.memory.stored), "{status:?}");
    assert!(net.broker.counters().dropped.memory > 1900);
    for subscription in subscriptions {
        net.broker.unsubscribe(net.now, subscription);
    }
    net.poll();
    let status = net.broker.status();
    assert_eq!((status.stored, status.memory.stored, status.local_subscriptions, status.subscriptions), (0, 0, 0, 0));
    let dropped = net.broker.counters().dropped;
    assert_eq!(dropped.total(), dropped.memory + dropped.session_ended);
}

#[test]
fn limits_of_subscriptions_apply() {
    let server = with_server(|server| {
        server.wildcard_subscription_available = false;
        server.shared_subscription_available = false;
        server.maximum_qos = QoS::AtLeastOnce;
    });
    let mut net = Net::new(BrokerConfig { max_subscriptions: 2, max_topic_levels: 3, ..server });
    let mut subscribe = |filter: &str, options: SubscribeOptions| net.broker.subscribe(net.now, filter, options);
    assert!(matches!(subscribe("a/#/b", QoS::AtMostOnce.into()), Err(SubscribeError::Filter(_))));
    assert_eq!(subscribe("a/b/c/d", QoS::AtMostOnce.into()), Err(SubscribeError::TooManyLevels));
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    assert_eq!(subscribe("$share/g/t", no_local), Err(SubscribeError::NoLocalOnShared));
    for (filter, code) in [
        ("+", SubAckReasonCode::WildcardSubscriptionsNotSupported),
        ("$share/g/t", SubAckReasonCode::SharedSubscriptionsNotSupported),
    ] {
        assert_eq!(subscribe(filter, QoS::AtMostOnce.into()), Err(SubscribeError::NotSupported(code)));
    }
    subscribe("t", QoS::ExactlyOnce.into()).unwrap();
    subscribe("t", QoS::ExactlyOnce.into()).unwrap();
    assert_eq!(subscribe("t", QoS::ExactlyOnce.into()), Err(SubscribeError::QuotaExceeded));
    net.publish_own(&Message::new("t", "1").qos(QoS::ExactlyOnce));
    assert_eq!(lines(&mut net), ["t: 1 q1"; 2]);
    assert_eq!(net.broker.status().subscriptions, 2);
}

/// A thousand subscriptions take turns, so that one that gets much does not hold the others up.
#[test]
fn subscriptions_take_turns() {
    let mut net = Net::plain();
    let much = net.broker.subscribe(net.now, "much", QoS::AtMostOnce).unwrap();
    let little = net.broker.subscribe(net.now, "little", QoS::AtMostOnce).unwrap();
    for _ in 0..100 {
        net.publish_own(&Message::new("much", "x"));
    }
    net.publish_own(&Message::new("little", "y"));
    let order: Vec<_> = heard(&mut net).into_iter().map(|it| it.0).collect();
    assert_eq!(order.len(), 101);
    assert_eq!(order[..2], [much, little]);
}

/// Its subscriptions are not stored, nor is what waits for them; what clients have is.
#[test]
fn subscriptions_of_the_program_do_not_survive_a_crash() {
    let config = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    let mut net = Net::new(BrokerConfig { durable: true, ..self::config() });
    let subscription = net.broker.subscribe(net.now, "t", QoS::AtLeastOnce).unwrap();
    let client = net.client(Version::V5, "c");
    net.send(client, &[Publish { retain: true, ..message("t", "1", QoS::AtLeastOnce) }.into()]);
    assert_eq!(net.received(client), ["PUBACK 1 00"]);
    net.crash(at(1000));
    let status = net.broker.status();
    assert_eq!((status.sessions, status.subscriptions, status.retained, status.stored), (1, 0, 1, 0));
    assert!(!net.broker.unsubscribe(net.now, subscription) && net.broker.next_message().is_none());
    net.broker.subscribe(net.now, "t", QoS::AtLeastOnce).unwrap();
    assert_eq!(lines(&mut net), ["t: 1 q1 retained"]);
    // A broker that stores nothing else has no batch for it.
    let mut broker = Broker::restore(config, AllowAll, at(0), Pairs::default().iter()).unwrap();
    broker.subscribe(at(0), "t", QoS::ExactlyOnce).unwrap();
    broker.publish(at(0), &Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
    assert!(broker.next_message().is_some());
    while let Some(batch) = broker.changes() {
        assert!(batch.changes().count() <= 2, "a mark of the format and of the time at most");
    }
}

/// A connection that is opened beside has nothing to do with it.
#[test]
fn a_broker_without_subscriptions_of_the_program_has_no_messages() {
    let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    let id = broker.open(at(0), Origin::UNKNOWN);
    broker.publish(at(0), &Message::new("t", "1")).unwrap();
    assert!(broker.next_message().is_none());
    broker.disconnect(at(0), id, DisconnectReasonCode::NormalDisconnection);
    assert_eq!(broker.counters().dropped.total(), 0);
}

/// The program hears of messages by a subscription that gets no retained ones.
#[test]
fn a_subscription_without_retained_messages() {
    for qos in ALL_QOS {
        let mut net = Net::plain();
        let client = net.client(Version::V5, "c");
        let options = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            retain_handling: RetainHandling::DoNotSend,
            ..SubscribeOptions::default()
        };
        net.broker.subscribe(net.now, "a", options).unwrap();
        net.publish(client, "a", "1", qos);
        let shown = if qos == QoS::AtMostOnce { String::new() } else { format!(" q{qos}") };
        assert_eq!(lines(&mut net), [format!("a: 1{shown}")]);
    }
}
