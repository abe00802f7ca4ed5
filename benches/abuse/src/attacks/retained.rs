//! Attacks on retained messages.

use std::time::Duration;

use anyhow::Result;
use mqtt_sansio::codec::PacketType;

use super::{FEW, retain_topics};
use crate::packets::{self, ConnectOptions};
use crate::peer::Peer;
use crate::stage::Stage;

/// Retains messages with this number of topics of two levels.
fn plant(stage: &Stage, count: usize) -> Result<()> {
    retain_topics(stage, (0..count).map(|number| format!("{number}/r")))
}

pub(super) fn subscribe_walk(stage: &Stage) -> Result<()> {
    plant(stage, stage.size(100_000, 5_000))?;
    let filters: Vec<_> = (0..stage.size(10_000, 200)).map(|number| format!("+/{number:05}")).collect();
    let packet = packets::subscribe(1, &filters, 0, 0)?;
    stage.begin()?;
    stage.repeat(|_| {
        let mut peer = Peer::connect(stage, &ConnectOptions::new("walker"))?;
        peer.send(&packet)?;
        Ok(peer.wait_for(PacketType::SubAck)?)
    })
}

pub(super) fn flood(stage: &Stage) -> Result<()> {
    stage.begin()?;
    stage.crowd(FEW, |part| {
        let mut number = 0_u64;
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("gardener {part}")))?;
            let mut burst = Vec::new();
            loop {
                burst.clear();
                for _ in 0..200 {
                    number += 1;
                    burst.extend(packets::retain(&format!("flood/{part}/{number}"), &[b'r'; 200])?);
                }
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn names(stage: &Stage) -> Result<()> {
    let end = "n".repeat(60_000);
    stage.begin()?;
    let mut number = 0_u64;
    stage.repeat(|_| {
        let mut peer = Peer::connect(stage, &ConnectOptions::new("gardener"))?;
        loop {
            number += 1;
            peer.send(&packets::retain(&format!("{number}/{end}"), b"r")?)?;
        }
    })
}

pub(super) fn walk(stage: &Stage) -> Result<()> {
    plant(stage, stage.size(100_000, 3_000))?;
    stage.begin()?;
    stage.crowd(stage.size(20, 4), |part| {
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("walker {part}")))?;
            peer.subscribe(&["#"], 1)?;
            // Retained messages may come before or after the answer to PINGREQ.
            peer.catch_up()?;
            Ok(())
        })
    })
}

pub(super) fn churn(stage: &Stage) -> Result<()> {
    let count = stage.size(10_000, 500);
    plant(stage, count)?;
    let mut burst = Vec::new();
    for number in 0..count {
        let topic = format!("{number}/r");
        burst.extend(packets::retain(&topic, b"")?);
        burst.extend(packets::retain(&topic, b"again")?);
    }
    stage.begin()?;
    stage.crowd(FEW, |part| {
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("churn {part}")))?;
            loop {
                if part % 2 == 0 {
                    peer.send(&burst)?;
                } else {
                    peer.subscribe(&["+/r"], 1)?;
                }
            }
        })
    })
}

pub(super) fn expiry(stage: &Stage) -> Result<()> {
    let mut peer = Peer::connect(stage, &ConnectOptions::new("gardener"))?;
    // All of them expire while the attack is under way, or in its aftermath.
    let count = stage.size(50_000, 2_000);
    stage.begin()?;
    for numbers in (0..count).collect::<Vec<_>>().chunks(1_000) {
        let mut burst = Vec::new();
        for number in numbers {
            burst.extend(packets::retain_expiring(&format!("expiry/{number}"), b"soon gone", 1)?);
        }
        peer.send(&burst)?;
    }
    Ok(stage.pause(Duration::MAX)?)
}
