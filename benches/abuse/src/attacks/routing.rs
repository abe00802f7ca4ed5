//! Attacks on the index of subscriptions.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use mqtt_sansio::codec::PacketType;

use super::{FEW, Names, compare, leave_sessions, many, retain_topics, with_readers};
use crate::packets::{self, ConnectOptions};
use crate::peer::Peer;
use crate::stage::Stage;

/// Returns all filters with `a` or `+` in each level, for a topic of this number of levels `a`.
fn combinations(levels: usize) -> impl Iterator<Item = String> {
    (0..1_usize << levels).map(move |choice| {
        let levels: Vec<_> = (0..levels).map(|level| if choice >> level & 1 == 0 { "a" } else { "+" }).collect();
        levels.join("/")
    })
}

fn topic(levels: usize) -> String {
    vec!["a"; levels].join("/")
}

pub(super) fn overlap(stage: &Stage) -> Result<()> {
    let levels = stage.size(14, 7);
    // A session may have 10,000 subscriptions, so two sessions are needed.
    let half = 1 << (levels - 1);
    let filters = |index| combinations(levels).skip(index * half).take(half).collect();
    with_readers(stage, 2, filters, 0, || {
        let packet = packets::publish(&topic(levels), b"", 0, 0)?;
        let burst = packet.repeat((49 * 1024_usize).div_ceil(packet.len()));
        stage.begin()?;
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new("overlap"))?;
            loop {
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn overlap_sessions(stage: &Stage) -> Result<()> {
    let levels = stage.size(10, 5);
    let filters = |index| combinations(levels).skip(index).take(1).collect();
    with_readers(stage, 1 << levels, filters, 0, || {
        let burst = many(&packets::publish(&topic(levels), b"", 0, 0)?);
        stage.begin()?;
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new("overlap"))?;
            loop {
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn identifiers(stage: &Stage) -> Result<()> {
    let levels = stage.size(13, 5);
    let mut readers = Vec::new();
    for index in 0..FEW {
        let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("identifiers {index}")))?;
        let mut bytes = Vec::new();
        for (number, filter) in (1..).zip(combinations(levels)) {
            bytes.extend(packets::subscribe(1, &[filter], 1, 200_000_000 + number)?);
        }
        peer.send(&bytes)?;
        peer.catch_up()?;
        readers.push(peer);
    }
    stage.begin()?;
    let packet = many(&packets::publish(&topic(levels), b"", 0, 0)?);
    std::thread::scope(|scope| {
        for reader in &mut readers {
            scope.spawn(|| reader.listen());
        }
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new("publisher"))?;
            loop {
                peer.send(&packet)?;
            }
        })
    })
}

pub(super) fn deep_topics(stage: &Stage) -> Result<()> {
    // 65,534 bytes, 32,767 levels and 65,535 levels; one level of 65,535 bytes is allowed.
    let topics = ["a/".repeat(32_767), "/".repeat(65_535), "x".repeat(65_535), format!("{}#", "+/".repeat(32_767))];
    let mut bursts = Vec::new();
    for topic in &topics {
        bursts.push(packets::subscribe(1, &[topic], 0, 0)?);
        if !topic.ends_with('#') {
            bursts.push(packets::publish(topic, b"deep", 1, 1)?);
        }
    }
    stage.begin()?;
    stage.crowd(FEW, |part| {
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("deep {part}")))?;
            loop {
                for burst in &bursts {
                    peer.send(burst)?;
                }
            }
        })
    })
}

pub(super) fn absent_share(stage: &Stage) -> Result<()> {
    leave_sessions(stage, stage.size(10_000, 300), |index| {
        let mut bytes = ConnectOptions::stored(&format!("member {index}")).packet()?;
        bytes.extend(packets::subscribe(1, &["$share/group/shared/topic"], 1, 0)?);
        Ok(bytes)
    })?;
    let packet = many(&packets::publish("shared/topic", b"for one of many", 1, 1)?);
    stage.begin()?;
    stage.repeat(|_| {
        let mut peer = Peer::connect(stage, &ConnectOptions::new("publisher"))?;
        loop {
            peer.send(&packet)?;
        }
    })
}

