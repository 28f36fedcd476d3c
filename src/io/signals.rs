//! SIGTERM and SIGINT: the first stops the node in order, the second at once.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::node::Node;

/// What a process that was interrupted twice exits with.
const EXIT_INTERRUPTED: i32 = 130;

/// Watches for signals until closed.
///
/// # Errors
/// If the system refuses a thread or a handler.
pub(super) fn watch(node: Arc<Node>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if node.is_stopping() {
                process::exit(EXIT_INTERRUPTED);
            }
            tracing::info!(signal, "stopping; a second signal stops at once");
            node.stop();
        }
    })?;
    Ok(handle)
}
