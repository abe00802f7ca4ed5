//! TLS.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Connecting, tcp, with_address};

/// Returns a connector over TLS to this host and port, for instance `"broker.local:8883"`. The certificate of the server
/// has to be valid for the host. `config` has the authorities that are trusted; those that browsers trust are in the crate
/// `webpki-roots`, those of the system in `rustls-native-certs`, and others in a file:
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::rustls::pki_types::{CertificateDer, pem::PemObject};
/// use mqtt_sansio_tokio::rustls::{self, RootCertStore};
/// use mqtt_sansio_tokio::{connect, tls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut roots = RootCertStore::empty();
/// for certificate in CertificateDer::pem_file_iter("authority.pem")? {
///     roots.add(certificate?)?;
/// }
/// let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
/// let (client, events, driver) = connect(ClientConfig::default(), tls("broker.local:8883", config));
/// # Ok(())
/// # }
/// ```
pub fn tls(
    address: impl Into<String>,
    config: impl Into<Arc<ClientConfig>>,
) -> impl FnMut() -> Connecting<TlsStream<TcpStream>> + Send + 'static {
    let address = address.into();
    let connector = TlsConnector::from(config.into());
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut connect = tcp(address.clone());
    move || {
        let (name, connector, connecting) = (ServerName::try_from(host.clone()), connector.clone(), connect());
        let address = address.clone();
        Box::pin(async move {
            let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = connecting.await?;
            connector.connect(name, stream).await.map_err(|error| with_address(address, error))
        })
    }
}
