//! `defmt::Format` of what a program logs. The texts are those of `Display` and `Debug`, so that passwords are redacted and
//! payloads are cut.

use defmt::{Debug2Format, Display2Format, Format, Formatter};

use crate::codec::{
    Auth, AuthReasonCode, ConnAck, ConnAckReasonCode, Connect, DecodeError, Disconnect, DisconnectReasonCode,
    EncodeError, Packet, PacketId, PacketType, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode,
    Publish, QoS, ReasonCode, SubAck, SubAckReasonCode, Subscribe, UnsubAck, UnsubAckReasonCode, Unsubscribe, Version,
};
use crate::{Instant, TopicError, TopicFilter, TopicName, Utf8Str};

macro_rules! format {
    ($adapter:ident: $($type:ty),* $(,)?) => {
        $(
            impl Format for $type {
                fn format(&self, f: Formatter<'_>) {
                    $adapter(self).format(f);
                }
            }
        )*
    };
}

format! { Display2Format:
    AuthReasonCode, ConnAckReasonCode, DecodeError, DisconnectReasonCode, EncodeError, PacketId, PacketType,
    PubAckReasonCode, PubRelReasonCode, QoS, ReasonCode, SubAckReasonCode, TopicError, TopicFilter<'_>, TopicName<'_>,
    UnsubAckReasonCode, Utf8Str<'_>, Version,
}

format! { Debug2Format:
    Auth<'_>, ConnAck<'_>, Connect<'_>, Disconnect<'_>, Instant, Packet<'_>, PubAck<'_>, PubComp<'_>, PubRec<'_>, PubRel<'_>,
    Publish<'_>, SubAck<'_>, Subscribe<'_>, UnsubAck<'_>, Unsubscribe<'_>,
}

#[cfg(feature = "alloc")]
mod sessions {
    use super::*;
    use crate::{
        AbandonReason, AckError, DisconnectError, Message, Outcome, OwnedMessage, PayloadPart, ProtocolError,
        PublishError, ReceivedMessage, SessionExpiry, Token, Topic, client, server,
    };

    format! { Display2Format:
        AbandonReason, AckError, DisconnectError, ProtocolError, PublishError, SessionExpiry, Token, Topic<'_>,
        client::Close<'_>, client::OpenError, client::Resumption, client::SubscribeError, server::Close<'_>,
    }

    format! { Debug2Format:
        Message<'_>, Outcome<'_>, OwnedMessage, PayloadPart<'_>, ReceivedMessage<'_>, client::Action<'_>, server::AcceptorAction<'_>,
        server::Action<'_>,
    }
}
