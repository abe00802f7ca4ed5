//! TCP.

use tokio::net::TcpStream;

use super::Connecting;

/// Returns a connector to this host and port, for instance `"broker.local:1883"` or `"[::1]:1883"`. The name is looked up
/// for each connection, and all its addresses are tried.
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::{connect, tcp};
///
/// let (client, events, driver) = connect(ClientConfig::default(), tcp("broker.local:1883"));
/// ```
pub fn tcp(address: impl Into<String>) -> impl FnMut() -> Connecting<TcpStream> + Send + 'static {
    let address = address.into();
    move || {
        let address = address.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?; // the driver writes as much as there is at once
            Ok(stream)
        })
    }
}
