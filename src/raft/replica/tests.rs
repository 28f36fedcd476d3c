use super::*;
use crate::base::{Bytes, GroupId, WallTime};
use crate::raft::Configuration;

/// Three replicas, instant links and disks.
struct Trio {
    now: Time,
    replicas: Vec<Raft>,
    committed: Vec<Vec<Bytes>>,
}

impl Trio {
    fn new() -> Self {
        let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let configuration = Configuration { voters: voters.clone(), ..Configuration::default() };
        let start = |node: NodeId| {
            let mut stored = Stored::default();
            stored.snapshot.configuration = configuration.clone();
            Raft::new(Time(0), RaftConfig::new(GroupId(1), node), stored)
        };
        let replicas = voters.into_iter().map(start).collect();
        Self { now: Time(0), replicas, committed: vec![Vec::new(); 3] }
    }

    fn settle(&mut self, from: usize, mut output: Output) {
        let mut messages = std::mem::take(&mut output.messages);
        messages.append(&mut output.messages_after_durable);
        let applied = output.committed.last().map(|entry| entry.index);
        self.committed[from].extend(output.committed.drain(..).map(|entry| entry.payload));
        if let Some(index) = applied {
            self.step(from, Input::Applied { index });
        }
        if let Some(entry) = output.entries.last() {
            let durable = Input::Appended { term: entry.term, index: entry.index };
            self.step(from, durable);
        }
        for message in messages {
            let to = usize::try_from(message.to.0).expect("small") - 1;
            self.step(to, Input::Message(message));
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let mut output = Output::default();
        self.replicas[at].step(self.now, input, &mut output);
        self.replicas[at].check_invariants();
        self.settle(at, output);
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if done(self) {
                return;
            }
            let next = self.replicas.iter().map(Raft::deadline).min().expect("three");
            self.now = self.now.max(next);
            for at in 0..3 {
                if self.replicas[at].deadline() <= self.now {
                    self.step(at, Input::Tick);
                }
            }
        }
        panic!("not reached by {}", self.now.0);
    }

    fn leader(&self) -> Option<usize> {
        self.replicas.iter().position(|raft| raft.role() == RoleKind::Leader)
    }
}

#[test]
fn three_replicas_elect_one_and_commit_what_it_proposes() {
    let mut trio = Trio::new();
    trio.run_until(|trio| trio.leader().is_some());
    let leader = trio.leader().expect("elected");
    let mut output = Output::default();
    let payload = Bytes::copy_of(b"x");
    let place = trio.replicas[leader]
        .propose(trio.now, WallTime(5), payload.clone(), &mut output)
        .expect("leads");
    assert_eq!(place, (Term(1), Index(2)));
    trio.settle(leader, output);
    trio.run_until(|trio| trio.replicas.iter().all(|raft| raft.commit_index() == Index(2)));
    for committed in &trio.committed {
        assert_eq!(committed, &[Bytes::new(), payload.clone()]);
    }
    assert_eq!(trio.replicas[(leader + 1) % 3].leader(), Some(NodeId(leader as u64 + 1)));
}
