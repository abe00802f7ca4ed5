//! Attacks before MQTT, or below it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::{FEW, many};
use crate::packets::{self, ConnectOptions};
use crate::peer::Peer;
use crate::stage::Stage;
use crate::websocket;

/// Sends WebSocket pings on several connections, and reads nothing. The connections stay open, so that the memory they hold is
/// measured.
fn pings(stage: &Stage, hello: &[u8]) -> Result<()> {
    let burst = many(&websocket::ping());
    stage.begin()?;
    stage.crowd(FEW, |_| {
        stage.repeat(|_| {
            let mut peer = websocket::open(stage)?.deaf();
            peer.send(hello)?;
            loop {
                peer.send(&burst)?;
            }
        })
    })
}

pub(super) fn pings_late(stage: &Stage) -> Result<()> {
    pings(stage, &websocket::binary(&ConnectOptions::new("").packet()?))
}

pub(super) fn pings_early(stage: &Stage) -> Result<()> {
    pings(stage, &[])
}

pub(super) fn frames(stage: &Stage) -> Result<()> {
    let packet = packets::publish("frames", b"one byte each", 0, 0)?;
    let frames: Vec<u8> = packet.iter().flat_map(|&byte| websocket::binary(&[byte])).collect();
    let burst = many(&frames);
    let hello = websocket::binary(&ConnectOptions::new("").packet()?);
    stage.begin()?;
    stage.crowd(FEW, |_| {
        stage.repeat(|_| {
            let mut peer = websocket::open(stage)?;
            peer.send_without_reading(&hello)?;
            loop {
                // The answers of the broker are WebSocket frames, which are discarded.
                peer.send_without_reading(&burst)?;
                peer.read_some(4096)?;
            }
        })
    })
}

/// Opens connections that send the beginning of a request, and continues on one connection after the other.
fn hold(stage: &Stage, address: SocketAddr, count: usize, begin: &[u8], more: &[u8]) -> Result<()> {
    stage.begin()?;
    let mut peers: Vec<Peer<'_>> = Vec::new();
    stage.repeat(|round| {
        if peers.len() < count {
            let mut peer = Peer::open(stage, address)?;
            peer.send_without_reading(begin)?;
            peers.push(peer);
            return Ok(());
        }
        let index = round % peers.len();
        if more.is_empty() {
            stage.pause(Duration::from_millis(1))?;
        }
        if peers[index].is_closed() || peers[index].send_without_reading(more).is_err() {
            peers.swap_remove(index);
        }
        Ok(())
    })
}

pub(super) fn requests(stage: &Stage) -> Result<()> {
    let more = format!("X-Header: {}\r\n", "h".repeat(2_000));
    let begin = websocket::REQUEST.trim_end_matches("\r\n").to_owned() + "\r\n";
    hold(stage, stage.broker.websocket, stage.size(1_000, 100), begin.as_bytes(), more.as_bytes())
}

pub(super) fn tls_handshakes(stage: &Stage) -> Result<()> {
    // A record of 16 KiB with the beginning of a ClientHello of 64 KiB.
    let mut begin = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0, 3, 3];
    begin.resize(5 + 0x4000, 0);
    hold(stage, stage.broker.tls, stage.size(1_000, 100), &begin, &[])
}

pub(super) fn silence(stage: &Stage) -> Result<()> {
    hold(stage, stage.broker.tcp, stage.size(5_000, 300), &[], &[])
}

pub(super) fn drip(stage: &Stage) -> Result<()> {
    let packet = packets::publish("drip", b"byte by byte", 1, 1)?;
    stage.begin()?;
    stage.crowd(2 * FEW, |part| {
        let hello = ConnectOptions::new(&format!("drip {part}")).packet()?;
        stage.repeat(|_| {
            let mut peer = Peer::open(stage, stage.broker.tcp)?;
            for byte in hello.iter().chain(packet.iter().cycle().take(10_000)) {
                peer.send(&[*byte])?;
            }
            Ok(())
        })
    })
}
