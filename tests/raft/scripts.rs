//! Golden scripts: commands, `----`, and what happened.
//!
//! | command | does |
//! |---|---|
//! | `nodes 3 [learners=n4] [spare=n5] [option=value…]` | started nodes n1…; options for all |
//! | `lead n1` | stand for election, settle, and show only the outcome |
//! | `campaign n1` | stand for election |
//! | `propose n1 x y` | one command per word |
//! | `propose-together n1 x y` | the same, in one turn of the host |
//! | `submit n2 7 x [applied]` | submit x at n2 with context 7, wait until it is committed, or applied |
//! | `submit-change n2 7 n1 n2 n4 [learners=n5] [applied]` | submit a change of the members |
//! | `read n1 7` | a read with context 7 |
//! | `deliver [n1->n2] [Kind] [count=1] [last]` | deliver matching messages in flight, oldest first |
//! | `drop …`, `duplicate …` | lose them; deliver a copy of each and keep them |
//! | `send 2->1 AppendResponse term=1 match=3` | a message out of nowhere |
//! | `settle` | deliver until nothing is in flight |
//! | `flight` | show what is in flight |
//! | `wait 150ms` | time passes; nobody wakes |
//! | `run 150ms` | time passes; nodes wake when they want to, messages arrive at once; heartbeats without effect are not shown |
//! | `tick n1` | time passes until n1 wants to wake, and it wakes |
//! | `hold n1`, `disk n1 [count=1]`, `release n1` | writes wait; the oldest complete; no longer wait |
//! | `hold-apply n1`, `apply n1 [count=1]`, `release-apply n1` | committed entries wait; the next are applied; no longer wait |
//! | `applied n1 2`, `appended n1 1/2` | a completion reported by itself |
//! | `cut n1->n2`, `cut n1`, `heal` | links fail, one way or all of a node's, and return |
//! | `crash n1 [survivors=0]`, `restart n1` | writes under way are lost but the first few |
//! | `forget n1 entries 5`, `forget n1 votes [5]`, `forget n1 all` | a stopped node's disk loses entries from there on, its term and vote too, or everything, and it shows |
//! | `compact n1 [trailing=0]` | take a snapshot, forget what it covers |
//! | `evict n1 [keep=0]` | applied entries but the last few leave memory, and stay on the disk |
//! | `entries n1->n2 [count=9]` | the entries wanted for n2 are read from n1's disk; none: they are gone |
//! | `snapshot n1->n2`, `snapshot-failed n1->n2` | a wanted snapshot arrives, or does not |
//! | `reset n1->n2` | n1 learns that its link to n2 was reset |
//! | `detect` | every failure detector tells everything, rightly |
//! | `up n1->n2`, `down n1->n2` | n1's failure detector says so of n2, rightly or not |
//! | `transfer n1->n2` | n1 hands its leadership over |
//! | `configure n1 n2 n3 [learners=n4]` | the leader changes the members to these |
//! | `stage n1 n2 n3 [learners=n4]` | the same, once the new voters have caught up |
//! | `wipe n2=7`, `replace n2=7` | a crashed node gets an empty disk, as incarnation 7; the leader puts that in its place |
//! | `force n1 n1 n3` | n1's log is made to say that n1 and n3 are the whole group |
//! | `status`, `log n1` | show all states; show what is on a disk |

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use sunstar::base::{Incarnation, Index, Micros, NodeId, Time};
use sunstar::raft::{Configuration, Doubt, Input, Message, RaftConfig, WaitFor};

use crate::node::set_option;
use crate::notation;
use crate::world::World;

#[test]
fn scripts_say_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/raft");
    let scripts = scripts_under(&root);
    assert!(!scripts.is_empty(), "no scripts under {}", root.display());
    for path in scripts {
        let text = std::fs::read_to_string(&path).expect("readable");
        expect_file![&path].assert_eq(&run(&text, &|_| {}));
    }
}

