//! Between the words of the modules below: Raft's entries and messages, the log's records, the
//! wire's views. The modules do not know each other; here they meet.

pub mod map;

use super::directory::Whereabouts;
use super::transfer::{Chunk, ChunkAck};
use crate::base::{Bytes, GroupId, Index, NodeId, WallTime};
use crate::kv;
use crate::raft::{self, Configuration, EntryKind, MessageBody, Refusal, Standing};
use crate::wal;
use crate::wire::client::{self as wire_client, EXPECT_ABSENT, OperationKind};
use crate::wire::peer::{
    AppendHead, Entries, PeerBatchBuilder, PeerBody, PeerEntry, PeerMessage, PeerRefusal,
    StateMessage,
};

pub(super) fn record_of(entry: raft::Entry) -> wal::EntryRecord {
    let raft::Entry { term, index, timestamp, kind, payload } = entry;
    wal::EntryRecord { term, index, timestamp, kind: kind_number(kind), payload }
}

/// The entry a log record holds; an unknown kind is another version's and is refused by recovery.
pub(super) fn entry_of(record: wal::EntryRecord) -> Option<raft::Entry> {
    let wal::EntryRecord { term, index, timestamp, kind, payload } = record;
    Some(raft::Entry { term, index, timestamp, kind: kind_of(kind)?, payload })
}

/// The numbers of `EntryKind` in `schema/peer.fbs` and `schema/log.md`.
fn kind_number(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Command => 0,
        EntryKind::Noop => 1,
        EntryKind::Configuration => 2,
    }
}

fn kind_of(number: u8) -> Option<EntryKind> {
    match number {
        0 => Some(EntryKind::Command),
        1 => Some(EntryKind::Noop),
        2 => Some(EntryKind::Configuration),
        _ => None,
    }
}

/// Appends a Raft message to a peer's batch.
pub(super) fn push_message(batch: &mut PeerBatchBuilder, group: GroupId, message: &raft::Message) {
    let term = message.term;
    let body = match &message.body {
        MessageBody::Append { previous_index, previous_term, commit_index, entries } => {
            let (previous_index, previous_term) = (*previous_index, *previous_term);
            let head = AppendHead { previous_index, previous_term, commit_index: *commit_index };
            batch.push_append(group, term, head, entries.iter().map(peer_entry_of));
            return;
        }
        MessageBody::PreVote { last_index, last_term } => {
            PeerBody::PreVote { last_index: *last_index, last_term: *last_term }
        }
        MessageBody::PreVoteResponse { granted } => PeerBody::PreVoteResponse { granted: *granted },
        MessageBody::Vote { last_index, last_term, transfer } => {
            PeerBody::Vote { last_index: *last_index, last_term: *last_term, transfer: *transfer }
        }
        MessageBody::VoteResponse { granted } => PeerBody::VoteResponse { granted: *granted },
        &MessageBody::AppendResponse { match_index, provisional } => {
            PeerBody::AppendResponse { match_index, provisional }
        }
        &MessageBody::AppendReject { rejected_index, hint_index, hint_term, provisional } => {
            PeerBody::AppendReject { rejected_index, hint_index, hint_term, provisional }
        }
        MessageBody::Heartbeat { commit_index, round } => {
            PeerBody::Heartbeat { commit_index: *commit_index, round: *round }
        }
        &MessageBody::HeartbeatResponse { round, commit_index, promised, clock, provisional } => {
            PeerBody::HeartbeatResponse { round, commit_index, promised, clock, provisional }
        }
        MessageBody::ReadIndex { request } => PeerBody::ReadIndex { request: *request },
        MessageBody::ReadIndexResponse { request, index } => {
            PeerBody::ReadIndexResponse { request: *request, index: *index }
        }
        MessageBody::TimeoutNow => PeerBody::TimeoutNow,
        MessageBody::WhoLeads => PeerBody::WhoLeads,
        MessageBody::Propose { request, kind, payload } => {
            PeerBody::Propose { request: *request, kind: kind_number(*kind), payload }
        }
        MessageBody::ProposeResponse { request, result } => {
            PeerBody::ProposeResponse { request: *request, result: result.map_err(refusal_sent) }
        }
        &MessageBody::Survey { request } => PeerBody::Survey { request },
        &MessageBody::SurveyResponse { request, standing: Standing { certain, blank, last } } => {
            PeerBody::SurveyResponse { request, certain, blank, last }
        }
    };
    batch.push(group, term, &body);
}

fn peer_entry_of(entry: &raft::Entry) -> PeerEntry<'_> {
    PeerEntry {
        term: entry.term,
        timestamp: entry.timestamp.0,
        kind: kind_number(entry.kind),
        payload: &entry.payload,
    }
}

