//! The memory and the processor time of a process, and the limits of this one.

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

    /// Returns the processor time of all threads, in user mode and in the kernel.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock).with_context(|| format!("process {} is gone", self.pid))?.into())
    }

    /// Returns the resident memory in bytes, now and at its peak.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
        };
        Ok(Memory { now: value("VmRSS:")?, peak: value("VmHWM:")? })
    }
}

/// The resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// Raises the number of files that may be open as far as that is allowed, here and in processes that are started later.
pub(crate) fn raise_file_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")
}

/// Lowers the priority of the calling thread, and of the threads that it starts.
///
/// An attacker and the innocent client have the processors of one machine. At equal priorities the attacker's own work would
/// make the innocent client wait, whatever the broker does.
pub(crate) fn lower_priority() {
    let _ = rustix::process::nice(10);
}
