//! Attacks on sessions.

use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::Result;
use mqtt_sansio::codec::PacketType;

use super::{FEW, Names, compare, leave_sessions, many, with_readers};
use crate::packets::{self, ConnectOptions, DISCONNECT};
use crate::peer::{Peer, Stopped};
use crate::stage::Stage;

pub(super) fn hash_ids(stage: &Stage) -> Result<()> {
    let block = stage.size(500, 100);
    let connect = |first: usize, count: usize, names: Names| {
        leave_sessions(stage, count, |index| ConnectOptions::stored(&names.name(first + index)).packet())
    };
    let prepared = stage.size(30_000, 1_000);
    connect(0, prepared, Names::Colliding)?;
    stage.begin()?;
    compare(stage, |round, names| connect(prepared + round * block, block, names))
}

/// Connects with one client identifier on many connections.
fn take_over(stage: &Stage) -> Result<()> {
    stage.crowd(2 * FEW, |_| {
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::stored("everybody"))?;
            // The client stays until another one takes the session over, or until it has its answer.
            Ok(peer.catch_up()?)
        })
    })
}

pub(super) fn takeover(stage: &Stage) -> Result<()> {
    stage.begin()?;
    take_over(stage)
}

/// Fills the queue of an absent session with messages of QoS 1.
fn fill(stage: &Stage, sessions: usize, messages: usize, seconds: u32) -> Result<()> {
    leave_sessions(stage, sessions, |index| {
        // Only the first client has the client identifier `everybody`.
        let name = if index == 0 { "everybody".to_owned() } else { format!("absent {index}") };
        let mut bytes = ConnectOptions::stored(&name).packet()?;
        bytes.extend(packets::subscribe(1, &["full/queue"], 1, 0)?);
        Ok(bytes)
    })?;
    let mut peer = Peer::connect(stage, &ConnectOptions::new("filler"))?;
    for _ in 0..messages.div_ceil(100) {
        let packet = packets::publish_expiring("full/queue", b"a message that stays", 1, 1, seconds)?;
        peer.send(&packet.repeat(100))?;
        peer.catch_up()?;
    }
    Ok(())
}

pub(super) fn takeover_full(stage: &Stage) -> Result<()> {
    fill(stage, 1, stage.size(10_000, 500), 3600)?;
    stage.begin()?;
    take_over(stage)
}

pub(super) fn clean_start(stage: &Stage) -> Result<()> {
    let filters: Vec<_> = (0..stage.size(10_000, 500)).map(|number| format!("clean/{number}/+")).collect();
    let packet = packets::subscribe(1, &filters, 1, 0)?;
    stage.begin()?;
    stage.crowd(2, |part| {
        stage.repeat(|_| {
            let client_id = format!("clean {part}");
            let mut peer =
                Peer::connect(stage, &ConnectOptions { resumes: false, ..ConnectOptions::stored(&client_id) })?;
            peer.send(&packet)?;
            Ok(peer.wait_for(PacketType::SubAck)?)
        })
    })
}

pub(super) fn leaving(stage: &Stage) -> Result<()> {
    let sessions = stage.size(50, 5);
    fill(stage, sessions, stage.size(10_000, 500), 3600)?;
    let burst = many(&packets::publish_expiring("full/queue", b"one more", 1, 1, 3600)?);
    stage.begin()?;
    stage.crowd(FEW, |part| {
        stage.repeat(|round| {
            if part == 0 {
                let mut peer = Peer::connect(stage, &ConnectOptions::new("publisher"))?;
                loop {
                    peer.send(&burst)?;
                }
            }
            // The clients read some messages, acknowledge none, and leave.
            let name = format!("absent {}", 1 + (round * FEW + part) % (sessions - 1));
            let hello = ConnectOptions { receive_maximum: NonZeroU16::new(20), ..ConnectOptions::stored(&name) };
            let mut peer = Peer::connect(stage, &hello)?;
            Ok(peer.catch_up()?)
        })
    })
}

