//! Operations whose outcomes are awaited.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use foldhash::fast::FixedState;
use mqtt_sansio::codec::PacketBuf;
use mqtt_sansio::{OwnedOutcome, Token};

/// What the driver does with the outcome of a request.
pub(crate) enum Request {
    /// Notes the subscriptions that were granted.
    Subscribe(Arc<PacketBuf>),
    /// Forgets the subscriptions.
    Unsubscribe(PacketBuf),
    /// Reports what became of the subscriptions to these filters, which the driver has requested again.
    Resubscribe(Arc<PacketBuf>, Vec<String>),
}

/// The operations whose outcomes somebody awaits, or that the driver itself has to do something about.
#[derive(Default)]
pub(crate) struct Operations(HashMap<Token, Operation, FixedState>);

struct Operation {
    waiter: Waiter,
    request: Option<Request>,
}

/// The future of an outcome, as the driver sees it.
enum Waiter {
    /// There is none.
    Gone,
    /// It has not been polled yet.
    New,
    Polled(Waker),
    /// The outcome has not been taken yet.
    Done(OwnedOutcome),
}

impl Operations {
    /// Adds an operation whose outcome will be asked for with [`poll`](Self::poll).
    pub(crate) fn insert(&mut self, token: Token, request: Option<Request>) {
        self.0.insert(token, Operation { waiter: Waiter::New, request });
    }

    /// Adds an operation of the driver itself.
    pub(crate) fn insert_own(&mut self, token: Token, request: Request) {
        self.0.insert(token, Operation { waiter: Waiter::Gone, request: Some(request) });
    }

    /// Returns the outcome, if it is known, or else notes who is to be woken.
    pub(crate) fn poll(&mut self, token: Token, waker: &Waker) -> Option<OwnedOutcome> {
        let operation = self.0.get_mut(&token)?;
        match &mut operation.waiter {
            Waiter::Done(_) => match self.0.remove(&token)?.waiter {
                Waiter::Done(outcome) => Some(outcome),
                _ => None,
            },
            Waiter::Polled(old) => {
                old.clone_from(waker);
                None
            }
            waiter => {
                *waiter = Waiter::Polled(waker.clone());
                None
            }
        }
    }

    /// Notes that nobody awaits the outcome any more.
    pub(crate) fn forget(&mut self, token: Token) {
        if let Some(operation) = self.0.get_mut(&token) {
            if operation.request.is_some() {
                operation.waiter = Waiter::Gone;
            } else {
                self.0.remove(&token);
            }
        }
    }

    /// Notes the outcome of an operation; it is only made if somebody needs it. Returns the request to which it belongs.
    pub(crate) fn finish(
        &mut self,
        token: Token,
        outcome: impl FnOnce() -> OwnedOutcome,
        wakers: &mut Vec<Waker>,
    ) -> Option<(Request, OwnedOutcome)> {
        let operation = self.0.get_mut(&token)?;
        let request = operation.request.take();
        let outcome = outcome();
        match std::mem::replace(&mut operation.waiter, Waiter::Gone) {
            Waiter::Gone => {
                self.0.remove(&token);
            }
            waiter => {
                operation.waiter = Waiter::Done(outcome.clone());
                if let Waiter::Polled(waker) = waiter {
                    wakers.push(waker);
                }
            }
        }
        Some((request?, outcome))
    }

    /// Returns whether the driver has requested these subscriptions again and awaits the outcome.
    pub(crate) fn is_requested_again(&self, request: &Arc<PacketBuf>) -> bool {
        self.0.values().any(|it| matches!(&it.request, Some(Request::Resubscribe(own, _)) if Arc::ptr_eq(own, request)))
    }

    /// Takes the wakers of all that await an outcome, because there will be none.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        for operation in self.0.values_mut() {
            if let Waiter::Polled(_) = operation.waiter
                && let Waiter::Polled(waker) = std::mem::replace(&mut operation.waiter, Waiter::New)
            {
                wakers.push(waker);
            }
        }
    }
}
