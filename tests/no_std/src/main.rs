//! The codec without a standard library and without an allocator, in a program that links and runs: `cargo run` in this
//! folder ends with exit code 0, or with the number of the step that failed.
//!
//! The program has no global allocator. If any dependency contained `extern crate alloc`, it could not be built: rustc
//! refuses a binary that uses `alloc` and has no `#[global_allocator]`. The C library is linked for its start-up code,
//! which calls `main`, and for `abort`.

#![no_std]
#![no_main]

use core::ffi::{c_char, c_int};
use core::panic::PanicInfo;

use mqtt_sansio::codec::{
    self, Connect, ConnectProperties, Decoded, Delivery, Limits, List, MaximumQoS, Packet, PacketId, Publish,
    PublishProperties, Subscribe, SubscribeProperties, Subscription, UserProperty,
};
use mqtt_sansio::{QoS, TopicName, Utf8Str, Version};

#[link(name = "c")]
unsafe extern "C" {
    fn abort() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: `abort` takes no arguments and never returns.
    unsafe { abort() }
}

/// The precompiled `core` was built for unwinding and needs this symbol. It is never called, because a panic aborts.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// CONNECT 5.0: clean start, keep alive 60, Session Expiry Interval 10, one user property, client identifier "c-1",
/// user name "u".
static CONNECT: &[u8] = b"\x10\x1f\x00\x04MQTT\x05\x82\x00\x3c\x0c\x11\x00\x00\x00\x0a\x26\x00\x01k\x00\x01v\
    \x00\x03c-1\x00\x01u";

/// PUBLISH 5.0: QoS 1, topic "a/b", packet identifier 10, Content Type "t", Topic Alias 3, payload "21.5".
static PUBLISH: &[u8] = b"\x32\x13\x00\x03a/b\x00\x0a\x07\x03\x00\x01t\x23\x00\x0321.5";

/// SUBSCRIBE 3.1.1: packet identifier 1, topic filter "a/+", QoS 1.
static SUBSCRIBE: &[u8] = b"\x82\x08\x00\x01\x00\x03a/+\x01";

/// Called by the start-up code of the C library.
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    let steps: [fn() -> Option<()>; 5] = [connect, publish, subscribe, refuses, one_packet_after_the_other];
    for (number, step) in (1..).zip(steps) {
        if step().is_none() {
            return number;
        }
    }
    0
}

fn require(condition: bool) -> Option<()> {
    condition.then_some(())
}

fn decode_one(bytes: &[u8], version: Version) -> Option<Packet<'_>> {
    match codec::decode(bytes, version, Limits::default()) {
        Ok(Decoded::Packet { packet, size }) if size == bytes.len() => Some(packet),
        _ => None,
    }
}

/// Checks that the bytes decode to the packet, and that the packet encodes to the bytes.
fn both_ways(packet: Packet<'_>, bytes: &[u8], version: Version) -> Option<()> {
    require(decode_one(bytes, version)? == packet)?;
    let mut out = [0; 64];
    let size = packet.encode_to_slice(version, &mut out).ok()?;
    require(out.get(..size)? == bytes)
}

fn connect() -> Option<()> {
    let user_properties = [UserProperty::new("k", "v").ok()?];
    let packet = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 60,
        client_identifier: Utf8Str::new("c-1").ok()?,
        user_name: Some(Utf8Str::new("u").ok()?),
        properties: ConnectProperties {
            session_expiry_interval: Some(10),
            user_properties: List::from(&user_properties),
            ..ConnectProperties::default()
        },
        ..Connect::default()
    };
    both_ways(Packet::Connect(packet), CONNECT, Version::V5)
}

fn publish() -> Option<()> {
    let packet = Publish {
        delivery: Delivery::AtLeastOnce { id: PacketId::new(10).ok()?, dup: false },
        topic: TopicName::new("a/b").ok()?,
        payload: b"21.5",
        properties: PublishProperties {
            content_type: Some(Utf8Str::new("t").ok()?),
            topic_alias: 3_u16.try_into().ok(),
            ..PublishProperties::default()
        },
        ..Publish::default()
    };
    both_ways(Packet::Publish(packet), PUBLISH, Version::V5)
}

fn subscribe() -> Option<()> {
    let subscriptions = [Subscription::new("a/+", QoS::AtLeastOnce).ok()?];
    let packet = Subscribe {
        id: PacketId::new(1).ok()?,
        subscriptions: List::from(&subscriptions),
        properties: SubscribeProperties::default(),
    };
    both_ways(Packet::Subscribe(packet), SUBSCRIBE, Version::V311)?;
    require(subscriptions.first()?.filter.matches(TopicName::new("a/b").ok()?))
}

/// Errors work without an allocator too.
fn refuses() -> Option<()> {
    let error = codec::decode(b"\x40\x02\x00\x00", Version::V5, Limits::default()).err()?;
    require(error.offset() == 2 && error.clause() == "MQTT-2.2.1-3")?;
    let maximum_qos = codec::decode(b"\x20\x05\x00\x00\x02\x24\x02", Version::V5, Limits::default());
    require(maximum_qos.is_err())?;
    let ack = decode_one(b"\x20\x05\x00\x00\x02\x24\x01", Version::V5)?;
    let Packet::ConnAck(ack) = ack else { return None };
    require(ack.properties.maximum_qos == Some(MaximumQoS::AtLeastOnce))
}

fn one_packet_after_the_other() -> Option<()> {
    let mut packets = codec::packets(b"\xc0\x00\xd0\x00\x30\x05\x00", Version::V311, Limits::default());
    require(packets.next() == Some(Ok(Packet::PingReq)))?;
    require(packets.next() == Some(Ok(Packet::PingResp)))?;
    require(packets.next().is_none() && packets.needs() == 4)
}
