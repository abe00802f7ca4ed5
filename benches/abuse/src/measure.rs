//! One attack on one broker, from the start of the broker to its end.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use mqtt_bench_brokers::{Kind, Memory};

use crate::arguments::Arguments;
use crate::attacks::Attack;
use crate::broker::Brokers;
use crate::counters::Counters;
use crate::innocent::{self, Observations};
use crate::priority;
use crate::stage::Stage;

/// Interval at which the memory of the broker is read.
const LOOK: Duration = Duration::from_millis(20);

/// The result of one attack on one broker.
pub(crate) struct Measured {
    pub(crate) noticed: Observations,
    /// Maximum time that a new client has waited for its CONNACK during the attack.
    pub(crate) newcomer: Duration,
    /// Memory of the broker before the attack, in bytes.
    pub(crate) empty: u64,
    /// Peak of the memory, including the preparations of the attack.
    pub(crate) peak: u64,
    /// Memory after the attack.
    pub(crate) after: u64,
    /// Processor time of the broker during the attack, as a share of the duration.
    pub(crate) cpu: f64,
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
    pub(crate) refusals: String,
    /// Findings of the attackers.
    pub(crate) notes: String,
    /// The end of the broker, or an error of the attack.
    pub(crate) failure: Option<String>,
}

pub(crate) fn measure(arguments: &Arguments, brokers: &Brokers, kind: Kind, attack: &Attack) -> Result<Measured> {
    let mut broker = brokers.start(kind, attack.needs_passwords)?;
    let process = broker.process;
    let empty = process.memory()?.now;
    let stage = Stage::new(&broker, arguments, attack);
    let patience = arguments.patience();
    let mut memory = Memory::default();
    let mut cpu = 0.0;
    let (attacked, noticed, newcomer) = thread::scope(|scope| {
        let innocent = scope.spawn(|| innocent::run(&stage, process, patience));
        let newcomers = scope.spawn(|| innocent::newcomers(&stage, patience));
        let attacker = scope.spawn(|| {
            if !arguments.short {
                priority::lower();
            }
            attack.run(&stage)
        });
        let mut begun = None;
        let mut look = |memory: &mut Memory| {
            *memory = process.memory().unwrap_or(*memory);
            if broker.end().is_some() || stage.is_late() {
                stage.end();
            }
        };
        while !attacker.is_finished() {
            thread::sleep(LOOK);
            look(&mut memory);
            if begun.is_none() && stage.begun().is_some() {
                begun = process.cpu().ok().map(|cpu| (Instant::now(), cpu));
            }
        }
        if let (Some((at, before)), Ok(after)) = (begun, process.cpu()) {
            cpu = (after - before).as_secs_f64() / at.elapsed().as_secs_f64();
        }
        let attacked = attacker.join().unwrap_or_else(|_| Err(anyhow!("the attacker has panicked")));
        let end = Instant::now();
        while end.elapsed() < arguments.aftermath() {
            thread::sleep(LOOK);
            look(&mut memory);
        }
        stage.leave();
        while !innocent.is_finished() {
            thread::sleep(LOOK);
            look(&mut memory);
        }
        (attacked, innocent.join().unwrap_or_default(), newcomers.join().unwrap_or_default())
    });
    let counters = Counters::read(&stage);
    let lives = innocent::try_newcomer(&stage, patience).context("no new client is served");
    let lives = match (broker.end(), broker.panic()) {
        (Some(status), _) => Err(anyhow!("the broker has ended: {status}")),
        (None, Some(panic)) => Err(anyhow!("the broker has panicked: {panic}")),
        (None, None) => lives,
    };
    if arguments.show_counters {
        for (name, value) in counters.iter() {
            eprintln!("{}, {}: {name}: {value}", attack.name, kind.name());
        }
    }
    let memory = process.memory().unwrap_or(memory);
    let refusals = [counters.refusals(), stage.tally.refusals()].into_iter().filter(|text| !text.is_empty());
    let has_begun = stage.begun().context("the attack has not begun: the preparations have taken too long");
    let failure = lives.and(attacked).and(has_begun.map(drop)).err();
    Ok(Measured {
        noticed,
        newcomer,
        empty,
        peak: memory.peak,
        after: memory.now,
        cpu,
        connections: stage.tally.connections.load(Ordering::Relaxed),
        bytes: stage.tally.bytes.load(Ordering::Relaxed),
        notes: stage.notes(),
        refusals: refusals.collect::<Vec<_>>().join("; attackers: "),
        failure: failure.map(|error| format!("{error:#}")),
    })
}
