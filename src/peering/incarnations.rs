//! Which incarnation of each other node counts: a node that comes back with an empty disk is not the
//! node that voted, and must not pass for it.
//!
//! The first incarnation met is believed; from then on every other is refused until an administrator lets it
//! in, here or, with a higher generation, at another node. Whoever keeps this notes it durably before it is
//! believed: one line per node, `n2 00c0ffee00c0ffee 0`: the incarnation, and its generation, 0 for the
//! first one met.
//!
//! A generation is the second in which it was let in, and above the one known before. Were it a count, a
//! node that let one in, and was lost before it told anybody, would come back with as high a number as
//! those have that let a later one in without it, and might speak for the wrong one. Clocks that are
//! wrong do no harm that letting it in once more does not mend: votes count by the configuration alone.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{Incarnation, Micros, NodeId, Time};
use crate::wire::handshake::Replaced;

/// The incarnations seen.
#[derive(Clone, Debug, Default)]
pub struct Incarnations {
    /// What counts of each node. Generations only rise.
    known: BTreeMap<NodeId, Known>,
    /// Who was refused lately, and when last; on its own account, not to be noted.
    refused: BTreeMap<(NodeId, Incarnation), Time>,
}

/// What counts of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The disk.
    pub incarnation: Incarnation,
    /// When it took the place of the one before, in seconds since 1970; 0 for the first one met.
    pub generation: u64,
}

/// A node has a known name and another disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node {node} was known as incarnation {known} and now claims {claimed}: its data directory was \
     formatted anew. If the old one is lost, let the new one in with `sunstar ctl member replace \
     {node}`; else start the node on the old one"
)]
pub struct OtherIncarnation {
    /// The name.
    pub node: NodeId,
    /// The disk that counts.
    pub known: Incarnation,
    /// The one it has.
    pub claimed: Incarnation,
}

/// For so long after its last try a refused incarnation is spoken of: it tries every second.
pub const REFUSED_FOR: Micros = Micros::from_secs(5);

/// Refused incarnations remembered, at most.
pub const REFUSED_MAX: usize = 64;

impl Incarnations {
    /// What was noted; nothing if that makes no sense.
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.lines().map(parse_line).collect::<Option<_>>()?;
        Some(Self { known, refused: BTreeMap::new() })
    }

    /// Whether `incarnation` is the one of `node` that counts. Returns what is to be believed of a node
    /// that was never met.
    ///
    /// # Errors
    /// If another one counts.
    pub fn admit(
        &mut self,
        now: Time,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<Option<Known>, OtherIncarnation> {
        match self.known.get(&node) {
            Some(known) if known.incarnation == incarnation => Ok(None),
            Some(&Known { incarnation: known, .. }) => {
                self.note_refusal(now, node, incarnation);
                Err(OtherIncarnation { node, known, claimed: incarnation })
            }
            None => Ok(Some(Known { incarnation, generation: 0 })),
        }
    }

    /// What counts of a node, if it was ever met or spoken of.
    pub fn known(&self, node: NodeId) -> Option<Known> {
        self.known.get(&node).copied()
    }

    /// Whether no other incarnation of `node` is known to have been before.
    pub fn is_first(&self, node: NodeId) -> bool {
        self.known(node).is_none_or(|known| known.generation == 0)
    }

    /// Who was refused lately.
    pub fn refused(&self, now: Time) -> impl Iterator<Item = (NodeId, Incarnation)> + '_ {
        let lately = move |at: Time| now.since(at) <= REFUSED_FOR;
        self.refused.iter().filter(move |&(_, &at)| lately(at)).map(|(&who, _)| who)
    }

    /// What is to be believed if `incarnation` is let in at `second` since 1970; nothing if it was before.
    pub fn replacement(
        &self,
        second: u64,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Option<Known> {
        let known = self.known(node);
        if known.is_some_and(|known| known.incarnation == incarnation && known.generation > 0) {
            return None;
        }
        let generation = second.max(known.map_or(0, |known| known.generation) + 1);
        Some(Known { incarnation, generation })
    }

    /// What is to be believed because another node says so of a replaced one, and whether that changes
    /// who counts, or who passed for the first; nothing if it is no news. Of two of one generation, made
    /// by two administrators at once, all nodes settle on the same one.
    pub fn news(&self, told: &Replaced) -> Option<(Known, bool)> {
        let story = |known: Known| (known.generation, known.incarnation);
        let known = self.known(told.node);
        let newer = known.map(story).is_none_or(|it| it < (told.generation, told.incarnation));
        let (incarnation, generation) = (told.incarnation, told.generation);
        let other = |known: Known| known.incarnation != incarnation || known.generation == 0;
        (newer && generation > 0)
            .then(|| (Known { incarnation, generation }, known.is_none_or(other)))
    }

    /// From now on this counts of a node. To be noted before.
    pub fn believe(&mut self, node: NodeId, known: Known) {
        self.known.insert(node, known);
        self.refused.remove(&(node, known.incarnation));
    }

    /// All replaced nodes, for others.
    pub fn replaced(&self) -> Vec<Replaced> {
        let replaced = self.known.iter().filter(|(_, known)| known.generation > 0);
        let told = |(&node, &Known { incarnation, generation }): (&NodeId, &Known)| Replaced {
            node,
            incarnation,
            generation,
        };
        replaced.map(told).collect()
    }

    fn note_refusal(&mut self, now: Time, node: NodeId, incarnation: Incarnation) {
        let fresh = self.refused.insert((node, incarnation), now).is_none();
        if fresh && self.refused.len() > REFUSED_MAX {
            self.refused.retain(|_, &mut at| now.since(at) <= REFUSED_FOR);
        }
        while self.refused.len() > REFUSED_MAX {
            self.refused.pop_first();
        }
    }
}

