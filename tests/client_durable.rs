//! Durable sessions of a client: large messages, times, limits, and what an application can ask after a restart.

#![cfg(feature = "alloc")]

use std::time::Duration;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::codec::{PayloadFormat, PublishProperties, Subscription, UserProperty};
use mqtt_sansio::store::{Batch, Change, Pairs, RestoreErrorKind};
use mqtt_sansio::{
    AbandonReason, Instant, Message, OperationKind, OperationStage, Outcome, QoS, SessionExpiry, Version,
};

const NOW: Instant = Instant::from_micros(1_780_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn config(version: Version) -> ClientConfig {
    ClientConfig {
        version,
        client_id: "c".into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(if version == Version::V5 { 1000 } else { 0 }),
        keep_alive: None,
        durable: true,
        ..ClientConfig::default()
    }
}

fn store(client: &mut ClientSession, now: Instant, pairs: &mut Pairs) -> usize {
    let mut count = 0;
    while let Some(batch) = client.changes() {
        pairs.apply(&batch);
        client.committed(now, batch.number());
        count += 1;
    }
    count
}

fn open(client: &mut ClientSession, now: Instant) {
    client.open(now).unwrap();
    take(client);
    let connack: &[u8] = if client.config().version == Version::V5 { b"\x20\x03\x01\0\0" } else { b"\x20\x02\x01\0" };
    receive(client, now, connack);
}

fn receive(client: &mut ClientSession, now: Instant, mut input: &[u8]) -> Vec<String> {
    let mut actions = Vec::new();
    while let Some(action) = client.poll(now, &mut input) {
        actions.push(format!("{action:?}"));
    }
    actions
}

fn take(client: &mut ClientSession) -> Vec<u8> {
    let transmit = client.transmit();
    transmit.copy_to_bytes(transmit.remaining()).to_vec()
}

fn restore(version: Version, now: Instant, pairs: &Pairs) -> ClientSession {
    ClientSession::restore(config(version), now, pairs.iter()).unwrap()
}

/// A large message is stored in parts, which are removed with it; all its fields are there after a restart.
#[test]
fn large_messages_with_all_properties() {
    for size in [0, 10, 5000, 65_400, 65_600, 300_000] {
        let payload = Bytes::from(vec![b'p'; size]);
        let user_properties = [UserProperty::new("a", "b").unwrap(), UserProperty::new("a", "c").unwrap()];
        let properties = PublishProperties {
            payload_format_indicator: Some(PayloadFormat::Utf8),
            message_expiry_interval: Some(100),
            content_type: Some("x".try_into().unwrap()),
            response_topic: Some("r".try_into().unwrap()),
            correlation_data: Some(b"d"),
            user_properties: (&user_properties).into(),
            ..PublishProperties::default()
        };
        let message = Message::new("t", payload).qos(QoS::ExactlyOnce).retain(true).properties(properties);
        let mut client = ClientSession::new(config(Version::V5));
        client.publish(NOW, &message).unwrap();
        let mut pairs = Pairs::default();
        store(&mut client, NOW, &mut pairs);
        assert!(pairs.iter().all(|(key, value)| key.len() <= 32 && value.len() <= 65_536));
        let mut restored = restore(Version::V5, NOW, &pairs);
        for client in [&mut client, &mut restored] {
            open(client, NOW);
            store(client, NOW, &mut pairs);
        }
        assert!(take(&mut client) == take(&mut restored), "{size} bytes");
        assert_eq!(receive(&mut restored, NOW, b"\x50\x02\0\x01").len(), 0);
        store(&mut restored, NOW, &mut pairs);
        let is_of_message = |key: &[u8]| key[0] == 0x10 || key[0] == 0x11;
        assert!(!pairs.iter().any(|(key, _)| is_of_message(key)), "the message is not needed after PUBREC");
        assert_eq!(receive(&mut restored, NOW, b"\x70\x02\0\x01").len(), 1);
        store(&mut restored, NOW, &mut pairs);
        assert!(!pairs.iter().any(|(key, _)| key[0] == 0x24));
    }
}

/// The version of the session decides what is sent; a message of 3.1.1 is stored in the form of 5.0.
#[test]
fn messages_of_all_versions() {
    for version in Version::ALL {
        let mut client = ClientSession::new(config(version));
        client.publish(NOW, &Message::new("t", "x").qos(QoS::AtLeastOnce)).unwrap();
        let mut pairs = Pairs::default();
        store(&mut client, NOW, &mut pairs);
        let mut restored = restore(version, NOW, &pairs);
        for client in [&mut client, &mut restored] {
            open(client, NOW);
        }
        assert_eq!(take(&mut client), take(&mut restored), "{version}");
        let other = if version == Version::V5 { Version::V311 } else { Version::V5 };
        let error = ClientSession::restore(config(other), NOW, pairs.iter()).unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::OtherVersion);
    }
}

