//! The example `std_client` with `--data`: its session survives SIGKILL, and problems with the directory are reported.

// A server that follows a script needs sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg(unix)]

#[path = "../../../tests/common/example.rs"]
mod example;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use example::{Ended, PATIENCE, Program};
use mqtt_sansio::codec::{self, Decoded, Limits, Packet};
use mqtt_sansio::store::batches;
use mqtt_sansio::{QoS, Version};

const EXAMPLE: &str = "std_client";
const RESUMED: &[u8] = b"\x20\x03\x01\x00\x00";

/// A directory that is removed at the end of its test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // A process that was killed may have had the same identifier, and may have left a directory.
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("std_client-data-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => break created.map(|()| Self(path)).unwrap(),
            }
        }
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join("session.batches")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
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

    /// Starts a publisher with a session that outlives its connection.
    fn publisher(&self, directory: &Directory, arguments: &[&str]) -> Program {
        Program::start(EXAMPLE, &[&publisher(&self.port, directory.name()), arguments].concat())
    }

    fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, input: Vec::new() }
    }
}

fn publisher<'a>(port: &'a str, directory: &'a str) -> Vec<&'a str> {
    let common = ["publish", "--host", "127.0.0.1", "--port", port, "--client-id", "c", "--session-expiry", "1000"];
    [&common[..], &["--topic", "t", "--qos", "2", "--data", directory]].concat()
}

struct Peer {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The text of the next packet.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let decoded = codec::decode(&self.input, Version::V5, Limits::from_client()).unwrap();
            if let Decoded::Packet { packet, size } = decoded {
                let text = match packet {
                    Packet::Publish(publish) => {
                        assert_eq!(publish.delivery.qos(), QoS::ExactlyOnce);
                        let payload = String::from_utf8_lossy(publish.payload);
                        let id = publish.delivery.packet_id().unwrap();
                        format!("{payload} {id} {}", publish.delivery.dup())
                    }
                    Packet::PubRel(pubrel) => format!("PUBREL {}", pubrel.id),
                    other => other.packet_type().to_string(),
                };
                self.input.drain(..size);
                return text;
            }
            let mut piece = [0; 4096];
            match self.socket.read(&mut piece) {
                Ok(0) => return "the end".into(),
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                // A read with a timeout is not restarted after a signal, for example when the process is stopped and continued.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing arrives from the client: {error}"),
            }
        }
    }

    fn expect(&mut self, expected: &[&str]) {
        expected.iter().for_each(|text| assert_eq!(self.next(), *text));
    }
}

/// Kills a publisher: the next run goes on with its messages, each in its stage.
#[test]
fn a_session_survives_sigkill() {
    let (server, directory) = (Server::new(), Directory::new());
    let killed =
        server.publisher(&directory, &["--message", "a", "--message", "b", "--message", "c", "--message", "d"]);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(b"\x20\x03\x00\x00\x00");
    peer.expect(&["a 1 false", "b 2 false", "c 3 false", "d 4 false"]);
    peer.write(b"\x50\x02\x00\x01\x50\x02\x00\x02"); // PUBREC
    peer.expect(&["PUBREL 1", "PUBREL 2"]);
    peer.write(b"\x70\x02\x00\x01\x50\x02\x00\x03"); // PUBCOMP, PUBREC
    assert_eq!(killed.out_line(), "1\tacknowledged\t0x00 (Success)");
    peer.expect(&["PUBREL 3"]); // that the first message is done is stored before this
    killed.signal("KILL");
    assert_eq!(peer.next(), "the end");
    drop(killed);

    let mut publisher = server.publisher(&directory, &["--lines"]);
    publisher.wait_for_error("message 4 for t of a run before has no outcome yet");
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(RESUMED);
    peer.expect(&["PUBREL 2", "PUBREL 3", "d 4 true"]);
    publisher.write(b"e\n");
    peer.expect(&["e 5 false"]);
    peer.write(b"\x70\x02\x00\x02\x50\x02\x00\x04\x50\x02\x00\x05");
    peer.expect(&["PUBREL 4", "PUBREL 5"]);
    peer.write(b"\x70\x02\x00\x03\x70\x02\x00\x04\x70\x02\x00\x05");
    publisher.close_input();
    assert_eq!(peer.next(), "DISCONNECT");
    drop(peer);
    let ended = publisher.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.starts_with("2\tacknowledged") && ended.out.contains("\n3\tacknowledged"), "{ended:?}");
}

/// What was not sent when the client leaves is sent by the next run.
#[test]
fn messages_wait_for_the_next_run() {
    let (server, directory) = (Server::new(), Directory::new());
    let publisher = server.publisher(&directory, &["--message", "a"]);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(b"\x20\x03\x00\x00\x00");
    peer.expect(&["a 1 false"]);
    publisher.signal("TERM");
    peer.expect(&["DISCONNECT"]);
    drop(peer);
    let ended = publisher.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.starts_with("1\tstored\t"), "{ended:?}");
    let publisher = server.publisher(&directory, &["--lines"]);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(RESUMED);
    peer.expect(&["a 1 true"]);
    drop(publisher);
}

