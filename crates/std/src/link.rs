//! A transport with a thread for each of its halves.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mqtt_sansio::{Instant, StdClock, Transmit};

use crate::transport::{Close, Transport};

/// Size of a read, in bytes.
const READ_SIZE: usize = 16 * 1024;

/// Number of received bytes that are not taken above which nothing more is read: the peer has to wait.
const INPUT_LIMIT: usize = 64 * 1024;

/// Maximum number of bytes that are handed to the writing thread at a time.
const WRITE_SIZE: usize = 64 * 1024;

/// Maximum time that [`Link::flush`] and [`Link::finish`] take, and that the reader may take to end once the writer has failed.
const LINGER: Duration = Duration::from_secs(1);

/// A transport that is read and written by two threads, for the loop of one session: see [`serve`](crate::serve).
///
/// The thread that creates the link owns it. It is woken with [`Thread::unpark`] whenever bytes were read or written and
/// when the transport has ended; other threads wake it in the same way. At most 64 KiB of received bytes are buffered
/// here: if they are not taken, nothing is read.
///
/// ```no_run
/// # use std::net::TcpStream;
/// # use bytes::Buf;
/// # use mqtt_sansio::StdClock;
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
/// # use mqtt_sansio_std::{Link, Transport};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut session, clock) = (ClientSession::new(ClientConfig::default()), StdClock::new());
/// session.open(clock.now())?;
/// let mut link = Link::new(Transport::try_from(TcpStream::connect("127.0.0.1:1883")?)?, clock)?;
/// let why = loop {
///     let end = link.receive();
///     let mut input = link.input();
///     let mut close = None;
///     while let Some(action) = session.poll(clock.now(), &mut input) {
///         match action {
///             Action::Close(why) => close = Some(why.to_string()),
///             action => println!("{action:?}"),
///         }
///     }
///     let left = input.len();
///     link.keep(left);
///     link.write(session.transmit());
///     if let Some(why) = close {
///         link.flush(|link| link.write(session.transmit()));
///         link.finish();
///         break why;
///     }
///     if let Some(error) = end {
///         break error.to_string();
///     }
///     link.wait(session.deadline());
/// };
/// session.closed(clock.now());
/// println!("{why}");
/// # Ok(())
/// # }
/// ```
pub struct Link {
    shared: Arc<Shared>,
    closer: Box<dyn Close>,
    /// Received bytes that were not taken.
    input: BytesMut,
}

/// What the owner shares with the two threads.
struct Shared {
    owner: Thread,
    clock: StdClock,
    halves: Mutex<Halves>,
    /// Wakes the reading thread.
    room: Condvar,
    /// Wakes the writing thread.
    work: Condvar,
}

#[derive(Default)]
struct Halves {
    /// Bytes that were read.
    input: BytesMut,
    /// Why nothing more is read; `None` while the reader reads.
    end: Option<io::Error>,
    /// The first bytes of the output of the session, until the writing thread takes them; afterwards the buffer that they
    /// were in, without content.
    output: Vec<u8>,
    /// Number of bytes that the writing thread has not written yet.
    unwritten: usize,
    /// Number of bytes that were written, and are still in the output of the session.
    written: usize,
    /// Whether the writing thread is in a call with bytes that it has taken.
    is_writing: bool,
    /// Why nothing more is written, and since when.
    write_error: Option<(io::Error, Instant)>,
    /// Whether the owner was woken because that was a while ago.
    has_lingered: bool,
    /// Whether received bytes are dropped, because the connection is about to end.
    discards: bool,
    /// Whether nothing is written any more: the writer is dropped.
    is_written: bool,
    /// Whether the owner has ended the connection.
    is_closed: bool,
    /// Whether the owner was woken since it last waited. Other code that waits on its thread, for example on a channel, may use
    /// up the `unpark`.
    has_news: bool,
}

impl Halves {
    /// Notes that so many bytes were written. The owner may have counted them already.
    fn count(&mut self, written: usize) {
        let counted = written.min(self.unwritten);
        self.unwritten = self.unwritten.saturating_sub(counted);
        self.written = self.written.saturating_add(counted);
    }
}

