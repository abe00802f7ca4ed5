//! The table, and the verdicts.

use std::fmt::Write as _;
use std::time::Duration;

use mqtt_bench_brokers::Kind;

use crate::arguments::Arguments;
use crate::measure::Measured;

const MIB: f64 = (1 << 20) as f64;

/// The results of one attack on one broker, or the reason why there are none.
pub(crate) struct Row {
    pub(crate) attack: &'static str,
    pub(crate) kind: Kind,
    pub(crate) measured: Result<Measured, String>,
}

impl Row {
    /// Returns the objections. There are none for mosquitto, which is not judged.
    pub(crate) fn objections(&self, arguments: &Arguments) -> Vec<String> {
        let mut objections = Vec::new();
        if self.kind != Kind::Ours {
            return objections;
        }
        let measured = match &self.measured {
            Ok(measured) => measured,
            Err(error) => return vec![error.clone()],
        };
        let noticed = &measured.noticed;
        objections.extend(measured.failure.clone());
        objections.extend(noticed.faults.iter().take(2).cloned());
        if noticed.lost != 0 {
            objections.push(format!("{} messages lost", noticed.lost));
        }
        if noticed.latencies.is_empty() {
            objections.push("nothing was measured".into());
        }
        let (growth, bound) = (measured.peak.saturating_sub(measured.empty), arguments.memory_bound());
        if growth > bound {
            objections.push(format!("memory {:.0} > {:.0} MiB", growth as f64 / MIB, bound as f64 / MIB));
        }
        if !arguments.short {
            for (what, time, limit) in
                [("p99", noticed.percentile(99), arguments.max_p99), ("max", noticed.max(), arguments.max_latency)]
            {
                if time > limit {
                    objections.push(format!("{what} > {limit:?}"));
                }
            }
        }
        objections
    }
}

/// Returns the table of all rows.
pub(crate) fn table(rows: &[Row], arguments: &Arguments) -> String {
    let mut table = String::from(
        "| attack | broker | p50 (ms) | p99 (ms) | max (ms) | work (ms) | newcomer (ms) | memory (MiB) | growth (MiB) | \
         after (MiB) | CPU | sent (MiB) | connections | dropped, refused | noticed | verdict |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|---|\n",
    );
    for row in rows {
        let _ = write!(table, "| {} | {} |", row.attack, row.kind.name());
        match &row.measured {
            Ok(it) => {
                let noticed = &it.noticed;
                for time in [noticed.percentile(50), noticed.percentile(99), noticed.max(), noticed.work, it.newcomer] {
                    let _ = write!(table, " {} |", milliseconds(time));
                }
                for bytes in [it.peak, it.peak.saturating_sub(it.empty), it.after] {
                    let _ = write!(table, " {:.0} |", bytes as f64 / MIB);
                }
                let _ = write!(table, " {:.0} % |", it.cpu * 100.0);
                let _ = write!(
                    table,
                    " {:.1} | {} | {} | {} |",
                    it.bytes as f64 / MIB,
                    it.connections,
                    it.refusals,
                    it.notes
                );
            }
            Err(_) => table += &" - |".repeat(14),
        }
        let objections = row.objections(arguments);
        let verdict = match (row.kind, objections.is_empty(), &row.measured) {
            (Kind::Ours, true, _) => "ok".to_owned(),
            (Kind::Ours, false, _) => format!("**{}**", objections.join("; ")),
            (Kind::Mosquitto, _, Err(error)) => error.clone(),
            (Kind::Mosquitto, _, Ok(it)) => {
                let mut notes: Vec<String> =
                    it.failure.iter().chain(it.noticed.faults.iter().take(2)).cloned().collect();
                if it.noticed.lost != 0 {
                    notes.push(format!("{} messages lost", it.noticed.lost));
                }
                notes.join("; ")
            }
        };
        let _ = writeln!(table, " {verdict} |");
    }
    table
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 100.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}
