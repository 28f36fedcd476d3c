//! What is to happen when: virtual time moves from one event to the next, however far that is.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::base::Time;

/// Events by time; of equal times in the order they were planned.
#[derive(Debug)]
pub(super) struct Schedule<E> {
    heap: BinaryHeap<Planned<E>>,
    /// Events planned so far: breaks ties.
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> Schedule<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    /// Plans `event`.
    pub(super) fn plan(&mut self, at: Time, event: E) {
        self.planned += 1;
        self.heap.push(Planned { at, number: self.planned, event });
    }

    /// Takes the next event.
    pub(super) fn pop(&mut self) -> Option<(Time, E)> {
        self.heap.pop().map(|planned| (planned.at, planned.event))
    }

    /// When the next event is.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|planned| planned.at)
    }
}

impl<E> Ord for Planned<E> {
    /// The earliest is the greatest: a heap gives out the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_planning() {
        let mut schedule = Schedule::new();
        for (at, event) in [(5, "late"), (1, "first"), (3, "a"), (3, "b"), (3, "c")] {
            schedule.plan(Time(at), event);
        }
        assert_eq!(schedule.next_at(), Some(Time(1)));
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop()).map(|it| it.1).collect();
        assert_eq!(order, ["first", "a", "b", "c", "late"]);
    }
}
