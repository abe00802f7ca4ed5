//! Sessions and brokers restored from pairs and from files of batches that come from the fuzzer.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use bytes::Buf as _;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
use mqtt_sansio::client::{self, ClientConfig, ClientSession};
use mqtt_sansio::codec::{self, ConnAck, Connect, ConnectProperties, Delivery, Limits, Packet, Publish, Version};
use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::store::{Change, Pairs, batches};
use mqtt_sansio::{Instant, SessionExpiry, TopicName};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Restores a client and a server session, or a broker, from arbitrary pairs, or from an arbitrary file of batches.
pub fn restore(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let is_broker = choice & 0x80 != 0;
    let pairs = if choice & 1 == 0 { from_file(rest) } else { from_values(rest, is_broker) };
    let now = Instant::from_micros([0, 5, u64::MAX / 4][usize::from(choice >> 1) % 3]);
    if is_broker {
        return check_broker(pairs, now);
    }
    for version in Version::ALL {
        check_client(&pairs, version, now);
    }
    check_server(&pairs, now);
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

/// Pairs with likely keys and values, mostly with valid checksums.
///
/// A broker has many sessions, and retained messages and subscriptions besides.
fn from_values(data: &[u8], is_broker: bool) -> Map {
    let mut u = Unstructured::new(data);
    let mut pairs = Map::new();
    put(&mut pairs, vec![0], vec![1]);
    // Exhausted data yields zeros without end.
    while !u.is_empty() && add_pair(&mut u, &mut pairs, is_broker).is_ok() {}
    pairs
}

fn put(pairs: &mut Map, key: Vec<u8>, mut value: Vec<u8>) {
    let checksum = [&key[..], &value].concat().iter().fold(u32::MAX, |value, byte| {
        (0..8).fold(value ^ u32::from(*byte), |value, _| value >> 1 ^ if value & 1 == 1 { 0xEDB8_8320 } else { 0 })
    });
    value.extend((!checksum).to_be_bytes());
    pairs.insert(key, value);
}

fn add_pair(u: &mut Unstructured<'_>, pairs: &mut Map, is_broker: bool) -> Result<()> {
    let number = |u: &mut Unstructured<'_>| Ok(u64::from(u.int_in_range(u8::from(is_broker)..=5)?).to_be_bytes());
    let session = if is_broker { number(u)? } else { [0; 8] };
    if is_broker && u.ratio(1, 4)? {
        return add_pair_of_broker(u, pairs, session);
    }
    let bytes = |u: &mut Unstructured<'_>, max: usize| {
        let len = u.int_in_range(0..=max)?;
        Ok(u.bytes(len.min(u.len()))?.to_vec())
    };
    // One value that is not valid is enough to refuse all pairs, so most values are.
    let is_wild = u.ratio(1, 64)?;
    match u.int_in_range(0..=15)? {
        0 if is_wild => put(pairs, vec![1], [u.arbitrary::<[u8; 8]>()?, u.arbitrary()?].concat()),
        0 => put(pairs, vec![1], [u64::from(u.arbitrary::<u32>()?).to_be_bytes(), number(u)?].concat()),
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
        6 if !is_broker => {
            let level = if is_wild { u.arbitrary()? } else { *u.choose(&[3, 4, 5, 5])? };
            put(pairs, [&[0x20][..], &session].concat(), [&[1, level, u.int_in_range(0..=1)?][..], b"c"].concat());
        }
        7 => {
            let (level, flags) = (*u.choose(&[3, 4, 5])?, u.int_in_range(0..=7 + u8::from(is_wild))?);
            let mut rest = u.arbitrary::<[u8; 24]>()?;
            if !is_wild {
                // The will is due before the session expires, and a client has one session.
                rest[16] = rest[8] / 2;
            }
            let client_id = [b'c', if is_broker { session[7] } else { b'c' }];
            let client_id = &client_id[..1 + usize::from(is_broker)];
            put(pairs, [&[0x20][..], &session].concat(), [&[2, level, flags][..], &rest, client_id].concat());
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

/// Adds a pair that only a broker has.
fn add_pair_of_broker(u: &mut Unstructured<'_>, pairs: &mut Map, number: [u8; 8]) -> Result<()> {
    /// Filters, and their numbers in keys.
    const FILTERS: [(&[u8], u64); 3] =
        [(b"a", 0x4074_48D2_B89B_1813), (b"#", 0x2EE4_BDF1_D9AF_4602), (b"$share/g/a", 0x2358_D17D_A0E4_1D53)];
    match u.int_in_range(0..=3)? {
        0 => put(pairs, vec![2, u.int_in_range(1..=2)?], number.to_vec()),
        1 | 2 => {
            let value: &[u8] = u.choose(&[&b"\x01"[..], b"\x06c", b"\x04\xC3\xA9", b"\x00"])?;
            put(pairs, [&[0x18][..], &number].concat(), value.to_vec());
        }
        _ => {
            let (filter, hash) = u.choose(&FILTERS)?;
            let value = [&[u.int_in_range(0_u8..=15)?, 0, 0, 0, u.int_in_range(0..=2)?][..], filter].concat();
            put(pairs, [&[0x22][..], &number, &hash.to_be_bytes()].concat(), value);
        }
    }
    Ok(())
}

/// Restores a broker; a pair that is an error is left out, as a caller may do. The broker goes on, and leaves nothing behind
/// when its sessions have ended.
fn check_broker(pairs: Map, now: Instant) {
    let mut pairs = pairs;
    let config = BrokerConfig::new(Secret::new([7; 16]));
    let mut broker = loop {
        match Broker::restore(config.clone(), AllowAll, now, &pairs) {
            Ok(broker) => break broker,
            Err(error) => {
                if pairs.remove(error.key()).is_none() {
                    return; // there is no version of the format, or the key is too long
                }
            }
        }
    };
    broker.assert_consistent();
    let mut settle = |broker: &mut Broker<AllowAll>| {
        for _ in 0..1000 {
            let mut is_busy = false;
            while let Some(batch) = broker.changes() {
                for change in batch.changes() {
                    match change {
                        Change::Put { key, value, .. } => drop(pairs.insert(key.to_vec(), value.to_vec())),
                        Change::Remove { key } => drop(pairs.remove(key)),
                    }
                }
                broker.committed(now, batch.number());
                is_busy = true;
            }
            if broker.deadline().is_some_and(|deadline| deadline <= now) {
                broker.poll(now);
                is_busy = true;
            }
            if !is_busy {
                break;
            }
        }
        broker.assert_consistent();
        pairs.len()
    };
    settle(&mut broker);
    // Clients come back, and get what there is for them.
    for session in 1..=5 {
        let id = broker.open(now, Origin::UNKNOWN);
        let client_id = [b'c', session];
        let client_identifier = core::str::from_utf8(&client_id).expect("a text").try_into().expect("a text");
        let properties = ConnectProperties { session_expiry_interval: Some(10), ..ConnectProperties::default() };
        let mut connect = Vec::new();
        let packet = Connect { client_identifier, properties, clean_start: false, ..Connect::default() };
        packet.encode(Version::V5, &mut connect).expect("it can be encoded");
        broker.receive(now, id, &mut &connect[..]);
        settle(&mut broker);
        check_sent(&take(broker.transmit(id)), Version::V5, Limits::from_server());
        broker.end_session(now, core::str::from_utf8(&client_id).expect("a text"));
        settle(&mut broker);
        broker.closed(now, id);
    }
    settle(&mut broker);
    assert_eq!(broker.status().sessions, 0);
    let is_left = |key: &[u8]| matches!(key.first(), Some(0x20..=0x24));
    assert!(!pairs.keys().any(|key| is_left(key)), "nothing is left of the sessions");
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
