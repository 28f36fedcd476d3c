//! After a storm: what works again must make itself felt, within ten election timeouts.
//!
//! First one node may stay away, if the others can do without it: stopped, cut off, or heard but
//! deaf. They must go on. Then everything works, and all members must have the same log with
//! something new in it, under a leader that belongs to the group, with nobody left without an
//! answer; and with a shared failure detector the group falls silent.

use sunstar::base::{Index, Micros, NodeId, Term};
use sunstar::raft::{Configuration, Raft};

use crate::storm::Storm;

/// How long a group whose faults have ended may take, in election timeouts of the slowest clock.
const PATIENCE: u64 = 10;

/// The same without pre-vote: candidates that cannot win keep raising the term, and where one voter
/// is away and another alone has the longest log, it is chance when that one is heard.
const PATIENCE_WITHOUT_PRE_VOTE: u64 = 40;

impl Storm {
    pub(crate) fn calm(&mut self) {
        let doubters = self.in_doubt();
        if !doubters.is_empty() {
            self.repair(None);
            // Where nobody was ever in a term, all are to meet first.
            let begun = self.world.nodes.iter().any(|node| node.disk.term() > Term(0));
            if begun && !self.somebody_can_win(&doubters) {
                // The others wait for one who waits for them: an operator's turn.
                return self.world.laws.tally.count("groups without enough that are certain");
            }
        }
        if let Some(away) = self.somebody_dispensable() {
            self.send_away(away);
            self.world.detect_all();
            self.world.note(format!("calm without {away}"));
            if self.somebody_can_win(&[away]) {
                self.world.laws.tally.count("calms with one away");
                self.progress(Some(away));
            }
        }
        self.world.cuts.clear();
        self.repair(None);
        self.world.detect_all();
        self.world.laws.tally.count("calms");
        self.world.note("calm".to_owned());
        self.progress(None);
        self.run_until(|storm| storm.world.members().all(|node| node.disk.doubt.is_none()));
        self.run_until(|storm| storm.world.laws.submissions.nobody_waits());
        if self.world.nodes[0].config.shared_detector {
            self.run_until(|storm| storm.world.is_quiet());
            self.world.laws.tally.count("groups that fell silent");
            self.lose_the_quiet_leader();
        }
    }

    /// A silent group must notice that its leader is gone, or has come back as another.
    fn lose_the_quiet_leader(&mut self) {
        let Some(at) = self.world.leader() else { return };
        let leader = self.world.nodes[at].id;
        if self.random.bool() {
            self.world.crash(at, 0);
            self.world.start(at);
            self.world.detect_all();
            self.world.laws.tally.count("quiet leaders restarted");
            self.progress(None);
        } else if self.is_dispensable(leader) {
            self.world.isolate(at, true, true);
            self.world.detect_all();
            self.world.laws.tally.count("quiet leaders lost");
            self.progress(Some(leader));
        }
    }

    /// Cuts a node off, or not quite.
    fn send_away(&mut self, away: NodeId) {
        self.world.cuts.clear();
        self.repair(Some(away));
        let at = self.world.position(away);
        match self.random.u8(0..4) {
            0 => self.world.crash(at, 0),
            1 => self.world.isolate(at, true, true),
            2 => self.world.isolate(at, false, true),
            _ => {
                // Deaf, it steps down as leader with check-quorum only, and as candidate leaves the
                // others in peace with pre-vote only.
                let config = &self.world.nodes[at].config;
                let silent = !(config.check_quorum && config.pre_vote);
                self.world.isolate(at, true, silent);
            }
        }
    }

    /// Something new gets committed and applied by all members but one that is away.
    fn progress(&mut self, away: Option<NodeId>) {
        let begun = self.world.now;
        let mut target = Index::ZERO;
        self.run_until(|storm| {
            let Some(leader) = storm.world.agreed_leader(away) else { return false };
            if storm.world.is_changing(leader) && away.is_none() {
                return false;
            }
            let proposed = storm.world.propose(leader, "end").expect("a leader is up");
            // A transfer that is still under way is given up before long.
            proposed.inspect(|&(_, index)| target = index).is_ok()
        });
        self.run_until(|storm| {
            let mut members = storm.world.members().filter(|node| Some(node.id) != away);
            members.all(|node| node.applied.index >= target)
                && !storm.world.laws.is_reading(|node| Some(node) != away)
        });
        let millis = self.world.now.since(begun).0 / 1_000;
        self.world.laws.tally.at_most("longest until progress, ms", millis);
    }

