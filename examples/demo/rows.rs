//! Turns the bytes of a packet into a row for each of its fields.
//!
//! The crate returns the values of a packet without their positions. This module reads the bytes again after the crate
//! has validated them, so it checks nothing, and stops at the end of the bytes.

use mqtt_sansio::Version;
use mqtt_sansio::codec::{PacketType, PropertyId, WireType};

use crate::words;

/// A field, or a group of them.
#[derive(Debug)]
pub(crate) struct Row {
    /// The first byte, from the start of the packet.
    pub(crate) start: usize,
    /// The byte after the last one.
    pub(crate) end: usize,
    /// The bits of the byte that the row describes, if not all of them.
    pub(crate) mask: u8,
    /// The level: 0 for the parts of the packet, 1 for their fields, and so on.
    pub(crate) depth: usize,
    pub(crate) name: String,
    pub(crate) meaning: String,
}

/// Returns the rows of the packet at the start of `bytes`, as far as there are bytes.
pub(crate) fn of(bytes: &[u8], version: Version) -> Vec<Row> {
    let mut walk = Walk { bytes, at: 0, depth: 0, version, rows: Vec::new() };
    let _ = walk.packet(); // `None` only means that the bytes have ended early
    walk.rows
}

/// A cursor that records rows. Every method returns `None` at the end of the bytes.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    version: Version,
    rows: Vec<Row>,
}

/// The wire types (section 1.5), each as a row.
impl<'a> Walk<'a> {
    fn has_more(&self) -> bool {
        self.at < self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// Adds a row for the bytes taken since `start`.
    fn row(&mut self, start: usize, name: impl Into<String>, meaning: impl Into<String>) {
        let (name, meaning) = (name.into(), meaning.into());
        self.rows.push(Row { start, end: self.at, mask: 0xFF, depth: self.depth, name, meaning });
    }

    /// Adds a row for some bits of the last byte, below the row of that byte.
    fn bits(&mut self, mask: u8, name: &str, meaning: impl Into<String>) {
        self.depth += 1;
        self.row(self.at.saturating_sub(1), name, meaning);
        self.depth -= 1;
        if let Some(row) = self.rows.last_mut() {
            row.mask = mask;
        }
    }

    /// Reads the fields of a part of the packet, one level below it.
    fn inside(&mut self, fields: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        fields(self)?;
        self.depth -= 1;
        Some(())
    }

    /// Adds a part of the packet that has a name and no bytes of its own.
    fn part(&mut self, name: &str, fields: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.row(self.at, name, "");
        self.inside(fields)
    }

    fn u8(&mut self, name: &str, meaning: impl FnOnce(u8) -> String) -> Option<u8> {
        let start = self.at;
        let value = *self.take(1)?.first()?;
        self.row(start, name, meaning(value));
        Some(value)
    }

    fn u16(&mut self, name: &str, meaning: impl FnOnce(u16) -> String) -> Option<u16> {
        let start = self.at;
        let value = self.take_u16()?;
        self.row(start, name, meaning(value));
        Some(value)
    }

    fn text(&mut self, name: &str) -> Option<()> {
        let start = self.at;
        let text = self.take_binary()?;
        self.row(start, name, words::text(text));
        Some(())
    }

    fn binary(&mut self, name: &str) -> Option<()> {
        let start = self.at;
        let data = self.take_binary()?;
        self.row(start, name, words::data(data));
        Some(())
    }

    fn varint(&mut self, name: &str, meaning: impl FnOnce(u32) -> String) -> Option<u32> {
        let start = self.at;
        let value = self.take_varint()?;
        self.row(start, name, meaning(value));
        Some(value)
    }

    fn take_u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    fn take_u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    fn take_varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = *self.take(1)?.first()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take_binary(&mut self) -> Option<&'a [u8]> {
        let length = self.take_u16()?;
        self.take(usize::from(length))
    }
}

