//! `/group/<id>` of the administration port: who belongs to a group, and changing that.
//!
//! ```text
//! GET, POST ──▶ connection's task ──inbox──▶ core 0 ──mesh──▶ home core of the group: its reactor
//!                      ◀──────────────────────────────────────── answer, by ticket
//! ```
//!
//! | method | body | answer |
//! |---|---|---|
//! | GET | | the members, as the leader sees them |
//! | POST | an operation: `{"operation":"add","node":4}` | the same, the operation having begun |
//!
//! A refusal is a JSON object with `reason`, `message` and `remedy`; its code says whether asking
//! again may help (503), or not (400, 404, 409).

use std::collections::BTreeMap;

use glommio::channels::oneshot;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admin::{Answer, in_time, json, text};
use super::core::Core;
use super::inbox::{Event, Inbox};
use super::mesh::Letter;
use crate::base::{CoreId, GroupId};
use crate::placement::ShardMap;
use crate::reactor::{AdminAnswer, GroupAnswer, GroupOperation, GroupReason, GroupRefusal, Input};

/// Bytes of an operation, at most: a list of all nodes there can be fits many times.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Questions kept, at most: of those whose group's leader never answers the oldest goes first.
const PENDING_MAX: usize = 256;

/// Somebody asks something of a group.
pub(super) struct GroupQuery {
    pub(super) group: GroupId,
    pub(super) operation: GroupOperation,
    pub(super) answer: oneshot::Sender<GroupAnswer>,
}

/// Questions that wait for their answers, on core 0.
#[derive(Default)]
pub(super) struct Questions {
    pending: BTreeMap<u64, oneshot::Sender<GroupAnswer>>,
    tickets: u64,
}

impl Core {
    /// Passes a question to the group's home core.
    pub(super) fn ask_group(&mut self, query: GroupQuery) {
        let GroupQuery { group, operation, answer } = query;
        self.questions.tickets += 1;
        let ticket = self.questions.tickets;
        self.questions.pending.insert(ticket, answer);
        if self.questions.pending.len() > PENDING_MAX {
            self.questions.pending.pop_first();
        }
        let home = ShardMap::home_core(group, self.node.config.cores());
        if home == self.id {
            self.step(Input::Administer { ticket, group, operation });
        } else {
            self.mesh.send(home, Letter::Administer { ticket, group, operation });
        }
    }

    /// Passes an answer on to whoever asked.
    pub(super) fn answer_administrator(&mut self, answer: AdminAnswer) {
        if self.id != CoreId(0) {
            return self.mesh.send(CoreId(0), Letter::AdminAnswer(Box::new(answer)));
        }
        if let Some(asker) = self.questions.pending.remove(&answer.ticket) {
            // Whoever asked may have gone.
            let _ = asker.send(answer.answer);
        }
    }
}

/// Answers a request to `/group/<name>`.
pub(super) async fn group(name: &str, request: Request<Incoming>, inbox: &Inbox) -> Answer {
    let Ok(group) = name.parse::<GroupId>() else {
        return text(StatusCode::NOT_FOUND, format!("`{name}` is no group: try /group/1\n"));
    };
    let operation = match *request.method() {
        Method::GET => GroupOperation::Members {},
        Method::POST => match body_of::<GroupOperation>(request, "operation").await {
            Ok(operation) => operation,
            Err(cause) => return text(StatusCode::BAD_REQUEST, cause),
        },
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n"),
    };
    let (answer, answered) = oneshot::oneshot();
    inbox.push(Event::AskGroup(GroupQuery { group, operation, answer }));
    match in_time(answered).await {
        Some(answer) => respond(&answer),
        None => text(StatusCode::GATEWAY_TIMEOUT, "the group's leader does not answer\n"),
    }
}

/// What a request's body says, which is to be `what`.
pub(super) async fn body_of<T: DeserializeOwned>(
    request: Request<Incoming>,
    what: &str,
) -> Result<T, String> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let body = body.collect().await.map_err(|error| format!("{error}\n"))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("no {what}: {error}\n"))
}

/// What was asked for, or why not.
pub(super) fn respond<T: Serialize>(answer: &Result<T, GroupRefusal>) -> Answer {
    match answer {
        Ok(value) => json(StatusCode::OK, Some(value)),
        Err(refusal) => json(code_of(refusal.reason), Some(refusal)),
    }
}

/// What says to programs whether asking again may help.
fn code_of(reason: GroupReason) -> StatusCode {
    match reason {
        GroupReason::UnknownGroup => StatusCode::NOT_FOUND,
        GroupReason::UnknownNode | GroupReason::Invalid => StatusCode::BAD_REQUEST,
        GroupReason::NoLeader | GroupReason::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        GroupReason::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
        GroupReason::NodeDown
        | GroupReason::NodeUp
        | GroupReason::UnderWay
        | GroupReason::NoChange
        | GroupReason::NotAMember
        | GroupReason::NotALearner
        | GroupReason::NotAVoter
        | GroupReason::LastVoter => StatusCode::CONFLICT,
    }
}
