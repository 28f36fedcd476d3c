//! Log, superblock and snapshot formats; recovery decisions; segment bookkeeping. Bytes in, bytes out.

/// One segment file of one core's log: `segment-<id>.log`; the number is the file's, not the order's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// One log write, in order of issue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// What a core's log was found to hold.
#[derive(Debug, Default)]
pub struct Recovered {}
