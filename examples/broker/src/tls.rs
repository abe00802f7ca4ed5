//! TLS: the server's certificate and key, and the certificates of clients.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, CommonState, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::access::Identity;

/// Maximum number of bytes that TLS holds because a client does not read them.
pub(crate) const BUFFER: usize = 64 * 1024;

/// Accepts TLS with this certificate. With `client_ca`, clients need a certificate signed by one of those in the file.
pub(crate) fn acceptor(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<TlsAcceptor> {
    let chain = certificates(cert)?;
    let private_key = private_key(key)?;
    let builder = match client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .with_context(|| format!("{}: a certificate is no authority's", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            ServerConfig::builder().with_client_cert_verifier(verifier.with_context(|| path.display().to_string())?)
        }
    };
    let mut config = builder.with_single_cert(chain, private_key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("the key in {} does not fit to the certificate in {}", key.display(), cert.display())
        }
        rustls::Error::InvalidCertificate(why) => anyhow!("{}: the certificate is not valid: {why:?}", cert.display()),
        error => anyhow!("the certificate in {} and the key in {}: {error}", cert.display(), key.display()),
    })?;
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Reads the certificates of a file, which must contain at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let name = path.display();
    let pem = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| not_pem(path, error))?;
    if chain.is_empty() {
        bail!("{name}: there is no certificate in it (a section BEGIN CERTIFICATE)");
    }
    for certificate in &chain {
        if let Err(error) = X509Certificate::from_der(certificate) {
            bail!("{name}: a certificate cannot be read: {error}");
        }
    }
    Ok(chain)
}

/// Reads the first private key in a file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let name = path.display();
    let pem = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound if pem.windows(9).any(|it| it == b"ENCRYPTED") => {
            anyhow!("{name}: the private key is encrypted, and would need a password; `openssl pkey` decrypts it")
        }
        pem::Error::NoItemsFound => anyhow!("{name}: there is no private key in it (a section BEGIN PRIVATE KEY)"),
        error => not_pem(path, error),
    })
}

/// The library would show lines of the file as lists of numbers.
fn not_pem(path: &Path, error: pem::Error) -> anyhow::Error {
    let name = path.display();
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            anyhow!("{name} is not in PEM: the line END {} is missing", String::from_utf8_lossy(&end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            anyhow!("{name} is not in PEM: a section cannot begin with {:?}", String::from_utf8_lossy(&line))
        }
        error => anyhow!("{name} is not in PEM: {error}"),
    }
}

/// The identity of a client by its certificate.
pub(crate) fn identity(connection: &CommonState) -> Identity {
    match connection.peer_certificates().and_then(<[_]>::first) {
        None => Identity::Unproven,
        Some(certificate) => Identity::Certificate(common_name(certificate)),
    }
}

/// The common name of the subject of a certificate. `None` if there are several, because each could be meant.
fn common_name(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok().filter(|name| !name.is_empty())?;
    names.next().is_none().then(|| name.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use super::*;

    pub(crate) fn testdata(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
    }

    #[test]
    fn an_error_names_the_file_and_the_reason() {
        let (cert, key, ca) = ("server.pem", "server.key", "ca.pem");
        for (cert, key, ca, expected) in [
            ("missing.pem", key, None, "cannot read {}missing.pem: No such file"),
            (cert, "missing.key", None, "cannot read {}missing.key: No such file"),
            (cert, key, Some("missing.pem"), "cannot read {}missing.pem: No such file"),
            (key, key, None, "{}server.key: there is no certificate in it"),
            ("passwd", key, None, "{}passwd: there is no certificate in it"),
            ("broken.pem", key, None, "{}broken.pem is not in PEM: the line END CERTIFICATE is missing"),
            ("garbage.pem", key, None, "{}garbage.pem: a certificate cannot be read: "),
            (cert, cert, None, "{}server.pem: there is no private key in it"),
            (cert, "encrypted.key", None, "{}encrypted.key: the private key is encrypted"),
            (cert, "ann.key", None, "the key in {}ann.key does not fit to the certificate in {}server.pem"),
            (cert, key, Some(key), "{}server.key: there is no certificate in it"),
            (cert, key, Some(ca), ""),
        ] {
            let (cert, key, ca) = (testdata(cert), testdata(key), ca.map(testdata));
            let folder = format!("{}/", testdata("").display()).replace("//", "/");
            let expected = expected.replace("{}", &folder);
            let done = acceptor(&cert, &key, ca.as_deref());
            let error = done.err().map_or_else(String::new, |error| format!("{error:#}"));
            assert!(error.starts_with(&expected) && error.is_empty() == expected.is_empty(), "{error}\n{expected}");
        }
    }

    #[test]
    fn a_certificate_has_a_common_name() {
        for (file, expected) in [("ann.pem", Some("ann")), ("nameless.pem", None)] {
            let certificate = CertificateDer::from_pem_file(testdata(file)).unwrap();
            assert_eq!(common_name(&certificate).as_deref(), expected, "{file}");
        }
    }
}
