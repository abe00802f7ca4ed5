//! TCP.

use std::io;

use tokio::net::TcpStream;

use super::{Connecting, with_address};

/// Returns a connector to this host and port, for instance `"broker.local:1883"` or `"[::1]:1883"`. The name is looked up
/// for each connection, and all its addresses are tried. An error names the address.
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
            let stream = TcpStream::connect(&address).await.map_err(|error| explained(error, &address))?;
            stream.set_nodelay(true)?; // the driver writes as much as there is at once
            Ok(stream)
        })
    }
}

/// Names the address, and says what is expected if it cannot be one.
fn explained(error: io::Error, address: &str) -> io::Error {
    if error.kind() != io::ErrorKind::InvalidInput {
        return with_address(address, error);
    }
    io::Error::new(error.kind(), format!("the address is {address:?}, and HOST:PORT is expected: {error}"))
}
