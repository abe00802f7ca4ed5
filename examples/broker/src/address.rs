//! Addresses to listen on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

/// An IP address or host name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// Resolves the address to socket addresses, without duplicates.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for address in tokio::net::lookup_host((&*self.host, self.port)).await? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("the port is missing: HOST:PORT")?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match unbracketed {
            Some(host) if text.parse::<SocketAddr>().is_ok() => host,
            None if host.contains([':', '[', ']']) => {
                return Err("an address of IPv6 stands in brackets: [::1]:1883".into());
            }
            None if host.is_empty() => {
                return Err("the host is missing; 0.0.0.0 and [::] are all of this machine".into());
            }
            None => host,
            Some(_) => return Err(format!("{host} is no address of IPv6")),
        };
        Ok(Self::new(host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, host, port) in
            [("127.0.0.1:1883", "127.0.0.1", 1883), ("[::1]:0", "::1", 0), ("localhost:8", "localhost", 8)]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!((&address, address.to_string().as_str()), (&Address::new(host, port), text));
        }
        for text in
            ["localhost", "1883", ":1883", "::1:1883", "[::1]", "[x]:1", "host:", "host:65536", "host:+x", "[::1:1"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_resolved() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let addresses = runtime.block_on(Address::new("localhost", 1883).resolve()).unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(|it| it.ip().is_loopback() && it.port() == 1883));
    }
}
