//! What is left of a session whose store is damaged: a file of batches that is cut, changed or mixed up, and pairs that
//! are missing, changed or exchanged. There is never a panic, and never a wrong message.

#![cfg(feature = "alloc")]

use std::collections::BTreeSet;

use bytes::Buf;
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::{self, ConnAck, Limits, Packet};
use mqtt_sansio::store::{Batch, DamageKind, Pairs, RestoreError, batches};
use mqtt_sansio::{Instant, Message, QoS, SessionExpiry, Version};

const NOW: Instant = Instant::from_micros(1_780_000_000_000_000);

fn config() -> ClientConfig {
    ClientConfig {
        client_id: "c".into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(100),
        durable: true,
        ..ClientConfig::default()
    }
}

/// A client with messages in all stages, and the batches of its life.
fn batches_of_a_client() -> Vec<Batch> {
    let mut client = ClientSession::new(config());
    let mut all = Vec::new();
    let mut store = |client: &mut ClientSession| {
        while let Some(batch) = client.changes() {
            client.committed(NOW, batch.number());
            all.push(batch);
        }
        let sent = client.transmit().remaining();
        client.transmit().advance(sent);
    };
    let publish = |client: &mut ClientSession, payload: &str, qos| {
        client.publish(NOW, &Message::new("topic", payload).qos(qos).retain(payload.len() == 3)).unwrap();
    };
    let receive = |client: &mut ClientSession, mut input: &[u8]| {
        while client.poll(NOW, &mut input).is_some() {}
    };
    client.open(NOW).unwrap();
    receive(&mut client, b"\x20\x03\x00\x00\x00");
    publish(&mut client, "m-1", QoS::ExactlyOnce);
    publish(&mut client, "m-22", QoS::ExactlyOnce);
    store(&mut client);
    publish(&mut client, "m-3", QoS::AtLeastOnce);
    receive(&mut client, b"\x50\x02\x00\x02\x34\x07\x00\x01t\x00\x07\x00x"); // PUBREC, PUBLISH of QoS 2
    store(&mut client);
    publish(&mut client, "m-44", QoS::ExactlyOnce);
    store(&mut client);
    receive(&mut client, b"\x50\x02\x00\x01"); // PUBREC
    store(&mut client);
    client.closed(NOW);
    publish(&mut client, "m-5", QoS::AtLeastOnce);
    store(&mut client);
    all
}

const PAYLOADS: [&str; 5] = ["m-1", "m-22", "m-3", "m-44", "m-5"];

/// Restores a client, and returns what it sends on its next connection: PUBRELs, and messages with QoS, RETAIN and DUP.
fn resumed(pairs: &Pairs) -> Result<BTreeSet<String>, RestoreError> {
    let mut client = ClientSession::restore(config(), NOW, pairs.iter())?;
    client.assert_consistent();
    client.open(NOW).unwrap();
    let sent = client.transmit().remaining();
    client.transmit().advance(sent);
    let mut connack = Vec::new();
    ConnAck { session_present: true, ..ConnAck::default() }.encode(Version::V5, &mut connack).unwrap();
    let mut input = &connack[..];
    while client.poll(NOW, &mut input).is_some() {}
    while let Some(batch) = client.changes() {
        client.committed(NOW, batch.number());
    }
    client.assert_consistent();
    let transmit = client.transmit();
    let bytes = transmit.copy_to_bytes(transmit.remaining());
    let packets = codec::packets(&bytes, Version::V5, Limits::from_client()).map(|packet| match packet.unwrap() {
        Packet::Publish(publish) => {
            let payload = std::str::from_utf8(publish.payload).unwrap();
            assert!(PAYLOADS.contains(&payload) && publish.topic == "topic", "a wrong message: {publish:?}");
            assert_eq!(publish.retain, payload.len() == 3, "a wrong message: {publish:?}");
            let qos = if matches!(payload, "m-3" | "m-5") { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            assert_eq!(publish.delivery.qos(), qos, "a wrong message: {publish:?}");
            format!("{payload} {:?}", publish.delivery)
        }
        Packet::PubRel(pubrel) => format!("PUBREL {}", pubrel.id),
        other => panic!("{other:?}"),
    });
    Ok(packets.collect())
}

/// The batches of a file, up to its end or its damage.
fn read(file: &[u8]) -> (Vec<Batch>, usize, Option<DamageKind>) {
    let mut batches = batches(file);
    let (mut read, mut damage) = (Vec::new(), None);
    for batch in &mut batches {
        match batch {
            Ok(batch) => read.push(batch),
            Err(error) => {
                assert_eq!(error.at, read.iter().map(|batch: &Batch| batch.to_bytes().len()).sum::<usize>());
                damage = Some(error.kind);
            }
        }
    }
    (read, batches.whole_len(), damage)
}

fn file(batches: &[Batch]) -> Vec<u8> {
    batches.iter().flat_map(Batch::to_bytes).collect()
}

/// Every prefix of a file is what a crash may leave: all whole batches are there, and what follows is cut off.
#[test]
fn every_prefix_of_a_file() {
    let all = batches_of_a_client();
    assert_eq!(all.len(), 5);
    let whole = file(&all);
    let mut sent = Vec::new();
    for len in 0..=whole.len() {
        let (read, whole_len, damage) = read(&whole[..len]);
        assert_eq!(damage, None, "{len} bytes");
        assert_eq!(read[..], all[..read.len()]);
        assert_eq!(whole_len, file(&read).len());
        assert!(read.len() == all.len() || len < file(&all[..=read.len()]).len());
        if sent.len() == read.len() {
            let mut pairs = Pairs::default();
            read.iter().for_each(|batch| pairs.apply(batch));
            sent.push(resumed(&pairs).unwrap());
        }
    }
    let last: Vec<_> = sent.last().unwrap().iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(last, ["PUBREL", "PUBREL", "m-3", "m-44", "m-5"]);
}

/// A file with one changed bit is damaged, or the change is in the last batch, which is then one that was not written to
/// its end. No batch is read with another content.
#[test]
fn every_changed_bit_of_a_file() {
    let all = batches_of_a_client();
    let whole = file(&all);
    let last = file(&all[..all.len() - 1]).len();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let (read, _, damage) = read(&changed);
            assert_eq!(read[..], all[..read.len()], "byte {at}, bit {bit}");
            match damage {
                Some(DamageKind::Header) => assert!(at < last + 20),
                Some(DamageKind::Body) => assert!(at < last),
                Some(other) => panic!("byte {at}, bit {bit}: {other}"),
                None => assert!(read.len() == all.len() - 1 && at >= last + 20, "byte {at}, bit {bit}"),
            }
        }
    }
}

