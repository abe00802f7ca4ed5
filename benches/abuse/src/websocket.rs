//! The part of WebSocket (RFC 6455) that attackers need.

use anyhow::Result;

use crate::peer::{Peer, Stopped};
use crate::stage::Stage;

pub(crate) const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

/// Opens a connection, and makes the WebSocket handshake.
pub(crate) fn open(stage: &Stage) -> Result<Peer<'_>, Stopped> {
    let mut peer = Peer::open(stage, stage.broker.websocket)?;
    peer.send_without_reading(REQUEST.as_bytes())?;
    peer.wait_for_bytes(b"\r\n\r\n")?;
    Ok(peer)
}

/// A frame with a mask of zeros, which does not change the payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(BINARY, payload)
}

/// The largest PING.
pub(crate) fn ping() -> Vec<u8> {
    frame(PING, &[b'p'; 125])
}