/// The index beside the scripts names each of them, and none that is not there.
#[test]
fn every_script_is_in_the_index() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/raft");
    let index = std::fs::read_to_string(root.join("README.md")).expect("the index");
    let links = index.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut named: Vec<PathBuf> = links.map(|link| root.join(link)).collect();
    named.sort();
    named.dedup();
    assert_eq!(named, scripts_under(&root));
}

/// A script that says something else with these settings.
#[cfg(feature = "planted-bugs")]
pub(crate) fn one_that_differs(settings: &dyn Fn(&mut RaftConfig)) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/raft");
    let differs = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("readable");
        let run = std::panic::AssertUnwindSafe(|| run(&text, settings));
        std::panic::catch_unwind(run).map_or(true, |trace| trace != text)
    };
    let path = scripts_under(&root).into_iter().find(differs)?;
    path.file_stem().map(|name| name.to_string_lossy().into_owned())
}

fn scripts_under(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).expect("the scripts' folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(scripts_under(&path));
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Runs a script and returns it with the traces as they really are.
fn run(text: &str, settings: &dyn Fn(&mut RaftConfig)) -> String {
    let mut output = String::new();
    let mut world = None;
    let mut in_trace = false;
    let mut commands: Vec<&str> = Vec::new();
    for line in text.lines() {
        if in_trace {
            // An old trace ends at the first empty line.
            if !line.is_empty() {
                continue;
            }
            in_trace = false;
        }
        if line == "----" {
            let trace = execute(&mut world, &commands, settings);
            writeln!(output, "----\n{}", trace.join("\n")).expect("a string");
            commands.clear();
            in_trace = true;
            continue;
        }
        if !line.is_empty() && !line.starts_with('#') {
            commands.push(line);
        }
        writeln!(output, "{line}").expect("a string");
    }
    assert!(commands.is_empty(), "commands without ----: {commands:?}");
    output
}

fn execute(
    world: &mut Option<World>,
    commands: &[&str],
    settings: &dyn Fn(&mut RaftConfig),
) -> Vec<String> {
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        if words[0] == "nodes" {
            *world = Some(create(&words[1..], settings));
        } else {
            let world = world.as_mut().expect("a script begins with nodes");
            Scene { world }.play(words[0], &words[1..]);
        }
    }
    let trace = world.as_mut().and_then(|world| world.trace.replace(Vec::new()));
    let trace = trace.expect("a script begins with nodes");
    if trace.is_empty() { vec!["ok".to_owned()] } else { trace }
}

fn create(words: &[&str], settings: &dyn Fn(&mut RaftConfig)) -> World {
    let count: u64 = words[0].parse().expect("nodes <count>");
    let mut configuration = Configuration::new((1..=count).map(NodeId));
    let (mut options, mut spares) = (Vec::new(), Vec::new());
    for word in &words[1..] {
        match word.split_once('=').expect("option=value") {
            ("learners", ids) => configuration.learners = nodes(ids),
            ("spare", ids) => spares = nodes(ids),
            option => options.push(option),
        }
    }
    let mut world = World::new(&configuration);
    world.trace = Some(Vec::new());
    for spare in spares {
        world.add_spare(spare);
    }
    for at in 0..world.nodes.len() {
        for (name, value) in &options {
            set_option(&mut world.nodes[at].config, name, value);
        }
        settings(&mut world.nodes[at].config);
        world.start(at);
    }
    world
}

/// One command at a time, on one world.
struct Scene<'a> {
    world: &'a mut World,
}

