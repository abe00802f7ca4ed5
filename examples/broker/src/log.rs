//! The log: lines on standard error, written by a thread of their own.
//!
//! A standard error that is closed, or a pipe that is not read, must not stop the broker: a task that logs only appends
//! a line to a bounded queue. Lines that do not fit are dropped, and their number is logged.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Subscriber;
use tracing::field::{Field, display};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Maximum number of bytes of the lines that wait to be written.
const MAX_QUEUED: usize = 1 << 20;

/// How long the program waits at its end for the last lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// The lines that wait to be written.
#[derive(Clone, Default)]
struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    waiting: VecDeque<Box<[u8]>>,
    /// The bytes of `waiting`, and of the line that is being written.
    bytes: usize,
    /// Number of lines that were dropped since the last one was written.
    dropped: u64,
}

/// Writes the waiting lines on drop, as far as standard error takes them.
pub(crate) struct Flush(Queue);

/// Starts to log to standard error. RUST_LOG sets the level.
pub(crate) fn start() -> io::Result<Flush> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let queue = Queue::default();
    tracing::subscriber::set_global_default(subscriber(queue.clone(), filter, io::stderr().is_terminal()))
        .map_err(io::Error::other)?;
    let lines = queue.clone();
    std::thread::Builder::new().name("log".into()).spawn(move || {
        loop {
            lines.write_next(&mut io::stderr());
        }
    })?;
    Ok(Flush(queue))
}

/// Logs panics. The hook of the standard library writes to standard error directly: it would wait for a pipe that no program
/// reads, and would not escape text from a peer.
pub(crate) fn take_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(display);
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|it| &**it));
        let why = text.unwrap_or("of unknown kind");
        tracing::error!(location, why, "a panic");
    }));
}

fn subscriber(queue: Queue, filter: EnvFilter, with_ansi: bool) -> impl Subscriber + Send + Sync {
    // Values of fields are escaped whichever of Display, Debug or string they are logged by: most of them contain data
    // from a peer.
    let fields = debug_fn(|writer: &mut Writer<'_>, field: &Field, value| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Escape(writer), "{value:?}")
    });
    tracing_subscriber::fmt()
        .fmt_fields(fields.delimited(" "))
        .with_env_filter(filter)
        .with_ansi(with_ansi)
        // By default an event that cannot be written is reported by `eprintln!`, which panics if that fails too.
        .log_internal_errors(false)
        .with_writer(queue)
        .finish()
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a line, or drops it if too many bytes wait.
    fn push(&self, line: &[u8]) {
        let mut lines = self.lock();
        if lines.bytes.saturating_add(line.len()) > MAX_QUEUED {
            lines.dropped += 1;
            return;
        }
        lines.bytes += line.len();
        lines.waiting.push_back(line.into());
        drop(lines);
        self.0.changed.notify_all();
    }

    /// Waits for a line and writes it. A line that cannot be written is lost, because it cannot be reported.
    fn write_next(&self, out: &mut impl Write) {
        let mut lines = self.lock();
        let line = loop {
            match lines.waiting.pop_front() {
                Some(line) => break line,
                None => lines = self.0.changed.wait(lines).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let dropped = std::mem::take(&mut lines.dropped);
        drop(lines);
        let _ = out.write_all(&line);
        if dropped != 0 {
            let _ = writeln!(out, "{dropped} log lines were dropped: standard error is too slow");
        }
        let _ = out.flush();
        self.lock().bytes -= line.len();
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, or until `patience` has passed.
    fn flush(&self, patience: Duration) {
        let is_busy = |lines: &mut Lines| lines.bytes != 0;
        let _ = self.0.changed.wait_timeout_while(self.lock(), patience, is_busy);
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush(FLUSH);
    }
}

/// An event is written with one call, including its line break.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Escapes characters that would start another line, move a terminal's cursor, or change the direction of the text.
struct Escape<W>(W);

impl<W: fmt::Write> fmt::Write for Escape<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((index, character)) = rest.char_indices().find(|&(_, character)| must_be_escaped(character)) {
            let (before, at) = rest.split_at(index);
            write!(self.0, "{before}{}", character.escape_default())?;
            rest = &at[character.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

fn must_be_escaped(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the lines logged by a closure.
    pub(crate) fn collect(log: impl FnOnce()) -> String {
        let queue = Queue::default();
        tracing::subscriber::with_default(subscriber(queue.clone(), EnvFilter::new("trace"), false), log);
        let lines = queue.lock();
        lines.waiting.iter().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_value_stays_in_its_line_and_in_its_field() {
        let evil = "a\nb\r\x1b[2J\u{9b}31m\u{202e}\u{2028}x";
        let log = collect(|| {
            tracing::info!(text = evil, display = %evil, debug = ?evil, "message");
            tracing::info!(error = %io::Error::other(evil), "message {evil}");
        });
        assert_eq!(log.matches('\n').count(), 2, "{log}");
        assert!(!log.trim_end().replace('\n', "").contains(must_be_escaped), "{log:?}");
        assert!(log.contains(r"display=a\nb\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028}x"), "{log}");
    }

    #[test]
    fn a_closed_output_loses_lines_and_nothing_else() {
        struct Closed(usize);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let queue = Queue::default();
        let log = subscriber(queue.clone(), EnvFilter::new("info"), false);
        tracing::subscriber::with_default(log, || tracing::info!("a"));
        let mut out = Closed(0);
        queue.write_next(&mut out);
        assert_eq!((out.0, queue.lock().bytes), (1, 0));
    }

    #[test]
    fn lines_beyond_the_queue_are_dropped_and_counted() {
        let queue = Queue::default();
        for _ in 0..3 {
            queue.push(&[b'x'; MAX_QUEUED / 2]);
        }
        let (waiting, dropped) = {
            let lines = queue.lock();
            (lines.waiting.len(), lines.dropped)
        };
        assert_eq!((waiting, dropped), (2, 1));
        queue.flush(Duration::ZERO); // gives up
        let mut out = Vec::new();
        queue.write_next(&mut out);
        assert!(String::from_utf8(out).unwrap().ends_with("x1 log lines were dropped: standard error is too slow\n"));
        queue.write_next(&mut Vec::new());
        queue.flush(Duration::MAX);
    }
}
