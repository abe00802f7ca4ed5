//! Regression tests of the client.

#![cfg(feature = "alloc")]

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::codec::{
    ConnAck, ConnAckProperties, Delivery, PubAckReasonCode, PubComp, PubRec, Publish, PublishProperties, Subscription,
};
use mqtt_sansio::store::{Pairs, RestoreErrorKind};
use mqtt_sansio::{
    AbandonReason, Instant, Message, Outcome, PacketId, PublishError, QoS, SessionExpiry, TopicName, Utf8Str, Version,
};

const START: Instant = Instant::from_micros(1_000_000_000_000);

fn config() -> ClientConfig {
    ClientConfig {
        client_id: "c".into(),
        session_expiry_interval: SessionExpiry::after(1000),
        ..ClientConfig::default()
    }
}

/// Opens a connection that is accepted with these properties. Returns the packets and events of the client.
fn connect<'a>(
    client: &mut ClientSession,
    now: Instant,
    session_present: bool,
    properties: ConnAckProperties<'_>,
    reported: &'a mut Vec<String>,
) -> &'a [String] {
    client.open(now).unwrap();
    take(client);
    let mut connack = Vec::new();
    ConnAck { session_present, properties, ..ConnAck::default() }
        .encode(client.config().version, &mut connack)
        .unwrap();
    let mut input = &connack[..];
    reported.clear();
    while let Some(action) = client.poll(now, &mut input) {
        reported.push(format!("{action:?}"));
    }
    reported
}

fn connected(config: ClientConfig) -> ClientSession {
    let mut client = ClientSession::new(config);
    connect(&mut client, START, false, ConnAckProperties::default(), &mut Vec::new());
    client
}

/// Stores the changes, and then takes the bytes to be written.
fn take(client: &mut ClientSession) -> Vec<u8> {
    store(client, &mut Pairs::default());
    let transmit = client.transmit();
    transmit.copy_to_bytes(transmit.remaining()).into()
}

fn store(client: &mut ClientSession, pairs: &mut Pairs) {
    while let Some(batch) = client.changes() {
        pairs.apply(&batch);
        client.committed(START, batch.number());
    }
}

fn expiring(seconds: u32) -> Message<'static> {
    let properties = PublishProperties { message_expiry_interval: Some(seconds), ..PublishProperties::default() };
    Message::new("t", "x").qos(QoS::AtLeastOnce).properties(properties)
}

/// The Message Expiry Interval starts when the message is published, and not at the epoch of the caller's clock.
#[test]
fn expiry_counts_from_publish_before_the_first_connection() {
    let mut client = ClientSession::new(config());
    client.publish(START, &expiring(3600)).unwrap();
    assert_eq!(client.deadline(), None, "without a connection there is nothing to do");
    let mut reported = Vec::new();
    assert_eq!(connect(&mut client, START, false, ConnAckProperties::default(), &mut reported).len(), 1);
    assert!(take(&mut client).windows(5).any(|bytes| bytes == [2, 0, 0, 0x0E, 0x10]), "3600 seconds are left");
}

/// The Message Expiry Interval starts when the message is published, and not at the last poll.
#[test]
fn expiry_counts_from_publish_and_not_from_the_last_poll() {
    let mut client = ClientSession::new(config());
    assert_eq!(client.poll_timeout(START), None);
    let later = START + Duration::from_secs(3600);
    client.publish(later, &expiring(10)).unwrap();
    assert_eq!(client.poll_timeout(later + Duration::from_secs(9)), None, "one second is left");
    let end = client.poll_timeout(later + Duration::from_secs(10));
    assert!(matches!(end, Some(Action::Done { outcome: Outcome::Abandoned(AbandonReason::Expired), .. })), "{end:?}");
}

#[test]
fn expiry_of_a_message_queued_before_a_restart() {
    let mut client = ClientSession::new(ClientConfig { durable: true, ..config() });
    client.publish(START, &expiring(3600)).unwrap();
    let mut pairs = Pairs::default();
    store(&mut client, &mut pairs);
    let mut client = ClientSession::restore(ClientConfig { durable: true, ..config() }, START, pairs.iter()).unwrap();
    let mut reported = Vec::new();
    assert_eq!(
        connect(&mut client, START, false, ConnAckProperties::default(), &mut reported).len(),
        1,
        "{reported:?}"
    );
    assert!(!take(&mut client).is_empty());
}

