//! How packets fare on the network.

use crate::base::Micros;

/// How packets fare, on all ways alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weather {
    /// What every packet takes.
    pub(super) latency: Micros,
    /// What it may take beyond that.
    pub(super) jitter: Micros,
    /// Of a hundred packets, so many take `spike` beyond that.
    pub(super) spike_percent: u32,
    pub(super) spike: Micros,
    /// Of a hundred packets, so many are lost: sent again by the sender's system, or lost for good with
    /// harsh links.
    pub(super) lost_percent: u32,
    /// With harsh links: of a hundred batches, so many arrive twice.
    pub(super) doubled_percent: u32,
    /// With harsh links: so many come before one that was sent before.
    pub(super) overtaken_percent: u32,
}

/// What a system waits at least before it sends a packet again.
const RESEND_MIN: Micros = Micros::from_millis(200);

impl Weather {
    /// A quiet network in one room.
    pub(super) fn fair() -> Self {
        Self {
            latency: Micros(50),
            jitter: Micros(50),
            spike_percent: 0,
            spike: Micros(0),
            lost_percent: 0,
            doubled_percent: 0,
            overtaken_percent: 0,
        }
    }

    /// What one packet takes.
    pub(super) fn delay(&self, random: &mut fastrand::Rng) -> Micros {
        let spike = befalls(random, self.spike_percent);
        let spike = if spike { random.u64(0..=self.spike.0) } else { 0 };
        Micros(self.latency.0 + random.u64(0..=self.jitter.0) + spike)
    }

    /// What one that was lost takes beyond that.
    pub(super) fn resend(&self, random: &mut fastrand::Rng) -> Micros {
        Micros(RESEND_MIN.0 + random.u64(0..=RESEND_MIN.0) + self.latency.0)
    }
}

/// Whether something that happens so often in a hundred times does now.
pub(super) fn befalls(random: &mut fastrand::Rng, percent: u32) -> bool {
    percent > 0 && random.u32(0..100) < percent
}
