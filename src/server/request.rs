//! SUBSCRIBE and UNSUBSCRIBE requests of a client, and their answers.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::error::AnswerError;
use super::session::ServerSession;
use crate::codec::{
    AckProperties, EncodeError, List, Packet, PacketId, SubAck, SubAckReasonCode, Subscribe, SubscribeProperties,
    Subscription, UnsubAck, UnsubAckReasonCode, Unsubscribe, UnsubscribeProperties, Version,
};
use crate::session::{Available, Phase, ProtocolError, trim};
use crate::time::Instant;
use crate::topic::TopicFilter;

/// Identifies a request, so that it can be answered. It is valid only for the [`ServerSession`] and the connection on
/// which the request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    connection: u32,
    id: PacketId,
}

/// A SUBSCRIBE of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeRequest<'a> {
    /// The identifier to pass to [`suback`](ServerSession::suback).
    pub id: RequestId,
    /// The requested subscriptions, in order.
    pub subscriptions: List<'a, Subscription<'a>>,
    /// The properties; empty before 5.0.
    pub properties: SubscribeProperties<'a>,
}

/// An UNSUBSCRIBE of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsubscribeRequest<'a> {
    /// The identifier to pass to [`unsuback`](ServerSession::unsuback).
    pub id: RequestId,
    /// The topic filters to unsubscribe from. They are to be compared character by character with those of the
    /// subscriptions.
    pub filters: List<'a, TopicFilter<'a>>,
    /// The properties; empty before 5.0.
    pub properties: UnsubscribeProperties<'a>,
}

/// The requests that are not answered yet.
pub(super) type Requests = BTreeMap<PacketId, Kind>;

/// The type of a request, with its number of topic filters.
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
            // The packet identifier is in use: refuse each topic filter (section 3.9.3).
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
                return Err(ProtocolError::PacketIdInUse); // UNSUBACK has no reason codes before 5.0
            }
            let codes = alloc::vec![UnsubAckReasonCode::PacketIdentifierInUse; filters.len()];
            self.put(&UnsubAck::new(id, &codes).into());
        }
        Ok(request.map(|id| UnsubscribeRequest { id, filters, properties }))
    }

    /// Checks that the client asks for nothing that CONNACK has announced as not available (section 3.2.2.3.11 to
    /// 3.2.2.3.13).
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

    /// Sends an answer without properties. An answer that exceeds the client's Maximum Packet Size is not sent.
    fn put(&mut self, answer: &Packet<'_>) {
        let (version, max) = (self.engine.version, self.client.maximum_packet_size);
        if let Err(error) = self.engine.transmit.answer_within(max, |out| answer.encode(version, out)) {
            bug!("the codes of an answer are those of its version: {error}");
        }
    }

    /// Answers a SUBSCRIBE, with one reason code for each topic filter, in order \[MQTT-3.8.4-6, MQTT-3.9.3-1\].
    ///
    /// # Errors
    ///
    /// [`AnswerError::EarlierConnection`] if the request arrived on an earlier connection; it is void.
    /// [`AnswerError::AlreadyAnswered`] if the request is answered already; [`AnswerError::WrongReasonCodeCount`]
    /// if the request has another number of topic filters; [`AnswerError::Encode`] for a reason code that the version
    /// does not have; [`AnswerError::TooLarge`] if the answer exceeds the client's Maximum Packet Size;
    /// [`AnswerError::NotConnected`] if the connection is about to be closed.
    pub fn suback(&mut self, now: Instant, request: RequestId, codes: &[SubAckReasonCode]) -> Result<(), AnswerError> {
        self.suback_with(now, request, codes, &AckProperties::default())
    }

    /// Answers a SUBSCRIBE as [`suback`](Self::suback) does, with properties; 5.0 only. Properties are omitted if the
    /// client does not want them \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.9.2-1,
    /// MQTT-3.9.2-2\].
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
    ) -> Result<(), AnswerError> {
        self.engine.advance(now);
        let (id, version) = (request.id, self.engine.version);
        self.check_request(request, Kind::Subscribe(codes.len() as u32))?;
        self.answer(id, properties, |properties, out| {
            SubAck { id, reason_codes: codes.into(), properties }.encode(version, out)
        })
    }

    /// Answers an UNSUBSCRIBE, with one reason code for each topic filter, in order \[MQTT-3.11.3-1\]. Before 5.0 the
    /// reason codes are not sent.
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    pub fn unsuback(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[UnsubAckReasonCode],
    ) -> Result<(), AnswerError> {
        self.unsuback_with(now, request, codes, &AckProperties::default())
    }

    /// Answers an UNSUBSCRIBE as [`unsuback`](Self::unsuback) does, with properties; 5.0 only. Properties are omitted
    /// if the client does not want them \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.11.2-1,
    /// MQTT-3.11.2-2\].
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
    ) -> Result<(), AnswerError> {
        self.engine.advance(now);
        let (id, version) = (request.id, self.engine.version);
        self.check_request(request, Kind::Unsubscribe(codes.len() as u32))?;
        let reason_codes = if version == Version::V5 { codes.into() } else { List::EMPTY };
        self.answer(id, properties, |properties, out| UnsubAck { id, reason_codes, properties }.encode(version, out))
    }

    fn check_request(&self, request: RequestId, answer: Kind) -> Result<(), AnswerError> {
        if request.connection != self.connection {
            return Err(AnswerError::EarlierConnection);
        }
        if self.engine.phase != Phase::Open {
            return Err(AnswerError::NotConnected);
        }
        match self.requests.as_ref().and_then(|requests| requests.get(&request.id)) {
            Some(&asked) if asked == answer => Ok(()),
            Some(_) => Err(AnswerError::WrongReasonCodeCount),
            None => Err(AnswerError::AlreadyAnswered),
        }
    }

    /// Encodes an answer with those properties that fit into the client's Maximum Packet Size, and removes the request.
    fn answer(
        &mut self,
        id: PacketId,
        properties: &AckProperties<'_>,
        encode: impl Fn(AckProperties<'_>, &mut alloc::vec::Vec<u8>) -> Result<usize, EncodeError>,
    ) -> Result<(), AnswerError> {
        let properties = if self.client.wants_problem_information { *properties } else { AckProperties::default() };
        let limit = self.client.maximum_packet_size;
        let fits =
            trim(properties.reason_string.is_some(), properties.user_properties, |with_reason, user_properties| {
                let reason_string = properties.reason_string.filter(|_| with_reason);
                let properties = AckProperties { reason_string, user_properties };
                self.engine.transmit.answer_within(limit, |out| encode(properties, out))
            })?;
        if !fits {
            return Err(AnswerError::TooLarge { limit });
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
