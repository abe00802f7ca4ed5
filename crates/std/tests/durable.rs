//! Durable clients, and the store in a directory.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

mod peer;

use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{Instant, Message, QoS};
use mqtt_sansio_std::{Builder, Ended, Event, FileStore, Store};
use peer::{NEW, RESUMED, config, piped, scripts};

/// A store that outlives its client.
#[derive(Clone, Default)]
struct InMemory {
    pairs: Arc<Mutex<Pairs>>,
    /// Whether nothing more can be stored.
    is_full: bool,
}

impl Store for InMemory {
    fn load(&mut self) -> io::Result<Pairs> {
        Ok(self.pairs.lock().unwrap().clone())
    }

    fn commit(&mut self, batch: &Batch) -> io::Result<()> {
        if self.is_full {
            return Err(io::Error::other("the disk is full"));
        }
        self.pairs.lock().unwrap().apply(batch);
        Ok(())
    }
}

/// What a client has stored when it releases a message of QoS 2 is enough to go on after a crash: with PUBREL alone, and
/// with the outcome for the token of before.
#[test]
fn a_client_goes_on_after_a_crash() {
    let store = InMemory::default();
    let (sender, transports) = scripts();
    let (client, _events) = Builder::new(config()).store(store.clone()).connect(transports).unwrap();
    let pending = client.try_publish(&Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    peer.expect(&["PUBLISH 1 1 dup=false"]);
    peer.write(b"\x50\x02\x00\x01");
    peer.expect(&["PUBREL 1"]);
    // The crash: what is stored now, and nothing of the process.
    let pairs = store.pairs.lock().unwrap().clone();

    let restored = InMemory { pairs: Arc::new(Mutex::new(pairs)), is_full: false };
    let (sender, transports) = scripts();
    let (client, mut events) = Builder::new(config()).store(restored).connect(transports).unwrap();
    assert_eq!(client.operations(), [pending.token()]);
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=false", RESUMED);
    peer.expect(&["PUBREL 1"]);
    peer.write(b"\x70\x02\x00\x01");
    let done = events.find_map(|event| match event {
        Event::Done { token, outcome } => Some((token, outcome.is_success())),
        _ => None,
    });
    assert_eq!(done, Some((pending.token(), true)));
}

/// A message that is published while there is no connection is stored before there is one.
#[test]
fn a_message_without_a_connection_is_stored() {
    let store = InMemory::default();
    let config = ClientConfig { min_backoff: 3600, max_backoff: 3600, ..config() };
    let (client, mut events) =
        Builder::new(config.clone()).store(store.clone()).connect(|| Err(ErrorKind::ConnectionRefused.into())).unwrap();
    assert!(matches!(events.next(), Some(Event::Closed(_))));
    let pending = client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    client.wait_until_stored().unwrap();
    let pairs = store.pairs.lock().unwrap().clone();
    let session = ClientSession::restore(config, Instant::from_micros(1), pairs.iter()).unwrap();
    assert_eq!(session.operations().map(|it| it.token).collect::<Vec<_>>(), [pending.token()]);
    client.disconnect();
    assert_eq!(client.wait_until_stored(), Err(Ended));
}

/// A client that cannot store its session disconnects, says why, and ends.
#[test]
fn a_store_that_fails_ends_the_client() {
    let (sender, transports) = scripts();
    let store = InMemory { is_full: true, ..InMemory::default() };
    let (client, events) = Builder::new(config()).store(store).connect(transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.expect(&["CONNECT clean=true", "DISCONNECT NormalDisconnection", "the end"]);
    drop(peer);
    let events: Vec<_> = events.map(|event| format!("{event:?}")).collect();
    assert!(events.last().unwrap().contains("the disk is full"), "{events:?}");
    assert_eq!(client.check(), Err(Ended));
}

/// A store that waits for another thread while it stores: that uses up the wake-ups of the driving thread.
struct Waiting {
    entered: Sender<()>,
    go_on: Receiver<()>,
}

impl Store for Waiting {
    fn load(&mut self) -> io::Result<Pairs> {
        Ok(Pairs::default())
    }

    fn commit(&mut self, _: &Batch) -> io::Result<()> {
        let _ = self.entered.send(());
        let _ = self.go_on.recv(); // this may use up a wake-up
        thread::park_timeout(Duration::ZERO); // and this does
        Ok(())
    }
}

/// A command that is given while the store waits is not forgotten.
#[test]
fn a_command_during_a_commit_is_not_lost() {
    const PATIENCE: Duration = Duration::from_secs(120);
    let config = ClientConfig { min_backoff: 3600, max_backoff: 3600, ..config() };
    let ((entered, commits), (release, go_on)) = (channel(), channel());
    let (client, mut events) = Builder::new(config)
        .store(Waiting { entered, go_on })
        .connect(|| Err(ErrorKind::ConnectionRefused.into()))
        .unwrap();
    commits.recv().unwrap(); // the first attempt is stored
    release.send(()).unwrap();
    assert!(matches!(events.next_within(PATIENCE), Some(Event::Closed(_))));
    let _pending = client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    commits.recv().unwrap();
    let leaving = client.clone();
    thread::spawn(move || leaving.disconnect());
    while client.check().is_ok() {
        thread::yield_now();
    }
    drop(release);
    assert!(matches!(events.next_within(PATIENCE), Some(Event::Closed(closed)) if closed.retry_after.is_none()));
    assert!(events.next_within(PATIENCE).is_none());
}

/// A directory that is removed at the end of its test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // A process that was killed may have had the same identifier, and may have left a directory.
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("mqtt-sansio-std-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => break created.map(|()| Self(path)).unwrap(),
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.0.join("session.batches")
    }

    fn open(&self) -> FileStore {
        FileStore::open(&self.0).unwrap()
    }

    fn pairs(&self) -> Pairs {
        self.open().load().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Publishes a message, and stores the changes.
fn publish(session: &mut ClientSession, now: Instant, payload: &[u8], store: &mut FileStore) {
    session.publish(now, &Message::new("t", payload).qos(QoS::AtLeastOnce)).unwrap();
    while let Some(batch) = session.changes() {
        store.commit(&batch).unwrap();
        session.committed(now, batch.number());
    }
}

fn session() -> ClientSession {
    ClientSession::new(ClientConfig { durable: true, ..config() })
}

/// The directory is used by one store at a time, and a file with a torn end is cut; a damaged one is left as it is.
#[test]
fn a_directory_is_read_again() {
    let directory = Directory::new();
    let (mut session, now) = (session(), Instant::from_micros(1));
    let mut store = directory.open();
    publish(&mut session, now, b"1", &mut store);
    let used = FileStore::open(&directory.0).unwrap_err();
    assert_eq!(used.kind(), ErrorKind::WouldBlock);
    assert!(used.to_string().ends_with("is used by another process"), "{used}");
    drop(store);
    let first = fs::read(directory.file()).unwrap();
    let pairs = directory.pairs();
    let mut store = directory.open();
    publish(&mut session, now, b"2", &mut store);
    drop(store);
    let both = fs::read(directory.file()).unwrap();
    assert!(both.starts_with(&first) && directory.pairs().iter().count() > pairs.iter().count());
    for end in first.len()..both.len() {
        fs::write(directory.file(), &both[..end]).unwrap();
        assert!(directory.pairs().iter().eq(pairs.iter()), "torn at byte {end}");
        assert_eq!(fs::read(directory.file()).unwrap(), first);
    }
    let mut damaged = both;
    damaged[2] ^= 1;
    fs::write(directory.file(), &damaged).unwrap();
    let error = FileStore::open(&directory.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert_eq!(fs::read(directory.file()).unwrap(), damaged);
}

/// A store that is dropped has released its directory, although other threads start processes, which share the open files for a
/// moment.
#[cfg(unix)]
#[test]
fn a_directory_is_released_while_processes_are_started() {
    let (directory, is_over) = (Directory::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(Command::new("true").status().unwrap().success());
            }
        });
        let refused = (0..300).filter_map(|_| FileStore::open(&directory.0).err()).next();
        is_over.store(true, Ordering::Relaxed);
        assert!(refused.is_none(), "{refused:?}");
    });
}

/// A long file is replaced by a snapshot, which contains the same session.
#[test]
fn a_long_file_is_replaced() {
    let directory = Directory::new();
    let (mut session, now) = (session(), Instant::from_micros(1));
    let mut store = directory.open();
    publish(&mut session, now, &[b'x'; 40_000], &mut store);
    let token = session.operations().next().unwrap().token;
    while !store.is_long() {
        publish(&mut session, now, &[b'y'; 40_000], &mut store);
        let last = session.operations().last().unwrap().token;
        session.withdraw(now, last).unwrap();
        while session.poll_timeout(now).is_some() {}
    }
    let long = fs::metadata(directory.file()).unwrap().len();
    let snapshot = session.snapshot().unwrap();
    store.replace(&snapshot).unwrap();
    assert!(!store.is_long());
    assert!(fs::metadata(directory.file()).unwrap().len() < long / 10);
    publish(&mut session, now, b"3", &mut store);
    drop(store);
    let restored = ClientSession::restore(session.config().clone(), now, directory.pairs().iter()).unwrap();
    let tokens: Vec<_> = restored.operations().map(|operation| operation.token).collect();
    assert_eq!((tokens.len(), tokens[0]), (2, token));
}
