//! What a link says of the bytes that it was given.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::{AbandonReason, Message, Outcome, QoS, StdClock};
use mqtt_sansio_std::{Link, Transport};

/// Passes bytes on, and returns after a signal.
struct Writer {
    written: Sender<Vec<u8>>,
    returns: Receiver<()>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.written.send(bytes.to_vec());
        let _ = self.returns.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the end of the stream after a signal.
struct Reader(Receiver<()>);

impl Read for Reader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

/// The server has read a message and closes, before the thread that has written the message gets on: the message counts as
/// sent, and not as one that is still to be sent.
#[test]
fn bytes_that_may_have_arrived_count_as_written() {
    let (clock, mut client) = (StdClock::new(), ClientSession::new(ClientConfig::default()));
    let ((written, seen), (go_on, returns), (close, closes)) = (channel(), channel(), channel());
    let transport = Transport::new(Reader(closes), Writer { written, returns });
    client.open(clock.now()).unwrap();
    let mut link = Link::new(transport, clock).unwrap();
    link.write(client.transmit());
    assert_eq!(seen.recv().unwrap()[0], 0x10);
    go_on.send(()).unwrap();
    while link.write(client.transmit()) {
        link.wait(None);
    }
    let mut input = &b"\x20\x03\0\0\0"[..];
    while client.poll(clock.now(), &mut input).is_some() {}

    let token = client.publish(clock.now(), &Message::new("a", "1").qos(QoS::AtLeastOnce)).unwrap();
    link.write(client.transmit());
    assert_eq!(seen.recv().unwrap()[0], 0x32);
    close.send(()).unwrap();
    while link.receive().is_none() {
        link.wait(None);
    }
    link.write(client.transmit());
    client.closed(clock.now());
    let lost = Action::Done { token, outcome: Outcome::Abandoned(AbandonReason::Session) };
    assert_eq!(client.poll_timeout(clock.now()), Some(lost));
    drop(go_on);
}
