//! What a client asks for with SUBSCRIBE and UNSUBSCRIBE, and how it is answered.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::session::ServerSession;
use crate::codec::{
    AckProperties, EncodeError, List, Packet, PacketId, SubAck, SubAckReasonCode, Subscribe, SubscribeProperties,
    Subscription, UnsubAck, UnsubAckReasonCode, Unsubscribe, UnsubscribeProperties, Version,
};
use crate::session::{Available, CommandError, Phase, ProtocolError, trim};
use crate::time::Instant;
use crate::topic::TopicFilter;

/// The name of a request, for its answer. It belongs to the connection on which the request came, of this
/// [`ServerSession`]: that of another one means something else there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    connection: u32,
    id: PacketId,
}

/// A client asks for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRequest<'a> {
    /// For the answer.
    pub id: RequestId,
    /// What is asked for.
    pub subscriptions: List<'a, Subscription<'a>>,
    /// The properties; empty before 5.0.
    pub properties: SubscribeProperties<'a>,
}

/// A client ends subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeRequest<'a> {
    /// For the answer.
    pub id: RequestId,
    /// The filters, letter by letter as they were subscribed to.
    pub filters: List<'a, TopicFilter<'a>>,
    /// The properties; empty before 5.0.
    pub properties: UnsubscribeProperties<'a>,
}

/// The requests that are not answered.
pub(super) type Requests = BTreeMap<PacketId, Kind>;

/// What a request has asked for, and for how many filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Subscribe(u32),
    Unsubscribe(u32),
}

