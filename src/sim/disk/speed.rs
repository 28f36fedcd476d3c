//! How long a disk takes.

use crate::base::Micros;

/// How long a disk takes. Each operation takes half as long to half as long again; one in a while, far
/// longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// A small durable write, or a read.
    pub operation: Micros,
    /// What makes a file or a directory durable.
    pub flush: Micros,
    /// Bytes that pass in a micro-second.
    pub bytes_per_us: u64,
    /// One in so many operations takes 20 times as long.
    pub spike_one_in: u32,
    /// All of it, times this; 1 unless the disk is slow just now.
    pub slowness: u32,
}

/// How many times as long a spike takes.
const SPIKE: u64 = 20;

impl Default for Speed {
    /// A disk of a laptop, or of a cloud.
    fn default() -> Self {
        Self {
            operation: Micros(300),
            flush: Micros::from_millis(4),
            bytes_per_us: 500,
            spike_one_in: 500,
            slowness: 1,
        }
    }
}

impl Speed {
    /// A write of so many bytes; `unwritten`: into blocks that the file system does not know as written.
    pub(super) fn write(self, bytes: usize, unwritten: bool, random: &mut fastrand::Rng) -> Micros {
        let operation = if unwritten { Micros(self.operation.0 * 2) } else { self.operation };
        Micros(self.some(operation, random).0 + self.sequential(bytes).0)
    }

    /// A read of so many bytes.
    pub(super) fn read(self, bytes: usize, random: &mut fastrand::Rng) -> Micros {
        Micros(self.some(self.operation, random).0 + self.sequential(bytes).0)
    }

    /// A file of so many bytes of zeros, made durable.
    pub(super) fn create(self, bytes: usize, random: &mut fastrand::Rng) -> Micros {
        Micros(self.flush(random).0 + self.sequential(bytes).0)
    }

    /// What makes a file or a directory durable.
    pub(super) fn flush(self, random: &mut fastrand::Rng) -> Micros {
        self.some(self.flush, random)
    }

    /// What so many bytes add to it.
    fn sequential(self, bytes: usize) -> Micros {
        Micros(bytes as u64 / self.bytes_per_us * u64::from(self.slowness))
    }

    fn some(self, typical: Micros, random: &mut fastrand::Rng) -> Micros {
        let took = typical.0 / 2 + random.u64(0..=typical.0);
        let spike = if random.u32(0..self.spike_one_in) == 0 { SPIKE } else { 1 };
        Micros((took * spike * u64::from(self.slowness)).max(1))
    }
}
