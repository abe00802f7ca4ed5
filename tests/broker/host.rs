//! A broker with the transports of its connections.

use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Host, Origin, Secret};
use mqtt_sansio::codec::{Connect, Disconnect, Packet, PubAck, Publish, Subscribe, Subscription, Version};
use mqtt_sansio::{Instant, Message, QoS, Transmit, Utf8Str};

use crate::server::{at, decode, encoded_all, id};

/// What the transport of a client has taken, and what it still takes.
struct Pipe {
    taken: Vec<u8>,
    room: usize,
    is_broken: bool,
}

struct BrokenPipe;

impl Pipe {
    const fn new() -> Self {
        Self { taken: Vec::new(), room: usize::MAX, is_broken: false }
    }

    fn write(&mut self, output: &mut Transmit) -> Result<(), BrokenPipe> {
        if self.is_broken {
            return Err(BrokenPipe);
        }
        let size = output.chunk().len().min(self.room);
        self.taken.extend(&output.chunk()[..size]);
        output.advance(size);
        self.room -= size;
        Ok(())
    }
}

/// A host, and the time.
struct World {
    host: Host<AllowAll, Pipe>,
    now: Instant,
}

impl World {
    fn new(work_per_call: u32) -> Self {
        let config = BrokerConfig::new(Secret::new([7; 16]));
        let config = BrokerConfig { work_per_call: NonZeroU32::new(work_per_call).unwrap(), ..config };
        Self { host: Host::new(Broker::new(config, AllowAll)), now: at(1) }
    }

    /// Opens a connection, and lets its client send CONNECT.
    fn connect(&mut self, name: &str) -> ConnectionId {
        let connection = self.host.open(self.now, Origin::UNKNOWN, Pipe::new());
        let client_identifier = Utf8Str::new(name).unwrap();
        let connect = Connect { version: Version::V5, client_identifier, clean_start: true, ..Connect::default() };
        self.send(connection, &[connect.into()]);
        connection
    }

    fn subscribe(&mut self, connection: ConnectionId, filter: &str, qos: QoS) {
        let subscriptions = [Subscription::new(filter, qos).unwrap()];
        self.send(connection, &[Subscribe::new(id(1), &subscriptions).into()]);
    }

