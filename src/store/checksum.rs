//! CRC-32 (ISO 3309, as in Ethernet and zip). It detects every error of up to 32 adjacent bits.

/// A checksum of bytes that are given one after the other.
#[derive(Clone, Copy)]
pub(super) struct Checksum(u32);

/// `TABLES[n][b]` is the effect of the byte `b` that is followed by `n` more bytes: eight bytes are taken in one step.
static TABLES: [[u32; 256]; 8] = tables();

#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Returns the effect of a byte that is followed by `N` more bytes.
#[inline(always)]
fn effect<const N: usize>(byte: u8) -> u32 {
    TABLES.get(N).and_then(|table| table.get(usize::from(byte))).copied().unwrap_or_default()
}

impl Checksum {
    pub(super) const NEW: Self = Self(u32::MAX);

    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let value = chunks.iter().fold(self.0, |value, &[a, b, c, d, e, f, g, h]| {
            let [i, j, k, l] = value.to_le_bytes();
            effect::<7>(a ^ i)
                ^ effect::<6>(b ^ j)
                ^ effect::<5>(c ^ k)
                ^ effect::<4>(d ^ l)
                ^ effect::<3>(e)
                ^ effect::<2>(f)
                ^ effect::<1>(g)
                ^ effect::<0>(h)
        });
        Self(rest.iter().fold(value, |value, byte| effect::<0>(value as u8 ^ byte) ^ value >> 8))
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
        assert_eq!(Checksum::NEW.add(b"123456789").value(), 0xCBF4_3926);
        assert_eq!(Checksum::NEW.add(b"1234").add(b"56789").value(), 0xCBF4_3926);
    }

    /// Steps of eight bytes are the same as steps of one.
    #[test]
    fn pieces_change_nothing() {
        let bytes: alloc::vec::Vec<u8> = (0..100_u32).map(|n| (n.wrapping_mul(n) >> 2) as u8).collect();
        let one_by_one = bytes.chunks(1).fold(Checksum::NEW, Checksum::add);
        assert_eq!(Checksum::NEW.add(&bytes).value(), one_by_one.value());
    }
}
