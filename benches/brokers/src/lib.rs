//! The brokers that `benches/load` and `benches/abuse` measure: how they are found, started, watched and stopped.

#![forbid(unsafe_code)]

mod process;
mod program;
mod running;

pub use crate::process::{Memory, Process, own_cpu, raise_file_limit};
pub use crate::program::{NO_MOSQUITTO, build_example, find_mosquitto};
pub use crate::running::Running;

/// The brokers that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The example broker of this repository.
    Ours,
    /// [mosquitto](https://mosquitto.org).
    Mosquitto,
}

impl Kind {
    /// Returns the name of the broker in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Mosquitto => "mosquitto",
        }
    }
}
