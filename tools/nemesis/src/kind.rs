//! The kinds of trouble, faults and changes of the shard map, by the names under which they are counted and
//! left out.

use std::fmt;

use clap::ValueEnum;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL of one node.
    KillOne,
    /// SIGKILL of most nodes at once.
    KillMajority,
    /// SIGKILL of all nodes at once.
    KillAll,
    /// SIGTERM of one node: it hands over and ends.
    Terminate,
    /// SIGSTOP of one node, and SIGCONT.
    PauseOne,
    /// SIGSTOP of most nodes, and SIGCONT.
    PauseMajority,
    /// One node without the others, at times without its clients too.
    Isolate,
    /// One node that hears the others and is not heard, or the other way round.
    OneWay,
    /// Two sides that only one node reaches both of.
    Bridge,
    /// A partition that comes and goes.
    Flapping,
    /// Packets of one node are late and overtake each other.
    Delay,
    /// Packets of one node are lost and doubled.
    Loss,
    /// The disk of one node is full.
    FullDisk,
    /// All disks are full.
    FullDisks,
    /// The disk of one node is slow.
    SlowDisk,
    /// A node comes back with an empty disk, and is replaced.
    WipedDisk,
    /// The wall clock of one node jumps, and back.
    ClockJump,
    /// The clocks of one node run too fast or too slow.
    ClockRate,
    /// The leadership of a group is handed to another node.
    Transfer,
    /// The voters of a group change, and change back.
    Membership,
    /// Slots go to another group.
    MoveSlots,
    /// A group joins, with its share of the slots.
    JoinGroup,
    /// A group gives its slots away, and is forgotten.
    LeaveGroup,
    /// A further node joins.
    JoinNode,
    /// A node is drained, decommissioned, and gone.
    DrainNode,
}

impl Kind {
    /// Its name on the command line and in tables.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no kind is hidden");
        value.get_name().to_owned()
    }

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Whether it changes the shard map, at a time of its own: nothing undoes it, it is brought to its end.
    pub(crate) const fn is_change(self) -> bool {
        matches!(
            self,
            Self::MoveSlots | Self::JoinGroup | Self::LeaveGroup | Self::JoinNode | Self::DrainNode
        )
    }

    /// Whether the two must not come together.
    ///
    /// A node that lost its disk is let in again by a change of every group's members, which each node
    /// notes on its disk. And no founder of a group loses its disk before all founders have met: the
    /// group would wait for ever, which is a known limit of Sunstar's and no finding. Nor does one of them
    /// have a full disk: it cannot note the map that names the group, clients ask the group for its slots
    /// meanwhile, and the disk is not written to its end.
    pub(crate) fn bars(self, other: Self) -> bool {
        let alone = |kind| {
            matches!(
                kind,
                Self::Membership
                    | Self::FullDisk
                    | Self::FullDisks
                    | Self::WipedDisk
                    | Self::JoinGroup
            )
        };
        let wipes = [self, other].contains(&Self::WipedDisk);
        let fills = |kind| matches!(kind, Self::FullDisk | Self::FullDisks);
        let founds = [self, other].contains(&Self::JoinGroup);
        // Clocks with another rate have no file that says how far they are off.
        let times = |kind| matches!(kind, Self::ClockJump | Self::ClockRate);
        self == other
            || wipes && alone(self) && alone(other)
            || fills(self) && fills(other)
            || founds && (fills(self) || fills(other))
            || times(self) && times(other)
            || self.cuts() && other.cuts()
    }

    /// Whether it is a partition; one at a time.
    const fn cuts(self) -> bool {
        matches!(self, Self::Isolate | Self::OneWay | Self::Bridge | Self::Flapping)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}
