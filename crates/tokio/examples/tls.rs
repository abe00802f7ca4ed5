//! Publishes one message over TLS. The file has the certificates of the authorities to trust.
//!
//! ```text
//! cargo run -p mqtt-sansio-tokio --features tls --example tls -- broker.local:8883 ca.pem
//! ```

use anyhow::Context;
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS};
use mqtt_sansio_tokio::rustls::pki_types::CertificateDer;
use mqtt_sansio_tokio::rustls::pki_types::pem::PemObject;
use mqtt_sansio_tokio::rustls::{self, RootCertStore};
use mqtt_sansio_tokio::{connect, tls};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (address, file) = (arguments.next().context("HOST:PORT")?, arguments.next().context("a file")?);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let trust = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();

    let config = ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() };
    let (client, events, driver) = connect(config, tls(address, trust));
    drop(events); // not needed
    let driver = tokio::spawn(driver);
    tokio::select! {
        outcome = client.publish(Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce)) => println!("{:?}", outcome?),
        end = driver => end??,
    }
    Ok(client.disconnect().await?)
}
