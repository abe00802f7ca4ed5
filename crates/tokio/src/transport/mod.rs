//! Ready-made connectors.

mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;
mod url;
#[cfg(feature = "websocket")]
mod websocket;

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::pin::Pin;

use thiserror::Error;

pub use self::tcp::tcp;
#[cfg(feature = "tls")]
pub use self::tls::tls;
#[cfg(unix)]
pub use self::unix::unix;
pub use self::url::{AnyStream, Connector, ReadWrite, ServerUrl, UrlError};
#[cfg(feature = "websocket")]
pub use self::websocket::{WebSocket, websocket};

/// The error of connecting to an address.
#[derive(Debug, Error)]
#[error("{address}: {source}")]
struct ConnectError {
    address: String,
    source: io::Error,
}

/// Adds the address to the error of connecting to it.
fn with_address(address: impl Display, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), ConnectError { address: address.to_string(), source })
}

/// The future of a transport that a connector opens. An error of a ready-made connector names the address.
pub type Connecting<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;
