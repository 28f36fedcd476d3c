//! Ends parks that the executor should not have begun.
//!
//! When its preemption timer has fired before the first task queue runs, the executor parks although
//! tasks are runnable. If the tick's own task is among them, no timer is armed any more, the poll of
//! the sockets is not either, and nothing inside the executor will ever end that park (seen under
//! load with twice as many busy threads as CPUs). So one plain thread looks at every core's
//! heartbeat, and wakes a core that missed it from outside: such a wake goes through a descriptor that
//! the executor arms before every park. A core that is merely busy or starved takes no harm from it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::Waker;
use std::thread;
use std::time::Duration;

/// How often heartbeats are looked at: longer than the ticks of an idle core are apart.
const INTERVAL: Duration = Duration::from_millis(60);

/// A core's heartbeat: advanced at every tick.
#[derive(Clone, Debug, Default)]
pub(super) struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A core to be watched: its heartbeat, and a waker of any of its tasks.
pub(super) struct Watched {
    pub(super) heartbeat: Heartbeat,
    pub(super) waker: Waker,
}

/// Starts the watchdog. It ends when all copies of what is returned are dropped.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn start() -> io::Result<Sender<Watched>> {
    let (sender, receiver) = channel();
    let watch = move || watch(&receiver);
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
    Ok(sender)
}

fn watch(receiver: &Receiver<Watched>) {
    let mut watched: Vec<(Watched, u64)> = Vec::new();
    loop {
        match receiver.recv_timeout(INTERVAL) {
            Ok(core) => watched.push((core, 0)),
            Err(RecvTimeoutError::Timeout) => watched.iter_mut().for_each(wake_if_silent),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn wake_if_silent((core, seen): &mut (Watched, u64)) {
    let count = core.heartbeat.count();
    if std::mem::replace(seen, count) == count {
        core.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;

    use super::*;

    struct Told(mpsc::SyncSender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            // Full: it was told already.
            let _ = self.0.try_send(());
        }
    }

    #[test]
    fn a_core_without_a_heartbeat_is_woken_again_and_again() {
        let watchdog = start().expect("threads are left");
        let (told, woken) = mpsc::sync_channel(1);
        let waker = Arc::new(Told(told)).into();
        watchdog.send(Watched { heartbeat: Heartbeat::default(), waker }).expect("it runs");
        for _ in 0..3 {
            woken.recv().expect("woken");
        }
        drop(watchdog);
        while woken.recv().is_ok() {}
    }
}
