//! Prints MQTT packets as a protocol analyser does, or answers line by line as an oracle for other programs.
//!
//! ```text
//! cargo run --example inspect -- spec-vectors/captures/paho-mqtt-5.0-tour.client.bin
//! cargo run --example inspect -- --hex "30 07 00 01 74 32 31 2e 35" --version 3.1.1
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

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use mqtt_sansio::Version;
use mqtt_sansio::codec::{Limits, Sender};

/// Shows MQTT packets field by field, and points at the byte where one goes wrong.
///
/// The input may be bytes as they were on the wire, or text that consists of hexadecimal digits and white space. An
/// input that ends in the middle of a packet is fine. The exit code is 1 when a packet breaks the rules, and 2 when the
/// input cannot be read.
#[derive(Parser)]
struct Arguments {
    /// The bytes that one end of a connection has sent; standard input if there is none
    file: Option<PathBuf>,
    /// Bytes in hexadecimal, instead of a file
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["file", "batch"])]
    hex: Option<String>,
    /// The version of the protocol, until a CONNECT names another: 3.1, 3.1.1 or 5.0 [default: 5.0]
    #[arg(long, value_parser = parse_version, conflicts_with = "batch")]
    version: Option<Version>,
    /// Who has sent the bytes: what this end may not send is refused
    #[arg(long)]
    from: Option<End>,
    /// Read lines `VERSION HEX` with VERSION 3, 4 or 5, and print a JSON object for each
    #[arg(long)]
    batch: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum End {
    Client,
    Server,
}

fn parse_version(text: &str) -> Result<Version> {
    let found = Version::ALL.into_iter().find(|version| version.to_string() == text);
    found.context("not one of 3.1, 3.1.1 and 5.0")
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
            eprintln!("error: {error:#}");
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
        Some(hex) => input::from_hex(hex)?,
        None => {
            let mut bytes = Vec::new();
            open(arguments.file.as_deref())?.read_to_end(&mut bytes)?;
            input::from_either(bytes)?
        }
    };
    let options = tree::Options { version: arguments.version, limits: arguments.limits(), colour };
    let all_good = tree::print(&mut out, &bytes, options)?;
    out.flush()?;
    Ok(all_good)
}

/// The file, or standard input.
fn open(file: Option<&Path>) -> Result<Box<dyn Read>> {
    Ok(match file {
        Some(path) => Box::new(std::fs::File::open(path).with_context(|| path.display().to_string())?),
        None => Box::new(io::stdin().lock()),
    })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
