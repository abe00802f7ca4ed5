//! Packets as indented, annotated trees beside their bytes, and the byte at which a packet is invalid.

use std::io::{self, Write};

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, DecodeError, Decoded, Limits, Packet, PacketType};

use crate::rows::{self, Row};
use crate::words;

/// How to print, and how to decode.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// The version until a CONNECT names another. Without it, the version is [guessed](guess_version).
    pub(crate) version: Option<Version>,
    pub(crate) limits: Limits,
    /// Print in colour.
    pub(crate) colour: bool,
}

/// Prints all packets of the input. Returns whether all of them are valid. The end of the input in the middle of a
/// packet is no error.
pub(crate) fn print(out: &mut impl Write, input: &[u8], options: Options) -> io::Result<bool> {
    let mut printer = Printer { out, colour: options.colour };
    if input.is_empty() {
        printer.note("There are no bytes.")?;
        return Ok(true);
    }
    let version = options.version.unwrap_or_else(|| guess_version(input, options.limits));
    let all_good = print_packets(&mut printer, input, version, options.limits)?;
    let names_version = input.first().is_some_and(|first| first >> 4 == PacketType::Connect as u8);
    if options.version.is_none() && !names_version {
        printer.note(&format!(
            "Read as MQTT {version}, a guess, as there is no CONNECT at the beginning. For another: --version"
        ))?;
    }
    Ok(all_good)
}

/// Returns the version in which most packets are valid. If there are several: 5.0 before 3.1.1 before 3.1.
///
/// The packet boundaries are the same in all versions, so the first packet that is invalid in a version tells them
/// apart: CONNACK, SUBACK and SUBSCRIBE have different sizes, and text at the beginning of a payload is hardly ever a
/// list of properties.
fn guess_version(input: &[u8], limits: Limits) -> Version {
    let mut best = Version::V5;
    let mut most = how_far(input, best, limits);
    for version in [Version::V311, Version::V31] {
        let far = how_far(input, version, limits);
        if far > most {
            (best, most) = (version, far);
        }
    }
    best
}

/// The number of bytes of valid packets at the start of the input, and of valid bytes in the packet after them.
fn how_far(input: &[u8], version: Version, limits: Limits) -> (usize, usize) {
    let mut packets = codec::packets(input, version, limits);
    let error = packets.by_ref().find_map(Result::err);
    (packets.consumed(), error.map_or(usize::MAX, |error| error.offset()))
}

fn print_packets(
    printer: &mut Printer<'_, impl Write>,
    input: &[u8],
    mut version: Version,
    limits: Limits,
) -> io::Result<bool> {
    let (mut start, mut count) = (0_usize, 0_usize);
    while let Some(rest) = input.get(start..).filter(|rest| !rest.is_empty()) {
        match codec::decode(rest, version, limits) {
            Ok(Decoded::Packet { packet, size }) => {
                if let Packet::Connect(connect) = &packet {
                    version = connect.version;
                }
                count += 1;
                printer.packet(count, &packet, rest.get(..size).unwrap_or(rest), start, version)?;
                start = start.saturating_add(size);
            }
            Ok(Decoded::Incomplete { needs }) => {
                printer.incomplete(rest, start, needs, version)?;
                return Ok(true);
            }
            Err(error) => {
                printer.malformed(rest, start, &error)?;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The number of bytes on a line of the bytes column.
const PER_LINE: usize = 8;
/// The number of lines above which the rest is only counted.
const MOST_LINES: usize = 4;
/// Two digits per byte, with spaces in between.
const BYTES_WIDTH: usize = PER_LINE * 3 - 1;
/// The number of bytes shown around an invalid one, and of those before it.
const WINDOW: usize = 24;
const BEFORE: usize = 15;

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
    Bytes,
    Meaning,
    Error,
}

impl Style {
    /// The parameter of "select graphic rendition" (ECMA-48, section 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Bytes => "36",
            Self::Meaning => "32",
            Self::Error => "1;31",
        }
    }
}

struct Printer<'o, W> {
    out: &'o mut W,
    colour: bool,
}

