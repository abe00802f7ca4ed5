//! Recognizes other protocols by the first bytes of a connection, for a helpful message when the port is wrong.

/// A protocol that is not MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OtherProtocol {
    /// TLS, by its records.
    Tls,
    /// HTTP/1, with its first line.
    Http(String),
    /// A protocol with a first line of text, which is this one.
    Text(String),
}

/// The number of bytes that [`OtherProtocol::recognise`] looks at.
pub(crate) const RECOGNISABLE: usize = 80;

impl OtherProtocol {
    /// Returns the protocol that begins with these bytes, or `None` if it may be MQTT or is not known.
    ///
    /// MQTT is never mistaken for another protocol: a client begins with CONNECT (0x10), and a server with CONNACK
    /// (0x20) or AUTH (0xF0).
    pub(crate) fn recognise(first: &[u8]) -> Option<Self> {
        let first = first.get(..RECOGNISABLE).unwrap_or(first);
        // Content type, and a version that is 3 in its first byte from SSL 3.0 to TLS 1.3 (RFC 8446, section 5.1).
        if matches!(first, [0x14..=0x17, 0x03, ..]) {
            return Some(Self::Tls);
        }
        let line = first.split(|&byte| matches!(byte, b'\r' | b'\n')).next()?;
        let begins_as_text = line.len() >= 4 && line.first() != Some(&b' ');
        if !begins_as_text || !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return None;
        }
        let line = String::from_utf8_lossy(line).into_owned();
        Some(if line.contains("HTTP/") { Self::Http(line) } else { Self::Text(line) })
    }
}
