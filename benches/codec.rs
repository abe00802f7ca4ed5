//! Decode and encode of every packet type, and of a mixed stream: `cargo bench --bench codec`.
//!
//! All frames are encoded by this crate from the packets in [`packets_of`]. `benches/peers` compares with other codecs.

#![allow(missing_docs)] // `criterion_group!` makes a public function

use std::hint::black_box;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use mqtt_sansio::codec::{
    self, AckProperties, Auth, AuthProperties, AuthReasonCode, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Decoded, Delivery, Disconnect, DisconnectProperties, DisconnectReasonCode, Limits, List, Packet, PayloadFormat,
    PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, Publish, PublishProperties, SubAck, SubAckReasonCode, Subscribe,
    SubscribeProperties, Subscription, UnsubAck, UnsubAckReasonCode, Unsubscribe, UserProperty, Will, WillProperties,
};
use mqtt_sansio::{PacketId, QoS, TopicFilter, TopicName, Utf8Str, Version};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// The payload of a TCP segment in an Ethernet frame.
const CHUNK: usize = 1460;

fn text(text: &'static str) -> Utf8Str<'static> {
    Utf8Str::new(text).unwrap()
}

fn topic(topic: &'static str) -> TopicName<'static> {
    TopicName::new(topic).unwrap()
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// A list that lives as long as the program, which the packets of a table need.
fn list<T>(entries: Vec<T>) -> List<'static, T> {
    List::from(&*entries.leak())
}

fn user_properties() -> List<'static, UserProperty<'static>> {
    let pairs = [("site", "berlin-03"), ("trace-id", "4bf92f3577b34da6")];
    list(pairs.map(|(name, value)| UserProperty::new(name, value).unwrap()).to_vec())
}

fn filters() -> Vec<TopicFilter<'static>> {
    let filters = (0..8).map(|line| format!("factory/line{line}/sensor/+").leak());
    filters.map(|filter| TopicFilter::new(filter).unwrap()).collect()
}

/// A message of QoS 1, or of QoS 0 if it is the smallest.
fn publish(payload_len: usize) -> Publish<'static> {
    let is_small = payload_len <= 64;
    Publish {
        delivery: if is_small { Delivery::AtMostOnce } else { Delivery::AtLeastOnce { id: id(11), dup: false } },
        topic: topic("factory/line7/sensor/t01"),
        payload: vec![b'p'; payload_len].leak(),
        ..Publish::default()
    }
}

/// The packets of a version, by name.
fn packets_of(version: Version) -> Vec<(&'static str, Packet<'static>)> {
    let is_v5 = version == Version::V5;
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_identifier: text("client-0001"),
        ..Connect::default()
    };
    let will = Will {
        topic: topic("factory/line7/status"),
        payload: b"offline: power lost, see runbook",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: WillProperties::default(),
    };
    let with_will = Connect {
        will: Some(will),
        user_name: Some(text("device-0001")),
        password: Some(b"s3cr3t-passw0rd"),
        ..connect
    };
    let subscription = |filter, qos| Subscription { filter, ..Subscription::new("a", qos).unwrap() };
    let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let subscriptions = filters().into_iter().zip(levels.into_iter().cycle());
    let subscriptions = list(subscriptions.map(|(filter, qos)| subscription(filter, qos)).collect());
    let subscribe = Subscribe { id: id(11), subscriptions, properties: SubscribeProperties::default() };
    let grants = [SubAckReasonCode::GrantedQoS0, SubAckReasonCode::GrantedQoS1, SubAckReasonCode::GrantedQoS2];
    let grants = list(grants.into_iter().cycle().take(8).collect());
    let suback = SubAck { id: id(11), reason_codes: grants, properties: AckProperties::default() };
    let unsubscribed = if is_v5 { list(vec![UnsubAckReasonCode::Success; 8]) } else { List::EMPTY };
    let unsuback = UnsubAck { id: id(11), reason_codes: unsubscribed, properties: AckProperties::default() };

    let mut packets: Vec<(&str, Packet<'_>)> = vec![
        ("connect", connect.into()),
        ("connect, full", if is_v5 { with_properties(with_will) } else { with_will }.into()),
        ("connack", ConnAck::default().into()),
        ("publish, 64 B", publish(64).into()),
        ("publish, 1 KiB", publish(1024).into()),
        ("publish, 64 KiB", publish(65536).into()),
        ("puback", PubAck::new(id(11)).into()),
        ("pubrec", PubRec::new(id(11)).into()),
        ("pubrel", PubRel::new(id(11)).into()),
        ("pubcomp", PubComp::new(id(11)).into()),
        ("subscribe, 8 filters", subscribe.into()),
        ("suback, 8 codes", suback.into()),
        ("unsubscribe, 8 filters", {
            Unsubscribe { id: id(11), filters: list(filters()), properties: Default::default() }.into()
        }),
        ("unsuback", unsuback.into()),
        ("pingreq", Packet::PingReq),
        ("pingresp", Packet::PingResp),
        ("disconnect", Disconnect::default().into()),
    ];
    if is_v5 {
        packets.extend(packets_of_v5());
    }
    packets
}