impl<W: Write> Printer<'_, W> {
    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour && !text.trim().is_empty() && !matches!(style, Style::Plain) {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    /// Prints the line above a packet.
    fn head(&mut self, style: Style, title: &str, more: &str) -> io::Result<()> {
        let (title, more) = (self.paint(style, title), self.paint(Style::Dim, more));
        writeln!(self.out, "{title}  {more}")
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        let text = self.paint(Style::Dim, text);
        writeln!(self.out, "{text}")
    }

    /// Prints the rows of a packet that begins `start` bytes into the input, and an empty line.
    fn rows(&mut self, rows: &[Row], packet: &[u8], start: usize) -> io::Result<()> {
        let branches = branches(rows);
        let widths = rows.iter().zip(&branches).map(|(row, branch)| width(branch) + width(&row.name));
        let name_width = widths.max().unwrap_or_default();
        for (row, branch) in rows.iter().zip(&branches) {
            self.row(row, branch, name_width, packet, start)?;
        }
        writeln!(self.out)
    }

    fn row(&mut self, row: &Row, branch: &str, name_width: usize, packet: &[u8], start: usize) -> io::Result<()> {
        let bytes = packet.get(row.start..row.end).unwrap_or_default();
        let lines = if row.mask == 0xFF { hex_lines(bytes) } else { vec![bit_pattern(bytes, row.mask)] };
        let has_offset = !bytes.is_empty() && row.mask == 0xFF;
        let name_style = if row.depth == 0 { Style::Bold } else { Style::Plain };
        for (index, line) in lines.iter().enumerate() {
            let at = start.saturating_add(row.start).saturating_add(index * PER_LINE);
            let offset = if has_offset { at.to_string() } else { String::new() };
            let (branch, name, meaning) = match index {
                0 => (branch.to_owned(), row.name.as_str(), row.meaning.as_str()),
                _ => (branch.replace("├ ", "│ ").replace("└ ", "  "), "", ""),
            };
            let padding = " ".repeat(name_width.saturating_sub(width(&branch) + width(name)));
            let line = format!(
                "{}  {}  {}{}{padding}  {}",
                self.paint(Style::Dim, &format!("{offset:>6}")),
                self.paint(Style::Bytes, &format!("{line:<BYTES_WIDTH$}")),
                self.paint(Style::Dim, &branch),
                self.paint(name_style, name),
                self.paint(Style::Meaning, meaning),
            );
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn packet(
        &mut self,
        count: usize,
        packet: &Packet<'_>,
        bytes: &[u8],
        start: usize,
        version: Version,
    ) -> io::Result<()> {
        let title = format!("{count}  {}", packet.packet_type());
        self.head(Style::Bold, &title, &format!("{} at {start}, MQTT {version}", words::count(bytes.len())))?;
        self.rows(&rows::of(bytes, version), bytes, start)
    }

    /// Prints the incomplete packet at the end of the input.
    fn incomplete(&mut self, rest: &[u8], start: usize, needs: usize, version: Version) -> io::Result<()> {
        let packet_type = rest.first().and_then(|first| PacketType::from_number(first >> 4));
        let title = format!("…  {}, incomplete", packet_type.map_or("packet", PacketType::name));
        let more = format!("{} at {start}, MQTT {version}, at least {needs} more to come", words::count(rest.len()));
        self.head(Style::Bold, &title, &more)?;
        self.rows(&rows::of(rest, version), rest, start)
    }

    /// Prints the fields up to the invalid one, the bytes around it, and the reason.
    fn malformed(&mut self, rest: &[u8], start: usize, error: &DecodeError) -> io::Result<()> {
        let bad = error.offset();
        let name = error.packet().map_or("packet", PacketType::name);
        let title = format!("✗  {name}, {}", kind(error));
        self.head(Style::Error, &title, &format!("at {start}, MQTT {}", error.version()))?;
        let mut rows = rows::of(rest, error.version());
        rows.retain(|row| row.start <= bad);
        while rows.pop_if(|row| row.start == row.end).is_some() {} // a part without any shown field
        self.rows(&rows, rest, start)?;
        self.window(rest, start, error)
    }

    /// Prints the bytes around the invalid one, with an arrow to it.
    fn window(&mut self, rest: &[u8], start: usize, error: &DecodeError) -> io::Result<()> {
        let bad = error.offset();
        let from = bad.saturating_sub(BEFORE);
        let bytes = rest.get(from..).unwrap_or_default();
        let bytes = bytes.get(..WINDOW).unwrap_or(bytes);
        let indent = " ".repeat((bad - from) * 3);
        let offset = start.saturating_add(from).to_string();
        let offset = self.paint(Style::Dim, &format!("{offset:>6}"));
        let bytes = self.paint(Style::Bytes, &hex(bytes));
        let arrow = self.paint(Style::Error, "^^");
        let at = start.saturating_add(bad);
        let message = self.paint(Style::Error, &format!("byte {at}: {} {}", error.field(), error.violation()));
        writeln!(self.out, "{}", format!("{offset}  {bytes}").trim_end())?;
        writeln!(self.out, "        {indent}{arrow} {message}")?;
        writeln!(self.out, "        {indent}   {}, {}", error.clause(), error.remedy())
    }
}

fn kind(error: &DecodeError) -> &'static str {
    match error.kind() {
        codec::ErrorKind::MalformedPacket => "malformed",
        codec::ErrorKind::ProtocolError => "protocol error",
        _ => "refused",
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

/// Formats the bytes, line by line; of many bytes only the first ones. Returns at least one line, which may be empty.
fn hex_lines(bytes: &[u8]) -> Vec<String> {
    let shown = if bytes.len() > MOST_LINES * PER_LINE { (MOST_LINES - 1) * PER_LINE } else { bytes.len() };
    let (shown, more) = bytes.split_at(shown);
    let mut lines: Vec<_> = shown.chunks(PER_LINE).map(hex).collect();
    if !more.is_empty() {
        lines.push(format!("… {} more", more.len()));
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Formats some bits of a byte, with dots for the others: `.... .01.`.
fn bit_pattern(bytes: &[u8], mask: u8) -> String {
    let byte = bytes.first().copied().unwrap_or_default();
    let bit = |index: u8| match (mask >> index & 1, byte >> index & 1) {
        (0, _) => '.',
        (_, 0) => '0',
        _ => '1',
    };
    let high: String = (4..8).rev().map(bit).collect();
    let low: String = (0..4).rev().map(bit).collect();
    format!("{high} {low}")
}

/// Returns the lines of the tree to the left of each row. Goes from the last row to the first, because a line continues
/// as long as there is a later row on its level.
fn branches(rows: &[Row]) -> Vec<String> {
    let mut goes_on = Vec::new();
    let mut branches: Vec<String> = rows.iter().rev().map(|row| branch(row.depth, &mut goes_on)).collect();
    branches.reverse();
    branches
}

/// `goes_on` says for each level whether there is a later row on it.
fn branch(depth: usize, goes_on: &mut Vec<bool>) -> String {
    goes_on.resize(depth.saturating_add(1), false);
    let levels = goes_on.iter().enumerate().skip(1); // the parts of the packet are at the margin
    let branch = levels.map(|(level, goes_on)| match (level == depth, goes_on) {
        (true, true) => "├ ",
        (true, false) => "└ ",
        (false, true) => "│ ",
        (false, false) => "  ",
    });
    let branch = branch.collect();
    if let Some(own) = goes_on.last_mut() {
        *own = true;
    }
    branch
}
