//! Whether replicas that applied the same entries hold the same state.
//!
//! # The problem
//! Replicas apply the same log, so they hold the same state; unless one of them has a bug that the others
//! have not, or memory that changed by itself. Nothing in Raft notices: such a replica votes, acknowledges
//! and answers like any other, and its answers are wrong.
//!
//! # The model
//! A state machine keeps a hash of its state (`kv::Machine::state_hash`). Now and then the leader names
//! an entry, its last one; every member, the leader too, notes its hash right after having applied it, and
//! tells the leader.
//!
//! ```text
//!   leader  ── asks: after entry 812? ──▶ members       every replica passes 812 at its own time
//!           ◀── answers: 9f3c…, 9f3c…, 07aa… ──         what it holds then is a function of the log
//!           ── verdict: 812 is 9f3c… ──▶ the odd one: quarantined
//!           ── undecided ──▶ everyone, if no hash has a majority of the voters
//! ```
//!
//! **No false alarm.** What is committed at an index is the same everywhere and for ever, whoever leads;
//! a hash is noted right after that entry, or after a snapshot that ends with it, and nowhere else. Which
//! member applied it when, what it went through before, and which leader asked do not matter. A member
//! that has passed the entry before it was asked says nothing.
//!
//! **Cost.** Asked at most once in an election timeout, and only where there are new entries; a group in
//! which all has been compared says nothing.
//!
//! Who is right is for a majority of the voters to say. Where there is none, as between two, nobody is
//! chosen, and all say so. What becomes of a replica that is wrong: see `quarantine`.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{Index, Mistake, NodeId, Term, makes};
use crate::raft::Configuration;

/// A question that is not answered by all is repeated so often before the next one takes its place.
const ROUNDS_MAX: u32 = 10;

/// One group's comparisons, as one replica sees them.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// What this replica asks while it leads.
    question: Option<Question>,
    /// The entry whose hash is to be noted, if it is yet to be applied. Of several asked for the last.
    wanted: Option<Index>,
    /// The hash noted last, and after which entry.
    noted: Option<(Index, u64)>,
    /// Members that this replica, leading, knows to hold another state than the majority.
    distrusted: Vec<NodeId>,
    /// The last entry after which all members that answered had the same hash, as far as this replica
    /// knows by having asked.
    agreed: Index,
    /// The last difference that was found, or told of.
    difference: Option<Difference>,
}

/// What a leader asks.
#[derive(Debug)]
struct Question {
    /// The leader's term: the question ends with it.
    term: Term,
    /// After which entry.
    index: Index,
    /// How often it was asked.
    rounds: u32,
    /// Hashes by member, this one's among them.
    hashes: BTreeMap<NodeId, u64>,
    /// Members that cannot answer because they are known to be wrong.
    quarantined: Vec<NodeId>,
    /// What was made of the hashes so far.
    judgement: Judgement,
}

/// Replicas that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// After which entry.
    pub index: Index,
    /// What each is known to have had.
    pub hashes: BTreeMap<NodeId, u64>,
}

/// What hashes say of those that have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Judgement {
    /// They are equal as far as they are known.
    #[default]
    Equal,
    /// A majority of the voters has one hash; these members have another.
    Wrong {
        /// The majority's.
        right: u64,
        /// In order.
        members: Vec<NodeId>,
    },
    /// They differ, and no hash has a majority.
    Undecided,
}

impl Agreement {
    /// A round of a leader: what to ask, and whom; nothing if there is nothing to compare.
    pub(super) fn ask(
        &mut self,
        term: Term,
        last: Index,
        members: &[NodeId],
    ) -> Option<(Index, Vec<NodeId>)> {
        let is_open = |question: &Question| {
            question.term == term
                && question.rounds < ROUNDS_MAX
                && members.iter().any(|&member| !question.has_heard(member))
        };
        if !self.question.as_ref().is_some_and(is_open) {
            if !self.has_news(term, last) {
                return None;
            }
            self.question = Some(Question::new(term, last));
        }
        let question = self.question.as_mut().expect("there before, or made above");
        question.rounds += 1;
        let unheard = members.iter().copied().filter(|&member| !question.has_heard(member));
        Some((question.index, unheard.collect()))
    }

    /// Whether a leader of this term has entries that it has not asked about.
    pub(super) fn has_news(&self, term: Term, last: Index) -> bool {
        self.question.as_ref().is_none_or(|asked| asked.term != term || asked.index < last)
    }

    /// What was found counts no more: members are asked again though nothing is new.
    pub(super) fn forget_question(&mut self) {
        self.question = None;
    }

