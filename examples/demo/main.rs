//! A client and a server in one program, without a network: every packet of a short exchange, byte by byte, and why it
//! is sent. The connection is cut in the middle, and no message is lost or delivered twice.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! `stage.rs` joins the two endpoints: the output of one is the input of the other, and the time is a number. A test of
//! another program can do the same. `story.rs` contains the exchange.

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
            let _ = writeln!(io::stderr(), "error: {error:#}"); // standard error may be closed
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    let told = story::tell(&mut out, colour);
    out.flush()?; // the output before an error belongs to it
    told
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
