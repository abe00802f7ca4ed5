//! What a process has used of the machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process that is watched.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: Pid,
    clock: ClockId,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(pid.try_into()?);
        let clock = clock_getcpuclockid(pid).with_context(|| format!("there is no process {pid}"))?;
        Ok(Self { pid, clock })
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// The processor time that all its threads have taken, also those that have ended, in user mode and in the kernel.
    /// The scheduler counts it in nanoseconds; `/proc/PID/stat` has only hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock).with_context(|| format!("process {} is gone", self.pid))?.into())
    }

    /// How much memory it has in RAM, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

/// The processor time that this program has taken.
pub(crate) fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Raises the number of files that may be open as far as that is allowed, here and in all processes started later; how
/// many that are.
pub(crate) fn raise_file_limit() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")?;
    Ok(hard)
}
