//! Rows 18 to 25: fragmented input, large payloads, reason codes, message expiry, coalesced writes.

use super::link::script;
use super::*;

/// Input may arrive byte by byte. The bytes of an incomplete packet stay in the caller's buffer.
#[test]
fn pitfall_18_input_may_be_split_anywhere() {
    let script = script(Version::V5);
    let mut client = ClientSession::new(script.config);
    client.open(Instant::EPOCH).unwrap();
    let mut messages = 0;
    for (bytes, _) in &script.steps {
        let (mut received, mut start) = (Vec::new(), 0);
        for &byte in bytes {
            received.push(byte);
            let mut input = &received[start..];
            while let Some(action) = client.poll(Instant::EPOCH, &mut input) {
                messages += usize::from(matches!(action, Action::Message(_)));
            }
            start = received.len() - input.len();
            // A second poll with the same input takes nothing.
            let mut input = &received[start..];
            let unfinished = input.len();
            assert_eq!(client.poll(Instant::EPOCH, &mut input), None);
            assert_eq!(input.len(), unfinished);
        }
        assert_eq!(start, bytes.len());
    }
    assert_eq!(messages, 3);
}

/// A large payload is sent, sent again and queued without being copied.
#[test]
fn pitfall_20_large_payloads_are_not_copied() {
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    for aliases in [0, 5] {
        for qos in [QOS_0, QOS_1, QOS_2] {
            let maximum = ConnAckProperties { topic_alias_maximum: Some(aliases), ..Default::default() };
            let config = ClientConfig { transmit_limit: NonZeroU32::MAX, topic_aliases: aliases, ..v5() };
            let mut wire = Wire::connected_by(config, connack_with(maximum));
            wire.client.publish(wire.now, &Message::new("t", payload.clone()).qos(qos)).unwrap();
            wire.publish("behind", QOS_0);
            for dup in [false, true] {
                if dup && qos == QOS_0 {
                    continue;
                }
                let transmit = wire.client.transmit();
                let head = transmit.chunk().len();
                assert!(head < 30, "{head}");
                #[cfg(feature = "std")]
                {
                    let mut slices = [std::io::IoSlice::new(&[]); 8];
                    let count = transmit.chunks_vectored(&mut slices);
                    assert_eq!(count, if dup { 2 } else { 3 });
                    assert_eq!(slices[1].as_ptr(), payload.as_ptr());
                }
                transmit.advance(head);
                assert_eq!((transmit.chunk().as_ptr(), transmit.chunk().len()), (payload.as_ptr(), payload.len()));
                // Also after a part of the payload was written.
                transmit.advance(1000);
                assert_eq!(transmit.chunk().as_ptr(), payload[1000..].as_ptr());
                transmit.advance(payload.len() - 1000);
                wire.take();
                wire.lose();
                wire.connect(present_with(maximum));
            }
        }
    }
    // A payload queued without a connection, and the packet as the server reads it.
    let mut wire = Wire::new(ClientConfig { transmit_limit: NonZeroU32::MAX, ..v5() });
    wire.client.publish(wire.now, &Message::new("t", payload.clone()).qos(QOS_1)).unwrap();
    wire.connect(connack());
    let transmit = wire.client.transmit();
    let head = transmit.chunk().len();
    transmit.advance(head);
    assert_eq!(transmit.chunk().as_ptr(), payload.as_ptr());
    wire.resume();
    let sent = wire.take();
    assert_eq!(decode(&sent, Version::V5), [published(str::from_utf8(&payload).unwrap(), again(QOS_1, 1))]);
}

