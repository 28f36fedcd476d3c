//! A batch, read in place.

use flatbuffers::{ForwardsUOffset, Vector, VectorIter};

use super::{PeerBody, PeerEntry, PeerMessage, PeerRefusal, StateMessage};
use crate::base::{GroupId, Index, Micros, NodeId, Term, Time};
use crate::wire::WireError;
use crate::wire::error::verified_root;
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::generated::peer as schema;

type Tables<'a, T> = Vector<'a, ForwardsUOffset<T>>;
type TablesIter<'a, T> = VectorIter<'a, ForwardsUOffset<T>>;

/// One turn's messages.
#[derive(Clone, Copy)]
pub struct PeerBatchView<'a> {
    messages: Tables<'a, schema::Message<'a>>,
}

impl<'a> PeerBatchView<'a> {
    /// How many messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages, in the order they were said.
    pub fn messages(&self) -> Messages<'a> {
        Messages(self.messages.iter())
    }
}

/// The messages of a batch, in order.
#[derive(Clone)]
pub struct Messages<'a>(TablesIter<'a, schema::Message<'a>>);

impl<'a> Iterator for Messages<'a> {
    type Item = PeerMessage<'a>;

    fn next(&mut self) -> Option<PeerMessage<'a>> {
        let message = self.0.next()?;
        let (group, term) = (GroupId(message.group()), Term(message.term()));
        Some(PeerMessage { group, term, body: body_of(&message) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// The entries of an append, in order.
#[derive(Clone, Default)]
pub struct Entries<'a>(Option<TablesIter<'a, schema::Entry<'a>>>);

impl<'a> Iterator for Entries<'a> {
    type Item = PeerEntry<'a>;

    fn next(&mut self) -> Option<PeerEntry<'a>> {
        let entry = self.0.as_mut()?.next()?;
        Some(PeerEntry {
            term: Term(entry.term()),
            timestamp: entry.timestamp(),
            kind: entry.kind().0,
            payload: bytes_of(entry.payload()),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.as_ref().map_or((0, Some(0)), Iterator::size_hint)
    }
}

impl ExactSizeIterator for Entries<'_> {}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

fn bytes_of(bytes: Option<Vector<'_, u8>>) -> &[u8] {
    bytes.map_or(&[], |bytes| bytes.bytes())
}

/// Reads a turn's messages.
///
/// # Errors
/// If the frame is no batch, breaks the schema, or unfolds into more payload than it has bytes.
pub fn parse_peer_batch<'a>(frame: &Frame<'a>) -> Result<PeerBatchView<'a>, WireError> {
    let body = frame.body_of(FrameKind::PeerBatch)?;
    let batch = verified_root::<schema::PeerBatch<'_>>(body)?;
    check_payloads(&batch, body.len())?;
    Ok(PeerBatchView { messages: batch.messages() })
}

/// Entries and proposals are copied out of a batch, each its payload: many that share one would grow in memory.
fn check_payloads(batch: &schema::PeerBatch<'_>, present: usize) -> Result<(), WireError> {
    let messages = || batch.messages().iter();
    let appends = messages().filter_map(|message| message.body_as_append());
    let entries = appends.filter_map(|append| append.entries()).flatten();
    let appended = entries.map(|entry| bytes_of(entry.payload()).len());
    let proposals = messages().filter_map(|message| message.body_as_propose());
    let proposed = proposals.map(|propose| bytes_of(propose.payload()).len());
    let claimed = appended.chain(proposed).sum();
    if claimed <= present { Ok(()) } else { Err(WireError::DataLength { claimed, present }) }
}

/// Verified: what the body's type says is there.
const THERE: &str = "the verifier requires the body that its type names";

fn body_of<'a>(message: &schema::Message<'a>) -> PeerBody<'a> {
    match message.body_type() {
        schema::Body::PreVote => {
            let vote = message.body_as_pre_vote().expect(THERE);
            let (last_index, last_term) = (Index(vote.last_index()), Term(vote.last_term()));
            PeerBody::PreVote { last_index, last_term }
        }
        schema::Body::PreVoteResponse => {
            let response = message.body_as_pre_vote_response().expect(THERE);
            PeerBody::PreVoteResponse { granted: response.granted() }
        }
        schema::Body::Vote => {
            let vote = message.body_as_vote().expect(THERE);
            let (last_index, last_term) = (Index(vote.last_index()), Term(vote.last_term()));
            PeerBody::Vote { last_index, last_term, transfer: vote.transfer() }
        }
        schema::Body::VoteResponse => {
            let response = message.body_as_vote_response().expect(THERE);
            PeerBody::VoteResponse { granted: response.granted() }
        }
        schema::Body::Append => append_of(&message.body_as_append().expect(THERE)),
        schema::Body::AppendResponse => {
            let response = message.body_as_append_response().expect(THERE);
            let (match_index, provisional) =
                (Index(response.match_index()), response.provisional());
            PeerBody::AppendResponse { match_index, provisional }
        }
        schema::Body::AppendReject => {
            let reject = message.body_as_append_reject().expect(THERE);
            PeerBody::AppendReject {
                rejected_index: Index(reject.rejected_index()),
                hint_index: Index(reject.hint_index()),
                hint_term: Term(reject.hint_term()),
                provisional: reject.provisional(),
            }
        }
        schema::Body::Heartbeat => {
            let beat = message.body_as_heartbeat().expect(THERE);
            PeerBody::Heartbeat { commit_index: Index(beat.commit_index()), round: beat.round() }
        }
        schema::Body::HeartbeatResponse => {
            let response = message.body_as_heartbeat_response().expect(THERE);
            let commit_index = Index(response.commit_index());
            let (round, promised) = (response.round(), Micros(response.promised()));
            let (clock, provisional) = (Time(response.clock()), response.provisional());
            PeerBody::HeartbeatResponse { round, commit_index, promised, clock, provisional }
        }
        schema::Body::ReadIndex => {
            let read = message.body_as_read_index().expect(THERE);
            PeerBody::ReadIndex { request: read.request() }
        }
        schema::Body::ReadIndexResponse => {
            let response = message.body_as_read_index_response().expect(THERE);
            let index = response.known().then(|| Index(response.index()));
            PeerBody::ReadIndexResponse { request: response.request(), index }
        }
        schema::Body::Survey => {
            let survey = message.body_as_survey().expect(THERE);
            PeerBody::Survey { request: survey.request() }
        }
        schema::Body::SurveyResponse => {
            survey_response_of(&message.body_as_survey_response().expect(THERE))
        }
        schema::Body::TimeoutNow => PeerBody::TimeoutNow,
        schema::Body::WhoLeads => PeerBody::WhoLeads,
        schema::Body::Propose => {
            let propose = message.body_as_propose().expect(THERE);
            let (request, kind) = (propose.request(), propose.kind().0);
            PeerBody::Propose { request, kind, payload: bytes_of(propose.payload()) }
        }
        schema::Body::ProposeResponse => {
            let response = message.body_as_propose_response().expect(THERE);
            PeerBody::ProposeResponse { request: response.request(), result: result_of(&response) }
        }
        _ => body_of_node(message),
    }
}

