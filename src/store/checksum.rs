//! CRC-32 (ISO 3309, as in Ethernet and zip). It detects every error of up to 32 adjacent bits.

/// A checksum of bytes that are given one after the other.
#[derive(Clone, Copy)]
pub(super) struct Checksum(u32);

const TABLE: [u32; 256] = table();

#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

impl Checksum {
    pub(super) const NEW: Self = Self(u32::MAX);

    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let step = |value: u32, &byte: &u8| {
            let index = usize::from(value as u8 ^ byte);
            TABLE.get(index).copied().unwrap_or_default() ^ value >> 8
        };
        Self(bytes.iter().fold(self.0, step))
    }

    pub(super) const fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_test_text() {
        assert_eq!(Checksum::NEW.add(b"12345").add(b"6789").value(), 0xCBF4_3926);
    }
}
