//! A broker and a client for one connection, with the proxy in between.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::{Buf, BufMut};
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::{Disconnect, Subscription};
use mqtt_sansio::{Instant, Message, QoS, StdClock, Transmit};

/// Starts the broker and the proxy, and runs the client through it.
pub(crate) fn run() -> Result<()> {
    let (broker, proxy) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (broker_address, proxy_address) = (broker.local_addr()?, proxy.local_addr()?);
    let broker = thread::spawn(move || serve(&broker));
    let proxy =
        thread::spawn(move || -> Result<()> { Ok(super::relay(1, proxy.accept()?.0, &broker_address.to_string())?) });
    converse(proxy_address)?;
    proxy.join().map_err(|_| anyhow!("the proxy has panicked"))??;
    broker.join().map_err(|_| anyhow!("the broker has panicked"))?
}

/// The client: it subscribes, publishes a message to itself, and leaves when the message has arrived.
fn converse(address: SocketAddr) -> Result<()> {
    let clock = StdClock::new();
    let mut socket = TcpStream::connect(address)?;
    let mut client = ClientSession::new(ClientConfig { client_id: "demo".into(), ..ClientConfig::default() });
    client.subscribe(clock.now(), &[Subscription::new("demo/#", QoS::ExactlyOnce)?])?;
    client.publish(clock.now(), &Message::new("demo/greeting", "hello").qos(QoS::ExactlyOnce))?;
    client.open(clock.now())?;
    let (mut received, mut arrived) = (Vec::new(), false);
    loop {
        let mut input = &received[..];
        while let Some(action) = client.poll(clock.now(), &mut input) {
            match action {
                Action::Message(_) => arrived = true,
                Action::Close(why) if !arrived => bail!("{why}"),
                Action::Close(_) => return Ok(write(&mut socket, client.transmit())?),
                _ => {}
            }
        }
        received.drain(..received.len() - input.len());
        // Both deliveries are complete: that to the broker, and that from it.
        if arrived && client.unreleased() + client.operations_in_flight() == 0 {
            client.disconnect(clock.now(), &Disconnect::default())?;
            continue;
        }
        write(&mut socket, client.transmit())?;
        if !read(&mut socket, &clock, client.deadline(), &mut received)? {
            bail!("the connection was lost");
        }
    }
}

/// The broker, for a single connection.
fn serve(listener: &TcpListener) -> Result<()> {
    let clock = StdClock::new();
    let (mut socket, peer) = listener.accept()?;
    let mut broker = Broker::new(BrokerConfig::default(), AllowAll);
    let id = broker.open(clock.now(), peer.ip().into());
    let mut received = Vec::new();
    while read(&mut socket, &clock, broker.deadline(), &mut received)? {
        broker.poll(clock.now());
        loop {
            let mut input = &received[..];
            broker.receive(clock.now(), id, &mut input);
            let used = received.len() - input.len();
            received.drain(..used);
            write(&mut socket, broker.transmit(id))?;
            if broker.next_ready().is_none() {
                break;
            }
        }
        if broker.is_over(id) {
            break;
        }
    }
    broker.closed(clock.now(), id);
    Ok(())
}

/// Reads what has come, or nothing by the deadline; returns whether the connection goes on.
fn read(socket: &mut TcpStream, clock: &StdClock, deadline: Option<Instant>, into: &mut Vec<u8>) -> Result<bool> {
    // A timeout of zero is an error.
    socket.set_read_timeout(deadline.map(|deadline| clock.until(deadline).max(Duration::from_micros(1))))?;
    let mut piece = [0; 4096];
    match socket.read(&mut piece) {
        Ok(count) => {
            into.extend_from_slice(&piece[..count]);
            Ok(count != 0)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn write(socket: &mut TcpStream, transmit: &mut Transmit) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    bytes.put(transmit.take(usize::MAX));
    socket.write_all(&bytes)
}