/// Adds the properties of 5.0.
fn with_properties(mut connect: Connect<'static>) -> Connect<'static> {
    connect.properties = ConnectProperties {
        session_expiry_interval: Some(3600),
        request_problem_information: Some(true),
        request_response_information: Some(true),
        receive_maximum: NonZeroU16::new(100),
        topic_alias_maximum: Some(16),
        user_properties: user_properties(),
        maximum_packet_size: NonZeroU32::new(65536),
        ..ConnectProperties::default()
    };
    connect.will = connect.will.map(|will| Will {
        properties: WillProperties {
            payload_format_indicator: Some(PayloadFormat::Utf8),
            message_expiry_interval: Some(60),
            content_type: Some(text("text/plain")),
            will_delay_interval: Some(30),
            ..WillProperties::default()
        },
        ..will
    });
    connect
}

/// The packets that exist in 5.0 only, or only there with properties.
fn packets_of_v5() -> Vec<(&'static str, Packet<'static>)> {
    let publish_properties = PublishProperties {
        payload_format_indicator: Some(PayloadFormat::Utf8),
        message_expiry_interval: Some(3600),
        content_type: Some(text("application/json")),
        response_topic: Some(topic("factory/line7/reply")),
        correlation_data: Some(b"0123456789abcdef"),
        topic_alias: NonZeroU16::new(10),
        user_properties: user_properties(),
        ..PublishProperties::default()
    };
    let connack_properties = ConnAckProperties {
        session_expiry_interval: Some(3600),
        assigned_client_identifier: Some(text("client-0001")),
        server_keep_alive: Some(60),
        receive_maximum: NonZeroU16::new(100),
        topic_alias_maximum: Some(16),
        retain_available: Some(true),
        maximum_packet_size: NonZeroU32::new(65536),
        user_properties: user_properties(),
        ..ConnAckProperties::default()
    };
    let puback_properties =
        AckProperties { reason_string: Some(text("no matching subscribers")), ..AckProperties::default() };
    let disconnect_properties =
        DisconnectProperties { reason_string: Some(text("maintenance")), ..DisconnectProperties::default() };
    let auth_properties = AuthProperties {
        authentication_method: Some(text("SCRAM-SHA-256")),
        authentication_data: Some(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"),
        ..AuthProperties::default()
    };
    vec![
        ("publish, 8 properties", Publish { properties: publish_properties, ..publish(64) }.into()),
        ("connack, full", ConnAck { properties: connack_properties, ..ConnAck::default() }.into()),
        ("puback, reason", {
            let reason_code = PubAckReasonCode::NoMatchingSubscribers;
            PubAck { id: id(11), reason_code, properties: puback_properties }.into()
        }),
        ("disconnect, reason", {
            let reason_code = DisconnectReasonCode::ServerShuttingDown;
            Disconnect { reason_code, properties: disconnect_properties }.into()
        }),
        ("auth", {
            let reason_code = AuthReasonCode::ContinueAuthentication;
            Auth { reason_code, properties: auth_properties }.into()
        }),
    ]
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).unwrap();
    frame
}

/// A group with short measurements, because there are many benchmarks.
fn group<'c>(criterion: &'c mut Criterion, what: &str, version: Version) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(format!("{what}/{version}"));
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn decode(criterion: &mut Criterion) {
    for version in VERSIONS {
        let mut group = group(criterion, "decode", version);
        for (name, packet) in packets_of(version) {
            let frame = encoded(&packet, version);
            let is_as_sent = Ok(Decoded::Packet { packet, size: frame.len() });
            assert_eq!(codec::decode(&frame, version, Limits::default()), is_as_sent);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let decoded = codec::decode(black_box(&frame), version, Limits::default());
                    black_box(&decoded);
                });
            });
        }
    }
}