/// What nodes rather than replicas say to each other.
fn body_of_node<'a>(message: &schema::Message<'a>) -> PeerBody<'a> {
    match message.body_type() {
        schema::Body::SnapshotChunk => chunk_of(&message.body_as_snapshot_chunk().expect(THERE)),
        schema::Body::SnapshotAck => {
            let ack = message.body_as_snapshot_ack().expect(THERE);
            PeerBody::SnapshotAck {
                transfer: ack.transfer(),
                next_offset: ack.next_offset(),
                failed: ack.failed(),
            }
        }
        schema::Body::Whereabouts => {
            let told = message.body_as_whereabouts().expect(THERE);
            let committed = (Term(told.committed_term()), Index(told.committed_index()));
            let (leader, configuration) = (NodeId(told.leader()), bytes_of(told.configuration()));
            PeerBody::Whereabouts { committed, leader, configuration }
        }
        schema::Body::AdminRequest => {
            let asked = message.body_as_admin_request().expect(THERE);
            PeerBody::AdminRequest { request: asked.request(), body: bytes_of(asked.body()) }
        }
        schema::Body::AdminReply => {
            let reply = message.body_as_admin_reply().expect(THERE);
            PeerBody::AdminReply { request: reply.request(), body: bytes_of(reply.body()) }
        }
        schema::Body::Map => {
            let map = message.body_as_map().expect(THERE);
            PeerBody::Map { epoch: map.epoch(), body: bytes_of(map.body()) }
        }
        schema::Body::Movement => {
            let said = message.body_as_movement().expect(THERE);
            PeerBody::Movement { body: bytes_of(said.body()) }
        }
        schema::Body::State => state_of(&message.body_as_state().expect(THERE)),
        other => PeerBody::Unknown { kind: other.0 },
    }
}

fn survey_response_of<'a>(response: &schema::SurveyResponse<'_>) -> PeerBody<'a> {
    let last = (Term(response.last_term()), Index(response.last_index()));
    PeerBody::SurveyResponse {
        request: response.request(),
        certain: response.certain(),
        blank: response.blank(),
        last: response.leads().then_some(last),
    }
}

fn state_of<'a>(said: &schema::State<'_>) -> PeerBody<'a> {
    use schema::StateTopic as Topic;
    let (index, hash) = (Index(said.index()), said.hash());
    PeerBody::State(match said.topic() {
        Topic::Ask => StateMessage::Ask { index },
        Topic::Answer => StateMessage::Answer { index, hash },
        Topic::Quarantined => StateMessage::Quarantined { index },
        Topic::Verdict => StateMessage::Verdict { index, hash },
        Topic::Undecided => StateMessage::Undecided { index, hash },
        Topic::Wants => StateMessage::Wants,
        // Something that only newer nodes know.
        _ => return PeerBody::Unknown { kind: schema::Body::State.0 },
    })
}

fn result_of(response: &schema::ProposeResponse<'_>) -> Result<(Term, Index), PeerRefusal> {
    match response.refusal().0 {
        0 => Ok((Term(response.term()), Index(response.index()))),
        reason => {
            let leader = Some(NodeId(response.leader())).filter(|&node| node != NodeId(0));
            Err(PeerRefusal { reason, leader })
        }
    }
}

fn append_of<'a>(append: &schema::Append<'a>) -> PeerBody<'a> {
    PeerBody::Append {
        previous_index: Index(append.previous_index()),
        previous_term: Term(append.previous_term()),
        commit_index: Index(append.commit_index()),
        entries: Entries(append.entries().map(|entries| entries.iter())),
    }
}

fn chunk_of<'a>(chunk: &schema::SnapshotChunk<'a>) -> PeerBody<'a> {
    PeerBody::SnapshotChunk {
        transfer: chunk.transfer(),
        index: Index(chunk.index()),
        term: Term(chunk.term()),
        offset: chunk.offset(),
        last: chunk.last(),
        data: bytes_of(chunk.data()),
    }
}