/// Message Expiry Intervals go on over a restart, and clocks that come back early do not stop them.
#[test]
fn messages_expire_as_if_there_were_no_restart() {
    const YEARS: Duration = Duration::from_secs(56 * 365 * 24 * 3600);
    let properties = PublishProperties { message_expiry_interval: Some(100), ..PublishProperties::default() };
    let message = Message::new("t", "x").qos(QoS::AtLeastOnce).properties(properties);
    let mut client = ClientSession::new(config(Version::V5));
    let token = client.publish(NOW, &message).unwrap();
    assert_eq!(client.poll_timeout(NOW + SECOND * 30), None);
    let mut pairs = Pairs::default();
    store(&mut client, NOW + SECOND * 30, &mut pairs);
    let early = Instant::from_micros(NOW.as_micros() - YEARS.as_micros() as u64);
    // The clock is right, and 10 seconds have passed; or it is early, and 30 seconds are known to have passed.
    for (now, left) in [(NOW + SECOND * 40, 60), (early, 70)] {
        let mut client = restore(Version::V5, now, &pairs);
        assert_eq!(client.poll_timeout(now + SECOND * (left - 1)), None);
        let mut sent = client.clone();
        open(&mut sent, now + SECOND * (left - 1));
        assert!(take(&mut sent).windows(5).any(|bytes| bytes == [2, 0, 0, 0, 1]), "a second is left");
        let expired = Action::Done { token, outcome: Outcome::Abandoned(AbandonReason::Expired) };
        assert_eq!(client.poll_timeout(now + SECOND * left), Some(expired));
    }
    let mut client = restore(Version::V5, NOW + YEARS, &pairs);
    assert!(client.poll_timeout(NOW + YEARS).is_some());
}

/// Deadlines are times of the caller, also if the session adds something to them.
#[test]
fn deadlines_of_a_clock_that_was_set_back() {
    let mut client = ClientSession::new(config(Version::V5));
    client.publish(NOW, &Message::new("t", "x").qos(QoS::AtLeastOnce)).unwrap();
    let mut pairs = Pairs::default();
    store(&mut client, NOW, &mut pairs);
    let early = Instant::from_micros(1_000_000);
    let config = ClientConfig { keep_alive: 10.try_into().ok(), ..config(Version::V5) };
    let mut client = ClientSession::restore(config, early, pairs.iter()).unwrap();
    open(&mut client, early);
    take(&mut client);
    client.poll_timeout(early);
    let deadline = client.deadline().unwrap();
    assert!(deadline > early && deadline <= early + SECOND * 10, "{deadline:?}");
    assert_eq!(client.poll_timeout(deadline), None);
    assert_eq!(take(&mut client), [0xC0, 0], "PINGREQ");
}

/// The operations without an outcome, before and after a restart. Requests and messages of QoS 0 are not stored.
#[test]
fn operations_after_a_restart() {
    let mut client = ClientSession::new(config(Version::V5));
    let subscribe = client.subscribe(NOW, &[Subscription::new("f", QoS::AtMostOnce).unwrap()]).unwrap();
    let message = |topic: &'static str, qos| Message::new(topic, "x").qos(qos);
    let zero = client.publish(NOW, &message("0", QoS::AtMostOnce)).unwrap();
    let one = client.publish(NOW, &message("1", QoS::AtLeastOnce)).unwrap();
    let two = client.publish(NOW, &message("2", QoS::ExactlyOnce)).unwrap();
    let mut pairs = Pairs::default();
    store(&mut client, NOW, &mut pairs);
    let kind = |topic: &'static str, qos| OperationKind::Publish { topic: Some(topic.try_into().unwrap()), qos };
    let queued = OperationStage::Queued;
    let operations = |client: &ClientSession| -> Vec<_> {
        client.operations().map(|it| (it.token, format!("{:?}", it.kind), it.stage)).collect()
    };
    let expected = [
        (one, kind("1", QoS::AtLeastOnce), queued),
        (two, kind("2", QoS::ExactlyOnce), queued),
        (zero, kind("0", QoS::AtMostOnce), queued),
        (subscribe, OperationKind::Subscribe, queued),
    ]
    .map(|(token, kind, stage)| (token, format!("{kind:?}"), stage));
    assert_eq!(operations(&client), expected);
    let mut client = restore(Version::V5, NOW, &pairs);
    assert_eq!(operations(&client), expected[..2]);
    // Every token can be used as before the crash, and new ones are above all of them.
    assert_eq!(client.tries(one), Some(0));
    client.withdraw(NOW, one).unwrap();
    assert!(client.publish(NOW, &message("3", QoS::AtMostOnce)).unwrap() > subscribe);
}

