//! Which packets do not arrive: partitions as sets of one-way cuts, and as rules of nftables.
//!
//! A packet is dropped where it arrives, by where it comes from: so each direction can be cut alone.
//! The administration of a node is asked from the hub, and is cut off with the clients.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use fastrand::Rng;

/// Somebody with an address: a node by position, or whoever is in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A node.
    Node(usize),
    /// The clients.
    Hub,
}

impl Place {
    /// Its address.
    pub(crate) fn address(self) -> String {
        match self {
            Self::Node(position) => format!("10.77.0.{}", position + 1),
            Self::Hub => "10.77.0.254".to_owned(),
        }
    }
}

/// From whom to whom nothing goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    dropped: BTreeSet<(Place, Place)>,
}

impl Cut {
    /// Nothing between the places of one side and of another, either way.
    pub(crate) fn between(side: &[Place], other: &[Place]) -> Self {
        let mut cut = Self::default();
        for (&a, &b) in side.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
            cut.dropped.extend([(a, b), (b, a)]);
        }
        cut
    }

    /// One node alone; its clients reach it still unless `clients` too are cut off.
    pub(crate) fn isolate(node: usize, nodes: &[usize], clients: bool) -> Self {
        let others = all_but(node, nodes).into_iter().map(Place::Node);
        let others: Vec<_> = others.chain(clients.then_some(Place::Hub)).collect();
        Self::between(&[Place::Node(node)], &others)
    }

    /// What one node says is not heard by the others, or the other way round.
    pub(crate) fn one_way(node: usize, nodes: &[usize], mute: bool) -> Self {
        let others = all_but(node, nodes).into_iter().map(Place::Node);
        let pair =
            |other| if mute { (Place::Node(node), other) } else { (other, Place::Node(node)) };
        Self { dropped: others.map(pair).collect() }
    }

    /// Everybody reaches `bridge`, which is on both sides; nobody else reaches the other side.
    pub(crate) fn bridge(bridge: usize, nodes: &[usize], random: &mut Rng) -> Self {
        Self::sides(all_but(bridge, nodes), random)
    }

    /// Two sides, neither of them empty.
    pub(crate) fn split(nodes: &[usize], random: &mut Rng) -> Self {
        Self::sides(nodes.to_vec(), random)
    }

    fn sides(mut nodes: Vec<usize>, random: &mut Rng) -> Self {
        random.shuffle(&mut nodes);
        let (one, other) = nodes.split_at(nodes.len() / 2);
        let places =
            |side: &[usize]| side.iter().map(|node| Place::Node(*node)).collect::<Vec<_>>();
        Self::between(&places(one), &places(other))
    }

    /// From whom `to` hears nothing.
    fn unheard_by(&self, to: Place) -> impl Iterator<Item = Place> {
        self.dropped.iter().filter(move |(_, found)| *found == to).map(|(from, _)| *from)
    }

    /// The whole rule set of node `position`, for `nft`: replaces the one before at once.
    pub(crate) fn rules(&self, position: usize) -> String {
        let mut rules = "table inet nemesis\ndelete table inet nemesis\ntable inet nemesis {\n\
                         chain input {\ntype filter hook input priority 0; policy accept;\n"
            .to_owned();
        for from in self.unheard_by(Place::Node(position)) {
            writeln!(rules, "ip saddr {} drop", from.address()).expect("strings take all");
        }
        rules.push_str("}\n}\n");
        rules
    }
}

fn all_but(node: usize, nodes: &[usize]) -> Vec<usize> {
    nodes.iter().copied().filter(|other| *other != node).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(position) => write!(f, "n{}", position + 1),
            Self::Hub => f.write_str("clients"),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut both, mut one): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for &(from, to) in &self.dropped {
            if !self.dropped.contains(&(to, from)) {
                one.push(format!("{from}>{to}"));
            } else if from < to {
                both.push(format!("{from}|{to}"));
            }
        }
        both.append(&mut one);
        f.write_str(&both.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(cut: &Cut, from: usize, to: usize) -> bool {
        !cut.dropped.contains(&(Place::Node(from), Place::Node(to)))
    }

    #[test]
    fn who_is_alone_hears_nobody_and_is_not_heard() {
        let cut = Cut::isolate(1, &[0, 1, 2], false);
        assert!(!heard(&cut, 0, 1) && !heard(&cut, 1, 2) && heard(&cut, 0, 2));
        assert_eq!(cut.dropped.len(), 4);
        assert!(Cut::isolate(1, &[0, 1, 2], true).dropped.contains(&(Place::Hub, Place::Node(1))));
    }

    #[test]
    fn one_way_is_one_way() {
        let mute = Cut::one_way(0, &[0, 1, 2], true);
        assert!(!heard(&mute, 0, 1) && !heard(&mute, 0, 2) && heard(&mute, 1, 0));
        let deaf = Cut::one_way(0, &[0, 1, 2], false);
        assert!(heard(&deaf, 0, 1) && !heard(&deaf, 1, 0) && !heard(&deaf, 2, 0));
    }

    #[test]
    fn a_bridge_is_reached_by_all_and_the_sides_not_by_each_other() {
        for seed in 0..20 {
            let cut = Cut::bridge(4, &[0, 1, 2, 3, 4], &mut Rng::with_seed(seed));
            assert!((0..4).all(|node| heard(&cut, node, 4) && heard(&cut, 4, node)));
            assert_eq!(cut.dropped.len(), 8, "two against two");
        }
    }

    #[test]
    fn a_split_has_two_sides() {
        for seed in 0..20 {
            let cut = Cut::split(&[0, 1, 2, 3, 4], &mut Rng::with_seed(seed));
            assert_eq!(cut.dropped.len(), 12, "two against three");
        }
    }

    #[test]
    fn rules_name_who_is_not_heard() {
        let rules = Cut::one_way(0, &[0, 1, 2], true).rules(1);
        assert!(rules.contains("ip saddr 10.77.0.1 drop\n}"), "{rules}");
        assert!(!Cut::default().rules(1).contains("drop"));
    }
}
