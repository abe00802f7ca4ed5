//! The interface between sessions and a router: everything that a broker does with an [`ServerSession`] or an
//! [`Acceptor`](super::Acceptor) beyond their public commands.
//!
//! It is compiled the same whether there is a broker or not, and knows nothing of one.
//!
//! | question or command | what it is for |
//! |---|---|
//! | [`Copies`], [`ServerSession::forward`], [`ServerSession::forward_plain`] | delivers one message to many sessions, and encodes it once |
//! | [`ServerSession::advance_output`], [`ServerSession::has_work`] | does what [`poll`](ServerSession::poll) does, without input |
//! | [`ServerSession::timeout`], [`ServerSession::reset_keep_alive`] | when the session has to be looked at, and what postpones that |
//! | [`ServerSession::takes_qos_0`], [`ServerSession::is_ready_for`], [`ServerSession::has_open_window`], [`ServerSession::has_room_for`] | what the session can take now |
//! | [`ServerSession::stored`], [`ServerSession::bytes_sent`], [`ServerSession::is_full`] | how much it holds, and has sent |
//! | [`ServerSession::detach`], [`ServerSession::take_marked`] | how it ends: what is still to be written, and messages for others |
//! | `Acceptor::{check, client, asks_clean_start, new_session, is_written}` | what is known of a client before it is accepted |

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::action::{Action, Close};
use super::session::{Marked, ServerSession};
use crate::codec::{Delivery, EncodeError, PublishProperties, QoS, SubscriptionIdentifier, Version};
use crate::session::{Admission, CommandError, End, LARGE, MessageRef, PayloadAccount, Phase, Side, Transmit};
use crate::time::Instant;

/// A message on its way to many sessions. What many of them get letter by letter is encoded once.
pub(crate) struct Copies<'a> {
    now: Instant,
    /// The message. A large payload is sent from `large`.
    message: MessageRef<'a>,
    large: Option<Bytes>,
    /// How long it is still of use, in seconds; `u32::MAX` for ever.
    expires_after: u32,
    /// The mark of copies that are stored, see [`Marked`]; 0 for none.
    mark: u32,
    /// Where the payload counts, if it is large.
    account: Option<Arc<PayloadAccount>>,
    encoded: &'a mut Encoded,
}

/// Packets of QoS 0, with and without properties, retained and not; kept for their memory. An empty one is not there yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoded([Vec<u8>; 4]);

impl<'a> Copies<'a> {
    /// A large payload is shared by all copies; if it is not shared and counted already, it is copied once for that.
    pub(crate) fn new(
        now: Instant,
        message: MessageRef<'a>,
        shared: Option<Bytes>,
        expires_after: u32,
        account: &Arc<PayloadAccount>,
        encoded: &'a mut Encoded,
    ) -> Self {
        encoded.0.iter_mut().for_each(Vec::clear);
        let copied = || account.share(Bytes::copy_from_slice(message.payload));
        let large = shared.or_else(|| (message.payload.len() >= LARGE).then(copied));
        let payload = if large.is_some() { &[] } else { message.payload };
        let account = large.as_ref().map(|_| Arc::clone(account));
        Self { now, message: MessageRef { payload, ..message }, large, expires_after, mark: 0, account, encoded }
    }

    /// Marks the copies that are stored from here on.
    pub(crate) const fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    /// The QoS with which the message was published.
    #[inline]
    pub(crate) const fn qos(&self) -> QoS {
        self.message.qos
    }

    /// Whether it was published as one to be retained.
    #[inline]
    pub(crate) const fn retain(&self) -> bool {
        self.message.retain
    }

    /// How many bytes more are taken by a copy, but for what is small; a large payload is there already.
    pub(crate) const fn size(&self) -> u64 {
        let (topic, payload) = (self.message.topic.as_bytes().len(), self.message.payload.len());
        (topic as u64).saturating_add(payload as u64)
    }

    /// The packet of QoS 0.
    #[inline]
    fn plain(&mut self, version: Version, retain: bool) -> Result<&[u8], EncodeError> {
        let is_v5 = version == Version::V5;
        let place = usize::from(is_v5).wrapping_mul(2).wrapping_add(usize::from(retain));
        let Some(packet) = self.encoded.0.get_mut(place) else { return Ok(&[]) };
        if packet.is_empty() {
            encode_plain(&self.message, version, retain, packet)?;
        }
        Ok(packet)
    }
}

#[cold]
fn encode_plain(
    message: &MessageRef<'_>,
    version: Version,
    retain: bool,
    packet: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let none = PublishProperties::default();
    let properties = if version == Version::V5 { message.properties } else { &none };
    let message = MessageRef { retain, properties, ..*message };
    message.as_publish(Delivery::AtMostOnce, message.payload).encode(version, packet).map(drop)
}

impl ServerSession {
    /// Publishes a copy of a message if the copy is of QoS 0 and the bytes that other sessions get can be put into the stream.
    /// There is no outcome.
    #[inline]
    pub(crate) fn forward_plain(
        &mut self,
        copies: &mut Copies<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[SubscriptionIdentifier],
    ) -> bool {
        if qos != QoS::AtMostOnce || !identifiers.is_empty() || copies.large.is_some() || !self.takes_plain() {
            return false;
        }
        let Ok(packet) = copies.plain(self.engine.version, retain) else { return false };
        let fits = packet.len() <= self.client.maximum_packet_size as usize;
        if fits {
            self.engine.transmit.append(packet);
        }
        fits
    }

