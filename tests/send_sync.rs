//! Engines and owned values are `Send` and `Sync`.

#![cfg(feature = "broker")]

use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::{DecodeError, EncodeError, Packet};
use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::store::{Batch, Batches, Changes, Damage, Pairs, RestoreError};
use mqtt_sansio::{
    AckError, AckHandle, AuthenticateError, DisconnectError, Instant, Message, Operation, Outcome, Payload,
    PayloadPart, PublishError, ReceivedMessage, SharedTopic, Token, Topic, TopicError, TopicFilter, TopicName,
    Transmit, UnknownToken, Utf8Str, client, server,
};

const fn is_send_and_sync<T: Send + Sync>() {}

const _: () = {
    is_send_and_sync::<ClientSession>();
    is_send_and_sync::<Acceptor>();
    is_send_and_sync::<ServerSession>();
    is_send_and_sync::<Broker<AllowAll>>();
    is_send_and_sync::<Transmit>();
    is_send_and_sync::<Batch>();
    is_send_and_sync::<Changes<'_>>();
    is_send_and_sync::<Batches<'_>>();
    is_send_and_sync::<Pairs>();
    is_send_and_sync::<Operation<'_>>();

    is_send_and_sync::<ClientConfig>();
    is_send_and_sync::<ServerConfig>();
    is_send_and_sync::<BrokerConfig>();
    is_send_and_sync::<Accept>();

    is_send_and_sync::<Message<'_>>();
    is_send_and_sync::<Payload<'_>>();
    is_send_and_sync::<ReceivedMessage<'_>>();
    is_send_and_sync::<PayloadPart<'_>>();
    is_send_and_sync::<Topic<'_>>();
    is_send_and_sync::<SharedTopic>();
    is_send_and_sync::<Outcome<'_>>();
    is_send_and_sync::<AckHandle>();
    is_send_and_sync::<Token>();
    is_send_and_sync::<mqtt_sansio::client::Action<'_>>();
    is_send_and_sync::<mqtt_sansio::server::Action<'_>>();
    is_send_and_sync::<mqtt_sansio::server::AcceptorAction<'_>>();

    is_send_and_sync::<Packet<'_>>();
    is_send_and_sync::<TopicName<'_>>();
    is_send_and_sync::<TopicFilter<'_>>();
    is_send_and_sync::<Utf8Str<'_>>();
    is_send_and_sync::<Instant>();

    is_send_and_sync::<DecodeError>();
    is_send_and_sync::<EncodeError>();
    is_send_and_sync::<TopicError>();
    is_send_and_sync::<PublishError>();
    is_send_and_sync::<AckError>();
    is_send_and_sync::<AuthenticateError>();
    is_send_and_sync::<DisconnectError>();
    is_send_and_sync::<UnknownToken>();
    is_send_and_sync::<client::OpenError>();
    is_send_and_sync::<client::ReconfigureError>();
    is_send_and_sync::<client::SubscribeError>();
    is_send_and_sync::<server::NotAccepted>();
    is_send_and_sync::<server::RefuseError>();
    is_send_and_sync::<server::AnswerError>();
    is_send_and_sync::<RestoreError>();
    is_send_and_sync::<Damage>();
};

/// The assertions above are made while this file is compiled.
#[test]
fn engines_and_values_are_send_and_sync() {}