/// The numbers of `Refusal` in `schema/peer.fbs`.
fn refusal_sent(refusal: Refusal) -> PeerRefusal {
    let (reason, leader) = match refusal {
        Refusal::NotLeader { leader } => (1, leader),
        Refusal::Overloaded => (2, None),
        Refusal::NotReady => (3, None),
        Refusal::UnderWay => (4, None),
        Refusal::NoChange => (5, None),
        Refusal::Invalid => (6, None),
    };
    PeerRefusal { reason, leader }
}

/// A refusal that a newer node gives for a reason not known here is a refusal all the same.
fn refusal_received(refusal: PeerRefusal) -> Refusal {
    match refusal.reason {
        1 => Refusal::NotLeader { leader: refusal.leader },
        2 => Refusal::Overloaded,
        3 => Refusal::NotReady,
        4 => Refusal::UnderWay,
        5 => Refusal::NoChange,
        _ => Refusal::Invalid,
    }
}

/// What a peer's message is for the reactor.
pub(super) enum Incoming<'a> {
    /// For the group's Raft.
    Raft(raft::Message),
    /// A piece of a snapshot.
    SnapshotChunk(Chunk<'a>),
    /// An answer to such a piece.
    SnapshotAck(ChunkAck),
    /// Where the group is.
    Whereabouts(Whereabouts),
    /// Something for the group's leader to do.
    AdminRequest { request: u64, body: &'a [u8] },
    /// What became of it.
    AdminReply { request: u64, body: &'a [u8] },
    /// About the state that replicas hold.
    State(StateMessage),
    /// The shard map of an epoch.
    Map { epoch: u64, body: &'a [u8] },
    /// From the leader of another group.
    Movement { body: &'a [u8] },
}

/// Reads a peer's message; `None` if it, or an entry in it, is of a kind not known here, or an entry of an
/// index that cannot be.
pub(super) fn incoming(from: NodeId, to: NodeId, message: PeerMessage<'_>) -> Option<Incoming<'_>> {
    let term = message.term;
    let body = match message.body {
        PeerBody::SnapshotChunk { transfer, index, term, offset, last, data } => {
            let chunk = Chunk { transfer, index, term, offset, last, data };
            return Some(Incoming::SnapshotChunk(chunk));
        }
        PeerBody::SnapshotAck { transfer, next_offset, failed } => {
            return Some(Incoming::SnapshotAck(ChunkAck { transfer, next_offset, failed }));
        }
        PeerBody::Whereabouts { committed, leader, configuration } => {
            let configuration = Configuration::decode(configuration).ok()?;
            let told = Whereabouts { committed, configuration, term, leader };
            return Some(Incoming::Whereabouts(told));
        }
        PeerBody::AdminRequest { request, body } => {
            return Some(Incoming::AdminRequest { request, body });
        }
        PeerBody::AdminReply { request, body } => {
            return Some(Incoming::AdminReply { request, body });
        }
        PeerBody::State(message) => return Some(Incoming::State(message)),
        PeerBody::Map { epoch, body } => return Some(Incoming::Map { epoch, body }),
        PeerBody::Movement { body } => return Some(Incoming::Movement { body }),
        PeerBody::Unknown { .. } => return None,
        PeerBody::Append { previous_index, previous_term, commit_index, entries } => {
            MessageBody::Append {
                previous_index,
                previous_term,
                commit_index,
                entries: entries_of(previous_index, entries)?,
            }
        }
        PeerBody::PreVote { last_index, last_term } => {
            MessageBody::PreVote { last_index, last_term }
        }
        PeerBody::PreVoteResponse { granted } => MessageBody::PreVoteResponse { granted },
        PeerBody::Vote { last_index, last_term, transfer } => {
            MessageBody::Vote { last_index, last_term, transfer }
        }
        PeerBody::VoteResponse { granted } => MessageBody::VoteResponse { granted },
        PeerBody::AppendResponse { match_index, provisional } => {
            MessageBody::AppendResponse { match_index, provisional }
        }
        PeerBody::AppendReject { rejected_index, hint_index, hint_term, provisional } => {
            MessageBody::AppendReject { rejected_index, hint_index, hint_term, provisional }
        }
        PeerBody::Heartbeat { commit_index, round } => {
            MessageBody::Heartbeat { commit_index, round }
        }
        PeerBody::HeartbeatResponse { round, commit_index, promised, clock, provisional } => {
            MessageBody::HeartbeatResponse { round, commit_index, promised, clock, provisional }
        }
        PeerBody::ReadIndex { request } => MessageBody::ReadIndex { request },
        PeerBody::ReadIndexResponse { request, index } => {
            MessageBody::ReadIndexResponse { request, index }
        }
        PeerBody::TimeoutNow => MessageBody::TimeoutNow,
        PeerBody::WhoLeads => MessageBody::WhoLeads,
        PeerBody::Propose { request, kind, payload } => {
            let payload = Bytes::copy_of(payload);
            MessageBody::Propose { request, kind: kind_of(kind)?, payload }
        }
        PeerBody::ProposeResponse { request, result } => {
            MessageBody::ProposeResponse { request, result: result.map_err(refusal_received) }
        }
        PeerBody::Survey { request } => MessageBody::Survey { request },
        PeerBody::SurveyResponse { request, certain, blank, last } => {
            MessageBody::SurveyResponse { request, standing: Standing { certain, blank, last } }
        }
    };
    Some(Incoming::Raft(raft::Message { from, to, term, body }))
}

/// The follower's one copy of an entry: from the frame into the bytes that log and apply share.
fn entries_of(previous_index: Index, view: Entries<'_>) -> Option<Vec<raft::Entry>> {
    let mut index = previous_index;
    let mut entries = Vec::with_capacity(view.len());
    for entry in view {
        index = Index(index.0.checked_add(1)?);
        entries.push(raft::Entry {
            term: entry.term,
            index,
            timestamp: WallTime(entry.timestamp),
            kind: kind_of(entry.kind)?,
            payload: Bytes::copy_of(entry.payload),
        });
    }
    Some(entries)
}

/// The state machine's command for a client's write; `None` if its kind is not known here.
pub(super) fn command_of<'a>(operation: &wire_client::Operation<'a>) -> Option<kv::Command<'a>> {
    let (key, value) = (operation.key, operation.value);
    let command = match operation.kind {
        OperationKind::Put => kv::Operation::Put { key, value },
        OperationKind::Append => kv::Operation::Append { key, value },
        OperationKind::Delete => kv::Operation::Delete { key },
        OperationKind::CompareAndSet => {
            let expected = (operation.flags & EXPECT_ABSENT == 0).then_some(operation.expected);
            kv::Operation::CompareAndSet { key, expected, value }
        }
        OperationKind::Increment => {
            kv::Operation::Increment { key, delta: i64::from_le_bytes(value.try_into().ok()?) }
        }
        OperationKind::Compare => {
            let expected = (operation.flags & EXPECT_ABSENT == 0).then_some(operation.expected);
            kv::Operation::Compare { key, expected }
        }
        OperationKind::Get | OperationKind::Unknown(_) => return None,
    };
    Some(kv::Command { sequence: operation.sequence, operation: command })
}

/// A write's answer as the wire says it.
pub(super) fn row_of(answer: &kv::Answer) -> wire_client::Answer {
    wire_client::Answer {
        status: status_of(answer.status),
        number: answer.number,
        index: answer.place.index,
        position: answer.place.position,
    }
}

fn status_of(status: kv::Status) -> wire_client::Status {
    match status {
        kv::Status::Ok => wire_client::Status::Ok,
        kv::Status::NotFound => wire_client::Status::NotFound,
        kv::Status::CompareFailed => wire_client::Status::CompareFailed,
        kv::Status::WrongSlot => wire_client::Status::WrongSlot,
        kv::Status::NotANumber => wire_client::Status::NotANumber,
        kv::Status::Overflow => wire_client::Status::Overflow,
        kv::Status::ValueTooLarge => wire_client::Status::ValueTooLarge,
        kv::Status::Forgotten => wire_client::Status::Forgotten,
        kv::Status::WindowExceeded => wire_client::Status::WindowExceeded,
        kv::Status::UnknownCommand => wire_client::Status::UnknownCommand,
        kv::Status::Aborted => wire_client::Status::Aborted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{AlignedBuf, Term};
    use crate::wire::frame::scan_trusted;
    use crate::wire::peer::{AppendHead, PeerBatchBuilder, parse_peer_batch};

    /// Whether an append of one entry behind `previous` is taken from a frame.
    fn is_taken(previous: u64) -> bool {
        let (previous_index, term) = (Index(previous), Term(1));
        let head = AppendHead { previous_index, previous_term: term, commit_index: Index(0) };
        let entry = PeerEntry { term, timestamp: 0, kind: 0, payload: b"x" };
        let mut builder = PeerBatchBuilder::new();
        builder.push_append(GroupId(1), term, head, [entry].into_iter());
        let mut frame = Vec::new();
        builder.finish(&mut frame);
        let frame = AlignedBuf::copy_of(&frame);
        let frame = scan_trusted(&frame).expect("of our own encoding");
        let batch = parse_peer_batch(&frame).expect("of our own encoding");
        let message = batch.messages().next().expect("one");
        incoming(NodeId(2), NodeId(1), message).is_some()
    }

    #[test]
    fn entries_behind_the_last_index_there_is_are_not_taken() {
        assert!(is_taken(0) && is_taken(u64::MAX - 1));
        assert!(!is_taken(u64::MAX));
    }
}
