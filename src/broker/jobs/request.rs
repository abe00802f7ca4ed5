//! SUBSCRIBE and UNSUBSCRIBE packets that are worked on filter by filter.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::broker::pending_codes::PendingCodes;
use crate::broker::policy::ConnectionId;
use crate::broker::slab::Key;
use crate::codec::{List, SubAckReasonCode, Subscription, UnsubAckReasonCode, Version};
use crate::server::RequestId;
use crate::topic::TopicFilter;

/// A SUBSCRIBE that is worked on filter by filter \[MQTT-3.8.4-5\]: the policy decides, and the subscription is made. From the
/// first decision that comes later on, the policy is asked about all others first.
pub(in crate::broker) struct Subscribing {
    pub(in crate::broker) session: Key,
    pub(in crate::broker) connection: ConnectionId,
    pub(in crate::broker) request: RequestId,
    /// The subscription identifier, or 0.
    pub(in crate::broker) identifier: u32,
    pub(in crate::broker) entries: Entries,
    /// The decisions of the policy so far; all of them once the first subscription is made.
    pub(in crate::broker) decisions: PendingCodes,
    /// The reason codes for SUBACK so far.
    pub(in crate::broker) codes: Vec<SubAckReasonCode>,
    /// Whether the policy has been asked about all filters.
    pub(in crate::broker) is_decided: bool,
}

/// An UNSUBSCRIBE that is worked on filter by filter.
pub(in crate::broker) struct Unsubscribing {
    pub(in crate::broker) session: Key,
    pub(in crate::broker) connection: ConnectionId,
    pub(in crate::broker) request: RequestId,
    pub(in crate::broker) entries: Entries,
    /// The reason codes for UNSUBACK so far.
    pub(in crate::broker) codes: Vec<UnsubAckReasonCode>,
}

/// The entries of a list in a packet, taken one by one.
pub(in crate::broker) struct Entries {
    bytes: Box<[u8]>,
    version: Version,
    count: u32,
    /// Where the next entry begins.
    at: usize,
    /// Where the list is gone on with after a [`rewind`](Self::rewind).
    mark: usize,
}

impl Subscribing {
    /// The size on the heap, in bytes, with the box of the request itself.
    pub(in crate::broker) fn heap(&self) -> usize {
        let parts = [self.entries.bytes.len(), self.decisions.heap(), self.codes.capacity()];
        parts.into_iter().fold(core::mem::size_of::<Self>(), usize::saturating_add)
    }

    /// Moves the request out.
    pub(in crate::broker) fn take(&mut self) -> Self {
        Self {
            session: self.session,
            connection: self.connection,
            request: self.request,
            identifier: self.identifier,
            entries: core::mem::take(&mut self.entries),
            decisions: core::mem::take(&mut self.decisions),
            codes: core::mem::take(&mut self.codes),
            is_decided: self.is_decided,
        }
    }
}

impl Unsubscribing {
    /// The size on the heap, in bytes, with the box of the request itself.
    pub(super) fn heap(&self) -> usize {
        core::mem::size_of::<Self>().saturating_add(self.entries.bytes.len()).saturating_add(self.codes.capacity())
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self { bytes: Box::default(), version: Version::V5, count: 0, at: 0, mark: 0 }
    }
}

impl Entries {
    /// Copies the entries of a list in a received packet.
    pub(in crate::broker) fn new<T>(list: &List<'_, T>) -> Self {
        let Some((bytes, version)) = list.wire_parts() else {
            bug!("a list of a received packet is a view over bytes");
            return Self::default();
        };
        Self { bytes: bytes.into(), version, count: list.len() as u32, at: 0, mark: 0 }
    }

    /// Number of entries, with those that were taken.
    pub(in crate::broker) const fn count(&self) -> u32 {
        self.count
    }

    /// The entries so far are not to be taken again.
    pub(in crate::broker) const fn mark(&mut self) {
        self.mark = self.at;
    }

    /// Goes back to the [mark](Self::mark).
    pub(in crate::broker) const fn rewind(&mut self) {
        self.at = self.mark;
    }

    fn rest(&self) -> Option<&[u8]> {
        self.bytes.get(self.at..).filter(|rest| !rest.is_empty())
    }

    /// Takes the next subscription.
    pub(in crate::broker) fn next_subscription(&mut self) -> Option<Subscription<'_>> {
        /// The length of the filter, and the options.
        const FIELDS: usize = 3;
        let size = List::<Subscription<'_>>::wire(self.rest()?, 1, self.version).iter().next()?.filter.as_bytes().len();
        let at = self.at;
        self.at = self.at.saturating_add(size).saturating_add(FIELDS);
        List::wire(self.bytes.get(at..)?, 1, self.version).iter().next()
    }

    /// Takes the next filter.
    pub(in crate::broker) fn next_filter(&mut self) -> Option<TopicFilter<'_>> {
        /// The length of the filter.
        const FIELDS: usize = 2;
        let size = List::<TopicFilter<'_>>::wire(self.rest()?, 1, self.version).iter().next()?.as_bytes().len();
        let at = self.at;
        self.at = self.at.saturating_add(size).saturating_add(FIELDS);
        List::wire(self.bytes.get(at..)?, 1, self.version).iter().next()
    }
}
