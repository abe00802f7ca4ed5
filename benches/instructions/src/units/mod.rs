//! What a unit of the broker's work costs: instructions per unit for many kinds of work.

mod kinds;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use self::world::{COUNTED, World};
use crate::callgrind;

/// A kind of work: its name, and the function that prepares it and does it, counted.
type Kind = (&'static str, fn(&mut World));

/// The most that a unit of the dearest kind may cost, as a multiple of the median.
const MOST: f64 = 10.0;

/// The work of one kind.
struct Cost {
    name: &'static str,
    units: u64,
    instructions: u64,
}

impl Cost {
    fn per_unit(&self) -> f64 {
        self.instructions as f64 / self.units.max(1) as f64
    }
}

/// Does one kind of work, and prints its units. The instructions are counted from outside.
pub fn run(name: &str) -> Result<()> {
    let (_, work) = kinds::all().find(|(known, _)| *known == name).context("there is no such kind of work")?;
    let mut world = World::new();
    work(&mut world);
    println!("{}", world.units());
    Ok(())
}

/// Does each kind of work once, without counting instructions.
pub fn check() -> Result<()> {
    kinds::all().try_for_each(|(name, work)| {
        let mut world = World::new();
        work(&mut world);
        ensure!(world.units() != 0, "{name}: nothing was done");
        Ok(())
    })
}

/// Counts the kinds whose names contain this text, and prints a table.
pub fn table(part: &str) -> Result<ExitCode> {
    let kinds = kinds::all().filter(|(name, _)| name.contains(part));
    let costs: Vec<Cost> = kinds.map(|(name, _)| count(name)).collect::<Result<_>>()?;
    let mut sorted: Vec<f64> = costs.iter().map(Cost::per_unit).collect();
    sorted.sort_by(f64::total_cmp);
    let median = *sorted.get(sorted.len() / 2).context("there is no such kind of work")?;
    println!("| kind of work | units | instructions | per unit | ratio to the median |\n|---|--:|--:|--:|--:|");
    for cost in &costs {
        let (Cost { name, units, instructions }, each) = (cost, cost.per_unit());
        let ratio = each / median;
        let mark = if ratio > MOST { " **dear**" } else { "" };
        println!("| {name} | {units} | {instructions} | {each:.0} | {ratio:.2}{mark} |");
    }
    let ratio = sorted.last().copied().unwrap_or(median) / median;
    println!("\nmax / median: {ratio:.2} (median {median:.0} instructions)");
    Ok(if ratio > MOST { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn count(name: &'static str) -> Result<Cost> {
    let counted = callgrind::run(&["--run-units", name], Some(COUNTED)).with_context(|| name.to_owned())?;
    let units: u64 = counted.output.trim().parse().with_context(|| format!("{name}: {}", counted.output))?;
    ensure!(counted.instructions != 0, "{name}: nothing was counted");
    Ok(Cost { name, units, instructions: counted.instructions })
}