#[test]
fn a_session_of_another_version_is_refused() {
    let mut client =
        ClientSession::new(ClientConfig { durable: true, version: Version::V311, ..ClientConfig::default() });
    client.publish(START, &Message::new("t", "x").qos(QoS::AtLeastOnce)).unwrap();
    let mut pairs = Pairs::default();
    store(&mut client, &mut pairs);
    let error = ClientSession::restore(ClientConfig::default(), START, pairs.iter()).unwrap_err();
    assert_eq!((error.kind(), error.key()[0]), (RestoreErrorKind::OtherVersion, 0x20));
}

/// The bytes of a chunk may have been written when a message has to wait.
#[test]
fn a_write_that_is_completed_while_a_message_waits() {
    let mut client = connected(ClientConfig { durable: true, ..config() });
    store(&mut client, &mut Pairs::default());
    client.publish(START, &Message::new("t", "first")).unwrap();
    let offered = client.transmit().remaining();
    client.publish(START, &Message::new("t", "second").qos(QoS::ExactlyOnce)).unwrap();
    assert_eq!(client.transmit().remaining(), offered);
    client.transmit().advance(offered);
    assert_eq!(client.transmit().remaining(), 0);
    let rest = take(&mut client);
    assert!(rest.ends_with(b"second") && !rest.windows(5).any(|bytes| bytes == b"first"));
}

/// A message that the application has not acknowledged is not accepted by a snapshot: the server sends it again.
#[test]
fn a_snapshot_accepts_no_message_for_the_application() {
    let config = ClientConfig { durable: true, manual_acks: true, ..config() };
    // The application has acknowledged none of the messages, or one that waits for those before it.
    for (count, acknowledged) in [(1, None), (3, None), (3, Some(2)), (3, Some(3))] {
        let bytes: Vec<u8> = (1..=count).flat_map(|id| [0x34, 7, 0, 1, b't', 0, id, 0, b'x']).collect();
        let receive = |client: &mut ClientSession| -> Vec<_> {
            let (mut input, mut handles) = (&bytes[..], Vec::new());
            while let Some(action) = client.poll(START, &mut input) {
                let Action::Message(message) = action else { panic!("{action:?}") };
                handles.push(message.ack_handle.unwrap());
            }
            handles.into_iter().map(|handle| (client.packet_id(handle).unwrap().get(), handle)).collect()
        };
        let mut client = connected(config.clone());
        let received = receive(&mut client);
        assert_eq!(received.len(), usize::from(count));
        for &(_, handle) in received.iter().filter(|&&(id, _)| Some(id) == acknowledged) {
            client.ack(START, handle, PubAckReasonCode::Success).unwrap();
        }
        let mut pairs = Pairs::default();
        pairs.apply(&client.snapshot().unwrap());
        let mut client = ClientSession::restore(config.clone(), START, pairs.iter()).unwrap();
        connect(&mut client, START, true, ConnAckProperties::default(), &mut Vec::new());
        let again: Vec<_> = receive(&mut client).into_iter().map(|(id, _)| id).collect();
        let expected: Vec<_> = (1..=u16::from(count)).filter(|&id| Some(id) != acknowledged).collect();
        assert_eq!(again, expected, "those that were not acknowledged, of {count}");
    }
}

/// The packet identifier of an abandoned message of QoS 1 is free, also after a restart.
#[test]
fn an_abandoned_qos_1_message_frees_its_identifier() {
    let config = ClientConfig { durable: true, ..config() };
    let mut client = connected(config.clone());
    let mut pairs = Pairs::default();
    pairs.apply(&client.snapshot().unwrap());
    client.publish(START, &Message::new("t", "x").qos(QoS::AtLeastOnce).retain(true)).unwrap();
    store(&mut client, &mut pairs);
    take(&mut client);
    client.closed(START);
    client.open(START).unwrap();
    let mut connack = Vec::new();
    let properties = ConnAckProperties { retain_available: Some(false), ..ConnAckProperties::default() };
    ConnAck { session_present: true, properties, ..ConnAck::default() }.encode(Version::V5, &mut connack).unwrap();
    let mut input = &connack[..];
    let mut reported = 0;
    while client.poll(START, &mut input).is_some() {
        reported += 1;
    }
    assert_eq!(reported, 2);
    store(&mut client, &mut pairs);
    assert!(!pairs.iter().any(|(key, _)| matches!(key[0], 0x10 | 0x24)), "nothing is left: {pairs:02x?}");
    let mut restored = ClientSession::restore(config, START, pairs.iter()).unwrap();
    assert_eq!(restored.operations().count(), 0);
    let mut pairs = Pairs::default();
    pairs.apply(&restored.snapshot().unwrap());
    assert!(!pairs.iter().any(|(key, _)| matches!(key[0], 0x10 | 0x24)), "nothing is left: {pairs:02x?}");
}

