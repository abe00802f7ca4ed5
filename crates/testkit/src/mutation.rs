//! Packets that are valid in another form, and packets that are almost valid.

use crate::random::Random;

/// Returns the position of the first byte behind the fixed header, if the buffer begins with one.
fn body_of(packet: &[u8]) -> Option<usize> {
    let len = packet.get(1..5.min(packet.len()))?.iter().position(|byte| byte & 0x80 == 0)?;
    Some(len + 2)
}

/// Returns a packet with this type and flags and this body.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// Returns another form of a packet of 5.0 that means the same: a reason code of 0, or an empty list of properties, that the
/// encoder has left out. Returns the packet itself if there is no other form.
///
/// ```
/// # use mqtt_sansio_testkit::{Random, other_form};
/// assert_eq!(other_form(b"\x40\x02\0\x07", &mut Random::new(3)).len(), 6); // PUBACK with a reason code and properties
/// ```
pub fn other_form(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let Some((&first, start)) = packet.first().zip(body_of(packet)) else { return packet.to_vec() };
    let body = &packet[start..];
    let mut other = body.to_vec();
    match (first >> 4, body.len()) {
        // PUBACK, PUBREC, PUBREL, PUBCOMP: reason code and properties may be left out, or only the properties.
        (4..=7, 2) => other.extend_from_slice(&[0, 0][..1 + random.index(2)]),
        (4..=7, 3) => other.push(0),
        // DISCONNECT.
        (14, 0) => other.extend_from_slice(&[0, 0][..1 + random.index(2)]),
        (14, 1) => other.push(0),
        _ => return packet.to_vec(),
    }
    framed(first, &other)
}

/// Returns a packet with one fault: a bit, a byte or a length that is wrong, a byte too few or too many. Few of the results are
/// valid.
///
/// ```
/// # use mqtt_sansio_testkit::{Random, with_fault};
/// let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
/// assert_ne!(with_fault(connect, &mut Random::new(1)), connect);
/// ```
pub fn with_fault(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let mut faulty = packet.to_vec();
    let Some((&first, start)) = packet.first().zip(body_of(packet)) else { return faulty };
    let body = &packet[start..];
    let at = random.index(packet.len());
    match random.below(9) {
        0 => faulty[at] ^= 1 << random.below(8),
        1 => faulty[at] = [0, 1, 0x7F, 0x80, 0xFF][random.index(5)].max(u8::from(faulty[at] == 0)),
        2 => faulty[0] ^= 1 << random.below(4),                          // a flag
        3 => faulty[0] = (random.below(16) as u8) << 4 | (first & 0x0F), // another type
        // A body that is cut, or too long, with the right Remaining Length.
        4 => return framed(first, &body[..random.index(body.len() + 1)]),
        5 => {
            let more: Vec<u8> = (0..1 + random.index(4)).map(|_| random.below(256) as u8).collect();
            return framed(first, &[body, &more].concat());
        }
        // Remaining Length is wrong: more or less than there is.
        6 => faulty[1] = faulty[1].wrapping_add(1 + random.below(3) as u8) & 0x7F,
        7 => {
            // Remaining Length in more bytes than it needs, or than it may have.
            faulty.splice(1..start, [&[0x80; 5][..random.index(5) + 1], &[random.below(2) as u8]].concat());
        }
        _ => {
            // A piece of the body comes twice: a property, for instance.
            let from = random.index(body.len() + 1);
            let to = from + random.index(body.len() - from + 1);
            let doubled = [&body[..to], &body[from..]].concat();
            return framed(first, &doubled);
        }
    }
    faulty
}
