//! A client and a server in one program, without a network: every packet of a short story, byte by byte, and why it is
//! sent. The connection is cut in the middle, and nothing is lost or delivered twice.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! `stage.rs` joins the two ends: what one has to write is given to the other, and the clock is a number. A test of
//! another program can do the same. `story.rs` says what happens.

mod rows;
mod stage;
mod story;
mod tree;
mod words;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS, // `| head` has read enough
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}"); // it may be closed
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    let told = story::tell(&mut out, colour);
    out.flush()?; // what comes before an error belongs to it
    told
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
