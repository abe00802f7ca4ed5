//! Why a connection is over, and whether another one makes sense: the same questions at both ends.

#![cfg(feature = "std")]

use mqtt_sansio::codec::{
    self, ConnAck, ConnAckProperties, ConnAckReasonCode, DecodeError, Disconnect, DisconnectProperties,
    DisconnectReasonCode, Limits,
};
use mqtt_sansio::{ProtocolError, ReasonCode, Utf8Str, Version, client, server};

/// Each reason code of a CONNACK, and whether a client that is refused with it may try again.
const REFUSED: [(ConnAckReasonCode, bool); 22] = [
    (ConnAckReasonCode::Success, false), // no refusal
    (ConnAckReasonCode::UnspecifiedError, false),
    (ConnAckReasonCode::MalformedPacket, false),
    (ConnAckReasonCode::ProtocolError, false),
    (ConnAckReasonCode::ImplementationSpecificError, false),
    (ConnAckReasonCode::UnsupportedProtocolVersion, false),
    (ConnAckReasonCode::ClientIdentifierNotValid, false),
    (ConnAckReasonCode::BadUserNameOrPassword, false),
    (ConnAckReasonCode::NotAuthorized, false),
    (ConnAckReasonCode::ServerUnavailable, true),
    (ConnAckReasonCode::ServerBusy, true),
    (ConnAckReasonCode::Banned, false),
    (ConnAckReasonCode::BadAuthenticationMethod, false),
    (ConnAckReasonCode::TopicNameInvalid, false),
    (ConnAckReasonCode::PacketTooLarge, false),
    (ConnAckReasonCode::QuotaExceeded, true),
    (ConnAckReasonCode::PayloadFormatInvalid, false),
    (ConnAckReasonCode::RetainNotSupported, false),
    (ConnAckReasonCode::QoSNotSupported, false),
    (ConnAckReasonCode::UseAnotherServer, true), // for now
    (ConnAckReasonCode::ServerMoved, false),
    (ConnAckReasonCode::ConnectionRateExceeded, true),
];

/// Each reason code of a DISCONNECT, and whether the client may connect again: if the server has sent it, and if the
/// client has.
const DISCONNECTED: [(DisconnectReasonCode, bool, bool); 30] = [
    (DisconnectReasonCode::NormalDisconnection, true, false), // the client wanted to go
    (DisconnectReasonCode::DisconnectWithWillMessage, false, false),
    (DisconnectReasonCode::UnspecifiedError, false, false),
    (DisconnectReasonCode::MalformedPacket, false, false),
    (DisconnectReasonCode::ProtocolError, false, false),
    (DisconnectReasonCode::ImplementationSpecificError, false, false),
    (DisconnectReasonCode::NotAuthorized, false, false),
    (DisconnectReasonCode::ServerBusy, true, true),
    (DisconnectReasonCode::ServerShuttingDown, true, true),
    (DisconnectReasonCode::BadAuthenticationMethod, false, false),
    (DisconnectReasonCode::KeepAliveTimeout, true, true),
    (DisconnectReasonCode::SessionTakenOver, false, false),
    (DisconnectReasonCode::TopicFilterInvalid, false, false),
    (DisconnectReasonCode::TopicNameInvalid, false, false),
    (DisconnectReasonCode::ReceiveMaximumExceeded, false, false),
    (DisconnectReasonCode::TopicAliasInvalid, false, false),
    (DisconnectReasonCode::PacketTooLarge, false, false),
    (DisconnectReasonCode::MessageRateTooHigh, true, true),
    (DisconnectReasonCode::QuotaExceeded, true, true),
    (DisconnectReasonCode::AdministrativeAction, false, false),
    (DisconnectReasonCode::PayloadFormatInvalid, false, false),
    (DisconnectReasonCode::RetainNotSupported, false, false),
    (DisconnectReasonCode::QoSNotSupported, false, false),
    (DisconnectReasonCode::UseAnotherServer, true, true),
    (DisconnectReasonCode::ServerMoved, false, false),
    (DisconnectReasonCode::SharedSubscriptionsNotSupported, false, false),
    (DisconnectReasonCode::ConnectionRateExceeded, true, true),
    (DisconnectReasonCode::MaximumConnectTime, true, true),
    (DisconnectReasonCode::SubscriptionIdentifiersNotSupported, false, false),
    (DisconnectReasonCode::WildcardSubscriptionsNotSupported, false, false),
];

fn malformed() -> DecodeError {
    codec::decode(b"\x00\x00", Version::V5, Limits::default()).unwrap_err()
}

