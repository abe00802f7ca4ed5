//! One line in, one line out: lets programs in other languages use this crate as a decoder.

use std::io::{self, BufRead, BufReader, Read, Write};

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Limits};
use serde_json::{Value, json};

use crate::input;

/// Answers each line `VERSION HEX` with a line of JSON.
pub(crate) fn run(input: impl Read, mut output: impl Write, limits: Limits) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        serde_json::to_writer(&mut output, &answer(&String::from_utf8_lossy(&line), limits))?;
        output.write_all(b"\n")?;
        // A program that asks line by line waits for the answer. For many lines at once the output need not be flushed
        // each time.
        if input.buffer().is_empty() {
            output.flush()?;
        }
        line.clear();
    }
    output.flush()
}

/// The decoder's result for a line.
pub(crate) fn answer(line: &str, limits: Limits) -> Value {
    match parse(line) {
        Ok((version, bytes)) => decode(&bytes, version, limits),
        Err(message) => report("error", Vec::new(), 0, 0, unreadable(&message.to_string())),
    }
}

/// Parses `VERSION HEX`. The version is the number in CONNECT, the hexadecimal part may be empty.
fn parse(line: &str) -> anyhow::Result<(Version, Vec<u8>)> {
    let line = line.trim();
    let (level, hex) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let version = level.parse().ok().and_then(Version::from_level);
    let version = version.ok_or_else(|| anyhow::anyhow!("a line is VERSION HEX, and VERSION is 3, 4 or 5"))?;
    Ok((version, input::from_hex(hex)?))
}

fn decode(bytes: &[u8], version: Version, limits: Limits) -> Value {
    let mut decoder = codec::packets(bytes, version, limits);
    let mut packets = Vec::new();
    while let Some(next) = decoder.next() {
        match next {
            Ok(packet) => packets.push(crate::json::packet(&packet, decoder.version())),
            Err(error) => {
                let consumed = decoder.consumed();
                return report("error", packets, consumed, 0, crate::json::error(&error, consumed));
            }
        }
    }
    let consumed = decoder.consumed();
    match decoder.needs() {
        // An empty input is the beginning of a packet; after a packet it is the end.
        0 if packets.is_empty() => report("incomplete", packets, consumed, 2, Value::Null),
        0 => report("packets", packets, consumed, 0, Value::Null),
        needs => report("incomplete", packets, consumed, needs, Value::Null),
    }
}

fn report(outcome: &str, packets: Vec<Value>, consumed: usize, needs: usize, error: Value) -> Value {
    json!({ "outcome": outcome, "packets": packets, "consumed": consumed, "needs": needs, "error": error })
}

/// The error of a line that cannot be parsed.
fn unreadable(message: &str) -> Value {
    json!({
        "kind": "input",
        "packet": null,
        "field": null,
        "offset": null,
        "clause": null,
        "reason_code": null,
        "message": message,
    })
}
