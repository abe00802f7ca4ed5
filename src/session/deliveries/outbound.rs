//! Operations in flight: sent messages of QoS 1 and 2, and requests, that the peer has not acknowledged completely
//! (sections 4.3, 4.4 and 4.6).

use alloc::vec::Vec;

use super::packet_id::{PacketIds, Reused};
use super::stage::{Ack, Stage, Step};
use crate::codec::PacketId;
use crate::session::store::stored::Stored;
use crate::session::token::Token;
use crate::time::Instant;

/// The operations in flight, by packet identifier.
///
/// The order in which messages were sent is a linked list through them, and so is the order in which PUBRECs arrived. A
/// tail of the first list may be still to be sent again on this connection. The send quota is derived from the lengths
/// of the lists, so it cannot leak.
#[derive(Clone)]
pub(crate) struct Outbound {
    flows: PacketIds<Flow>,
    /// Messages without PUBACK or PUBREC, in the order of their PUBLISH \[MQTT-4.6.0-1\].
    unacknowledged: Order,
    /// Messages that the peer has received and that wait for PUBCOMP, in the order of their PUBREC \[MQTT-4.6.0-4\].
    released: Order,
    /// The first message in `unacknowledged` that is to be sent again on this connection, and the number of messages
    /// from there on.
    resend: Link,
    to_resend: u16,
}

/// A packet identifier, or 0 for none.
type Link = u16;

#[derive(Clone, Copy, Default)]
struct Order {
    first: Link,
    last: Link,
    len: u16,
}

/// The offset of a message that is still to be sent again on this connection.
const NOT_YET: u64 = u64::MAX;

/// The offset of a message that is not in the output yet, because it waits for a batch to be committed.
pub(crate) const HELD: u64 = u64::MAX - 1;

/// An operation in flight.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) token: Token,
    pub(crate) stage: Stage,
    /// Whether the message may have been sent on an earlier connection.
    pub(crate) dup: bool,
    /// Whether the outcome was reported before the peer has completed the operation, which was withdrawn or given up.
    /// The packet identifier stays in use, and no packet is stored.
    pub(crate) is_reported: bool,
    /// Number of closed connections on which the packet was sent.
    pub(crate) tries: u16,
    previous: Link,
    next: Link,
    /// The time at which the operation was requested: the Message Expiry Interval counts from here.
    pub(crate) since: Instant,
    /// Time that the message may be queued, in seconds; `u32::MAX` for no limit.
    pub(crate) expires_after: u32,
    /// The mark of the message, 0 for none: see [`Waiting::mark`](super::queue::Waiting::mark).
    pub(crate) mark: u32,
    /// Offset of the packet in the stream of this connection; [`NOT_YET`] if the packet is still to be sent again,
    /// [`HELD`] if it waits.
    pub(crate) starts_at: u64,
    /// The packet; empty once PUBREC of a message has arrived.
    pub(crate) stored: Stored,
}

/// The result of processing an acknowledgement.
pub(crate) enum Acknowledged {
    /// The operation is complete, and its packet identifier free; `freed` bytes are no longer stored. Without a token,
    /// the outcome was reported before.
    Finished { token: Option<Token>, stage: Stage, freed: usize },
    /// PUBREL must be sent; `freed` bytes are no longer stored. Nothing has changed unless this PUBREC is the `first`.
    Release { first: bool, freed: usize },
    /// No operation waits for the acknowledgement.
    Unknown,
    /// The operation with this packet identifier waits for another packet.
    Mismatch,
}

impl Flow {
    pub(crate) const fn new(token: Token, stage: Stage, since: Instant, starts_at: u64, stored: Stored) -> Self {
        Self {
            token,
            stage,
            dup: false,
            is_reported: false,
            tries: 0,
            previous: 0,
            next: 0,
            since,
            expires_after: u32::MAX,
            mark: 0,
            starts_at,
            stored,
        }
    }

    #[inline]
    pub(crate) const fn is_message(&self) -> bool {
        matches!(self.stage, Stage::PubAck | Stage::PubRec | Stage::PubComp { .. })
    }

    /// Returns whether the message has never been in the output of a connection.
    const fn is_unsent(&self) -> bool {
        self.starts_at == HELD && !self.dup
    }
}

