//! The packets of the strategies are what their names say.

#![cfg(feature = "proptest")]

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Decoded, Limits, Sender};
use mqtt_sansio_testkit::strategies;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs a test on the same 500 values each time.
fn check<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    result.unwrap();
}

const ENDS: [(Sender, Limits); 2] = [(Sender::Client, Limits::from_client()), (Sender::Server, Limits::from_server())];

#[test]
fn valid_packets_are_decoded() {
    for (sender, limits) in ENDS {
        for version in Version::ALL {
            check(&strategies::canonical(version, sender), |packet| {
                let decoded = codec::decode(&packet, version, limits).unwrap();
                let Decoded::Packet { packet: made, size } = decoded else { panic!("incomplete") };
                assert_eq!(size, packet.len());
                let mut again = Vec::new();
                made.encode(version, &mut again).unwrap();
                assert_eq!(again, packet, "it is the form that this crate encodes");
            });
        }
        check(&strategies::valid(Version::V5, sender), |packet| {
            let decoded = codec::decode(&packet, Version::V5, limits);
            assert!(
                matches!(decoded, Ok(Decoded::Packet { size, .. }) if size == packet.len()),
                "{packet:02x?}: {decoded:?}"
            );
        });
    }
}

/// Some packets have another form, and some faults are refused; neither strategy does nothing.
#[test]
fn other_forms_and_faults_occur() {
    use std::cell::Cell;

    let (others, faults) = (Cell::new(0), Cell::new(0));
    check(&strategies::valid(Version::V5, Sender::Client), |packet| {
        let Ok(Decoded::Packet { packet: made, .. }) = codec::decode(&packet, Version::V5, Limits::DEFAULT) else {
            panic!()
        };
        let mut again = Vec::new();
        made.encode(Version::V5, &mut again).unwrap();
        others.set(others.get() + u32::from(again != packet));
    });
    check(&strategies::almost_valid(Version::V5, Sender::Client), |packet| {
        let is_valid = matches!(codec::decode(&packet, Version::V5, Limits::DEFAULT), Ok(Decoded::Packet { size, .. }) if size == packet.len());
        faults.set(faults.get() + u32::from(!is_valid));
    });
    assert!(others.get() > 5, "{} other forms", others.get());
    assert!(faults.get() > 250, "{} faults", faults.get());
}

#[test]
fn streams_are_packets_in_pieces() {
    check(&strategies::stream(Version::V311, Sender::Server), |pieces| {
        let stream = pieces.concat();
        let mut packets = codec::packets(&stream, Version::V311, Limits::from_server());
        assert!(packets.by_ref().all(|packet| packet.is_ok()));
        assert_eq!(packets.consumed(), stream.len());
    });
}