/// The packets (chapter 3), field by field.
impl Walk<'_> {
    fn packet(&mut self) -> Option<()> {
        let (mut first, mut remaining_length) = (0, 0);
        self.part("fixed header", |walk| {
            first = walk.first_byte()?;
            remaining_length = walk.varint("remaining length", words::bytes)?;
            Some(())
        })?;
        let end = self.at.saturating_add(remaining_length as usize);
        self.bytes = self.bytes.get(..end).unwrap_or(self.bytes);
        let packet_type = PacketType::from_number(first >> 4)?;
        match packet_type {
            PacketType::Connect => self.connect(),
            PacketType::ConnAck => self.connack(),
            PacketType::Publish => self.publish(first),
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => self.ack(packet_type),
            PacketType::Subscribe => self.subscribe(),
            PacketType::Unsubscribe => self.unsubscribe(),
            PacketType::SubAck | PacketType::UnsubAck => self.list_ack(packet_type),
            PacketType::PingReq | PacketType::PingResp => Some(()),
            PacketType::Disconnect | PacketType::Auth => self.end(packet_type),
        }
    }

    fn first_byte(&mut self) -> Option<u8> {
        let first = self.u8("packet type", |first| words::packet_type(first >> 4))?;
        if first >> 4 == PacketType::Publish as u8 {
            self.bits(0b1000, "dup", words::yes_no(first & 0b1000));
            self.bits(0b0110, "QoS", words::qos(first >> 1 & 0b11));
            self.bits(0b0001, "retain", words::yes_no(first & 1));
        } else {
            self.bits(0b1111, "flags", "");
        }
        Some(first)
    }

    fn connect(&mut self) -> Option<()> {
        let mut flags = 0;
        self.part("variable header", |walk| {
            walk.text("protocol name")?;
            let level = walk.u8("protocol version", words::level)?;
            walk.version = Version::from_level(level).unwrap_or(walk.version);
            flags = walk.connect_flags()?;
            walk.u16("keep alive", words::keep_alive)?;
            walk.properties("properties")
        })?;
        self.part("payload", |walk| {
            walk.text("client identifier")?;
            if flags & 0x04 != 0 {
                walk.properties("will properties")?;
                walk.text("will topic")?;
                walk.binary("will payload")?;
            }
            // In 3.1 user name and password may be missing although their flags are set.
            let may_be_missing = |walk: &Self| walk.version == Version::V31 && !walk.has_more();
            if flags & 0x80 != 0 && !may_be_missing(walk) {
                walk.text("user name")?;
            }
            if flags & 0x40 != 0 && !may_be_missing(walk) {
                walk.binary("password")?;
            }
            Some(())
        })
    }

    fn connect_flags(&mut self) -> Option<u8> {
        let flags = self.u8("connect flags", |_| String::new())?;
        let clean = if self.version == Version::V5 { "clean start" } else { "clean session" };
        self.bits(0x80, "user name", words::yes_no(flags & 0x80));
        self.bits(0x40, "password", words::yes_no(flags & 0x40));
        self.bits(0x20, "will retain", words::yes_no(flags & 0x20));
        self.bits(0x18, "will QoS", words::qos(flags >> 3 & 0b11));
        self.bits(0x04, "will", words::yes_no(flags & 0x04));
        self.bits(0x02, clean, words::yes_no(flags & 0x02));
        self.bits(0x01, "reserved", "");
        Some(flags)
    }

    fn connack(&mut self) -> Option<()> {
        self.part("variable header", |walk| {
            let flags = walk.u8("acknowledge flags", |_| String::new())?;
            // In 3.1 the whole byte is reserved.
            if walk.version != Version::V31 {
                walk.bits(0x01, "session present", words::yes_no(flags & 1));
            }
            walk.reason_code(PacketType::ConnAck)?;
            walk.properties("properties")
        })
    }

    fn publish(&mut self, first: u8) -> Option<()> {
        self.part("variable header", |walk| {
            walk.text("topic name")?;
            if first & 0b0110 != 0 {
                walk.packet_identifier()?;
            }
            walk.properties("properties")
        })?;
        let start = self.at;
        let payload = self.take(self.bytes.len().saturating_sub(start))?;
        self.row(start, "payload", words::data(payload));
        Some(())
    }

    fn ack(&mut self, packet_type: PacketType) -> Option<()> {
        self.part("variable header", |walk| {
            walk.packet_identifier()?;
            walk.reason_and_properties(packet_type)
        })
    }

    /// Reason code and properties, which may be missing (section 3.4.2.1).
    fn reason_and_properties(&mut self, packet_type: PacketType) -> Option<()> {
        if self.version == Version::V5 && self.has_more() {
            self.reason_code(packet_type)?;
            if self.has_more() {
                self.properties("properties")?;
            }
        }
        Some(())
    }

    fn subscribe(&mut self) -> Option<()> {
        self.identified()?;
        self.part("payload", |walk| {
            while walk.has_more() {
                walk.text("topic filter")?;
                walk.inside(Self::subscription_options)?;
            }
            Some(())
        })
    }

    fn subscription_options(&mut self) -> Option<()> {
        if self.version != Version::V5 {
            return self.u8("requested QoS", words::qos).map(drop);
        }
        let options = self.u8("subscription options", |_| String::new())?;
        self.bits(0x30, "retain handling", words::retain_handling(options >> 4 & 0b11));
        self.bits(0x08, "retain as published", words::yes_no(options & 0x08));
        self.bits(0x04, "no local", words::yes_no(options & 0x04));
        self.bits(0x03, "maximum QoS", words::qos(options & 0b11));
        Some(())
    }

    fn unsubscribe(&mut self) -> Option<()> {
        self.identified()?;
        self.part("payload", |walk| {
            while walk.has_more() {
                walk.text("topic filter")?;
            }
            Some(())
        })
    }

    fn list_ack(&mut self, packet_type: PacketType) -> Option<()> {
        self.identified()?;
        if packet_type == PacketType::UnsubAck && self.version != Version::V5 {
            return Some(());
        }
        self.part("payload", |walk| {
            while walk.has_more() {
                walk.reason_code(packet_type)?;
            }
            Some(())
        })
    }

    /// The variable header of the packets that contain a list.
    fn identified(&mut self) -> Option<()> {
        self.part("variable header", |walk| {
            walk.packet_identifier()?;
            walk.properties("properties")
        })
    }

    fn end(&mut self, packet_type: PacketType) -> Option<()> {
        if !self.has_more() {
            return Some(());
        }
        self.part("variable header", |walk| walk.reason_and_properties(packet_type))
    }

    fn packet_identifier(&mut self) -> Option<()> {
        self.u16("packet identifier", |id| id.to_string()).map(drop)
    }

    fn reason_code(&mut self, packet_type: PacketType) -> Option<()> {
        let version = self.version;
        let name = if version == Version::V5 { "reason code" } else { "return code" };
        self.u8(name, |code| words::reason_code(code, packet_type, version)).map(drop)
    }

    /// Property Length and the properties (section 2.2.2).
    fn properties(&mut self, name: &str) -> Option<()> {
        if self.version != Version::V5 {
            return Some(());
        }
        let length = self.varint(name, words::bytes)?;
        let packet = self.bytes;
        self.bytes = packet.get(..self.at.checked_add(length as usize)?)?;
        self.inside(|walk| {
            while walk.has_more() {
                walk.property()?;
            }
            Some(())
        })?;
        self.bytes = packet;
        Some(())
    }

    fn property(&mut self) -> Option<()> {
        let start = self.at;
        let number = *self.take(1)?.first()?;
        let Some(id) = PropertyId::from_value(number) else {
            self.row(start, "unknown property", format!("{number:#04x}"));
            return None;
        };
        let meaning = self.property_value(id);
        self.row(start, id.to_string(), meaning.as_deref().unwrap_or("(cut off)"));
        meaning.map(drop)
    }

    fn property_value(&mut self, id: PropertyId) -> Option<String> {
        Some(match id.wire_type() {
            WireType::Byte => words::property(id, u32::from(*self.take(1)?.first()?)),
            WireType::TwoByteInteger => words::property(id, u32::from(self.take_u16()?)),
            WireType::FourByteInteger => words::property(id, self.take_u32()?),
            WireType::VariableByteInteger => words::property(id, self.take_varint()?),
            WireType::Utf8String => words::text(self.take_binary()?),
            WireType::BinaryData => words::data(self.take_binary()?),
            WireType::Utf8StringPair => {
                let name = words::text(self.take_binary()?);
                format!("{name} = {}", words::text(self.take_binary()?))
            }
        })
    }
}