#[track_caller]
fn refused(directory: &str, expected: &str) -> Ended {
    let ended = Program::start(EXAMPLE, &[&publisher("1", directory)[..], &["--message", "m"]].concat()).end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains(expected), "{ended:?}");
    ended
}

#[test]
fn a_directory_that_cannot_be_used_is_reported() {
    let directory = Directory::new();
    let file = directory.0.join("file");
    fs::write(&file, b"").unwrap();
    refused(file.to_str().unwrap(), "cannot create the directory");
    fs::create_dir(directory.file()).unwrap();
    refused(directory.name(), "cannot read");
}

/// A second process is refused, and does not disturb the first one.
#[test]
fn a_directory_in_use_is_refused() {
    let (server, directory) = (Server::new(), Directory::new());
    let publisher = server.publisher(&directory, &["--message", "a"]);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    let before = fs::read(directory.file()).unwrap();
    refused(directory.name(), "is used by another process");
    assert_eq!(fs::read(directory.file()).unwrap(), before);
    peer.write(b"\x20\x03\x00\x00\x00");
    peer.expect(&["a 1 false"]);
    drop(publisher);
}

/// A directory with the session of another client.
#[test]
fn the_session_of_another_client_is_refused() {
    let (server, directory) = (Server::new(), Directory::new());
    let other = ["publish", "--host", "127.0.0.1", "--port", &server.port, "--client-id", "other", "--topic", "t"];
    let publisher =
        Program::start(EXAMPLE, &[&other[..], &["--qos", "1", "--message", "m", "--data", directory.name()]].concat());
    server.accept().expect(&["CONNECT"]);
    drop(publisher);
    refused(directory.name(), "contains the session of the client \"other\"");
}

/// A damaged file is reported with the place, and left as it is; one that was torn by a crash is not damaged.
#[test]
fn a_damaged_file_is_reported() {
    let (server, directory) = (Server::new(), Directory::new());
    let killed = server.publisher(&directory, &["--message", "a"]);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(b"\x20\x03\x00\x00\x00");
    peer.expect(&["a 1 false"]);
    killed.signal("KILL");
    assert_eq!(peer.next(), "the end");
    drop(killed);
    let content = fs::read(directory.file()).unwrap();
    let mut damaged = content.clone();
    damaged[2] ^= 1;
    fs::write(directory.file(), &damaged).unwrap();
    let ended = refused(directory.name(), "is damaged: header of a batch is damaged (at byte 0, the first batch)");
    assert!(ended.err.contains("left as it is"));
    assert_eq!(fs::read(directory.file()).unwrap(), damaged);
    // A batch that was not written to its end is cut off.
    let torn = [&content[..], &content[..50]].concat();
    fs::write(directory.file(), &torn[..content.len() + 10]).unwrap();
    let publisher = server.publisher(&directory, &["--lines"]);
    publisher.wait_for_error("message 1 for t");
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(RESUMED);
    peer.expect(&["a 1 true"]);
    drop(publisher);
    let content = fs::read(directory.file()).unwrap();
    let mut read = batches(&content);
    assert!(read.by_ref().all(|batch| batch.is_ok()) && read.whole_len() == content.len());
}

/// A disk without room, simulated by a limit on the size of files: nothing of what could not be stored is sent, and the
/// next run goes on with what was stored.
#[test]
fn a_full_disk_is_reported() {
    let (server, directory) = (Server::new(), Directory::new());
    let program = example::path(EXAMPLE);
    let large = "x".repeat(3000);
    let mut command = Command::new("sh");
    // The limit is in blocks of 512 bytes (POSIX), or of 1024.
    command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"", program.to_str().unwrap()]);
    command.args(publisher(&server.port, directory.name()));
    command.args(["--lines"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut publisher = Program::spawn(&mut command);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(b"\x20\x03\x00\x00\x00");
    publisher.write(b"a\n");
    peer.expect(&["a 1 false"]);
    publisher.write(format!("{large}\n{large}\n").as_bytes());
    publisher.wait_for_error("error: cannot store the session in");
    // Whatever was stored was sent, and nothing else.
    let mut rest = Vec::new();
    loop {
        match peer.next() {
            end if end == "DISCONNECT" || end == "the end" => break,
            text => rest.push(text),
        }
    }
    drop(peer);
    let ended = publisher.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let publisher = server.publisher(&directory, &["--lines"]);
    let mut peer = server.accept();
    peer.expect(&["CONNECT"]);
    peer.write(RESUMED);
    peer.expect(&["a 1 true"]);
    for text in rest {
        assert_eq!(peer.next(), text.replace("false", "true"));
    }
    drop(publisher);
}
