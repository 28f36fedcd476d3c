//! Showing something once, or again and again.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;

use super::asking::Unanswered;

/// What is to be shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// For standard output.
    pub(crate) text: String,
    /// For standard error.
    pub(crate) trouble: Option<String>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Shown {
    /// That there is no answer.
    pub(crate) fn unanswered(why: &Unanswered, as_json: bool) -> Self {
        let text = if as_json { format!("{}\n", why.json()) } else { String::new() };
        Self { text, trouble: Some(why.text()), code: why.code() }
    }
}

/// How often to show it, if more than once.
pub(crate) fn interval(matches: &ArgMatches) -> Option<Duration> {
    matches.get_one::<u64>("watch").map(|&seconds| Duration::from_secs(seconds.max(1)))
}

/// Shows what `look` sees, once; with `every`, again until somebody interrupts it.
pub(crate) fn show(every: Option<Duration>, mut look: impl FnMut() -> Shown) -> ExitCode {
    let is_screen = std::io::stdout().is_terminal();
    loop {
        let Shown { text, trouble, code } = look();
        if every.is_some() && is_screen {
            print!("{CLEAR}");
        }
        print!("{text}");
        // Whoever reads this through a pipe is to see it now. That nobody does is no trouble.
        let _ = std::io::stdout().flush();
        if let Some(trouble) = trouble {
            eprintln!("sunstar: {trouble}");
        }
        let Some(every) = every else { return ExitCode::from(code) };
        pause(every);
    }
}

#[expect(clippy::disallowed_methods, reason = "somebody watches, and wants to see it now and then")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Clears the screen and begins at its top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
