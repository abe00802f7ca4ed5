//! Outcomes that wait to be reported.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::outcome::{AbandonReason, Done, Outcome};
use super::token::Token;

type Outcomes = VecDeque<(Token, Option<AbandonReason>)>;
type InOutput = VecDeque<(u64, Token)>;

/// Outcomes that do not come from a packet of the peer: what was lost, and messages of QoS 0, whose outcome is known when
/// their bytes have left.
#[derive(Clone, Default)]
pub(crate) struct Report {
    /// In the order in which they are reported; `None` for sent. Never an empty list.
    outcomes: Option<Box<Outcomes>>,
    /// Messages of QoS 0 that are in the output, with where they end in the stream of the connection; both ascend.
    in_output: Option<Box<InOutput>>,
}

impl Report {
    /// Whether an outcome can be reported that does not depend on what has left.
    #[inline]
    pub(crate) const fn has_outcome(&self) -> bool {
        self.outcomes.is_some()
    }

    /// Whether an outcome can be reported when this many bytes of the stream have left.
    #[inline]
    pub(crate) fn has_next(&self, taken: u64) -> bool {
        self.outcomes.is_some()
            || self.in_output.as_ref().is_some_and(|in_output| match in_output.front() {
                Some(&(end, _)) => end <= taken,
                None => false,
            })
    }

    /// The next outcome, of those that [`has_next`](Self::has_next) has found.
    pub(crate) fn next<'a, A: From<Done<'a>>>(&mut self) -> Option<A> {
        let (token, reason) = if let Some(outcomes) = &mut self.outcomes {
            let first = outcomes.pop_front();
            if outcomes.is_empty() {
                self.outcomes = None;
            }
            first?
        } else {
            let (_, token) = self.in_output.as_mut()?.pop_front()?;
            (token, None)
        };
        Some(Done { token, outcome: reason.map_or(Outcome::Sent, Outcome::Abandoned) }.into())
    }

    /// Something was sent, or is lost.
    pub(crate) fn push(&mut self, token: Token, reason: Option<AbandonReason>) {
        self.outcomes.get_or_insert_default().push_back((token, reason));
    }

    /// A message of QoS 0 was put into the output and ends there.
    #[inline]
    pub(crate) fn push_in_output(&mut self, token: Token, end: u64) {
        self.in_output.get_or_insert_default().push_back((end, token));
    }

    /// Whether a message of QoS 0 is in the output.
    pub(crate) fn is_in_output(&self, token: Token) -> bool {
        let in_output = self.in_output.as_ref();
        in_output.is_some_and(|in_output| in_output.binary_search_by_key(&token, |&(_, token)| token).is_ok())
    }

    /// The connection is gone: of the messages in the output those were sent that end within this many bytes.
    pub(crate) fn disconnected(&mut self, taken: u64) {
        for (end, token) in self.in_output.take().into_iter().flat_map(|in_output| *in_output) {
            self.push(token, (end > taken).then_some(AbandonReason::Connection));
        }
    }

    /// Gives memory back that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        if self.in_output.as_ref().is_some_and(|in_output| in_output.is_empty()) {
            self.in_output = None;
        }
    }
}
