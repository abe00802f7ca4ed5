//! The resources that a process has used.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process to measure.
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

    /// The processor time of all its threads, including those that have ended, in user mode and in the kernel. The
    /// scheduler counts it in nanoseconds; `/proc/PID/stat` has only hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock).with_context(|| format!("process {} is gone", self.pid))?.into())
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

/// The processor time of this program.
pub(crate) fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Raises the limit of open files as far as allowed, for this process and those started later. Returns the limit.
pub(crate) fn raise_file_limit() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")?;
    Ok(hard)
}
