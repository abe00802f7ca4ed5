//! Limits of a durable broker: the size of batches and of changes that are not committed, and the time after a restart.

#[allow(dead_code)] // others use the rest
use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, Origin, Secret};
use mqtt_sansio::client::{ClientConfig, Resumption};
use mqtt_sansio::codec::PublishProperties;
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Instant, Message, PublishError, QoS, Subscription, Will};

use crate::durable::world::{Random, World};

fn config() -> BrokerConfig {
    BrokerConfig::new(Secret::new([7; 16]))
}

fn client(name: &str) -> ClientConfig {
    ClientConfig { client_id: name.into(), ..ClientConfig::default() }
}

/// A world with connected clients, with all changes committed.
fn world(config: BrokerConfig, names: &[&str]) -> World {
    let mut world = World::new(config);
    for name in names {
        let peer = world.add(client(name));
        world.connect(peer);
    }
    world.settle();
    world
}

fn subscribe(world: &mut World, peer: usize, filter: &str, qos: QoS) {
    world.peers[peer].session.subscribe(world.now, &[Subscription::new(filter, qos).unwrap()]).unwrap();
}

/// Lets the broker and its clients work until nothing moves, without a batch.
fn work(world: &mut World) {
    for _ in 0..1000 {
        let mut is_busy = false;
        for peer in 0..world.peers.len() {
            is_busy |= world.serve(peer, usize::MAX);
        }
        if world.broker.deadline().is_some_and(|deadline| deadline <= world.now) {
            world.broker.poll(world.now);
            is_busy = true;
        }
        if !is_busy {
            return;
        }
    }
    panic!("it comes to an end");
}

/// Input that was left because of changes that are not committed is taken when these have cancelled each other out: no batch
/// is handed out then, and nothing is committed. The driver is told that the connection takes input again.
#[test]
fn input_is_taken_again_when_changes_cancel_each_other_out() {
    let max_uncommitted = NonZeroU32::new(2000).unwrap();
    let mut world = world(BrokerConfig { max_uncommitted, ..config() }, &["publisher", "subscriber"]);
    subscribe(&mut world, 1, "a", QoS::AtLeastOnce);
    world.settle();
    // The first message takes a block of numbers.
    world.broker.publish(world.now, &Message::new("a", "0").qos(QoS::AtLeastOnce)).unwrap();
    world.settle();
    while world.broker.next_ready().is_some() {}
    // The embedding program waits for nothing.
    world.broker.publish(world.now, &Message::new("a", "x".repeat(3000)).qos(QoS::AtLeastOnce)).unwrap();
    world.peers[0].session.publish(world.now, &Message::new("b", "1").qos(QoS::AtLeastOnce)).unwrap();
    world.serve(0, usize::MAX);
    let publisher = world.peers[0].connection.unwrap();
    assert!(!world.broker.takes_input(publisher), "too much is not committed");
    while world.broker.next_ready().is_some() {}
    // The subscriber gets the message, and acknowledges it.
    while world.serve(1, usize::MAX) {}
    assert_eq!(world.broker.changes(), None, "what was stored is removed before it is committed");
    assert!(world.broker.takes_input(publisher));
    assert_eq!(world.broker.deadline(), Some(world.now));
    world.broker.poll(world.now);
    let ready: Vec<_> = std::iter::from_fn(|| world.broker.next_ready()).collect();
    assert!(ready.contains(&publisher), "the driver is told");
}

/// A batch has at most 1 MiB but for one step, however much is to be stored.
#[test]
fn batches_are_not_larger_than_one_mib_and_a_step() {
    const STEP: usize = 70_000;
    let max_uncommitted = NonZeroU32::MAX;
    for work_per_call in [1, 50, 2000, 100_000] {
        let work_per_call = NonZeroU32::new(work_per_call).unwrap();
        let config = BrokerConfig { max_uncommitted, work_per_call, ..config() };
        let mut world = world(config, &["publisher", "s1", "s2", "s3"]);
        for peer in 1..4 {
            subscribe(&mut world, peer, "a", QoS::ExactlyOnce);
        }
        world.settle();
        for peer in 1..4 {
            world.lose(peer);
        }
        world.settle();
        let payload = "x".repeat(60_000);
        for _ in 0..60 {
            for _ in 0..2 {
                let message = Message::new("a", payload.as_bytes()).qos(QoS::ExactlyOnce);
                world.peers[0].session.publish(world.now, &message).unwrap();
            }
            work(&mut world);
        }
        let mut total = 0;
        world.changes();
        for batch in &world.under_way {
            assert!(batch.size() <= 1024 * 1024 + STEP, "{} bytes", batch.size());
            total += batch.size();
        }
        assert!(total > 7_000_000, "{total} bytes");
        // What was handed out is restored, and what goes with the restart is not larger.
        world.commit(usize::MAX);
        world.broker.end_session(world.now, "s1");
        world.crash(0);
        world.changes();
        assert!(world.under_way.iter().all(|batch| batch.size() <= 1024 * 1024 + STEP));
    }
}