    /// Lets everything happen in order until it is done.
    fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let slowest = self.world.nodes.iter().map(|node| node.clock_rate).min();
        let config = &self.world.nodes[0].config;
        let timeout = config.election_timeout.0;
        let timeouts = if config.pre_vote { PATIENCE } else { PATIENCE_WITHOUT_PRE_VOTE };
        let patience = timeouts * timeout * 1_000 / slowest.expect("a node");
        let end = self.world.now + Micros(patience);
        let mut turns = 0;
        while !done(self) {
            turns += 1;
            assert!(turns < 100_000, "woken without end");
            self.settle();
            if done(self) {
                return;
            }
            // In a group that is silent nobody wants to be woken.
            let wake = self.world.next_wake().unwrap_or(end);
            self.world.now = self.world.now.max(wake);
            let states = self.world.states();
            assert!(self.world.now < end, "no progress in calm: {states:#?}");
            for at in 0..self.world.nodes.len() {
                self.world.tick(at);
            }
        }
    }

    fn settle(&mut self) {
        let mut delivered = 0;
        loop {
            if !self.world.in_flight.is_empty() {
                self.world.deliver(0);
            } else if !self.world.entries_wanted.is_empty() {
                self.read_entries();
            } else {
                break;
            }
            delivered += 1;
            assert!(delivered < 100_000, "messages without end");
        }
        while !self.world.snapshots_wanted.is_empty() {
            self.move_snapshot();
        }
        while !self.world.completions.is_empty() {
            self.complete();
        }
    }

    fn somebody_dispensable(&mut self) -> Option<NodeId> {
        let away = self.world.nodes[self.random.usize(0..self.world.nodes.len())].id;
        let certain = self.in_doubt().iter().all(|&node| node == away);
        (certain && self.is_dispensable(away)).then_some(away)
    }

    fn in_doubt(&self) -> Vec<NodeId> {
        let doubters = self.world.nodes.iter().filter(|node| node.disk.doubt.is_some());
        doubters.map(|node| node.id).collect()
    }

    /// Whether every configuration that may be in force has its majorities without this node.
    pub(crate) fn is_dispensable(&self, away: NodeId) -> bool {
        let replicas = self.world.nodes.iter().filter_map(|node| node.raft.as_ref());
        let latest = replicas.map(Raft::configuration);
        let committed = self.world.laws.configurations.values();
        let stored = self.world.nodes.iter().flat_map(|node| node.disk.configurations());
        let all = stored.collect::<Vec<_>>();
        let mut all = latest.chain(committed).chain(&all);
        all.all(|members| can_do_without(members, away))
    }

    /// Whether a voter other than those `away` could be elected without them. Mostly; but a joint
    /// configuration that never got far may name as voter a learner that a later leader, now away,
    /// sent more to, and that learner may not stand itself.
    fn somebody_can_win(&self, away: &[NodeId]) -> bool {
        let here = || self.world.nodes.iter().filter(|node| !away.contains(&node.id));
        let replicas = || here().filter_map(|node| Some((node.id, node.raft.as_ref()?)));
        let end = |raft: &Raft| (raft.term_at(raft.last_index()), raft.last_index());
        replicas().any(|(id, raft)| {
            let members = raft.configuration();
            let grants = |voter: &&NodeId| {
                replicas().any(|(id, other)| id == **voter && end(other) <= end(raft))
            };
            let wins = |half: &Vec<NodeId>| {
                half.is_empty() || half.iter().filter(grants).count() > half.len() / 2
            };
            members.is_voter(id) && wins(&members.voters) && wins(&members.outgoing)
        })
    }
}

fn can_do_without(members: &Configuration, away: NodeId) -> bool {
    let groups = [&members.voters, &members.outgoing, &members.voters_next];
    groups.iter().all(|voters| voters.len() > 2 || !voters.contains(&away))
}