/// A client that sends all the time notices as well that the server does not answer.
#[test]
fn a_server_that_reads_and_never_answers_is_dead() {
    let mut client =
        connected(ClientConfig { keep_alive: NonZeroU16::new(10), ping_timeout: NonZeroU16::new(5), ..config() });
    for second in 1..=20 {
        client.publish(START, &Message::new("t", "x")).unwrap();
        take(&mut client);
        let now = START + Duration::from_secs(second);
        while let Some(action) = client.poll_timeout(now) {
            if let Action::Close(why) = action {
                assert_eq!((why, second), (Close::KeepAliveTimeout, 15));
                return;
            }
        }
    }
    panic!("nobody has noticed");
}

/// A second PUBCOMP does not acknowledge the next message.
#[test]
fn a_second_pubcomp_does_not_acknowledge_the_next_message() {
    let mut client = connected(ClientConfig { version: Version::V311, clean_start: false, ..config() });
    let mut exchange = |id: u16, packets: &[u8]| {
        client.publish(START, &Message::new("t", "x").qos(QoS::ExactlyOnce)).unwrap();
        let sent = take(&mut client);
        assert_eq!(sent[5..7], id.to_be_bytes());
        let mut input = packets;
        let mut reported = Vec::new();
        while let Some(action) = client.poll(START, &mut input) {
            reported.push(format!("{action:?}"));
        }
        take(&mut client);
        reported
    };
    let id = PacketId::new(1).unwrap();
    let mut packets = Vec::new();
    PubRec::new(id).encode(Version::V311, &mut packets).unwrap();
    PubRec::new(id).encode(Version::V311, &mut packets).unwrap();
    PubComp::new(id).encode(Version::V311, &mut packets).unwrap();
    assert_eq!(exchange(1, &packets).len(), 1);
    packets.clear();
    PubComp::new(id).encode(Version::V311, &mut packets).unwrap();
    let reported = exchange(2, &packets);
    assert!(reported.iter().all(|action| !action.contains("Close")), "{reported:?}");
}

#[test]
fn tokens_are_not_reused_after_a_snapshot() {
    let config = ClientConfig { durable: true, ..config() };
    let mut client = connected(config.clone());
    let last = (0..3).map(|_| client.publish(START, &Message::new("t", "x")).unwrap()).max().unwrap();
    let mut pairs = Pairs::default();
    pairs.apply(&client.snapshot().unwrap());
    let mut restored = ClientSession::restore(config, START, pairs.iter()).unwrap();
    assert!(restored.publish(START, &Message::new("t", "x").qos(QoS::AtLeastOnce)).unwrap() > last);
}

/// Expired messages are dropped before a message is refused for want of room.
#[test]
fn expired_messages_are_dropped_before_one_is_refused() {
    let mut client = ClientSession::new(ClientConfig { max_stored: 1, ..config() });
    let expired = client.publish(START, &expiring(1)).unwrap();
    client.poll_timeout(START);
    assert_eq!(client.publish(START, &expiring(9)), Err(PublishError::QueueFull));
    let done = client.poll_timeout(START + Duration::from_secs(2));
    assert_eq!(done, Some(Action::Done { token: expired, outcome: Outcome::Abandoned(AbandonReason::Expired) }));
    client.publish(START, &expiring(9)).unwrap();
}

/// An Assigned Client Identifier is used only if the client had sent an empty one.
#[test]
fn an_assigned_client_identifier_that_was_not_asked_for() {
    let mut client = ClientSession::new(config());
    let assigned_client_identifier = Some(Utf8Str::new("z").unwrap());
    let properties = ConnAckProperties { assigned_client_identifier, ..ConnAckProperties::default() };
    connect(&mut client, START, false, properties, &mut Vec::new());
    assert_eq!(client.config().client_id, "c");
}

