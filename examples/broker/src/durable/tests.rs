use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Buf as _;
use mqtt_sansio::broker::{BrokerConfig, Secret};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Resumption};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Instant, Message, QoS, SessionExpiry, StdClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::access::Rights;
use crate::driver::Driver;
use crate::listener::Transport;
use crate::store::disk::BadFile;
use crate::store::file::DatabaseFile;
use crate::store::power::PowerFile;
use crate::store::testing::Random;
use crate::store::{Change, Pair};
use crate::tests::{PATIENCE, limits, listen};

/// The pause after an attempt to write to a full disk.
const RETRY: Duration = Duration::from_millis(1);

/// How long changes wait for which no client waits.
const LINGER: Duration = Duration::from_millis(100);

type End = JoinHandle<Result<(), StoreError>>;

/// Runs a test with a broker on a database in a file, and closes the database.
fn with<F: Future<Output = ()>>(
    file: &(impl DatabaseFile + Clone),
    test: impl FnOnce(SocketAddr, End) -> F,
) -> Result<(), StoreError> {
    with_store(RedbStore::open_file(file.clone())?, LINGER, file.path(), test)
}

fn with_store<F: Future<Output = ()>>(
    store: impl Store,
    linger: Duration,
    path: &Path,
    test: impl FnOnce(SocketAddr, End) -> F,
) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = StdClock::new();
    let access = Access::new(Rights::default());
    let broker = restore(&store, path, BrokerConfig::new(Secret::new([7; 16])), access, clock.now())?;
    let committer = Committer::start_with(store, Sync::Always, linger, RETRY).unwrap();
    let driver = Rc::new(Driver::durable(broker, limits(), clock, committer));
    let run = async {
        let end = tokio::task::spawn_local(Driver::run(Rc::clone(&driver)));
        let address = listen(&driver, Transport::Tcp).await;
        tokio::time::timeout(PATIENCE, test(address, end)).await.unwrap();
        driver.broker.borrow().assert_consistent();
    };
    runtime.block_on(LocalSet::new().run_until(run));
    runtime.shutdown_background();
    driver.close()
}

/// A client whose session survives the broker: the process of the client goes on.
struct Client {
    session: ClientSession,
    /// How often each message has arrived.
    received: BTreeMap<String, usize>,
    /// Number of operations that are complete.
    done: usize,
    connections: usize,
}

/// The clients need no time.
const NOW: Instant = Instant::EPOCH;

impl Client {
    fn new(client_id: &str) -> Self {
        let session = ClientSession::new(ClientConfig {
            client_id: client_id.into(),
            clean_start: false,
            session_expiry_interval: SessionExpiry::after(3600),
            keep_alive: None,
            max_in_flight: 5.try_into().unwrap(),
            ..ClientConfig::default()
        });
        Self { session, received: BTreeMap::new(), done: 0, connections: 0 }
    }

    fn subscriber(client_id: &str, filter: &str) -> Self {
        let mut client = Self::new(client_id);
        client.session.subscribe(NOW, &[Subscription::new(filter, QoS::ExactlyOnce).unwrap()]).unwrap();
        client
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        self.session.publish(NOW, &Message::new(topic, payload).qos(qos).retain(retain)).unwrap();
    }

