//! What a step of a movement comes to, before it is done: so that who decides touches nothing else.

use crate::base::{AlignedBuf, GroupId, Time};
use crate::wire::movement::{Message, Order};

/// What is to be done for one group.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Doings {
    /// For other groups' leaders: each with the group.
    pub messages: Vec<(GroupId, AlignedBuf)>,
    /// For the group's own log: frames.
    pub orders: Vec<AlignedBuf>,
    /// Groups whose leader does not answer.
    pub inquiries: Vec<GroupId>,
    /// When there is more to do, even if nothing happens until then.
    pub wake_at: Option<Time>,
}

impl Doings {
    /// Says something to the leader of `group`.
    pub(super) fn say(&mut self, group: GroupId, message: &Message<'_>) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.messages.push((group, AlignedBuf::copy_of(&frame)));
    }

    /// Has the group's log say something.
    pub(super) fn order(&mut self, order: &Order<'_>) {
        let mut frame = Vec::new();
        order.encode(&mut frame);
        self.orders.push(AlignedBuf::copy_of(&frame));
    }

    /// Asks where a group is.
    pub(super) fn inquire(&mut self, group: GroupId) {
        if !self.inquiries.contains(&group) {
            self.inquiries.push(group);
        }
    }

    /// There is more to do at `at`.
    pub(super) fn wake(&mut self, at: Time) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Bytes of all that is to be said.
    pub(super) fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|(_, frame)| frame.len());
        messages.chain(self.orders.iter().map(|frame| frame.len())).sum()
    }
}