/// Garbage of a large session is removed after a restart in batches of at most 1 MiB, and the calls after that do no more
/// work than others.
#[test]
fn garbage_is_removed_in_batches() {
    let server = ServerConfig { max_stored: 10_000, ..ServerConfig::default() };
    let config = BrokerConfig { max_uncommitted: NonZeroU32::MAX, server, ..config() };
    let mut world = world(config, &["publisher", "reader"]);
    subscribe(&mut world, 1, "a", QoS::AtLeastOnce);
    world.settle();
    world.lose(1);
    for count in 0..9_000 {
        world.broker.publish(world.now, &Message::new("a", format!("{count}")).qos(QoS::AtLeastOnce)).unwrap();
        if count % 500 == 0 {
            world.settle();
        }
    }
    world.settle();
    // The session ends, and only its removal is stored.
    world.broker.end_session(world.now, "reader");
    let removal = world.broker.changes().unwrap();
    world.committed.apply(&removal);
    assert_eq!(world.committed.iter().filter(|(key, _)| key[0] == 0x20).count(), 1);
    let garbage = world.committed.iter().filter(|(key, _)| matches!(key[0], 0x10 | 0x24)).count();
    assert!(garbage > 10_000, "{garbage}");
    world.crash(0);
    assert_eq!(world.broker.status().stored, 0);
    world.changes();
    assert!(world.under_way.iter().all(|batch| batch.size() <= 1024 * 1024 + 1000));
    world.commit(usize::MAX);
    let done = world.broker.work_done();
    world.broker.poll(world.now);
    assert!(world.broker.work_done() - done <= 4000);
    world.settle();
    let left = world.committed.iter().filter(|(key, _)| matches!(key[0], 0x10 | 0x24)).count();
    assert_eq!(left, 0, "the garbage is removed");
}

/// With a tiny limit of what is not committed, honest clients make progress, whenever batches are handed out and committed.
#[test]
fn honest_clients_make_progress() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let max_uncommitted = NonZeroU32::new([1, 100, 3000][seed as usize % 3]).unwrap();
        let work_per_call = NonZeroU32::new([1, 2000][seed as usize % 2]).unwrap();
        let config = BrokerConfig { max_uncommitted, work_per_call, ..config() };
        let mut world = world(config, &["p0", "p1", "s0", "s1"]);
        for peer in [2, 3] {
            subscribe(&mut world, peer, "a", QoS::ExactlyOnce);
        }
        world.settle();
        for peer in [0, 1] {
            for number in 0..10 {
                let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                let payload = format!("{peer} {number}{}", "x".repeat(random.below(300) as usize));
                world.peers[peer].session.publish(world.now, &Message::new("a", payload).qos(qos)).unwrap();
            }
        }
        subscribe(&mut world, 0, "b", QoS::AtLeastOnce);
        // A driver that only does what it is told: it serves connections that are ready, and asks for batches.
        let mut is_done = false;
        for _ in 0..20_000 {
            match random.below(10) {
                0..5 => {
                    let peer = random.below(4) as usize;
                    world.serve(peer, usize::MAX);
                }
                5 | 6 => {
                    if world.under_way.len() < 2 {
                        world.under_way.extend(world.broker.changes());
                    }
                }
                7 | 8 => world.commit(1 + random.below(2) as usize),
                _ => world.broker.poll(world.now),
            }
            // A number that was confirmed before, or is not handed out, has no effect.
            if random.below(20) == 0 {
                world.broker.committed(world.now, 1);
            }
            let peers = &world.peers;
            is_done = peers[2..].iter().all(|peer| peer.got.len() == 20) && peers[0].done.len() == 11;
            if is_done {
                break;
            }
        }
        assert!(is_done, "seed {seed}");
        world.broker.assert_consistent();
    }
}

const YEAR: u64 = 365 * 24 * 3600;

fn later(from: Instant, seconds: u64) -> Instant {
    Instant::from_micros(from.as_micros() + seconds * 1_000_000)
}

fn earlier(from: Instant, seconds: u64) -> Instant {
    Instant::from_micros(from.as_micros() - seconds * 1_000_000)
}

