//! The example `std_server` as a program, as its users see it.

// A client that follows a script needs sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../../../tests/common/example.rs"]
mod example;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use example::{PATIENCE, Program};

const EXAMPLE: &str = "std_server";

/// Starts a server on a port of its own, and returns its address.
fn start(arguments: &[&str]) -> (Program, String) {
    let server = Program::start(EXAMPLE, &[&["--listen", "127.0.0.1:0"], arguments].concat());
    let line = server.out_line();
    let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
    (server, address.to_owned())
}

fn connect(address: &str, first: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(first).unwrap();
    socket
}

#[track_caller]
fn expect(socket: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    socket.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

/// Reads up to the end of the stream.
#[track_caller]
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    bytes
}

const CONNECT_5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a";
const CONNECT_311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01b";

#[test]
fn wrong_arguments_are_named() {
    for (arguments, named) in [
        (["--listen", "1883"], "--listen"),
        (["--listen", "localhost"], "--listen"),
        (["--listen", "127.0.0.1:70000"], "--listen"),
        (["--tick", "0"], "--tick"),
        (["--tick", "x"], "--tick"),
        (["--user", "name"], "--user"),
    ] {
        let ended = Program::start(EXAMPLE, &arguments).end();
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.err);
        assert!(ended.err.starts_with("error: ") && ended.err.contains(named), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "");
    }
}

#[test]
fn address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Program::start(EXAMPLE, &["--listen", &address]).end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.starts_with("error: cannot listen on ") && ended.err.contains(&address), "{}", ended.err);
}

#[cfg(unix)]
#[test]
fn signal_disconnects_the_clients() {
    for signal in ["INT", "TERM"] {
        let (server, address) = start(&[]);
        // The server accepts one connection after another: it has this one before it answers the others.
        let mut silent = connect(&address, b"");
        let mut new = connect(&address, CONNECT_5);
        expect(&mut new, &[0x20]);
        let mut old = connect(&address, CONNECT_311);
        expect(&mut old, b"\x20\x02\x00\x00");
        for connected in ["a: connected", "b: connected"] {
            server.wait_for_error(connected.split_once(": ").unwrap().1);
        }
        server.signal(signal);
        let last = rest(&mut new);
        assert!(last.ends_with(b"\xe0\x02\x8b\x00") || last.ends_with(b"\xe0\x01\x8b"), "{last:02x?}");
        assert_eq!(rest(&mut old), b"");
        assert_eq!(rest(&mut silent), b"");
        drop((new, old, silent));
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
    }
}

/// The client never closes, which the server waits for after the first signal.
#[cfg(unix)]
#[test]
fn second_signal_ends_at_once() {
    use std::os::unix::process::ExitStatusExt;

    let (server, address) = start(&[]);
    let _client = connect(&address, CONNECT_5);
    server.wait_for_error("connected with MQTT 5.0");
    server.signal_twice();
    let signal = server.end().status.signal();
    assert!(matches!(signal, Some(2 | 15)), "{signal:?}: one of the two, whichever the program has seen last");
}

#[test]
fn client_of_another_protocol_is_reported() {
    for (first, expected) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "the client speaks TLS"),
        (
            b"GET /mqtt HTTP/1.1\r\nHost: a\x1b[\r\n\r\n",
            "HTTP or WebSocket, and this server does not: \"GET /mqtt HTTP/1.1\"",
        ),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not speak MQTT: \"SSH-2.0-OpenSSH_9.2p1\""),
        (b"\x10\x0e\x00\x04MQTX\x05\x02\x00\x00\x00\x00\x01a", "protocol name"),
    ] {
        let (server, address) = start(&[]);
        let socket = connect(&address, first);
        let line = server.wait_for_error("not connected: ");
        assert!(line.contains(expected), "{line}");
        drop(socket);
    }
}

#[test]
fn text_from_a_client_is_escaped_in_the_log() {
    let (server, address) = start(&[]);
    let mut client = connect(&address, b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x05a\nb\x1b[");
    expect(&mut client, &[0x20]);
    let line = server.wait_for_error("connected with");
    assert!(line.starts_with("a\\nb\\u{1b}[: connected"), "{line:?}");
}

#[test]
fn a_closed_output_does_not_end_the_server() {
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    let mut command = Command::new(example::path(EXAMPLE));
    command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(pipe);
    let server = Program::spawn(&mut command);
    let line = server.out_line();
    let address = line.strip_prefix("listening on ").unwrap();
    for _ in 0..2 {
        // The second client takes the session over, which is logged as well.
        let mut client = connect(address, CONNECT_311);
        expect(&mut client, b"\x20\x02\x00\x00");
        client.write_all(b"\xc0\x00").unwrap();
        expect(&mut client, b"\xd0\x00");
    }
}
