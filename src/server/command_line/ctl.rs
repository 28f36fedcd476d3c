//! `sunstar ctl`: what can be asked of nodes that run.

use clap::{Arg, ArgAction, ArgGroup, Command};

use super::{number, output};

/// All that can be asked.
pub(super) fn ctl() -> Command {
    Command::new("ctl")
        .about("Ask running nodes, and change who holds what")
        .after_help(CTL_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(status())
        .subcommand(
            view("health", "Say whether all is as it should be, and if not, what is not")
                .after_help(HEALTH_HELP),
        )
        .subcommand(
            view("nodes", "Show the nodes: who is up, who drains, what each holds").arg(epoch()),
        )
        .subcommand(
            view("groups", "Show the groups: members, slots, and how far each is").arg(epoch()),
        )
        .subcommand(
            view("shards", "Show which group owns which slots, and what is on its way")
                .arg(epoch()),
        )
        .subcommand(
            view("epochs", "Show what was changed, the latest last").arg(
                number("last", "COUNT").default_value("20").help("How many of the latest epochs"),
            ),
        )
        .subcommand(
            change("join", "Add groups, with an even share of the slots").arg(
                number("groups", "COUNT")
                    .value_parser(clap::value_parser!(u64).range(1..))
                    .default_value("1")
                    .help("How many"),
            ),
        )
        .subcommand(
            change("leave", "Have groups own nothing: others get their slots")
                .arg(Arg::new("groups").value_name("GROUP,…").required(true).help("Such as g5,g6")),
        )
        .subcommand(
            governing("forget", "List a group no longer that has left and has given all away").arg(
                Arg::new("group").value_name("GROUP").required(true).help("A group, such as g5"),
            ),
        )
        .subcommand(moves())
        .subcommand(
            change("drain", "Have a node hold nothing, so that it can be stopped").arg(node()),
        )
        .subcommand(governing("undrain", "Let a node hold replicas again").arg(node()))
        .subcommand(
            governing("decommission", "Drain a node, wait until it holds nothing, and remove it")
                .arg(node())
                .arg(timeout()),
        )
        .subcommand(
            group_change("move-leader", "Hand the leadership of a group to one of its voters")
                .arg(group_node()),
        )
        .subcommand(group())
        .subcommand(member())
}

const CTL_HELP: &str = "\
Any node that is up can be asked; of several addresses the first that answers is.

Exit code 0: it is so, or done, or was so already; 1: it is refused, with reason and remedy, or not
healthy; 2: what was typed cannot be; 3: nobody answers, or it is not done in time.

With --output json standard output has one JSON object, a refusal too: reason, message, remedy.";

const HEALTH_HELP: &str = "\
Looked at: whether each node of the map is up; whether each group is led, held by those who should,
and its replicas near; whether all slots are where they should be; and of each node that is named with
--admin-addr, whether it is ready and certain of what it holds. Name them all.

Exit code 0: healthy; 1: not, and why is said; 3: nobody can say.";

fn status() -> Command {
    Command::new("status")
        .about("Show nodes, cores and groups; exit 0 if every node asked is ready")
        .arg(addresses("The administration addresses of the nodes to ask, each of them"))
        .arg(
            Arg::new("hash")
                .long("hash")
                .action(ArgAction::SetTrue)
                .help("Have each replica hash its state: equal at equal applied index"),
        )
        .arg(watch())
        .arg(output())
}

fn addresses(help: &'static str) -> Arg {
    Arg::new("admin-addr")
        .long("admin-addr")
        .value_name("HOST:PORT,…")
        .value_delimiter(',')
        .default_value("127.0.0.1:7402")
        .help(help)
}

fn watch() -> Arg {
    number("watch", "SECONDS")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("2")
        .help("Show it again every so many seconds (2), until interrupted")
}

fn epoch() -> Arg {
    number("epoch", "NUMBER").help("As it was in this epoch; default: the latest")
}

fn governing(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(addresses("Administration addresses; the first that answers is asked"))
        .arg(output())
}

fn view(name: &'static str, about: &'static str) -> Command {
    governing(name, about).arg(watch())
}

fn change(name: &'static str, about: &'static str) -> Command {
    let wait = Arg::new("wait").long("wait").action(ArgAction::SetTrue).help(
        "Return when slots and replicas are where they should be; says how far it is meanwhile",
    );
    governing(name, about).arg(wait).arg(timeout())
}

fn timeout() -> Arg {
    number("timeout", "SECONDS").default_value("600").help("How long to wait")
}

fn node() -> Arg {
    Arg::new("node").value_name("NODE").required(true).help("The node, such as n2")
}

fn moves() -> Command {
    let slots =
        Arg::new("slots").value_name("SLOTS").help("Slots and runs of them, such as 0-99,200");
    let half = Arg::new("half-of")
        .long("half-of")
        .value_name("GROUP")
        .help("The upper half of this group's slots instead");
    let to = Arg::new("to").long("to").value_name("GROUP").required(true).help("Whose they become");
    let which = ArgGroup::new("which").args(["slots", "half-of"]).required(true);
    change("move", "Give slots to a group")
        .arg(slots)
        .arg(half)
        .arg(to)
        .group(which)
        .after_help(MOVE_HELP)
}

const MOVE_HELP: &str = "\
  sunstar ctl move 0-99,200 --to g3
  sunstar ctl move --half-of g1 --to g3 --wait

Slots serve all the while, but for a moment each when the last of it is handed over. Joining and
leaving groups evens slots out again.";

fn member() -> Command {
    let replace = Command::new("replace")
        .about("Let a node in that lost its data directory, in the place of what it was")
        .after_help(REPLACE_HELP)
        .arg(Arg::new("node").value_name("NODE").required(true).help("The node, such as n2"))
        .arg(
            Arg::new("incarnation")
                .long("incarnation")
                .value_name("HEX")
                .help("Which one to let in, where several try to connect"),
        )
        .arg(
            Arg::new("admin-addr")
                .long("admin-addr")
                .value_name("HOST:PORT")
                .default_value("127.0.0.1:7402")
                .help("The administration address of another node, whichever"),
        )
        .args(waiting())
        .arg(output());
    Command::new("member")
        .about("Deal with a node as a whole")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(replace)
}

const REPLACE_HELP: &str = "\
A node whose data directory was lost, and made anew at its next start, has forgotten what it
acknowledged and for whom it voted: the others refuse it (`sunstar ctl status` shows that). This puts
the old one out of every group it belongs to, lets the new one in, and waits until it has caught up
and is again what it was. Each group needs a majority without the node. Interrupted, it goes on when
it is repeated, with any node. Exit code 0: it is done, or was so already.";

fn group_node() -> Arg {
    Arg::new("node").value_name("NODE").required(true).help("A node, such as n4")
}

fn group() -> Command {
    let nodes =
        Arg::new("nodes").value_name("NODE,…").required(true).help("Nodes, such as n4,n5,n6");
    let learner = Arg::new("learner")
        .long("learner")
        .action(ArgAction::SetTrue)
        .help("It receives the log and does not vote");
    Command::new("group")
        .about("Show who belongs to a group, and change that; any node can be asked")
        .after_help(GROUP_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(group_command(
            "members",
            "Show voters, learners, the leader, and how far each is",
        ))
        .subcommand(
            group_change("add", "Let a node vote, once it has caught up")
                .arg(group_node())
                .arg(learner),
        )
        .subcommand(group_change("remove", "Put a node out of the group").arg(group_node()))
        .subcommand(
            group_change("promote", "Let a learner vote, once it has caught up").arg(group_node()),
        )
        .subcommand(
            group_change(
                "set",
                "Make these nodes the voters, in one change, once they have caught up",
            )
            .arg(nodes),
        )
        .subcommand(group_change("transfer", "Hand the leadership to a voter").arg(group_node()))
}

const GROUP_HELP: &str = "\
Replace three nodes by three others:
  sunstar ctl group set g1 n4,n5,n6

The group serves all the while: new nodes begin as learners, and vote when they have caught up, and
most of the voters to be can decide. Until then the change is undone by setting the present voters.
Exit code 0: it is done, or was so already.";

fn group_command(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(Arg::new("group").value_name("GROUP").required(true).help("A group, such as g1"))
        .arg(addresses("Administration addresses; the first that answers is asked"))
        .arg(output())
}

fn group_change(name: &'static str, about: &'static str) -> Command {
    group_command(name, about).args(waiting())
}

/// Whether, and for how long, a change is waited for.
fn waiting() -> [Arg; 2] {
    [
        Arg::new("no-wait")
            .long("no-wait")
            .action(ArgAction::SetTrue)
            .help("Return when it has begun, not when it is done"),
        number("timeout", "SECONDS").default_value("60").help("How long to wait"),
    ]
}