    /// Connects, and goes on until the condition holds or the connection has ended.
    async fn run(&mut self, address: SocketAddr, is_done: impl Fn(&Self) -> bool) {
        let Ok(mut stream) = TcpStream::connect(address).await else { return };
        self.session.open(NOW).unwrap();
        let mut input = Vec::new();
        loop {
            let mut rest = &input[..];
            while let Some(action) = self.session.poll(NOW, &mut rest) {
                match action {
                    Action::Connected(connected) => {
                        let expected = if self.connections == 0 { Resumption::New } else { Resumption::Resumed };
                        assert_eq!(connected.session, expected, "the session of an acknowledged connection is there");
                        self.connections += 1;
                    }
                    Action::Message(message) => {
                        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                        *self.received.entry(payload).or_default() += 1;
                    }
                    Action::Done { outcome, .. } => {
                        assert!(outcome.is_success(), "{outcome:?}");
                        self.done += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            input.drain(..input.len() - rest.len());
            while self.session.transmit().has_remaining() {
                if stream.write_buf(self.session.transmit()).await.is_err() {
                    return;
                }
            }
            if is_done(self) {
                return;
            }
            if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
                return;
            }
        }
    }
}

/// The power fails while messages of each QoS, retained ones too, are on their way; again and again, until all have arrived.
#[test]
fn acknowledged_messages_survive_a_loss_of_power() {
    const COUNT: usize = 40;
    let (mut losses, mut failed_opens) = (0, 0);
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut file = PowerFile::new();
        let mut reader = Client::subscriber("reader", "load/#");
        with(&file, |address, _| reader.run(address, |it| it.done == 1)).unwrap();
        reader.session.closed(NOW);
        let mut publishers = [Client::new("one"), Client::new("two")];
        for number in 0..COUNT {
            for (index, publisher) in publishers.iter_mut().enumerate() {
                let qos = if number % 3 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                publisher.publish(&format!("load/{index}"), &format!("{index} {number} {}", qos.value()), qos, false);
                publisher.publish(&format!("kept/{index}/{}", number % 3), &format!("{index} {number}"), qos, true);
            }
        }
        let all = |it: &Client| it.received.len() == 2 * COUNT;
        let acknowledged = |it: &Client| it.done == 2 * COUNT;
        while !(all(&reader) && publishers.iter().all(acknowledged)) {
            // Also while the database is opened.
            let end = [20, 80, 300][random.below(3)];
            file.fail_after(random.below(end));
            let [one, two] = &mut publishers;
            let is_over = Cell::new(false);
            let ended = with(&file, async |address, end| {
                let clients = async {
                    tokio::join!(
                        reader.run(address, all),
                        one.run(address, acknowledged),
                        two.run(address, acknowledged)
                    );
                };
                tokio::select! {
                    () = clients => is_over.set(true),
                    end = end => assert!(end.unwrap().is_err(), "the power has failed"),
                }
            });
            failed_opens += usize::from(ended.is_err() && !is_over.get());
            for client in [&mut reader, one, two] {
                client.session.closed(NOW);
            }
            losses += 1;
            file = file.after_power_failure(&mut random);
        }
        let twice = |(payload, count): &(&String, &usize)| **count > 1 && payload.ends_with(" 2");
        assert_eq!(reader.received.iter().find(twice), None, "seed {seed}: once");
        let mut late = Client::subscriber("late", "kept/#");
        with(&file, |address, _| late.run(address, |it| it.received.len() == 6)).unwrap();
        let last = (COUNT - 3..COUNT).flat_map(|number| [0, 1].map(|index| (format!("{index} {number}"), 1)));
        assert_eq!(late.received, last.collect(), "seed {seed}: the last message of each topic is retained");
    }
    // Otherwise the power has not failed where it matters.
    assert!(losses > 40 && failed_opens > 5, "{losses} {failed_opens}");
}

/// A client of 5.0 that sends bytes, and waits for others.
struct Raw(TcpStream);

const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";
const PING: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";
const PUBACK: &[u8] = b"\x40\x02\x00\x01";

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let mut client = Self(TcpStream::connect(address).await.unwrap());
        client.0.write_all(CONNECT).await.unwrap();
        let mut connack = [0; 2];
        client.0.read_exact(&mut connack).await.unwrap();
        let mut rest = vec![0; connack[1].into()];
        client.0.read_exact(&mut rest).await.unwrap();
        client
    }

    async fn publish_retained(&mut self, payload: &[u8]) {
        let message = [b"\x00\x01t\x00\x01\x00", payload].concat();
        self.0.write_all(&[&[0x33, message.len() as u8][..], &message].concat()).await.unwrap();
    }

    async fn expect(&mut self, expected: &[u8]) {
        let mut got = Vec::new();
        while got.len() < expected.len() && expected.starts_with(&got) {
            got.push(self.0.read_u8().await.unwrap());
        }
        assert_eq!(got, expected);
    }
}

