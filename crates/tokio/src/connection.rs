//! One connection, from CONNECT to its end.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::committer::Committer;
use crate::pipe::Pipe;
use crate::shared::Shared;
use crate::state::Over;
use crate::timer::Timer;

/// Maximum number of steps before other tasks run.
const TURNS: usize = 32;

/// A transport and the session that talks over it.
pub(crate) struct Connection<'d, S> {
    shared: &'d Arc<Shared>,
    pipe: Pipe<S>,
    timer: &'d mut Timer,
    wakers: &'d mut Vec<Waker>,
    committer: &'d mut Committer,
    /// The error of the last write: nothing more is written. What the server has sent before is still read, because it may
    /// contain the reason.
    write_error: Option<io::Error>,
    /// The error of the last read, or that the stream has ended.
    read_error: Option<io::Error>,
}

impl<'d, S: AsyncRead + AsyncWrite + Unpin> Connection<'d, S> {
    pub(crate) fn new(
        shared: &'d Arc<Shared>,
        stream: S,
        timer: &'d mut Timer,
        wakers: &'d mut Vec<Waker>,
        committer: &'d mut Committer,
    ) -> Self {
        Self { shared, pipe: Pipe::new(stream), timer, wakers, committer, write_error: None, read_error: None }
    }

    /// Moves bytes and waits, until the session or the transport has ended the connection.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Over>> {
        for _ in 0..TURNS {
            let step = self.shared.step(&mut self.pipe, cx.waker(), self.wakers);
            if let Some(over) = step.close {
                return Poll::Ready(Ok(over));
            }
            if self.read_error.is_some()
                && !step.has_more
                && !step.is_withheld
                && let Some(error) = self.read_error.take()
            {
                return Poll::Ready(Err(self.write_error.take().unwrap_or(error)));
            }
            let mut has_progress = step.has_more | self.committer.poll(self.shared, cx);
            if self.committer.has_failed() {
                return Poll::Ready(Err(io::Error::other("the session cannot be stored")));
            }
            if self.write_error.is_none() {
                if let Poll::Ready(Err(error)) = self.pipe.poll_write(cx) {
                    self.write_error = Some(error);
                }
                has_progress |= self.pipe.has_unreported();
            }
            if step.is_held
                && let Some(error) = self.write_error.take()
            {
                return Poll::Ready(Err(error)); // nothing will be read any more
            }
            if step.reads && self.read_error.is_none() {
                match self.pipe.poll_read(cx) {
                    Poll::Pending => {}
                    Poll::Ready(read) => {
                        has_progress = true;
                        self.read_error = match read {
                            Ok(0) => {
                                Some(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed the transport"))
                            }
                            Ok(_) => None,
                            Err(error) => Some(error),
                        };
                    }
                }
            }
            if !has_progress {
                let deadline = step.deadline.and_then(|at| self.shared.clock.at(at));
                if self.timer.poll(cx, deadline).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes the rest of the output, and closes the transport.
    pub(crate) async fn finish(mut self, linger: Duration) {
        let all = poll_fn(|cx| {
            self.pipe.poll_finish(cx, |pipe| {
                self.shared.with(|state| {
                    pipe.report(state.session.transmit());
                    pipe.fill(state.session.transmit());
                });
            })
        });
        let _ = timeout(linger, all).await; // the connection is over in any case
    }
}
