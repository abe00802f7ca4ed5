//! Rows 7 to 10: Keep Alive, clocks, back-pressure, fragmentation.

use super::*;
use mqtt_sansio::PublishError;

#[test]
fn pitfall_07_a_dead_link_is_noticed() {
    let config = ClientConfig { keep_alive: NonZeroU16::new(20), ping_timeout: NonZeroU16::new(5), ..v5() };
    let mut wire = Wire::connected(config);
    wire.now = wire.client.deadline().unwrap();
    assert_eq!(wire.poll(), []);
    wire.assert_sent(&[Packet::PingReq]);
    assert_eq!(wire.client.deadline(), Some(Instant::EPOCH), "it wants to know when it has left");
    wire.poll();
    assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(5)));
    wire.later(4999);
    assert_eq!(wire.poll(), []);
    wire.later(1);
    assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)]);
    assert_eq!(wire.client.deadline(), None);
    // The timeout is reported once.
    wire.later(100_000);
    assert_eq!(wire.poll(), []);
}

#[test]
fn pitfall_07_a_link_under_load_is_not_dead() {
    let config = ClientConfig { keep_alive: NonZeroU16::new(20), ping_timeout: NonZeroU16::new(5), ..v5() };
    // Packets flow in both directions: no PINGREQ is needed, and so no PINGRESP is expected.
    let mut wire = Wire::connected(config.clone());
    for _ in 0..600 {
        wire.later(1000);
        wire.poll();
        wire.publish("x", QOS_0);
        wire.assert_sent(&[published("x", delivery(QOS_0, 0))]);
        wire.receive(&[published("y", delivery(QOS_0, 0))]);
    }
    // Packets flow from the server only: they do not show the server that the client is alive.
    let mut wire = Wire::connected(config.clone());
    let mut pings = 0;
    for _ in 0..600 {
        wire.later(1000);
        assert_eq!(wire.receive(&[published("x", delivery(QOS_0, 0))]), [delivered("x", QOS_0)]);
        // PINGRESP arrives after many messages, and each of those shows that the link is alive.
        pings += decode(&wire.take(), Version::V5).len();
    }
    assert!((30..=40).contains(&pings), "{pings}");
    // Bytes that have arrived count before deadlines, however late the caller polls.
    let mut wire = Wire::connected(config.clone());
    wire.now = wire.client.deadline().unwrap();
    wire.poll();
    wire.take();
    wire.later(60_000);
    assert_eq!(wire.receive(&[Packet::PingResp]), []);
    assert!(wire.client.is_connected());
    // Each part of a large packet on a slow link shows that the link is alive.
    let mut wire = Wire::connected(config);
    wire.now = wire.client.deadline().unwrap();
    wire.poll();
    wire.take();
    let mut bytes = Vec::new();
    published(&"x".repeat(50), delivery(QOS_0, 0)).encode(Version::V5, &mut bytes).unwrap();
    for end in 1..bytes.len() {
        wire.later(2000);
        let mut input = &bytes[..end];
        assert_eq!(wire.poll_with(&mut input), []);
        assert_eq!(input.len(), end);
        wire.take();
    }
    // When the parts stop the link is dead.
    wire.now = wire.client.deadline().unwrap();
    let mut input = &bytes[..bytes.len() - 1];
    wire.poll_with(&mut input);
    wire.later(5000);
    assert_eq!(wire.poll_with(&mut input), [Event::Close(Why::KeepAliveTimeout)]);
}

#[test]
fn pitfall_07_the_server_keep_alive_wins() {
    let server_keep_alive = Some(10);
    let properties = ConnAckProperties { server_keep_alive, ..Default::default() };
    let mut wire =
        Wire::connected_by(ClientConfig { keep_alive: NonZeroU16::new(1000), ..v5() }, connack_with(properties));
    assert_eq!(wire.client.server().keep_alive, NonZeroU16::new(10));
    let start = wire.now;
    wire.now = wire.client.deadline().unwrap();
    assert!(wire.now.since(start) <= Duration::from_secs(10));
    wire.poll();
    wire.assert_sent(&[Packet::PingReq]);
}

