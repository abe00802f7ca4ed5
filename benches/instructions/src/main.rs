//! Counts the instructions that the central operations of the crate take, and compares them with a baseline.
//!
//! ```console
//! $ cargo run --release                  # counts, and compares with baseline.tsv; fails if an operation takes 5 % more
//! $ cargo run --release -- --write       # counts, and writes baseline.tsv
//! $ cargo run --release -- --list        # names the operations
//! $ cargo run --release -- --check       # runs each operation, and each kind of work, once, without counting
//! $ cargo run --release -- --units       # what a unit of work costs; fails if it is more than 10 x the median for a kind
//! $ cargo run --release -- --units walk  # the same for the kinds of work whose names contain this
//! ```
//!
//! The counts are those of valgrind's callgrind, which must be installed, and do not depend on other load on the
//! machine. Each operation runs a few times and many times, and the difference is divided by the number of additional
//! runs, which removes the preparation. Counts depend on the compiler, so a baseline belongs to one compiler.

mod callgrind;
mod operations;
mod units;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use self::operations::OPERATIONS;

/// The number of operations in the short and in the long run.
const RUNS: [u64; 2] = [100, 1100];

/// An operation with more instructions than this multiple of its baseline fails the comparison.
const MOST: f64 = 1.05;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--run", name, times] => {
            let (_, run) = OPERATIONS.iter().find(|(known, _)| *known == name).context("there is no such operation")?;
            run(times.parse()?);
        }
        ["--run-units", name] => units::run(name)?,
        ["--units"] => return units::table(""),
        ["--units", part] => return units::table(part),
        ["--list"] => OPERATIONS.iter().for_each(|(name, _)| println!("{name}")),
        ["--check"] => {
            OPERATIONS.iter().for_each(|(_, run)| run(1));
            units::check()?;
        }
        ["--write"] => write(&count_all()?)?,
        [] => return compare(&count_all()?),
        _ => bail!("usage: instructions [--write | --list | --check | --units [PART]]"),
    }
    Ok(ExitCode::SUCCESS)
}

fn count_all() -> Result<Vec<(&'static str, u64)>> {
    OPERATIONS.iter().map(|&(name, _)| Ok((name, count(name)?))).collect()
}

/// The instructions of one run of an operation.
fn count(name: &str) -> Result<u64> {
    let [few, many] = RUNS;
    let collect = |times: u64| callgrind::run(&["--run", name, &times.to_string()], None).map(|run| run.instructions);
    let counted = collect(many)?.saturating_sub(collect(few)?);
    Ok(counted / (many - few))
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.tsv")
}

fn write(counts: &[(&str, u64)]) -> Result<()> {
    let lines: String = counts.iter().map(|(name, count)| format!("{name}\t{count}\n")).collect();
    fs::write(baseline(), &lines).context("baseline.tsv")?;
    print!("{lines}");
    Ok(())
}

fn compare(counts: &[(&str, u64)]) -> Result<ExitCode> {
    let text = fs::read_to_string(baseline()).context("baseline.tsv: make it with --write")?;
    let lines = text.lines().map(|line| {
        let (name, count) = line.split_once('\t').with_context(|| format!("baseline.tsv: {line}"))?;
        Ok((name, count.parse::<u64>()?))
    });
    let before: BTreeMap<_, _> = lines.collect::<Result<_>>()?;
    println!("| operation | before | now | ratio |\n|---|--:|--:|--:|");
    let mut slower = 0;
    for (name, now) in counts {
        let Some(before) = before.get(name) else {
            println!("| {name} | - | {now} | - |");
            continue;
        };
        let ratio = *now as f64 / (*before).max(1) as f64;
        let mark = if ratio > MOST { " **slower**" } else { "" };
        slower += u32::from(ratio > MOST);
        println!("| {name} | {before} | {now} | {ratio:.3}{mark} |");
    }
    Ok(if slower == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
