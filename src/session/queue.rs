//! What was asked for and cannot be sent yet.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::stored::Stored;
use super::token::Token;
use crate::codec::QoS;
use crate::time::Instant;

/// What happens to a message when no more can be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// It is refused, by an error of `publish`.
    #[default]
    Refuse,
    /// The oldest messages that have not been sent make room for it, and their outcome is reported. If that is not
    /// enough it is refused.
    DropOldest,
}

/// Messages and requests that wait, in the order in which they were asked for.
///
/// Messages of QoS 1 and 2 wait in a line of their own: a full window stops them, and nothing else
/// \[MQTT-3.3.4-8\].
#[derive(Clone, Default)]
pub(crate) struct Queue {
    windowed: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
    messages: u32,
    message_bytes: u32,
}

/// One that waits.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) token: Token,
    /// When it was asked for; [`Instant::NEVER`] until the time is told.
    pub(crate) since: Instant,
    pub(crate) kind: Kind,
    /// How long it may wait, in seconds; `u32::MAX` for ever, or as good as.
    pub(crate) expires_after: u32,
    /// A number that whoever publishes the message gives it, to know it again when the session has expired; 0 for none.
    pub(crate) mark: u32,
    pub(crate) stored: Stored,
}

impl Waiting {
    /// Whether it has expired at this time.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires_after != u32::MAX && now.since(self.since).as_secs() >= u64::from(self.expires_after)
    }
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message(QoS),
    /// SUBSCRIBE with so many filters.
    Subscribe(u32),
    /// UNSUBSCRIBE with so many filters.
    Unsubscribe(u32),
}

impl Kind {
    /// Whether it needs room in the window of the other end.
    pub(crate) const fn is_windowed(self) -> bool {
        matches!(self, Self::Message(QoS::AtLeastOnce | QoS::ExactlyOnce))
    }