impl Scene<'_> {
    fn play(&mut self, verb: &str, words: &[&str]) {
        match verb {
            "lead" => self.lead(words[0]),
            "campaign" => self.step(words[0], Input::Campaign),
            "propose" => self.propose(words),
            "propose-together" => self.world.propose_together(self.at(words[0]), &words[1..]),
            "submit" => self.submit(words),
            "submit-change" => self.submit_change(words),
            "read" => self.read(words),
            "deliver" | "drop" | "duplicate" => self.messages(verb, words),
            "send" => self.world.hand_over(notation::parse_message(words)),
            "settle" => self.settle(),
            "flight" => self.flight(),
            "wait" => self.world.now = self.world.now + duration(words[0]),
            "run" => self.run(duration(words[0])),
            "tick" => self.tick(words[0]),
            "hold" | "disk" | "release" => self.disk(verb, words),
            "hold-apply" | "apply" | "release-apply" => self.state_machine(verb, words),
            "appended" => self.appended(words),
            "applied" => {
                let index = Index(words[1].parse().expect("an index"));
                self.step(words[0], Input::Applied { index });
            }
            "cut" | "heal" => self.cut(words.first().copied()),
            "crash" | "restart" => self.power(verb, words),
            "wipe" => {
                let (node, incarnation) = incarnation_of(words[0]);
                self.world.wipe(self.world.position(node), incarnation);
            }
            "compact" => {
                let at = self.at(words[0]);
                self.world.compact(at, option(words, "trailing", 0));
            }
            "evict" => {
                let at = self.at(words[0]);
                self.world.evict(at, option(words, "keep", 0));
            }
            "entries" => {
                let count = usize::try_from(option(words, "count", 9)).expect("small");
                self.world.read_entries(Some(notation::ends(words[0])), count);
            }
            "snapshot" => {
                let (from, to) = self.pair(words[0]);
                self.world.transfer_snapshot(from, to);
            }
            "snapshot-failed" | "reset" => {
                let (from, to) = notation::ends(words[0]);
                let failed = verb == "snapshot-failed";
                let input = if failed {
                    Input::SnapshotFailed { to }
                } else {
                    Input::PeerReset { peer: to }
                };
                self.step(&from.to_string(), input);
            }
            "detect" => self.world.detect_all(),
            "up" | "down" => {
                let (at, other) = self.pair(words[0]);
                self.world.detect(at, other, verb == "up");
            }
            "configure" | "stage" => self.configure(verb, words),
            "replace" => {
                let leader = self.world.leader().expect("somebody leads");
                let replaced = incarnation_of(words[0]);
                if let Some(Err(error)) = self.world.replace_member(leader, replaced) {
                    self.world.note(format!("  refused: {error}"));
                }
            }
            "transfer" => {
                let (from, to) = notation::ends(words[0]);
                let at = self.world.position(from);
                if let Some(Err(error)) = self.world.transfer(at, to) {
                    self.world.note(format!("  refused: {error}"));
                }
            }
            "force" => {
                let voters: Vec<NodeId> =
                    words[1..].iter().map(|word| notation::node(word)).collect();
                let at = self.at(words[0]);
                if let Some(Err(error)) = self.world.force(at, &voters) {
                    self.world.note(format!("  refused: {error}"));
                }
            }
            "forget" => self.forget(words),
            "status" => self.status(),
            "log" => self.log(words[0]),
            _ => panic!("unknown command {verb}"),
        }
    }

    fn at(&self, word: &str) -> usize {
        self.world.position(notation::node(word))
    }

    fn pair(&self, word: &str) -> (usize, usize) {
        let (from, to) = notation::ends(word);
        (self.world.position(from), self.world.position(to))
    }

    fn step(&mut self, word: &str, input: Input) {
        let at = self.at(word);
        self.world.step(at, input);
    }

    fn configure(&mut self, verb: &str, words: &[&str]) {
        let target = target(words);
        let leader = self.world.leader().expect("somebody leads");
        let result = if verb == "stage" {
            self.world.change_members(leader, &target)
        } else {
            self.world.reconfigure(leader, &target)
        };
        if let Some(Err(error)) = result {
            self.world.note(format!("  refused: {error}"));
        }
    }

    fn lead(&mut self, word: &str) {
        let trace = self.world.trace.take();
        self.step(word, Input::Campaign);
        self.settle();
        self.world.trace = trace;
        let raft = self.world.nodes[self.at(word)].raft.as_ref();
        let state = raft.map(notation::state).expect("is up");
        assert!(state.starts_with("leader"), "{word} was to lead, is {state}");
        self.world.note(format!("  {word} {state}"));
    }

    fn propose(&mut self, words: &[&str]) {
        let at = self.at(words[0]);
        for text in &words[1..] {
            if let Some(Err(error)) = self.world.propose(at, text) {
                self.world.note(format!("  refused: {error}"));
            }
        }
    }

    fn submit(&mut self, words: &[&str]) {
        let (at, context) = (self.at(words[0]), words[1].parse().expect("a context"));
        self.world.submit(at, words[2], wait_for(words), context);
    }

    fn submit_change(&mut self, words: &[&str]) {
        let (at, context) = (self.at(words[0]), words[1].parse().expect("a context"));
        self.world.submit_change(at, &target(&words[2..]), wait_for(words), context);
    }

    fn read(&mut self, words: &[&str]) {
        let at = self.at(words[0]);
        let context = words[1].parse().expect("a context");
        if let Some(Err(error)) = self.world.read(at, context) {
            self.world.note(format!("  refused: {error}"));
        }
    }

    fn messages(&mut self, verb: &str, words: &[&str]) {
        let wanted = |message: &Message| {
            words.iter().all(|word| match *word {
                "last" => true,
                word if word.contains('=') => true,
                word if word.contains("->") => notation::ends(word) == (message.from, message.to),
                word => notation::kind(&message.body) == word,
            })
        };
        let matching: Vec<Message> =
            self.world.in_flight.iter().filter(|message| wanted(message)).cloned().collect();
        let count = option(words, "count", matching.len() as u64);
        let count = usize::try_from(count).expect("small");
        let backwards = words.contains(&"last");
        let order: Vec<Message> = if backwards {
            matching.into_iter().rev().take(count).collect()
        } else {
            matching.into_iter().take(count).collect()
        };
        for message in order {
            let position = self.world.in_flight.iter().position(|other| *other == message);
            let position = position.expect("still in flight");
            match verb {
                "deliver" => self.world.deliver(position),
                "duplicate" => self.world.hand_over(message),
                _ => {
                    let line = notation::message(&self.world.in_flight.remove(position));
                    self.world.note(format!("{line}  (dropped)"));
                }
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.world.in_flight.is_empty() {
                return;
            }
            self.world.deliver(0);
        }
        panic!("does not settle");
    }

    fn flight(&mut self) {
        let lines: Vec<String> = self.world.in_flight.iter().map(notation::message).collect();
        for line in lines {
            self.world.note(line);
        }
    }

    fn run(&mut self, span: Micros) {
        let before = self.world.trace.replace(Vec::new()).expect("scripts trace");
        self.run_on(span);
        let trace = self.world.trace.replace(before).expect("scripts trace");
        let routine = |at: usize| {
            let effect = trace.get(at + 1).is_some_and(|next| next.starts_with(' '));
            trace[at].contains(" Heartbeat") && !effect
        };
        let shown = (0..trace.len()).filter(|&at| !routine(at));
        shown.for_each(|at| self.world.note(trace[at].clone()));
    }

    fn run_on(&mut self, span: Micros) {
        let end = self.world.now + span;
        self.settle();
        while let Some(wake) = self.world.next_wake().filter(|&wake| wake <= end) {
            self.world.now = self.world.now.max(wake);
            for at in 0..self.world.nodes.len() {
                self.world.tick(at);
            }
            self.settle();
        }
        self.world.now = end;
    }

    fn tick(&mut self, word: &str) {
        let at = self.at(word);
        let wake = self.world.nodes[at].wakes_at().unwrap_or(Time(0));
        self.world.now = self.world.now.max(wake);
        self.world.tick(at);
    }

    fn disk(&mut self, verb: &str, words: &[&str]) {
        let at = self.at(words[0]);
        if verb == "hold" {
            self.world.nodes[at].disk_held = true;
            return;
        }
        let release = verb == "release";
        let count = option(words, "count", if release { u64::MAX } else { 1 });
        for _ in 0..count {
            if !self.world.complete_write(at) {
                break;
            }
        }
        self.world.nodes[at].disk_held = !release;
    }

    fn state_machine(&mut self, verb: &str, words: &[&str]) {
        let at = self.at(words[0]);
        self.world.nodes[at].apply_held = verb != "release-apply";
        match verb {
            "apply" => {
                let count = option(words, "count", 1);
                self.world.apply(at, usize::try_from(count).expect("small"));
            }
            "release-apply" => while self.world.apply(at, usize::MAX) > 0 {},
            _ => {}
        }
    }

    fn appended(&mut self, words: &[&str]) {
        let (term, index) = words[1].split_once('/').expect("term/index");
        let number = |text: &str| text.parse::<u64>().expect("term/index");
        let (term, index) = (sunstar::base::Term(number(term)), Index(number(index)));
        self.step(words[0], Input::Appended { term, index });
    }

    fn cut(&mut self, word: Option<&str>) {
        let Some(word) = word else { return self.world.cuts.clear() };
        if word.contains("->") {
            self.world.cuts.insert(notation::ends(word));
            return;
        }
        let node = notation::node(word);
        for other in self.world.nodes.iter().map(|other| other.id) {
            self.world.cuts.extend([(node, other), (other, node)]);
        }
    }

    fn power(&mut self, verb: &str, words: &[&str]) {
        let at = self.at(words[0]);
        if verb == "restart" {
            self.world.start(at);
        } else {
            let survivors = option(words, "survivors", 0);
            self.world.crash(at, usize::try_from(survivors).expect("small"));
        }
    }

    fn forget(&mut self, words: &[&str]) {
        let doubt = match words[1] {
            "entries" => Doubt::Entries,
            "votes" => Doubt::Votes,
            "all" => Doubt::Blank,
            other => panic!("cannot forget {other}"),
        };
        let from = words.get(2).map_or(u64::MAX, |index| index.parse().expect("an index"));
        let at = self.at(words[0]);
        self.world.nodes[at].forget(doubt, Index(from));
    }

    fn status(&mut self) {
        let lines = self.world.states();
        for line in lines {
            self.world.note(line);
        }
    }

    fn log(&mut self, word: &str) {
        let node = &self.world.nodes[self.at(word)];
        let snapshot = &node.disk.snapshot;
        let entries = notation::entries(&node.disk.log);
        self.world.note(format!("{word} {}/{} {entries}", snapshot.term, snapshot.index));
    }
}

