//! Attacks with floods of packets, valid and invalid.

use std::time::Duration;

use anyhow::Result;
use mqtt_sansio::codec::PacketType;

use super::{FEW, many};
use crate::packets::{self, ConnectOptions, PINGREQ};
use crate::peer::Peer;
use crate::stage::Stage;

/// Sends the same bytes on several connections, again and again.
fn flood(stage: &Stage, count: usize, packets: &[u8]) -> Result<()> {
    let burst = many(packets);
    stage.begin()?;
    stage.crowd(count, |part| {
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("flood {part}")))?;
            loop {
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn busy(stage: &Stage) -> Result<()> {
    flood(stage, stage.size(64, 16), &packets::publish("busy/topic", b"", 0, 0)?)
}

pub(super) fn busy_qos_2(stage: &Stage) -> Result<()> {
    let mut packets = Vec::new();
    for id in 1..=1_000_u16 {
        packets.extend(packets::publish("busy/topic", b"twice", 2, id)?);
        packets.extend([0x62, 2]);
        packets.extend(id.to_be_bytes());
    }
    flood(stage, stage.size(64, 16), &packets)
}

pub(super) fn pings(stage: &Stage) -> Result<()> {
    flood(stage, FEW, PINGREQ)
}

pub(super) fn acknowledgements(stage: &Stage) -> Result<()> {
    let mut packets = Vec::new();
    for first in [0x40, 0x50, 0x62, 0x70] {
        packets.extend([first, 2, 0x12, 0x34]);
    }
    flood(stage, FEW, &packets)
}

pub(super) fn auth(stage: &Stage) -> Result<()> {
    // Continue authentication, with a method and data, without an exchange that has begun.
    let auth = packets::raw(0xf0, b"\x18\x0a\x15\0\x01m\x16\0\x02ab");
    let burst = many(&auth);
    stage.begin()?;
    stage.crowd(2 * FEW, |part| {
        stage.repeat(|_| {
            let client_id = format!("auth {part}");
            let hello = ConnectOptions {
                authentication_method: (part % 2 == 0).then_some("m"),
                ..ConnectOptions::new(&client_id)
            };
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            peer.send_without_reading(&hello.packet()?)?;
            loop {
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn malformed(stage: &Stage) -> Result<()> {
    stage.begin()?;
    stage.crowd(2 * FEW, |part| {
        let mut random = stage.random(part);
        stage.repeat(|round| {
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            let mut bytes = ConnectOptions::new(&format!("malformed {part}")).packet()?;
            match round % 4 {
                // One byte of CONNECT is changed.
                0 => {
                    let index = random.below(bytes.len());
                    bytes[index] ^= 1 << random.below(8);
                }
                // A packet of a random type with random bytes.
                1 => {
                    let length = random.below(200);
                    bytes.extend(packets::raw(random.next() as u8, &random.bytes(length)));
                }
                // A length of five bytes.
                2 => bytes.extend([0x30, 0xff, 0xff, 0xff, 0xff, 0x7f]),
                // A topic that is no UTF-8.
                _ => bytes.extend(packets::raw(0x30, b"\0\x02\xff\xfe\0")),
            }
            peer.send(&bytes)?;
            // Some of these packets are incomplete rather than invalid, and get no answer.
            peer.send(PINGREQ)?;
            Ok(peer.linger(Duration::from_millis(5))?)
        })
    })
}

pub(super) fn passwords(stage: &Stage) -> Result<()> {
    stage.begin()?;
    stage.crowd(2 * FEW, |part| {
        let mut random = stage.random(part);
        stage.repeat(|_| {
            let (client_id, password) = (format!("guesser {part}"), format!("{:016x}", random.next()));
            let hello = ConnectOptions { login: Some(("ann", &password)), ..ConnectOptions::new(&client_id) };
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            peer.send_without_reading(&hello.packet()?)?;
            // Some clients do not wait for the answer.
            if part % 2 == 0 {
                peer.wait_for(PacketType::ConnAck)?;
            }
            Ok(())
        })
    })
}

pub(super) fn forbidden_topics(stage: &Stage) -> Result<()> {
    let system = many(&packets::publish("$SYS/broker/uptime", b"forged", 1, 1)?);
    let wildcard = packets::raw(0x30, b"\0\x03a/#\0");
    let empty = packets::raw(0x30, b"\0\0\0");
    stage.begin()?;
    stage.crowd(FEW, |part| {
        stage.repeat(|round| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("forbidden {part}")))?;
            match round % 3 {
                0 => {
                    for _ in 0..20 {
                        peer.send(&system)?;
                    }
                    return Ok(peer.catch_up()?);
                }
                1 => peer.send(&wildcard)?,
                _ => peer.send(&empty)?,
            }
            Ok(peer.wait_for(PacketType::Disconnect)?)
        })
    })
}