    /// Whether it needs a packet identifier.
    const fn needs_id(self) -> bool {
        !matches!(self, Self::Message(QoS::AtMostOnce))
    }
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.windowed.is_empty() && self.others.is_empty()
    }

    /// Whether something of this kind would have to wait behind others.
    #[inline]
    pub(crate) fn holds_up(&self, windowed: bool) -> bool {
        if windowed { !self.windowed.is_empty() } else { !self.others.is_empty() }
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.count(&waiting);
        self.line(waiting.kind).push_back(waiting);
    }

    /// Puts back what was sent, or was about to be; the last one first.
    pub(crate) fn put_back(&mut self, waiting: Waiting) {
        self.count(&waiting);
        self.line(waiting.kind).push_front(waiting);
    }

    /// The next one in order; without the window, or without a packet identifier, the next one that needs none.
    pub(crate) fn pop(&mut self, window_is_open: bool, has_id: bool) -> Option<Waiting> {
        let windowed = self.windowed.front().filter(|_| window_is_open && has_id).map(|waiting| waiting.token);
        let other =
            self.others.front().filter(|waiting| has_id || !waiting.kind.needs_id()).map(|waiting| waiting.token);
        let next = match (windowed, other) {
            (Some(windowed), Some(other)) if windowed < other => self.windowed.pop_front(),
            (_, Some(_)) => self.others.pop_front(),
            (Some(_), None) => self.windowed.pop_front(),
            (None, None) => None,
        };
        self.discount(next)
    }

    /// Whether [`pop`](Self::pop) would return something.
    #[inline]
    pub(crate) fn has_next(&self, window_is_open: bool, has_id: bool) -> bool {
        self.others.front().is_some_and(|waiting| has_id || !waiting.kind.needs_id())
            || (window_is_open && has_id && !self.windowed.is_empty())
    }

    /// Takes out the oldest message. Requests are not dropped.
    pub(crate) fn drop_oldest_message(&mut self) -> Option<Waiting> {
        let other = self.others.iter().position(|waiting| matches!(waiting.kind, Kind::Message(_)));
        let other_token = other.and_then(|place| self.others.get(place)).map(|waiting| waiting.token);
        let oldest = match (self.windowed.front().map(|waiting| waiting.token), other_token) {
            (Some(windowed), Some(other)) if windowed < other => self.windowed.pop_front(),
            (_, Some(_)) => self.others.remove(other?),
            (_, None) => self.windowed.pop_front(),
        };
        self.discount(oldest)
    }

    /// The messages of QoS 1 and 2, in order.
    pub(crate) fn windowed(&self) -> impl Iterator<Item = &Waiting> {
        self.windowed.iter()
    }

    /// How many of them are messages.
    pub(crate) const fn messages(&self) -> u32 {
        self.messages
    }

    /// How many bytes those take.
    pub(crate) const fn message_bytes(&self) -> u32 {
        self.message_bytes
    }

    /// What was asked for since the time was last told was asked for at this time.
    pub(crate) fn stamp(&mut self, now: Instant) {
        for line in [&mut self.windowed, &mut self.others] {
            line.iter_mut().rev().take_while(|waiting| waiting.since == Instant::NEVER).for_each(|it| it.since = now);
        }
    }

    /// Takes out a message of QoS 0.
    pub(crate) fn take_unacknowledged(&mut self) -> Option<Waiting> {
        let place = self.others.iter().position(|waiting| waiting.kind == Kind::Message(QoS::AtMostOnce))?;
        let waiting = self.others.remove(place);
        self.discount(waiting)
    }

    /// The message that has come last, if it has this token.
    #[cfg(feature = "broker")]
    pub(crate) fn last_message(&mut self, token: Token) -> Option<&mut Waiting> {
        let mut last = [&mut self.windowed, &mut self.others].into_iter().filter_map(VecDeque::back_mut);
        last.find(|last| last.token == token)
    }

    /// Takes out the messages that are marked, in the order in which they were published.
    pub(crate) fn take_marked(&mut self) -> Vec<Waiting> {
        let mut marked = Vec::new();
        for line in [&mut self.windowed, &mut self.others] {
            if line.iter().any(|waiting| waiting.mark != 0) {
                let (taken, left) = core::mem::take(line).into_iter().partition(|waiting| waiting.mark != 0);
                *line = left;
                marked.push(taken);
            }
        }
        let mut marked: Vec<Waiting> = marked.into_iter().flat_map(|line: VecDeque<_>| line).collect();
        marked.sort_by_key(|waiting| waiting.token);
        marked.iter().for_each(|waiting| self.forget_count(waiting));
        marked
    }

    /// How many messages have expired at this time, and how many bytes they take.
    pub(crate) fn expired(&self, now: Instant) -> (u32, u32) {
        let expired = self.windowed.iter().chain(&self.others).filter(|waiting| waiting.is_expired(now));
        expired.fold((0, 0), |(count, bytes), waiting| {
            (count.saturating_add(1), bytes.saturating_add(waiting.stored.len() as u32))
        })
    }

    /// Takes out a message that has expired at this time.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Waiting> {
        let lines = [&mut self.windowed, &mut self.others];
        let expired = lines.into_iter().find_map(|line| {
            let place = line.iter().position(|waiting| waiting.is_expired(now))?;
            line.remove(place)
        });
        self.discount(expired)
    }

    pub(crate) fn stored_mut(&mut self) -> impl Iterator<Item = &mut Stored> {
        self.windowed.iter_mut().chain(&mut self.others).map(|waiting| &mut waiting.stored)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.windowed.len().saturating_add(self.others.len())
    }

    fn count(&mut self, waiting: &Waiting) {
        if let Kind::Message(_) = waiting.kind {
            self.messages = self.messages.saturating_add(1);
            self.message_bytes = self.message_bytes.saturating_add(waiting.stored.len() as u32);
        }
    }

    fn discount(&mut self, waiting: Option<Waiting>) -> Option<Waiting> {
        if let Some(waiting) = &waiting {
            self.forget_count(waiting);
        }
        waiting
    }

    fn forget_count(&mut self, waiting: &Waiting) {
        if let Kind::Message(_) = waiting.kind {
            self.messages = self.messages.saturating_sub(1);
            self.message_bytes = self.message_bytes.saturating_sub(waiting.stored.len() as u32);
        }
    }

    fn line(&mut self, kind: Kind) -> &mut VecDeque<Waiting> {
        if kind.is_windowed() { &mut self.windowed } else { &mut self.others }
    }

    /// Gives memory back that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        self.windowed.shrink_to_fit();
        self.others.shrink_to_fit();
    }
}