impl Shared {
    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the owner.
    fn wake_owner(&self, halves: &mut Halves) {
        halves.has_news = true;
        self.owner.unpark();
    }
}

impl Link {
    /// Starts the two threads. The calling thread owns the link.
    ///
    /// # Errors
    ///
    /// The error of the system if it refuses a thread.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::net::TcpStream;
    /// # use mqtt_sansio::StdClock;
    /// # use mqtt_sansio_std::{Link, Transport};
    /// let socket = TcpStream::connect("127.0.0.1:1883")?;
    /// let link = Link::new(Transport::try_from(socket)?, StdClock::new())?;
    /// # drop(link);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(transport: Transport, clock: StdClock) -> io::Result<Self> {
        let Transport { reader, writer, closer } = transport;
        let shared = Arc::new(Shared {
            owner: thread::current(),
            clock,
            halves: Mutex::default(),
            room: Condvar::new(),
            work: Condvar::new(),
        });
        let link = Self { shared: Arc::clone(&shared), closer, input: BytesMut::new() };
        let reading = Arc::clone(&shared);
        thread::Builder::new().name("mqtt-read".into()).spawn(move || read(reader, &reading))?;
        thread::Builder::new().name("mqtt-write".into()).spawn(move || write(writer, &shared))?;
        Ok(link)
    }

    /// Takes the bytes that were read. Returns why the transport has ended, once it has, with the last bytes before that.
    ///
    /// A reader often returns what the peer has sent before its end, perhaps with the reason, after the writer has failed:
    /// an error of the writer ends the transport a second later.
    ///
    /// ```
    /// # use mqtt_sansio::StdClock;
    /// # use mqtt_sansio::client::ClientSession;
    /// # use mqtt_sansio_std::Link;
    /// fn turn(link: &mut Link, session: &mut ClientSession, clock: &StdClock) {
    ///     let lost = link.receive(); // with the last bytes before the end, which are processed first
    ///     let mut input = link.input();
    ///     while let Some(action) = session.poll(clock.now(), &mut input) {
    ///         println!("{action:?}");
    ///     }
    ///     let left = input.len();
    ///     link.keep(left);
    ///     if let Some(error) = lost {
    ///         println!("the transport is lost: {error}");
    ///     }
    /// }
    /// ```
    pub fn receive(&mut self) -> Option<io::Error> {
        let mut halves = self.shared.halves();
        if self.input.is_empty() {
            mem::swap(&mut self.input, &mut halves.input);
        } else {
            self.input.extend_from_slice(&halves.input);
            halves.input.clear();
        }
        self.shared.room.notify_one();
        let late = |(_, at): &&(io::Error, Instant)| self.shared.clock.now() >= *at + LINGER;
        let write_error = halves.write_error.as_ref().filter(late).map(|(error, _)| error);
        halves.end.as_ref().or(write_error).map(copy)
    }

    /// Returns why nothing more is written, once the writer has failed. A session that takes no input before more of its output
    /// is written is lost then, whatever the reader still returns.
    ///
    /// ```
    /// # use mqtt_sansio::server::ServerSession;
    /// # use mqtt_sansio_std::Link;
    /// fn receive(link: &mut Link, session: &ServerSession) -> Option<std::io::Error> {
    ///     if session.takes_input() { link.receive() } else { link.write_error() }
    /// }
    /// ```
    pub fn write_error(&self) -> Option<io::Error> {
        self.shared.halves().write_error.as_ref().map(|(error, _)| copy(error))
    }

    /// Returns the received bytes that were not taken.
    ///
    /// ```
    /// # use mqtt_sansio_std::Link;
    /// # fn f(link: &mut Link) {
    /// let end = link.receive();
    /// println!("{} bytes are to be processed", link.input().len());
    /// # drop(end);
    /// # }
    /// ```
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Removes all bytes of the [input](Self::input) but the last `left` ones, which `poll` has left.
    ///
    /// ```
    /// # use mqtt_sansio_std::Link;
    /// /// Takes the first line of the input, if it is complete.
    /// fn take_line(link: &mut Link) -> Option<String> {
    ///     let end = link.input().iter().position(|byte| *byte == b'\n')? + 1;
    ///     let line = String::from_utf8_lossy(&link.input()[..end]).into_owned();
    ///     let left = link.input().len() - end;
    ///     link.keep(left);
    ///     Some(line)
    /// }
    /// ```
    pub fn keep(&mut self, left: usize) {
        self.input.advance(self.input.len().saturating_sub(left));
    }

    /// Removes the bytes that were written from the output of the session, and writes more of it. Call it in each turn.
    /// Returns whether there are bytes that can still be written.
    ///
    /// ```
    /// # use mqtt_sansio::StdClock;
    /// # use mqtt_sansio::client::ClientSession;
    /// # use mqtt_sansio_std::Link;
    /// # fn f(link: &mut Link, session: &mut ClientSession) {
    /// link.write(session.transmit());
    /// link.wait(session.deadline());
    /// # }
    /// ```
    pub fn write(&mut self, transmit: &mut Transmit) -> bool {
        let mut halves = self.shared.halves();
        if halves.end.is_some() && halves.is_writing {
            // What the writing thread has taken may have arrived, even if the thread has not come to say so.
            let taken = mem::take(&mut halves.unwritten);
            halves.written = halves.written.saturating_add(taken);
        }
        transmit.advance(mem::take(&mut halves.written));
        let has_more = halves.write_error.is_none() && transmit.has_remaining();
        if has_more && halves.unwritten == 0 && !halves.is_writing {
            copy_front(transmit, &mut halves.output);
            halves.unwritten = halves.output.len();
            self.shared.work.notify_one();
        }
        has_more
    }

    /// Waits until bytes were read or written, until the transport has ended, until this thread is woken, or until the
    /// deadline.
    ///
    /// ```
    /// # use mqtt_sansio::StdClock;
    /// # use mqtt_sansio::client::ClientSession;
    /// # use mqtt_sansio_std::Link;
    /// # fn f(link: &mut Link, session: &mut ClientSession) {
    /// link.write(session.transmit());
    /// link.wait(session.deadline());
    /// # }
    /// ```
    pub fn wait(&self, deadline: Option<Instant>) {
        let halves = self.shared.halves();
        // An owner that does not receive at that time is not woken for it again and again.
        let lingers = halves.write_error.as_ref().filter(|_| !halves.has_lingered);
        let lingers_until = lingers.map(|(_, at)| *at + LINGER);
        let at_once = halves.has_news.then_some(Instant::EPOCH);
        drop(halves);
        park([deadline, lingers_until, at_once].into_iter().flatten().min(), &self.shared.clock);
        let has_lingered = lingers_until.is_some_and(|until| self.shared.clock.now() >= until);
        let mut halves = self.shared.halves();
        halves.has_news = false; // the caller looks at everything now
        halves.has_lingered |= has_lingered;
    }

    /// Writes the rest of the output, for at most a second. `write` calls [`write`](Self::write) with the output of the
    /// session. Received bytes are dropped from here on.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientSession;
    /// # use mqtt_sansio_std::Link;
    /// /// Ends a connection after `Action::Close`.
    /// fn end(mut link: Link, session: &mut ClientSession) {
    ///     link.flush(|link| link.write(session.transmit()));
    ///     link.finish();
    /// }
    /// ```
    pub fn flush(&mut self, mut write: impl FnMut(&mut Self) -> bool) {
        let patience = self.shared.clock.now() + LINGER;
        self.shared.halves().discards = true;
        self.shared.room.notify_one();
        while write(self) && self.shared.clock.now() < patience {
            self.wait(Some(patience));
        }
    }

    /// Ends the writing direction, and reads until the peer has closed, for at most a second. Closing a socket with unread
    /// input resets the connection, and the peer might never see the last bytes that were [written](Self::flush).
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientSession;
    /// # use mqtt_sansio_std::Link;
    /// /// Ends a connection after `Action::Close`.
    /// fn end(mut link: Link, session: &mut ClientSession) {
    ///     link.flush(|link| link.write(session.transmit()));
    ///     link.finish();
    /// }
    /// ```
    pub fn finish(&mut self) {
        let patience = self.shared.clock.now() + LINGER;
        let mut halves = self.shared.halves();
        (halves.is_written, halves.discards) = (true, true);
        drop(halves);
        self.shared.work.notify_one();
        self.shared.room.notify_one();
        self.closer.finish_writing();
        while self.shared.halves().end.is_none() && self.shared.clock.now() < patience {
            self.wait(Some(patience));
        }
    }
}

