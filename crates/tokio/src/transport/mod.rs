//! Ready-made connectors.

mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;
#[cfg(feature = "websocket")]
mod websocket;

use std::future::Future;
use std::io;
use std::pin::Pin;

pub use self::tcp::tcp;
#[cfg(feature = "tls")]
pub use self::tls::tls;
#[cfg(unix)]
pub use self::unix::unix;
#[cfg(feature = "websocket")]
pub use self::websocket::{WebSocket, websocket};

/// The future of a transport that a connector opens.
pub type Connecting<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;
