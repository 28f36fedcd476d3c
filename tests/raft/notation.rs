//! How scripts write things down. An entry is `term/index`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sunstar::base::{Bytes, Index, Micros, NodeId, Term, Time, WallTime};
use sunstar::raft::{
    Configuration, Doubt, Entry, EntryKind, Message, MessageBody, Outcome, Raft, Refusal, RoleKind,
    Standing,
};

use crate::disk::Write;

/// A replica in a few words: what a reader follows through a script.
pub(crate) fn state(raft: &Raft) -> String {
    let role = match raft.role() {
        RoleKind::Follower => "follower",
        RoleKind::PreCandidate => "pre-candidate",
        RoleKind::Candidate => "candidate",
        RoleKind::Leader => "leader",
    };
    let mut text = format!("{role} t{}", raft.term());
    if let Some(leader) = raft.leader()
        && raft.role() != RoleKind::Leader
    {
        write!(text, " of {leader}").expect("a string");
    }
    write!(text, " commit {} last {}", raft.commit_index(), raft.last_index()).expect("a string");
    text.push_str(match raft.doubt() {
        None => "",
        Some(Doubt::Entries) => " in doubt",
        Some(Doubt::Votes) => " in doubt of votes",
        Some(Doubt::Blank) => " in doubt, blank",
    });
    text
}

/// How far the state machine is, where that is not as far as it could be.
pub(crate) fn lag(raft: &Raft) -> String {
    let (applied, commit) = (raft.applied_index(), raft.commit_index());
    if applied < commit { format!(" applied {applied}") } else { String::new() }
}

pub(crate) fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done { term, index } => format!("done {term}/{index}"),
        Outcome::Rejected(refusal) => format!("rejected: {}", self::refusal(refusal)),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

fn refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::NotLeader { leader: Some(leader) } => format!("{refusal}, {leader} is"),
        _ => refusal.to_string(),
    }
}

pub(crate) fn write(write: &Write) -> String {
    let mut parts = Vec::new();
    if let Some(hard_state) = write.hard_state {
        let vote = hard_state.vote.map_or("nobody".to_owned(), |vote| vote.to_string());
        parts.push(format!("t{} vote {vote}", hard_state.term));
    }
    if write.doubt_ended {
        parts.push("certain".to_owned());
    }
    if let Some(snapshot) = &write.snapshot {
        parts.push(format!("snapshot {}/{}", snapshot.term, snapshot.index));
    }
    if !write.entries.is_empty() {
        parts.push(entries(&write.entries));
    }
    parts.join(", ")
}

pub(crate) fn range(first: &Entry, last: &Entry) -> String {
    if first.index == last.index {
        place(first)
    } else {
        format!("{}..{}", place(first), place(last))
    }
}

/// A whole log, or what is sent of one.
pub(crate) fn entries(entries: &[Entry]) -> String {
    let words: Vec<String> = entries.iter().map(entry).collect();
    format!("[{}]", words.join(" "))
}

fn entry(entry: &Entry) -> String {
    let place = place(entry);
    match entry.kind {
        EntryKind::Noop => place,
        kind => format!("{place}={}", content(kind, &entry.payload)),
    }
}

fn content(kind: EntryKind, payload: &[u8]) -> String {
    match kind {
        EntryKind::Noop | EntryKind::Command => String::from_utf8_lossy(payload).into_owned(),
        EntryKind::Configuration => Configuration::decode(payload)
            .map_or_else(|error| error.to_string(), |decoded| configuration(&decoded)),
    }
}

/// `{n1 n2 n3}`; while it changes `{n1 n2}→{n2 n3}`; learners after `~`; voters to be after `⇒`; which
/// incarnation of a member counts after `!`.
pub(crate) fn configuration(configuration: &Configuration) -> String {
    let list = |nodes: &[NodeId]| {
        let words: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        words.join(" ")
    };
    let Configuration { voters, outgoing, learners, voters_next, incarnations } = configuration;
    let mut text = format!("{{{}}}", list(voters));
    if !outgoing.is_empty() {
        text = format!("{{{}}}→{text}", list(outgoing));
    }
    if !learners.is_empty() {
        write!(text, "~{}", list(learners)).expect("a string");
    }
    if !voters_next.is_empty() {
        write!(text, "⇒{{{}}}", list(voters_next)).expect("a string");
    }
    for (node, incarnation) in incarnations {
        write!(text, "!{node}={}", incarnation.0).expect("a string");
    }
    text
}

fn place(entry: &Entry) -> String {
    format!("{}/{}", entry.term, entry.index)
}

