//! Questions to the policy, and answers that come later.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::core::{Broker, State};
use super::hub::{Hub, index_of};
use super::policy::{Answer, ConnectionId, Decision, Policy, Ticket, UnknownTicket};
use super::resuming::{Asked, Grant};
use crate::codec::{self, Decoded, EncodeError, Limits, Packet, SubAckReasonCode, Version};
use crate::server::RequestId;
use crate::session::{MessageRef, Receipt, Stored};
use crate::time::Instant;

/// A question to the policy that is not answered yet.
pub(super) enum Parked {
    /// Whether a client is accepted; with the number of the ticket.
    Connect(u32),
    /// Whether a client that is accepted has authenticated again.
    Again(u32),
    /// Whether a client that is not accepted yet may have the session of another user.
    TakeOver { number: u32, owner: Option<Arc<str>>, grant: Grant },
    /// Which subscriptions of the session that a client resumes go on, and how many answers are still to come. The tickets
    /// have numbers one after the other.
    Resubscribe { first: u32, asked: Vec<Asked>, open: usize, grant: Grant },
    /// Whether a message may be published: the packet, and since when it waits.
    Publish { number: u32, packet: ParkedPacket, receipt: Option<Receipt>, since: Instant },
    /// Whether a client may subscribe: the packet, and the answers so far, and how many are
    /// still to come. The tickets have numbers one after the other.
    Subscribe {
        first: u32,
        packet: ParkedPacket,
        request: RequestId,
        codes: Vec<Option<SubAckReasonCode>>,
        open: usize,
    },
}

/// A packet that waits for an answer, encoded in the version of its client: each version allows what others do not, such as
/// a filter `$share/x` in 3.1.1.
pub(super) struct ParkedPacket {
    version: Version,
    bytes: Vec<u8>,
}

impl ParkedPacket {
    pub(super) fn new(packet: &Packet<'_>, version: Version) -> Result<Self, EncodeError> {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes)?;
        Ok(Self { version, bytes })
    }

    pub(super) fn message(message: &MessageRef<'_>, version: Version) -> Result<Self, EncodeError> {
        let stored = Stored::message(message, None, version)?;
        Ok(Self { version, bytes: stored.bytes().into() })
    }

    fn decode(&self) -> Option<Packet<'_>> {
        match codec::decode(&self.bytes, self.version, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet, .. }) => Some(packet),
            _ => None, // what was encoded can be read
        }
    }
}

impl Parked {
    /// Whether this is an answer to it.
    fn takes(&self, ticket: Ticket, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Connect(number) | Self::Again(number), Answer::Connect(_)) => *number == ticket.number,
            (Self::Publish { number, .. }, Answer::Publish(_))
            | (Self::TakeOver { number, .. }, Answer::TakeOver(_)) => *number == ticket.number,
            (Self::Subscribe { first, codes, .. }, Answer::Subscribe(_)) => {
                let place = ticket.number.wrapping_sub(*first) as usize;
                codes.get(place).is_some_and(Option::is_none)
            }
            (Self::Resubscribe { first, asked, .. }, Answer::Subscribe(_)) => {
                let place = ticket.number.wrapping_sub(*first) as usize;
                asked.get(place).is_some_and(|(_, code)| code.is_none())
            }
            _ => false,
        }
    }
}

impl<P: Policy> Broker<P> {
    /// Asks the policy, with a ticket for an answer that comes later.
    pub(super) fn ask<T>(
        &mut self,
        id: ConnectionId,
        question: impl FnOnce(&mut P, &Hub, Ticket) -> Decision<T>,
    ) -> (Ticket, Decision<T>) {
        let place = index_of(&self.connections, id.0);
        let number = place.and_then(|place| self.connections.get_mut(place)).map_or(0, |connection| {
            connection.tickets = connection.tickets.wrapping_add(1);
            connection.tickets
        });
        let ticket = Ticket { connection: id, number };
        (ticket, question(&mut self.policy, &self.hub, ticket))
    }

    /// The connection waits for an answer.
    pub(super) fn park(&mut self, id: ConnectionId, parked: Parked) {
        let Some(place) = index_of(&self.connections, id.0) else { return };
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.parked = Some(Box::new(parked));
        if let State::Attached(session) = connection.state
            && let Some(session) = self.hub.sessions.get_mut(session)
        {
            session.is_parked = true;
        }
    }

    /// What a connection waits for, if it is what this ticket is for. It waits no more.
    pub(super) fn unpark(&mut self, id: ConnectionId, is_it: impl FnOnce(&Parked) -> bool) -> Option<Box<Parked>> {
        let place = index_of(&self.connections, id.0)?;
        let connection = self.connections.get_mut(place)?;
        if !connection.parked.as_deref().is_some_and(is_it) {
            return None;
        }
        let parked = connection.parked.take();
        if let State::Attached(index) = connection.state
            && let Some(session) = self.hub.sessions.get_mut(index)
        {
            session.is_parked = false;
            // It could not be heard.
            session.server.reset_keep_alive(self.now);
            self.hub.touch(index);
        }
        parked
    }

    pub(super) fn take_answer(&mut self, ticket: Ticket, answer: Answer) -> Result<(), UnknownTicket> {
        let id = ticket.connection;
        let parked = self.unpark(id, |parked| parked.takes(ticket, &answer)).ok_or(UnknownTicket)?;
        match (*parked, answer) {
            (Parked::Connect(_), Answer::Connect(admission)) => self.admit(id, admission),
            (Parked::Again(_), Answer::Connect(admission)) => {
                let index = self.session_of(id).ok_or(UnknownTicket)?;
                self.admit_again(index, admission);
            }
            (Parked::TakeOver { owner, grant, .. }, Answer::TakeOver(reason_code)) => {
                if let Some(grant) = self.claimed(id, owner, reason_code, grant) {
                    self.accept(id, grant);
                }
            }
            (Parked::Resubscribe { first, mut asked, open, grant }, Answer::Subscribe(code)) => {
                let open = open.saturating_sub(1);
                if let Some((_, place)) = asked.get_mut(ticket.number.wrapping_sub(first) as usize) {
                    *place = Some(code);
                }
                if open == 0 {
                    self.resubscribed(id, asked, grant);
                } else {
                    self.park(id, Parked::Resubscribe { first, asked, open, grant });
                }
            }
            (Parked::Publish { packet, receipt, since, .. }, Answer::Publish(reason_code)) => {
                let index = self.session_of(id).ok_or(UnknownTicket)?;
                if let Some(Packet::Publish(publish)) = packet.decode() {
                    self.finish_message_since(index, MessageRef::of(&publish), receipt, reason_code, since);
                }
            }
            (Parked::Subscribe { first, packet, request, mut codes, open }, Answer::Subscribe(code)) => {
                let open = open.saturating_sub(1);
                if let Some(place) = codes.get_mut(ticket.number.wrapping_sub(first) as usize) {
                    *place = Some(code);
                }
                if open != 0 {
                    self.park(id, Parked::Subscribe { first, packet, request, codes, open });
                } else if let Some(Packet::Subscribe(subscribe)) = packet.decode() {
                    let index = self.session_of(id).ok_or(UnknownTicket)?;
                    self.finish_subscribe(index, request, &subscribe, &codes);
                }
            }
            _ => {} // `takes` has made sure of it
        }
        Ok(())
    }
}