/// A deadline that has passed stays due when the clock goes back.
#[test]
fn a_passed_deadline_stays_due_when_the_clock_goes_back() {
    let mut client = connected(config());
    client.poll_timeout(START + Duration::from_secs(3600));
    client.publish(START, &Message::new("t", "x")).unwrap();
    take(&mut client);
    assert!(client.deadline().unwrap() <= START);
}

#[test]
fn a_transmit_limit_of_zero() {
    let mut client = connected(ClientConfig { transmit_limit: NonZeroU32::MIN, ..config() });
    assert!(client.is_connected());
    client.subscribe(START, &[Subscription::new("a", QoS::AtMostOnce).unwrap()]).unwrap();
    assert!(!take(&mut client).is_empty());
}

/// The back-off also grows if the transport could never be connected.
#[test]
fn backoff_grows_when_no_connection_opens() {
    let mut client = ClientSession::new(config());
    assert_eq!(client.backoff(), Duration::ZERO);
    let pauses: Vec<_> = (0..4)
        .map(|_| {
            client.closed(START);
            client.backoff()
        })
        .collect();
    assert!(pauses[0] >= Duration::from_millis(500) && pauses[3] >= Duration::from_secs(4), "{pauses:?}");
}

/// A second PUBLISH, delivered in parts, of a message that the application refuses meanwhile: the duplicate is not
/// reported and blocks nothing.
#[test]
fn a_duplicate_in_parts_of_a_message_refused_meanwhile() {
    let config = ClientConfig { manual_acks: true, deliver_in_parts: Some(NonZeroU32::MIN), ..config() };
    let mut client = connected(config);
    let publish = |id: u16, dup: bool| {
        let delivery = Delivery::ExactlyOnce { id: PacketId::new(id).unwrap(), dup };
        let topic = TopicName::new("t").unwrap();
        let mut packet = Vec::new();
        Publish { delivery, topic, payload: &[1; 50], ..Publish::default() }.encode(Version::V5, &mut packet).unwrap();
        packet
    };
    let first = publish(1, false);
    let Some(Action::Message(message)) = client.poll(START, &mut &first[..]) else { panic!() };
    let ack_handle = message.ack_handle.unwrap();
    let copy = publish(1, true);
    assert_eq!(client.poll(START, &mut &copy[..20]), None);
    client.ack(START, ack_handle, mqtt_sansio::codec::PubAckReasonCode::QuotaExceeded).unwrap();
    assert_eq!(client.poll(START, &mut &copy[20..]), None);
    let next = publish(2, false);
    let Some(Action::Message(message)) = client.poll(START, &mut &next[..]) else { panic!() };
    take(&mut client);
    client.ack(START, message.ack_handle.unwrap(), mqtt_sansio::codec::PubAckReasonCode::Success).unwrap();
    assert_eq!(take(&mut client), [0x50, 2, 0, 2]);
}

/// The server's limits hold for one connection: once that has ended, no command is refused because of them.
#[test]
fn limits_of_an_ended_connection_refuse_nothing() {
    let properties = ConnAckProperties {
        maximum_packet_size: 50.try_into().ok(),
        maximum_qos: Some(mqtt_sansio::codec::MaximumQoS::AtMostOnce),
        retain_available: Some(false),
        wildcard_subscription_available: Some(false),
        ..ConnAckProperties::default()
    };
    for is_closed in [false, true] {
        let mut client = ClientSession::new(config());
        connect(&mut client, START, false, properties, &mut Vec::new());
        assert!(matches!(client.poll(START, &mut &[0xD0, 1, 0][..]), Some(Action::Close(_))));
        if is_closed {
            client.closed(START);
        }
        client.publish(START, &Message::new("t", vec![b'x'; 100]).qos(QoS::ExactlyOnce).retain(true)).unwrap();
        client.subscribe(START, &[Subscription::new("#", QoS::AtMostOnce).unwrap()]).unwrap();
        client.closed(START);
        connect(&mut client, START, false, ConnAckProperties::default(), &mut Vec::new());
        assert!(take(&mut client).len() > 100, "the next server takes it");
    }
}