impl Reused for Flow {
    #[inline]
    fn kept(&self) -> usize {
        self.stored.kept()
    }
}

/// The value of an unused slot.
impl Default for Flow {
    fn default() -> Self {
        Self::new(Token::FIRST, Stage::PubAck, Instant::EPOCH, 0, Stored::default())
    }
}

impl Outbound {
    pub(crate) fn new() -> Self {
        let nothing = Order { first: 0, last: 0, len: 0 };
        Self { flows: PacketIds::new(), unacknowledged: nothing, released: nothing, resend: 0, to_resend: 0 }
    }

    /// Restores messages in flight, in the order in which they were sent; messages with PUBREC in the order of their
    /// PUBRECs.
    pub(crate) fn restored(messages: impl IntoIterator<Item = (PacketId, Flow)>) -> Self {
        let mut order = Vec::new();
        let flows = PacketIds::restored(messages.into_iter().inspect(|(id, flow)| order.push((*id, flow.stage))));
        let mut outbound = Self { flows, ..Self::new() };
        for (id, stage) in order {
            match stage {
                Stage::PubComp { .. } => outbound.append(id, |outbound| &mut outbound.released),
                Stage::GivenUp => {}
                _ => outbound.append(id, |outbound| &mut outbound.unacknowledged),
            }
        }
        outbound
    }

    /// Returns the operations whose outcome is not reported yet: messages in the order of their stages, then requests.
    pub(crate) fn unreported(&self) -> impl Iterator<Item = &Flow> {
        let requests = self.flows.iter().filter(|(_, flow)| !flow.is_message());
        self.messages().chain(requests).map(|(_, flow)| flow).filter(|flow| !flow.is_reported)
    }

    /// Counts the operations whose outcome is not reported yet, by looking at each.
    pub(crate) fn count_unreported(&self) -> usize {
        self.flows.iter().filter(|(_, flow)| !flow.is_reported).count()
    }

    /// Returns whether one more operation needs no larger table than that of a few operations.
    pub(crate) fn has_spare_id(&self) -> bool {
        self.flows.has_spare_id()
    }

    /// Returns the size of the table in bytes.
    #[inline]
    pub(crate) fn heap(&self) -> usize {
        self.flows.bytes()
    }

    /// Returns the number of packet identifiers in use.
    pub(crate) const fn len(&self) -> usize {
        self.flows.len()
    }

    /// Returns the number of messages that count against the Receive Maximum of the peer: those of which a PUBLISH or
    /// PUBREL was sent on this connection (section 4.9).
    #[inline]
    pub(crate) const fn in_flight(&self) -> u16 {
        self.unacknowledged.len.saturating_sub(self.to_resend).saturating_add(self.released.len)
    }

    /// Returns the number of messages that are still to be sent again on this connection.
    pub(crate) const fn to_resend(&self) -> u16 {
        self.to_resend
    }

    /// Returns the packet identifier of the next operation; `None` if all are in use.
    #[inline]
    pub(crate) fn next_id(&self) -> Option<PacketId> {
        self.flows.next_id()
    }

