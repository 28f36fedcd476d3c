//! Which batches are durable, when their writes complete in any order.

use std::collections::VecDeque;

use super::BatchNumber;

/// The batches on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// This batch and all before it are durable; advanced by `complete`, never beyond `issued`.
    durable: BatchNumber,
    /// One mark per batch after `durable`, in order: whether its write completed. The first is false.
    complete: VecDeque<bool>,
}

impl Window {
    /// Nothing on its way, everything up to `durable` there.
    pub(super) fn new(durable: BatchNumber) -> Self {
        Self { durable, complete: VecDeque::new() }
    }

    /// The highest batch such that it and all before it are durable.
    pub(super) fn durable(&self) -> BatchNumber {
        self.durable
    }

    /// The last batch whose write was issued.
    pub(super) fn issued(&self) -> BatchNumber {
        BatchNumber(self.durable.0 + self.complete.len() as u64)
    }

    /// How many writes have not completed.
    pub(super) fn in_flight(&self) -> usize {
        self.complete.iter().filter(|&&complete| !complete).count()
    }

    /// Numbers the next batch, whose write is being issued.
    pub(super) fn issue(&mut self) -> BatchNumber {
        self.complete.push_back(false);
        self.issued()
    }

    /// The write of `batch` completed.
    pub(super) fn complete(&mut self, batch: BatchNumber) -> BatchNumber {
        assert!(
            batch > self.durable && batch <= self.issued(),
            "no write of batch {batch} is open"
        );
        let position = usize::try_from(batch.0 - self.durable.0 - 1).expect("within the window");
        assert!(!self.complete[position], "the write of batch {batch} completed twice");
        self.complete[position] = true;
        while self.complete.front() == Some(&true) {
            self.complete.pop_front();
            self.durable = self.durable.next();
        }
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unbroken_row_of_completions_is_durable() {
        let mut window = Window::new(BatchNumber(10));
        for expected in 11..=14 {
            assert_eq!(window.issue(), BatchNumber(expected));
        }
        assert_eq!(window.complete(BatchNumber(12)), BatchNumber(10));
        assert_eq!(window.complete(BatchNumber(13)), BatchNumber(10));
        assert_eq!(window.in_flight(), 2);
        assert_eq!(window.complete(BatchNumber(11)), BatchNumber(13));
        assert_eq!((window.in_flight(), window.issued()), (1, BatchNumber(14)));
        assert_eq!(window.complete(BatchNumber(14)), BatchNumber(14));
    }

    #[test]
    #[should_panic(expected = "completed twice")]
    fn a_write_completes_once() {
        let mut window = Window::new(BatchNumber(0));
        window.issue();
        window.issue();
        window.complete(BatchNumber(2));
        window.complete(BatchNumber(2));
    }
}
