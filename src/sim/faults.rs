//! Every kind of fault there is, and how often each happened.

use std::fmt;

/// Makes the enumeration, its list and its names from one table.
macro_rules! faults {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $kind,)+
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its name, for people and programs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

faults! {
    /// A process dies between any two of its effects.
    Crash = "crash",
    /// All processes die at once.
    CrashAll = "crash-all",
    /// A machine loses its power, and its disk what was not durable.
    PowerLoss = "power-loss",
    /// All machines lose their power at once.
    PowerLossAll = "power-loss-all",
    /// A process stands still for a while.
    Pause = "pause",
    /// A core takes no turn for a while.
    Stall = "stall",
    /// A process is told to stop, hands over what it leads, and is gone.
    Stop = "stop",
    /// Nothing arrives between two sets of nodes.
    Partition = "partition",
    /// Two sets of nodes have but one node in common.
    Bridge = "bridge",
    /// Nothing arrives one way between two nodes.
    OneWayCut = "one-way-cut",
    /// A node is cut off, and not, and cut off again.
    Flap = "flap",
    /// A connection breaks.
    Break = "break",
    /// Packets are late, lost, and out of order for a while.
    BadWeather = "bad-weather",
    /// A node's clock runs at another rate.
    ClockRate = "clock-rate",
    /// A node's clock jumps ahead.
    ClockJump = "clock-jump",
    /// A node's wall clock is set, as its next process will see.
    ClockSet = "clock-set",
    /// An administrator moves a leader.
    Transfer = "transfer",
    /// An administrator changes who belongs to a group.
    Reconfigure = "reconfigure",
    /// An administrator adds groups.
    Join = "join",
    /// An administrator has a group give up its slots.
    Leave = "leave",
    /// An administrator moves slots.
    Move = "move",
    /// An administrator adds a node.
    AddNode = "add-node",
    /// An administrator has a node give up its replicas.
    Drain = "drain",
    /// A node that was to hold nothing may again.
    Undrain = "undrain",
    /// A drained node is removed, and switched off.
    RemoveNode = "remove-node",
    /// A group that has left is listed no longer.
    Forget = "forget",
    /// The cores of a process pass no clients' commands on for a while.
    MeshFull = "mesh-full",
    /// A disk has no room for a while.
    DiskFull = "disk-full",
    /// A disk is slow for a while.
    DiskSlow = "disk-slow",
    /// A disk completes nothing for a while.
    DiskHeld = "disk-held",
    /// A log write fails.
    WriteError = "write-error",
    /// A node is started with another number of cores.
    CoresChange = "cores-change",
    /// A bit changes on a disk.
    BitRot = "bit-rot",
    /// A disk cannot read a block.
    SectorUnreadable = "sector-unreadable",
    /// A log write is acknowledged and was never there.
    WriteLost = "write-lost",
    /// A log write is acknowledged and is elsewhere.
    WriteMisdirected = "write-misdirected",
    /// A core's directory is empty, as if it had never been written to.
    DiskForgot = "disk-forgot",
    /// A disk is gone; its node has a blank one.
    DiskLost = "disk-lost",
    /// A node cannot start from what harm left of its disk, which is replaced.
    StartRefused = "start-refused",
    /// Sectors of unfinished writes that a power loss took.
    SectorTorn = "sector-torn",
    /// Names of files that a power loss took.
    NameLost = "name-lost",
    /// A packet was lost, and sent again late.
    PacketResent = "packet-resent",
    /// A single batch was lost.
    BatchLost = "batch-lost",
    /// A single batch came twice.
    BatchDoubled = "batch-doubled",
    /// A single batch came before one sent earlier.
    BatchOvertaken = "batch-overtaken",
    /// A packet waited for a way to be mended.
    PacketStalled = "packet-stalled",
}

impl Fault {
    /// Whether it only comes of others.
    pub const fn follows(self) -> bool {
        matches!(
            self,
            Self::Undrain
                | Self::RemoveNode
                | Self::Forget
                | Self::StartRefused
                | Self::SectorTorn
                | Self::NameLost
                | Self::PacketResent
                | Self::BatchLost
                | Self::BatchDoubled
                | Self::BatchOvertaken
                | Self::PacketStalled
        )
    }
}

/// How often each kind happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    counts: Vec<u64>,
}

impl Tally {
    /// Counts one.
    pub(super) fn count(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    /// Counts several.
    pub(super) fn add(&mut self, fault: Fault, count: u64) {
        self.counts[fault as usize] += count;
    }

    /// How often this kind happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// All kinds, and how often each happened.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.iter().map(|&fault| (fault, self.of(fault)))
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: vec![0; Fault::ALL.len()] }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_by_kind_and_every_name_is_another() {
        let mut tally = Tally::default();
        tally.count(Fault::Crash);
        tally.add(Fault::Break, 3);
        assert_eq!((tally.of(Fault::Crash), tally.of(Fault::Break), tally.total()), (1, 3, 4));
        let names: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