#[test]
fn pitfall_08_the_clock_may_jump() {
    // Backwards: as if no time had passed.
    let mut wire =
        Wire::connected(ClientConfig { keep_alive: NonZeroU16::new(20), ping_timeout: NonZeroU16::new(5), ..v5() });
    let (now, deadline) = (wire.now, wire.client.deadline());
    for earlier in [0, now.as_micros() - 1, now.as_micros()] {
        assert_eq!(wire.client.poll_timeout(Instant::from_micros(earlier)), None);
        assert_eq!(wire.client.deadline(), deadline);
    }
    wire.assert_silent();
    // Forwards: each deadline fires once. PINGREQ is sent first, and only then can PINGRESP be late.
    wire.later(365 * 24 * 3600 * 1000);
    assert_eq!(wire.poll(), []);
    wire.assert_sent(&[Packet::PingReq]);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    wire.later(365 * 24 * 3600 * 1000);
    assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)]);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    // A message published while the clock is behind was not queued since then.
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    wire.later(100_000);
    wire.poll();
    wire.publish("first", QOS_1);
    wire.client.poll(Instant::from_micros(wire.now.as_micros() / 2), &mut &[][..]);
    wire.client.publish(wire.now, &expiring("second", QOS_1, 10)).unwrap();
    wire.client.poll_timeout(Instant::EPOCH); // the message is queued from here on
    wire.later(4000);
    wire.receive(&[PubAck::new(id(1)).into()]);
    let sent = wire.take();
    let sent = decode(&sent, Version::V5).pop();
    let Some(Packet::Publish(second)) = sent else { panic!("{sent:?}") };
    assert_eq!(second.properties.message_expiry_interval, Some(6));
    // The maximum of the clock.
    let mut wire = Wire::connected(v5());
    wire.now = Instant::from_micros(u64::MAX);
    assert_eq!(wire.client.poll_timeout(wire.now), None);
    wire.assert_sent(&[Packet::PingReq]);
    // A connection that opens at an earlier time counts from the end of the last connection.
    let mut wire = Wire::connected(ClientConfig { connect_timeout: NonZeroU16::new(30), ..v5() });
    wire.later(100_000);
    wire.lose();
    let last = wire.now;
    wire.now = Instant::EPOCH;
    wire.client.open(wire.now).unwrap();
    assert_eq!(wire.client.deadline(), Some(last + Duration::from_secs(30)));
}

/// Commands are possible between two actions and while an action is borrowed. Refused input stays with the caller.
#[test]
fn pitfall_09_nothing_blocks() {
    let mut wire = Wire::connected(ClientConfig { max_stored: 5, ..v5() });
    let mut bytes = Vec::new();
    for payload in ["1", "2", "3"] {
        published(payload, delivery(QOS_1, 1)).encode(Version::V5, &mut bytes).unwrap();
    }
    let mut input = &bytes[..];
    while let Some(action) = wire.client.poll(wire.now, &mut input) {
        let Action::Message(message) = &action else { continue };
        // Publishes the received bytes while the action borrows them.
        wire.client.publish(wire.now, &Message::new(&message.topic, message.payload).qos(QOS_1)).unwrap();
    }
    let sent = wire.take();
    let sent = decode(&sent, Version::V5);
    let echoes = sent.iter().filter(|packet| matches!(packet, Packet::Publish(_))).count();
    assert_eq!((sent.len(), echoes), (6, 3));
    // The session is full: the message is handed back, and there is room again once another one is acknowledged.
    wire.publish("4", QOS_1);
    wire.publish("5", QOS_1);
    let message = Message::new("t", "6").qos(QOS_1);
    assert_eq!(wire.client.publish(wire.now, &message), Err(PublishError::QueueFull));
    wire.receive(&[PubAck::new(id(2)).into()]);
    wire.client.publish(wire.now, &message).unwrap();
}

/// While much output waits no input is taken, but output can be written. No message is lost or stuck.
#[test]
fn pitfall_09_output_is_written_while_input_waits() {
    let mut wire = Wire::connected(ClientConfig {
        transmit_limit: NonZeroU32::new(100).unwrap(),
        answer_limit: NonZeroU32::new(100).unwrap(),
        ..v5()
    });
    let mut bytes = Vec::new();
    for number in 1..=200 {
        published("x", delivery(QOS_1, number)).encode(Version::V5, &mut bytes).unwrap();
    }
    let (mut input, mut messages, mut acks) = (&bytes[..], 0, Vec::new());
    for _ in 0..200 {
        messages += wire.poll_with(&mut input).len();
        assert!(wire.client.transmit().remaining() <= 100 + 4, "{}", wire.client.transmit().remaining());
        if messages == 200 {
            break;
        }
        assert!(!input.is_empty(), "it was stopped");
        // No action before there is room, and then at once.
        assert_eq!(wire.poll_with(&mut input), []);
        let ids: Vec<_> = sent_ids(&mut wire);
        assert!(!ids.is_empty());
        acks.extend(ids);
        assert_eq!(wire.client.deadline(), Some(Instant::EPOCH));
    }
    acks.extend(sent_ids(&mut wire));
    assert!(acks.into_iter().eq(1..=200));
    // Messages published meanwhile are queued.
    let mut wire =
        Wire::connected(ClientConfig { transmit_limit: NonZeroU32::new(100).unwrap(), max_stored: 1000, ..v5() });
    let tokens: Vec<_> = (0..500).map(|_| wire.publish("0123456789", QOS_0)).collect();
    let mut done = Vec::new();
    while done.len() < tokens.len() {
        assert!(!wire.take().is_empty(), "stuck after {}", done.len());
        done.extend(wire.poll());
    }
    assert!(done.into_iter().eq(tokens.into_iter().map(|token| Event::Done(token, Done::Sent))));
}

