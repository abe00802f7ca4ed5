//! The queue of messages and requests that cannot be sent yet.

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::codec::QoS;
use crate::heap_size;
use crate::session::store::stored::Stored;
use crate::session::token::Token;
use crate::time::Instant;

/// The behaviour of `publish` when a configured limit of queued and in-flight messages is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Overflow {
    /// Refuses the new message with `QueueFull`. This is the default.
    #[default]
    Refuse,
    /// Drops the oldest queued messages to make room for the new one, and reports their outcome as
    /// [`AbandonReason::Overflow`](crate::AbandonReason::Overflow). Messages in flight and requests are not dropped. If
    /// dropping all queued messages would not make enough room, none is dropped and the new message is refused.
    DropOldest,
}

/// The queued messages and requests, in the order in which they were requested, except for the
/// [first requests](Self::first_requests).
///
/// Messages of QoS 1 and 2 are in a line of their own: if the maximum number of messages in flight is reached, only
/// these messages are held up \[MQTT-3.3.4-8\].
///
/// Every operation takes constant time on average, or logarithmic time where a token or an expiry is looked up.
#[derive(Clone, Default)]
pub(crate) struct Queue {
    /// Messages of QoS 1 and 2.
    windowed: Line,
    /// Messages of QoS 0.
    unacknowledged: Line,
    requests: Line,
    /// The requests up to this token are sent before all messages: one of them was made or sent on a connection. Other
    /// requests keep their places among the messages.
    first_requests: Option<Token>,
    /// The messages that expire, by time of expiry. An entry whose message has left the queue is skipped; such entries
    /// are swept once they clearly outnumber the messages that expire.
    expiries: BinaryHeap<Reverse<(Instant, Token)>>,
    /// Number of queued messages that expire.
    expiring: u32,
    messages: u32,
    message_bytes: u32,
}

/// A queued message or request.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) token: Token,
    /// The time at which the operation was requested.
    pub(crate) since: Instant,
    pub(crate) kind: Kind,
    /// Time that the message may be queued, in seconds; `u32::MAX` for no limit.
    pub(crate) expires_after: u32,
    /// A number that the publisher assigns to identify the message when the session has expired; 0 for none.
    pub(crate) mark: u32,
    /// Number of closed connections on which the packet was sent.
    pub(crate) tries: u16,
    pub(crate) stored: Stored,
}

impl Waiting {
    /// Returns whether the message has expired at this time.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires_after != u32::MAX && now.since(self.since).as_secs() >= u64::from(self.expires_after)
    }

    /// Returns the entry for [`Queue::expiries`]; `None` if the message does not expire.
    fn expiry(&self) -> Option<Reverse<(Instant, Token)>> {
        (self.expires_after != u32::MAX).then(|| Reverse((self.since.after_seconds(self.expires_after), self.token)))
    }
}

/// The kind of a queued packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message(QoS),
    /// SUBSCRIBE with this number of topic filters.
    Subscribe(u32),
    /// UNSUBSCRIBE with this number of topic filters.
    Unsubscribe(u32),
}

impl Kind {
    /// Returns whether the packet counts against the maximum number of messages in flight.
    pub(crate) const fn is_windowed(self) -> bool {
        matches!(self, Self::Message(QoS::AtLeastOnce | QoS::ExactlyOnce))
    }
}

/// A part of the queue, by ascending token. Removing an entry from the middle leaves a gap, so that no entries are
/// moved; gaps are closed once they are more than half of the entries.
#[derive(Clone, Default)]
struct Line {
    /// The entries; the first one is never a gap.
    entries: VecDeque<Entry>,
    gaps: usize,
}

#[derive(Clone)]
enum Entry {
    Waiting(Waiting),
    Gap(Token),
}

impl Entry {
    const fn token(&self) -> Token {
        match self {
            Self::Waiting(waiting) => waiting.token,
            Self::Gap(token) => *token,
        }
    }

    const fn waiting(&self) -> Option<&Waiting> {
        match self {
            Self::Waiting(waiting) => Some(waiting),
            Self::Gap(_) => None,
        }
    }
}