/// Batches that are missing, repeated or in another order, and bytes of something else.
#[test]
fn batches_that_are_mixed_up() {
    let all = batches_of_a_client();
    for number in 1..all.len() - 1 {
        let without = [&all[..number], &all[number + 1..]].concat();
        assert_eq!(read(&file(&without)).2, Some(DamageKind::Gap));
        let twice = [&all[..=number], &all[number..]].concat();
        assert_eq!(read(&file(&twice)).2, Some(DamageKind::Gap));
        let mut swapped = all.clone();
        swapped.swap(number, number + 1);
        assert_eq!(read(&file(&swapped)).2, Some(DamageKind::Gap));
    }
    // A file may begin with any number.
    assert_eq!(read(&file(&all[2..])).2, None);
    for bytes in [&b"hello"[..], &[0; 4], &[0; 100], &[0xFF; 3]] {
        assert_eq!(read(bytes).2, Some(DamageKind::Header));
        assert_eq!(read(&[&file(&all), bytes].concat()).2, Some(DamageKind::Header));
    }
    let error = batches(&[0; 100]).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "header of a batch is damaged (at byte 0, the first batch)");
}

type Pair = (Vec<u8>, Vec<u8>);

/// Restores a client from damaged pairs. Whatever is sent then is sent by the undamaged client, too.
fn check(pairs: &[Pair], whole: &BTreeSet<String>, why: &str) -> bool {
    let restored = ClientSession::restore(config(), NOW, pairs.iter().map(|(key, value)| (key, value)));
    if let Err(error) = restored {
        assert!(error.key().len() <= 32 && !error.to_string().is_empty());
        return false;
    }
    let mut client = restored.unwrap();
    let mut copy = Pairs::default();
    copy.apply(&client.snapshot().unwrap());
    let sent = resumed(&copy).unwrap_or_else(|error| panic!("{why}: {error}"));
    for text in &sent {
        // A message may have lost its packet identifier and its DUP, if the record of its delivery is gone.
        let name = text.split(' ').next().unwrap();
        assert!(whole.iter().any(|known| known.starts_with(name)), "{why}: {text} of {whole:?}");
    }
    true
}

fn pairs_of_a_client() -> (Vec<Pair>, BTreeSet<String>) {
    let mut pairs = Pairs::default();
    batches_of_a_client().iter().for_each(|batch| pairs.apply(batch));
    let whole = resumed(&pairs).unwrap();
    (pairs.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(), whole)
}

/// Every pair that is missing: what refers to it is ignored. The version of the format cannot be missing.
#[test]
fn every_missing_pair() {
    let (pairs, whole) = pairs_of_a_client();
    for missing in 0..pairs.len() {
        let mut rest = pairs.clone();
        let (key, _) = rest.remove(missing);
        let is_restored = check(&rest, &whole, &format!("without {key:02x?}"));
        assert_eq!(is_restored, key != [0], "{key:02x?}");
    }
    assert!(check(&[], &whole, "nothing"));
}

/// Every changed bit of a pair, every value that is cut, and every value that belongs to another key is found.
#[test]
fn every_changed_pair() {
    let (pairs, whole) = pairs_of_a_client();
    assert!(pairs.len() > 10);
    for index in 0..pairs.len() {
        let (key, value) = &pairs[index];
        for bit in 0..value.len() * 8 {
            let mut changed = pairs.clone();
            changed[index].1[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&changed, &whole, ""), "{key:02x?}, bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut changed = pairs.clone();
            changed[index].0[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&changed, &whole, ""), "{key:02x?}, bit {bit} of the key");
        }
        for len in 0..value.len() {
            let mut changed = pairs.clone();
            changed[index].1.truncate(len);
            assert!(!check(&changed, &whole, ""), "{key:02x?}, cut to {len} bytes");
        }
        for other in (0..pairs.len()).filter(|&other| other != index) {
            let mut changed = pairs.clone();
            changed[index].1 = pairs[other].1.clone();
            assert!(!check(&changed, &whole, ""), "{key:02x?} with the value of another key");
        }
    }
    let mut unordered = pairs.clone();
    unordered.swap(1, 2);
    assert!(!check(&unordered, &whole, ""));
    let mut twice = pairs.clone();
    twice.insert(3, pairs[3].clone());
    assert!(!check(&twice, &whole, ""));
}
