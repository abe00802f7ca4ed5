//! Sessions restored from pairs and from files of batches that come from the fuzzer.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use bytes::Buf as _;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
use mqtt_sansio::client::{self, ClientConfig, ClientSession};
use mqtt_sansio::codec::{self, ConnAck, Connect, ConnectProperties, Delivery, Limits, Packet, Publish, Version};
use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::store::{Change, Pairs, batches};
use mqtt_sansio::{Instant, SessionExpiry, TopicName};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Restores a client and a server session from arbitrary pairs, or from an arbitrary file of batches.
pub fn restore(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let pairs = if choice & 1 == 0 { from_file(rest) } else { from_values(rest, 0) };
    let now = Instant::from_micros([0, 5, u64::MAX / 4][usize::from(choice >> 1) % 3]);
    for version in Version::ALL {
        check_client(&pairs, version, now);
    }
    check_server(&pairs, now);
    check_broker(&pairs, now);
    if choice & 1 == 1 {
        check_broker(&from_values(rest, 1), now);
    }
}

/// Restores a broker: it is consistent, and what it stores then can be restored again.
fn check_broker(pairs: &Map, now: Instant) {
    let config = BrokerConfig::new(Secret::new([7; 16]));
    let Ok(mut broker) = Broker::restore(config.clone(), AllowAll, now, pairs) else { return };
    broker.assert_consistent();
    let mut stored = pairs.clone();
    for _ in 0..20 {
        broker.poll(now);
        while let Some(batch) = broker.changes() {
            for change in batch.changes() {
                match change {
                    Change::Put { key, value, .. } => drop(stored.insert(key.into(), value.into())),
                    Change::Remove { key } => drop(stored.remove(key)),
                }
            }
            broker.committed(now, batch.number());
        }
        broker.assert_consistent();
    }
    if stored.is_empty() {
        return;
    }
    let again = Broker::restore(config, AllowAll, now, &stored).expect("what a broker stores can be restored");
    again.assert_consistent();
    let (before, after) = (broker.status(), again.status());
    assert_eq!(
        (before.sessions, before.subscriptions, before.stored),
        (after.sessions, after.subscriptions, after.stored)
    );
}

