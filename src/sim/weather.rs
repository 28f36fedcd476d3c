//! How packets fare on the network.

use crate::base::Micros;

/// How packets fare, on all ways alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// What every packet takes.
    pub latency: Micros,
    /// What it may take beyond that.
    pub jitter: Micros,
    /// Of a hundred packets, so many take `spike` beyond that.
    pub spike_percent: u32,
    /// At most.
    pub spike: Micros,
    /// Of a hundred packets, so many are lost: sent again by the sender's system, or lost for good with
    /// harsh links.
    pub lost_percent: u32,
    /// With harsh links: of a hundred batches, so many arrive twice.
    pub doubled_percent: u32,
    /// With harsh links: so many come before one that was sent before.
    pub overtaken_percent: u32,
}

/// What a system waits at least before it sends a packet again.
const RESEND_MIN: Micros = Micros::from_millis(200);

impl Weather {
    /// A quiet network in one room.
    pub fn fair() -> Self {
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

    /// Any other.
    pub(super) fn bad(random: &mut fastrand::Rng) -> Self {
        let percent = |random: &mut fastrand::Rng, most| match random.u32(0..3) {
            0 => 0,
            _ => random.u32(0..most),
        };
        Self {
            latency: Micros(20 << random.u32(0..10)),
            jitter: Micros(20 << random.u32(0..10)),
            spike_percent: percent(random, 20),
            spike: Micros(1_000 << random.u32(0..10)),
            lost_percent: percent(random, 10),
            doubled_percent: percent(random, 20),
            overtaken_percent: percent(random, 20),
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
