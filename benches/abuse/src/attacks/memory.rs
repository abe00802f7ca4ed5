//! Attacks on the memory.

use std::num::NonZeroU16;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mqtt_sansio::codec::{PublishProperties, UserProperty};

use super::{FEW, leave_sessions, many};
use crate::packets::{self, ConnectOptions, DISCONNECT, PINGREQ};
use crate::peer::{Peer, Stopped};
use crate::stage::{Stage, add};

/// Publishes until the attack is over. The packet is sent as often as its size allows in one write.
fn flood(stage: &Stage, client_id: &str, packet: &[u8]) -> Result<()> {
    let burst = many(packet);
    stage.repeat(|_| {
        let mut peer = Peer::connect(stage, &ConnectOptions::new(client_id))?;
        loop {
            peer.send(&burst)?;
        }
    })
}

pub(super) fn hoarder(stage: &Stage) -> Result<()> {
    let sessions = stage.size(100, 20);
    leave_sessions(stage, sessions, |index| {
        let mut bytes = ConnectOptions::stored(&format!("hoard {index}")).packet()?;
        bytes.extend(packets::subscribe(1, &["hoard"], 1, 0)?);
        Ok(bytes)
    })?;
    // Connected clients with the largest Receive Maximum never acknowledge.
    let mut present = Vec::new();
    for index in 0..sessions / 2 {
        let client_id = format!("window {index}");
        let hello = ConnectOptions { receive_maximum: Some(NonZeroU16::MAX), ..ConnectOptions::stored(&client_id) };
        let mut peer = Peer::connect(stage, &hello)?;
        peer.subscribe(&["hoard"], 1)?;
        present.push(peer);
    }
    let packet = packets::publish("hoard", &[b'h'; 1000], 1, 1)?;
    stage.begin()?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stage.goes_on() {
                for peer in &mut present {
                    let _ = peer.absorb();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        flood(stage, "hoarder", &packet)
    })
}

pub(super) fn slow_reader(stage: &Stage) -> Result<()> {
    let mut readers = Vec::new();
    for index in 0..stage.size(20, 4) {
        let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("slow {index}")))?;
        peer.subscribe(&["slow/#"], 1)?;
        readers.push(peer.deaf());
    }
    stage.begin()?;
    stage.crowd(3, |part| {
        let (size, qos) = [(1_000, 0), (4_000, 1), (100_000, 1)][part];
        let packet = packets::publish(&format!("slow/{part}"), &vec![b's'; size], qos, 1)?;
        flood(stage, &format!("flood {part}"), &packet)
    })
}

pub(super) fn slow_pinger(stage: &Stage) -> Result<()> {
    let mut reader = Peer::connect(stage, &ConnectOptions { keep_alive: 2, ..ConnectOptions::new("slow") })?;
    reader.subscribe(&["slow"], 1)?;
    let mut reader = reader.deaf();
    let packet = packets::publish("slow", &[b's'; 4_000], 1, 1)?;
    stage.begin()?;
    std::thread::scope(|scope| {
        scope.spawn(|| flood(stage, "flood", &packet));
        // The client reads and sends PINGREQ: it must stay connected, however far behind it is.
        loop {
            match reader.send(PINGREQ).and_then(|()| reader.read_some(1_000)) {
                Ok(()) => std::thread::sleep(Duration::from_millis(5)),
                Err(Stopped::Over) => return Ok(()),
                Err(_) => bail!("a slow reader that pings was disconnected"),
            }
        }
    })
}

pub(super) fn deaf_writer(stage: &Stage) -> Result<()> {
    let finished = AtomicU64::new(0);
    let bytes = stage.size(40_000_000, 4_000_000);
    stage.begin()?;
    stage.crowd(2, |part| {
        let topic = format!("deaf/{part}");
        let burst = many(&packets::publish(&topic, &[b'd'; 1_000], 0, 0)?);
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("deaf {part}")))?;
            peer.subscribe(&[&topic], 0)?;
            let mut peer = peer.deaf();
            for _ in 0..bytes / burst.len() {
                peer.send(&burst)?;
            }
            add(&finished, 1);
            Ok(())
        })
    })?;
    let finished = finished.into_inner();
    stage.note(format!("{finished} × {} MB taken", bytes / 1_000_000));
    ensure!(finished != 0, "a writer that does not read is blocked");
    Ok(())
}

pub(super) fn aliases(stage: &Stage) -> Result<()> {
    let count = stage.size(50, 10);
    let end = "t".repeat(60_000);
    let mut peers = Vec::new();
    for index in 0..count {
        peers.push(Peer::connect(stage, &ConnectOptions::new(&format!("alias {index}")))?);
    }
    stage.begin()?;
    stage.repeat(|round| {
        for (index, peer) in peers.iter_mut().enumerate() {
            // The broker allows 64.
            for alias in 1..=64 {
                let packet = packets::publish_alias(&format!("{round}/{end}"), alias)?;
                if peer.send(&packet).is_err() {
                    stage.check()?;
                    *peer = Peer::connect(stage, &ConnectOptions::new(&format!("alias {index}")))?;
                    break;
                }
            }
        }
        Ok(())
    })
}

