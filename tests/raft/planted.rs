//! Every mistake made on purpose must be found, each within a minute: by the storms, or where the
//! storms would take longer to bring about what it takes, by a golden script.
//!
//! Prints which seed finds it, by which law or assertion, how long that took, and the first script
//! that says something else.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use sunstar::raft::Bug;

use crate::scripts;
use crate::storm::Storm;

const PATIENCE: Duration = Duration::from_mins(1);

const SEEDS_MAX: u64 = 1_000_000;

thread_local! {
    /// What the last assertion of this thread said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

#[test]
fn planted_bugs_are_all_found() {
    panic::set_hook(Box::new(|info| SAID.with(|said| *said.borrow_mut() = said_by(info))));
    let wanted = std::env::var("SUNSTAR_RAFT_BUG").unwrap_or_default();
    let bugs = Bug::ALL.iter().filter(|bug| format!("{bug:?}").contains(&wanted));
    println!("{:<30} {:>6} {:>5}  script / law or assertion", "bug", "seed", "s");
    let missed: Vec<_> = bugs.filter(|bug| !is_found(**bug)).collect();
    _ = panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Prints who found the bug, if anyone did.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
fn is_found(bug: Bug) -> bool {
    let script = scripts::one_that_differs(&|config| config.planted = Some(bug));
    let patience = if script.is_some() { PATIENCE / 4 } else { PATIENCE };
    SAID.with(RefCell::take);
    let begun = Instant::now();
    let mut seeds = (0..SEEDS_MAX).take_while(|_| begun.elapsed() < patience);
    let found = seeds.find(|&seed| fails(bug, seed));
    let (name, seconds) = (format!("{bug:?}"), begun.elapsed().as_secs_f64());
    let seed = found.map_or("-".to_owned(), |seed| seed.to_string());
    let (by_script, said) = (script.as_deref().unwrap_or("-"), SAID.with(RefCell::take));
    println!("{name:<30} {seed:>6} {seconds:>5.1}  {by_script} / {said}");
    found.is_some() || script.is_some()
}

fn fails(bug: Bug, seed: u64) -> bool {
    let storm = AssertUnwindSafe(|| {
        let mut storm = Storm::new(seed);
        for node in &mut storm.world.nodes {
            node.config.planted = Some(bug);
        }
        storm.weather();
    });
    panic::catch_unwind(storm).is_err()
}

/// The place and the first line of what an assertion says.
fn said_by(info: &panic::PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    let place = info.location().map(|place| {
        let file = place.file().rsplit('/').next().unwrap_or_default();
        format!("{file}:{}", place.line())
    });
    let line: String = text.lines().next().unwrap_or_default().chars().take(90).collect();
    format!("{} {line}", place.unwrap_or_default())
}