/// What a file of batches contains. Every batch is read as it would be written.
fn from_file(file: &[u8]) -> Map {
    let mut pairs = Pairs::default();
    let mut read = batches(file);
    let mut size = 0;
    while let Some(Ok(batch)) = read.next() {
        let bytes = batch.to_bytes();
        assert_eq!(file[size..size + bytes.len()], bytes, "a batch has one form");
        size += bytes.len();
        assert_eq!(read.whole_len(), size);
        pairs.apply(&batch);
    }
    assert!(read.next().is_none(), "the iterator has ended");
    pairs.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Pairs with likely keys and values, mostly with valid checksums, of a session with this number.
fn from_values(data: &[u8], session: u64) -> Map {
    let mut u = Unstructured::new(data);
    let mut pairs = Map::new();
    put(&mut pairs, vec![0], vec![1]);
    // Exhausted data yields zeros without end.
    while !u.is_empty() && add_pair(&mut u, &mut pairs, session).is_ok() {}
    pairs
}

fn put(pairs: &mut Map, key: Vec<u8>, mut value: Vec<u8>) {
    let checksum = [&key[..], &value].concat().iter().fold(u32::MAX, |value, byte| {
        (0..8).fold(value ^ u32::from(*byte), |value, _| value >> 1 ^ if value & 1 == 1 { 0xEDB8_8320 } else { 0 })
    });
    value.extend((!checksum).to_be_bytes());
    pairs.insert(key, value);
}

fn add_pair(u: &mut Unstructured<'_>, pairs: &mut Map, session: u64) -> Result<()> {
    let number = |u: &mut Unstructured<'_>| Ok(u64::from(u.int_in_range(0_u8..=5)?).to_be_bytes());
    let (session, is_broker) = (session.to_be_bytes(), session != 0);
    let bytes = |u: &mut Unstructured<'_>, max: usize| {
        let len = u.int_in_range(0..=max)?;
        Ok(u.bytes(len.min(u.len()))?.to_vec())
    };
    // One value that is not valid is enough to refuse all pairs, so most values are.
    let is_wild = u.ratio(1, 64)?;
    match u.int_in_range(0..=15)? {
        0 if is_wild => put(pairs, vec![1], [u.arbitrary::<[u8; 8]>()?, u.arbitrary()?].concat()),
        0 => put(pairs, vec![1], [u64::from(u.arbitrary::<u32>()?).to_be_bytes(), number(u)?].concat()),
        1 if is_broker && u.arbitrary()? => {
            let qos = u.int_in_range(0..=2 + u8::from(is_wild))?;
            put(pairs, [&[0x18][..], &number(u)?].concat(), [&[qos | 4][..], b"c"].concat());
        }
        1 if is_broker => put(pairs, vec![2, u.int_in_range(1..=2)?], number(u)?.to_vec()),
        1 if is_wild => put(pairs, vec![2, 0], u.arbitrary::<[u8; 8]>()?.to_vec()),
        1 => put(pairs, vec![2, 0], number(u)?.to_vec()),
        2..=5 => {
            let (since, expires) = (u.arbitrary::<u32>()?.into(), *u.choose(&[u32::MAX, 0, 1, 1000])?);
            let since: u64 = if is_wild { u.arbitrary()? } else { since };
            let mut content = Vec::new();
            let payload = bytes(u, 8)?;
            let publish = Publish {
                delivery: Delivery::AtMostOnce,
                topic: TopicName::new("a").expect("a topic"),
                payload: &payload,
                ..Publish::default()
            };
            publish.encode(Version::V5, &mut content).expect("it can be encoded");
            let in_parts = u.ratio(1, 4)?;
            let size = if is_wild { u.arbitrary()? } else { content.len() as u32 };
            let mut value = [&since.to_be_bytes()[..], &expires.to_be_bytes(), &size.to_be_bytes()].concat();
            let message = number(u)?;
            if in_parts {
                let (first, second) = content.split_at(content.len() / 2);
                put(pairs, [&[0x11][..], &message, &[0, 0, 0, 0]].concat(), first.to_vec());
                put(pairs, [&[0x11][..], &message, &[0, 0, 0, 1]].concat(), second.to_vec());
            } else {
                pairs.retain(|key, _| !key.starts_with(&[&[0x11][..], &message].concat()));
                value.extend(content);
            }
            put(pairs, [&[0x10][..], &message].concat(), value);
        }
        6 => {
            let level = if is_wild { u.arbitrary()? } else { *u.choose(&[3, 4, 5, 5])? };
            put(pairs, [&[0x20][..], &session].concat(), [&[1, level, u.int_in_range(0..=1)?][..], b"c"].concat());
        }
        7 => {
            let (level, flags) = (*u.choose(&[3, 4, 5])?, u.int_in_range(0..=7 + u8::from(is_wild))?);
            let rest = u.arbitrary::<[u8; 24]>()?;
            put(pairs, [&[0x20][..], &session].concat(), [&[2, level, flags][..], &rest, b"c"].concat());
        }
        8 if is_wild => {
            let (will, flags, delay) = (number(u)?, u.int_in_range(0_u8..=8)?, u.arbitrary::<[u8; 4]>()?);
            put(pairs, [&[0x21][..], &session, &will].concat(), [&[flags][..], &delay].concat());
        }
        8 | 9 => {
            put(pairs, [&[0x23][..], &session, &[0, u.int_in_range(u8::from(!is_wild)..=9)?]].concat(), Vec::new())
        }
        10..=13 => {
            let token = u64::from(u.int_in_range(u8::from(!is_wild)..=6)?).to_be_bytes();
            let stage = u.int_in_range(0_u8..=3 + u8::from(is_wild))?;
            let qos = if stage == 2 { 2 } else { u.int_in_range(1..=2)? };
            let reported = if stage == 3 || (stage == 2 && u.arbitrary()?) { 8 } else { 0 };
            let flags = if is_wild { u.arbitrary()? } else { qos | reported | if u.arbitrary()? { 4 } else { 0 } };
            // Mostly different ones.
            let id = if is_wild { 1 } else { token[7] + 1 };
            let mut value = [&[flags, stage, 0, id][..], &number(u)?].concat();
            if stage == 2 {
                value.push(if is_wild { u.arbitrary()? } else { 0 });
                value.extend(u.arbitrary::<[u8; 4]>()?);
            }
            if u.ratio(1, 64)? {
                value.extend([0, 0, 0, u.arbitrary()?]);
            }
            put(pairs, [&[0x24][..], &session, &token].concat(), value);
        }
        14 if is_wild => {
            let (key, value) = (bytes(u, 20)?, bytes(u, 40)?);
            put(pairs, key, value);
        }
        15 if is_wild => {
            let (key, value) = (bytes(u, 20)?, bytes(u, 40)?);
            pairs.insert(key, value);
        }
        _ => {}
    }
    Ok(())
}

