//! The examples of the crate, as programs.

#![cfg(all(feature = "std", feature = "broker"))]
// A client of the proxy needs sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "common/example.rs"]
mod example;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use example::{PATIENCE, Program};

/// Runs an example until it ends, and returns its output.
#[track_caller]
fn run(example: &str, arguments: &[&str]) -> String {
    let ended = Program::start(example, arguments).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out
}

#[test]
fn memory_delivers_each_message() {
    let out = run("memory", &[]);
    for line in ["home/hall/temp: 18.0", "home/kitchen/temp: 21.5", "home/attic/temp: 12.5"] {
        assert_eq!(out.lines().filter(|it| *it == line).count(), 1, "{out}");
    }
    assert!(out.ends_with("3 messages to the broker, 3 from it\n"), "{out}");
}

#[test]
fn bridge_loses_nothing_over_100_cuts() {
    for seed in 0..10 {
        let out = run("bridge", &[&seed.to_string()]);
        assert_eq!(out.matches("none lost").count(), 3, "{out}");
        assert!(out.contains("exactly once: ") && out.contains("none lost, 0 again"), "{out}");
        let cuts = out.rsplit("cut ").next().and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        assert!(cuts >= Some(200), "{out}");
    }
}

#[test]
fn simulator_is_the_same_each_time() {
    let [first, again, other] = ["7", "7", "8"].map(|seed| {
        let out = run("simulator", &["200", "3", seed]);
        // What the machine has to say about memory and time differs.
        out.lines()
            .filter(|line| !line.starts_with("process:") && !line.starts_with("time:"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    assert!(first.starts_with("200 devices, 3 h of virtual time, seed 7\nreadings: "), "{first}");
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn proxy_prints_both_directions() {
    let out = run("proxy", &[]);
    for line in ["client → server  CONNECT 5.0 \"demo\"", "server → client  PUBREC 2", "client → server  PUBCOMP 1"]
    {
        assert!(out.contains(line), "{out}");
    }
}

/// The proxy forwards what it cannot decode, and what follows.
#[test]
fn proxy_forwards_what_is_not_mqtt() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let proxy = Program::start("proxy", &["--listen", "127.0.0.1:0", "--to", &address]);
    let line = proxy.out_line();
    let mut client = TcpStream::connect(line.strip_prefix("listening on ").unwrap()).unwrap();
    let (mut server, _) = server.accept().unwrap();
    for (from, to) in [(&mut client, &mut server)] {
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        from.set_read_timeout(Some(PATIENCE)).unwrap();
        for bytes in [&b"\x00GET / HTTP/1.1\r\n"[..], b"\xc0\x00"] {
            from.write_all(bytes).unwrap();
            let mut forwarded = vec![0; bytes.len()];
            to.read_exact(&mut forwarded).unwrap();
            assert_eq!(forwarded, bytes);
            to.write_all(&forwarded).unwrap();
            from.read_exact(&mut forwarded).unwrap();
        }
    }
    let line = proxy.out_line();
    assert!(line.contains("client → server") && line.ends_with("what follows is forwarded, and not printed"), "{line}");
}