    fn send(&mut self, connection: ConnectionId, packets: &[Packet<'_>]) {
        self.host.receive(self.now, connection, &encoded_all(packets, Version::V5));
        self.run();
    }

    fn serve(&mut self) {
        self.host.serve(self.now, Pipe::write);
    }

    /// Serves until nothing is due; returns the number of calls.
    fn run(&mut self) -> u32 {
        let mut calls = 0;
        loop {
            self.serve();
            self.host.broker().assert_consistent();
            calls += 1;
            assert!(calls < 100_000, "there is always something to do");
            if self.host.deadline().is_none_or(|at| at > self.now) {
                return calls;
            }
        }
    }

    fn pipe(&mut self, connection: ConnectionId) -> &mut Pipe {
        self.host.transport_mut(connection).expect("the connection is open")
    }

    /// The packets that a transport has taken since the last call.
    fn received(&mut self, connection: ConnectionId) -> usize {
        let taken = std::mem::take(&mut self.pipe(connection).taken);
        decode(&taken, Version::V5).len()
    }
}

/// A message with a packet identifier, of which the size is 64 KiB and more.
fn large() -> Vec<u8> {
    let payload = vec![b'x'; 100_000];
    let topic = mqtt_sansio::TopicName::new("t").unwrap();
    encoded_all(&[Publish { topic, payload: &payload, ..Publish::default() }.into()], Version::V5)
}

/// Input comes in any pieces, and more of it than a call of the broker does.
#[test]
fn what_the_broker_does_not_take_is_given_again() {
    let pings = [0xc0, 0].repeat(300);
    for work in [1, 7, 2000] {
        for size in [1, 3, 1000] {
            let mut world = World::new(work);
            let connection = world.connect("c");
            assert_eq!(world.received(connection), 1, "CONNACK");
            for piece in pings.chunks(size) {
                world.host.receive(world.now, connection, piece);
                world.serve();
            }
            world.run();
            assert_eq!(world.received(connection), 300, "{work} {size}: PINGRESP");
        }
    }
}

/// The host has nothing to do for a client that does not read, and whose packet is incomplete.
#[test]
fn a_transport_that_takes_nothing_is_waited_for() {
    let mut world = World::new(2000);
    let connection = world.connect("c");
    world.received(connection);
    world.pipe(connection).room = 1;
    world.host.receive(world.now, connection, b"\xc0\x00\xc0\x00\xc0");
    assert_eq!(world.run(), 1);
    assert_eq!(world.pipe(connection).taken, b"\xd0");
    // It reads again, and the rest of the packet comes.
    world.pipe(connection).room = usize::MAX;
    world.host.writable(world.now, connection, Pipe::write);
    world.host.receive(world.now, connection, b"\x00");
    world.run();
    assert_eq!(world.received(connection), 3);
}

/// Input that was left because the client did not read is taken when it does.
#[test]
fn input_is_taken_again_when_the_transport_takes_output() {
    let mut world = World::new(2000);
    let connection = world.connect("c");
    world.received(connection);
    world.pipe(connection).room = 0;
    let pings = [0xc0, 0].repeat(300_000);
    world.host.receive(world.now, connection, &pings);
    world.run();
    assert!(!world.host.broker().takes_input(connection), "too many answers wait");
    world.pipe(connection).room = usize::MAX;
    world.host.writable(world.now, connection, Pipe::write);
    world.run();
    assert_eq!(world.received(connection), 300_000);
}

/// The transport of a connection that is over is dropped when all is written, and one that is lost at once.
#[test]
fn connections_end() {
    let disconnect = || [Disconnect::default().into()];
    let mut world = World::new(2000);
    let [leaves, lost, closed, reads_late] = ["a", "b", "c", "d"].map(|name| world.connect(name));
    world.send(leaves, &disconnect());
    world.pipe(lost).is_broken = true;
    world.send(lost, &[Packet::PingReq]);
    let pipe = world.host.closed(world.now, closed);
    assert!(pipe.is_some_and(|pipe| !pipe.taken.is_empty()));
    assert!(world.host.closed(world.now, closed).is_none());
    world.pipe(reads_late).room = 1;
    world.host.receive(world.now, reads_late, b"\xc0\x00\x00"); // not a packet of a client
    world.run();
    assert_eq!(world.host.transports().map(|(id, _)| id).collect::<Vec<_>>(), [reads_late]);
    world.pipe(reads_late).room = usize::MAX;
    world.host.writable(world.now, reads_late, Pipe::write);
    assert_eq!((world.host.transports().count(), world.host.broker().status().connections), (0, 0));
    // What comes for them is void.
    world.host.receive(world.now, reads_late, b"\xc0\x00");
    world.host.writable(world.now, reads_late, Pipe::write);
    assert_eq!(world.run(), 1);
}

/// A call writes a bounded number of bytes to a transport, whatever waits for it; so others have their turns.
#[test]
fn a_call_is_bounded() {
    let mut world = World::new(2000);
    let (reader, writer) = (world.connect("reader"), world.connect("writer"));
    world.subscribe(reader, "t", QoS::AtMostOnce);
    world.received(reader);
    let message = large();
    for _ in 0..5 {
        world.host.receive(world.now, writer, &message);
    }
    let (mut calls, mut longest) = (0, 0);
    loop {
        let before = world.pipe(reader).taken.len();
        world.host.serve(world.now, |pipe, output| {
            let size = output.chunk().len().min(1000); // a transport takes pieces
            pipe.taken.extend(&output.chunk()[..size]);
            output.advance(size);
            Ok::<(), BrokenPipe>(())
        });
        calls += 1;
        longest = longest.max(world.pipe(reader).taken.len() - before);
        assert!(calls < 1000, "there is always something to do");
        if world.host.deadline().is_none_or(|at| at > world.now) {
            break;
        }
    }
    assert!(longest <= 64 * 1024 + 1000, "{longest} bytes in a call");
    assert_eq!(world.received(reader), 5);
    assert!(calls >= 5 * message.len() / (64 * 1024), "{calls} calls");
}

/// The program has its own messages beside those of clients.
#[test]
fn the_program_takes_part() {
    let mut world = World::new(2000);
    let client = world.connect("c");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.received(client);
    let now = world.now;
    world.host.broker_mut().publish(now, &Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    world.run();
    assert_eq!(world.received(client), 1);
    world.send(client, &[PubAck::new(id(1)).into()]);
    assert_eq!(world.host.broker().status().stored, 0);
}