#[test]
fn refused_with_each_reason_code() {
    assert_eq!(REFUSED.map(|(code, _)| code), ConnAckReasonCode::ALL, "the table has every code once");
    for (reason_code, expected) in REFUSED {
        let client = client::Close::Refused(ConnAck { reason_code, ..ConnAck::default() });
        assert_eq!((client.reason_code(), client.may_retry()), (Some(reason_code.into()), expected), "{client}");
        let server = server::Close::Refused(reason_code.into());
        assert_eq!((server.reason_code(), server.may_retry()), (Some(reason_code.into()), expected), "{server}");
    }
}

#[test]
fn disconnected_with_each_reason_code() {
    assert_eq!(DISCONNECTED.map(|(code, ..)| code), DisconnectReasonCode::ALL, "the table has every code once");
    for (reason_code, by_server, by_client) in DISCONNECTED {
        let disconnect = Disconnect { reason_code, ..Disconnect::default() };
        let client = client::Close::Disconnected(disconnect);
        assert_eq!((client.reason_code(), client.may_retry()), (Some(reason_code.into()), by_server), "{client}");
        let server = server::Close::Disconnected(disconnect);
        assert_eq!((server.reason_code(), server.may_retry()), (Some(reason_code.into()), by_client), "{server}");
    }
}

#[test]
fn ended_without_a_packet_of_the_peer() {
    use client::Close as AtClient;
    use server::Close as AtServer;
    let (malformed, protocol_error) = (malformed(), ProtocolError::SecondConnect);
    let because = [Some(malformed.reason_code()), Some(protocol_error.reason_code())];
    for (close, reason_code, may_retry) in [
        (AtClient::Requested, None, false),
        (AtClient::Malformed(malformed), because[0], false),
        (AtClient::ProtocolError(protocol_error), because[1], false),
        (AtClient::ConnectTimeout, None, true),
        (AtClient::KeepAliveTimeout, None, true), // the client closes without a word
    ] {
        assert_eq!((close.reason_code(), close.may_retry()), (reason_code, may_retry), "{close}");
        assert_eq!(close.server_reference(), None);
    }
    for (close, reason_code, may_retry) in [
        (AtServer::Requested, None, false),
        (AtServer::Malformed(malformed), because[0], false),
        (AtServer::ProtocolError(protocol_error), because[1], false),
        (AtServer::ConnectTimeout, None, true),
        (AtServer::KeepAliveTimeout, Some(ReasonCode::KeepAliveTimeout), true),
    ] {
        assert_eq!((close.reason_code(), close.may_retry()), (reason_code, may_retry), "{close}");
        assert_eq!(close.server_reference(), None);
    }
}

#[test]
fn a_server_reference_is_told() {
    let server_reference = Some(Utf8Str::new("other.example").unwrap());
    let properties = ConnAckProperties { server_reference, ..Default::default() };
    let refused = ConnAck { reason_code: ConnAckReasonCode::ServerMoved, properties, ..ConnAck::default() };
    assert_eq!(client::Close::Refused(refused).server_reference(), server_reference);
    let properties = DisconnectProperties { server_reference, ..Default::default() };
    let disconnect = Disconnect { reason_code: DisconnectReasonCode::UseAnotherServer, properties };
    assert_eq!(client::Close::Disconnected(disconnect).server_reference(), server_reference);
    assert_eq!(server::Close::Disconnected(disconnect).server_reference(), server_reference);
}

/// The text of the reason names the other server, where the reason code sends the client there.
#[test]
fn a_server_reference_is_displayed() {
    let server_reference = Some(Utf8Str::new("other.example").unwrap());
    for (reason_code, is_named) in [
        (DisconnectReasonCode::UseAnotherServer, true),
        (DisconnectReasonCode::ServerMoved, true),
        (DisconnectReasonCode::ServerBusy, false),
    ] {
        for server_reference in [server_reference, None] {
            let properties = DisconnectProperties { server_reference, ..Default::default() };
            let text = client::Close::Disconnected(Disconnect { reason_code, properties }).to_string();
            assert_eq!(text.ends_with(": other.example"), is_named && server_reference.is_some(), "{text}");
        }
    }
    let properties = ConnAckProperties { server_reference, ..Default::default() };
    let refused = ConnAck { reason_code: ConnAckReasonCode::ServerMoved, properties, ..ConnAck::default() };
    assert!(client::Close::Refused(refused).to_string().ends_with(": other.example"));
}

/// The broker's reasons beyond those of a session.
#[cfg(feature = "broker")]
#[test]
fn ended_by_the_broker() {
    use mqtt_sansio::broker::Ended;
    for (end, may_retry) in [
        (Ended::Close(server::Close::KeepAliveTimeout), true),
        (Ended::Close(server::Close::Requested), false),
        (Ended::TakenOver, false),
        (Ended::Lost, true),
        (Ended::ConnectionLimit, true),
    ] {
        assert_eq!(end.may_retry(), may_retry, "{end}");
    }
}
