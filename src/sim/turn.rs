//! A turn of one core: it takes in what waits, its reactor works, and what that asks is done, one thing
//! after the other.

use std::rc::Rc;

use super::disk::Disk;
use super::letter::Letter;
use super::network::Wire;
use super::process::{Process, Role};
use super::surroundings::{Surroundings, wire_of};
use crate::base::{AlignedBuf, CoreId, GroupId, Incarnation, Micros, NodeId, PeerCore, Time};
use crate::placement::ShardMap;
use crate::reactor::{
    AdminAnswer, Close, CoreMessage, CoreSend, Effects, Input, LogRead, LogWrite, MapWrite,
    PeerSend, Reply, SnapshotWrite,
};
use crate::wal::SegmentId;
use crate::wire::frame::{Scan, scan};

/// How long a turn takes, at most, µs.
const TURN_MAX: u64 = 50;

/// One thing that a reactor asks.
#[derive(Debug)]
enum Effect {
    Peer(PeerSend),
    Write(LogWrite),
    Read(LogRead),
    Core(CoreSend),
    Reply(Reply),
    Close(Close),
    Prepare(SegmentId),
    Hurry(SegmentId),
    RemoveSegment(SegmentId),
    Snapshot(SnapshotWrite),
    RemoveSnapshots(GroupId),
    Answer(AdminAnswer),
    KeepMap(MapWrite),
    GoByMap(Rc<ShardMap>),
}

/// Where a core's effects go.
pub(super) struct Reach<'a> {
    pub(super) out: &'a mut Surroundings,
    pub(super) disk: &'a mut Disk,
    pub(super) answers: &'a mut Vec<AdminAnswer>,
    /// By the node's clock.
    pub(super) now: Time,
}

impl Process {
    /// One turn. Returns whether the process lives on.
    pub(super) fn turn(&mut self, core: CoreId, reach: &mut Reach<'_>) -> bool {
        let now = reach.now;
        let own = self.core(core);
        own.waking = false;
        let letters = std::mem::take(&mut own.inbox);
        let mut stepped = std::mem::take(&mut own.stepped) || !letters.is_empty();
        for letter in letters {
            self.open_letter(core, reach, letter);
        }
        let reactor = &mut self.core(core).reactor;
        if reactor.deadline() <= now {
            reactor.step(now, Input::Tick);
            stepped = true;
        }
        if !stepped {
            return true;
        }
        let mut effects = Effects::default();
        reactor.finish_turn(now, &mut effects);
        reactor.check_invariants();
        self.keep_busy();
        let took = Micros(reach.out.random.u64(1..=TURN_MAX));
        self.core(core).busy_until = reach.out.now + took;
        for effect in in_some_order(effects, &mut reach.out.random) {
            if self.meets_its_doom() {
                return false;
            }
            self.perform(core, reach, effect);
        }
        let own = self.core(core);
        if !own.inbox.is_empty() || own.reactor.deadline() == Time(0) {
            self.wake(reach.out, core);
        }
        true
    }

    fn open_letter(&mut self, core: CoreId, reach: &mut Reach<'_>, letter: Letter) {
        let now = reach.now;
        let reactor = &mut self.core(core).reactor;
        match letter {
            Letter::Input(input) => reactor.step(now, input),
            Letter::Disk(done) => {
                let input = done.input().expect("who dies of it takes no turn");
                reactor.step(now, input);
            }
            Letter::Client { connection, frame } => {
                reactor.step(now, Input::ClientFrame { connection, frame: &frame });
            }
            Letter::Batch { from, bytes } => {
                for_each_frame(&bytes, |frame| {
                    reactor.step(now, Input::PeerFrame { from, frame });
                });
            }
            Letter::Core { from, message } => {
                reactor.step(now, Input::CoreMessage { from, message });
            }
            Letter::NodeUp { node, incarnation, first, smp } => {
                self.node_up(core, now, (node, incarnation), (first, smp));
            }
            Letter::NodeDown { node } => self.node_down(core, reach, node),
            Letter::LinkUp { peer, wire, incarnation } => {
                self.link_answered(core, reach, peer, (wire, incarnation));
            }
        }
    }

    fn node_up(
        &mut self,
        core: CoreId,
        now: Time,
        (node, incarnation): (NodeId, Incarnation),
        (first, smp): (bool, u16),
    ) {
        let own = self.core(core);
        own.peers.insert(node, super::links::PeerNode { up: true, incarnation, smp });
        own.reactor.step(now, Input::NodeUp { node, incarnation, first, smp });
    }

    fn node_down(&mut self, core: CoreId, reach: &mut Reach<'_>, node: NodeId) {
        let own = self.core(core);
        own.peers.entry(node).or_default().up = false;
        let outgoing = self.wires(|role| match *role {
            Role::LinkCalling(its, peer) | Role::LinkOut(its, peer) => {
                its == core && peer.node == node
            }
            _ => false,
        });
        for wire in outgoing {
            self.close(reach.out, reach.now, wire);
        }
        let own = self.core(core);
        for (peer, link) in &mut own.links {
            if peer.node == node {
                link.call.soon();
            }
        }
        own.reactor.step(reach.now, Input::NodeDown { node });
    }

