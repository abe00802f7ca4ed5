//! The example `std_client` as a program, as its users see it.

// A server that follows a script needs sockets and threads.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../../../tests/common/example.rs"]
mod example;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use example::{Ended, PATIENCE, Program};
use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet, PacketType};

const EXAMPLE: &str = "std_client";

/// Runs the client to its end, without a reachable server.
fn run(arguments: &[&str]) -> Ended {
    Program::start(EXAMPLE, arguments).end()
}

/// A server that follows a script.
struct Server {
    listener: TcpListener,
    port: String,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        Self { listener, port }
    }

    /// Starts a client that connects to the server.
    fn client(&self, arguments: &[&str]) -> Program {
        let [command, rest @ ..] = arguments else { panic!("no arguments") };
        Program::start(EXAMPLE, &[&[*command, "--host", "127.0.0.1", "--port", &self.port], rest].concat())
    }

    fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, input: Vec::new() }
    }

    /// Waits for CONNECT and accepts the client.
    fn accept_client(&self) -> Peer {
        let mut peer = self.accept();
        assert_eq!(peer.next(), Some(PacketType::Connect));
        peer.write(CONNACK);
        peer
    }
}

const CONNACK: &[u8] = b"\x20\x03\x00\x00\x00";

/// The client from the server's point of view.
struct Peer {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The type of the next packet; `None` at the end of the stream.
    #[track_caller]
    fn next(&mut self) -> Option<PacketType> {
        self.next_with(|packet| packet.packet_type())
    }

    #[track_caller]
    fn next_with<T>(&mut self, look: impl Fn(&Packet<'_>) -> T) -> Option<T> {
        loop {
            if let Decoded::Packet { packet, size } =
                codec::decode(&self.input, Version::V5, Limits::from_client()).unwrap()
            {
                let seen = look(&packet);
                self.input.drain(..size);
                return Some(seen);
            }
            let mut piece = [0; 4096];
            match self.socket.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                // A read with a timeout is not restarted after a signal (SIGCHLD of another test's program).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing arrives from the client: {error}"),
            }
        }
    }

    /// Answers SUBSCRIBE with its packet identifier, and grants QoS 0.
    #[track_caller]
    fn grant(&mut self) {
        let id = self.next_with(|packet| match packet {
            Packet::Subscribe(subscribe) => subscribe.id.get(),
            other => panic!("{other:?}"),
        });
        let [high, low] = id.unwrap().to_be_bytes();
        self.write(&[0x90, 4, high, low, 0, 0]);
    }

    /// Checks that DISCONNECT arrives, and then the end of the stream.
    #[track_caller]
    fn expect_leave(&mut self) {
        assert_eq!(self.next(), Some(PacketType::Disconnect));
        assert_eq!(self.next(), None);
    }
}

/// A QoS 0 message for `t`, without properties.
fn message(payload: &[u8]) -> Vec<u8> {
    [&[0x30, 4 + payload.len() as u8, 0, 1, b't', 0], payload].concat()
}

