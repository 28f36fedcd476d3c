//! Building a batch, message by message.

use flatbuffers::{UnionWIPOffset, WIPOffset};

use super::{PeerBody, PeerEntry, StateMessage};
use crate::base::limits::PEER_FRAME_BODY_MAX;
use crate::base::{GroupId, Index, Term};
use crate::wire::frame::{FrameEncoder, FrameKind};
use crate::wire::generated::peer as schema;

/// Gathers a turn's messages for one peer core; used again and again, it allocates nothing.
#[derive(Default)]
pub struct PeerBatchBuilder {
    /// The body under construction: the messages pushed so far are in it.
    encoder: FrameEncoder,
    /// Where the messages are in it; empty between frames.
    messages: Vec<WIPOffset<schema::Message<'static>>>,
    /// Where an append's entries are in it; empty between appends.
    entries: Vec<WIPOffset<schema::Entry<'static>>>,
}

/// Where an append stands in its group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendHead {
    /// The entry before the first.
    pub previous_index: Index,
    /// That entry's term.
    pub previous_term: Term,
    /// The leader's commit index.
    pub commit_index: Index,
}

impl PeerBatchBuilder {
    /// A builder with no messages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes the frame's body would have, or a few more.
    pub fn len_bytes(&self) -> usize {
        self.encoder.body_length() + self.messages.len() * size_of::<u32>() + BATCH_OVERHEAD
    }

    /// Whether a message with `entries` entries of `payload_bytes` bytes in all, or a snapshot chunk
    /// of as many, still fits the frame.
    pub fn fits(&self, entries: usize, payload_bytes: usize) -> bool {
        let message = MESSAGE_BYTES_MAX + entries * ENTRY_OVERHEAD + payload_bytes;
        self.len_bytes() + message <= PEER_FRAME_BODY_MAX
    }

    /// Adds a message.
    ///
    /// # Panics
    /// If the body is `Unknown`: nothing this program says.
    pub fn push(&mut self, group: GroupId, term: Term, body: &PeerBody<'_>) {
        if let PeerBody::Append { previous_index, previous_term, commit_index, entries } = body {
            let (previous_index, previous_term) = (*previous_index, *previous_term);
            let head = AppendHead { previous_index, previous_term, commit_index: *commit_index };
            return self.push_append(group, term, head, entries.clone());
        }
        let of_node = self.encode_of_node(body);
        let (body_type, body) = of_node.unwrap_or_else(|| self.encode_body(body));
        self.push_message(group, term, body_type, body);
    }

