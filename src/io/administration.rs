//! `/group/<id>` of the administration port: who belongs to a group, and changing that; `/placement`: what
//! groups and nodes there are and who owns what, and changing that; `/map`: the shard map.
//!
//! ```text
//! GET, POST ──▶ connection's task ──inbox──▶ core 0 ──mesh──▶ home core of the group: its reactor
//!                      ◀──────────────────────────────────────── answer, by ticket
//! ```
//!
//! | path | method | body | answer |
//! |---|---|---|---|
//! | `/group/<id>` | GET | | the members, as the leader sees them |
//! | `/group/<id>` | POST | an operation: `{"operation":"add","node":4}` | the same, the operation having begun |
//! | `/placement` | GET | | the newest map, as the shard master has it |
//! | `/placement` | POST | an operation: `{"operation":"join","groups":2}` | the same, in the epoch that it began |
//! | `/map` | GET | | the map that this node goes by, as it is kept: `schema/map-file.md` |
//! | `/map?json` | GET | | the same as JSON |
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

use super::admin::{Answer, bytes, in_time, json, text};
use super::core::Core;
use super::inbox::{Event, Inbox};
use super::kept_map::KeptMap;
use super::mesh::Letter;
use crate::base::{CoreId, GroupId};
use crate::placement::ShardMap;
use crate::reactor::{
    AdminAnswer, AdminOutcome, GroupOperation, GroupReason, GroupRefusal, Input, PlacementOperation,
};

/// Bytes of an operation, at most: a list of all nodes there can be fits many times.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Questions kept, at most: of those whose group's leader never answers the oldest goes first.
const PENDING_MAX: usize = 256;

/// Somebody asks something of a group.
pub(super) struct GroupQuery {
    pub(super) group: GroupId,
    pub(super) operation: GroupOperation,
    pub(super) answer: oneshot::Sender<AdminOutcome>,
}

/// Somebody asks something of the shard master.
pub(super) struct PlacementQuery {
    operation: PlacementOperation,
    answer: oneshot::Sender<AdminOutcome>,
}

/// Questions that wait for their answers, on core 0.
#[derive(Default)]
pub(super) struct Questions {
    pending: BTreeMap<u64, oneshot::Sender<AdminOutcome>>,
    tickets: u64,
}

impl Questions {
    /// A ticket for whoever waits for `answer`.
    fn ticket(&mut self, answer: oneshot::Sender<AdminOutcome>) -> u64 {
        self.tickets += 1;
        self.pending.insert(self.tickets, answer);
        if self.pending.len() > PENDING_MAX {
            self.pending.pop_first();
        }
        self.tickets
    }
}

impl Core {
    /// Passes a question to the group's home core.
    pub(super) fn ask_group(&mut self, query: GroupQuery) {
        let GroupQuery { group, operation, answer } = query;
        let ticket = self.questions.ticket(answer);
        let home = ShardMap::home_core(group, self.node.config.cores());
        if home == self.id {
            self.step(Input::Administer { ticket, group, operation });
        } else {
            self.mesh.send(home, Letter::Administer { ticket, group, operation });
        }
    }

    /// Passes a question to the shard master.
    pub(super) fn ask_master(&mut self, query: PlacementQuery) {
        let PlacementQuery { operation, answer } = query;
        let ticket = self.questions.ticket(answer);
        self.step(Input::Govern { ticket, operation });
    }

    /// Tells the map that this node goes by.
    pub(super) fn tell_map(&self, answer: oneshot::Sender<KeptMap>) {
        let (cluster, map) = (self.node.config.cluster, ShardMap::clone(&self.map));
        // Whoever asked may have gone.
        let _ = answer.send(KeptMap { cluster, map });
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
        Some(AdminOutcome::Group(answer)) => respond(&answer),
        _ => text(StatusCode::GATEWAY_TIMEOUT, "the group's leader does not answer\n"),
    }
}

/// Answers a request to `/placement`.
pub(super) async fn placement(request: Request<Incoming>, inbox: &Inbox) -> Answer {
    let operation = match *request.method() {
        Method::GET => PlacementOperation::Query { epoch: None },
        Method::POST => match body_of::<PlacementOperation>(request, "operation").await {
            Ok(operation) => operation,
            Err(cause) => return text(StatusCode::BAD_REQUEST, cause),
        },
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n"),
    };
    let (answer, answered) = oneshot::oneshot();
    inbox.push(Event::AskMaster(PlacementQuery { operation, answer }));
    match in_time(answered).await {
        Some(AdminOutcome::Placement(answer)) => respond(&answer),
        _ => text(StatusCode::GATEWAY_TIMEOUT, "the shard master does not answer\n"),
    }
}

/// Answers a request to `/map`.
pub(super) async fn map(query: Option<&str>, inbox: &Inbox) -> Answer {
    let (answer, answered) = oneshot::oneshot();
    inbox.push(Event::AskMap(answer));
    let Some(kept) = in_time(answered).await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "core 0 does not answer\n");
    };
    if query == Some("json") {
        return json(StatusCode::OK, Some(&kept.to_json()));
    }
    bytes(kept.encode())
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
        | GroupReason::LastVoter
        | GroupReason::Refused => StatusCode::CONFLICT,
    }
}
