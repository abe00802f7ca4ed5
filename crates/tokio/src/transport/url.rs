//! Connectors by URL.

use std::fmt;
use std::io;
use std::str::FromStr;
#[cfg(feature = "tls")]
use std::sync::Arc;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "tls")]
use tokio_rustls::rustls;

use super::{Connecting, tcp};

/// The address of a server as a URL, which chooses the transport when the program runs.
///
/// | URL | transport | default port | feature |
/// |---|---|---|---|
/// | `mqtt://HOST:PORT` | TCP | 1883 | |
/// | `mqtts://HOST:PORT` | TLS | 8883 | `tls` |
/// | `ws://HOST:PORT/PATH` | WebSocket | 80 | `websocket` |
/// | `wss://HOST:PORT/PATH` | WebSocket over TLS | 443 | `tls` and `websocket` |
/// | `unix:PATH` | Unix socket, on Unix | | |
///
/// `//` may precede the path of a Unix socket: `unix:///run/broker.sock`. User name and password are fields of
/// [`ClientConfig`](mqtt_sansio::client::ClientConfig), and no part of the URL. `Display` and `Debug` leave out the query, which
/// may have a secret.
///
/// ```
/// use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_tokio::{ServerUrl, connect};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url: ServerUrl = "mqtt://broker.local".parse()?; // or an argument of the program
/// let (client, events, driver) = connect(ClientConfig::default(), url.connector()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerUrl {
    scheme: Scheme,
    /// `HOST:PORT`, or the path of a Unix socket.
    address: String,
    /// The whole URL, which WebSocket tells the server.
    url: String,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Mqtt,
    #[cfg(feature = "tls")]
    Mqtts,
    #[cfg(feature = "websocket")]
    Ws,
    #[cfg(all(feature = "tls", feature = "websocket"))]
    Wss,
    #[cfg(unix)]
    Unix,
}

/// The reason why a URL is no address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no scheme, or the scheme is none of [these](ServerUrl).
    #[error("the scheme of the URL is not mqtt, mqtts, ws, wss or unix")]
    Scheme,
    /// The scheme needs a feature of this crate that is not enabled, or another operating system.
    #[error("the scheme of the URL needs {0}")]
    NotAvailable(&'static str),
    /// The host is missing, the port is not a number of 1 to 65,535, or the path of a Unix socket is missing.
    #[error("the URL has no valid host and port, or no path of a Unix socket")]
    Address,
    /// There is a user name or a password in the URL: both belong to the configuration of the client.
    #[error("user name and password belong to the configuration of the client, not to the URL")]
    Credentials,
    /// There is a path, a query or a fragment, which this transport cannot use.
    #[error("the URL has a path, a query or a fragment, which this transport cannot use")]
    Path,
    /// The scheme needs TLS, and [`with_tls`](ServerUrl::with_tls) was not called.
    #[error("the scheme of the URL needs a configuration of TLS")]
    NoTlsConfig,
}

/// A stream of any of the transports.
pub type AnyStream = Box<dyn ReadWrite>;

/// What reads and writes; implemented for all types that do, for [`AnyStream`].
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ReadWrite for T {}

/// A connector whose transport is chosen when the program runs, for [`connect`](crate::connect).
pub type Connector = Box<dyn FnMut() -> Connecting<AnyStream> + Send>;

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (name, rest) = url.split_once(':').ok_or(UrlError::Scheme)?;
        let name = name.to_ascii_lowercase();
        let (scheme, default_port) = Scheme::of(&name)?;
        let url = format!("{name}:{rest}");
        let Some(default_port) = default_port else {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return if path.is_empty() { Err(UrlError::Address) } else { Ok(Self::new(scheme, path.into(), url)) };
        };
        let rest = rest.strip_prefix("//").ok_or(UrlError::Address)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        if path.contains('#') || !(scheme.has_path() || matches!(path, "" | "/")) {
            return Err(UrlError::Path);
        }
        Ok(Self::new(scheme, with_port(authority, default_port)?, url))
    }
}

