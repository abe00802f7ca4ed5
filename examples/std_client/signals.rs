//! Ctrl-C and SIGTERM: the first signal asks the program to end in order, the second one ends it at once.

use std::io;

/// Calls `leave` on another thread when the first signal arrives. `leave` should only pass the request on: while it
/// runs, a second signal is not handled.
///
/// # Errors
///
/// The error of the system if it refuses the signal handler or the thread.
#[cfg(unix)]
pub(crate) fn on_first_signal(leave: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut leave = Some(leave);
    std::thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            match leave.take() {
                Some(leave) => leave(),
                // Ends the program as if there were no handler, so that the parent process sees which signal it was.
                None => drop(emulate_default_handler(signal)),
            }
        }
    })?;
    Ok(())
}

/// Does nothing: on this system a signal ends the program at once.
#[cfg(not(unix))]
pub(crate) fn on_first_signal(_: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Ok(())
}
