//! Every mistake made on purpose must be found, each within a minute, by a test that has always been there.
//!
//! A process makes one mistake in all it does (`base::planted`), so the suites run as processes: the log's
//! and the state machine's own tests, and the tests and storms of whole reactors. Without a mistake they
//! pass; with one the first test that fails has found it, and the process is ended. Prints which test that
//! was, and after how long. The mistakes of Raft have a hunt of their own (`tests/raft/planted.rs`).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sunstar::base::Mistake;

/// So long a mistake may stay unfound.
const PATIENCE: Duration = Duration::from_mins(1);

/// What needs clients of a whole cluster: `sunstar-sim --planted-bugs` finds these.
const FOR_THE_SIMULATOR: [Mistake; 3] =
    [Mistake::SettledByIndex, Mistake::StepDownSettles, Mistake::EpochBeginsTooSoon];

/// A test binary and what of it runs.
struct Suite {
    binary: PathBuf,
    arguments: &'static [&'static str],
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
fn planted_mistakes_are_all_found() {
    let suites = suites();
    for suite in &suites {
        assert_eq!(suite.first_failure(None), None, "fails without any mistake");
    }
    let wanted = std::env::var("SUNSTAR_BUG").unwrap_or_default();
    let mistakes = Mistake::ALL.iter().filter(|it| format!("{it:?}").contains(&wanted));
    let mistakes = mistakes.filter(|it| !FOR_THE_SIMULATOR.contains(it));
    println!("{:<24} {:>5}  found by", "mistake", "s");
    let mut missed = Vec::new();
    for &mistake in mistakes {
        let begun = Instant::now();
        let found = suites.iter().find_map(|suite| suite.first_failure(Some(mistake)));
        let seconds = begun.elapsed().as_secs_f64();
        let name = format!("{mistake:?}");
        println!("{name:<24} {seconds:>5.1}  {}", found.as_deref().unwrap_or("-"));
        missed.extend(found.is_none().then_some(mistake));
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

impl Suite {
    /// The first test that fails in a process that makes `mistake`.
    #[expect(clippy::disallowed_methods, reason = "a process that hangs is ended in time")]
    fn first_failure(&self, mistake: Option<Mistake>) -> Option<String> {
        let mut command = Command::new(&self.binary);
        command.args(self.arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(mistake) = mistake {
            command.env("SUNSTAR_MISTAKE", format!("{mistake:?}"));
        }
        let begun = Instant::now();
        let mut process = command.spawn().expect("a test binary runs");
        let said = BufReader::new(process.stdout.take().expect("piped"));
        let mut lines = said.lines().map_while(Result::ok);
        let failed = lines.find_map(|line| {
            let test = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
            Some(test.to_owned())
        });
        if failed.is_some() {
            _ = process.kill();
        }
        let status = process.wait().expect("it ran");
        // One that aborts says no test's name.
        let failed = failed.or_else(|| (!status.success()).then(|| format!("{status}")));
        failed.filter(|_| begun.elapsed() < PATIENCE)
    }
}

/// The suites, built with the mistakes to choose from.
fn suites() -> Vec<Suite> {
    let build = ["test", "--no-default-features", "--features", "planted-bugs", "--no-run"];
    let output = Command::new(env!("CARGO"))
        .args(build)
        .args(["--lib", "--test", "reactor", "--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the suites cannot be built");
    let said = String::from_utf8(output.stdout).expect("text");
    let binary = |name: &str| -> PathBuf {
        let executables = said.lines().filter_map(|line| {
            let (_, rest) = line.split_once("\"executable\":\"")?;
            rest.split_once('"').map(|(path, _)| path)
        });
        let mut ours = executables.filter(|path| path.contains(&format!("/deps/{name}-")));
        ours.next().unwrap_or_else(|| panic!("cargo says nothing of {name}")).into()
    };
    let inner = &["wal::", "kv::", "client::"];
    // Those that try every byte take long and find nothing that others do not.
    let outer = &["--skip", "every_"];
    vec![
        Suite { binary: binary("sunstar"), arguments: inner },
        Suite { binary: binary("reactor"), arguments: outer },
    ]
}
