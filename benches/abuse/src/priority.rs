//! The priority of the attackers.

/// Lowers the priority of the calling thread, and of the threads that it starts.
///
/// An attacker and the innocent client share the processors of one machine. At equal priorities the attacker's own work would
/// make the innocent client wait, whatever the broker does.
pub(crate) fn lower() {
    let _ = rustix::process::nice(10);
}