/// A store with a session of a day that was connected and has a will with a delay of ten seconds, one without a connection for
/// an hour with a message that lives for two days and one that lives for an hour, and retained messages of a day and without
/// a limit.
fn store_with_times() -> World {
    let mut world = World::new(config());
    let will = Will { topic: "will".into(), qos: QoS::AtLeastOnce, delay_interval: 10, ..Will::default() };
    world.add(ClientConfig { will: Some(Box::new(will)), ..client("connected") });
    world.add(client("cut"));
    world.connect(0);
    world.connect(1);
    world.settle();
    subscribe(&mut world, 1, "a", QoS::AtLeastOnce);
    subscribe(&mut world, 1, "will", QoS::AtLeastOnce);
    world.settle();
    world.lose(1);
    for (payload, lifetime) in [("short", 3600), ("long", 2 * 24 * 3600)] {
        for (topic, retain) in [("a", false), ("r", true)] {
            let topic = if retain { format!("{topic}/{payload}") } else { topic.into() };
            let message_expiry_interval = Some(lifetime);
            let properties = PublishProperties { message_expiry_interval, ..PublishProperties::default() };
            let message = Message::new(&topic, payload).qos(QoS::AtLeastOnce).retain(retain);
            world.broker.publish(world.now, &message.properties(properties)).unwrap();
        }
    }
    world.now = later(world.now, 1800);
    // Time is stored with a batch.
    world.broker.publish(world.now, &Message::new("r/ever", "ever").retain(true)).unwrap();
    world.settle();
    world
}

/// The broker is restored at this time of a new process.
fn restart(world: &mut World, now: Instant) {
    world.now = now;
    world.crash(0);
    // Nothing happens in the restart itself but what is due.
    world.settle();
}

fn counts(world: &World) -> (u32, u32, u64) {
    let status = world.broker.status();
    (status.sessions, status.retained, status.stored)
}

/// The clock of the new process is right: half an hour has passed for all that was counted before.
#[test]
fn times_go_on_when_the_clock_is_equal() {
    let mut world = store_with_times();
    let now = world.now;
    restart(&mut world, now);
    assert_eq!(counts(&world), (2, 3, 2));
    check_times(world);
}

/// The clock of the new process is 56 years behind: time goes on from the last batch.
#[test]
fn times_go_on_when_the_clock_is_56_years_behind() {
    let mut world = store_with_times();
    let now = earlier(world.now, 56 * YEAR);
    restart(&mut world, now);
    assert_eq!(counts(&world), (2, 3, 2));
    // A second restart, with the clock still behind.
    restart(&mut world, later(now, 0));
    assert_eq!(counts(&world), (2, 3, 2));
    check_times(world);
}

/// After the restart: the will comes ten seconds later, short messages expire half an hour later, the session without a
/// connection 23.5 hours later, the other one after a day.
fn check_times(mut world: World) {
    let start = world.now;
    let at = |world: &mut World, seconds| {
        world.now = later(start, seconds);
        world.settle();
    };
    at(&mut world, 9);
    assert_eq!(counts(&world), (2, 3, 2));
    at(&mut world, 10);
    assert_eq!(counts(&world), (2, 3, 3), "the will is published ten seconds after the restart");
    at(&mut world, 1799);
    assert_eq!(counts(&world).1, 3);
    at(&mut world, 1800);
    assert_eq!(counts(&world).1, 2, "a retained message expires half an hour after the restart");
    at(&mut world, 86_400 - 1801);
    assert_eq!(counts(&world).0, 2);
    at(&mut world, 86_400 - 1800);
    assert_eq!(counts(&world).0, 1, "the session that was cut before expires when it would have");
    at(&mut world, 86_399);
    assert_eq!(counts(&world).0, 1);
    at(&mut world, 86_400);
    assert_eq!(counts(&world).0, 0, "the session that was connected expires a day after the restart");
    at(&mut world, 2 * 86_400);
    assert_eq!(counts(&world), (0, 1, 0));
}

/// The clock of the new process is 56 years ahead: all that had a time has expired, but for the session that was connected,
/// which counts as cut at the restart; so does the delay of its will.
#[test]
fn what_has_a_time_expires_when_the_clock_is_56_years_ahead() {
    let mut world = store_with_times();
    let now = later(world.now, 56 * YEAR);
    restart(&mut world, now);
    assert_eq!(counts(&world), (1, 1, 0));
    let peer = world.add(client("witness"));
    world.connect(peer);
    subscribe(&mut world, peer, "#", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.peers[peer].got.len(), 1, "a retained message without a limit");
    world.now = later(now, 9);
    world.settle();
    assert_eq!(world.peers[peer].got.len(), 1);
    world.now = later(now, 10);
    world.settle();
    assert_eq!(world.peers[peer].got.len(), 2, "the will");
    world.now = later(now, 86_399);
    world.settle();
    assert_eq!(counts(&world).0, 2);
    world.now = later(now, 86_400);
    world.settle();
    assert_eq!(counts(&world).0, 1);
}

