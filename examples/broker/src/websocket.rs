//! MQTT over WebSocket (section 6): a stream of bytes in binary frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::connection::Stream;
use crate::frames::{Frames, ProtocolError};

/// Maximum payload of a frame that is sent. A packet may span several frames, and a frame may contain several packets
/// \[MQTT-6.0.0-2\]. For a client that does not read, one such frame and one PONG are buffered.
const LARGEST_FRAME: usize = 16 * 1024;

/// The maximum size of the buffer of an idle connection.
const IDLE_BUFFER: usize = 4096;

/// Maximum number of bytes of headers and control frames before the client is accepted: the default maximum size of CONNECT.
const MAX_OVERHEAD: u64 = 256 * 1024;

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// Status code of a CLOSE frame for a normal closure.
const NORMAL: u16 = 1000;

/// The bytes in the binary frames of a WebSocket.
///
/// After [`poll_shutdown`](AsyncWrite::poll_shutdown), which sends a CLOSE frame and ends the sending half of the TCP
/// connection, the bytes below WebSocket are read.
pub(crate) struct WebSocket {
    stream: TcpStream,
    frames: Frames,
    /// Frames to write.
    out: Vec<u8>,
    /// Number of bytes of `out` that were written.
    written: usize,
    /// Number of bytes of headers and control frames that were read; `None` once the client is accepted.
    overhead: Option<u64>,
    /// Whether `out` contains a CLOSE frame.
    is_closing: bool,
}

/// Agrees on a WebSocket with the subprotocol `mqtt`, or `mqttv3.1` as clients of 3.1 may call it
/// \[MQTT-6.0.0-3, MQTT-6.0.0-4\]. Any other request gets an HTTP error response.
// The error is as large as the library makes it.
#[allow(clippy::result_large_err)]
pub(crate) async fn accept(stream: &mut TcpStream) -> Result<(), Error> {
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
                let mut refusal = ErrorResponse::new(Some("the subprotocol has to be mqtt\n".into()));
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                refusal.headers_mut().insert("connection", HeaderValue::from_static("close"));
                Err(refusal)
            }
        }
    };
    // The library does the handshake only: it buffers whole frames, and refuses bytes after the request. The request may
    // have 64 KiB.
    let config = WebSocketConfig::default().read_buffer_size(0);
    let error = match tokio_tungstenite::accept_hdr_async_with_config(&mut *stream, choose, Some(config)).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if let Some(answer) = answer(&error) {
        stream.write_all(answer.as_bytes()).await?;
    }
    Err(error)
}

/// Returns the HTTP response to a request that is none for a WebSocket. The library itself answers only requests without the
/// subprotocol.
fn answer(error: &Error) -> Option<String> {
    use tokio_tungstenite::tungstenite::error::ProtocolError as Wrong;
    let (status, header) = match error {
        Error::Protocol(
            Wrong::MissingConnectionUpgradeHeader
            | Wrong::MissingUpgradeWebSocketHeader
            | Wrong::MissingSecWebSocketVersionHeader,
        ) => ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        Error::Protocol(Wrong::WrongHttpMethod) => ("405 Method Not Allowed", "Allow: GET\r\n"),
        Error::Protocol(Wrong::WrongHttpVersion) => ("505 HTTP Version Not Supported", ""),
        Error::Protocol(Wrong::HandshakeIncomplete) => return None,
        Error::Capacity(_) | Error::AttackAttempt => ("431 Request Header Fields Too Large", ""),
        Error::Protocol(_) | Error::HttpFormat(_) | Error::Utf8(_) => ("400 Bad Request", ""),
        _ => return None,
    };
    let connection = if header.starts_with("Upgrade") { "upgrade, close" } else { "close" };
    let body = "here is MQTT over WebSocket, with the subprotocol mqtt\n";
    Some(format!(
        "HTTP/1.1 {status}\r\n{header}Connection: {connection}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

impl WebSocket {
    /// Creates a WebSocket on a stream after the [handshake](accept).
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, frames: Frames::default(), out: Vec::new(), written: 0, overhead: Some(0), is_closing: false }
    }

    /// Appends a frame to the buffer.
    fn put<'a>(&mut self, first: u8, length: usize, pieces: impl Iterator<Item = &'a [u8]>) {
        self.out.push(first);
        if length < 126 {
            self.out.push(length as u8);
        } else if let Ok(length) = u16::try_from(length) {
            self.out.push(126);
            self.out.extend(length.to_be_bytes());
        } else {
            self.out.push(127);
            self.out.extend((length as u64).to_be_bytes());
        }
        let mut room = length;
        for piece in pieces {
            let count = piece.len().min(room);
            self.out.extend_from_slice(&piece[..count]);
            room -= count;
        }
    }

    /// Writes the buffer, and the answer to a PING after it.
    fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.written < self.out.len() {
                match ready!(Pin::new(&mut self.stream).poll_write(context, &self.out[self.written..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.written += count,
                }
            }
            self.written = 0;
            self.out.clear();
            if self.out.capacity() > IDLE_BUFFER {
                self.out = Vec::new();
            }
            match self.frames.take_ping() {
                Some(payload) if !self.is_closing => self.put(PONG, payload.len(), std::iter::once(&payload[..])),
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Starts to send a frame once the previous one is written. Returns the number of payload bytes.
    fn poll_send<'a>(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_empty(context))?;
        if self.is_closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = length.min(LARGEST_FRAME);
        self.put(BINARY, length, pieces);
        // The bytes are in the buffer, whether they leave now or later.
        match self.poll_empty(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(length)),
        }
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_closing {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        if let Some(error) = this.frames.error() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if this.frames.is_closed() {
            return Poll::Ready(Ok(())); // the end of the stream
        }
        let mut raw = ReadBuf::new(buffer.initialize_unfilled());
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut raw))?;
        if raw.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let count = this.frames.take(raw.filled_mut());
        if let Some(overhead) = &mut this.overhead {
            *overhead += (raw.filled().len() - count) as u64;
            if *overhead > MAX_OVERHEAD {
                this.frames.fail(ProtocolError::Flood);
            }
        }
        // A PING is answered whether or not there is other output. If the write fails, the next one fails as well, and the
        // packets that the client has sent before can still be read.
        let _ = this.poll_empty(context);
        if count != 0 {
            buffer.advance(count);
            return Poll::Ready(Ok(()));
        }
        // Frames without payload count as a turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Stream for WebSocket {
    fn lift_limits(&mut self) {
        self.overhead = None;
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, bytes.len(), std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // All pieces go into one frame.
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.get_mut().poll_send(context, length, pieces.iter().map(|piece| &**piece))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_empty(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_closing {
            let status = this.frames.error().map_or(NORMAL, |error| error.status());
            let payload = status.to_be_bytes();
            this.put(CLOSE, payload.len(), std::iter::once(&payload[..]));
            this.is_closing = true;
        }
        ready!(this.poll_empty(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
