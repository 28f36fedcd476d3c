//! The command line: what can be typed, and its help.

mod ctl;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::layers::Layers;
use super::setting::{Kind, SETTINGS, Setting};
use crate::base::{GroupId, NodeId};

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("sunstar")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A linearizable, durable, sharded key-value server: thread-per-core, io_uring, Raft")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_version_flag(true)
        .subcommand(start())
        .subcommand(dev())
        .subcommand(ctl::ctl())
        .subcommand(config())
        .subcommand(inspect())
        .subcommand(recover_quorum())
        .subcommand(Command::new("version").about("Show version and formats"))
}

const EXAMPLES: &str = "\
Try it:
  sunstar dev                          three nodes on this machine, a load, their figures
  sunstar start                        one node in ./sunstar-data, clients on 127.0.0.1:7400

A cluster (on each host, with its own --node-id):
  sunstar start --node-id n1 --data-dir /var/lib/sunstar \\
    --client-addr 10.0.0.1:7400 --peer-addr 10.0.0.1:7401 \\
    --initial-nodes n1=10.0.0.1:7401/10.0.0.1:7400,n2=10.0.0.2:7401/10.0.0.2:7400,…

Another node, later:
  sunstar start --node-id n4 --data-dir /var/lib/sunstar --join 10.0.0.1:7402 \\
    --client-addr 10.0.0.4:7400 --peer-addr 10.0.0.4:7401 --admin-addr 10.0.0.4:7402

Look at it, and change it:
  sunstar ctl health --admin-addr 10.0.0.1:7402
  sunstar ctl --help

Every setting of a node may stand on the command line, in the environment (SUNSTAR_SECTION_KEY) or
in a TOML file (--config); the first of these that says something holds. `sunstar config print`
shows all of them.";

fn start() -> Command {
    Command::new("start")
        .about("Run a node; the first start makes its data directory")
        .long_about(
            "Run a node; the first start makes its data directory. SIGTERM and SIGINT hand the \
             groups led here to other nodes, finish what is in flight and exit 0; a second one exits at once.",
        )
        .args(settings())
        .arg(
            Arg::new(EXIT_WITH_PARENT)
                .long(EXIT_WITH_PARENT)
                .value_name("PID")
                .value_parser(clap::value_parser!(i32))
                .hide(true)
                .help("Stop when process PID, which started this one, is gone"),
        )
}

/// The hidden flag by which `dev` ties its nodes to its own life.
pub(crate) const EXIT_WITH_PARENT: &str = "exit-with-parent";

fn recover_quorum() -> Command {
    Command::new("recover-quorum")
        .about("Last resort: rewrite who votes in a group whose majority is lost for good")
        .long_about(
            "Last resort: rewrite who votes in a group whose majority is lost for good. Works on \
             the data directory of a node that does not run, with the settings that node is started \
             with. Without consent it only shows what the node has.\n\n\
             What the lost members had acknowledged and this node never received is lost. What this \
             node received counts from then on, whether or not it was ever acknowledged. The lost \
             members must never start again with their data: two clusters would go on under one \
             name. Of several survivors take the one whose last entry is of the highest term, then \
             the highest index, with all others stopped.",
        )
        .args(settings())
        .arg(
            Arg::new(GROUPS)
                .long(GROUPS)
                .value_name("GROUP,…")
                .value_delimiter(',')
                .required(true)
                .help("The groups, by number; `all`: every group this node has a replica of"),
        )
        .arg(
            Arg::new(VOTERS)
                .long(VOTERS)
                .value_name("NODE,…")
                .value_delimiter(',')
                .value_parser(clap::value_parser!(NodeId))
                .required(true)
                .help("Who votes from then on: survivors, this node among them"),
        )
        .arg(
            Arg::new(CONSENT)
                .long(CONSENT)
                .action(ArgAction::SetTrue)
                .help("Do it, not only show what is there"),
        )
}

/// Which groups `recover-quorum` is for.
pub(crate) const GROUPS: &str = "group";
/// One group.
pub(crate) const GROUP: &str = "group";
/// Who is to vote in them.
pub(crate) const VOTERS: &str = "voters";
/// That it is meant.
pub(crate) const CONSENT: &str = "i-understand-that-data-may-be-lost";

