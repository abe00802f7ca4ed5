//! The programs of the brokers.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The error message where there is no mosquitto.
pub const NO_MOSQUITTO: &str = "there is no mosquitto to compare with: install it (Debian and Ubuntu: apt-get install mosquitto) or name one by --mosquitto";

/// Searches for mosquitto in the folders of `PATH`, and in those where distributions install it.
pub fn find_mosquitto() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // The folder in which Debian installs it is not in every user's PATH.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

/// Builds the example broker of this repository, with optimisations or with the checks of a debug build, and returns the path
/// that cargo reports.
///
/// # Errors
///
/// If cargo cannot be run, or the example does not compile.
pub fn build_example(is_release: bool) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building the example broker");
    let output = Command::new(cargo)
        .args(["build", "--locked", "--package", "mqtt-sansio-broker", "--bin", "broker"])
        .args(is_release.then_some("--release"))
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the example broker cannot be built");
    let messages = output.stdout.split(|&byte| byte == b'\n');
    messages
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "broker")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo does not say where the example broker is")
}
