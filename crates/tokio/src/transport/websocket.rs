//! MQTT over WebSocket (section 6).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Connecting;

/// Returns a connector over WebSocket. `connect` opens the stream under it: [`tcp`](crate::tcp) for `ws:`,
/// [`tls`](crate::tls) for `wss:`, or another one; the host and the path of `url` are those that the server is told.
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::{connect, tcp, websocket};
///
/// let connector = websocket("ws://broker.local/mqtt", tcp("broker.local:80"));
/// let (client, events, driver) = connect(ClientConfig::default(), connector);
/// ```
pub fn websocket<C, F, S>(
    url: impl Into<String>,
    mut connect: C,
) -> impl FnMut() -> Connecting<WebSocket<S>> + Send + 'static
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let url = url.into();
    move || {
        let (url, connecting) = (url.clone(), connect());
        Box::pin(async move {
            let invalid = |error: Error| io::Error::new(io::ErrorKind::InvalidInput, error);
            let mut request = url.into_client_request().map_err(invalid)?;
            // The subprotocol of MQTT [MQTT-6.0.0-3].
            request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
            let (stream, _) = client_async(request, connecting.await?).await.map_err(into_io)?;
            Ok(WebSocket { stream, rest: Bytes::new() })
        })
    }
}

/// The bytes in the binary frames of a WebSocket, as a stream: MQTT packets begin and end anywhere in them
/// \[MQTT-6.0.0-2\].
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: WebSocketStream<S>,
    /// What is left of the last frame.
    rest: Bytes,
}

/// Converts an error of WebSocket to one of a transport.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::NotConnected.into(),
        error => io::Error::other(error),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(payload))) => self.rest = payload,
                // Data that is not binary ends the connection [MQTT-6.0.0-1].
                Some(Ok(Message::Text(_))) => {
                    let why = "a text frame, where only binary frames are allowed [MQTT-6.0.0-1]";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                Some(Ok(_)) => {} // control frames, which the library answers
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(self.rest.get(..count).unwrap_or_default());
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut self.stream;
        ready!(Pin::new(&mut *stream).poll_ready(cx)).map_err(into_io)?;
        Pin::new(stream).start_send(Message::Binary(Bytes::copy_from_slice(bytes))).map_err(into_io)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(into_io(error))),
        }
    }
}
