//! Files of lines written by an operator. An error names the file and the line.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

/// Reads a file and gives each line, with its number, to `take`. Empty lines and lines that begin with `#` are skipped.
pub(crate) fn read(path: &Path, take: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    parse(&name, &bytes, take)
}

/// Gives each line to `take`, as [`read`] does.
pub(crate) fn parse(name: &str, bytes: &[u8], mut take: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    // Some editors begin a file with a byte order mark, which is not part of the first line.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let taken = match std::str::from_utf8(line) {
            Err(_) => Err(anyhow!("not UTF-8")),
            Ok(line) if line.trim().is_empty() || line.trim_start().starts_with('#') => Ok(()),
            Ok(line) => take(number, line),
        };
        taken.map_err(|error| anyhow!("{name}:{number}: {error}"))?;
    }
    Ok(())
}