/// `n1 n2 [learners=n3]`.
fn target(words: &[&str]) -> Configuration {
    let learners = words.iter().find_map(|word| word.strip_prefix("learners="));
    let voters = words.iter().filter(|word| !word.contains('=') && **word != "applied");
    let mut target = Configuration::new(voters.map(|word| notation::node(word)));
    target.learners = learners.map(nodes).unwrap_or_default();
    target
}

fn wait_for(words: &[&str]) -> WaitFor {
    if words.contains(&"applied") { WaitFor::Applied } else { WaitFor::Committed }
}

/// `n2=7`.
fn incarnation_of(word: &str) -> (NodeId, Incarnation) {
    let (node, incarnation) = word.split_once('=').expect("node=incarnation");
    (notation::node(node), Incarnation(incarnation.parse().expect("a number")))
}

/// `n1,n2`.
fn nodes(ids: &str) -> Vec<NodeId> {
    ids.split(',').map(notation::node).collect()
}

fn option(words: &[&str], name: &str, default: u64) -> u64 {
    let found = words.iter().filter_map(|word| word.split_once('=')).find(|pair| pair.0 == name);
    found.map_or(default, |(_, value)| value.parse().expect("a number"))
}

fn duration(word: &str) -> Micros {
    let millis = word.strip_suffix("ms").and_then(|text| text.parse().ok());
    Micros::from_millis(millis.unwrap_or_else(|| panic!("{word}: write 150ms")))
}