/// A session that is restored is durable, whatever its configuration says, also if there was nothing to restore.
#[test]
fn a_restored_session_is_durable() {
    let (mut client, mut pairs) = (ClientSession::new(config(Version::V5)), Pairs::default());
    client.publish(NOW, &Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    store(&mut client, NOW, &mut pairs);
    for pairs in [Pairs::default(), pairs] {
        let config = ClientConfig { durable: false, ..config(Version::V5) };
        let mut client = ClientSession::restore(config, NOW, pairs.iter()).unwrap();
        assert!(client.config().durable);
        while client.changes().is_some() {}
        client.publish(NOW, &Message::new("t", "2").qos(QoS::AtLeastOnce)).unwrap();
        assert!(client.changes().is_some());
    }
}

/// A message of which no byte was written when the connection ended is queued again, also after a restart: it goes out
/// without DUP. [3.1.1: MQTT-3.3.1-1; 5.0: MQTT-3.3.1-1]
#[test]
fn a_message_that_was_not_written_is_queued_after_a_restart() {
    let (mut client, mut pairs) = (ClientSession::new(config(Version::V5)), Pairs::default());
    open(&mut client, NOW);
    client.publish(NOW, &Message::new("t", "x").qos(QoS::AtLeastOnce)).unwrap();
    store(&mut client, NOW, &mut pairs);
    let stages = |client: &ClientSession| -> Vec<_> { client.operations().map(|it| it.stage).collect() };
    assert_ne!(stages(&client), [OperationStage::Queued], "the message is in the output");
    client.closed(NOW);
    store(&mut client, NOW, &mut pairs);
    let mut restored = restore(Version::V5, NOW, &pairs);
    for client in [&mut client, &mut restored] {
        assert_eq!(stages(client), [OperationStage::Queued]);
        open(client, NOW);
        store(client, NOW, &mut pairs);
        assert_eq!(take(client)[0], 0x32, "QoS 1, without DUP");
    }
}

/// A session of 10,000 messages: batches are of limited size, and a snapshot takes the place of many.
#[test]
fn many_messages() {
    let mut client = ClientSession::new(config(Version::V5));
    let (mut batches, mut pairs): (Vec<Batch>, _) = (Vec::new(), Pairs::default());
    for number in 0..5000 {
        let payload = [number as u8; 1000];
        let message = Message::new("topic", &payload).qos(QoS::ExactlyOnce);
        client.publish(NOW, &message).unwrap();
    }
    while let Some(batch) = client.changes() {
        assert!(batch.size() < 1024 * 1024 + 70_000, "{}", batch.size());
        batches.push(batch);
    }
    assert!(batches.len() > 4, "{}", batches.len());
    assert!(batches.windows(2).all(|pair| pair[1].number() == pair[0].number() + 1));
    batches.iter().for_each(|batch| pairs.apply(batch));
    assert_eq!(restore(Version::V5, NOW, &pairs).queued(), 5000);
    let last = batches.last().unwrap().number();
    client.committed(NOW, last);
    let snapshot = client.snapshot().unwrap();
    assert_eq!(snapshot.number(), last + 1);
    let mut copy = Pairs::default();
    copy.apply(&snapshot);
    assert_eq!(restore(Version::V5, NOW, &copy).queued(), 5000);
    let without_clock = |pairs: &Pairs| -> Vec<_> {
        pairs.iter().filter(|(key, _)| key[0] != 1).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    };
    assert!(without_clock(&copy) == without_clock(&pairs), "a snapshot is what the batches add up to");
}

/// The bytes of a batch for a message of QoS 1, from its publishing to its acknowledgement, in one batch each or together.
#[test]
fn bytes_for_a_message() {
    for size in [20, 200, 2000] {
        let mut client = ClientSession::new(config(Version::V5));
        open(&mut client, NOW);
        store(&mut client, NOW, &mut Pairs::default());
        let message = Message::new("home/kitchen/temp", vec![7; size]).qos(QoS::AtLeastOnce);
        client.publish(NOW, &message).unwrap();
        let first = client.changes().unwrap();
        client.committed(NOW, first.number());
        take(&mut client);
        assert_eq!(receive(&mut client, NOW, b"\x40\x02\0\x01").len(), 1);
        let second = client.changes().unwrap();
        client.committed(NOW, second.number());
        let bytes = first.to_bytes().len() + second.to_bytes().len();
        // The size of the PUBLISH: topic, identifier, lengths.
        let packet = 2 + 19 + 2 + 1 + size;
        println!("{bytes} bytes for a packet of {packet}");
        assert!(bytes <= 3 * packet + 200, "{bytes} bytes for {packet}");
        assert!(second.changes().filter(|change| matches!(change, Change::Remove { .. })).count() == 2);
        // A message that is acknowledged before a batch is handed out leaves nothing.
        client.publish(NOW, &message).unwrap();
        take(&mut client);
        assert_eq!(receive(&mut client, NOW, b"\x40\x02\0\x02").len(), 1);
        assert_eq!(client.changes().map_or(0, |batch| batch.changes().count()), 0);
    }
}

/// A session that is not durable reports nothing, and nothing waits.
#[test]
fn a_session_that_is_not_durable() {
    let mut client = ClientSession::new(ClientConfig { durable: false, ..config(Version::V5) });
    open(&mut client, NOW);
    client.publish(NOW, &Message::new("t", "x").qos(QoS::ExactlyOnce)).unwrap();
    assert!(client.changes().is_none() && client.snapshot().is_none());
    client.committed(NOW, 5);
    assert!(!take(&mut client).is_empty());
}

/// Silence counts while the server does not read the answers, if all changes are stored: the client has not caused it.
#[test]
fn a_server_that_does_not_read_is_given_up() {
    let config = ClientConfig { keep_alive: 10.try_into().ok(), ..config(Version::V5) };
    let mut client = ClientSession::new(config);
    open(&mut client, NOW);
    let mut pairs = Pairs::default();
    store(&mut client, NOW, &mut pairs);
    take(&mut client);
    // Messages of QoS 2 that came before: each duplicate is answered.
    receive(&mut client, NOW, b"\x34\x07\0\x01t\0\x07\0x");
    store(&mut client, NOW, &mut pairs);
    let flood = b"\x3C\x07\0\x01t\0\x07\0x".repeat(100_000);
    let mut input = &flood[..];
    loop {
        while client.poll(NOW, &mut input).is_some() {}
        if store(&mut client, NOW, &mut pairs) == 0 {
            break;
        }
    }
    assert!(!input.is_empty(), "answers have a limit");
    let mut last = None;
    while let Some(deadline) = client.deadline().filter(|_| last.is_none()) {
        assert!(deadline < NOW + 30 * SECOND, "the server is given up in time");
        last = client.poll(deadline, &mut input);
    }
    assert_eq!(last, Some(Action::Close(Close::KeepAliveTimeout)));
}

/// The first connection of a session asks for a new one; after a restart this is not the first.
#[test]
fn a_restored_session_resumes_whatever_clean_start_says() {
    let config = ClientConfig { clean_start: true, ..config(Version::V5) };
    let clean_start = |client: &mut ClientSession| {
        client.open(NOW).unwrap();
        take(client)[9] & 2 != 0
    };
    let (mut client, mut pairs) = (ClientSession::new(config.clone()), Pairs::default());
    assert!(clean_start(&mut client));
    receive(&mut client, NOW, b"\x20\x03\0\0\0");
    assert!(store(&mut client, NOW, &mut pairs) > 0);

    let mut client = ClientSession::restore(config, NOW, pairs.iter()).unwrap();
    assert!(!clean_start(&mut client));
}
