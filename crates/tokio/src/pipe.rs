//! A transport with the bytes that are on their way.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mqtt_sansio::Transmit;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// Room for a read, and the maximum size of a write, in bytes.
const PIECE: usize = 64 * 1024;

/// A transport, the received bytes that the session has not taken, and a copy of the output that is being written.
///
/// The output is copied so that no lock of the session is held while the transport works. It stays in the session's
/// `transmit()` until the transport has taken it, so the session knows exactly what was written when a connection is lost.
pub(crate) struct Pipe<S> {
    stream: S,
    input: BytesMut,
    is_at_end: bool,
    output: Vec<u8>,
    /// Number of bytes of `output` that were written.
    written: usize,
    /// Number of written bytes that are not removed from `transmit()` yet.
    unreported: usize,
    needs_flush: bool,
    is_shut_down: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            is_at_end: false,
            output: Vec::new(),
            written: 0,
            unreported: 0,
            needs_flush: false,
            is_shut_down: false,
        }
    }

    /// Removes from the output of the session what was written.
    pub(crate) fn report(&mut self, transmit: &mut Transmit) {
        let written = mem::take(&mut self.unreported);
        if written > 0 {
            transmit.advance(written.min(transmit.remaining()));
        }
    }

    /// Takes what is to be written next, if everything before it is written. It has to be
    /// [reported](Self::report) before.
    pub(crate) fn fill(&mut self, transmit: &Transmit) {
        if self.has_output() {
            return;
        }
        self.output.clear();
        self.written = 0;
        let mut chunks = [IoSlice::new(&[]); 16];
        let count = transmit.chunks_vectored(&mut chunks);
        for chunk in chunks.iter().take(count) {
            let room = PIECE - self.output.len();
            self.output.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
            if room <= chunk.len() {
                break;
            }
        }
    }

    /// Returns whether bytes wait to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Returns whether bytes were written that the session does not know of.
    pub(crate) const fn has_unreported(&self) -> bool {
        self.unreported > 0
    }

    /// Writes all output, and flushes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unreported += count;
            self.needs_flush = true;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of the output, shuts the writing half down, and reads until the peer has closed the stream: closing a
    /// socket with unread input resets the connection, and the last packet might never be read. Errors end it.
    /// `exchange` has to [report](Self::report) and to [fill](Self::fill).
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>, mut exchange: impl FnMut(&mut Self)) -> Poll<()> {
        while !self.is_shut_down {
            let written = self.poll_write(cx);
            exchange(self);
            match written {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => self.is_shut_down = true,
                Poll::Ready(Ok(())) if self.has_output() => {}
                Poll::Ready(Ok(())) => match Pin::new(&mut self.stream).poll_shutdown(cx) {
                    Poll::Pending => break,
                    Poll::Ready(_) => self.is_shut_down = true,
                },
            }
        }
        loop {
            self.input.clear();
            if let 0 = ready!(self.poll_read(cx)).unwrap_or(0) {
                return Poll::Ready(());
            }
        }
    }

    /// Reads once, and returns the number of bytes; 0 at the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_at_end {
            return Poll::Ready(Ok(0));
        }
        if self.input.capacity() - self.input.len() < PIECE / 4 {
            self.input.reserve(PIECE);
        }
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?;
        self.is_at_end = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Removes the received bytes, so that what a session takes out of them can share them. What is left is
    /// [put back](Self::put_back).
    pub(crate) fn take_input(&mut self) -> Bytes {
        mem::take(&mut self.input).freeze()
    }

    /// Puts the last `rest` bytes back that [`take_input`](Self::take_input) has returned. The buffer is used again unless
    /// something shares it.
    pub(crate) fn put_back(&mut self, mut input: Bytes, rest: usize) {
        input.advance(input.len() - rest);
        self.input = input.try_into_mut().unwrap_or_else(|rest| BytesMut::from(&rest[..]));
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }
}
