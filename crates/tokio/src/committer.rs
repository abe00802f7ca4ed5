//! The store of a durable session.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use mqtt_sansio::store::Batch;

use crate::shared::Shared;

/// The future of batches that are being stored.
type Storing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Stores the changes of a durable session, one group of batches after the other.
#[derive(Default)]
pub(crate) struct Committer {
    /// Stores batches; `None` if the session is not durable.
    store: Option<Box<dyn FnMut(Vec<Batch>) -> Storing + Send>>,
    /// The group that is being stored, with the number of its last batch.
    storing: Option<(u64, Storing)>,
    error: Option<io::Error>,
}

impl Committer {
    pub(crate) fn new<F>(mut store: impl FnMut(Vec<Batch>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self { store: Some(Box::new(move |batches| Box::pin(store(batches)))), storing: None, error: None }
    }

    /// Goes on with storing; returns whether batches were reported to the session as committed, which may have more to send
    /// then. After an error nothing more is stored.
    pub(crate) fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> bool {
        let Some(store) = &mut self.store else { return false };
        let mut has_progress = false;
        while self.error.is_none() {
            if let Some((number, storing)) = &mut self.storing {
                match storing.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) => {
                        let (number, now) = (*number, shared.clock.now());
                        shared.with(|state| state.session.committed(now, number));
                        has_progress = true;
                    }
                    Poll::Ready(Err(error)) => self.error = Some(error),
                }
                self.storing = None;
            } else {
                let batches = shared.with(|state| mem::take(&mut state.batches));
                let Some(last) = batches.last() else { break };
                self.storing = Some((last.number(), store(batches)));
            }
        }
        has_progress
    }

    /// Stores all that is to be stored.
    pub(crate) fn poll_flush(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(shared, cx);
        if self.storing.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }

    pub(crate) const fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Returns the error, if storing has failed.
    pub(crate) const fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }
}
