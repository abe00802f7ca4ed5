//! Brokers that store their state, under two loads: many messages at a time, and one at a time.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mqtt_bench_brokers::Kind;

use crate::arguments::{Case, DurableArguments, LoadArguments, Shape};
use crate::broker::{Brokers, Storage};
use crate::load::{self, Measurement};
use crate::unless_failed;

/// The number of writes by which the disk is measured.
const WRITES: usize = 200;

/// The results.
pub(crate) struct Results {
    pub(crate) case: Case,
    pub(crate) rows: Vec<Row>,
    /// The median time of a write of 4 KiB that is made permanent.
    pub(crate) write: Duration,
}

/// A broker with a kind of storage.
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) storage: Storage,
    /// The measurements with many messages in flight, and with one, round by round; `None` for one that has failed.
    pub(crate) many: Vec<Option<Measurement>>,
    pub(crate) one: Vec<Option<Measurement>>,
}

impl Results {
    pub(crate) fn have_failed(&self) -> bool {
        self.rows.iter().flat_map(|row| row.many.iter().chain(&row.one)).any(Option::is_none)
    }
}

/// A directory that is empty at the start, and removed at the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let directory = Self(path.to_path_buf());
        directory.clear()?;
        Ok(directory)
    }

    pub(crate) fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::create_dir_all(&self.0).with_context(|| format!("cannot create {}", self.0.display()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures all brokers in turns, each with a new process and an empty directory.
pub(crate) fn measure(brokers: &Brokers, arguments: &DurableArguments) -> Result<Results> {
    let directory = Directory::create(&arguments.directory.data)?;
    let write = write_time(directory.path())?;
    let path = directory.path().to_path_buf();
    let storages = [Storage::Nothing, Storage::Always(path.clone()), Storage::EverySecond(path)];
    let kinds = [Kind::Ours, Kind::Mosquitto].into_iter();
    let mut rows: Vec<Row> = kinds
        .flat_map(|kind| {
            let row = move |storage| Row { kind, storage, many: Vec::new(), one: Vec::new() };
            storages.clone().map(row)
        })
        .collect();
    let case = Case { shape: Shape::Pairs, version: arguments.version, qos: arguments.qos };
    let many = LoadArguments { persistent: true, ..arguments.load.clone() };
    let one = LoadArguments { subscribers: 1, window: 1, in_flight: 1, ..many.clone() };
    for round in 1..=arguments.rounds {
        for row in &mut rows {
            let (kind, name) = (row.kind, row.storage.name(row.kind));
            eprintln!("round {round} of {}: {}, {name}", arguments.rounds, kind.name());
            for (load, results) in [(&many, &mut row.many), (&one, &mut row.one)] {
                directory.clear()?;
                let broker = brokers.start_with(kind, &row.storage)?;
                let measured = load::measure(broker.address, Some(broker.process), case, load);
                results.push(unless_failed(kind, measured));
            }
        }
    }
    Ok(Results { case, rows, write })
}

/// Returns the median time of a write of 4 KiB that is made permanent.
fn write_time(directory: &Path) -> Result<Duration> {
    let mut file = File::create(directory.join("write"))?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let begin = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times[WRITES / 2])
}
