//! One connection of a session: its output, its incomplete input, its topic aliases, its Keep Alive.

pub(super) mod alias;
pub(super) mod held;
pub(super) mod keep_alive;
mod packets;
pub(super) mod partial;
pub(super) mod transmit;

use alloc::boxed::Box;
use core::num::NonZeroU16;

use self::alias::{InboundAliases, OutboundAliases};
use self::partial::Partial;
use self::transmit::Transmit;
use super::effects::Effects;
use super::error::ProtocolError;
use super::limits::ConnectionLimits;
use super::received_topic::{SharedTopic, Topic};
use crate::codec::{self, DecodeError, Decoded, FixedHeader, Packet, Publish, Short, Version};
use crate::topic::TopicName;

/// The bytes of one connection: output that has not been taken, and what the session has to remember of the input.
///
/// A session without a connection has an empty link. Whether there is a connection is the state of the endpoint.
#[derive(Clone)]
pub(crate) struct Link {
    /// The protocol version of the connection; without a connection that of the session.
    version: Version,
    /// Whether input has arrived since this flag was last read.
    has_input: bool,
    /// Whether input was last not taken, because too many answers are in the output.
    is_held: bool,
    /// Number of bytes of an incomplete packet in the input. With [`INPUT_LEFT`]: number of bytes of input that were
    /// not taken because too many answers are in the output.
    unfinished: u32,
    /// Number of bytes that had been taken from `transmit` at the last [`note_sent`](Self::note_sent).
    noted: u64,
    transmit: Transmit,
    inbound_aliases: Option<Box<InboundAliases>>,
    outbound_aliases: Option<Box<OutboundAliases>>,
    /// The message that is currently delivered in parts.
    partial: Option<Box<Partial>>,
}

/// Flag in [`Link::unfinished`], above every possible size of a packet.
const INPUT_LEFT: u32 = 1 << 31;

/// Bytes that have been taken from the output.
pub(crate) struct Sent {
    pub(crate) count: u64,
    /// Whether no input was being taken before.
    pub(crate) was_held: bool,
}

