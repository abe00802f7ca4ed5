//! Runs this program again, under valgrind's callgrind.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What a run has printed, and how many instructions it took.
pub struct Counted {
    pub output: String,
    pub instructions: u64,
}

/// Runs this program with these arguments. With the pattern of a function's name only the instructions in calls of that
/// function are counted.
pub fn run(arguments: &[&str], function: Option<&str>) -> Result<Counted> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(function.map(|function| format!("--toggle-collect={function}")))
        .arg(env::current_exe()?)
        .args(arguments)
        .output()
        .context("valgrind is needed: install it with the system's package manager")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.with_context(|| format!("valgrind counts nothing: {told}"))?;
    Ok(Counted { output: String::from_utf8(output.stdout)?, instructions: count.trim().parse()? })
}