#[test]
fn wrong_arguments_are_found_before_connecting() {
    let publish = ["publish", "--port", "1", "--topic", "t", "--message", "m"];
    let subscribe = ["subscribe", "--port", "1", "--filter", "f"];
    let v311 = ["--version", "3.1.1"];
    let long = "x".repeat(65_536);
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["publish", "--topic", "t"], &[], "--lines"),
        (&["publish", "--message", "m", "--topic", "a/+"], &[], "--topic"),
        (&["publish", "--message", "m", "--topic", "a/#"], &[], "--topic"),
        (&["publish", "--message", "m", "--topic", ""], &[], "--topic"),
        (&["publish", "--message", "m", "--topic", &long], &[], "--topic"),
        (&["publish", "--message", "m"], &[], "--topic"),
        (&publish, &["--response-topic", "a/+"], "--response-topic"),
        (&publish, &["--will-topic", "#"], "--will-topic"),
        (&publish, &["--will-message", "m"], "--will-topic"),
        (&publish, &["--will-topic", "w", "--will-message", &long], "--will-message"),
        (&publish, &["--user-property", "ab"], "--user-property"),
        (&publish, &["--user-property", "a=b", v311[0], v311[1]], "--user-property"),
        (&publish, &["--content-type", "a", v311[0], v311[1]], "--content-type"),
        (&publish, &["--response-topic", "a", v311[0], v311[1]], "--response-topic"),
        (&publish, &["--message-expiry", "1", v311[0], v311[1]], "--message-expiry"),
        (&publish, &["--session-expiry", "1", v311[0], v311[1]], "--session-expiry"),
        (&publish, &["--will-topic", "w", "--will-delay", "1", v311[0], v311[1]], "--will-delay"),
        (&publish, &["--password", "p", v311[0], v311[1]], "--user"),
        (&publish, &["--no-clean-start", v311[0], v311[1]], "--client-id"),
        (&publish, &["--version", "3.1"], "--client-id"),
        (&publish, &["--version", "4"], "--version"),
        (&publish, &["--qos", "3"], "--qos"),
        (&publish, &["--client-id", &long], "--client-id"),
        (&publish, &["--backoff", "5..1"], "--backoff"),
        (&publish, &["--backoff", "5"], "--backoff"),
        (&publish, &["--max-in-flight", "0"], "--max-in-flight"),
        (&publish, &["--host", ""], "--host"),
        (&publish, &["--host", "mqtt://localhost"], "--host"),
        (&publish, &["--host", "localhost:1883"], "--port"),
        (&publish, &["--host", "[::1]:1883"], "--port"),
        (&["publish", "--topic", "t", "--lines", "--port", "0"], &[], "--port"),
        (&["subscribe"], &[], "--filter"),
        (&["subscribe", "--filter", "a#"], &[], "--filter"),
        (&["subscribe", "--filter", "a/b", "--filter", "a+/b"], &[], "--filter"),
        (&["subscribe", "--filter", "$share/a"], &[], "--filter"),
        (&["subscribe", "--filter", "$share/a/b", "--no-local"], &[], "--no-local"),
        (&subscribe, &["--count", "0"], "--count"),
        (&subscribe, &["--retain-handling", "3"], "--retain-handling"),
        (&subscribe, &["--subscription-identifier", "0"], "--subscription-identifier"),
        (&subscribe, &["--no-local", v311[0], v311[1]], "--no-local"),
        (&subscribe, &["--retain-handling", "1", v311[0], v311[1]], "--retain-handling"),
        (&subscribe, &["--subscription-identifier", "1", v311[0], v311[1]], "--subscription-identifier"),
    ];
    for (first, second, named) in cases {
        let arguments = [*first, *second].concat();
        let ended = run(&arguments);
        let short: Vec<_> = arguments.iter().map(|argument| &argument[..argument.len().min(40)]).collect();
        assert_eq!(ended.code, Some(2), "{short:?}: {}", ended.err);
        let said = ended.err.lines().take(3).collect::<Vec<_>>().join("\n");
        assert!(said.starts_with("error: ") && said.contains(named), "{short:?}: {said}");
        assert_eq!(ended.out, "", "{short:?}");
    }
}

#[test]
fn addresses_are_printed_as_they_are_written() {
    for (host, address) in [
        ("::1", "[::1]:1:"),
        ("[::1]", "[::1]:1:"),
        ("127.0.0.1", "127.0.0.1:1:"),
        ("no.such.host.invalid", "no.such."),
    ] {
        let ended = run(&["subscribe", "--filter", "f", "--host", host, "--port", "1"]);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.starts_with(&format!("error: {address}")), "{}", ended.err);
    }
}

#[cfg(unix)]
#[test]
fn first_signal_sends_disconnect() {
    for signal in ["INT", "TERM"] {
        let server = Server::new();
        let client = server.client(&["subscribe", "--filter", "t", "--will-topic", "w"]);
        let mut peer = server.accept_client();
        peer.grant();
        peer.write(&message(b"first"));
        assert_eq!(client.out_line(), "t\t0\t0\tfirst");
        client.signal(signal);
        peer.expect_leave();
        drop(peer);
        let ended = client.end();
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
    }
}

#[cfg(unix)]
#[test]
fn signal_before_all_messages_is_a_failure() {
    let server = Server::new();
    let client = server.client(&["subscribe", "--filter", "t", "--count", "2"]);
    let mut peer = server.accept_client();
    peer.grant();
    peer.write(&message(b"first"));
    client.out_line();
    client.signal("TERM");
    peer.expect_leave();
    drop(peer);
    assert_eq!(client.end().code, Some(1));
}

/// CONNECT has arrived by then, with its will.
#[cfg(unix)]
#[test]
fn signal_before_connack_sends_disconnect() {
    let server = Server::new();
    let client = server.client(&["subscribe", "--filter", "t"]);
    let mut peer = server.accept();
    assert_eq!(peer.next(), Some(PacketType::Connect));
    client.signal("INT");
    peer.expect_leave();
    drop(peer);
    assert_eq!(client.end().code, Some(1), "there was no subscription");
}

