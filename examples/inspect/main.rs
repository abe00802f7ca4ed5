//! Prints MQTT packets as a protocol analyser does, or answers line by line as an oracle for other programs.
//!
//! ```text
//! cargo run --example inspect -- spec-vectors/captures/paho-mqtt-5.0-tour.client.bin
//! cargo run --example inspect -- --hex "30 07 00 01 74 32 31 2e 35"
//! cargo run --example inspect -- --help    # also how to get a capture out of tcpdump
//! echo "5 300b0006686f6d652f2b32312e35" | cargo run --example inspect -- --batch
//! ```

mod batch;
mod input;
mod json;
#[path = "../demo/rows.rs"]
mod rows;
#[path = "../demo/tree.rs"]
mod tree;
#[path = "../demo/words.rs"]
mod words;

use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use mqtt_sansio::Version;
use mqtt_sansio::codec::{Limits, Sender};

/// Shows MQTT packets field by field, and points at the byte at which a packet is invalid.
///
/// The input may be raw bytes, or hexadecimal text: 3005, 30 05, 30:05, 0x30,0x05, \x30\x05 and the like, over any
/// number of lines. An input that ends in the middle of a packet is fine. The exit code is 1 if a packet is invalid,
/// and 2 if the input cannot be read.
#[derive(Parser)]
#[command(name = "inspect", after_long_help = CAPTURES)]
struct Arguments {
    /// The bytes that one endpoint of a connection has sent; standard input if there is none
    file: Option<PathBuf>,
    /// Bytes in hexadecimal, instead of a file
    #[arg(long, value_name = "BYTES", num_args = 1.., conflicts_with_all = ["file", "batch"])]
    hex: Option<Vec<String>>,
    /// The protocol version, until a CONNECT names another: 3.1, 3.1.1 or 5.0
    ///
    /// Without it, and without a CONNECT at the beginning, the version is guessed: the input is decoded in each
    /// version, and the one in which most packets are valid is used; if there are several, 5.0 before 3.1.1 before 3.1.
    #[arg(long, value_parser = parse_version, conflicts_with = "batch")]
    version: Option<Version>,
    /// The endpoint that has sent the bytes: packets that it may not send are refused
    #[arg(long)]
    from: Option<End>,
    /// Read lines `VERSION HEX` with VERSION 3, 4 or 5, and print a JSON object for each
    #[arg(long)]
    batch: bool,
}

/// Ways to get input for this program.
const CAPTURES: &str = "\
How to get the bytes of a connection, with tcpdump and tshark:

  # Record until Ctrl-C. Begin before the client connects.
  tcpdump -i any -w mqtt.pcap 'tcp port 1883'
  # List the connections: their numbers, and the client identifiers.
  tshark -r mqtt.pcap -Y 'mqtt.msgtype == 1' -T fields -e tcp.stream -e mqtt.clientid
  # Take out number 0. The lines of the client begin at the margin, those of the server with a tab.
  tshark -r mqtt.pcap -q -z follow,tcp,raw,0 > both.txt
  grep -E '^[0-9a-f]+$' both.txt | inspect --from client
  grep -E '^[[:space:]][0-9a-f]+$' both.txt | inspect --from server

For a port other than 1883, say PORT, give the first tshark `-d tcp.port==PORT,mqtt` too.";

#[derive(Clone, Copy, ValueEnum)]
enum End {
    Client,
    Server,
}

fn parse_version(text: &str) -> Result<Version> {
    Ok(text.parse()?)
}

impl Arguments {
    fn limits(&self) -> Limits {
        let sender = self.from.map(|end| match end {
            End::Client => Sender::Client,
            End::Server => Sender::Server,
        });
        Limits { sender, ..Limits::default() }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS, // `| head` has read enough
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}"); // standard error may be closed
            ExitCode::from(2) // as for wrong arguments
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal();
    let mut out = BufWriter::with_capacity(1 << 16, stdout);
    if arguments.batch {
        batch::run(open(arguments.file.as_deref())?, &mut out, arguments.limits())?;
        return Ok(true);
    }
    let bytes = match &arguments.hex {
        Some(hex) => input::from_hex(&hex.join(" ")).context("--hex")?,
        None => read(arguments.file.as_deref())?,
    };
    let options = tree::Options { version: arguments.version, limits: arguments.limits(), colour };
    let all_good = tree::print(&mut out, &bytes, options)?;
    out.flush()?;
    Ok(all_good)
}

/// Reads the bytes of the file or of standard input.
fn read(file: Option<&Path>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(file)?.read_to_end(&mut bytes).with_context(|| name(file))?;
    input::from_either(bytes).with_context(|| name(file))
}

/// Opens the file or standard input.
fn open(file: Option<&Path>) -> Result<Box<dyn Read>> {
    let Some(path) = file else { return Ok(Box::new(io::stdin().lock())) };
    let opened = std::fs::File::open(path).with_context(|| name(file))?;
    ensure!(!path.is_dir(), "{}: this is a directory", name(file)); // otherwise only reading from it would fail
    Ok(Box::new(opened))
}

fn name(file: Option<&Path>) -> String {
    file.map_or_else(|| "standard input".into(), |path| path.display().to_string())
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