/// The server's reason codes and reason strings are reported with the operation or the connection they belong to.
#[test]
fn pitfall_21_reasons_are_reported() {
    let pairs = [UserProperty::new("site", "berlin").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let said = AckProperties { reason_string, user_properties: List::from(&pairs) };
    let mut wire = Wire::connected(v5());
    let one = wire.publish("1", QOS_1);
    let two = wire.publish("2", QOS_2);
    let three = wire.publish("3", QOS_2);
    let asked = wire.client.subscribe(
        wire.now,
        &[
            Subscription::new("a", QOS_2).unwrap(),
            Subscription::new("b", QOS_2).unwrap(),
            Subscription::new("c", QOS_2).unwrap(),
        ],
    );
    let ended = wire.client.unsubscribe(wire.now, &[filter("a"), filter("b")]);
    let refused = PubAckReasonCode::PayloadFormatInvalid;
    let granted =
        [SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized, SubAckReasonCode::TopicFilterInvalid];
    let unsubscribed = [UnsubAckReasonCode::NoSubscriptionExisted, UnsubAckReasonCode::NotAuthorized];
    let packets = [
        PubAck { id: id(1), reason_code: refused, properties: said }.into(),
        PubRec { id: id(2), reason_code: refused, properties: said }.into(),
        PubRec { id: id(3), reason_code: PubAckReasonCode::NoMatchingSubscribers, ..PubRec::new(id(3)) }.into(),
        PubComp { id: id(3), reason_code: PubRelReasonCode::Success, properties: said }.into(),
        SubAck { properties: said, ..SubAck::new(id(4), &granted) }.into(),
        UnsubAck { properties: said, ..UnsubAck::new(id(5), &unsubscribed) }.into(),
    ];
    let mut bytes = Vec::new();
    encode(&packets, Version::V5, &mut bytes);
    let mut input = &bytes[..];
    let mut outcomes = Vec::new();
    while let Some(action) = wire.client.poll(wire.now, &mut input) {
        let Action::Done { token, outcome } = action else { panic!("{action:?}") };
        let (Outcome::Acknowledged { properties, .. }
        | Outcome::Subscribed { properties, .. }
        | Outcome::Unsubscribed { properties, .. }) = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!(properties, said);
        let shown = format!("{:?}", outcome.codes());
        assert!(shown.starts_with('[') && shown.split(", ").count() == outcome.codes().count(), "{shown}");
        outcomes.push((token, outcome.codes().map(ReasonCode::value).collect::<Vec<_>>(), outcome.is_success()));
    }
    assert_eq!(
        outcomes,
        [
            (one, vec![0x99], false),
            (two, vec![0x99], false),
            (three, vec![0x10], true),
            (asked.unwrap(), vec![0x01, 0x87, 0x8F], false),
            (ended.unwrap(), vec![0x11, 0x87], false),
        ]
    );
    // The end of a connection.
    let server_reference = Some(Utf8Str::new("other.example:1883").unwrap());
    let properties = DisconnectProperties { server_reference, reason_string, ..Default::default() };
    let reason_code = DisconnectReasonCode::ServerMoved;
    let mut bytes = Vec::new();
    Disconnect { reason_code, properties }.encode(Version::V5, &mut bytes).unwrap();
    let action = wire.client.poll(wire.now, &mut &bytes[..]);
    let Some(Action::Close(close)) = action else { panic!("{action:?}") };
    assert_eq!((close.reason_code(), close.server_reference()), (Some(ReasonCode::ServerMoved), server_reference));
    assert!(matches!(close, Close::Disconnected(it) if it.properties == properties));
    let mut wire = Wire::new(v5());
    wire.open();
    let properties = ConnAckProperties { server_reference, reason_string, ..Default::default() };
    let refused = ConnAck { reason_code: ConnAckReasonCode::UseAnotherServer, properties, ..ConnAck::default() };
    let mut bytes = Vec::new();
    refused.encode(Version::V5, &mut bytes).unwrap();
    let action = wire.client.poll(wire.now, &mut &bytes[..]);
    let Some(Action::Close(close)) = action else { panic!("{action:?}") };
    assert_eq!((close.reason_code(), close.server_reference()), (Some(ReasonCode::UseAnotherServer), server_reference));
    assert_eq!(close, Close::Refused(refused));
}

/// A queued message that expires is not sent. For one that does not expire, the interval is reduced by the time it was
/// queued.
#[test]
fn pitfall_24_queued_messages_expire() {
    let interval_of = |wire: &mut Wire| {
        let sent = wire.take();
        decode(&sent, Version::V5)
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.properties.message_expiry_interval,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    // Without a connection.
    for qos in [QOS_0, QOS_1, QOS_2] {
        let mut wire = Wire::new(v5());
        wire.poll();
        let expired = wire.client.publish(wire.now, &expiring("x", qos, 10)).unwrap();
        wire.client.publish(wire.now, &expiring("y", qos, 11)).unwrap();
        wire.client.publish(wire.now, &expiring("z", qos, u32::MAX)).unwrap();
        wire.publish("for ever", qos);
        assert_eq!(wire.client.deadline(), None, "without a connection there is nothing to do");
        wire.poll();
        wire.later(10_000);
        // Expiry is reported by the next poll.
        assert_eq!(wire.poll(), [abandoned(expired, AbandonReason::Expired)], "{qos}");
        wire.connect(connack());
        assert_eq!(interval_of(&mut wire), [Some(1), Some(u32::MAX - 10), None]);
    }
    // With a full receive window.
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    wire.publish("first", QOS_1);
    wire.take();
    let expired = wire.client.publish(wire.now, &expiring("x", QOS_1, 10)).unwrap();
    wire.client.publish(wire.now, &expiring("y", QOS_2, 100)).unwrap();
    wire.poll();
    wire.later(30_000);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()])[..1], [abandoned(expired, AbandonReason::Expired)]);
    assert_eq!(interval_of(&mut wire), [Some(70)]);
    // A message sent at once has not waited, so its interval is unchanged. A message sent again may have been received,
    // so it does not expire.
    let mut wire = Wire::connected(v5());
    wire.client.publish(wire.now, &expiring("x", QOS_1, 10)).unwrap();
    assert_eq!(interval_of(&mut wire), [Some(10)]);
    wire.poll();
    wire.later(4000);
    wire.resume();
    assert_eq!(interval_of(&mut wire), [Some(6)]);
    wire.later(60_000);
    wire.resume();
    assert_eq!(interval_of(&mut wire), [Some(1)], "0 would say that it has");
    // No byte had left when the connection ended, so the message was never sent.
    let mut wire = Wire::connected(v5());
    let expired = wire.client.publish(wire.now, &expiring("x", QOS_1, 10)).unwrap();
    wire.poll();
    wire.later(10_000);
    assert_eq!(wire.lose(), [abandoned(expired, AbandonReason::Expired)]);
    wire.connect(present());
    wire.assert_silent();
}

/// Small packets lie one after the other in the output and can be written with one call.
#[test]
fn pitfall_25_one_write_for_many_packets() {
    let mut wire = Wire::connected(v5());
    for qos in [QOS_0, QOS_1, QOS_2].into_iter().cycle().take(100) {
        wire.publish("x", qos);
        let transmit = wire.client.transmit();
        assert!(transmit.has_remaining(), "nothing is held back");
        assert_eq!(transmit.chunk().len(), transmit.remaining());
    }
    wire.subscribe();
    wire.receive(&[published("x", delivery(QOS_1, 1)), published("y", delivery(QOS_2, 2))]);
    let transmit = wire.client.transmit();
    assert_eq!(transmit.chunk().len(), transmit.remaining());
    let sent = wire.take();
    assert_eq!(decode(&sent, Version::V5).len(), 103);
}
