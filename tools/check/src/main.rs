//! `sunstar-check`: whether what clients saw can be.
//!
//! Exits with 0 if nothing contradicts, 1 if something does or a check did not come to its end, 2 if a
//! history cannot be read.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use sunstar::history::{CHECKS, Finding, History, Keys, Record, Shape, Writer, generate};

/// Checks histories written by sunstar-load --history and others: is there one order of all commands that
/// explains every answer, and did each happen at most once?
#[derive(Debug, Parser)]
#[command(name = "sunstar-check", version)]
struct Arguments {
    /// Histories; several are joined. Format: schema/history.md.
    #[arg(required_unless_present = "generate")]
    histories: Vec<PathBuf>,

    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Checks nothing: writes a random, linearizable history of so many commands to standard output, to
    /// measure the checks with.
    #[arg(long, value_name = "COMMANDS", conflicts_with = "histories")]
    generate: Option<usize>,

    /// With --generate: how many keys.
    #[arg(long, default_value_t = 1_000, requires = "generate")]
    keys: u64,

    /// With --generate: how many clients.
    #[arg(long, default_value_t = 64, requires = "generate")]
    clients: u64,

    /// With --generate: how many of a thousand commands have an unknown outcome.
    #[arg(long, default_value_t = 1, requires = "generate")]
    unknown: u32,

    /// With --generate: equal seeds make equal histories.
    #[arg(long, default_value_t = 1, requires = "generate")]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.generate {
        Some(operations) => write_random(&arguments, operations).map(|()| true),
        None => check(&arguments.histories).map(|verdict| {
            verdict.print(arguments.output);
            verdict.is_clean()
        }),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("sunstar-check: {message}");
            ExitCode::from(2)
        }
    }
}

fn write_random(arguments: &Arguments, operations: usize) -> Result<(), String> {
    let shape = Shape {
        operations,
        keys: arguments.keys.max(1),
        clients: arguments.clients.max(1),
        groups: 4,
        values: 0,
        unknown_per_mille: arguments.unknown,
        rejected_per_mille: 1,
        seed: arguments.seed,
    };
    let write = || -> std::io::Result<()> {
        let mut writer = Writer::new(BufWriter::new(std::io::stdout().lock()), "virtual")?;
        for record in generate(&shape) {
            writer.write(&record)?;
        }
        writer.finish()?.flush()
    };
    write().map_err(|error| format!("cannot write the history: {error}"))
}

/// Reads and checks.
fn check(paths: &[PathBuf]) -> Result<Verdict, String> {
    let mut watch = Watch::new();
    let records = read(paths)?;
    let read_s = watch.lap();
    let keys = Keys::of(&records);
    let findings: Vec<(Finding, f64)> =
        CHECKS.iter().map(|check| (check(&keys), watch.lap())).collect();
    let count = |is_so: fn(&Record) -> bool| records.iter().filter(|record| is_so(record)).count();
    let clients =
        records.iter().map(|record| record.client).collect::<std::collections::BTreeSet<_>>();
    Ok(Verdict {
        commands: records.len(),
        keys: keys.len(),
        clients: clients.len(),
        answered: count(|record| record.answer().is_some()),
        open: count(Record::is_open),
        read_s,
        total_s: watch.total(),
        findings,
    })
}

fn read(paths: &[PathBuf]) -> Result<Vec<Record>, String> {
    let mut joined: Option<History> = None;
    for path in paths {
        let history = read_one(path)?;
        match &mut joined {
            None => joined = Some(history),
            Some(joined) => joined
                .join(history)
                .map_err(|error| format!("{} cannot be joined: {error}", path.display()))?,
        }
    }
    Ok(joined.unwrap_or_default().records)
}

fn read_one(path: &Path) -> Result<History, String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("cannot open {name}: {error}"))?;
    History::read(BufReader::with_capacity(1 << 20, file))
        .map_err(|error| format!("cannot read {name}: {error}"))
}

/// What was read and what was found.
struct Verdict {
    commands: usize,
    keys: usize,
    clients: usize,
    answered: usize,
    open: usize,
    read_s: f64,
    total_s: f64,
    /// Each with the seconds it took.
    findings: Vec<(Finding, f64)>,
}

