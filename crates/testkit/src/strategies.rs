//! Strategies of `proptest` that make bytes of MQTT, to test any implementation.
//!
//! ```
//! use mqtt_sansio::codec::{self, Limits, Sender};
//! use mqtt_sansio::Version;
//! use mqtt_sansio_testkit::strategies;
//! use proptest::prelude::*;
//!
//! # fn main() {
//! proptest!(ProptestConfig::with_cases(32), |(packet in strategies::valid(Version::V5, Sender::Client))| {
//!     let limits = Limits::from_client();
//!     prop_assert!(codec::decode(&packet, Version::V5, limits).is_ok()); // or your decoder
//! });
//! # }
//! ```

use arbitrary::Unstructured;
use mqtt_sansio::codec::Sender;
use mqtt_sansio::{Version, generators};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use crate::mutation::{other_form, with_fault};
use crate::random::Random;

/// Packets that this endpoint may send, each in the one form that this crate encodes. They shrink to short packets.
pub fn canonical(version: Version, sender: Sender) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..512).prop_map(move |choices| {
        let mut packet = Vec::new();
        let mut source = Unstructured::new(&choices);
        // Exhausted choices are zeros, so there is no error.
        let made = generators::with_packet(&mut source, version, sender, |it| it.encode(version, &mut packet).is_ok());
        debug_assert!(made.is_ok_and(|is_encoded| is_encoded));
        packet
    })
}

/// Packets that this endpoint may send, in any form that the specification allows: in 5.0 also with a reason code or properties
/// that could have been left out.
pub fn valid(version: Version, sender: Sender) -> impl Strategy<Value = Vec<u8>> {
    (canonical(version, sender), any::<u64>()).prop_map(move |(packet, seed)| {
        let mut random = Random::new(seed);
        let changes = version == Version::V5 && random.percent(50);
        if changes { other_form(&packet, &mut random) } else { packet }
    })
}

/// Packets with one fault. Few of them are valid.
pub fn almost_valid(version: Version, sender: Sender) -> impl Strategy<Value = Vec<u8>> {
    (canonical(version, sender), any::<u64>()).prop_map(|(packet, seed)| with_fault(&packet, &mut Random::new(seed)))
}

/// Streams of valid packets, cut into pieces as a transport might.
pub fn stream(version: Version, sender: Sender) -> impl Strategy<Value = Vec<Vec<u8>>> {
    (vec(valid(version, sender), 0..8), any::<u64>()).prop_map(|(packets, seed)| {
        let (stream, mut random) = (packets.concat(), Random::new(seed));
        let mut rest = &stream[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(1 + random.index(rest.len()));
            pieces.push(piece.to_vec());
            rest = others;
        }
        pieces
    })
}

/// The bytes of hostile clients, connection by connection.
pub fn hostile() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (any::<u64>(), 1..60_usize).prop_map(|(seed, count)| {
        let mut hostile = crate::Hostile::seeded(seed);
        (0..count).map(|_| hostile.bytes()).collect()
    })
}