pub(crate) fn message(message: &Message) -> String {
    let Message { from, to, term, .. } = message;
    format!("{from}→{to} {} t{term}{}", kind(&message.body), details(&message.body))
}

/// A message's kind, as scripts name it.
pub(crate) fn kind(body: &MessageBody) -> &'static str {
    match body {
        MessageBody::PreVote { .. } => "PreVote",
        MessageBody::PreVoteResponse { .. } => "PreVoteResponse",
        MessageBody::Vote { .. } => "Vote",
        MessageBody::VoteResponse { .. } => "VoteResponse",
        MessageBody::Append { .. } => "Append",
        MessageBody::AppendResponse { .. } => "AppendResponse",
        MessageBody::AppendReject { .. } => "AppendReject",
        MessageBody::Heartbeat { .. } => "Heartbeat",
        MessageBody::HeartbeatResponse { .. } => "HeartbeatResponse",
        MessageBody::ReadIndex { .. } => "ReadIndex",
        MessageBody::ReadIndexResponse { .. } => "ReadIndexResponse",
        MessageBody::TimeoutNow => "TimeoutNow",
        MessageBody::WhoLeads => "WhoLeads",
        MessageBody::Propose { .. } => "Propose",
        MessageBody::ProposeResponse { .. } => "ProposeResponse",
        MessageBody::Survey { .. } => "Survey",
        MessageBody::SurveyResponse { .. } => "SurveyResponse",
    }
}

fn details(body: &MessageBody) -> String {
    match body {
        MessageBody::PreVote { last_index, last_term } => format!(" last {last_term}/{last_index}"),
        MessageBody::Vote { last_index, last_term, transfer } => {
            let asked = if *transfer { " transfer" } else { "" };
            format!(" last {last_term}/{last_index}{asked}")
        }
        MessageBody::PreVoteResponse { granted } | MessageBody::VoteResponse { granted } => {
            (if *granted { " yes" } else { " no" }).to_owned()
        }
        MessageBody::Append { previous_index, previous_term, commit_index, entries: sent } => {
            let sent = entries(sent);
            format!(" after {previous_term}/{previous_index} commit {commit_index} {sent}")
        }
        MessageBody::AppendResponse { match_index, provisional } => {
            format!(" match {match_index}{}", doubtful(*provisional))
        }
        MessageBody::AppendReject { rejected_index, hint_index, hint_term, provisional } => {
            let provisional = doubtful(*provisional);
            format!(" of {rejected_index} hint {hint_term}/{hint_index}{provisional}")
        }
        MessageBody::Heartbeat { commit_index, round } => {
            format!(" commit {commit_index} round {round}")
        }
        MessageBody::HeartbeatResponse { round, commit_index, provisional, .. } => {
            format!(" round {round} commit {commit_index}{}", doubtful(*provisional))
        }
        // Requests are numbered from a random start: scripts show none.
        MessageBody::ReadIndex { .. }
        | MessageBody::TimeoutNow
        | MessageBody::WhoLeads
        | MessageBody::Survey { .. } => String::new(),
        MessageBody::SurveyResponse { standing, .. } => self::standing(*standing),
        MessageBody::Propose { kind, payload, .. } => format!(" {}", content(*kind, payload)),
        MessageBody::ProposeResponse { result, .. } => match result {
            Ok((term, index)) => format!(" at {term}/{index}"),
            Err(refusal) => format!(" refused: {}", self::refusal(*refusal)),
        },
        MessageBody::ReadIndexResponse { index, .. } => {
            index.map_or(" refused".to_owned(), |index| format!(" index {index}"))
        }
    }
}

fn doubtful(provisional: bool) -> &'static str {
    if provisional { " provisional" } else { "" }
}

fn standing(standing: Standing) -> String {
    let Standing { certain, blank, last } = standing;
    let certain = if certain { " certain" } else { "" };
    let blank = if blank { " blank" } else { "" };
    let last = last.map_or(String::new(), |(term, index)| format!(" leads up to {term}/{index}"));
    format!("{certain}{blank}{last}")
}

/// Reads `n1→n2` or `1->2`.
pub(crate) fn ends(word: &str) -> (NodeId, NodeId) {
    let (from, to) = word.split_once("->").or_else(|| word.split_once('→')).expect("from->to");
    (node(from), node(to))
}