pub(super) fn subscribe_churn(stage: &Stage) -> Result<()> {
    stage.begin()?;
    stage.crowd(FEW, |part| {
        let mut packet = packets::subscribe(1, &["churn/+/one"], 1, 0)?;
        packet.extend(packets::unsubscribe(2, &["churn/+/one"])?);
        let burst = many(&packet);
        stage.repeat(|_| {
            let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("churn {part}")))?;
            loop {
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn unsubscribe(stage: &Stage) -> Result<()> {
    let filters: Vec<_> = (0..stage.size(10_000, 500)).map(|number| format!("many/{number}/+/#")).collect();
    let subscribe = packets::subscribe(1, &filters, 1, 0)?;
    let unsubscribe = packets::unsubscribe(2, &filters)?;
    stage.begin()?;
    stage.repeat(|_| {
        let mut peer = Peer::connect(stage, &ConnectOptions::new("unsubscriber"))?;
        loop {
            peer.send(&subscribe)?;
            peer.wait_for(PacketType::SubAck)?;
            peer.send(&unsubscribe)?;
            peer.wait_for(PacketType::UnsubAck)?;
        }
    })
}

pub(super) fn hash_shares(stage: &Stage) -> Result<()> {
    let count = stage.size(10_000, 1_000);
    let burst = |names: Names| -> Result<Vec<u8>> {
        let filters: Vec<_> = (0..count).map(|number| format!("$share/{}/shared", names.name(number))).collect();
        let mut burst = Vec::new();
        for filters in filters.chunks(100) {
            burst.extend(packets::subscribe(1, filters, 0, 0)?);
        }
        Ok(burst)
    };
    let (colliding, harmless) = (burst(Names::Colliding)?, burst(Names::Harmless)?);
    stage.begin()?;
    compare(stage, |round, names| {
        let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("shares {}", round % 10)))?;
        peer.send(if names == Names::Colliding { &colliding } else { &harmless })?;
        Ok(peer.catch_up()?)
    })
}

pub(super) fn everything(stage: &Stage) -> Result<()> {
    with_readers(
        stage,
        stage.size(300, 30),
        |_| vec!["#".to_owned()],
        1,
        || {
            stage.begin()?;
            stage.crowd(2, |part| {
                let burst = many(&packets::publish(&format!("flood/{part}"), &[b'f'; 100], 0, 0)?);
                stage.repeat(|_| {
                    let mut peer = Peer::connect(stage, &ConnectOptions::new(&format!("flood {part}")))?;
                    loop {
                        peer.send(&burst)?;
                    }
                })
            })
        },
    )
}

pub(super) fn large_fan_out(stage: &Stage) -> Result<()> {
    with_readers(
        stage,
        stage.size(100, 10),
        |_| vec!["large".to_owned()],
        1,
        || {
            let packet = packets::publish("large", &vec![b'l'; stage.size(1 << 20, 1 << 17)], 1, 1)?;
            stage.begin()?;
            stage.repeat(|_| {
                let mut peer = Peer::connect(stage, &ConnectOptions::new("publisher"))?;
                loop {
                    peer.send(&packet)?;
                    peer.wait_for(PacketType::PubAck)?;
                }
            })
        },
    )
}

pub(super) fn share_churn(stage: &Stage) -> Result<()> {
    let members = stage.size(50, 5);
    let mut peers = Vec::new();
    for index in 0..FEW * members {
        peers.push(Mutex::new(Peer::connect(stage, &ConnectOptions::new(&format!("member {index}")))?.acknowledging()));
    }
    let filters: Vec<_> = (0..10).map(|group| format!("$share/{group}/churn")).collect();
    let mut packets = packets::subscribe(1, &filters, 1, 0)?;
    packets.extend(packets::unsubscribe(2, &filters)?);
    packets.extend(packets::subscribe(3, &filters[..5], 1, 0)?);
    let burst = many(&packets::publish("churn", b"for one of each group", 1, 1)?);
    stage.begin()?;
    stage.crowd(FEW + 1, |part| {
        if part == FEW {
            return stage.repeat(|_| {
                let mut peer = Peer::connect(stage, &ConnectOptions::new("publisher"))?;
                loop {
                    peer.send(&burst)?;
                }
            });
        }
        stage.repeat(|round| {
            let index = part * members + round % members;
            let Ok(mut peer) = peers[index].lock() else { return Ok(()) };
            if peer.send(&packets).is_err() {
                stage.check()?;
                *peer = Peer::connect(stage, &ConnectOptions::new(&format!("member {index}")))?.acknowledging();
            }
            Ok(())
        })
    })
}

pub(super) fn orphans(stage: &Stage) -> Result<()> {
    retain_topics(stage, (0..stage.size(20_000, 500)).map(|number| format!("{number}/r")))?;
    let levels = stage.size(11, 5);
    with_readers(
        stage,
        1,
        |_| combinations(levels).collect(),
        1,
        || {
            let filters: Vec<_> = (0..stage.size(1_000, 50)).map(|number| format!("+/{number}/#")).collect();
            let mut packets = packets::publish(&topic(levels), b"orphan", 1, 1)?.repeat(20);
            packets.extend(packets::subscribe(1, &filters, 1, 0)?);
            packets.extend(packets::unsubscribe(2, &filters)?);
            packets.extend(packets::subscribe(3, &["#"], 1, 0)?);
            stage.begin()?;
            stage.crowd(2 * FEW, |part| {
                stage.repeat(|round| {
                    // Four connections share one client identifier, so that a takeover leaves some of the work behind.
                    let client_id = format!("orphan {}", part % 2);
                    let mut peer = Peer::connect(stage, &ConnectOptions::stored(&client_id))?;
                    peer.send_without_reading(&packets)?;
                    stage.pause(Duration::from_millis(round as u64 % 4))?;
                    Ok(())
                })
            })
        },
    )
}
