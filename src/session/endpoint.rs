//! The differences between client and server that the engine depends on, and the loop over the input that both share.

use super::command_error::{PublishError, SubscribeError};
use super::engine::Engine;
use super::error::ProtocolError;
use super::limits::ConnectionLimits;
use super::outcome::Done;
use super::received::{PayloadPart, ReceivedMessage};
use super::request::Request;
use crate::codec::{DecodeError, Packet, Publish, QoS};

/// The peer: the limits of the connection to it, what it may send, and what it supports.
pub(crate) trait Peer {
    fn limits(&self) -> ConnectionLimits;

    /// Checks whether the peer may send a message of this QoS and RETAIN flag.
    fn may_send(&self, _qos: QoS, _retain: bool) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Checks whether the peer may send a message with these subscription identifiers.
    fn may_send_identifiers(&self, _publish: &Publish<'_>) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Checks whether the peer supports a message of this QoS and RETAIN flag.
    fn supports(&self, qos: QoS, retain: bool) -> Result<(), PublishError>;

    /// Checks whether the peer supports a request, which is about to be sent.
    fn supports_request(&mut self, request: &Request<'_>) -> Result<(), SubscribeError>;
}

/// The reports of the engine from which an action of client or server is made.
pub(crate) trait SessionAction<'a>: From<ReceivedMessage<'a>> + From<PayloadPart<'a>> + From<Done<'a>> {}

impl<'a, A: From<ReceivedMessage<'a>> + From<PayloadPart<'a>> + From<Done<'a>>> SessionAction<'a> for A {}

/// The reason why the engine stops processing the input.
///
/// The steps of the engine return an action, and write the reason to a `&mut Option<Stop>`, because an action is large and
/// a `Result<Option<A>, Stop>` is copied on its way to the caller: measured, 50 instructions more for each message, 2 to 3 %
/// of what a publication takes a client.
pub(crate) enum Stop {
    /// The input begins with a packet that does not belong to a delivery, or messages cannot be exchanged yet.
    Other,
    Malformed(DecodeError),
    ProtocolError(ProtocolError),
}

/// An endpoint: an engine, and the behaviour of this endpoint only.
pub(crate) trait Endpoint {
    type Peer<'s>: Peer
    where
        Self: 's;
    type Action<'a>: SessionAction<'a>;

    fn engine(&mut self) -> &mut Engine;

    fn split(&mut self) -> (&mut Engine, Self::Peer<'_>);

    /// Processes a packet that does not belong to a delivery, or that arrives before messages can be exchanged.
    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Self::Action<'a>>;

    /// Ends the connection because of invalid input.
    fn fail<'a>(&mut self, stop: Stop) -> Self::Action<'a>;

    /// Processes packets of the input until there is an action to return. Only valid while there is a connection that
    /// takes input.
    #[inline(always)]
    fn receive_all<'a>(&mut self, input: &mut &'a [u8]) -> Option<Self::Action<'a>> {
        loop {
            // What needs no limits comes first: mostly, there is nothing to do.
            if self.engine().deliveries().has_backlog() {
                _ = self.send_backlog(self.max_sends());
            }
            if self.engine().has_outcome() {
                return self.engine().next_report();
            }
            if input.is_empty() {
                self.engine().input_taken();
                return None;
            }
            let (engine, mut peer) = self.split();
            let limits = peer.limits();
            if !engine.takes_input(&limits, input) {
                return None;
            }
            if limits.is_open
                && let Some(packet) = engine.take_short(&limits, input)
            {
                let mut stop = None;
                // An action is large: returning it from here avoids a copy.
                if let Some(action) = engine.receive_short(&mut peer, &limits, packet, &mut stop) {
                    return Some(action);
                }
                drop(peer);
                if let Some(stop) = stop {
                    return Some(self.fail(stop));
                }
            } else {
                drop(peer);
                if let Some(end) = self.receive_unusual(input) {
                    return end;
                }
            }
        }
    }

    /// Returns the units of queued packets that are sent for one packet of the input, see
    /// [`Engine::send_more`]. What is left is sent later.
    fn max_sends(&self) -> u32 {
        u32::MAX
    }

    /// Sends the queued packets, and sends again the messages, that can be sent now, `most` units of them; returns how many
    /// units were sent.
    #[cold]
    fn send_backlog(&mut self, most: u32) -> u64 {
        let (engine, mut peer) = self.split();
        let limits = peer.limits();
        if engine.can_send_more(&limits) {
            return engine.send_more(&mut peer, &limits, most);
        }
        0
    }

    /// Processes input that is not a complete short packet. Returns `None` if there is no action to return and the
    /// input may contain more.
    #[inline(never)]
    fn receive_unusual<'a>(&mut self, input: &mut &'a [u8]) -> Option<Option<Self::Action<'a>>> {
        let (engine, mut peer) = self.split();
        let limits = peer.limits();
        let (before, mut stop) = (input.len(), None);
        let action = engine.receive_unusual(&mut peer, &limits, input, &mut stop);
        let other = if let Some(Stop::Other) = stop { engine.take_packet(&limits, input) } else { Ok(None) };
        drop(peer);
        match stop {
            Some(Stop::Other) => match other {
                Ok(Some(packet)) => self.receive_other(packet).map(Some),
                Ok(None) => Some(None),
                Err(error) => Some(Some(self.fail(Stop::Malformed(error)))),
            },
            Some(stop) => Some(Some(self.fail(stop))),
            None if action.is_some() || input.len() == before => Some(action),
            None => None,
        }
    }
}

/// Stops processing because of a Protocol Error.
#[cold]
pub(super) fn halt<A>(stop: &mut Option<Stop>, protocol_error: ProtocolError) -> Option<A> {
    *stop = Some(Stop::ProtocolError(protocol_error));
    None
}
