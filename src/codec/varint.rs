//! Variable Byte Integers (section 1.5.5).

use super::violation::Violation;

/// The largest Remaining Length, and the largest Variable Byte Integer: 268,435,455.
pub const MAX_REMAINING_LENGTH: u32 = 0x0FFF_FFFF;

/// The result of reading a Variable Byte Integer.
pub(crate) enum Varint {
    /// The value, and its size in bytes.
    Value(u32, u8),
    /// More bytes are needed.
    Incomplete,
    /// The violation, and the index of the byte.
    Malformed(Violation, u8),
}

/// Reads a Variable Byte Integer of one to four bytes; a longer form than necessary is malformed \[MQTT-1.5.5-1\].
pub(crate) fn read_varint(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (index, (shift, &byte)) in (0_u8..).zip([0, 7, 14, 21].into_iter().zip(bytes)) {
        value |= u32::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            if byte == 0 && index > 0 {
                return Varint::Malformed(Violation::OverlongInteger, index);
            }
            return Varint::Value(value, index.saturating_add(1));
        }
    }
    if bytes.len() < 4 { Varint::Incomplete } else { Varint::Malformed(Violation::IntegerTooLong, 3) }
}

/// Returns the size of a Variable Byte Integer, in bytes; `value` is at most 268,435,455.
pub(crate) const fn varint_len(value: u32) -> u8 {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
