#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod clock;
mod codec;
mod committer;
mod completion;
mod connection;
mod decision;
mod driver;
mod error;
mod event;
mod operations;
mod options;
mod pipe;
mod server;
mod shared;
mod state;
mod subscriptions;
mod timer;
mod transport;

pub use self::client::Client;
pub use self::codec::{CodecError, PacketCodec};
pub use self::completion::Completion;
pub use self::decision::{Decision, Request};
pub use self::driver::{Driver, connect, connect_durable, connect_with};
pub use self::error::{
    CloseReason, Closed, ConnectionError, DisconnectError, DriverError, PublishError, SubscribeError,
};
pub use self::event::{Event, Events};
pub use self::options::Options;
pub use self::server::{AcceptError, ServerConnection, ServerEnd, ServerEvent, accept};
#[cfg(feature = "tls")]
pub use self::transport::tls;
#[cfg(unix)]
pub use self::transport::unix;
pub use self::transport::{AnyStream, Connecting, Connector, ReadWrite, ServerUrl, UrlError, tcp};
#[cfg(feature = "websocket")]
pub use self::transport::{WebSocket, websocket};
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
