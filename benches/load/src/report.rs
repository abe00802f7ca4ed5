//! Tables of the results.

use std::fmt::Write as _;

use mqtt_bench_brokers::Kind;

use crate::arguments::Case;
use crate::connections::Census;
use crate::durable::{Results, Row as DurableRow};
use crate::load::Measurement;
use crate::restart::Restart;

/// The target: deliveries per processor second, as a multiple of mosquitto's.
const TARGET: f64 = 2.0;

/// The measurements of a case with our broker and with mosquitto, round by round; `None` for a failed one.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) ours: Vec<Option<Measurement>>,
    pub(crate) theirs: Vec<Option<Measurement>>,
}

impl Row {
    pub(crate) const fn new(case: Case) -> Self {
        Self { case, ours: Vec::new(), theirs: Vec::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, measurement: Option<Measurement>) {
        match kind {
            Kind::Ours => self.ours.push(measurement),
            Kind::Mosquitto => self.theirs.push(measurement),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.ours.iter().chain(&self.theirs).any(Option::is_none)
    }
}

/// The comparison of our broker with mosquitto.
pub(crate) fn comparison(rows: &[Row]) -> String {
    let mut report = String::from(
        "\n### Messages delivered per second of processor time of the broker (thousands)\n\n\
         | shape | MQTT | QoS | ours | mosquitto | ratio | lowest to highest | target | |\n\
         |---|---|---|---:|---:|---:|---:|---:|---|\n",
    );
    for row in rows {
        let efficiency = |it: &Measurement| it.per_cpu_second().unwrap_or(f64::NAN);
        let (ours, theirs) = (median(&row.ours, efficiency), median(&row.theirs, efficiency));
        let ratio = round(ours / theirs);
        let rounds = row.ours.iter().zip(&row.theirs);
        let ratios =
            rounds.filter_map(|(ours, theirs)| Some(efficiency(ours.as_ref()?) / efficiency(theirs.as_ref()?)));
        let (lowest, highest) = ratios.fold((f64::NAN, f64::NAN), |(low, high), it| (it.min(low), it.max(high)));
        let verdict = match ratio {
            _ if row.has_failed() => "**failed**",
            TARGET.. => "met",
            _ => "**missed**",
        };
        let _ = writeln!(
            report,
            "| {} | {} | {} | {} | {} | {} | {} to {} | {TARGET:.2} | {verdict} |",
            row.case.shape,
            row.case.version,
            row.case.qos.value(),
            thousands(ours),
            thousands(theirs),
            hundredths(ratio),
            hundredths(lowest),
            hundredths(highest),
        );
    }
    report += "\n### Messages delivered per second (thousands), how busy broker and generator were, and what was lost\n\n\
               | shape | MQTT | QoS | ours | broker, generator | lost | mosquitto | broker, generator | lost | ratio |\n\
               |---|---|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let _ = write!(report, "| {} | {} | {} |", row.case.shape, row.case.version, row.case.qos.value());
        for measurements in [&row.ours, &row.theirs] {
            let lost: u64 = measurements.iter().flatten().map(|it| it.lost).sum();
            let _ = write!(
                report,
                " {} | {}, {} | {lost} |",
                thousands(median(measurements, Measurement::per_second)),
                percent(median(measurements, |it| it.broker_share().unwrap_or(f64::NAN))),
                percent(median(measurements, Measurement::own_share)),
            );
        }
        let ratio = median(&row.ours, Measurement::per_second) / median(&row.theirs, Measurement::per_second);
        let _ = writeln!(report, " {} |", hundredths(ratio));
    }
    report
}

/// One measurement.
pub(crate) fn single(case: Case, measurement: &Measurement) -> String {
    let Measurement { elapsed, delivered, lost, due, .. } = measurement;
    let mut report = format!("{case}\n");
    let _ = writeln!(report, "delivered         {delivered} messages in {:.2} s", elapsed.as_secs_f64());
    let _ = writeln!(report, "per second        {:.0}", measurement.per_second());
    if let Some((per_cpu_second, share)) = measurement.per_cpu_second().zip(measurement.broker_share()) {
        let _ = writeln!(report, "per CPU second    {per_cpu_second:.0}");
        let _ = writeln!(report, "broker busy       {}", percent(share));
    }
    let _ = writeln!(report, "generator busy    {}", percent(measurement.own_share()));
    let _ = writeln!(report, "lost              {lost} of {due}, from the first message to the last");
    report
}

/// The results with many connections, for the brokers that have succeeded.
pub(crate) fn connections(count: u32, censuses: &[(Kind, Census)]) -> String {
    if censuses.is_empty() {
        return String::new();
    }
    let mut report = format!(
        "\n### {count} connections, each with a subscription\n\n\
         | broker | all connected (s) | CPU (s) | memory before (MiB) | with all (MiB) | per connection (B) | \
         after a message to each (MiB) | all messages (s) | all closed (s) |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for (kind, census) in censuses {
        let _ = writeln!(
            report,
            "| {} | {:.2} | {:.2} | {} | {} | {} | {} | {:.2} | {:.2} |",
            kind.name(),
            census.connecting.as_secs_f64(),
            census.connecting_cpu.as_secs_f64(),
            mebibytes(census.memory_before),
            mebibytes(census.memory),
            census.memory.saturating_sub(census.memory_before) / u64::from(count),
            mebibytes(census.memory_after),
            census.messages.as_secs_f64(),
            census.leaving.as_secs_f64(),
        );
    }
    report += "\nTheir connections have all stayed open until they were closed, and every message has arrived once.\n";
    report
}

/// The comparison of brokers that store their state.
pub(crate) fn durable(results: &Results) -> String {
    let mut report = format!("\n### Messages delivered per second, {}, persistent subscribers\n\n", results.case);
    report += "| broker | state on disk | many in flight | lowest to highest | broker | one in flight | lowest to highest | µs per message |\n\
               |---|---|---:|---:|---:|---:|---:|---:|\n";
    for row in &results.rows {
        let DurableRow { kind, storage, many, one } = row;
        let (low, high) = range(many);
        let (low_one, high_one) = range(one);
        let single = median(one, Measurement::per_second);
        let _ = writeln!(
            report,
            "| {} | {} | {:.0} | {low:.0} to {high:.0} | {} | {single:.0} | {low_one:.0} to {high_one:.0} | {:.0} |",
            kind.name(),
            storage.name(*kind),
            median(many, Measurement::per_second),
            percent(median(many, |it| it.broker_share().unwrap_or(f64::NAN))),
            1e6 / single,
        );
    }
    let _ = writeln!(
        report,
        "\nOn this disk a write of 4 KiB is permanent after {} µs (median).",
        results.write.as_micros()
    );
    report
}

/// The lowest and the highest rate.
fn range(measurements: &[Option<Measurement>]) -> (f64, f64) {
    let rates = measurements.iter().flatten().map(Measurement::per_second);
    rates.fold((f64::NAN, f64::NAN), |(low, high), it| (it.min(low), it.max(high)))
}

/// The times of restarts.
pub(crate) fn restarts(restarts: &[Restart]) -> String {
    let mut report = String::from(
        "\n| state | files (MiB) | start after a clean end (s) | CPU (s) | peak memory (MiB) | start after SIGKILL (s) | CPU (s) | \
         peak memory (MiB) |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for Restart { content, size, after_end, after_kill } in restarts {
        let _ = write!(report, "| {content} | {} |", mebibytes(*size));
        for start in [after_end, after_kill] {
            let (time, cpu) = (start.time.as_secs_f64(), start.cpu.as_secs_f64());
            let _ = write!(report, " {time:.2} | {cpu:.2} | {} |", mebibytes(start.peak));
        }
        report += "\n";
    }
    report
}

/// NaN if there are none.
fn median(measurements: &[Option<Measurement>], value: impl Fn(&Measurement) -> f64) -> f64 {
    let mut values: Vec<f64> = measurements.iter().flatten().map(value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// Rounded as printed, so that the printed figure decides.
fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

fn hundredths(ratio: f64) -> String {
    if ratio.is_nan() { "-".into() } else { format!("{ratio:.2}") }
}

fn thousands(count: f64) -> String {
    if count.is_nan() { "-".into() } else { format!("{:.1}", count / 1e3) }
}

fn percent(share: f64) -> String {
    if share.is_nan() { "-".into() } else { format!("{:.0} %", share * 100.0) }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / (1024.0 * 1024.0))
}