#[cfg(unix)]
#[test]
fn signal_ends_a_publisher_and_reports_unfinished_messages() {
    let server = Server::new();
    let mut client = server.client(&["publish", "--topic", "t", "--qos", "1", "--lines"]);
    client.write(b"one\ntwo\n");
    let mut peer = server.accept_client();
    assert_eq!((peer.next(), peer.next()), (Some(PacketType::Publish), Some(PacketType::Publish)));
    peer.write(b"\x40\x02\x00\x01");
    assert_eq!(client.out_line(), "1\tacknowledged\t0x00 (Success)");
    client.signal("TERM");
    peer.expect_leave();
    drop(peer);
    let ended = client.end();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.out, "2\tlost\tthe session ended before the delivery was complete\n");
}

/// All messages are lost with the session, so the task is done. The user must see the reason.
#[test]
fn the_reason_is_reported_when_all_messages_are_lost() {
    for (farewell, reason) in
        [(&b"\xe0\x01\x8b"[..], "Server shutting down"), (b"", "the server has closed the connection")]
    {
        let server = Server::new();
        let client = server.client(&["publish", "--topic", "t", "--qos", "1", "--message", "x"]);
        let mut peer = server.accept_client();
        assert_eq!(peer.next(), Some(PacketType::Publish));
        peer.write(farewell);
        drop(peer);
        let ended = client.end();
        assert_eq!(ended.code, Some(1));
        assert_eq!(ended.out, "1\tlost\tthe session ended before the delivery was complete\n");
        assert!(ended.err.contains(reason), "{}", ended.err);
    }
}

/// A server without QoS 2 answers with PUBACK.
#[test]
fn a_message_that_may_arrive_twice_is_reported_as_at_least_once() {
    let server = Server::new();
    let client = server.client(&["publish", "--topic", "t", "--qos", "2", "--message", "x"]);
    let mut peer = server.accept_client();
    assert_eq!(peer.next(), Some(PacketType::Publish));
    peer.write(b"\x40\x02\x00\x01");
    peer.expect_leave();
    drop(peer);
    let ended = client.end();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.out, "1\tat least once\t0x00 (Success)\n");
}

#[cfg(unix)]
#[test]
fn signal_ends_a_publisher_whose_messages_are_all_done() {
    let server = Server::new();
    let mut client = server.client(&["publish", "--topic", "t", "--lines"]);
    client.write(b"one\n");
    let mut peer = server.accept_client();
    assert_eq!(peer.next(), Some(PacketType::Publish));
    assert_eq!(client.out_line(), "1\tsent\t");
    client.signal("INT"); // standard input is still open
    peer.expect_leave();
    drop(peer);
    assert_eq!(client.end().code, Some(0));
}

#[cfg(unix)]
#[test]
fn signal_ends_the_back_off() {
    let server = Server::new();
    let message = ["--topic", "t", "--message", "m", "--reconnect", "--backoff", "60..120"];
    let client = server.client(&[&["publish"], &message[..]].concat());
    drop(server.accept());
    client.wait_for_error("connecting again");
    client.signal("TERM");
    let ended = client.end();
    assert_eq!(ended.code, Some(1), "the message was not published");
    assert!(ended.out.starts_with("1\t"), "{}", ended.out);
}

/// The server never closes, which the client waits for after the first signal.
#[cfg(unix)]
#[test]
fn second_signal_ends_at_once() {
    use std::os::unix::process::ExitStatusExt;

    let server = Server::new();
    let client = server.client(&["subscribe", "--filter", "t"]);
    let mut peer = server.accept_client();
    peer.grant();
    client.wait_for_error("subscribed");
    client.signal_twice();
    let signal = client.end().status.signal();
    assert!(matches!(signal, Some(2 | 15)), "{signal:?}: one of the two, whichever the program has seen last");
    drop(peer);
}

/// Checks the messages to the user when the server begins with these bytes.
#[track_caller]
fn assert_reported(pieces: &[&[u8]], expected: &[&str]) {
    let server = Server::new();
    let client = server.client(&["subscribe", "--filter", "t"]);
    let mut peer = server.accept();
    peer.socket.set_nodelay(true).unwrap();
    assert_eq!(peer.next(), Some(PacketType::Connect));
    for piece in pieces {
        peer.write(piece);
    }
    drop(peer);
    let ended = client.end();
    assert_eq!(ended.code, Some(1));
    for part in expected {
        assert!(ended.err.contains(part), "{pieces:?}: {part:?} is not in {:?}", ended.err);
    }
}