/// Encodes into a slice, and into a `Vec` that is cleared each time.
fn encode(criterion: &mut Criterion) {
    for version in VERSIONS {
        let mut out = vec![0; 128 * 1024];
        let mut to_slice = group(criterion, "encode", version);
        for (name, packet) in packets_of(version) {
            to_slice.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let written = black_box(&packet).encode_to_slice(version, &mut out);
                    black_box(&out);
                    written
                });
            });
        }
        to_slice.finish();
        let mut to_vec = group(criterion, "encode to Vec", version);
        for (name, packet) in packets_of(version) {
            to_vec.bench_function(name, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let written = black_box(&packet).encode(version, &mut out);
                    black_box(&out);
                    written
                });
            });
        }
    }
}

/// A PUBLISH whose payload is not copied.
fn encode_head(criterion: &mut Criterion) {
    for version in VERSIONS {
        let mut out = Vec::with_capacity(1024);
        let mut group = group(criterion, "encode head", version);
        for (name, packet) in packets_of(version) {
            let Packet::Publish(publish) = packet else { continue };
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let written = black_box(&publish).encode_head(version, &mut out);
                    black_box(&out);
                    written
                });
            });
        }
    }
}

/// 1 MiB of mixed frames: 80 % PUBLISH (QoS 0 or 1, 16 to 128 B), 12 % PUBACK, 4 % PINGREQ, 4 % PINGRESP.
fn mixed_stream(version: Version) -> Vec<u8> {
    let mut stream = Vec::with_capacity(1 << 20);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below) as usize
    };
    let (small, large) = (publish(64), publish(128));
    loop {
        let packet = match random(100) {
            0..80 => {
                let delivery = [small.delivery, large.delivery][random(2)];
                Publish { delivery, payload: &large.payload[..16 + random(113)], ..small }.into()
            }
            80..92 => PubAck::new(id(11)).into(),
            92..96 => Packet::PingReq,
            _ => Packet::PingResp,
        };
        let size = packet.encode(version, &mut stream).unwrap();
        if stream.len() > 1 << 20 {
            stream.truncate(stream.len() - size);
            return stream;
        }
    }
}

/// Decodes the packets of a buffer, and returns how many bytes they take.
fn decode_all(buffer: &[u8], version: Version) -> usize {
    let mut packets = codec::packets(buffer, version, Limits::default());
    for packet in &mut packets {
        black_box(&packet).as_ref().expect("a packet");
    }
    buffer.len() - packets.rest().len()
}

fn stream(criterion: &mut Criterion) {
    for version in VERSIONS {
        let stream = mixed_stream(version);
        let mut group = criterion.benchmark_group(format!("stream/{version}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function("whole", |bencher| {
            bencher.iter(|| assert_eq!(decode_all(black_box(&stream), version), stream.len()));
        });
        group.bench_function("chunks of 1460 B", |bencher| {
            let mut buffer = Vec::new();
            bencher.iter(|| {
                for chunk in black_box(&stream).chunks(CHUNK) {
                    buffer.extend_from_slice(chunk);
                    let done = decode_all(&buffer, version);
                    buffer.drain(..done);
                }
                assert!(buffer.is_empty());
            });
        });
    }
}

criterion_group!(benches, decode, encode, encode_head, stream);
criterion_main!(benches);