impl ServerSession {
    pub(super) fn receive_subscribe<'a>(
        &mut self,
        subscribe: Subscribe<'a>,
    ) -> Result<Option<SubscribeRequest<'a>>, ProtocolError> {
        let Subscribe { id, subscriptions, properties } = subscribe;
        if self.engine.version == Version::V5 {
            self.check_subscriptions(subscriptions, &properties)?;
        }
        let request = self.take_request(id, Kind::Subscribe(subscriptions.len() as u32))?;
        if request.is_none() {
            // It has a packet identifier that is in use: each filter is refused (section 3.9.3).
            self.refuse_subscribe(id, subscriptions.len());
        }
        Ok(request.map(|id| SubscribeRequest { id, subscriptions, properties }))
    }

    pub(super) fn receive_unsubscribe<'a>(
        &mut self,
        unsubscribe: Unsubscribe<'a>,
    ) -> Result<Option<UnsubscribeRequest<'a>>, ProtocolError> {
        let Unsubscribe { id, filters, properties } = unsubscribe;
        let request = self.take_request(id, Kind::Unsubscribe(filters.len() as u32))?;
        if request.is_none() {
            if self.engine.version != Version::V5 {
                return Err(ProtocolError::PacketIdInUse); // UNSUBACK could not say so
            }
            let codes = alloc::vec![UnsubAckReasonCode::PacketIdentifierInUse; filters.len()];
            self.put(&UnsubAck::new(id, &codes).into());
        }
        Ok(request.map(|id| UnsubscribeRequest { id, filters, properties }))
    }

    /// Whether nothing is asked for that CONNACK has told not to be available (section 3.2.2.3.11 to 3.2.2.3.13).
    fn check_subscriptions<'a>(
        &self,
        subscriptions: List<'a, Subscription<'a>>,
        properties: &SubscribeProperties<'_>,
    ) -> Result<(), ProtocolError> {
        let available = Available {
            wildcards: self.config.wildcard_subscription_available,
            identifiers: self.config.subscription_identifiers_available,
            shared: self.config.shared_subscription_available,
        };
        available.missing(subscriptions, properties).map_or(Ok(()), |code| Err(ProtocolError::NotAvailable(code)))
    }

    fn take_request(&mut self, id: PacketId, kind: Kind) -> Result<Option<RequestId>, ProtocolError> {
        let max = usize::from(self.config.max_requests);
        let requests = self.requests.get_or_insert_default();
        if requests.contains_key(&id) {
            return Ok(None);
        }
        if requests.len() >= max {
            return Err(ProtocolError::TooManyRequests);
        }
        requests.insert(id, kind);
        Ok(Some(RequestId { connection: self.connection, id }))
    }

    fn refuse_subscribe(&mut self, id: PacketId, filters: usize) {
        let code = match self.engine.version {
            Version::V5 => SubAckReasonCode::PacketIdentifierInUse,
            Version::V31 | Version::V311 => SubAckReasonCode::UnspecifiedError,
        };
        let codes = alloc::vec![code; filters];
        self.put(&SubAck::new(id, &codes).into());
    }

    /// Sends an answer without properties. If it is larger than the client takes there is none.
    fn put(&mut self, answer: &Packet<'_>) {
        let (version, max) = (self.engine.version, self.client.maximum_packet_size);
        if let Err(error) = self.engine.transmit.answer_within(max, |out| answer.encode(version, out)) {
            bug!("the codes of an answer are those of its version: {error}");
        }
    }

    /// Answers a SUBSCRIBE, with a reason code for each filter in order \[MQTT-3.8.4-6, MQTT-3.9.3-1\].
    ///
    /// # Errors
    ///
    /// [`CommandError::EarlierConnection`] if the request came on an earlier connection; it is void.
    /// [`CommandError::AlreadyAcknowledged`] if it is answered; [`CommandError::WrongReasonCodeCount`] if it had
    /// another number of filters; [`CommandError::Encode`] for a reason code that the version does not know;
    /// [`CommandError::TooLarge`] if the answer is larger than the client takes; [`CommandError::NotConnected`] if the
    /// connection is about to be closed.
    pub fn suback(&mut self, now: Instant, request: RequestId, codes: &[SubAckReasonCode]) -> Result<(), CommandError> {
        self.suback_with(now, request, codes, &AckProperties::default())
    }

    /// As [`suback`](Self::suback), with properties; 5.0 only. They are left out if the client does not want them
    /// \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.9.2-1, MQTT-3.9.2-2\].
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    pub fn suback_with(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[SubAckReasonCode],
        properties: &AckProperties<'_>,
    ) -> Result<(), CommandError> {
        self.engine.advance(now);
        let (id, version) = (request.id, self.engine.version);
        self.check_request(request, Kind::Subscribe(codes.len() as u32))?;
        self.answer(id, properties, |properties, out| {
            SubAck { id, reason_codes: codes.into(), properties }.encode(version, out)
        })
    }

    /// Answers an UNSUBSCRIBE, with a reason code for each filter in order \[MQTT-3.11.3-1\]. Before 5.0 the codes are
    /// not sent.
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    pub fn unsuback(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[UnsubAckReasonCode],
    ) -> Result<(), CommandError> {
        self.unsuback_with(now, request, codes, &AckProperties::default())
    }

    /// As [`unsuback`](Self::unsuback), with properties; 5.0 only. They are left out if the client does not want them
    /// \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.11.2-1, MQTT-3.11.2-2\].
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    pub fn unsuback_with(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[UnsubAckReasonCode],
        properties: &AckProperties<'_>,
    ) -> Result<(), CommandError> {
        self.engine.advance(now);
        let (id, version) = (request.id, self.engine.version);
        self.check_request(request, Kind::Unsubscribe(codes.len() as u32))?;
        let reason_codes = if version == Version::V5 { codes.into() } else { List::EMPTY };
        self.answer(id, properties, |properties, out| UnsubAck { id, reason_codes, properties }.encode(version, out))
    }

    fn check_request(&self, request: RequestId, answer: Kind) -> Result<(), CommandError> {
        if request.connection != self.connection {
            return Err(CommandError::EarlierConnection);
        }
        if self.engine.phase != Phase::Open {
            return Err(CommandError::NotConnected);
        }
        match self.requests.as_ref().and_then(|requests| requests.get(&request.id)) {
            Some(&asked) if asked == answer => Ok(()),
            Some(_) => Err(CommandError::WrongReasonCodeCount),
            None => Err(CommandError::AlreadyAcknowledged),
        }
    }

    /// Encodes an answer with as many of its properties as the client takes, and forgets the request.
    fn answer(
        &mut self,
        id: PacketId,
        properties: &AckProperties<'_>,
        encode: impl Fn(AckProperties<'_>, &mut alloc::vec::Vec<u8>) -> Result<usize, EncodeError>,
    ) -> Result<(), CommandError> {
        let properties = if self.client.wants_problem_information { *properties } else { AckProperties::default() };
        let limit = self.client.maximum_packet_size;
        let fits =
            trim(properties.reason_string.is_some(), properties.user_properties, |with_reason, user_properties| {
                let reason_string = properties.reason_string.filter(|_| with_reason);
                let properties = AckProperties { reason_string, user_properties };
                self.engine.transmit.answer_within(limit, |out| encode(properties, out))
            })?;
        if !fits {
            return Err(CommandError::TooLarge { limit });
        }
        self.forget_request(id);
        Ok(())
    }

    fn forget_request(&mut self, id: PacketId) {
        if let Some(requests) = &mut self.requests {
            requests.remove(&id);
            if requests.is_empty() {
                self.requests = None::<Box<Requests>>;
            }
        }
    }
}
