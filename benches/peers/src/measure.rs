//! One process of measurements: all contenders take turns, round after round.

use std::collections::BTreeMap;

use crate::contender::{Contender, Decoder, Encoder, Feed};
use crate::frames::{self, Item, Version};
use crate::peers;

/// The rounds of a process; the first of them does not count.
const ROUNDS: usize = 22;

/// Names a measurement.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub version: String,
    pub item: String,
    pub op: String,
    pub contender: String,
}

impl Key {
    pub fn new(version: Version, item: &str, op: &str, contender: &str) -> Self {
        Self { version: version.to_string(), item: item.into(), op: op.into(), contender: contender.into() }
    }
}

/// The times of each process, in nanoseconds per packet.
pub type Times = BTreeMap<Key, Vec<f64>>;

/// The item of the mixed stream.
pub const STREAM: &str = "stream_1MiB";

pub const DECODE: &str = "decode";
pub const DECODE_FILLED: &str = "decode_filled";
pub const DECODE_CHUNKS: &str = "decode_chunks";
pub const ENCODE: &str = "encode";

/// A measurement that is repeated in every round.
struct Task {
    key: Key,
    run: Box<dyn FnMut(&mut Contender) -> f64>,
    contender: usize,
    times: Vec<f64>,
}

/// Measures everything, or one item only. Returns the medians of this process.
pub fn run(only: Option<&str>) -> Times {
    let mut times = Times::new();
    for version in Version::ALL {
        let mut contenders: Vec<Contender> =
            peers::all().into_iter().filter(|contender| contender.version == version).collect();
        for item in frames::items(version) {
            if only.is_none_or(|only| only == item.name) {
                eprintln!("MQTT {version}: {}", item.name);
                let tasks = item_tasks(&mut contenders, &item);
                measure(&mut contenders, tasks, &mut times);
            }
        }
        if only.is_none_or(|only| only == STREAM) {
            eprintln!("MQTT {version}: {STREAM}");
            let tasks = stream_tasks(&mut contenders, version);
            measure(&mut contenders, tasks, &mut times);
        }
    }
    times
}

/// Runs the tasks in rounds. Each round begins with another task.
fn measure(contenders: &mut [Contender], mut tasks: Vec<Task>, times: &mut Times) {
    for round in 0..ROUNDS {
        for task in &mut tasks {
            let time = (task.run)(&mut contenders[task.contender]);
            if round > 0 {
                task.times.push(time);
            }
        }
        let step = 1.min(tasks.len());
        tasks.rotate_left(step);
    }
    for task in tasks {
        times.insert(task.key, vec![median(&task.times)]);
    }
}

pub fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0
}

fn item_tasks(contenders: &mut [Contender], item: &Item) -> Vec<Task> {
    let frame = item.frame;
    let mut tasks = Vec::new();
    for (index, contender) in contenders.iter_mut().enumerate() {
        let (version, name) = (contender.version, contender.name);
        let mut push = |op, run| {
            tasks.push(Task { key: Key::new(version, item.name, op, name), run, contender: index, times: Vec::new() });
        };
        if let Some(decoder) = &mut contender.decoder
            && decoder.try_decode(frame).is_ok_and(|message| message == item.message)
        {
            let iterations = iterations(|iterations| decoder.time(frame, iterations));
            push(DECODE, Box::new(move |contender| decoder_of(contender).time(frame, iterations)));
            if decoder.own_buffer() {
                let count = (262_144 / frame.len()).clamp(16, 256);
                let repeats = (iterations / count).clamp(1, 4096);
                let batch = frame.repeat(count);
                push(
                    DECODE_FILLED,
                    Box::new(move |contender| {
                        let decoder = decoder_of(contender);
                        let runs = (0..repeats).map(|_| decoder.time_stream(&batch, Feed::Filled));
                        let (time, found) = runs.fold((0.0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
                        assert_eq!(found, count * repeats);
                        time / found as f64
                    }),
                );
            }
        }
        if let Some(encoder) = &mut contender.encoder
            && encoder.load(frame)
        {
            let iterations = iterations(|iterations| encoder.time(iterations));
            push(ENCODE, Box::new(move |contender| encoder_of(contender).time(iterations)));
        }
    }
    tasks
}

fn stream_tasks(contenders: &mut [Contender], version: Version) -> Vec<Task> {
    let (stream, count) = frames::stream(version);
    let stream: &'static [u8] = stream.leak();
    let mut tasks = Vec::new();
    for (index, contender) in contenders.iter_mut().enumerate() {
        let name = contender.name;
        let Some(decoder) = &mut contender.decoder else { continue };
        for (op, feed) in [(DECODE, Feed::Whole), (DECODE_FILLED, Feed::Filled), (DECODE_CHUNKS, Feed::Chunks)] {
            let is_same = matches!(feed, Feed::Filled) && !decoder.own_buffer();
            if !is_same && decoder.can_stream(stream, feed, count) {
                let run = Box::new(move |contender: &mut Contender| {
                    let (time, found) = decoder_of(contender).time_stream(stream, feed);
                    assert_eq!(found, count);
                    time / count as f64
                });
                tasks.push(Task { key: Key::new(version, STREAM, op, name), run, contender: index, times: Vec::new() });
            }
        }
    }
    tasks
}

fn decoder_of(contender: &mut Contender) -> &mut dyn Decoder {
    contender.decoder.as_deref_mut().expect("only what can decode is measured at it")
}

fn encoder_of(contender: &mut Contender) -> &mut dyn Encoder {
    contender.encoder.as_deref_mut().expect("only what can encode is measured at it")
}

/// The number of iterations that take about a millisecond.
fn iterations(mut time: impl FnMut(usize) -> f64) -> usize {
    let mut iterations = 8;
    loop {
        let nanoseconds = time(iterations).max(0.5);
        if nanoseconds * iterations as f64 > 200_000.0 {
            return ((1_000_000.0 / nanoseconds) as usize).max(4);
        }
        iterations *= 4;
    }
}

const HEADER: &str = "version,item,op,contender,median_ns";

pub fn to_csv(times: &Times) -> String {
    let mut csv = String::from(HEADER);
    for (key, times) in times {
        let Key { version, item, op, contender } = key;
        csv.push_str(&format!("\n{version},{item},{op},{contender},{:.3}", median(times)));
    }
    csv + "\n"
}

/// Adds the results of another process.
pub fn add_csv(times: &mut Times, csv: &str) {
    for line in csv.lines().skip(1) {
        let [version, item, op, contender, time] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("not a line of measurements: {line}");
        };
        let [version, item, op, contender] = [version, item, op, contender].map(String::from);
        let time = time.parse().expect("a number");
        times.entry(Key { version, item, op, contender }).or_default().push(time);
    }
}