/// A conversation: the server's bytes, and the positions at which commands are given.
pub(crate) struct Script {
    pub(crate) config: ClientConfig,
    pub(crate) steps: Vec<(Vec<u8>, Give)>,
}

/// One or more commands.
pub(crate) type Give = fn(&mut ClientSession);

pub(crate) fn script(version: Version) -> Script {
    let bytes = |packets: &[Packet<'_>]| {
        let mut bytes = Vec::new();
        encode(packets, version, &mut bytes);
        bytes
    };
    let command = |client: &mut ClientSession| {
        client.publish(NOW, &Message::new("a", "0")).unwrap();
        client.publish(NOW, &Message::new("b", "1").qos(QOS_1)).unwrap();
        client.publish(NOW, &Message::new("c", Bytes::from(vec![b'2'; 3000])).qos(QOS_2)).unwrap();
        client.subscribe(NOW, &[Subscription::new("t", QOS_2).unwrap()]).unwrap();
    };
    let steps: Vec<(Vec<u8>, Give)> = vec![
        (bytes(&[connack().into()]), command),
        (
            bytes(&[
                suback(3),
                published("first", delivery(QOS_0, 0)),
                published("second", delivery(QOS_1, 10)),
                PubRec::new(id(2)).into(),
                published("third", delivery(QOS_2, 11)),
                PubAck::new(id(1)).into(),
                PubComp::new(id(2)).into(),
                PubRel::new(id(11)).into(),
                PubRel::new(id(12)).into(),
            ]),
            |client| client.disconnect(NOW, &Disconnect::default()).unwrap(),
        ),
    ];
    Script { config: lasting(version), steps }
}

/// Plays a script with input in pieces of these sizes and output in pieces of those. Returns all events and all bytes
/// sent.
pub(crate) fn play(script: &Script, input_pieces: &[usize], output_pieces: &[usize]) -> (Vec<Event>, Vec<u8>) {
    let mut wire = Wire::new(script.config.clone());
    wire.client.open(wire.now).unwrap();
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    let mut output_pieces = output_pieces.iter().copied().cycle();
    let mut write_some = |wire: &mut Wire, sent: &mut Vec<u8>| {
        let transmit = wire.client.transmit();
        let piece = output_pieces.next().unwrap().min(transmit.remaining());
        // A write that is started and aborted, and a write that succeeds.
        let chunk = transmit.chunk();
        assert_eq!(chunk, transmit.chunk());
        sent.extend_from_slice(&transmit.copy_to_bytes(piece));
    };
    let mut input_pieces = input_pieces.iter().copied().cycle();
    for (bytes, command) in &script.steps {
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            end = bytes.len().min(end.saturating_add(input_pieces.next().unwrap()));
            let mut input = &bytes[start..end];
            events.extend(wire.poll_with(&mut input));
            start = end - input.len();
            write_some(&mut wire, &mut sent);
        }
        assert_eq!(start, bytes.len());
        command(&mut wire.client);
    }
    events.extend(wire.poll());
    while wire.client.transmit().has_remaining() {
        write_some(&mut wire, &mut sent);
    }
    // When a QoS 0 message was sent does depend on the pieces.
    events.retain(|event| !matches!(event, Event::Done(_, Done::Sent)));
    (events, sent)
}

/// The output and the events are the same however input arrives and output is written.
#[test]
fn pitfall_10_split_input_and_aborted_writes_change_nothing() {
    for version in BOTH {
        let script = script(version);
        let whole = play(&script, &[usize::MAX], &[usize::MAX]);
        assert_eq!(whole.0.len(), 8, "{:?}", whole.0);
        for size in 1..60 {
            assert_eq!(play(&script, &[size], &[usize::MAX]), whole, "pieces of {size}");
            assert_eq!(play(&script, &[size, 1], &[0, 1, 2, size, 5000]), whole, "pieces of {size}");
        }
        for at in 1..script.steps[1].0.len() {
            assert_eq!(play(&script, &[script.steps[0].0.len(), at, usize::MAX], &[at]), whole, "split at {at}");
        }
    }
}