impl ServerUrl {
    const fn new(scheme: Scheme, address: String, url: String) -> Self {
        Self {
            scheme,
            address,
            url,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Returns the host and the port, or the path of a Unix socket.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::{ServerUrl, UrlError};
    /// assert_eq!("mqtt://broker.local".parse::<ServerUrl>()?.address(), "broker.local:1883");
    /// # Ok::<(), UrlError>(())
    /// ```
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the URL without what may be a secret.
    fn without_query(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// Sets the configuration of TLS, with the authorities that are trusted: see [`tls`](crate::tls). It has no effect with
    /// a scheme without TLS, so that a program can set it for any URL.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_tokio::rustls::{self, RootCertStore};
    /// use mqtt_sansio_tokio::{ServerUrl, connect};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let roots = RootCertStore::empty();
    /// let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    /// let url = "mqtts://broker.local".parse::<ServerUrl>()?.with_tls(tls);
    /// let (client, events, driver) = connect(ClientConfig::default(), url.connector()?);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        Self { tls: Some(config.into()), ..self }
    }

    /// Returns a connector to the server.
    ///
    /// # Errors
    ///
    /// [`UrlError::NoTlsConfig`] if the scheme needs TLS, and [`with_tls`](Self::with_tls) was not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio_tokio::{ServerUrl, UrlError};
    /// # #[cfg(feature = "tls")]
    /// assert_eq!("mqtts://broker.local".parse::<ServerUrl>()?.connector().err(), Some(UrlError::NoTlsConfig));
    /// # Ok::<(), UrlError>(())
    /// ```
    pub fn connector(self) -> Result<Connector, UrlError> {
        Ok(match self.scheme {
            Scheme::Mqtt => boxed(tcp(self.address)),
            #[cfg(feature = "tls")]
            Scheme::Mqtts => boxed(super::tls(self.address, self.tls.ok_or(UrlError::NoTlsConfig)?)),
            #[cfg(feature = "websocket")]
            Scheme::Ws => boxed(super::websocket(self.url, tcp(self.address))),
            #[cfg(all(feature = "tls", feature = "websocket"))]
            Scheme::Wss => {
                let tls = super::tls(self.address, self.tls.ok_or(UrlError::NoTlsConfig)?);
                boxed(super::websocket(self.url, tls))
            }
            #[cfg(unix)]
            Scheme::Unix => boxed(super::unix(self.address)),
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.without_query())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerUrl").field(&self.without_query()).finish()
    }
}

impl Scheme {
    /// Returns the scheme of this name, in lower case, and its default port; `None` for Unix sockets, which have none.
    fn of(name: &str) -> Result<(Self, Option<u16>), UrlError> {
        match name {
            "mqtt" => Ok((Self::Mqtt, Some(1883))),
            #[cfg(feature = "tls")]
            "mqtts" => Ok((Self::Mqtts, Some(8883))),
            #[cfg(feature = "websocket")]
            "ws" => Ok((Self::Ws, Some(80))),
            #[cfg(all(feature = "tls", feature = "websocket"))]
            "wss" => Ok((Self::Wss, Some(443))),
            #[cfg(unix)]
            "unix" => Ok((Self::Unix, None)),
            #[cfg(not(feature = "tls"))]
            "mqtts" => Err(UrlError::NotAvailable("the feature `tls`")),
            #[cfg(not(feature = "websocket"))]
            "ws" => Err(UrlError::NotAvailable("the feature `websocket`")),
            #[cfg(not(all(feature = "tls", feature = "websocket")))]
            "wss" => Err(UrlError::NotAvailable("the features `tls` and `websocket`")),
            #[cfg(not(unix))]
            "unix" => Err(UrlError::NotAvailable("a system with Unix sockets")),
            _ => Err(UrlError::Scheme),
        }
    }

    /// Returns whether the server is told a path.
    const fn has_path(self) -> bool {
        #[cfg(feature = "websocket")]
        if matches!(self, Self::Ws) {
            return true;
        }
        #[cfg(all(feature = "tls", feature = "websocket"))]
        if matches!(self, Self::Wss) {
            return true;
        }
        false
    }
}

/// Returns `HOST:PORT` of the authority of a URL. An IPv6 address is in brackets, and has colons of its own.
fn with_port(authority: &str, default_port: u16) -> Result<String, UrlError> {
    let end_of_host = authority.rfind(']').map_or(0, |bracket| bracket.saturating_add(1));
    let colon = authority.get(end_of_host..).and_then(|rest| rest.find(':'));
    let (host, port) = match colon.and_then(|at| authority.split_at_checked(end_of_host.saturating_add(at))) {
        Some((host, port)) => {
            let port = port.trim_start_matches(':').parse().ok().filter(|port| *port != 0);
            (host, port.ok_or(UrlError::Address)?)
        }
        None => (authority, default_port),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    if host.is_empty() || (host.contains(['[', ']', ':']) && !is_bracketed) {
        return Err(UrlError::Address);
    }
    Ok(format!("{host}:{port}"))
}

/// Hides the type of a connector's stream.
fn boxed<S: ReadWrite>(mut connect: impl FnMut() -> Connecting<S> + Send + 'static) -> Connector {
    Box::new(move || {
        let connecting = connect();
        Box::pin(async move { io::Result::Ok(Box::new(connecting.await?) as AnyStream) })
    })
}
