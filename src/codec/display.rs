//! The `Display` output of packets: one line for a log.

use core::fmt::{self, Display, Formatter};

use super::packet::Packet;

/// Maximum number of topic filters and of reason codes that are printed.
const MAX_PRINTED: usize = 8;

/// Prints the packet in one line: the type, the packet identifier, and the fields that tell one packet from another of its
/// type. Text is escaped, so that nothing that was received begins a new line. Of a payload, and of more than eight topic
/// filters or reason codes, the number is printed. User names, passwords, wills and properties are not printed; `Debug`
/// prints more.
///
/// ```
/// # use mqtt_sansio::codec::{Packet, PubAck, Publish, PacketId};
/// # use mqtt_sansio::TopicName;
/// let publish = Publish { topic: TopicName::new("home/temp")?, payload: b"21.5", ..Publish::default() };
/// assert_eq!(Packet::from(publish).to_string(), "PUBLISH QoS 0, \"home/temp\", 4 bytes");
/// let puback = PubAck::new(PacketId::new(7)?);
/// assert_eq!(Packet::from(puback).to_string(), "PUBACK 7, 0x00 (Success)");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
impl Display for Packet<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.packet_type(), f)?;
        let separator = match self.packet_id() {
            Some(id) => {
                write!(f, " {id}")?;
                ", "
            }
            None => " ",
        };
        match self {
            Self::Connect(it) => {
                write!(f, " {} {:?}, keep alive {} s", it.version, it.client_identifier.as_str(), it.keep_alive)?;
                flag(f, it.clean_start, "clean start")?;
                flag(f, it.will.is_some(), "will")
            }
            Self::ConnAck(it) => {
                write!(f, " {}", it.reason_code)?;
                flag(f, it.session_present, "session present")
            }
            Self::Publish(it) => {
                write!(f, "{separator}QoS {}", it.delivery.qos())?;
                flag(f, it.delivery.dup(), "DUP")?;
                flag(f, it.retain, "RETAIN")?;
                write!(f, ", {:?}, {} bytes", it.topic.as_str(), it.payload.len())
            }
            Self::PubAck(it) => write!(f, "{separator}{}", it.reason_code),
            Self::PubRec(it) => write!(f, "{separator}{}", it.reason_code),
            Self::PubRel(it) => write!(f, "{separator}{}", it.reason_code),
            Self::PubComp(it) => write!(f, "{separator}{}", it.reason_code),
            Self::Subscribe(it) => {
                list(f, it.subscriptions.iter(), |f, it| write!(f, "{:?} QoS {}", it.filter.as_str(), it.qos))
            }
            Self::SubAck(it) => list(f, it.reason_codes.iter(), |f, code| Display::fmt(&code, f)),
            Self::Unsubscribe(it) => list(f, it.filters.iter(), |f, filter| write!(f, "{:?}", filter.as_str())),
            Self::UnsubAck(it) => list(f, it.reason_codes.iter(), |f, code| Display::fmt(&code, f)),
            Self::PingReq | Self::PingResp => Ok(()),
            Self::Disconnect(it) => write!(f, " {}", it.reason_code),
            Self::Auth(it) => write!(f, " {}", it.reason_code),
        }
    }
}

/// Prints the name of a flag that is set.
fn flag(f: &mut Formatter<'_>, is_set: bool, name: &str) -> fmt::Result {
    if is_set { write!(f, ", {name}") } else { Ok(()) }
}

/// Prints the first items of a list, and the number of the others.
fn list<I: ExactSizeIterator>(
    f: &mut Formatter<'_>,
    mut items: I,
    print: impl Fn(&mut Formatter<'_>, I::Item) -> fmt::Result,
) -> fmt::Result {
    for item in items.by_ref().take(MAX_PRINTED) {
        f.write_str(", ")?;
        print(f, item)?;
    }
    match items.len() {
        0 => Ok(()),
        others => write!(f, " and {others} more"),
    }
}