impl Line {
    fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.gaps)
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn front(&self) -> Option<Token> {
        self.entries.front().map(Entry::token)
    }

    fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.entries.iter().filter_map(Entry::waiting)
    }

    fn pop_front(&mut self) -> Option<Waiting> {
        let first = self.entries.pop_front();
        self.trim();
        match first? {
            Entry::Waiting(waiting) => Some(waiting),
            Entry::Gap(token) => {
                bug!("the line begins with the gap of {token}");
                None
            }
        }
    }

    fn find(&self, token: Token) -> Option<usize> {
        let index = self.entries.binary_search_by_key(&token, Entry::token).ok()?;
        self.entries.get(index)?.waiting().map(|_| index)
    }

    fn remove(&mut self, token: Token) -> Option<Waiting> {
        let index = self.find(token)?;
        let removed = core::mem::replace(self.entries.get_mut(index)?, Entry::Gap(token));
        self.gaps = self.gaps.saturating_add(1);
        self.trim();
        if self.gaps > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.waiting().is_some());
            self.gaps = 0;
        }
        match removed {
            Entry::Waiting(waiting) => Some(waiting),
            Entry::Gap(token) => {
                bug!("the gap of {token} was found");
                None
            }
        }
    }

    /// Removes the gaps at the start of the line.
    fn trim(&mut self) {
        while let Some(Entry::Gap(_)) = self.entries.front() {
            self.entries.pop_front();
            self.gaps = self.gaps.saturating_sub(1);
        }
    }
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether a message has to be queued behind others: one of QoS 1 or 2 if `windowed`, else one of QoS 0.
    #[inline]
    pub(crate) fn holds_up(&self, windowed: bool) -> bool {
        if windowed { !self.windowed.is_empty() } else { !self.unacknowledged.is_empty() || !self.requests.is_empty() }
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.count(&waiting);
        self.line(waiting.kind).entries.push_back(Entry::Waiting(waiting));
    }

    /// Puts a packet back to the front of the queue. Several packets are put back in reverse order.
    pub(crate) fn put_back(&mut self, waiting: Waiting) {
        self.count(&waiting);
        if let Kind::Subscribe(_) | Kind::Unsubscribe(_) = waiting.kind {
            self.put_requests_first(waiting.token);
        }
        self.line(waiting.kind).entries.push_front(Entry::Waiting(waiting));
    }

    /// Makes the requests up to this token the first packets of the queue.
    pub(crate) fn put_requests_first(&mut self, up_to: Token) {
        self.first_requests = self.first_requests.max(Some(up_to));
    }

    /// Returns whether there is a request that is sent before all messages.
    #[inline]
    pub(crate) fn has_first_request(&self) -> bool {
        self.requests.front().is_some_and(|token| Some(token) <= self.first_requests)
    }

    /// Removes and returns the next request, whatever its place among the messages.
    pub(crate) fn pop_request(&mut self) -> Option<Waiting> {
        self.requests.pop_front()
    }

    /// Removes and returns the next packet in order. Messages of QoS 1 and 2 are skipped unless `window_is_open`, and
    /// packets that need a packet identifier unless `has_id`.
    pub(crate) fn pop(&mut self, window_is_open: bool, has_id: bool) -> Option<Waiting> {
        let windowed = self.windowed.front().filter(|_| window_is_open && has_id);
        let request = self.requests.front().filter(|_| has_id);
        let next = [windowed, self.unacknowledged.front(), request].into_iter().flatten().min()?;
        let popped = if windowed == Some(next) {
            self.windowed.pop_front()
        } else if request == Some(next) {
            self.requests.pop_front()
        } else {
            self.unacknowledged.pop_front()
        };
        self.discount(popped)
    }

    /// Returns whether [`pop`](Self::pop) would return a packet.
    #[inline]
    pub(crate) fn has_next(&self, window_is_open: bool, has_id: bool) -> bool {
        !self.unacknowledged.is_empty()
            || has_id && (!self.requests.is_empty() || window_is_open && !self.windowed.is_empty())
    }

    /// Removes and returns the oldest message. Requests are not dropped.
    pub(crate) fn drop_oldest_message(&mut self) -> Option<Waiting> {
        let oldest = match (self.windowed.front(), self.unacknowledged.front()) {
            (Some(windowed), Some(other)) if windowed < other => self.windowed.pop_front(),
            (_, Some(_)) => self.unacknowledged.pop_front(),
            (_, None) => self.windowed.pop_front(),
        };
        self.discount(oldest)
    }

    /// Returns the packet with this token.
    pub(crate) fn get(&self, token: Token) -> Option<&Waiting> {
        [&self.windowed, &self.unacknowledged, &self.requests]
            .into_iter()
            .find_map(|line| line.entries.get(line.find(token)?)?.waiting())
    }

    /// Removes and returns the packet with this token.
    pub(crate) fn remove(&mut self, token: Token) -> Option<Waiting> {
        let lines = [&mut self.windowed, &mut self.unacknowledged, &mut self.requests];
        let removed = lines.into_iter().find_map(|line| line.remove(token));
        self.discount(removed)
    }

    /// Returns the messages of QoS 1 and 2, in order.
    pub(crate) fn windowed(&self) -> impl Iterator<Item = &Waiting> {
        self.windowed.iter()
    }

    /// Returns all queued packets: messages of QoS 1 and 2, messages of QoS 0, requests.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.windowed.iter().chain(self.unacknowledged.iter()).chain(self.requests.iter())
    }

    /// Returns the number of queued messages.
    pub(crate) const fn messages(&self) -> u32 {
        self.messages
    }

    /// Returns the size of the queued messages, in bytes.
    pub(crate) const fn message_bytes(&self) -> u32 {
        self.message_bytes
    }

    /// Removes and returns the oldest message of QoS 0.
    pub(crate) fn take_unacknowledged(&mut self) -> Option<Waiting> {
        let first = self.unacknowledged.pop_front();
        self.discount(first)
    }

    /// Returns the message that was queued last, if it has this token.
    pub(crate) fn last_message(&mut self, token: Token) -> Option<&mut Waiting> {
        let lines = [&mut self.windowed, &mut self.unacknowledged];
        lines.into_iter().find_map(|line| match line.entries.back_mut() {
            Some(Entry::Waiting(last)) if last.token == token => Some(last),
            _ => None,
        })
    }

    /// Removes and returns a message that has expired at this time.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Waiting> {
        while let Some(&Reverse((at, token))) = self.expiries.peek() {
            if at > now {
                break;
            }
            self.expiries.pop();
            let expired = self.windowed.remove(token).or_else(|| self.unacknowledged.remove(token));
            if expired.is_some() {
                return self.discount(expired);
            }
        }
        None
    }

    pub(crate) fn stored_mut(&mut self) -> impl Iterator<Item = &mut Stored> {
        let lines = [&mut self.windowed, &mut self.unacknowledged, &mut self.requests];
        lines.into_iter().flat_map(|line| &mut line.entries).filter_map(|entry| match entry {
            Entry::Waiting(waiting) => Some(&mut waiting.stored),
            Entry::Gap(_) => None,
        })
    }

    /// Returns the number of queued messages and requests.
    pub(crate) fn len(&self) -> usize {
        self.windowed.len().saturating_add(self.unacknowledged.len()).saturating_add(self.requests.len())
    }

    fn count(&mut self, waiting: &Waiting) {
        if let Kind::Message(_) = waiting.kind {
            self.messages = self.messages.saturating_add(1);
            self.message_bytes = self.message_bytes.saturating_add(waiting.stored.len() as u32);
        }
        if waiting.expires_after != u32::MAX {
            self.expiring = self.expiring.saturating_add(1);
            self.expiries.extend(waiting.expiry());
        }
    }

    fn discount(&mut self, waiting: Option<Waiting>) -> Option<Waiting> {
        if let Some(Waiting { kind: Kind::Message(_), stored, expires_after, .. }) = &waiting {
            self.messages = self.messages.saturating_sub(1);
            self.message_bytes = self.message_bytes.saturating_sub(stored.len() as u32);
            if *expires_after != u32::MAX {
                self.expiring = self.expiring.saturating_sub(1);
                self.sweep();
            }
        }
        waiting
    }

    /// Removes the expiries of messages that have left the queue, once such expiries are more than half of all.
    fn sweep(&mut self) {
        /// Number of expiries for which a sweep is not worth its cost.
        const FEW: usize = 16;
        if self.expiries.len() > (self.expiring as usize).saturating_mul(2).saturating_add(FEW) {
            let expiries: Vec<_> =
                self.windowed.iter().chain(self.unacknowledged.iter()).filter_map(Waiting::expiry).collect();
            self.expiries = expiries.into();
        }
    }

    fn line(&mut self, kind: Kind) -> &mut Line {
        match kind {
            Kind::Message(QoS::AtLeastOnce | QoS::ExactlyOnce) => &mut self.windowed,
            Kind::Message(QoS::AtMostOnce) => &mut self.unacknowledged,
            Kind::Subscribe(_) | Kind::Unsubscribe(_) => &mut self.requests,
        }
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        for line in [&mut self.windowed, &mut self.unacknowledged, &mut self.requests] {
            line.entries.shrink_to_fit();
        }
        self.expiries.shrink_to_fit();
    }

    /// Returns the size in bytes on the heap, without that of the packets.
    pub(crate) fn heap(&self) -> usize {
        let lines = [&self.windowed, &self.unacknowledged, &self.requests].map(|line| heap_size::queue(&line.entries));
        let expiries = self.expiries.capacity().saturating_mul(core::mem::size_of::<Reverse<(Instant, Token)>>());
        lines.into_iter().fold(expiries, usize::saturating_add)
    }

    /// Returns whether the counts agree with the entries, which are in the order of their tokens, and all expiries are
    /// known.
    pub(crate) fn is_consistent(&self) -> bool {
        [&self.windowed, &self.unacknowledged, &self.requests].into_iter().all(|line| {
            line.entries.iter().is_sorted_by(|a, b| a.token() < b.token())
                && line.entries.front().is_none_or(|first| first.waiting().is_some())
                && line.iter().count() == line.len()
                && line.iter().filter_map(Waiting::expiry).count() <= self.expiries.len()
        }) && self.windowed.iter().chain(self.unacknowledged.iter()).filter(|it| it.expires_after != u32::MAX).count()
            == self.expiring as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(size: u64, expires_after: impl Fn(u64) -> u32) -> Queue {
        let mut queue = Queue::default();
        for number in 1..=size {
            let Some(token) = Token::from_number(number) else { continue };
            let kind = Kind::Message(if number % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce });
            let (expires_after, stored) = (expires_after(number), Stored::default());
            queue.push(Waiting { token, since: Instant::EPOCH, kind, expires_after, mark: 0, tries: 0, stored });
        }
        queue
    }

    /// Tests that gaps and expiries are swept, so that removed messages cost neither memory nor time.
    #[test]
    fn nothing_is_left_behind() {
        for forwards in [true, false] {
            let mut queue = queue(10_000, |number| 10 + number as u32 % 7);
            for number in 1..=10_000 {
                let number = if forwards { number } else { 10_001 - number };
                let removed = Token::from_number(number).and_then(|token| queue.remove(token));
                assert_eq!(removed.map(|it| it.token.get()), Some(number));
                let waiting = queue.len();
                let entries = queue.windowed.entries.len() + queue.unacknowledged.entries.len();
                assert!(entries <= 2 * waiting + 2, "{entries} entries for {waiting}");
                assert!(queue.expiries.len() <= 2 * waiting + 17, "{} expiries", queue.expiries.len());
            }
            assert!(queue.is_empty() && queue.is_consistent());
        }
    }

    /// Tests that messages expire in the order of their expiry, wherever they are queued, and that no others expire.
    #[test]
    fn messages_expire_in_order() {
        let mut queue = queue(1000, |number| if number % 3 == 0 { u32::MAX } else { 1 + (number * 7919 % 100) as u32 });
        let mut expired = 0;
        for second in 0..=100 {
            while let Some(waiting) = queue.take_expired(Instant::from_micros(second * 1_000_000)) {
                assert_eq!(u64::from(waiting.expires_after), second);
                expired += 1;
            }
            assert!(queue.is_consistent());
        }
        assert_eq!((expired, queue.len()), (667, 333));
        while queue.pop(true, true).is_some() {}
        assert!(queue.is_empty() && queue.is_consistent());
    }
}
