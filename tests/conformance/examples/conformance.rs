//! Writes `CONFORMANCE.md`: every statement of the specifications, and what shows it. Prints the totals.
//!
//! ```sh
//! cargo run --example conformance
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use mqtt_sansio_conformance::{Index, report};

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (index, faults) = Index::read(&root);
    fs::write(root.join("CONFORMANCE.md"), report::markdown(&index))?;
    print!("{}", report::totals(&index));
    for fault in &faults {
        eprintln!("{fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