    fn link_answered(
        &mut self,
        core: CoreId,
        reach: &mut Reach<'_>,
        peer: PeerCore,
        (wire, incarnation): (Wire, Incarnation),
    ) {
        if !self.has(wire) {
            return;
        }
        self.core(core).reactor.step(reach.now, Input::PeerLinkReset { peer });
        if !self.link_up(reach.out, core, peer, (wire, incarnation)) {
            self.close(reach.out, reach.now, wire);
        }
    }

    fn perform(&mut self, core: CoreId, reach: &mut Reach<'_>, effect: Effect) {
        let (now, true_now) = (reach.now, reach.out.now);
        match effect {
            Effect::Peer(send) => self.send_to_peer(reach.out, (now, core), send),
            Effect::Core(CoreSend { to, message }) => self.send_to_core(core, reach, to, message),
            Effect::Reply(Reply { connection, bytes }) => {
                self.send_bytes(reach.out, wire_of(connection), &bytes);
            }
            Effect::Close(Close { connection, .. }) => {
                self.close(reach.out, now, wire_of(connection));
            }
            Effect::Answer(answer) => reach.answers.push(answer),
            Effect::KeepMap(write) => reach.disk.keep_map(true_now, write),
            Effect::GoByMap(map) => self.go_by_map(reach.out, (now, core), map),
            Effect::Write(write) => {
                reach.out.trace.note_bytes(&write.bytes);
                reach.disk.write(true_now, core, write);
            }
            Effect::Read(read) => reach.disk.read(true_now, core, read),
            Effect::Prepare(segment) => reach.disk.prepare(true_now, core, segment),
            Effect::Hurry(segment) => reach.disk.hurry(true_now, core, segment),
            Effect::RemoveSegment(segment) => reach.disk.remove_segment(core, segment),
            Effect::Snapshot(write) => {
                reach.out.trace.note_bytes(&write.bytes);
                reach.disk.snapshot(true_now, core, write);
            }
            Effect::RemoveSnapshots(group) => reach.disk.remove_snapshots(true_now, core, group),
        }
    }

    fn send_to_core(
        &mut self,
        core: CoreId,
        reach: &mut Reach<'_>,
        to: CoreId,
        message: CoreMessage,
    ) {
        match message {
            CoreMessage::Request { connection, frame } if self.mesh_full => {
                let input = Input::NotForwarded { connection, frame: &frame };
                let own = self.core(core);
                own.reactor.step(reach.now, input);
                own.stepped = true;
                self.wake(reach.out, core);
            }
            message => {
                let place = self.place(to);
                reach.out.post(place, Letter::Core { from: core, message });
            }
        }
    }
}

/// What a turn asks, mostly in the order in which `io` does it. No order between kinds is promised, so
/// any must do.
fn in_some_order(effects: Effects, random: &mut fastrand::Rng) -> Vec<Effect> {
    // A connection is closed after what is still to be said on it.
    let replies = effects.replies.into_iter().map(Effect::Reply);
    let mut kinds: [Vec<Effect>; 13] = [
        effects.peer_sends.into_iter().map(Effect::Peer).collect(),
        effects.log_writes.into_iter().map(Effect::Write).collect(),
        effects.log_reads.into_iter().map(Effect::Read).collect(),
        effects.core_sends.into_iter().map(Effect::Core).collect(),
        replies.chain(effects.closes.into_iter().map(Effect::Close)).collect(),
        effects.prepare_segments.into_iter().map(|it| Effect::Prepare(it.segment)).collect(),
        effects.hurried_segment.into_iter().map(Effect::Hurry).collect(),
        effects.segment_removals.into_iter().map(Effect::RemoveSegment).collect(),
        effects.snapshot_writes.into_iter().map(Effect::Snapshot).collect(),
        effects.snapshot_removals.into_iter().map(Effect::RemoveSnapshots).collect(),
        effects.admin_answers.into_iter().map(Effect::Answer).collect(),
        effects.map_write.into_iter().map(Effect::KeepMap).collect(),
        effects.map_adopted.into_iter().map(Effect::GoByMap).collect(),
    ];
    if random.u32(0..4) == 0 {
        random.shuffle(&mut kinds);
    }
    kinds.into_iter().flatten().collect()
}

/// Calls `handle` with each whole frame of a batch, aligned as a reactor wants it.
fn for_each_frame(bytes: &[u8], mut handle: impl FnMut(&[u8])) {
    let buffer = AlignedBuf::copy_of(bytes);
    let mut rest: &[u8] = &buffer;
    while !rest.is_empty() {
        let Ok(Scan::Frame(frame)) = scan(rest, usize::MAX) else {
            panic!("not a whole frame: {} bytes left", rest.len());
        };
        handle(frame.bytes);
        rest = &rest[frame.bytes.len()..];
    }
}