    /// Whether a packet of QoS 0 can be put into the stream as it is.
    #[inline]
    fn takes_plain(&self) -> bool {
        self.engine.outbound_aliases.is_none()
            && !self.engine.has_queued()
            && matches!(self.engine.admission(&self.rules(), QoS::AtMostOnce), Admission::Send)
    }

    /// Publishes a copy of a message, with this QoS.
    pub(crate) fn forward(
        &mut self,
        copies: &Copies<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[SubscriptionIdentifier],
    ) -> Result<(), CommandError> {
        if self.engine.phase == Phase::Expired {
            return Err(CommandError::NotConnected);
        }
        // The expiry interval begins now, and not when something has last happened here.
        self.engine.advance(copies.now);
        let properties = match self.engine.version {
            Version::V5 => {
                PublishProperties { subscription_identifiers: identifiers.into(), ..*copies.message.properties }
            }
            Version::V31 | Version::V311 => PublishProperties::default(),
        };
        let message = MessageRef { qos, retain, properties: &properties, ..copies.message };
        let (engine, side) = self.split();
        let token = engine.publish_checked(&side.rules(), &message, copies.large.as_ref(), copies.expires_after)?;
        if copies.mark != 0 || copies.account.is_some() {
            engine.label_last(token, copies.mark, copies.account.as_ref());
        }
        Ok(())
    }

    /// As [`poll`](Self::poll) without input, except that an unfinished packet of the client stays as it is, and that no
    /// timeout of the keep-alive interval is noticed.
    pub(crate) fn advance_output<'a>(&mut self, now: Instant) -> Option<Action<'a>> {
        self.engine.advance(now);
        if self.engine.phase.is_closed() {
            return self.poll_detached();
        }
        self.note_sent();
        if !self.engine.has_report() {
            let (engine, mut side) = self.split();
            let rules = side.rules();
            if engine.can_send_more(&rules) {
                engine.send_more(&mut side, &rules);
            }
        }
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        match self.engine.phase {
            _ if self.due_wills.is_some() => self.due_will(),
            Phase::Closing => Some(self.over(Close::Requested)),
            _ => None,
        }
    }

    /// Whether [`advance_output`](Self::advance_output) has something to do.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.engine.has_report()
            || self.due_wills.is_some()
            || self.engine.phase == Phase::Closing
            || self.engine.can_send_more(&self.rules())
    }

    /// When the client is taken for dead, or the will is due, or the session ends.
    #[inline]
    pub(crate) fn timeout(&self) -> Instant {
        match self.engine.phase {
            Phase::Open => self.dead_at(),
            Phase::Closed => self.ends_at(),
            Phase::Opening | Phase::Closing | Phase::Over | Phase::Expired => Instant::NEVER,
        }
    }

    /// Restarts the keep-alive interval: input of the client was not taken until now.
    pub(crate) fn reset_keep_alive(&mut self, now: Instant) {
        self.engine.advance(now);
        self.last_heard = self.engine.now;
    }

    /// Ends the connection, and returns what is still to be written on it. Those bytes count as sent.
    pub(crate) fn detach(&mut self, now: Instant) -> Transmit {
        let rest = self.engine.transmit.hand_over();
        self.closed(now);
        rest
    }

    /// Takes the marked messages out of a session that has expired.
    pub(crate) fn take_marked(&mut self) -> Vec<Marked> {
        let version = self.engine.version;
        self.engine.take_marked().into_iter().map(|message| Marked { version, message }).collect()
    }

    /// Whether a message of QoS 0 gets anywhere: without a connection it does not, unless such are kept.
    pub(crate) fn takes_qos_0(&self) -> bool {
        !matches!(self.engine.admission(&self.rules(), QoS::AtMostOnce), Admission::Refuse(_))
    }

    /// How many messages are queued and in flight, and their size in bytes.
    #[inline]
    pub(crate) const fn stored(&self) -> (u32, u32) {
        (self.engine.budget.count(), self.engine.budget.bytes())
    }

    /// How many messages are queued and in flight.
    pub(crate) fn load(&self) -> usize {
        self.engine.budget.count() as usize
    }

    /// Whether one more message would go out at once, so that nothing would have to be kept in a queue.
    pub(crate) fn is_ready_for(&self, qos: QoS) -> bool {
        let rules = self.rules();
        !self.engine.has_queued()
            && matches!(self.engine.admission(&rules, qos), Admission::Send)
            && (qos == QoS::AtMostOnce || self.engine.budget.room(rules.budget).is_some())
    }

    /// Whether there is a client that would take one more message of QoS 1 or 2 before it acknowledges one.
    pub(crate) fn has_open_window(&self) -> bool {
        self.engine.phase == Phase::Open && self.engine.budget.count() < u32::from(self.rules().max_in_flight)
    }

    /// Whether a message of about this size can be kept until it is acknowledged. Where nothing is kept, any can.
    pub(crate) fn has_room_for(&self, qos: QoS, size: usize) -> bool {
        /// A subscription identifier, a packet identifier, and the lengths before them.
        const MORE: usize = 16;
        let all = (self.engine.budget.bytes() as usize).saturating_add(size).saturating_add(MORE);
        qos == QoS::AtMostOnce || self.engine.budget.bytes() == 0 || all <= self.config.max_kept_bytes as usize
    }

    /// How many bytes have been written on this connection.
    #[inline]
    pub(crate) const fn bytes_sent(&self) -> u64 {
        self.engine.transmit.taken()
    }

    /// Whether input is not taken because too many answers wait to be written.
    pub(crate) fn is_full(&self) -> bool {
        !self.engine.has_room_for_answers(&self.rules())
    }
}
