//! The small types of the codec, value by value, and lists, whose entries are a view over bytes or a slice.

#![cfg(feature = "alloc")]

use mqtt_sansio::codec::{
    self, Decoded, EncodeError, Field, FixedHeader, Limits, List, MaximumQoS, Packet, PacketId, PacketType, Publish,
    PublishProperties, QoS, RetainHandling, Subscribe, Subscription, SubscriptionIdentifier, UserProperty, Version,
    Violation,
};

fn encoded(packet: &Packet<'_>, version: Version) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).map(|_| bytes)
}

fn decoded(bytes: &[u8], version: Version) -> Packet<'_> {
    match codec::decode(bytes, version, Limits::default()).unwrap() {
        Decoded::Packet { packet, size } if size == bytes.len() => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn versions_have_levels() {
    let known = [(3, Version::V31), (4, Version::V311), (5, Version::V5)];
    for level in 0..=u8::MAX {
        let version = known.iter().find(|&&(of, _)| of == level).map(|&(_, version)| version);
        assert_eq!(Version::from_level(level), version, "{level}");
    }
    assert!(known.iter().all(|&(level, version)| version.level() == level));
}

#[test]
fn maximum_qos_has_two_values() {
    for value in 0..=u8::MAX {
        let expected = [MaximumQoS::AtMostOnce, MaximumQoS::AtLeastOnce].get(usize::from(value)).copied();
        assert_eq!(MaximumQoS::from_value(value), expected, "{value}");
    }
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    assert_eq!(all.map(MaximumQoS::of), [Some(MaximumQoS::AtMostOnce), Some(MaximumQoS::AtLeastOnce), None]);
}

/// Each option has its bits (section 3.8.3.1).
#[test]
fn subscription_options_are_one_byte() {
    let handlings = [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    for (number, retain_handling) in (0_u8..).zip(handlings) {
        for bits in 0..4_u8 {
            for (value, qos) in (0_u8..).zip([QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]) {
                let (no_local, retain_as_published) = (bits & 1 != 0, bits & 2 != 0);
                let subscription = Subscription::new("f", qos).unwrap();
                let subscriptions = [Subscription { no_local, retain_as_published, retain_handling, ..subscription }];
                let bytes = encoded(&Subscribe::new(PacketId::MIN, &subscriptions).into(), Version::V5).unwrap();
                let options = number << 4 | bits << 2 | value;
                assert_eq!(bytes, [0x82, 7, 0, 1, 0, 0, 1, b'f', options]);
                let Packet::Subscribe(subscribe) = decoded(&bytes, Version::V5) else { panic!() };
                assert_eq!(subscribe.subscriptions.iter().collect::<Vec<_>>(), subscriptions);
            }
        }
    }
}

/// The entries of a decoded list are not copied into a packet of a version where they mean something else, or nothing.
#[test]
fn decoded_entries_are_checked_for_another_version() {
    let with_no_local = [0x82, 7, 0, 1, 0, 0, 1, b'f', 0b0101];
    let packet = decoded(&with_no_local, Version::V5);
    assert_eq!(encoded(&packet, Version::V5).unwrap(), with_no_local);
    assert!(encoded(&packet, Version::V311).is_err(), "there is no No Local in 3.1.1");
    // Bits that 3.1 does not use are not sent on.
    let unused = [0x82, 6, 0, 1, 0, 1, b'f', 0b1111_1101];
    let packet = decoded(&unused, Version::V31);
    for version in [Version::V31, Version::V311] {
        assert_eq!(encoded(&packet, version).unwrap(), [0x82, 6, 0, 1, 0, 1, b'f', 1]);
    }
}

/// Lists are equal if their entries are, whatever form the entries have.
#[test]
fn lists_are_their_entries() {
    let id = |value: u32| SubscriptionIdentifier::new(value).unwrap();
    let user = |name, value| UserProperty::new(name, value).unwrap();
    // A property of any other kind may stand between those of a list, and an identifier has one to four bytes.
    let properties = b"\x26\0\x01a\0\x011\x0b\x05\x23\0\x09\x26\0\x01b\0\x012\x0b\xac\x02\x03\0\x01t\x0b\xff\xff\xff\x7f\x26\0\x01a\0\x013";
    let mut bytes = vec![0x30, 4 + properties.len() as u8, 0, 1, b't', properties.len() as u8];
    bytes.extend(properties);
    let Packet::Publish(publish) = decoded(&bytes, Version::V5) else { panic!() };
    let (ids, users) = (publish.properties.subscription_identifiers, publish.properties.user_properties);
    assert_eq!(ids, List::from(&[id(5), id(300), id(268_435_455)]));
    assert_eq!(users, List::from(&[user("a", "1"), user("b", "2"), user("a", "3")]));
    assert_eq!((ids.len(), users.len(), ids.is_empty()), (3, 3, false));
    for others in [&[id(5), id(300), id(268_435_454)][..], &[id(5), id(300)], &[id(300), id(5), id(268_435_455)], &[]] {
        assert_ne!(ids, List::from(others));
        assert_ne!(List::from(others), ids);
    }
    assert_eq!(List::<SubscriptionIdentifier>::EMPTY, List::from(&[][..]));
    let properties = PublishProperties { user_properties: users, ..PublishProperties::default() };
    let again = Publish { topic: publish.topic, properties, ..Publish::default() };
    let again = encoded(&again.into(), Version::V5).unwrap();
    assert_eq!(
        again,
        [&b"\x30\x19\0\x01t\x15"[..], b"\x26\0\x01a\0\x011\x26\0\x01b\0\x012\x26\0\x01a\0\x013"].concat()
    );
}

/// A fixed header alone: the flags of a CONNECT are judged by the version that the caller names.
#[test]
fn fixed_headers() {
    for version in Version::ALL {
        for flags in 0..16_u8 {
            let header = FixedHeader::decode(&[0x10 | flags, 0x0C], version);
            if flags == 0 || version == Version::V31 {
                let header = header.unwrap().unwrap();
                assert_eq!((header.packet_type, header.flags), (PacketType::Connect, flags));
                assert_eq!((header.remaining_length, header.size, header.packet_size()), (12, 2, 14));
            } else {
                let error = header.unwrap_err();
                assert_eq!((error.field(), error.violation()), (Field::Flags, Violation::WrongFlags), "{flags}");
            }
        }
        assert_eq!(FixedHeader::decode(b"", version), Ok(None));
        assert_eq!(FixedHeader::decode(b"\x30", version), Ok(None));
        assert_eq!(FixedHeader::decode(b"\x30\x80\x80\x80", version), Ok(None));
        let largest = FixedHeader::decode(b"\x30\xff\xff\xff\x7f", version).unwrap().unwrap();
        assert_eq!((largest.size, largest.packet_size()), (5, codec::MAX_PACKET_SIZE));
        // An invalid first byte is refused before the second has arrived.
        let error = FixedHeader::decode(b"\x36", version).unwrap_err();
        assert_eq!((error.field(), error.violation()), (Field::Flags, Violation::QoS3));
        assert!(FixedHeader::decode(b"\x00", version).is_err());
    }
}
