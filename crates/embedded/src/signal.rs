//! A signal from one future to another one of the same task, or of the same thread.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// A flag that one future waits for. A signal that is set while nothing waits is not lost.
#[derive(Default)]
pub(crate) struct Signal {
    is_set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    pub(crate) fn set(&self) {
        self.is_set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until the flag is set, and clears it.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if self.is_set.take() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