/// Closes the transport. The threads end once their calls have returned.
impl Drop for Link {
    fn drop(&mut self) {
        self.shared.halves().is_closed = true;
        self.shared.room.notify_one();
        self.shared.work.notify_one();
        self.closer.close();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("input", &self.input.len()).finish_non_exhaustive()
    }
}

/// Waits until this thread is woken, or until the deadline.
pub(crate) fn park(deadline: Option<Instant>, clock: &StdClock) {
    match deadline {
        Some(deadline) => thread::park_timeout(clock.until(deadline)),
        None => thread::park(),
    }
}

/// Copies the first bytes of the output, which stay in it until they are written.
fn copy_front(transmit: &Transmit, output: &mut Vec<u8>) {
    let mut chunks = [io::IoSlice::new(&[]); 16];
    let count = transmit.chunks_vectored(&mut chunks);
    for chunk in chunks.iter().take(count) {
        let room = WRITE_SIZE.saturating_sub(output.len());
        output.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
    }
}

/// Returns an error of the same kind and text: the first one stays where it is.
fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Returns whether a call is made again after this error.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Reads until the transport or the connection ends.
fn read(mut reader: impl Read, shared: &Shared) {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let read = reader.read(&mut buffer);
        let mut halves = shared.halves();
        match read {
            Ok(0) => {
                halves.end = Some(io::Error::new(ErrorKind::UnexpectedEof, "the peer has closed the connection"));
            }
            Ok(_) if halves.discards => {}
            Ok(count) => halves.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if is_passing(&error) && halves.is_closed => break,
            Err(error) if is_passing(&error) => continue,
            Err(error) => halves.end = Some(error),
        }
        shared.wake_owner(&mut halves);
        while halves.input.len() >= INPUT_LIMIT && !halves.is_closed && !halves.discards {
            halves = shared.room.wait(halves).unwrap_or_else(PoisonError::into_inner);
        }
        if halves.is_closed || halves.end.is_some() {
            break;
        }
    }
}