impl Link {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            has_input: false,
            is_held: false,
            unfinished: 0,
            noted: 0,
            transmit: Transmit::default(),
            inbound_aliases: None,
            outbound_aliases: None,
            partial: None,
        }
    }

    #[inline]
    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    /// Sets the version; returns the previous one.
    pub(crate) const fn set_version(&mut self, version: Version) -> Version {
        core::mem::replace(&mut self.version, version)
    }

    /// Begins to carry messages; no topic alias is mapped yet \[MQTT-3.3.2-7\].
    pub(crate) fn open(&mut self, max_aliases: u16) {
        self.inbound_aliases = None;
        self.outbound_aliases = NonZeroU16::new(max_aliases).map(|max| OutboundAliases::new(max).into());
        self.transmit.shrink();
    }

    /// Discards the state of the connection.
    pub(crate) fn close(&mut self) {
        self.transmit.clear();
        self.noted = 0;
        self.unfinished = 0;
        self.has_input = false;
        self.is_held = false;
        self.inbound_aliases = None;
        self.outbound_aliases = None;
        self.partial = None;
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.transmit.shrink();
    }

    /// Returns the output. It offers no bytes while it is held.
    #[inline]
    pub(crate) const fn transmit(&mut self) -> &mut Transmit {
        &mut self.transmit
    }

    /// Sets whether the output is held: see [`Transmit::hold`].
    pub(crate) fn hold(&mut self, held: bool) {
        self.transmit.hold(held);
    }

    #[inline]
    pub(crate) const fn output(&self) -> &Transmit {
        &self.transmit
    }

    /// Replaces the output, which contains the packets that an acceptor has sent.
    pub(crate) fn set_output(&mut self, transmit: Transmit) {
        self.transmit = transmit;
    }

    /// Returns whether there are topic aliases.
    #[inline]
    pub(crate) const fn has_aliases(&self) -> bool {
        self.inbound_aliases.is_some() | self.outbound_aliases.is_some()
    }

    /// Returns the size of the topic aliases in bytes.
    pub(crate) fn aliases(&self) -> usize {
        let inbound =
            self.inbound_aliases.as_ref().map_or(0, |it| it.heap().saturating_add(core::mem::size_of_val(&**it)));
        let outbound = self.outbound_aliases.as_ref();
        let outbound = outbound.map_or(0, |it| it.heap().saturating_add(core::mem::size_of_val(&**it)));
        inbound.saturating_add(outbound)
    }

    /// Removes and returns the output. The bytes in it count as taken.
    pub(crate) fn hand_over(&mut self) -> Transmit {
        self.transmit.hand_over()
    }

    /// Returns the number of bytes that have been taken on this connection.
    #[inline]
    pub(crate) const fn taken(&self) -> u64 {
        self.transmit.taken()
    }

    /// Returns the offset at which the next packet begins in the stream of this connection.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.transmit.end()
    }

    /// Returns the number of bytes in the output, without shared payloads.
    pub(crate) fn own_len(&self) -> usize {
        self.transmit.own_len()
    }

    /// Returns the bytes that have been taken from the output since the last call; `None` if there are none.
    #[inline]
    pub(crate) fn note_sent(&mut self, answer_limit: u32) -> Option<Sent> {
        let is_held = self.transmit.has_unsent_answers(answer_limit);
        let (from, taken) = (self.noted, self.transmit.taken());
        if from == taken {
            // As long as nothing leaves, answers do not become fewer.
            self.is_held |= is_held;
            return None;
        }
        self.noted = taken;
        let was_held = core::mem::replace(&mut self.is_held, is_held);
        Some(Sent { count: taken.wrapping_sub(from), was_held })
    }

    /// Returns the number of bytes that are in the output or were taken after the last [`note_sent`](Self::note_sent).
    pub(crate) fn ahead(&self) -> u64 {
        self.transmit.end().wrapping_sub(self.noted)
    }

    /// Returns whether bytes have been taken from the output since the last [`note_sent`](Self::note_sent).
    #[inline]
    pub(crate) const fn has_unnoted(&self) -> bool {
        self.noted != self.transmit.taken()
    }

    /// Returns whether this endpoint may put more packets of its own, other than answers, into the output. Messages
    /// that wait to be put into it count.
    #[inline]
    pub(crate) fn has_room(&self, limits: &ConnectionLimits, effects: &Effects) -> bool {
        let limit = limits.transmit_limit as usize;
        self.transmit.len() < limit && (!effects.has_held() || self.has_room_beside_held(limit, effects))
    }

    #[cold]
    #[inline(never)]
    fn has_room_beside_held(&self, limit: usize, effects: &Effects) -> bool {
        let held = effects.durable().map_or(0, |durable| durable.held().message_bytes() as usize);
        self.transmit.len().saturating_add(held) < limit
    }

    /// Returns whether input is taken: not while too many answers are in the output. Other packets in the output do not
    /// matter, or both endpoints could wait for each other to read.
    #[inline]
    pub(crate) fn has_room_for_answers(&self, limits: &ConnectionLimits) -> bool {
        !self.transmit.has_unsent_answers(limits.answer_limit)
    }

    /// Returns whether input was left because too many answers were in the output.
    #[inline]
    pub(crate) const fn has_left_input(&self) -> bool {
        self.unfinished & INPUT_LEFT != 0
    }

    /// Returns whether input has arrived since the last call.
    #[inline]
    pub(crate) const fn take_has_input(&mut self) -> bool {
        core::mem::replace(&mut self.has_input, false)
    }

    /// Notes that input is left which is not taken until changes are committed.
    #[cold]
    pub(crate) const fn leave_input(&mut self, input: &[u8]) {
        let left = input.len() as u32 | INPUT_LEFT;
        self.has_input |= left != self.unfinished;
        self.unfinished = left;
    }

    /// Notes that no input is left.
    #[inline]
    pub(crate) const fn input_taken(&mut self) {
        self.unfinished = 0;
    }

    /// Returns whether a packet can be taken out of the input, which is not empty.
    #[inline(always)]
    pub(crate) fn takes_input(&mut self, limits: &ConnectionLimits, input: &[u8]) -> bool {
        let takes = self.has_room_for_answers(limits);
        if !takes {
            self.is_held = true;
            let left = input.len() as u32 | INPUT_LEFT;
            // Input shows that the peer is alive, even if the input is not taken.
            self.has_input |= left != self.unfinished;
            self.unfinished = left;
        } else if self.unfinished & INPUT_LEFT != 0 {
            self.unfinished = 0;
        }
        takes
    }

    /// Takes the packet at the start of the input, if it is a complete short one.
    #[inline(always)]
    pub(crate) fn take_short<'a>(&mut self, limits: &ConnectionLimits, input: &mut &'a [u8]) -> Option<Short<'a>> {
        if self.partial.is_some() {
            return None;
        }
        let (packet, size) = codec::decode_short(input, self.version, limits.decoder)?;
        *input = input.get(size..).unwrap_or_default();
        self.has_input = true;
        Some(packet)
    }

    /// Takes the packet at the start of the input, if it is complete.
    pub(crate) fn take_packet<'a>(
        &mut self,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
    ) -> Result<Option<Packet<'a>>, DecodeError> {
        match codec::decode(input, self.version, limits.decoder)? {
            Decoded::Packet { packet, size } => {
                *input = input.get(size..).unwrap_or_default();
                self.has_input = true;
                Ok(Some(packet))
            }
            Decoded::Incomplete { .. } => {
                let unfinished = input.len() as u32;
                // A large packet that arrives slowly shows that the peer is alive, too.
                self.has_input |= unfinished != self.unfinished;
                self.unfinished = unfinished;
                Ok(None)
            }
        }
    }

    /// Takes the input, if it is the start of a message that is to be delivered in parts. Returns the message with the
    /// first part of its payload, and the number of bytes that have not arrived.
    pub(crate) fn take_head<'a>(
        &mut self,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
    ) -> Result<Option<(Publish<'a>, u32)>, DecodeError> {
        let is_large = |header: FixedHeader| header.packet_size() > limits.deliver_in_parts;
        if !FixedHeader::decode(input, self.version).ok().flatten().is_some_and(is_large) {
            return Ok(None);
        }
        let head = codec::decode_publish_head(input, self.version, limits.decoder)?;
        if head.is_some() {
            *input = &[];
            self.has_input = true;
        }
        Ok(head)
    }

    /// Returns whether a message is currently delivered in parts.
    #[inline]
    pub(crate) const fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Begins to deliver a message in parts.
    pub(crate) fn begin_parts(&mut self, partial: Partial) {
        self.partial = Some(partial.into());
    }

    /// Takes the next part of the message that is delivered in parts.
    pub(crate) fn take_part<'a>(&mut self, input: &mut &'a [u8]) -> Option<(&'a [u8], Partial)> {
        let partial = self.partial.as_mut()?;
        self.has_input = true;
        let part = partial.take_part(input);
        let state = Partial::clone(partial);
        if state.missing() == 0 {
            self.partial = None;
        }
        Some((part, state))
    }

    /// Returns the topic of a message, with a topic alias resolved to the topic name (section 3.3.2.3.4).
    #[cold]
    pub(crate) fn resolve_alias<'a>(
        &mut self,
        limits: &ConnectionLimits,
        topic: TopicName<'a>,
        alias: NonZeroU16,
    ) -> Result<Topic<'a>, ProtocolError> {
        if alias.get() > limits.topic_alias_maximum {
            return Err(ProtocolError::TopicAliasInvalid);
        }
        let aliases = self.inbound_aliases.get_or_insert_default();
        if topic.is_empty() {
            let topic = aliases.get(alias).ok_or(ProtocolError::UnknownTopicAlias)?;
            return Ok(Topic::Aliased(SharedTopic(topic)));
        }
        aliases.set(alias, topic.as_bytes());
        Ok(Topic::Named(topic))
    }
}