    /// Adds an operation with the packet identifier [`next_id`](Self::next_id).
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        token: Token,
        stage: Stage,
        since: Instant,
        expires_after: u32,
        starts_at: u64,
    ) -> Option<&mut Flow> {
        let (id, flow) = self.flows.take()?;
        flow.token = token;
        flow.stage = stage;
        flow.dup = false;
        flow.is_reported = false;
        flow.tries = 0;
        flow.since = since;
        flow.expires_after = expires_after;
        flow.mark = 0;
        flow.starts_at = starts_at;
        if flow.is_message() {
            // As `append` does, which would look the operation up again.
            let order = &mut self.unacknowledged;
            let last = core::mem::replace(&mut order.last, id.get());
            order.len = order.len.saturating_add(1);
            (flow.previous, flow.next) = (last, 0);
            match PacketId::new(last) {
                Err(_) => order.first = id.get(),
                Ok(last) => {
                    if let Some(before) = self.flows.get_mut(last) {
                        before.next = id.get();
                    }
                }
            }
        }
        self.flows.get_mut(id)
    }

    /// Processes an acknowledgement. `order` is that of the PUBREL which it may cause.
    #[inline]
    pub(crate) fn acknowledge(&mut self, id: PacketId, ack: Ack, takes_downgraded: bool, order: u32) -> Acknowledged {
        let Some(flow) = self.flows.get_mut(id) else { return Acknowledged::Unknown };
        let stage = flow.stage;
        let step = stage.step(ack);
        match (step, ack) {
            (Step::Downgraded, _) if !takes_downgraded => Acknowledged::Mismatch,
            (Step::Finished | Step::Downgraded, _) => {
                let (token, freed) = (flow.token, flow.stored.len());
                flow.stored.clear();
                let is_reported = flow.is_reported;
                self.unlink(id, stage);
                self.flows.free(id);
                Acknowledged::Finished { token: (!is_reported).then_some(token), stage, freed }
            }
            (Step::Release, Ack::PubRec(code)) => {
                // After PUBREC, PUBLISH is never sent again and need not be stored [MQTT-4.3.3-6].
                flow.stage = Stage::PubComp { code, order };
                let freed = flow.stored.len();
                flow.stored.clear();
                self.unlink(id, stage);
                self.append(id, |outbound| &mut outbound.released);
                Acknowledged::Release { first: true, freed }
            }
            (Step::ReleaseAgain, _) => Acknowledged::Release { first: false, freed: 0 },
            (Step::Ignored, _) => Acknowledged::Unknown,
            (Step::Release | Step::Mismatch, _) => Acknowledged::Mismatch,
        }
    }

    /// Returns the stage of the operation with this packet identifier.
    pub(crate) fn stage(&self, id: PacketId) -> Option<Stage> {
        self.flows.get(id).map(|flow| flow.stage)
    }

    /// Returns whether the operation with this packet identifier is a message that was not given up.
    pub(crate) fn is_message(&self, id: PacketId) -> bool {
        self.flows.get(id).is_some_and(Flow::is_message)
    }

    /// Returns the operation with this packet identifier.
    pub(crate) fn get(&self, id: PacketId) -> Option<&Flow> {
        self.flows.get(id)
    }

    /// As [`get`](Self::get), to set what a durable store has of the operation.
    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut Flow> {
        self.flows.get_mut(id)
    }

    /// Returns the operation with this token, unless its outcome was reported.
    pub(crate) fn find(&self, token: Token) -> Option<(PacketId, &Flow)> {
        self.flows.iter().find(|(_, flow)| flow.token == token && !flow.is_reported)
    }

    /// Marks an operation whose outcome is reported before the peer has completed it; returns the number of bytes that
    /// are no longer stored. The packet identifier stays in use. A message that has not been sent on this connection is
    /// not sent again.
    pub(crate) fn set_reported(&mut self, id: PacketId) -> usize {
        let Some(flow) = self.flows.get_mut(id) else {
            bug!("packet identifier {id} is not in use");
            return 0;
        };
        let freed = flow.stored.len();
        flow.stored.clear();
        flow.is_reported = true;
        if flow.starts_at >= HELD && matches!(flow.stage, Stage::PubAck | Stage::PubRec) {
            self.set_aside(id);
        }
        freed
    }

    /// Removes a message that has never been in the output of a connection; `None` if it has.
    pub(crate) fn take_unsent(&mut self, id: PacketId) -> Option<Flow> {
        if self.get(id)?.is_unsent() { self.remove(id) } else { None }
    }

    /// Returns the message with this packet identifier and token, if it waits for a batch to be committed.
    pub(crate) fn get_held(&self, id: PacketId, token: Token) -> Option<&Flow> {
        let is_held = |flow: &&Flow| {
            flow.token == token && flow.starts_at == HELD && matches!(flow.stage, Stage::PubAck | Stage::PubRec)
        };
        self.get(id).filter(is_held)
    }

    /// Records that a message that has waited is put into the output, at this offset in the stream of this connection.
    pub(crate) fn release_held(&mut self, id: PacketId, starts_at: u64) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.starts_at = starts_at;
        }
    }

    /// Gives up a message: it is not sent again, and acknowledgements of it are ignored. The packet identifier stays in
    /// use.
    pub(crate) fn set_aside(&mut self, id: PacketId) {
        if let Some(stage) = self.stage(id) {
            self.unlink(id, stage);
        }
        if let Some(flow) = self.flows.get_mut(id) {
            flow.stage = Stage::GivenUp;
        }
    }

    /// Schedules all messages without PUBACK or PUBREC to be sent again on the next connection, because this one is
    /// closed \[MQTT-4.4.0-1\]. PUBREL is sent again for the messages in [`released`](Self::released).
    pub(crate) fn rewind(&mut self) {
        let mut link = self.unacknowledged.first;
        while let Some((id, flow)) = PacketId::new(link).ok().and_then(|id| Some((id, self.flows.get_mut(id)?))) {
            link = flow.next;
            if flow.is_reported {
                self.set_aside(id);
            } else {
                let was_sent = flow.starts_at < HELD;
                flow.tries = flow.tries.saturating_add(u16::from(was_sent));
                flow.dup |= was_sent;
                flow.starts_at = NOT_YET;
            }
        }
        self.resend = self.unacknowledged.first;
        self.to_resend = self.unacknowledged.len;
    }

    /// Returns the messages that wait for PUBCOMP, in the order of their PUBRECs.
    pub(crate) fn released(&self) -> impl Iterator<Item = PacketId> {
        self.list(self.released).map(|(id, _)| id)
    }

    /// Returns the message that is to be sent again next.
    pub(crate) fn next_to_resend(&self) -> Option<(PacketId, &Flow)> {
        let id = PacketId::new(self.resend).ok()?;
        self.flows.get(id).map(|flow| (id, flow))
    }

    /// Records that [`next_to_resend`](Self::next_to_resend) was sent again, at this offset in the stream of this
    /// connection.
    pub(crate) fn resent(&mut self, starts_at: u64) {
        if let Some(flow) = PacketId::new(self.resend).ok().and_then(|id| self.flows.get_mut(id)) {
            flow.starts_at = starts_at;
            self.resend = flow.next;
            self.to_resend = self.to_resend.saturating_sub(1);
        } else {
            bug!("there is nothing to be sent again");
        }
    }

    /// Removes an operation, and frees its packet identifier.
    pub(crate) fn remove(&mut self, id: PacketId) -> Option<Flow> {
        let stage = self.flows.get(id)?.stage;
        self.unlink(id, stage);
        self.flows.remove(id)
    }

    /// Gives up a message that may have been sent. Returns its token, the number of bytes that are no longer stored,
    /// and whether the packet identifier stays in use.
    pub(crate) fn give_up(&mut self, id: PacketId) -> Option<(Token, usize, bool)> {
        let flow = self.flows.get(id)?;
        let (token, stays) = (flow.token, flow.stage == Stage::PubRec);
        let freed = if stays { self.set_reported(id) } else { self.remove(id)?.stored.len() };
        Some((token, freed, stays))
    }

    /// Removes and returns the messages that were given up, because the session ended.
    pub(crate) fn forget_given_up(&mut self) -> Vec<Flow> {
        if self.len() == 0 { Vec::new() } else { self.take_where(|flow| flow.stage == Stage::GivenUp) }
    }

    /// Returns the messages that were given up.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = (PacketId, &Flow)> {
        self.flows.iter().filter(|(_, flow)| flow.stage == Stage::GivenUp)
    }

    /// Removes and returns the last message, if no byte of it has been taken from the output on any connection: the
    /// message has never been sent.
    pub(crate) fn take_back_message(&mut self, taken: u64) -> Option<(PacketId, Flow)> {
        let id = PacketId::new(self.unacknowledged.last).ok()?;
        let flow = self.flows.get(id)?;
        if flow.dup || flow.starts_at < taken { None } else { Some((id, self.remove(id)?)) }
    }

    /// Returns the last message, if it has this token.
    pub(crate) fn last_message(&mut self, token: Token) -> Option<&mut Flow> {
        let last = PacketId::new(self.unacknowledged.last).ok().and_then(|id| self.flows.get_mut(id));
        last.filter(|flow| flow.token == token)
    }

    /// Removes and returns the requests, in any order: they belong to the connection, not to the session.
    pub(crate) fn take_requests(&mut self) -> Vec<Flow> {
        let messages = usize::from(self.unacknowledged.len).saturating_add(usize::from(self.released.len));
        if self.len() == messages {
            return Vec::new();
        }
        self.take_where(|flow| matches!(flow.stage, Stage::SubAck(_) | Stage::UnsubAck(_)))
    }

    /// Removes and returns operations by a predicate.
    fn take_where(&mut self, wanted: impl Fn(&Flow) -> bool) -> Vec<Flow> {
        let ids: Vec<_> = self.flows.iter().filter(|(_, flow)| wanted(flow)).map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Removes and returns the oldest message; first the messages that wait for PUBCOMP.
    pub(crate) fn take_message(&mut self) -> Option<Flow> {
        let first = if self.released.first != 0 { self.released.first } else { self.unacknowledged.first };
        self.remove(PacketId::new(first).ok()?)
    }

    /// Returns the messages in flight: first those that wait for PUBCOMP, in the order of their PUBRECs, then the
    /// others in the order of their PUBLISH.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (PacketId, &Flow)> {
        self.list(self.released).chain(self.list(self.unacknowledged))
    }

    fn list(&self, order: Order) -> impl Iterator<Item = (PacketId, &Flow)> {
        let mut link = order.first;
        core::iter::from_fn(move || {
            let id = PacketId::new(link).ok()?;
            let flow = self.flows.get(id)?;
            link = flow.next;
            Some((id, flow))
        })
    }

    /// Returns the stored packets.
    pub(crate) fn stored_mut(&mut self) -> impl Iterator<Item = &mut Stored> {
        self.flows.values_mut().map(|flow| &mut flow.stored)
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.flows.shrink();
    }

    /// Returns whether the counts agree with the lists and the table.
    pub(crate) fn is_consistent(&self) -> bool {
        let messages = usize::from(self.unacknowledged.len).saturating_add(usize::from(self.released.len));
        let resend_len = match PacketId::new(self.resend) {
            Ok(first) => self.messages().skip_while(|&(id, _)| id != first).count(),
            Err(_) => 0,
        };
        self.messages().count() == messages
            && self.flows.iter().filter(|(_, flow)| flow.is_message()).count() == messages
            && self.flows.iter().count() == self.len()
            && self.given_up().all(|(_, flow)| flow.is_reported)
            && resend_len == usize::from(self.to_resend)
    }

    /// Appends an operation to a list.
    #[inline]
    fn append(&mut self, id: PacketId, list: impl Fn(&mut Self) -> &mut Order) {
        let order = list(self);
        let last = core::mem::replace(&mut order.last, id.get());
        order.len = order.len.saturating_add(1);
        if last == 0 {
            order.first = id.get();
        }
        if let Some(flow) = self.flows.get_mut(id) {
            flow.previous = last;
            flow.next = 0;
        }
        if let Some(flow) = PacketId::new(last).ok().and_then(|last| self.flows.get_mut(last)) {
            flow.next = id.get();
        }
    }

    /// Removes an operation in this stage from its list.
    #[inline]
    fn unlink(&mut self, id: PacketId, stage: Stage) {
        let Some(&Flow { previous, next, starts_at, .. }) = self.flows.get(id) else {
            bug!("packet identifier {id} is not in use");
            return;
        };
        let order = match stage {
            Stage::PubAck | Stage::PubRec => {
                if starts_at == NOT_YET {
                    self.to_resend = self.to_resend.saturating_sub(1);
                    if self.resend == id.get() {
                        self.resend = next;
                    }
                }
                &mut self.unacknowledged
            }
            Stage::PubComp { .. } => &mut self.released,
            Stage::SubAck(_) | Stage::UnsubAck(_) | Stage::GivenUp => return,
        };
        order.len = order.len.saturating_sub(1);
        if previous == 0 {
            order.first = next;
        }
        if next == 0 {
            order.last = previous;
        }
        if let Some(flow) = PacketId::new(previous).ok().and_then(|id| self.flows.get_mut(id)) {
            flow.next = next;
        }
        if let Some(flow) = PacketId::new(next).ok().and_then(|id| self.flows.get_mut(id)) {
            flow.previous = previous;
        }
    }
}