/// As it is noted.
impl fmt::Display for Incarnations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.known.iter().try_for_each(|(node, Known { incarnation, generation })| {
            writeln!(f, "{node} {incarnation} {generation}")
        })
    }
}

fn parse_line(line: &str) -> Option<(NodeId, Known)> {
    let mut words = line.split(' ');
    let (node, incarnation) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let generation = words.next()?.parse().ok()?;
    words.next().is_none().then_some((node, Known { incarnation, generation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const N2: NodeId = NodeId(2);

    #[test]
    fn what_is_noted_is_what_is_read() {
        let mut incarnations = Incarnations::default();
        incarnations.believe(N2, Known { incarnation: Incarnation(0xA), generation: 0 });
        incarnations.believe(NodeId(3), Known { incarnation: Incarnation(0xB), generation: 7 });
        let read = Incarnations::parse(&incarnations.to_string()).expect("what was written");
        assert_eq!(read.known, incarnations.known);
        for bad in ["n2 zzz 0\n", "n2 00c0ffee00c0ffee\n", "n2 00c0ffee00c0ffee 0 0\n"] {
            assert!(Incarnations::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_first_one_met_counts_until_another_is_let_in() {
        let mut incarnations = Incarnations::default();
        let (a, b) = (Incarnation(0xA), Incarnation(0xB));
        let first = incarnations.admit(Time(0), N2, a).expect("nobody was met");
        incarnations.believe(N2, first.expect("to be noted"));
        assert_eq!(incarnations.admit(Time(0), N2, a), Ok(None));
        assert!(incarnations.admit(Time(0), N2, b).is_err() && incarnations.is_first(N2));
        let known = incarnations.replacement(9, N2, b).expect("another one counts");
        incarnations.believe(N2, known);
        assert!(incarnations.admit(Time(0), N2, a).is_err() && !incarnations.is_first(N2));
        assert_eq!(incarnations.replacement(10, N2, b), None);
        let told = Replaced { node: N2, incarnation: b, generation: 9 };
        assert_eq!((incarnations.news(&told), incarnations.replaced()), (None, vec![told]));
    }
}
