//! The program as a whole: its output, its signals and its options.

// These are clients, which need a transport.
#![allow(clippy::disallowed_types)]

mod broker;
mod restart;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::process::Command;

use broker::Broker;

/// Opens connections each of which causes some lines in the log.
fn make_noise(broker: &Broker, count: usize) {
    for _ in 0..count {
        let mut stream = broker.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_closed_standard_error_stops_nothing() {
    let mut broker = Broker::start(&[], "trace");
    drop(broker.stderr());
    make_noise(&broker, 20);
    broker.assert_serves();
    broker.signal("USR1");
    broker.signal("TERM");
    assert!(broker.child.wait().unwrap().success());
}

#[test]
fn a_standard_error_that_is_not_read_stops_nothing() {
    let mut broker = Broker::start(&[], "trace");
    let _unread = broker.stderr();
    make_noise(&broker, 1000); // more than a pipe holds
    broker.assert_serves();
    broker.signal("TERM");
    assert!(broker.child.wait().unwrap().success());
}

#[test]
fn the_status_is_logged_after_a_signal() {
    let mut broker = Broker::start(&["--max-connecting-per-address", "1"], "info");
    let stderr = broker.stderr();
    let _first = broker.connect();
    let mut second = broker.connect();
    assert_eq!(second.read(&mut [0]).unwrap(), 0, "closed at once");
    broker.signal("USR1");
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("status") && line.contains("connections=1 clients=0 sessions=0")));
    broker.signal("TERM");
    let rest: Vec<_> = lines.collect();
    let has = |text: &str| rest.iter().any(|line| line.contains(text));
    assert!(has("connections were closed because of the limits of their addresses count=1"), "{rest:#?}");
    assert!(has("incomplete_bytes=0"), "{rest:#?}");
}

#[test]
fn the_options_are_documented() {
    let output = Command::new(env!("CARGO_BIN_EXE_broker")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--max-handshakes-per-address <COUNT>",
        "--max-connecting-per-address <COUNT>",
        "--max-incomplete-bytes <BYTES>",
        "--max-messages-per-second <COUNT>",
        "--max-bytes-per-second <BYTES>",
        "--data <DIR>",
        "--sync <always|SECONDS>",
        "--work-per-call <UNITS>",
    ] {
        assert!(help.contains(option), "{option} in {help}");
    }
}