fn inspect() -> Command {
    let core = Arg::new(CORE)
        .long(CORE)
        .value_name("NUMBER")
        .value_parser(clap::value_parser!(u16))
        .help("Only this core's directory");
    let group = Arg::new(GROUP)
        .long(GROUP)
        .value_name("GROUP")
        .value_parser(clap::value_parser!(GroupId))
        .help("Only this group, such as g1");
    let entries = Arg::new(ENTRIES)
        .long(ENTRIES)
        .action(ArgAction::SetTrue)
        .help("List what each batch holds: entries, hard states, restarts");
    let of_cores = |name, about| part(name, about).arg(core.clone()).arg(group.clone());
    Command::new("inspect")
        .about("Show what lies in the data directory of a node that does not run")
        .after_help(INSPECT_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(part("superblock", "Show both slots, and which one counts"))
        .subcommand(part("map", "Show the shard map that the node goes by: nodes, groups, slots"))
        .subcommand(
            of_cores("log", "Show segments and batches, and what each group has in them")
                .arg(entries),
        )
        .subcommand(of_cores("snapshot", "Show what each snapshot is of, and what is in it"))
        .subcommand(of_cores(
            "sessions",
            "Show the sessions in each group's newest snapshot, and what the log behind it asks for",
        ))
}

const INSPECT_HELP: &str = "\
Nothing is written and no lock is taken; every checksum is verified. Stop the node first: what it is
writing just now looks unfinished, or damaged.

Exit code 0: all sound; 1: damage was found, and is named; 2: nothing can be read there.";

fn part(name: &'static str, about: &'static str) -> Command {
    let path = Arg::new(PATH)
        .value_name("DIR")
        .required(true)
        .help("The node's data directory, or one file of it");
    Command::new(name).about(about).arg(path).arg(output())
}

/// Where `inspect` looks.
pub(crate) const PATH: &str = "path";
/// One core of those there.
pub(crate) const CORE: &str = "core";
/// Whether single entries are shown.
pub(crate) const ENTRIES: &str = "entries";

fn config() -> Command {
    Command::new("config")
        .about("Check a configuration file, or show what is in effect")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("check")
                .about("Say whether a node could start from FILE; exit 0 if so")
                .arg(Arg::new("file").value_name("FILE").required(true)),
        )
        .subcommand(
            Command::new("print")
                .about("Show every setting in effect as TOML, each with where it came from")
                .args(settings()),
        )
}

fn dev() -> Command {
    Command::new("dev")
        .about("Run three nodes on this machine, put a load on them, and stay until Ctrl-C")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .help("Keep the nodes' data here; default: a temporary directory, removed at exit"),
        )
        .arg(
            Arg::new("keep")
                .long("keep")
                .action(ArgAction::SetTrue)
                .help("Do not remove the temporary directory"),
        )
        .arg(
            number("base-port", "PORT")
                .help("Take nine ports from here on; default: the first nine free ones"),
        )
        .arg(number("smp", "CORES").default_value("1").help("Cores of each node"))
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Exit after the load: 0 only if it met no error"),
        )
        .arg(
            number("duration", "SECONDS")
                .default_value("5")
                .help("How long the load lasts; 0 for none"),
        )
        .arg(
            number("in-flight", "COUNT")
                .default_value("256")
                .help("Requests outstanding at any time"),
        )
        .arg(
            number("connections", "COUNT")
                .default_value("4")
                .help("Client connections of the load"),
        )
        .arg(
            Arg::new("workload")
                .long("workload")
                .value_parser(["put", "append", "get", "mixed"])
                .default_value("mixed")
                .help("What the load asks for; mixed: half puts, half gets"),
        )
        .arg(number("value-size", "BYTES").default_value("16").help("Bytes of a value"))
        .arg(output())
}

fn number(name: &'static str, placeholder: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).value_parser(clap::value_parser!(u64))
}

fn output() -> Arg {
    Arg::new("output")
        .long("output")
        .value_parser(["text", "json"])
        .default_value("text")
        .help("text for people; json: one object on standard output, the rest on standard error")
}

/// A flag for each setting, and the file that may hold them.
fn settings() -> Vec<Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("SUNSTAR_CONFIG")
        .hide_env(true)
        .help("Read settings from this TOML file");
    std::iter::once(file).chain(SETTINGS.iter().map(flag)).collect()
}

fn flag(setting: &'static Setting) -> Arg {
    let mut help = setting.help.to_owned();
    if !setting.default.is_empty() {
        help = format!("{help} [default: {}]", setting.default);
    }
    let long_help = format!("{help} [env: {}]", setting.variable());
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.placeholder)
        .help(help)
        .long_help(long_help);
    match setting.kind {
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Text | Kind::List | Kind::Integer => arg,
    }
}

/// Puts the flags that were given into `layers`.
pub(crate) fn add_flags(matches: &ArgMatches, layers: &mut Layers) {
    for setting in SETTINGS {
        if let Some(text) = matches.get_one::<String>(setting.flag) {
            layers.add_flag(setting, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_reach_their_settings() {
        let line = ["sunstar", "start", "--node-id", "n7", "--overprovisioned", "--smp", "3"];
        let matches = command().try_get_matches_from(line).expect("valid");
        let mut layers = Layers::new();
        add_flags(matches.subcommand().expect("start").1, &mut layers);
        assert_eq!(layers.get("node.id").text, "n7");
        assert_eq!(layers.get("reactor.overprovisioned").text, "true");
        assert_eq!(layers.get("reactor.smp").text, "3");
        assert_eq!(layers.get("reactor.cpuset").text, "");
    }
}
