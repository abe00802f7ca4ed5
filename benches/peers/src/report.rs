//! Tables of the results, and the comparison with the targets.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::frames::{self, Item, Version};
use crate::measure::{self, DECODE, DECODE_CHUNKS, DECODE_FILLED, ENCODE, Key, STREAM, Times};
use crate::peers;

/// A Markdown table.
struct Table(String);

impl Table {
    fn new(title: &str, columns: &[&str]) -> Self {
        let title = if title.is_empty() { String::new() } else { format!("\n### {title}\n\n") };
        let rule = "---:|".repeat(columns.len() - 1);
        Self(format!("{title}| {} |\n|---|{rule}\n", columns.join(" | ")))
    }

    fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }
}

fn digits(time: f64) -> String {
    if time >= 100.0 { format!("{time:.0}") } else { format!("{time:.1}") }
}

/// The tables of all times.
pub fn times(times: &Times) -> String {
    let mut report = String::new();
    for version in Version::ALL {
        let names: Vec<&str> = frames::items(version).iter().map(|item| item.name).collect();
        for (op, title) in [
            (DECODE, "decode, the copy into the codec's own buffer included"),
            (DECODE_FILLED, "decode, the frames already in the codec's own buffer; those that need one"),
            (ENCODE, "encode"),
        ] {
            let columns: Vec<_> = names.iter().map(|item| (*item, op)).collect();
            report += &table(times, version, &format!("MQTT {version}: {title} (ns per packet)"), &columns, &names);
        }
        let columns = [(STREAM, DECODE), (STREAM, DECODE_FILLED), (STREAM, DECODE_CHUNKS)];
        let title = format!("MQTT {version}: decode of 1 MiB of mixed frames (ns per frame)");
        report +=
            &table(times, version, &title, &columns, &["whole", "whole, already in the buffer", "chunks of 1460 B"]);
    }
    report
}

/// A table with a row for each contender and a column for each item and operation. The best peer of a column is bold.
fn table(times: &Times, version: Version, title: &str, columns: &[(&str, &str)], heads: &[&str]) -> String {
    let contenders: Vec<_> = peers::all().into_iter().filter(|contender| contender.version == version).collect();
    let time = |contender: &Contender, (item, op): (&str, &str)| {
        times.get(&Key::new(version, item, op, contender.name)).map(|times| measure::median(times))
    };
    let best: Vec<Option<f64>> = columns
        .iter()
        .map(|&column| {
            let peers = contenders.iter().filter(|contender| contender.is_peer());
            peers.filter_map(|peer| time(peer, column)).min_by(f64::total_cmp)
        })
        .collect();
    if best.iter().all(Option::is_none) {
        return String::new();
    }
    let mut table = Table::new(title, &[&["contender"], heads].concat());
    for contender in &contenders {
        let cells = columns.iter().zip(&best).map(|(&column, best)| match time(contender, column) {
            None => "-".into(),
            Some(time) if contender.is_peer() && Some(time) == *best => format!("**{}**", digits(time)),
            Some(time) => digits(time),
        });
        let cells: Vec<String> = cells.collect();
        if cells.iter().any(|cell| cell != "-") {
            table.row(&[vec![contender.name.into()], cells].concat());
        }
    }
    table.0
}

