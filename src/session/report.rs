//! Outcomes to report.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::outcome::{AbandonReason, Done, Outcome};
use super::token::Token;
use crate::heap_size;

type Outcomes = VecDeque<(Token, Option<AbandonReason>)>;
type InOutput = VecDeque<(u64, Token)>;

/// The size of a queue without its entries.
const HEADER: usize = core::mem::size_of::<InOutput>();

/// Outcomes that no packet of the peer causes: of abandoned operations, and of messages of QoS 0, which are sent once
/// their bytes have been taken from the output.
#[derive(Clone, Default)]
pub(crate) struct Report {
    /// The outcomes in the order of reporting; a reason of `None` means sent. The list is never empty.
    outcomes: Option<Box<Outcomes>>,
    /// Messages of QoS 0 in the output, each with the offset of its end in the stream of the connection; offsets and
    /// tokens ascend.
    in_output: Option<Box<InOutput>>,
}

impl Report {
    /// Returns whether there is memory for messages of QoS 0 in the output.
    #[inline]
    pub(crate) const fn has_in_output(&self) -> bool {
        self.in_output.is_some()
    }

    /// Returns the size in bytes on the heap.
    pub(crate) fn heap(&self) -> usize {
        let outcomes = self.outcomes.as_ref().map_or(0, |it| heap_size::queue(it).saturating_add(HEADER));
        let in_output = self.in_output.as_ref().map_or(0, |it| heap_size::queue(it).saturating_add(HEADER));
        outcomes.saturating_add(in_output)
    }

    /// Returns whether an outcome can be reported, messages in the output not considered.
    #[inline]
    pub(crate) const fn has_outcome(&self) -> bool {
        self.outcomes.is_some()
    }

    /// Returns whether an outcome can be reported once `taken` bytes of the stream have been taken.
    #[inline]
    pub(crate) fn has_next(&self, taken: u64) -> bool {
        self.outcomes.is_some()
            || self.in_output.as_ref().is_some_and(|in_output| match in_output.front() {
                Some(&(end, _)) => end <= taken,
                None => false,
            })
    }

    /// Returns the next outcome. Only valid after [`has_next`](Self::has_next) has returned `true`.
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

    /// Adds an outcome: sent if `reason` is `None`, else abandoned.
    pub(crate) fn push(&mut self, token: Token, reason: Option<AbandonReason>) {
        self.outcomes.get_or_insert_default().push_back((token, reason));
    }

    /// Adds a message of QoS 0 that was put into the output and ends at this offset.
    #[inline]
    pub(crate) fn push_in_output(&mut self, token: Token, end: u64) {
        self.in_output.get_or_insert_default().push_back((end, token));
    }

    /// Returns whether the token is that of a message of QoS 0 in the output.
    pub(crate) fn is_in_output(&self, token: Token) -> bool {
        let in_output = self.in_output.as_ref();
        in_output.is_some_and(|in_output| in_output.binary_search_by_key(&token, |&(_, token)| token).is_ok())
    }

    /// Adds the outcomes of the messages in the output when the connection closes: sent if they end within the `taken`
    /// bytes.
    pub(crate) fn disconnected(&mut self, taken: u64) {
        for (end, token) in self.in_output.take().into_iter().flat_map(|in_output| *in_output) {
            self.push(token, (end > taken).then_some(AbandonReason::Connection));
        }
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        if self.in_output.as_ref().is_some_and(|in_output| in_output.is_empty()) {
            self.in_output = None;
        }
    }
}
