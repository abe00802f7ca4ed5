//! Acknowledgements in the order of reception.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::codec::{
    AckProperties, EncodeError, List, PacketId, PubAck, PubAckReasonCode, PubRec, QoS, UserProperty, Version,
};

/// A PUBACK or PUBREC that is sent in the order of reception of the messages.
#[derive(Clone)]
pub(crate) struct OrderedAck {
    pub(crate) id: PacketId,
    pub(crate) qos: QoS,
    state: State,
}

#[derive(Clone)]
enum State {
    /// The application has not acknowledged the message.
    Waiting,
    /// Ownership of the message was accepted, and its acknowledgement comes later.
    Accepted,
    /// The message is a duplicate.
    Duplicate,
    /// The acknowledgement can be sent once all earlier ones have been sent.
    Ready(PubAckReasonCode, Option<Box<[u8]>>),
}

impl OrderedAck {
    pub(crate) const fn waiting(id: PacketId, qos: QoS) -> Self {
        Self { id, qos, state: State::Waiting }
    }

    pub(crate) const fn duplicate(id: PacketId) -> Self {
        Self { id, qos: QoS::ExactlyOnce, state: State::Duplicate }
    }

    pub(crate) const fn is_duplicate(&self) -> bool {
        matches!(self.state, State::Duplicate)
    }

    /// Returns whether the acknowledgement is not counted by the received messages of QoS 2.
    pub(crate) fn is_extra(&self) -> bool {
        self.qos == QoS::AtLeastOnce || self.is_duplicate()
    }

    pub(crate) const fn is_ready(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Accepted)
    }

    /// Returns whether the application has accepted ownership of the message.
    pub(crate) const fn is_success(&self) -> bool {
        match self.state {
            State::Ready(code, _) => !code.is_error(),
            State::Accepted => true,
            State::Waiting | State::Duplicate => false,
        }
    }

    /// Returns the reason code that the application has chosen; Success if there is none.
    pub(crate) const fn reason_code(&self) -> PubAckReasonCode {
        match self.state {
            State::Ready(code, _) => code,
            State::Waiting | State::Accepted | State::Duplicate => PubAckReasonCode::Success,
        }
    }

    /// Returns the encoded packet, if the packet has properties.
    pub(crate) fn packet(&self) -> Option<&[u8]> {
        match &self.state {
            State::Ready(_, packet) => packet.as_deref(),
            State::Waiting | State::Accepted | State::Duplicate => None,
        }
    }

    /// Ownership of the message was accepted, whatever becomes of the connection; its acknowledgement comes later.
    pub(crate) fn accept(&mut self) {
        if !self.is_ready() {
            self.state = State::Accepted;
        }
    }

    /// Sets the decision of the application. `packet` is the encoded acknowledgement, if it has properties.
    pub(crate) fn decide(&mut self, reason_code: PubAckReasonCode, packet: Option<Box<[u8]>>) {
        self.state = State::Ready(reason_code, packet);
    }
}

/// Encodes PUBACK or, for QoS 2, PUBREC with properties.
///
/// Properties that make the packet larger than the peer supports are left out: user properties first, then the Reason
/// String \[MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3\].
pub(crate) fn encode_ack(
    id: PacketId,
    qos: QoS,
    reason_code: PubAckReasonCode,
    properties: &AckProperties<'_>,
    version: Version,
    max: u32,
) -> Result<Box<[u8]>, EncodeError> {
    let mut packet = Vec::new();
    trim(properties.reason_string.is_some(), properties.user_properties, |reason_string, user_properties| {
        packet.clear();
        let reason_string = properties.reason_string.filter(|_| reason_string);
        let properties = AckProperties { reason_string, user_properties };
        let size = match qos {
            QoS::ExactlyOnce => PubRec { id, reason_code, properties }.encode(version, &mut packet),
            _ => PubAck { id, reason_code, properties }.encode(version, &mut packet),
        }?;
        Ok(size <= max as usize)
    })?;
    Ok(packet.into())
}

/// Encodes a packet with all its properties, then without user properties, then without the Reason String as well,
/// until the packet fits; returns whether it does.
pub(crate) fn trim<'a, E>(
    has_reason_string: bool,
    user_properties: List<'a, UserProperty<'a>>,
    mut encode: impl FnMut(bool, List<'a, UserProperty<'a>>) -> Result<bool, E>,
) -> Result<bool, E> {
    Ok(encode(has_reason_string, user_properties)?
        || encode(has_reason_string, List::EMPTY)?
        || encode(false, List::EMPTY)?)
}
