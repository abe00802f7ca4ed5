//! The resources that a process has used.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process to measure.
#[derive(Clone, Copy)]
pub struct Process {
    pid: Pid,
    clock: ClockId,
}

/// The resident memory of a process, in bytes, without buffers of the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The resident memory now.
    pub now: u64,
    /// The greatest resident memory since the process started.
    pub peak: u64,
}

impl Process {
    /// Finds a running process by its identifier.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn new(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(pid.try_into()?);
        let clock = clock_getcpuclockid(pid).with_context(|| format!("there is no process {pid}"))?;
        Ok(Self { pid, clock })
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns the processor time of all its threads, including those that have ended, in user mode and in the kernel. The
    /// scheduler counts it in nanoseconds; `/proc/PID/stat` has only hundredths of a second.
    ///
    /// # Errors
    ///
    /// If the process has ended.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock).with_context(|| format!("process {} is gone", self.pid))?.into())
    }

    /// Returns its resident memory.
    ///
    /// # Errors
    ///
    /// If the process has ended.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
        };
        Ok(Memory { now: value("VmRSS:")?, peak: value("VmHWM:")? })
    }
}

/// Returns the processor time of this program.
///
/// # Errors
///
/// If the system has no clock for it.
pub fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Raises the limit of open files as far as allowed, for this process and those started later. Returns the limit.
///
/// # Errors
///
/// If the system refuses to raise it.
pub fn raise_file_limit() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")?;
    Ok(hard)
}