/// The peer that one of our times is compared with.
#[derive(Clone, Copy)]
enum Rival {
    Named(&'static str),
    /// The fastest peer at decoding.
    FastestDecoder,
    /// The fastest peer at encoding: of those that copy the payload, or of those that attach it.
    FastestEncoder {
        attaches: bool,
    },
}

struct Target {
    version: Version,
    item: &'static str,
    op: &'static str,
    ours: &'static str,
    rival: Rival,
    /// The maximum ratio of our time to the rival's. Without it the ratio is only printed.
    ratio: Option<f64>,
}

fn targets(version: Version) -> Vec<Target> {
    use Rival::{FastestDecoder, FastestEncoder, Named};
    let decode = |item, rival, ratio| Target { version, item, op: DECODE, ours: "mqtt-sansio", rival, ratio };
    let is_v5 = version == Version::V5;
    let mut targets = if is_v5 {
        vec![
            decode("pub_q0_64B", Named("mqtt5-protocol"), Some(0.15)),
            decode("pub_q0_64B", FastestDecoder, None),
            decode("pub_q1_props", Named("rmqtt-codec"), Some(0.3)),
            decode("connect_full", Named("rmqtt-codec"), Some(0.4)),
            decode("subscribe8", Named("rmqtt-codec"), Some(0.5)),
        ]
    } else {
        vec![
            decode("pub_q0_64B", Named("mqttrs"), Some(0.6)),
            decode("connect_full", Named("mqttrs"), Some(1.0)),
            decode("subscribe8", Named("mqttrs"), Some(0.5)),
        ]
    };
    targets.extend(["puback", "suback8", "pingreq"].map(|item| decode(item, FastestDecoder, Some(1.0))));
    let per_frame = Some(if is_v5 { 0.35 } else { 0.9 });
    targets.push(decode(STREAM, FastestDecoder, per_frame));
    targets.push(Target { op: DECODE_CHUNKS, ..decode(STREAM, FastestDecoder, per_frame) });
    for item in frames::items(version) {
        for (ours, attaches) in [("mqtt-sansio", false), ("mqtt-sansio (slices)", false), ("mqtt-sansio (head)", true)]
        {
            let rival = FastestEncoder { attaches };
            targets.push(Target { version, item: item.name, op: ENCODE, ours, rival, ratio: Some(1.0) });
        }
    }
    targets
}

/// The comparison with the targets: a row for each that was measured.
pub fn ratios(times: &Times) -> String {
    let columns = ["", "item", "ours", "ns", "peer", "ns", "ratio", "lowest to highest", "target", ""];
    let mut table = Table::new("Ratios", &columns);
    for version in Version::ALL {
        let items = frames::items(version);
        let contenders: Vec<_> = peers::all().into_iter().filter(|contender| contender.version == version).collect();
        for target in targets(version) {
            let ours = times.get(&Key::new(version, target.item, target.op, target.ours));
            let Some((ours, (rival, theirs))) = ours.zip(rival(times, &target, &items, &contenders)) else { continue };
            let ratio = measure::median(ours) / measure::median(theirs);
            let ratio = (ratio * 100.0).round() / 100.0;
            let by_process: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            let lowest = by_process.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = by_process.iter().copied().fold(0.0, f64::max);
            table.row(&[
                version.to_string(),
                format!("{} {}", target.op, target.item),
                target.ours.into(),
                digits(measure::median(ours)),
                rival.into(),
                digits(measure::median(theirs)),
                format!("{ratio:.2}"),
                format!("{lowest:.2} to {highest:.2}"),
                target.ratio.map_or("-".into(), |target| format!("{target:.2}")),
                target.ratio.map_or("", |target| if ratio <= target { "met" } else { "**missed**" }).into(),
            ]);
        }
    }
    table.0
}

/// The peer of a target and its times. Of a decoder with its own buffer the better of its two times counts.
fn rival<'t>(
    times: &'t Times,
    target: &Target,
    items: &[Item],
    contenders: &[Contender],
) -> Option<(&'static str, &'t Vec<f64>)> {
    let payload_len = items.iter().find(|item| item.name == target.item).map_or(0, Item::payload_len);
    let ops: &[&str] = if target.op == DECODE { &[DECODE, DECODE_FILLED] } else { &[target.op] };
    contenders
        .iter()
        .filter(|contender| match target.rival {
            Rival::Named(name) => contender.name == name,
            Rival::FastestDecoder => contender.is_peer(),
            Rival::FastestEncoder { attaches } => {
                let from = contender.encoder.as_ref().and_then(|encoder| encoder.attaches_from());
                contender.is_peer() && from.is_some_and(|from| payload_len > 0 && payload_len >= from) == attaches
            }
        })
        .flat_map(|contender| ops.iter().map(move |op| (contender.name, *op)))
        .filter_map(|(name, op)| Some((name, times.get(&Key::new(target.version, target.item, op, name))?)))
        .min_by(|a, b| measure::median(a.1).total_cmp(&measure::median(b.1)))
}

/// The heap allocations of each packet, and whether this crate makes none.
pub fn allocations() -> String {
    let columns = [
        "contender",
        "MQTT",
        "size of a packet (B)",
        "decode small PUBLISH",
        "with properties or 1 KiB",
        "decode full CONNECT",
        "encode small PUBLISH",
    ];
    let mut table = Table::new("Allocations: number / bytes", &columns);
    let mut ours = 0.0;
    for mut contender in peers::all() {
        let is_ours = contender.is_ours();
        let items = frames::items(contender.version);
        let mut decode = |item: &Item| {
            let decoder = contender.decoder.as_deref_mut()?;
            decoder.try_decode(item.frame).is_ok().then(|| decoder.allocations(item.frame))
        };
        let mut encode = |item: &Item| {
            let encoder = contender.encoder.as_deref_mut()?;
            encoder.load(item.frame).then(|| encoder.allocations())
        };
        if is_ours {
            ours += items
                .iter()
                .flat_map(|item| [decode(item), encode(item)])
                .flatten()
                .map(|each| each.calls)
                .sum::<f64>();
        }
        let named = |name: &str| items.iter().find(|item| item.name == name).expect("an item of this name");
        let large = if contender.version == Version::V5 { "pub_q1_props" } else { "pub_q1_1KiB" };
        let small = named("pub_q0_64B");
        let cells = [decode(small), decode(named(large)), decode(named("connect_full")), encode(small)];
        let cells = cells.map(|cell| cell.map_or("-".into(), |allocations| allocations.to_string()));
        if cells.iter().all(|cell| cell == "-") {
            continue;
        }
        let size = contender.decoder.as_ref().map_or("-".into(), |decoder| decoder.packet_size().to_string());
        table.row(&[&[contender.name.into(), contender.version.to_string(), size], &cells[..]].concat());
    }
    let verdict = if ours == 0.0 { "met" } else { "**missed**" };
    table.0 + &format!("\nAll items, decode and encode, by this crate: {ours} allocations; target 0, {verdict}.\n")
}

/// The description of each contender's times.
pub fn contenders() -> String {
    let mut rows: Vec<_> = peers::all().into_iter().map(|contender| (contender.name, contender.note)).collect();
    rows.dedup();
    rows.iter().map(|(name, note)| format!("- {name}: {note}.\n")).collect()
}