/// A message in the queue of a client that comes back an hour later has an hour less to live, whatever the clock says.
#[test]
fn time_in_the_queue_counts_across_a_restart() {
    for shift in [-56, 0] {
        let mut world = store_with_times();
        let now = if shift < 0 { earlier(world.now, 56 * YEAR) } else { world.now };
        restart(&mut world, now);
        world.now = later(now, 1799);
        world.connect(1);
        world.settle();
        let payloads: Vec<_> = world.peers[1].got.iter().map(|message| message.payload.clone()).collect();
        assert_eq!(payloads, ["short", "long", ""], "{shift}");
        let mut world = store_with_times();
        restart(&mut world, now);
        world.now = later(now, 1800);
        world.connect(1);
        world.settle();
        let payloads: Vec<_> = world.peers[1].got.iter().map(|message| message.payload.clone()).collect();
        assert_eq!(payloads, ["long", ""], "{shift}");
    }
}

/// Retained messages of QoS 0 are stored too: their publisher does not pass the limit of what is not committed either.
#[test]
fn retained_messages_of_qos_0_stop_above_the_limit() {
    let max_uncommitted = NonZeroU32::new(10_000).unwrap();
    let mut world = world(BrokerConfig { max_uncommitted, ..config() }, &["publisher"]);
    for number in 0..1000 {
        let message = Message::new("a", format!("{number:01000}")).retain(true);
        world.peers[0].session.publish(world.now, &message).unwrap();
        work(&mut world);
    }
    assert!(!world.broker.takes_input(world.peers[0].connection.unwrap()));
    world.changes();
    let size: usize = world.under_way.iter().map(|batch| batch.size()).sum();
    assert!(size < 20_000, "{size} bytes");
    // A message that is not retained is taken, and what was left comes with the commit.
    world.settle();
    let got = world.committed.iter().find(|(key, _)| key[0] == 0x10).unwrap().1;
    assert!(String::from_utf8_lossy(got).contains("0999"), "the last message is retained");
}

/// Clients that connect and go again do not pass the limit of what is not committed, with the wills that are stored of them.
#[test]
fn clients_that_come_and_go_stop_above_the_limit() {
    let max_uncommitted = NonZeroU32::new(10_000).unwrap();
    let mut world = World::new(BrokerConfig { max_uncommitted, ..config() });
    let payload = "x".repeat(1000);
    for number in 0..300 {
        let will =
            Will { topic: "w".into(), payload: payload.as_bytes().into(), delay_interval: 1000, ..Will::default() };
        let peer = world.add(ClientConfig { will: Some(Box::new(will)), ..client(&number.to_string()) });
        world.connect(peer);
        world.serve(peer, usize::MAX);
        world.lose(peer);
    }
    world.changes();
    let size: usize = world.under_way.iter().map(|batch| batch.size()).sum();
    assert!(size < 50_000, "{size} bytes");
}

/// CONNECT waits above the limit, however long that takes, and is taken when changes are committed. A client that has sent
/// nothing is given up as ever. Messages of the embedding program that would be stored are refused.
#[test]
fn connect_waits_above_the_limit() {
    let max_uncommitted = NonZeroU32::new(2000).unwrap();
    let mut world = world(BrokerConfig { max_uncommitted, ..config() }, &["subscriber"]);
    subscribe(&mut world, 0, "a", QoS::AtLeastOnce);
    world.settle();
    let stored = Message::new("a", "x".repeat(3000)).qos(QoS::AtLeastOnce);
    world.broker.publish(world.now, &stored).unwrap();
    assert!(matches!(world.broker.publish(world.now, &stored), Err(PublishError::QueueFull)));
    let retained = Message::new("a", "x").retain(true);
    assert!(matches!(world.broker.publish(world.now, &retained), Err(PublishError::QueueFull)));
    world.broker.publish(world.now, &Message::new("a", "x")).unwrap();

    let late = world.add(ClientConfig { connect_timeout: None, ..client("late") });
    let gone = world.add(client("gone"));
    for peer in [late, gone] {
        world.connect(peer);
        world.serve(peer, usize::MAX);
    }
    let silent = world.broker.open(world.now, Origin::UNKNOWN);
    let id = world.peers[late].connection.unwrap();
    assert!(!world.broker.takes_input(id), "CONNECT may be stored");
    world.lose(gone);
    for _ in 0..120 {
        world.now = Instant::from_micros(world.now.as_micros() + 1_000_000);
        world.broker.poll(world.now);
        world.broker.assert_consistent();
    }
    assert!(!world.broker.is_over(id) && world.broker.is_over(silent));
    assert_eq!(world.broker.status().sessions, 1);

    while world.broker.next_ready().is_some() {}
    world.changes();
    world.commit(usize::MAX);
    let ready: Vec<_> = std::iter::from_fn(|| world.broker.next_ready()).collect();
    assert!(ready.contains(&id) && world.broker.takes_input(id), "the driver comes with CONNECT");
    world.broker.poll(world.now);
    world.settle();
    assert_eq!(world.peers[late].resumptions, [Resumption::New]);
    world.broker.publish(world.now, &stored).unwrap();
}