/// Opens connections that send the beginning of a packet and nothing more.
fn never_end(stage: &Stage, count: usize, bytes: &[u8], hello: &[u8]) -> Result<()> {
    stage.begin()?;
    let mut peers: Vec<Peer<'_>> = Vec::new();
    stage.repeat(|_| {
        peers.retain(|peer| !peer.is_closed());
        while peers.len() < count {
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            peer.send_without_reading(hello)?;
            peer.send_without_reading(bytes)?;
            peers.push(peer);
        }
        Ok(stage.pause(Duration::from_millis(20))?)
    })
}

pub(super) fn huge_publish(stage: &Stage) -> Result<()> {
    let size = 16 * 1024 * 1024 - 8;
    let mut bytes = packets::header(0x30, size);
    bytes.extend([0, 4, b'h', b'u', b'g', b'e', 0]);
    bytes.resize(size - 1, 0);
    never_end(stage, stage.size(50, 8), &bytes, &ConnectOptions::new("").packet()?)
}

pub(super) fn huge_connect(stage: &Stage) -> Result<()> {
    let size = 256 * 1024 - 8;
    let mut bytes = packets::header(0x10, size);
    bytes.extend(*b"\0\x04MQTT\x05\xc2\0\0");
    // User Properties of the maximum size: name and value have 65,535 bytes each.
    bytes.extend([0xff, 0xff, 0x0f]);
    bytes.extend([38, 0xff, 0xff]);
    bytes.resize(size - 1, b'u');
    never_end(stage, stage.size(2_000, 400), &bytes, &[])
}

pub(super) fn unreleased(stage: &Stage) -> Result<()> {
    let count = stage.size(65_535, 5_000) as u16;
    let mut bytes = Vec::new();
    for id in 1..=count {
        bytes.extend(packets::publish("unreleased", b"", 2, id)?);
    }
    let mut peers = Vec::new();
    for index in 0..stage.size(50, 8) {
        peers.push(Peer::connect(stage, &ConnectOptions::stored(&format!("unreleased {index}")))?);
    }
    stage.begin()?;
    for peer in &mut peers {
        let _ = peer.send(&bytes);
    }
    Ok(stage.pause(Duration::MAX)?)
}

pub(super) fn user_properties(stage: &Stage) -> Result<()> {
    leave_sessions(stage, FEW, |index| {
        let mut bytes = ConnectOptions::stored(&format!("collector {index}")).packet()?;
        bytes.extend(packets::subscribe(1, &["properties"], 1, 0)?);
        Ok(bytes)
    })?;
    let long = "v".repeat(60_000);
    let large = vec![UserProperty::new("n", &long)?; stage.size(256, 50)];
    let small = vec![UserProperty::new("", "")?; stage.size(256, 100)];
    // This packet is larger than the broker allows.
    let too_many = vec![UserProperty::new("", "")?; stage.size(500_000, 50_000)];
    let mut bursts = Vec::new();
    for list in [&large, &small, &too_many] {
        let properties = PublishProperties { user_properties: (&list[..]).into(), ..Default::default() };
        bursts.push(packets::publish_with("properties", b"", 1, 1, properties)?);
    }
    stage.begin()?;
    stage.crowd(bursts.len(), |part| {
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("properties {part}")))?;
            loop {
                peer.send(&bursts[part])?;
            }
        })
    })
}

pub(super) fn long_ids(stage: &Stage) -> Result<()> {
    let end = "i".repeat(60_000);
    stage.begin()?;
    stage.crowd(FEW, |part| {
        stage.repeat(|round| {
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            let mut bytes = ConnectOptions::stored(&format!("{part} {round} {end}")).packet()?;
            bytes.extend(DISCONNECT);
            peer.send_without_reading(&bytes)?;
            Ok(peer.leave()?)
        })
    })
}

pub(super) fn long_filters(stage: &Stage) -> Result<()> {
    let end = "f".repeat(60_000);
    stage.begin()?;
    stage.crowd(FEW, |part| {
        stage.repeat(|round| {
            let mut peer = Peer::connect(stage, &ConnectOptions::stored(&format!("filters {part} {round}")))?;
            for number in 0..100 {
                peer.send(&packets::subscribe(1, &[format!("{part}/{round}/{number}/{end}")], 1, 0)?)?;
            }
            Ok(peer.catch_up()?)
        })
    })
}

pub(super) fn heavy_wills(stage: &Stage) -> Result<()> {
    let payload = vec![b'w'; 65_000];
    let value = "v".repeat(58_000);
    let properties = vec![UserProperty::new("n", &value)?; 3];
    stage.begin()?;
    let mut peers: Vec<Peer<'_>> = Vec::new();
    for index in 0..stage.size(1_000, 500) {
        let client_id = format!("heavy {index}");
        let hello = ConnectOptions {
            will: Some(("wills/heavy", &payload)),
            will_properties: &properties,
            ..ConnectOptions::new(&client_id)
        };
        match Peer::connect(stage, &hello) {
            Ok(mut peer) => {
                peer.free_buffers();
                peers.push(peer);
            }
            Err(_) => stage.pause(Duration::from_millis(1))?,
        }
    }
    Ok(stage.pause(Duration::MAX)?)
}