/// The number of operations, of packet identifiers, and of queued messages.
type Counts = (usize, usize, usize);

fn check_client(pairs: &Map, version: Version, now: Instant) {
    let config = ClientConfig {
        version,
        client_id: "c".into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(if version == Version::V5 { 100 } else { 0 }),
        keep_alive: None,
        ..ClientConfig::default()
    };
    let Ok(mut client) = ClientSession::restore(config.clone(), now, pairs) else { return };
    client.assert_consistent();
    let counts = |client: &mut ClientSession| -> Counts {
        while client.poll_timeout(now).is_some() {}
        (client.operations().count(), client.operations_in_flight(), client.queued())
    };
    let before = counts(&mut client);
    // A snapshot contains all that was restored.
    let mut copy = Pairs::default();
    copy.apply(&client.snapshot().expect("it is durable"));
    let mut again = ClientSession::restore(config, now, copy.iter()).expect("a snapshot can be read");
    assert_eq!(counts(&mut again), before, "the snapshot is complete");
    // It can be used like any other.
    if client.open(now).is_err() {
        return;
    }
    take(client.transmit());
    let mut connack = Vec::new();
    let session_present = version != Version::V31;
    ConnAck { session_present, ..ConnAck::default() }.encode(version, &mut connack).expect("it can be encoded");
    let mut input = &connack[..];
    while let Some(action) = client.poll(now, &mut input) {
        assert!(!matches!(action, client::Action::Close(_)), "{action:?}");
    }
    while let Some(batch) = client.changes() {
        client.committed(now, batch.number());
    }
    client.assert_consistent();
    check_sent(&take(client.transmit()), version, Limits::from_client());
    let tokens: Vec<_> = client.operations().map(|operation| operation.token).collect();
    for token in tokens {
        client.withdraw(now, token).expect("it has no outcome");
    }
    client.closed(now);
    assert_eq!(counts(&mut client).0, 0);
    client.assert_consistent();
}

fn check_server(pairs: &Map, now: Instant) {
    let config = ServerConfig { durable: true, ..ServerConfig::default() };
    let Ok(Some(mut server)) = ServerSession::restore(config.clone(), now, pairs) else { return };
    server.assert_consistent();
    let before = (server.operations().count(), server.packet_ids_in_use(), server.queued());
    let mut copy = Pairs::default();
    copy.apply(&server.snapshot().expect("it is durable"));
    let again = ServerSession::restore(config.clone(), now, copy.iter()).expect("a snapshot can be read");
    let again = again.expect("there is a session");
    assert_eq!((again.operations().count(), again.packet_ids_in_use(), again.queued()), before);
    let mut acceptor = Acceptor::new(config, now);
    let mut connect = Vec::new();
    let properties = ConnectProperties { session_expiry_interval: Some(10), ..ConnectProperties::default() };
    let client_identifier = "c".try_into().expect("a text");
    let packet = Connect { client_identifier, properties, ..Connect::default() };
    packet.encode(Version::V5, &mut connect).expect("it can be encoded");
    assert!(acceptor.poll(now, &mut &connect[..]).is_some());
    let mut resumed = acceptor.accept(now, server.clone(), Accept::default()).expect("it can be accepted");
    while resumed.poll_timeout(now).is_some() {}
    while let Some(batch) = resumed.changes() {
        resumed.committed(now, batch.number());
    }
    resumed.assert_consistent();
    check_sent(&take(resumed.transmit()), Version::V5, Limits::from_server());
    // It expires, and leaves nothing behind.
    server.end_session(now);
    for _ in 0..1000 {
        if server.poll_timeout(now).is_none() {
            break;
        }
    }
    server.assert_consistent();
    assert_eq!((server.operations().count(), server.queued()), (0, 0), "it has ended");
}

fn take(transmit: &mut mqtt_sansio::Transmit) -> Vec<u8> {
    transmit.copy_to_bytes(transmit.remaining()).to_vec()
}

/// All that is sent are valid packets.
fn check_sent(bytes: &[u8], version: Version, limits: Limits) {
    for packet in codec::packets(bytes, version, limits) {
        let packet = packet.expect("a valid packet");
        assert!(matches!(packet, Packet::ConnAck(_) | Packet::Publish(_) | Packet::PubRel(_)), "{packet:?}");
    }
}