#[test]
fn clients_wait_while_the_disk_is_full() {
    let file = BadFile::new();
    with(&file, async |address, _| {
        let mut client = Raw::connect(address).await;
        file.set_room(0);
        client.publish_retained(b"1").await;
        client.0.write_all(PING).await.unwrap();
        client.expect(PINGRESP).await;
        client.0.write_all(PING).await.unwrap();
        client.expect(PINGRESP).await;
        file.set_room(u64::MAX);
        client.expect(PUBACK).await;
    })
    .unwrap();
    let error = with(&file, async |address, _| {
        let mut client = Raw::connect(address).await;
        file.set_room(0);
        client.publish_retained(b"2").await;
        client.0.write_all(PING).await.unwrap();
        client.expect(PINGRESP).await;
    });
    assert!(error.unwrap_err().may_retry(), "the disk is full at the end");
    file.set_room(u64::MAX);
    let mut late = Client::subscriber("late", "t");
    with(&file, |address, _| late.run(address, |it| !it.received.is_empty())).unwrap();
    assert_eq!(late.received, [("1".to_owned(), 1)].into(), "the acknowledged message is there");
}

#[test]
fn a_broken_disk_ends_the_broker_and_nothing_is_acknowledged() {
    let file = BadFile::new();
    with(&file, async |address, end| {
        let mut client = Raw::connect(address).await;
        file.fail_to_sync();
        client.publish_retained(b"1").await;
        let error = end.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::NotSynced { .. }), "{error}");
        assert!(client.0.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    })
    .unwrap();
}

/// A database that counts its commits.
struct Counted {
    store: RedbStore<BadFile>,
    commits: Arc<AtomicUsize>,
}

impl Store for Counted {
    fn commit<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.store.commit(changes)
    }

    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair, StoreError>>, StoreError> {
        self.store.pairs()
    }

    fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }
}

/// Each message is acknowledged by its subscriber before the next one is published. The removal of a message shares the commit of
/// the next one, which then need not wait for a commit before its own.
#[test]
fn a_message_at_a_time_costs_a_commit_each() {
    const COUNT: usize = 50;
    let (file, commits) = (BadFile::new(), Arc::new(AtomicUsize::new(0)));
    let store = Counted { store: RedbStore::open_file(file.clone()).unwrap(), commits: Arc::clone(&commits) };
    // Nothing is committed because time has passed.
    with_store(store, Duration::from_secs(3600), file.path(), async |address, _| {
        let mut reader = Client::subscriber("reader", "load");
        reader.run(address, |it| it.done == 1).await;
        reader.session.closed(NOW);
        let before = commits.load(Ordering::Relaxed);
        let mut publisher = Raw::connect(address).await;
        let publish = async {
            for _ in 0..COUNT {
                publisher.0.write_all(b"\x32\x0a\x00\x04load\x00\x01\x001").await.unwrap();
                publisher.expect(PUBACK).await;
            }
        };
        tokio::join!(reader.run(address, |it| it.received.get("1") == Some(&COUNT)), publish);
        let commits = commits.load(Ordering::Relaxed) - before;
        assert!((COUNT..COUNT + COUNT / 4).contains(&commits), "{commits}");
    })
    .unwrap();
}

/// The library, and not the database, finds that these are no pairs of a broker.
#[test]
fn pairs_that_are_not_a_broker_s_are_damage() {
    let file = BadFile::new();
    let mut store = RedbStore::open_file(file.clone()).unwrap();
    store.commit([(&b"\xffkey"[..], Some(&b"value"[..]))].into_iter()).unwrap();
    store.close().unwrap();
    let error = with(&file, async |_, _| {}).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(text.starts_with("the database /disk/state.redb is damaged: "), "{text}");
}