pub(super) fn expiry(stage: &Stage) -> Result<()> {
    let count = stage.size(10_000, 300);
    let mut peers = Vec::new();
    for index in 0..count {
        let client_id = format!("mortal {index}");
        let mut peer = Peer::open(stage, stage.broker.tcp)?;
        let mut bytes = ConnectOptions { expiry: 1, ..ConnectOptions::stored(&client_id) }.packet()?;
        let filters: Vec<_> = (0..5).map(|number| format!("mortal/{index}/{number}")).collect();
        bytes.extend(packets::subscribe(1, &filters, 1, 0)?);
        let _ = peer.send_without_reading(&bytes);
        peers.push(peer);
        // At most as many connections as fit into the backlog of the listener wait at a time.
        if index % 50 == 49 {
            for peer in &mut peers[index - 49..] {
                match peer.wait_for(PacketType::SubAck) {
                    Err(Stopped::Over) => return Err(Stopped::Over.into()),
                    // A broker may accept fewer.
                    Ok(()) | Err(_) => peer.free_buffers(),
                }
            }
        }
    }
    stage.begin()?;
    drop(peers);
    Ok(stage.pause(Duration::MAX)?)
}

pub(super) fn expiring_queues(stage: &Stage) -> Result<()> {
    // The sessions expire during the attack, however long the preparations take.
    let seconds = stage.size(3, 1) as u32;
    fill(stage, stage.size(20, 4), 0, seconds)?;
    let mut peer = Peer::connect(stage, &ConnectOptions::new("filler"))?;
    let packet = packets::publish_expiring("full/queue", b"a message that expires", 1, 1, seconds)?;
    stage.begin()?;
    for _ in 0..stage.size(100, 5) {
        peer.send(&packet.repeat(100))?;
    }
    peer.catch_up()?;
    Ok(stage.pause(Duration::MAX)?)
}

pub(super) fn wills(stage: &Stage) -> Result<()> {
    // All wills together stay below the limits of memory: otherwise the attack cannot be prepared.
    let payload = vec![b'w'; stage.size(10_000, 60_000)];
    let count = stage.size(1_000, 50);
    with_readers(
        stage,
        2,
        |_| vec!["wills/#".to_owned()],
        1,
        || {
            let begin = std::sync::Once::new();
            stage.repeat(|_| {
                let mut peers = Vec::new();
                for index in 0..count {
                    let (client_id, topic) = (format!("dying {index}"), format!("wills/{index}"));
                    let hello = ConnectOptions { will: Some((&topic, &payload)), ..ConnectOptions::new(&client_id) };
                    let mut peer = Peer::connect(stage, &hello)?;
                    peer.free_buffers();
                    peers.push(peer);
                }
                let mut result = Ok(());
                begin.call_once(|| result = stage.begin());
                // All connections are closed together.
                drop(peers);
                result
            })
        },
    )
}

pub(super) fn reconnect(stage: &Stage) -> Result<()> {
    stage.begin()?;
    stage.crowd(2 * FEW, |part| {
        stage.repeat(|round| {
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            let mut bytes = ConnectOptions::new(&format!("restless {part} {round}")).packet()?;
            bytes.extend(packets::subscribe(1, &["restless/+"], 1, 0)?);
            bytes.extend(DISCONNECT);
            peer.send_without_reading(&bytes)?;
            Ok(peer.leave()?)
        })
    })
}

pub(super) fn will_delays(stage: &Stage) -> Result<()> {
    let count = stage.size(1_000, 50);
    with_readers(
        stage,
        2,
        |_| vec!["delayed/#".to_owned()],
        1,
        || {
            stage.begin()?;
            stage.crowd(FEW, |part| {
                stage.repeat(|round| {
                    // Each connection cancels the will of the one before, unless it comes too late.
                    let client_id = format!("delayed {part} {}", round % count);
                    let will = Some(("delayed/will", &b"not yet"[..]));
                    let hello = ConnectOptions { will, will_delay: Some(1), ..ConnectOptions::stored(&client_id) };
                    Peer::connect(stage, &hello)?;
                    Ok(())
                })
            })
        },
    )
}