    /// A hash is wanted after `index`; `applied` has the one after the entry applied last. Returns the
    /// hash if it is known.
    pub(super) fn want(&mut self, index: Index, applied: (Index, u64)) -> Option<u64> {
        if applied.0 == index {
            self.noted = Some(applied);
        }
        if let Some((_, hash)) = self.noted.filter(|noted| noted.0 == index) {
            return Some(hash);
        }
        self.wanted = (applied.0 < index).then_some(index);
        None
    }

    /// Whether the hash after `index` is wanted.
    #[inline]
    pub(super) fn is_wanted(&self, index: Index) -> bool {
        self.wanted == Some(index)
    }

    /// Notes a hash that was wanted.
    pub(super) fn note(&mut self, index: Index, hash: u64) {
        self.wanted = None;
        self.noted = Some((index, hash));
    }

    /// The state is another one now: what was noted was of the one before.
    pub(super) fn begin_anew(&mut self) {
        (self.wanted, self.noted, self.question) = (None, None, None);
    }

    /// The hash noted after `index`, if that is the one noted last.
    pub(super) fn noted(&self, index: Index) -> Option<u64> {
        self.noted.filter(|noted| noted.0 == index).map(|(_, hash)| hash)
    }

    /// A member's hash; nothing for one that is quarantined already. Members that are not up are not
    /// waited for. Returns what is to be made of all hashes, if that is news.
    pub(super) fn hear(
        &mut self,
        from: NodeId,
        index: Index,
        hash: Option<u64>,
        configuration: &Configuration,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Option<Judgement> {
        let question = self.question.as_mut().filter(|question| question.index == index)?;
        match hash {
            Some(hash) => _ = question.hashes.insert(from, hash),
            None if question.quarantined.contains(&from) => {}
            None => question.quarantined.push(from),
        }
        let judgement = judge(&question.hashes, configuration);
        let mut expected = configuration.members().filter(|&member| is_up(member));
        let complete = expected.all(|member| question.has_heard(member));
        if judgement == Judgement::Equal && complete {
            self.agreed = index;
        }
        if judgement == Judgement::Undecided && !complete {
            // Whoever has not answered may decide it.
            return None;
        }
        self.distrusted.clone_from(&question.quarantined);
        if let Judgement::Wrong { members, .. } = &judgement {
            self.distrusted.extend(members);
        }
        if judgement == question.judgement {
            return None;
        }
        question.judgement = judgement.clone();
        let hashes = question.hashes.clone();
        self.difference = Some(Difference { index, hashes });
        Some(judgement)
    }

    /// A difference that the leader tells of.
    pub(super) fn told(&mut self, index: Index, hashes: BTreeMap<NodeId, u64>) {
        self.difference = Some(Difference { index, hashes });
    }

    /// Whether `member` is known to hold another state than the majority.
    pub(super) fn distrusts(&self, member: NodeId) -> bool {
        self.distrusted.contains(&member)
    }

    /// The last difference.
    pub(super) fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref()
    }

    /// See the field.
    pub(super) fn agreed(&self) -> Index {
        self.agreed
    }
}

/// The hashes, for people.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (node, hash)) in self.hashes.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{node} {hash:016x}")?;
        }
        Ok(())
    }
}

impl Question {
    fn new(term: Term, index: Index) -> Self {
        Self {
            term,
            index,
            rounds: 0,
            hashes: BTreeMap::new(),
            quarantined: Vec::new(),
            judgement: Judgement::default(),
        }
    }

    fn has_heard(&self, member: NodeId) -> bool {
        self.hashes.contains_key(&member) || self.quarantined.contains(&member)
    }
}

/// What the hashes of a group's members say.
fn judge(hashes: &BTreeMap<NodeId, u64>, configuration: &Configuration) -> Judgement {
    let mut support: BTreeMap<u64, usize> = BTreeMap::new();
    for (node, &hash) in hashes {
        *support.entry(hash).or_default() += usize::from(configuration.is_voter(*node));
    }
    if support.len() < 2 || makes(Mistake::StatesNotCompared) {
        return Judgement::Equal;
    }
    let voters = configuration.members().filter(|&node| configuration.is_voter(node)).count();
    match support.into_iter().find(|(_, count)| count * 2 > voters) {
        Some((right, _)) => {
            let wrong = hashes.iter().filter(|(_, hash)| **hash != right);
            Judgement::Wrong { right, members: wrong.map(|(node, _)| *node).collect() }
        }
        None => Judgement::Undecided,
    }
}

#[cfg(test)]
mod tests;