#[test]
fn another_protocol_on_the_port_is_reported() {
    let tls = ["this looks like a TLS port"];
    assert_reported(&[b"\x15\x03\x01\x00\x02\x02\x46"], &tls);
    assert_reported(&[b"\x15\x03\x03\x00\x02\x02\x32"], &tls);
    assert_reported(&[b"\x15", b"\x03\x03\x00\x02", b"\x02\x32"], &tls);
    let http = ["this looks like an HTTP port", "HTTP/1.1 400 Bad Request"];
    assert_reported(&[b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"], &http);
    assert_reported(&[b"H", b"TTP/1.1 400 Bad Request\r\n", b"\r\n"], &http);
    assert_reported(&[b"SSH-2.0-OpenSSH_9.2p1\r\n"], &["this is not an MQTT port", "SSH-2.0-OpenSSH_9.2p1"]);
    assert_reported(&[b"220 mail.example.com ESMTP\r\n"], &["this is not an MQTT port", "220 mail.example.com ESMTP"]);
    assert_reported(&[], &["the server has closed the connection", "is this a port for MQTT without TLS?"]);
    // Invalid MQTT is still reported as such.
    assert_reported(&[b"\x20\x03\x02\x00\x00"], &["CONNACK"]);
}

#[test]
fn a_closed_output_ends_a_subscriber() {
    let server = Server::new();
    let port = &server.port;
    let mut command = Command::new(example::path(EXAMPLE));
    command.args(["subscribe", "--host", "127.0.0.1", "--port", port, "--filter", "t", "--will-topic", "w"]);
    command.stdin(Stdio::null()).stdout(closed_pipe()).stderr(Stdio::piped());
    let client = Program::spawn(&mut command);
    let mut peer = server.accept_client();
    peer.grant();
    peer.write(&message(b"nobody reads this"));
    peer.expect_leave();
    drop(peer);
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("error"), "{}", ended.err);
}

#[test]
fn a_closed_output_does_not_end_a_publisher() {
    let server = Server::new();
    let mut command = Command::new(example::path(EXAMPLE));
    command.args(["publish", "--host", "127.0.0.1", "--port", &server.port, "--topic", "t"]);
    command.args(["--message", "one", "--message", "two", "--message", "three"]);
    command.stdin(Stdio::null()).stdout(closed_pipe()).stderr(closed_pipe());
    let client = Program::spawn(&mut command);
    let mut peer = server.accept_client();
    for _ in 0..3 {
        assert_eq!(peer.next(), Some(PacketType::Publish));
    }
    peer.expect_leave();
    drop(peer);
    assert_eq!(client.end().code, Some(0));
}

/// A pipe whose reading end is closed.
fn closed_pipe() -> Stdio {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pipe = child.stdin.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    pipe.into()
}

#[cfg(unix)]
#[test]
fn standard_input_that_cannot_be_read_ends_with_disconnect() {
    let server = Server::new();
    let mut command = Command::new(example::path(EXAMPLE));
    command.args(["publish", "--host", "127.0.0.1", "--port", &server.port, "--topic", "t", "--lines"]);
    let directory = std::fs::File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    command.stdin(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
    let client = Program::spawn(&mut command);
    let mut peer = server.accept();
    // The error may occur before or after CONNECT is written.
    while let Some(packet) = peer.next() {
        assert!(matches!(packet, PacketType::Connect | PacketType::Disconnect), "{packet}");
    }
    drop(peer);
    let ended = client.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("error: standard input: "), "{}", ended.err);
}

/// No message can be printed, so the task fails. The will must not be published for that.
#[cfg(target_os = "linux")]
#[test]
fn task_that_fails_ends_with_disconnect() {
    let server = Server::new();
    let mut command = Command::new(example::path(EXAMPLE));
    command.args(["subscribe", "--host", "127.0.0.1", "--port", &server.port, "--filter", "t", "--will-topic", "w"]);
    let full = std::fs::File::create("/dev/full").unwrap();
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let client = Program::spawn(&mut command);
    let mut peer = server.accept_client();
    peer.grant();
    peer.write(&message(b"there is no room for this"));
    peer.expect_leave();
    drop(peer);
    let ended = client.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("error: No space left on device"), "{}", ended.err);
}

#[test]
fn text_from_the_server_is_escaped() {
    let server = Server::new();
    let client = server.client(&["subscribe", "--filter", "#", "--count", "1"]);
    let mut peer = server.accept_client();
    peer.grant();
    peer.write(b"\x30\x0a\x00\x05a\nb\x1b[\x00\tx");
    assert!(peer.next().is_some());
    drop(peer);
    assert_eq!(client.end().out, "a\\nb\\x1b[\t0\t0\t\\tx\n");

    let server = Server::new();
    let client = server.client(&["subscribe", "--filter", "#"]);
    let mut peer = server.accept();
    peer.next();
    peer.write(b"\x20\x0b\x00\x87\x08\x1f\x00\x05a\nb\x1b["); // a Reason String
    drop(peer);
    let err = client.end().err;
    assert!(err.contains("a\\nb\\u{1b}[") && err.lines().count() == 1, "{err:?}");
}
