//! What a link says of the bytes that it was given.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

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

/// Reads what is sent to it, and says before each read that what was read before is handed over.
struct Announced(Sender<()>, Receiver<u8>);

impl Read for Announced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        let Ok(byte) = self.1.recv() else { return Ok(0) };
        buffer[0] = byte;
        Ok(1)
    }
}

/// The owner waits for something else after the link has woken it: the link knows that it has input to process.
#[test]
fn a_wake_up_that_other_code_has_used_up_is_not_lost() {
    const PATIENCE: Duration = Duration::from_secs(120);
    let (clock, (read, reads), (send, bytes)) = (StdClock::new(), channel(), channel());
    let mut link = Link::new(Transport::new(Announced(read, bytes), io::sink()), clock).unwrap();
    for byte in 0..10 {
        reads.recv().unwrap();
        send.send(byte).unwrap();
        reads.recv().unwrap(); // this may use up the wake-up
        thread::park_timeout(Duration::ZERO); // and this does
        let begin = clock.now();
        link.wait(Some(begin + PATIENCE));
        assert!(clock.now() < begin + PATIENCE, "the link does not wait");
        assert!(link.receive().is_none());
        assert_eq!(link.input(), [byte]);
        link.keep(0);
        send.send(byte).unwrap();
        link.wait(None);
        while link.receive().is_none() && link.input().is_empty() {
            link.wait(None);
        }
        link.keep(0);
    }
}