/// The verdict as JSON.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    commands: usize,
    keys: usize,
    clients: usize,
    answered: usize,
    unknown_writes: usize,
    read_s: f64,
    total_s: f64,
    checks: Vec<ReportedCheck<'a>>,
}

#[derive(Serialize)]
struct ReportedCheck<'a> {
    check: &'a str,
    ok: bool,
    seconds: f64,
    checked: u64,
    undecided: u64,
    unfinished_keys: Vec<String>,
    contradictions: Vec<String>,
}

impl Verdict {
    fn is_clean(&self) -> bool {
        self.findings.iter().all(|(finding, _)| finding.is_clean())
    }

    fn print(&self, output: Output) {
        match output {
            Output::Text => self.print_text(),
            Output::Json => {
                println!("{}", serde_json::to_string(&self.report()).expect("numbers and text"));
            }
        }
    }

    fn print_text(&self) {
        let Self { commands, keys, clients, answered, open, read_s, total_s, .. } = self;
        println!("{commands} commands of {clients} clients on {keys} keys, read in {read_s:.2} s");
        println!("{answered} answered, {open} writes of unknown outcome");
        for (finding, seconds) in &self.findings {
            println!("{seconds:>6.2} s  {finding}");
        }
        if self.is_clean() {
            println!("linearizable: checked in {total_s:.2} s");
        } else {
            println!("NOT shown to be linearizable, in {total_s:.2} s");
        }
    }

    fn report(&self) -> Report<'_> {
        let checks = self.findings.iter().map(|(finding, seconds)| ReportedCheck {
            check: finding.check,
            ok: finding.is_clean(),
            seconds: *seconds,
            checked: finding.checked,
            undecided: finding.unchecked,
            unfinished_keys: finding
                .unfinished
                .iter()
                .map(|key| key.escape_ascii().to_string())
                .collect(),
            contradictions: finding.contradictions.iter().map(ToString::to_string).collect(),
        });
        Report {
            ok: self.is_clean(),
            commands: self.commands,
            keys: self.keys,
            clients: self.clients,
            answered: self.answered,
            unknown_writes: self.open,
            read_s: self.read_s,
            total_s: self.total_s,
            checks: checks.collect(),
        }
    }
}

/// How long things take.
struct Watch {
    start: Instant,
    last: Instant,
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "a command line tool tells how long it took")]
    fn new() -> Self {
        let now = Instant::now();
        Self { start: now, last: now }
    }

    /// Seconds since the last lap.
    fn lap(&mut self) -> f64 {
        let lap = self.last.elapsed();
        self.last += lap;
        lap.as_secs_f64()
    }

    fn total(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"sunstar_history\":1,\"clock\":\"virtual\"}\n";
    const PUT: &str = r#"{"client":0,"op":"put","key":"k","value":"a","from":0,"to":1,"outcome":"ok","place":[1,1,0]}"#;
    const STALE: &str = r#"{"client":0,"op":"get","key":"k","from":2,"to":3,"outcome":"not_found","place":[1,0,0]}"#;

    fn checked(files: &[&str]) -> Result<Verdict, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut paths = Vec::new();
        for (number, text) in files.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, text).expect("written");
            paths.push(path);
        }
        check(&paths)
    }

    #[test]
    fn one_command_is_fine_and_a_stale_read_in_another_file_is_found() {
        assert!(checked(&[&format!("{HEADER}{PUT}\n")]).expect("readable").is_clean());
        let verdict = checked(&[&format!("{HEADER}{PUT}\n"), &format!("{HEADER}{STALE}\n")])
            .expect("readable");
        assert!(!verdict.is_clean());
        assert_eq!((verdict.commands, verdict.clients, verdict.keys), (2, 2, 1));
        let report = serde_json::to_string(&verdict.report()).expect("JSON");
        assert!(report.starts_with("{\"ok\":false,\"commands\":2"), "{report}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = checked(&[&format!("{HEADER}{PUT}\nnonsense\n")]).err().expect("refused");
        assert!(error.contains("line 3: "), "{error}");
        let other = HEADER.replace("virtual", "other");
        let error = checked(&[HEADER, &other]).err().expect("refused");
        assert!(error.contains("different clocks"), "{error}");
        assert!(check(&[PathBuf::from("/nowhere")]).is_err());
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
