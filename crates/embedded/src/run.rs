//! One connection of a client.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::pin::pin;
use core::time::Duration;

use bytes::Buf;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Error, ErrorKind, Read, Write};
use mqtt_sansio::client::{Action, Close, OpenError};

use crate::client::Client;
use crate::clock::{Clock, after};
use crate::end::End;

/// Size of the buffers of a read and of a write, in bytes.
const PIECE: usize = 256;

/// Maximum time that the rest of the output may take to be written after the end of a connection.
const LINGER: Duration = Duration::from_secs(1);

/// Why the loop of a connection has ended, and whether the rest of the output can be written.
struct Over {
    end: End,
    lingers: bool,
}

impl<C: Clock> Client<C> {
    /// Runs one connection over a connected transport, from CONNECT to its end: reads, writes and waits at the same time.
    ///
    /// The handler gets all actions of the session. It may give commands, and may wait: meanwhile nothing is read, and
    /// output is still written. If it waits for longer than half of the keep-alive interval, PINGREQ may be late, and the
    /// server may end the connection.
    ///
    /// The future can be dropped: that is the loss of the connection, and the next `run` goes on with the session. A read
    /// or a write is dropped only with the connection, so that a transport whose futures lose bytes when they are dropped is
    /// fine. The transport should report lost bytes as an error (the overrun of a UART): bytes that are lost without an error
    /// end the connection as a Malformed Packet or by the keep-alive timeout, unless they leave a valid packet.
    ///
    /// ```
    /// # use embedded_io_async::{Read, Write};
    /// # use mqtt_sansio::Message;
    /// # use mqtt_sansio::client::Action;
    /// # use mqtt_sansio_embedded::{Client, Clock, End};
    /// async fn serve(client: &Client<impl Clock>, reader: impl Read, writer: impl Write) -> End {
    ///     let handle = async |action: Action<'_>| match action {
    ///         Action::Connected(connected) => println!("{} session", connected.session),
    ///         Action::Message(request) => {
    ///             if let Some(reply) = Message::reply_to(&request, "21.5") {
    ///                 let _ = client.publish(&reply); // fails if the queue is full
    ///             }
    ///         }
    ///         action => println!("{action:?}"),
    ///     };
    ///     client.run(reader, writer, handle).await
    /// }
    /// ```
    pub async fn run(&self, reader: impl Read, writer: impl Write, mut handler: impl AsyncFnMut(Action<'_>)) -> End {
        if let Err(error) = self.open() {
            return End::NotOpened(error);
        }
        self.is_finishing.set(false);
        let end = {
            let mut write = pin!(self.write(writer));
            match select(self.converse(reader, &mut handler), write.as_mut()).await {
                Either::First(Over { end, lingers }) => {
                    if lingers {
                        self.is_finishing.set(true);
                        self.has_output.set();
                        select(write, self.clock.wait_until(after(&self.clock, LINGER))).await;
                    }
                    end
                }
                Either::Second(error) => End::Lost(error),
            }
        };
        self.not_connected();
        // Outcomes that the end of the connection has caused.
        while let Some(action) = self.borrowed(|session, now| session.poll_timeout(now)) {
            handler(action).await;
        }
        end
    }

    /// Puts CONNECT into the output. If the last `run` was dropped, its connection has ended here.
    fn open(&self) -> Result<(), OpenError> {
        self.borrowed(|session, now| match session.open(now) {
            Err(OpenError::AlreadyConnected) => {
                session.closed(now);
                session.open(now)
            }
            opened => opened,
        })
    }

    /// Reads, and handles actions, until the connection ends.
    async fn converse(&self, mut reader: impl Read, handler: &mut impl AsyncFnMut(Action<'_>)) -> Over {
        let mut input = Vec::new();
        let mut piece = [0; PIECE];
        loop {
            let read = {
                let mut read = pin!(reader.read(&mut piece));
                loop {
                    if let Some(over) = self.handle(&mut input, handler).await {
                        return over;
                    }
                    let (deadline, takes_input) =
                        self.borrowed(|session, _| (session.deadline(), session.takes_input()));
                    let wait = async {
                        match deadline {
                            Some(deadline) => self.clock.wait_until(deadline).await,
                            None => core::future::pending().await,
                        }
                    };
                    // A session that does not take its input, because too much output waits, is given no more.
                    if !takes_input && !input.is_empty() {
                        select(self.has_changed.wait(), wait).await;
                        continue;
                    }
                    match select3(read.as_mut(), self.has_changed.wait(), wait).await {
                        Either3::First(read) => break read,
                        Either3::Second(()) | Either3::Third(()) => {}
                    }
                }
            };
            let error = match read {
                Ok(count) if count > 0 => {
                    input.extend_from_slice(piece.get(..count).unwrap_or_default());
                    continue;
                }
                Ok(_) => ErrorKind::ConnectionReset,
                Err(error) => error.kind(),
            };
            return Over { end: End::Lost(error), lingers: false };
        }
    }

    /// Gives the session the input, and the handler all actions.
    async fn handle(&self, input: &mut Vec<u8>, handler: &mut impl AsyncFnMut(Action<'_>)) -> Option<Over> {
        let mut rest = &input[..];
        let mut over = None;
        while over.is_none()
            && let Some(action) = self.borrowed(|session, now| session.poll(now, &mut rest))
        {
            if let Action::Close(close) = &action {
                let is_dead = matches!(close, Close::ConnectTimeout | Close::KeepAliveTimeout);
                over = Some(Over { end: End::by(close), lingers: !is_dead });
            }
            self.has_output.set();
            handler(action).await;
        }
        let used = input.len().saturating_sub(rest.len());
        input.drain(..used);
        self.has_output.set();
        over
    }

    /// Writes the output, until there is an error, or until everything is written after the end of the connection.
    async fn write(&self, mut writer: impl Write) -> ErrorKind {
        match self.write_all(&mut writer).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn write_all(&self, writer: &mut impl Write) -> Result<Infallible, ErrorKind> {
        let mut piece = [0; PIECE];
        let mut is_flushed = true;
        loop {
            let count = self.borrowed(|session, _| copy_front(session.transmit(), &mut piece));
            if count > 0 {
                let piece = piece.get(..count).unwrap_or_default();
                let written = writer.write(piece).await.map_err(|error| error.kind())?;
                if written == 0 {
                    return Err(ErrorKind::WriteZero);
                }
                self.borrowed(|session, _| session.transmit().advance(written));
                self.has_changed.set();
                is_flushed = false;
            } else if !is_flushed {
                writer.flush().await.map_err(|error| error.kind())?;
                is_flushed = true;
            } else if self.is_finishing.get() {
                return Err(ErrorKind::NotConnected); // not reported: the connection has its end
            } else {
                self.has_output.wait().await;
            }
        }
    }
}

/// Copies the first bytes of the output, and returns their number.
fn copy_front(transmit: &impl Buf, piece: &mut [u8]) -> usize {
    let chunk = transmit.chunk();
    let count = chunk.len().min(piece.len());
    if let (Some(to), Some(from)) = (piece.get_mut(..count), chunk.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}