pub(crate) fn node(word: &str) -> NodeId {
    word.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Reads a message for a script that plays the network or a faulty peer:
/// `2->1 AppendResponse term=3 match=7`.
pub(crate) fn parse_message(words: &[&str]) -> Message {
    let [ends_word, kind, rest @ ..] = words else { panic!("from->to Kind term=… : {words:?}") };
    let (from, to) = ends(ends_word);
    let fields = Fields::new(rest);
    Message { from, to, term: Term(fields.number("term")), body: parse_body(kind, &fields) }
}

fn parse_body(kind: &str, fields: &Fields<'_>) -> MessageBody {
    let index = |name| Index(fields.number(name));
    let (last_term, last_index) = fields.place("last");
    let (granted, provisional) = (fields.has("yes"), fields.has("provisional"));
    match kind {
        "PreVote" => MessageBody::PreVote { last_index, last_term },
        "Vote" => MessageBody::Vote { last_index, last_term, transfer: fields.has("transfer") },
        "PreVoteResponse" => MessageBody::PreVoteResponse { granted },
        "VoteResponse" => MessageBody::VoteResponse { granted },
        "Append" => {
            let (previous_term, previous_index) = fields.place("after");
            let entries = fields.entries(previous_index);
            let commit_index = index("commit");
            MessageBody::Append { previous_index, previous_term, commit_index, entries }
        }
        "AppendResponse" => {
            MessageBody::AppendResponse { match_index: index("match"), provisional }
        }
        "AppendReject" => {
            let (hint_term, hint_index) = fields.place("hint");
            let rejected_index = index("of");
            MessageBody::AppendReject { rejected_index, hint_index, hint_term, provisional }
        }
        "Heartbeat" => {
            let round = fields.number("round");
            MessageBody::Heartbeat { commit_index: index("commit"), round }
        }
        "HeartbeatResponse" => {
            let round = fields.number("round");
            let (promised, commit_index) = (Micros(fields.number("promised")), index("commit"));
            let clock = Time(fields.number("clock"));
            MessageBody::HeartbeatResponse { round, commit_index, promised, clock, provisional }
        }
        "ReadIndex" => MessageBody::ReadIndex { request: fields.number("request") },
        "ReadIndexResponse" => {
            let index = fields.has("index").then(|| index("index"));
            MessageBody::ReadIndexResponse { request: fields.number("request"), index }
        }
        "TimeoutNow" => MessageBody::TimeoutNow,
        "WhoLeads" => MessageBody::WhoLeads,
        "Propose" => {
            let payload = Bytes::copy_of(fields.text("command").as_bytes());
            let request = fields.number("request");
            MessageBody::Propose { request, kind: EntryKind::Command, payload }
        }
        "ProposeResponse" => {
            let place = fields.has("at").then(|| fields.place("at"));
            let result = place.ok_or(Refusal::NotLeader { leader: None });
            MessageBody::ProposeResponse { request: fields.number("request"), result }
        }
        "Survey" => MessageBody::Survey { request: fields.number("request") },
        "SurveyResponse" => {
            let last = fields.has("last").then_some((last_term, last_index));
            let (certain, blank) = (fields.has("certain"), fields.has("blank"));
            let standing = Standing { certain, blank, last };
            MessageBody::SurveyResponse { request: fields.number("request"), standing }
        }
        _ => panic!("unknown message {kind}"),
    }
}

/// `name=value` and bare words.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn new(words: &[&'a str]) -> Self {
        Self(words.iter().map(|word| word.split_once('=').unwrap_or((word, ""))).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Empty if absent.
    fn text(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Zero if absent.
    fn number(&self, name: &str) -> u64 {
        let Some(text) = self.0.get(name) else { return 0 };
        text.parse().unwrap_or_else(|_| panic!("{name}={text}"))
    }

    /// `term/index`; 0/0 if absent.
    fn place(&self, name: &str) -> (Term, Index) {
        self.0.get(name).map_or_else(Default::default, |text| parse_place(text))
    }

    /// `entries=1/4,2/5`: commands that say their place.
    fn entries(&self, previous: Index) -> Vec<Entry> {
        let Some(list) = self.0.get("entries") else { return Vec::new() };
        assert!(previous < Index(u64::MAX), "no room");
        let parse = |text: &str| {
            let (term, index) = parse_place(text);
            let payload = Bytes::copy_of(text.as_bytes());
            let kind = EntryKind::Command;
            Entry { term, index, timestamp: WallTime(0), kind, payload }
        };
        list.split(',').map(parse).collect()
    }
}

fn parse_place(text: &str) -> (Term, Index) {
    let (term, index) = text.split_once('/').unwrap_or_else(|| panic!("term/index: {text}"));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("term/index: {text}"));
    (Term(number(term)), Index(number(index)))
}
