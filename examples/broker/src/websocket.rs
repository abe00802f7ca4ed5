//! MQTT over WebSocket (section 6): a stream of bytes in binary frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// So many bytes are sent in a frame at most; a packet may be in several, and several packets in one \[MQTT-6.0.0-2\].
const LARGEST_FRAME: usize = 1 << 20;

/// As much is read at a time, and held by an idle connection.
const BUFFER: usize = 8 * 1024;

/// So many bytes a frame may have besides a packet as large as it may be: there are clients that put everything into one.
const SLACK: usize = 1 << 16;

/// The bytes in the binary frames of a WebSocket.
pub(crate) struct WebSocket {
    frames: WebSocketStream<TcpStream>,
    /// What is left of the last frame.
    rest: Bytes,
}

/// Agrees on a WebSocket with the subprotocol `mqtt`, or `mqttv3.1` as clients of 3.1 may call it
/// \[MQTT-6.0.0-3, MQTT-6.0.0-4\]. The client sends packets of at most so many bytes.
// The error is as large as the library makes it.
#[allow(clippy::result_large_err)]
pub(crate) async fn accept(stream: TcpStream, max_packet_size: usize) -> Result<WebSocket, Error> {
    let choose = |request: &Request, response: Response| {
        let offered =
            request.headers().get_all("sec-websocket-protocol").iter().filter_map(|value| value.to_str().ok());
        let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
        match offered.find(|name| matches!(*name, "mqtt" | "mqttv3.1")).map(HeaderValue::from_str) {
            Some(Ok(name)) => {
                let mut response = response;
                response.headers_mut().insert("sec-websocket-protocol", name);
                Ok(response)
            }
            _ => {
                let mut refusal = ErrorResponse::new(Some("the subprotocol has to be mqtt".into()));
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                Err(refusal)
            }
        }
    };
    let largest = Some(max_packet_size.saturating_add(SLACK));
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).max_message_size(largest).max_frame_size(largest);
    let frames = tokio_tungstenite::accept_hdr_async_with_config(stream, choose, Some(config)).await?;
    Ok(WebSocket { frames, rest: Bytes::new() })
}

impl AsyncRead for WebSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.frames).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => this.rest = bytes,
                // Those that want an answer have one already, which is sent when more is read.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                    return Poll::Ready(Ok(())); // the end of the stream
                }
                // Anything but binary frames ends the connection [MQTT-6.0.0-1].
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let count = this.rest.len().min(buffer.remaining());
        buffer.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let frames = Pin::new(&mut self.get_mut().frames);
        send(frames, context, || Bytes::copy_from_slice(&bytes[..bytes.len().min(LARGEST_FRAME)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let frames = Pin::new(&mut self.get_mut().frames);
        // All that there is goes into one frame.
        send(frames, context, || {
            let mut bytes = Vec::new();
            for piece in pieces {
                let room = LARGEST_FRAME - bytes.len();
                bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            bytes.into()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().frames).poll_flush(context).map_err(io::Error::other)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().frames).poll_close(context).map_err(io::Error::other)
    }
}

/// Sends a frame as soon as there is room for one; how many bytes are in it.
fn send(
    frames: Pin<&mut WebSocketStream<TcpStream>>,
    context: &mut Context<'_>,
    bytes: impl FnOnce() -> Bytes,
) -> Poll<io::Result<usize>> {
    let mut frames = frames;
    ready!(frames.as_mut().poll_ready(context)).map_err(io::Error::other)?;
    let bytes = bytes();
    let count = bytes.len();
    frames.start_send(Message::Binary(bytes)).map_err(io::Error::other)?;
    Poll::Ready(Ok(count))
}