    /// Adds an `Append`; each payload is copied once, into the frame.
    pub fn push_append<'e>(
        &mut self,
        group: GroupId,
        term: Term,
        head: AppendHead,
        entries: impl Iterator<Item = PeerEntry<'e>>,
    ) {
        self.entries.clear();
        for entry in entries {
            let entry = self.encode_entry(&entry);
            self.entries.push(entry);
        }
        let body = self.encoder.body();
        let entries = (!self.entries.is_empty()).then(|| body.create_vector(&self.entries));
        let args = schema::AppendArgs {
            previous_index: head.previous_index.0,
            previous_term: head.previous_term.0,
            commit_index: head.commit_index.0,
            entries,
        };
        let append = schema::Append::create(body, &args).as_union_value();
        self.push_message(group, term, schema::Body::Append, append);
    }

    /// Appends the frame to `out`, if there are messages, and is empty again.
    ///
    /// # Panics
    /// If the frame is larger than a peer accepts: `fits` tells.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let body = self.encoder.body();
        let messages = Some(body.create_vector(&self.messages));
        let root = schema::PeerBatch::create(body, &schema::PeerBatchArgs { messages });
        let length = self.encoder.body_length();
        assert!(length + BATCH_OVERHEAD <= PEER_FRAME_BODY_MAX, "a batch of {length} bytes");
        self.encoder.finish(FrameKind::PeerBatch, root, out);
        self.messages.clear();
    }

    fn encode_entry(&mut self, entry: &PeerEntry<'_>) -> WIPOffset<schema::Entry<'static>> {
        let payload = (!entry.payload.is_empty()).then(|| self.encoder.bytes(entry.payload));
        let args = schema::EntryArgs {
            term: entry.term.0,
            timestamp: entry.timestamp,
            kind: schema::EntryKind(entry.kind),
            payload,
        };
        schema::Entry::create(self.encoder.body(), &args)
    }

    fn push_message(
        &mut self,
        group: GroupId,
        term: Term,
        body_type: schema::Body,
        body: WIPOffset<UnionWIPOffset>,
    ) {
        let (group, term) = (group.0, term.0);
        let args = schema::MessageArgs { group, term, body_type, body: Some(body) };
        let message = schema::Message::create(self.encoder.body(), &args);
        self.messages.push(message);
    }

    /// Encodes what nodes rather than replicas say to each other.
    fn encode_of_node(
        &mut self,
        body: &PeerBody<'_>,
    ) -> Option<(schema::Body, WIPOffset<UnionWIPOffset>)> {
        Some(match *body {
            PeerBody::Whereabouts { committed: (term, index), leader, configuration } => {
                let args = schema::WhereaboutsArgs {
                    committed_term: term.0,
                    committed_index: index.0,
                    leader: leader.0,
                    configuration: Some(self.encoder.bytes(configuration)),
                };
                let told = schema::Whereabouts::create(self.encoder.body(), &args);
                (schema::Body::Whereabouts, told.as_union_value())
            }
            PeerBody::AdminRequest { request, body } => {
                let args =
                    schema::AdminRequestArgs { request, body: Some(self.encoder.bytes(body)) };
                let asked = schema::AdminRequest::create(self.encoder.body(), &args);
                (schema::Body::AdminRequest, asked.as_union_value())
            }
            PeerBody::AdminReply { request, body } => {
                let args = schema::AdminReplyArgs { request, body: Some(self.encoder.bytes(body)) };
                let reply = schema::AdminReply::create(self.encoder.body(), &args);
                (schema::Body::AdminReply, reply.as_union_value())
            }
            PeerBody::Map { epoch, body } => {
                let args = schema::MapArgs { epoch, body: Some(self.encoder.bytes(body)) };
                let map = schema::Map::create(self.encoder.body(), &args);
                (schema::Body::Map, map.as_union_value())
            }
            PeerBody::Movement { body } => {
                let args = schema::MovementArgs { body: Some(self.encoder.bytes(body)) };
                let said = schema::Movement::create(self.encoder.body(), &args);
                (schema::Body::Movement, said.as_union_value())
            }
            PeerBody::SnapshotChunk { transfer, index, term, offset, last, data } => {
                let (index, term, data) = (index.0, term.0, Some(self.encoder.bytes(data)));
                let args = schema::SnapshotChunkArgs { transfer, index, term, offset, last, data };
                let chunk = schema::SnapshotChunk::create(self.encoder.body(), &args);
                (schema::Body::SnapshotChunk, chunk.as_union_value())
            }
            PeerBody::SnapshotAck { transfer, next_offset, failed } => {
                let args = schema::SnapshotAckArgs { transfer, next_offset, failed };
                let ack = schema::SnapshotAck::create(self.encoder.body(), &args);
                (schema::Body::SnapshotAck, ack.as_union_value())
            }
            _ => return self.encode_survey(body),
        })
    }

    /// The same for what replicas in doubt, or of one state or another, ask and are told.
    fn encode_survey(
        &mut self,
        body: &PeerBody<'_>,
    ) -> Option<(schema::Body, WIPOffset<UnionWIPOffset>)> {
        let fbb = self.encoder.body();
        Some(match *body {
            PeerBody::Survey { request } => {
                let survey = schema::Survey::create(fbb, &schema::SurveyArgs { request });
                (schema::Body::Survey, survey.as_union_value())
            }
            PeerBody::SurveyResponse { request, certain, blank, last } => {
                let (last_term, last_index) = last.unwrap_or_default();
                let args = schema::SurveyResponseArgs {
                    request,
                    certain,
                    blank,
                    leads: last.is_some(),
                    last_term: last_term.0,
                    last_index: last_index.0,
                };
                let response = schema::SurveyResponse::create(fbb, &args);
                (schema::Body::SurveyResponse, response.as_union_value())
            }
            PeerBody::State(message) => {
                let args = state_args(message);
                let said = schema::State::create(self.encoder.body(), &args);
                (schema::Body::State, said.as_union_value())
            }
            _ => return None,
        })
    }

    fn encode_body(&mut self, body: &PeerBody<'_>) -> (schema::Body, WIPOffset<UnionWIPOffset>) {
        let data = match body {
            PeerBody::Propose { payload, .. } => Some(self.encoder.bytes(payload)),
            _ => None,
        };
        let fbb = self.encoder.body();
        macro_rules! table {
            ($name:ident, $args:ident { $($field:ident: $value:expr),* $(,)? }) => {{
                let args = schema::$args { $($field: $value),* };
                (schema::Body::$name, schema::$name::create(fbb, &args).as_union_value())
            }};
        }
        match *body {
            PeerBody::PreVote { last_index, last_term } => {
                table!(PreVote, PreVoteArgs { last_index: last_index.0, last_term: last_term.0 })
            }
            PeerBody::PreVoteResponse { granted } => {
                table!(PreVoteResponse, PreVoteResponseArgs { granted: granted })
            }
            PeerBody::Vote { last_index, last_term, transfer } => table!(
                Vote,
                VoteArgs { last_index: last_index.0, last_term: last_term.0, transfer: transfer }
            ),
            PeerBody::VoteResponse { granted } => {
                table!(VoteResponse, VoteResponseArgs { granted: granted })
            }
            PeerBody::AppendResponse { match_index, provisional } => table!(
                AppendResponse,
                AppendResponseArgs { match_index: match_index.0, provisional: provisional }
            ),
            PeerBody::AppendReject { rejected_index, hint_index, hint_term, provisional } => {
                table!(
                    AppendReject,
                    AppendRejectArgs {
                        rejected_index: rejected_index.0,
                        hint_index: hint_index.0,
                        hint_term: hint_term.0,
                        provisional: provisional,
                    }
                )
            }
            PeerBody::Heartbeat { commit_index, round } => {
                table!(Heartbeat, HeartbeatArgs { commit_index: commit_index.0, round: round })
            }
            PeerBody::HeartbeatResponse { round, commit_index, promised, clock, provisional } => {
                table!(
                    HeartbeatResponse,
                    HeartbeatResponseArgs {
                        round: round,
                        commit_index: commit_index.0,
                        promised: promised.0,
                        clock: clock.0,
                        provisional: provisional,
                    }
                )
            }
            PeerBody::ReadIndex { request } => {
                table!(ReadIndex, ReadIndexArgs { request: request })
            }
            PeerBody::ReadIndexResponse { request, index } => table!(
                ReadIndexResponse,
                ReadIndexResponseArgs {
                    request: request,
                    index: index.unwrap_or_default().0,
                    known: index.is_some(),
                }
            ),
            PeerBody::TimeoutNow => table!(TimeoutNow, TimeoutNowArgs {}),
            PeerBody::WhoLeads => table!(WhoLeads, WhoLeadsArgs {}),
            PeerBody::Propose { request, kind, .. } => table!(
                Propose,
                ProposeArgs { request: request, kind: schema::EntryKind(kind), payload: data }
            ),
            PeerBody::ProposeResponse { request, result } => {
                let (term, index) = result.unwrap_or_default();
                let refusal = result.err();
                table!(
                    ProposeResponse,
                    ProposeResponseArgs {
                        request: request,
                        term: term.0,
                        index: index.0,
                        refusal: schema::Refusal(refusal.map_or(0, |refusal| refusal.reason)),
                        leader: refusal.and_then(|it| it.leader).unwrap_or_default().0,
                    }
                )
            }
            PeerBody::Append { .. }
            | PeerBody::Whereabouts { .. }
            | PeerBody::AdminRequest { .. }
            | PeerBody::AdminReply { .. }
            | PeerBody::SnapshotChunk { .. }
            | PeerBody::SnapshotAck { .. }
            | PeerBody::Survey { .. }
            | PeerBody::SurveyResponse { .. }
            | PeerBody::Map { .. }
            | PeerBody::Movement { .. }
            | PeerBody::State(_) => unreachable!("encoded by others"),
            PeerBody::Unknown { kind } => panic!("a message of unknown kind {kind} to send"),
        }
    }
}

fn state_args(message: StateMessage) -> schema::StateArgs {
    use schema::StateTopic as Topic;
    let (topic, index, hash) = match message {
        StateMessage::Ask { index } => (Topic::Ask, index, 0),
        StateMessage::Answer { index, hash } => (Topic::Answer, index, hash),
        StateMessage::Quarantined { index } => (Topic::Quarantined, index, 0),
        StateMessage::Verdict { index, hash } => (Topic::Verdict, index, hash),
        StateMessage::Undecided { index, hash } => (Topic::Undecided, index, hash),
        StateMessage::Wants => (Topic::Wants, Index::ZERO, 0),
    };
    schema::StateArgs { topic, index: index.0, hash }
}

/// Bytes of a batch's root table and vector beside its messages, at most.
const BATCH_OVERHEAD: usize = 64;

/// Bytes of a message with its body and their vtables, but for entries and data, at most.
const MESSAGE_BYTES_MAX: usize = 256;

/// Bytes of an entry beside its payload, at most: table, offset, vector length, padding, zero.
const ENTRY_OVERHEAD: usize = 64;
