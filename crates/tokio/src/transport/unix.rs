//! Unix sockets.

use std::path::PathBuf;

use tokio::net::UnixStream;

use super::{Connecting, with_address};

/// Returns a connector to this Unix socket.
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::{connect, unix};
///
/// let (client, events, driver) = connect(ClientConfig::default(), unix("/run/broker.sock"));
/// ```
pub fn unix(path: impl Into<PathBuf>) -> impl FnMut() -> Connecting<UnixStream> + Send + 'static {
    let path = path.into();
    move || {
        let path = path.clone();
        Box::pin(async move { UnixStream::connect(&path).await.map_err(|error| with_address(path.display(), error)) })
    }
}
