//! Replies: built by servers, read by clients.

use flatbuffers::{Vector, VectorIter};

use super::{Answer, Outcome, Status};
use crate::base::limits::{CLIENT_FRAME_BODY_MAX, FRAME_COMMANDS_MAX, VALUE_MAX};
use crate::base::{GroupId, NodeId, SessionId};
use crate::wire::WireError;
use crate::wire::error::verified_root;
use crate::wire::frame::{Frame, FrameEncoder, FrameKind};
use crate::wire::generated::client as schema;

/// Bytes of values in one reply, at most; what does not fit is answered by `Status::ReplyFull`.
pub const REPLY_VALUES_MAX: usize =
    CLIENT_FRAME_BODY_MAX - FRAME_COMMANDS_MAX * size_of::<schema::Answer>() - DETAIL_MAX - 256;

/// Bytes of a refusal's explanation, at most; a longer one is cut.
const DETAIL_MAX: usize = 1024;

const _: () = assert!(VALUE_MAX <= REPLY_VALUES_MAX, "any value fits a reply of its own");

/// What a reply says of its frame as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The client's own number, from the request.
    pub request: u64,
    /// The request's group.
    pub group: GroupId,
    /// The fate of the whole frame.
    pub outcome: Outcome,
    /// The session opened; else zero.
    pub session: SessionId,
    /// Who leads the group, if the outcome is `NotLeader` and it is known; else zero.
    pub leader: NodeId,
    /// The epoch of the sender's shard map.
    pub epoch: u64,
}

/// Gathers answers and encodes them as one frame; used again and again, it allocates nothing.
#[derive(Default)]
pub struct ReplyBuilder {
    encoder: FrameEncoder,
    /// At most `FRAME_COMMANDS_MAX`.
    answers: Vec<schema::Answer>,
    /// The values read, one after another: at most `REPLY_VALUES_MAX` bytes.
    data: Vec<u8>,
}

impl ReplyBuilder {
    /// A builder with no answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many answers it holds.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Adds the next command's answer, with the value it read. A value that does not fit any more is
    /// left out and the answer says so: `Status::ReplyFull`.
    ///
    /// # Panics
    /// If there are more answers than a request can hold commands.
    pub fn push(&mut self, answer: Answer, value: Option<&[u8]>) {
        assert!(self.answers.len() < FRAME_COMMANDS_MAX, "more answers than commands");
        let value = value.unwrap_or_default();
        if self.data.len() + value.len() > REPLY_VALUES_MAX {
            let full = Answer { status: Status::ReplyFull, ..answer };
            self.answers.push(full.to_schema(0));
            return;
        }
        self.answers.push(answer.to_schema(value.len()));
        self.data.extend_from_slice(value);
    }

    /// Appends a `Reply` frame with the answers to `out`, and is empty again.
    pub fn encode(&mut self, head: &ReplyHead, out: &mut Vec<u8>) {
        self.encode_with(head, None, out);
    }

    /// Appends a `Reply` frame without answers to `out`: what became of the whole frame, and in
    /// `detail` why, for people. Answers gathered are dropped.
    pub fn encode_refusal(&mut self, head: &ReplyHead, detail: Option<&str>, out: &mut Vec<u8>) {
        self.clear();
        self.encode_with(head, detail, out);
    }

    /// Drops the answers; the storage stays.
    pub fn clear(&mut self) {
        self.answers.clear();
        self.data.clear();
    }

    fn encode_with(&mut self, head: &ReplyHead, detail: Option<&str>, out: &mut Vec<u8>) {
        let data = (!self.data.is_empty()).then(|| self.encoder.bytes(&self.data));
        let body = self.encoder.body();
        let answers = (!self.answers.is_empty()).then(|| body.create_vector(&self.answers));
        let detail = detail.map(|text| body.create_string(cut(text)));
        let args = schema::ReplyArgs {
            request: head.request,
            session: head.session.0,
            leader: head.leader.0,
            epoch: head.epoch,
            group: head.group.0,
            outcome: schema::Outcome(head.outcome.number()),
            answers,
            data,
            detail,
        };
        let root = schema::Reply::create(body, &args);
        self.encoder.finish(FrameKind::Reply, root, out);
        self.clear();
    }
}

/// The longest beginning of `text` that is within `DETAIL_MAX`.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_MAX)]
}

/// A reply, read in place.
#[derive(Clone, Copy, Debug)]
pub struct ReplyView<'a> {
    /// What it says of the whole frame.
    pub head: ReplyHead,
    /// Why a frame was refused, for people; else empty.
    pub detail: &'a str,
    /// At most `FRAME_COMMANDS_MAX`.
    answers: Option<Vector<'a, schema::Answer>>,
    /// As many bytes as the answers' lengths add up to.
    data: &'a [u8],
}

impl<'a> ReplyView<'a> {
    /// How many answers: as many as the request had commands, if the outcome is `Ok`.
    pub fn len(&self) -> usize {
        self.answers.map_or(0, |answers| answers.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answers in the commands' order, each with the value it read or nothing.
    pub fn answers(&self) -> Answers<'a> {
        Answers { rows: self.answers.unwrap_or_default().iter(), data: self.data }
    }
}

/// A reply's answers with the values read.
#[derive(Clone, Debug)]
pub struct Answers<'a> {
    /// Those to come.
    rows: VectorIter<'a, schema::Answer>,
    /// Their values: as many bytes as the rows' lengths add up to.
    data: &'a [u8],
}

impl<'a> Iterator for Answers<'a> {
    type Item = (Answer, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        let (value, rest) = self.data.split_at(row.value_length() as usize);
        self.data = rest;
        Some((Answer::from_schema(row), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rows.len(), Some(self.rows.len()))
    }
}

impl ExactSizeIterator for Answers<'_> {}

/// Reads a server's reply.
///
/// # Errors
/// If the frame is no reply, or breaks the schema or a limit.
pub fn parse_reply<'a>(frame: &Frame<'a>) -> Result<ReplyView<'a>, WireError> {
    let reply = verified_root::<schema::Reply<'_>>(frame.body_of(FrameKind::Reply)?)?;
    let data = reply.data().map_or(&[][..], |data| data.bytes());
    check_answers(reply.answers(), data)?;
    Ok(ReplyView {
        head: ReplyHead {
            request: reply.request(),
            group: GroupId(reply.group()),
            outcome: Outcome::from_number(reply.outcome().0),
            session: SessionId(reply.session()),
            leader: NodeId(reply.leader()),
            epoch: reply.epoch(),
        },
        detail: reply.detail().unwrap_or_default(),
        answers: reply.answers(),
        data,
    })
}

fn check_answers(
    answers: Option<Vector<'_, schema::Answer>>,
    data: &[u8],
) -> Result<(), WireError> {
    let (count, max) = (answers.map_or(0, |answers| answers.len()), FRAME_COMMANDS_MAX);
    if count > max {
        return Err(WireError::TooMany { what: "answers", count, max });
    }
    let lengths = answers.iter().flatten().map(|answer| answer.value_length() as usize);
    let (claimed, present) = (lengths.sum(), data.len());
    if claimed == present { Ok(()) } else { Err(WireError::DataLength { claimed, present }) }
}
