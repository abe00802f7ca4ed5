//! A durable broker whose store is damaged, or contains what no broker has stored: it is restored or there is an error that
//! names a key, and a broker that is restored goes on, forgets what means nothing, and never publishes a wrong message.

#[allow(dead_code)] // others use the rest
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{Connect, Delivery, PubRec, Publish, PublishProperties};
use mqtt_sansio::store::{Pairs, RestoreError};
use mqtt_sansio::{Message, QoS, Subscription, TopicName, Version};

use crate::broker::{Net, SECRET, config, message, named};
use crate::durable::world::{NOW, Random, World};
use crate::server;
use crate::server::{delivery, id, will};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

const TOPICS: [&str; 7] = ["a/1", "a/2", "a/3", "a/4", "r/1", "r/2", "will"];
const CLIENTS: [&str; 5] = ["c", "other", "with will", "gone", "late"];

/// What is published to a topic.
fn payload(topic: &str) -> String {
    match topic {
        "a/4" | "r/2" => topic.repeat(22_000),
        _ => topic.into(),
    }
}

/// A store with each kind of pair, and each stage of a delivery.
fn store() -> Map {
    store_with(true)
}

/// The same, with messages that are in parts or without.
fn store_with(has_parts: bool) -> Map {
    let mut net = Net::new(BrokerConfig { durable: true, ..config() });
    net.wait_until(NOW);
    let [peer, other] = ["c", "other"].map(|name| net.client(Version::V5, name));
    net.subscribe(peer, "a/#", QoS::ExactlyOnce);
    net.subscribe(other, "$share/g/a/#", QoS::AtLeastOnce);
    net.hold_acks(peer);
    net.hold_acks(other);
    for (topic, qos) in [("a/1", QoS::ExactlyOnce), ("a/2", QoS::ExactlyOnce), ("a/3", QoS::AtLeastOnce)] {
        net.publish_own(&Message::new(topic, topic).qos(qos));
    }
    net.send(peer, &[PubRec::new(id(1)).into()]);
    let publish = Publish { delivery: delivery(QoS::ExactlyOnce, 77), ..message("b", "", QoS::ExactlyOnce) };
    net.send(other, &[publish.into()]);
    net.lose(peer);
    if has_parts {
        net.publish_own(&Message::new("a/4", payload("a/4")).qos(QoS::ExactlyOnce));
        net.publish_own(&Message::new("r/2", payload("r/2")).retain(true));
    }
    net.retain(other, "r/1", "r/1", QoS::AtLeastOnce);
    net.connect(&Connect { will: Some(will("will", 9)), ..named(Version::V5, "with will") });
    // A session without a connection whose will has time.
    let gone = net.connect(&Connect { will: Some(will("will", 9)), ..named(Version::V5, "gone") });
    net.lose(gone);
    net.stored.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn restore(pairs: &Map) -> Result<Broker<AllowAll>, RestoreError> {
    Broker::restore(BrokerConfig::new(SECRET), AllowAll, NOW, pairs)
}

/// The pairs as those that are stored.
fn committed(pairs: &Map) -> Pairs {
    // A batch is the only way into pairs: a file of one batch is written.
    let mut body = Vec::new();
    for (key, value) in pairs {
        body.push(key.len() as u8);
        body.extend(key);
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(value);
    }
    let mut file = [&b"MQb1"[..], &1_u64.to_be_bytes(), &(body.len() as u32).to_be_bytes()].concat();
    file.extend(crc(&file).to_be_bytes());
    file.extend(body);
    file.extend(crc(&file).to_be_bytes());
    let mut pairs = Pairs::default();
    for batch in mqtt_sansio::store::batches(&file) {
        pairs.apply(&batch.unwrap());
    }
    pairs
}

/// CRC-32.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |value, byte| {
        (0..8).fold(value ^ u32::from(*byte), |value, _| value >> 1 ^ if value & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}

/// The restored broker goes on: clients get what is there for them, new ones publish and subscribe, no message is wrong, and
/// when all sessions and retained messages are gone, nothing is left in the store.
fn check(broker: Broker<AllowAll>, pairs: &Map, why: &dyn Fn() -> String, is_foreign: bool) {
    broker.assert_consistent();
    let mut world = World::new(BrokerConfig::new(SECRET));
    (world.broker, world.committed) = (broker, committed(pairs));
    world.settle();
    for client in ["publisher", "subscriber"] {
        let peer = world.add(ClientConfig { client_id: client.into(), ..ClientConfig::default() });
        world.connect(peer);
    }
    world.settle();
    let all =
        [("a/#", QoS::ExactlyOnce), ("z", QoS::ExactlyOnce), ("will", QoS::AtLeastOnce), ("r/#", QoS::AtMostOnce)];
    let all = all.map(|(filter, qos)| Subscription::new(filter, qos).unwrap());
    world.peers[1].session.subscribe(world.now, &all).unwrap();
    world.settle();
    for (payload, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
        world.peers[0].session.publish(world.now, &Message::new("z", payload).qos(qos)).unwrap();
    }
    world.settle();
    let (got, done) = (&world.peers[1].got, &world.peers[0].done);
    assert!(done.len() == 2 && done.iter().all(|(_, is_success)| *is_success), "{}", why());
    for payload in ["1", "2"] {
        let times = got.iter().filter(|message| message.payload == payload).count();
        assert_eq!(times, 1, "{}", why());
    }
    for message in got {
        let is_known = message.topic == "z" || message.payload == payload(&message.topic) || is_foreign;
        assert!(is_known, "{message:?}: {}", why());
    }
    // Then everything ends.
    let more = ["publisher", "subscriber"];
    for client in CLIENTS.iter().chain(&more) {
        world.broker.end_session(world.now, client);
        world.settle();
    }
    for topic in TOPICS.iter().chain(["t"].iter()) {
        world.broker.publish(world.now, &Message::new(topic, "").retain(true)).unwrap();
    }
    world.settle();
    let status = world.broker.status();
    assert_eq!((status.sessions, status.retained, status.stored), (0, 0, 0), "{}", why());
    // Parts are as large as they can be, so that their number follows from the size of a message.
    let is_kept = |key: &[u8]| key[0] <= 2 || (is_foreign && key[0] == 0x11);
    let left: Vec<_> = world.committed.iter().map(|(key, _)| key).filter(|key| !is_kept(key)).collect();
    assert!(left.is_empty(), "{left:02x?} is left: {}", why());
}

/// Restores pairs; if that is an error, it names a key. Returns whether there was none.
fn check_pairs(pairs: &Map, why: &dyn Fn() -> String) -> Result<(), RestoreError> {
    check(restore(pairs).inspect_err(check_error)?, pairs, why, false);
    Ok(())
}

fn check_error(error: &RestoreError) {
    assert!((1..=32).contains(&error.key().len()) && !error.to_string().is_empty());
}

/// The whole store, without damage.
#[test]
fn the_whole_store() {
    let pairs = store();
    let kinds: BTreeSet<u8> = pairs.keys().map(|key| key[0]).collect();
    assert_eq!(kinds, [0, 1, 2, 0x10, 0x11, 0x18, 0x20, 0x21, 0x22, 0x23, 0x24].into());
    check_pairs(&pairs, &|| "nothing is missing".into()).unwrap();
}

/// Every pair that is missing. A retained message or a will without its message, a message without a part, and pairs without
/// a format are errors; all else is a loss of what the pair says alone.
#[test]
fn every_missing_pair() {
    let pairs = store();
    for key in pairs.keys() {
        let mut rest = pairs.clone();
        rest.remove(key);
        let result = check_pairs(&rest, &|| format!("without {key:02x?}"));
        let refers = |kind: u8| pairs.contains_key(&[&[kind], &key[1..]].concat());
        let is_error = match key[0] {
            0 | 0x11 => true,
            0x10 => refers(0x18) || pairs.keys().any(|other| other[0] == 0x21 && other[9..] == key[1..]),
            _ => false,
        };
        assert_eq!(result.is_err(), is_error, "without {key:02x?}: {result:?}");
    }
}

/// Every two pairs that are missing.
#[test]
fn every_two_missing_pairs() {
    let pairs = store();
    let keys: Vec<_> = pairs.keys().filter(|key| key[0] > 2).collect();
    for (index, one) in keys.iter().enumerate() {
        for two in &keys[index + 1..] {
            let mut rest = pairs.clone();
            rest.remove(*one);
            rest.remove(*two);
            let _ = check_pairs(&rest, &|| format!("without {one:02x?} and {two:02x?}"));
        }
    }
}

/// Every changed bit, every value that is cut, and every value of another key is an error.
#[test]
fn every_changed_pair() {
    changed_pairs(&store_with(false), |_| 1);
}

/// The same with parts, of which some bytes are enough.
#[test]
fn changed_parts() {
    changed_pairs(&store(), |len| 1 + len / 3);
}

fn changed_pairs(pairs: &Map, step: impl Fn(usize) -> usize) {
    let is_error = |pairs: &Map, why: &dyn Fn() -> String| match restore(pairs) {
        Ok(_) => panic!("{} is not found", why()),
        Err(error) => check_error(&error),
    };
    for (key, value) in pairs {
        for bit in 0..key.len() * 8 {
            let mut changed = pairs.clone();
            let value = changed.remove(key).unwrap();
            let mut other = key.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            changed.insert(other, value);
            is_error(&changed, &|| format!("bit {bit} of the key {key:02x?}"));
        }
        for byte in (0..value.len()).step_by(step(value.len())) {
            for bit in 0..8 {
                let mut changed = pairs.clone();
                changed.get_mut(key).unwrap()[byte] ^= 1 << bit;
                is_error(&changed, &|| format!("bit {bit} of byte {byte} of {key:02x?}"));
            }
            let mut changed = pairs.clone();
            changed.get_mut(key).unwrap().truncate(byte);
            is_error(&changed, &|| format!("{key:02x?}, cut to {byte} bytes"));
        }
        for other in pairs.keys().filter(|other| *other != key) {
            let mut changed = pairs.clone();
            changed.insert(key.clone(), pairs[other].clone());
            is_error(&changed, &|| format!("{key:02x?} with the value of {other:02x?}"));
        }
        let mut more = pairs.clone();
        more.insert([&key[..], &[0]].concat(), value.clone());
        is_error(&more, &|| format!("{key:02x?}, with one byte more"));
    }
}

/// Puts a pair with a valid checksum.
fn put(pairs: &mut Map, key: &[&[u8]], value: &[u8]) {
    let key = key.concat();
    let checksum = crc(&[&key, value].concat());
    pairs.insert(key, [value, &checksum.to_be_bytes()].concat());
}

/// A number as it is in a key: mostly a small one.
fn number(random: &mut Random) -> [u8; 8] {
    let wild = [0, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX];
    match random.below(40) {
        0 => wild[random.below(6) as usize].to_be_bytes(),
        _ => (1 + random.below(6)).to_be_bytes(),
    }
}

/// A pair that could be one of a broker, with a valid checksum. `session` is the number of the last session.
fn add_pair(random: &mut Random, pairs: &mut Map) {
    let instants = [0, 1, NOW.as_micros(), u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let mut instant = || instants[random.below(6) as usize].to_be_bytes();
    let (one, two) = (instant(), instant());
    match random.below(20) {
        0 => put(pairs, &[&[1]], &[&NOW.as_micros().to_be_bytes()[..], &random.below(9).to_be_bytes()].concat()),
        1 => put(pairs, &[&[2, random.below(4) as u8]], &number(random)),
        2..=6 => {
            let properties = PublishProperties::default();
            let topic = ["t", "a/1", "a/2"][random.below(3) as usize];
            let publish = Publish {
                delivery: Delivery::AtMostOnce,
                topic: TopicName::new(topic).unwrap(),
                payload: topic.as_bytes(),
                properties,
                ..Publish::default()
            };
            let content = server::encoded(&publish.into(), Version::V5);
            let expires = [u32::MAX, u32::MAX, 0, 100][random.below(4) as usize];
            let head = [&one[..], &expires.to_be_bytes(), &(content.len() as u32).to_be_bytes()].concat();
            let message = number(random);
            pairs.retain(|key, _| !key.starts_with(&[&[0x11][..], &message].concat()));
            if random.below(4) == 0 {
                let (first, second) = content.split_at(content.len() / 2);
                put(pairs, &[&[0x11], &message, &[0, 0, 0, 0]], first);
                put(pairs, &[&[0x11], &message, &[0, 0, 0, 1]], second);
                put(pairs, &[&[0x10], &message], &head);
            } else {
                put(pairs, &[&[0x10], &message], &[&head[..], &content].concat());
            }
        }
        7 => put(pairs, &[&[0x18], &number(random)], [&b"\x01"[..], b"\x05late", b"\x06c"][random.below(3) as usize]),
        8..=10 => {
            let session = number(random);
            let level = [3, 4, 5, 5, 5][random.below(5) as usize];
            let flags = random.below(8) as u8;
            let client = CLIENTS[session[7] as usize % CLIENTS.len()];
            let intervals = [0, 100, u32::MAX].map(u32::to_be_bytes);
            let value = [
                &[2, level, flags][..],
                &intervals[random.below(3) as usize],
                &intervals[random.below(3) as usize],
                &one,
                &two,
                client.as_bytes(),
            ];
            put(pairs, &[&[0x20], &session], &value.concat());
        }
        11 => {
            let value = [&[random.below(3) as u8][..], &[0, 0, 0, 9]].concat();
            put(pairs, &[&[0x21], &number(random), &number(random)], &value);
        }
        12 => {
            let (filter, hash) = HASHES[random.below(2) as usize];
            let value = [&[random.below(16) as u8][..], &[0, 0, 0, random.below(3) as u8], filter.as_bytes()].concat();
            put(pairs, &[&[0x22], &number(random), &hash], &value);
        }
        13 | 14 => put(pairs, &[&[0x23], &number(random), &[0, 1 + random.below(9) as u8]], &[]),
        _ => {
            let (session, token) = (number(random), number(random));
            let stage = random.below(4) as u8;
            let qos = if stage == 2 { 2 } else { 1 + random.below(2) as u8 };
            let reported = if stage == 3 { 8 } else { 0 };
            let id = token[7].max(1);
            let mut value = [&[qos | reported, stage, 0, id][..], &number(random)].concat();
            if stage == 2 {
                value.push(0);
                value.extend((random.below(9) as u32).to_be_bytes());
            }
            put(pairs, &[&[0x24], &session, &token], &value);
        }
    }
}

static HASHES: LazyLock<[(&str, [u8; 8]); 2]> = LazyLock::new(|| ["a/#", "$share/g/a/#"].map(|it| (it, siphash(it))));

/// The number of a subscription in keys, as it is in a store.
fn siphash(filter: &str) -> [u8; 8] {
    let mut net = Net::new(BrokerConfig { durable: true, ..config() });
    let peer = net.client(Version::V5, "c");
    net.subscribe(peer, filter, QoS::AtMostOnce);
    let key = net.stored.iter().find(|(key, _)| key[0] == 0x22).unwrap().0;
    key[9..].try_into().unwrap()
}

/// Pairs with valid checksums that no broker stores, because they contradict each other or use a number that no broker uses,
/// are errors that name the pair.
#[test]
fn contradictions() {
    let n = |number: u64| number.to_be_bytes();
    let message = [&n(1)[..], &u32::MAX.to_be_bytes(), &7_u32.to_be_bytes(), b"\x30\x05\0\x01t\0t"].concat();
    let session = |expires_at: u64, will_at: u64| {
        [&[2, 5, 2][..], &[0, 0, 0, 100, 0, 0, 0, 100], &n(expires_at), &n(will_at), b"c"].concat()
    };
    let (late, will) = (NOW.as_micros() + 1_000_000, [0, 0, 0, 0, 9]);
    let queued = |message: u64| [&[1, 0, 0, 0][..], &n(message)].concat();
    let whole = |more: &dyn Fn(&mut Map)| {
        let mut pairs = Map::new();
        put(&mut pairs, &[&[0]], &[1]);
        for number in [1, 2] {
            put(&mut pairs, &[&[0x10], &n(number)], &message);
        }
        put(&mut pairs, &[&[0x20], &n(1)], &session(late, late));
        put(&mut pairs, &[&[0x21], &n(1), &n(1)], &will);
        put(&mut pairs, &[&[0x24], &n(1), &n(1)], &queued(2));
        more(&mut pairs);
        restore(&pairs).map(|broker| broker.assert_consistent()).map_err(|error| error.key().to_vec())
    };
    assert_eq!(whole(&|_| {}), Ok(()));
    type Key = Vec<u8>;
    let cases: [(Key, Vec<u8>); 9] = [
        // The message of a will is retained, or goes to a client, or is that of another will.
        ([&[0x18][..], &n(1)].concat(), vec![1]),
        ([&[0x24][..], &n(1), &n(2)].concat(), queued(1)),
        ([&[0x21][..], &n(2), &n(1)].concat(), will.to_vec()),
        // The will is due after the session has expired.
        ([&[0x20][..], &n(2)].concat(), session(late, late + 1)),
        // Numbers that are never used.
        ([&[0x10][..], &n(0)].concat(), message.clone()),
        ([&[0x20][..], &n(0)].concat(), session(late, late)),
        ([&[0x23][..], &n(0), &[0, 1]].concat(), Vec::new()),
        ([&[0x10][..], &n(1 << 63)].concat(), message.clone()),
        ([&[0x20][..], &n(u64::MAX)].concat(), session(late, late)),
    ];
    for (key, value) in cases {
        assert_eq!(whole(&|pairs| put(pairs, &[&key], &value)), Err(key));
    }
}

/// Pairs with valid checksums that no broker has stored: they contradict each other, refer to nothing, and have extreme
/// numbers and times.
#[test]
fn any_pairs() {
    let mut restored = 0;
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut pairs = Map::new();
        put(&mut pairs, &[&[0]], &[1]);
        for _ in 0..random.below(40) {
            add_pair(&mut random, &mut pairs);
        }
        let result = std::panic::catch_unwind(|| {
            let mut pairs = pairs.clone();
            loop {
                match restore(&pairs) {
                    Ok(broker) => return check(broker, &pairs, &|| format!("seed {seed}"), true),
                    Err(error) => {
                        check_error(&error);
                        assert!(pairs.remove(error.key()).is_some(), "{error:?} names a pair");
                    }
                }
            }
        });
        assert!(result.is_ok(), "seed {seed}: {pairs:02x?}");
        restored += 1;
    }
    assert!(restored > 100);
}