/// Writes until the transport or the connection ends.
fn write(mut writer: impl Write, shared: &Shared) {
    loop {
        let mut halves = shared.halves();
        while halves.unwritten == 0 && !halves.is_written && !halves.is_closed {
            halves = shared.work.wait(halves).unwrap_or_else(PoisonError::into_inner);
        }
        if halves.is_written || halves.is_closed {
            break;
        }
        let mut output = mem::take(&mut halves.output);
        halves.is_writing = true;
        drop(halves);
        let last = write_all(&mut writer, &output, shared);
        output.clear();
        // The last bytes are counted together with the end of the call: an owner that sees them written can hand over more.
        let mut halves = shared.halves();
        halves.is_writing = false;
        halves.output = output;
        match last {
            Ok(count) => halves.count(count),
            Err(error) => halves.write_error = Some((error, shared.clock.now())),
        }
        shared.wake_owner(&mut halves);
        if halves.write_error.is_some() {
            break;
        }
    }
}

/// Writes all bytes, and counts them as they leave, except for the last ones, the number of which it returns. Stops early if
/// the connection ends.
fn write_all(writer: &mut impl Write, mut bytes: &[u8], shared: &Shared) -> io::Result<usize> {
    loop {
        let written = match writer.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if is_passing(&error) => 0,
            Err(error) => return Err(error),
        };
        bytes = bytes.get(written..).unwrap_or_default();
        if bytes.is_empty() {
            writer.flush()?; // before the last bytes count as written
            return Ok(written);
        }
        let mut halves = shared.halves();
        halves.count(written);
        if halves.is_closed {
            return Ok(0);
        }
        if written > 0 {
            shared.wake_owner(&mut halves);
        }
    }
}
