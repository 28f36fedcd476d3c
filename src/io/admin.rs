//! The administration port: HTTP, on core 0.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 while the process serves |
//! | `/readyz` | 200 when every group with a replica here has a leader, else 503 and why; at a first start, who is awaited |
//! | `/health` | the same as JSON, with reasons |
//! | `/status` | everything as JSON; `?hash=1` with state hashes, O(state) |
//! | `/group/<id>` | who belongs to a group, and changing that: see `administration` |
//! | `/placement`, `/map` | who owns what, and changing that: see `administration` |
//! | `/member/<node>` | who a node is, and putting another incarnation in its place: see `replacement` |
//!
//! Connections are tasks of their own, apart from the pump; what they want to know they ask through
//! the inbox.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, FutureExt};
use glommio::channels::oneshot;
use glommio::net::TcpStream;
use glommio::timer::sleep;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::administration;
use super::core::Core;
use super::inbox::{Event, Inbox};
use super::mesh::Letter;
use super::replacement;
use crate::base::{Incarnation, NodeId};
use crate::reactor::{CoreStatus, GroupStatus};

/// Connections served at once, at most.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may live.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// How long the cores, or another node, may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Somebody wants to know how the node is.
pub(super) struct StatusQuery {
    with_hash: bool,
    answer: oneshot::Sender<NodeReport>,
}

/// How one core is.
#[derive(Debug, Serialize)]
pub(super) struct CoreReport {
    #[serde(flatten)]
    status: CoreStatus,
    /// Sockets of any kind.
    connections: usize,
    /// Bytes of clients' frames that are not whole, and of replies that clients have not taken.
    client_buffers_bytes: usize,
    /// As many of them as may be; past it the client that holds most is closed.
    client_buffers_max: usize,
    /// The same of links to and from other nodes.
    link_buffers_bytes: usize,
    /// Gaps of more than a second between two ticks.
    stalls: u64,
    /// The longest gap.
    stall_max_ms: u64,
}

/// How another node is, as this one sees it.
#[derive(Debug, Serialize)]
struct PeerReport {
    node: NodeId,
    up: bool,
    incarnation: Incarnation,
}

/// A node that is not let in, since another incarnation of it is known.
#[derive(Debug, Serialize)]
struct RefusedReport {
    node: NodeId,
    incarnation: Incarnation,
    remedy: String,
}

/// How the node is.
#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    node: NodeId,
    cluster: String,
    incarnation: Incarnation,
    version: &'static str,
    smp: u16,
    uptime_s: u64,
    /// Of the shard map that the node goes by.
    epoch: u64,
    /// Of all cores together.
    stalls: u64,
    /// The longest of any core.
    stall_max_ms: u64,
    peers: Vec<PeerReport>,
    refused: Vec<RefusedReport>,
    cores: Vec<CoreReport>,
}

impl NodeReport {
    /// What keeps the node from being ready.
    fn reasons(&self) -> Vec<String> {
        let groups = self.cores.iter().flat_map(|core| &core.status.groups);
        groups.filter_map(GroupStatus::trouble).collect()
    }
}

/// Status reports being put together, on core 0.
#[derive(Default)]
pub(super) struct Collector {
    /// By ticket; what the cores say and who asked.
    pending: BTreeMap<u64, (StatusQuery, Vec<CoreReport>)>,
    tickets: u64,
}

impl Core {
    /// Accepts whoever waits at the administration port.
    pub(super) fn accept_administrators(&mut self) {
        if !self.node.starting.progress.is_done() {
            // Others are not ready to be asked yet: until then the port is answered by `starting`.
            self.accept_again = true;
            return;
        }
        // The listener is the core's own and not the runtime's: the ring would hold it open for a
        // while after the process has gone, and the next one would find its port in use.
        while let Some(listener) = &self.admin_listener
            && let Ok((stream, _)) = listener.accept()
        {
            serve(stream, &self.administrators, &self.inbox);
        }
    }

    /// Asks all cores for their reports.
    pub(super) fn collect_status(&mut self, query: StatusQuery) {
        let with_hash = query.with_hash;
        self.collector.tickets += 1;
        let ticket = self.collector.tickets;
        self.collector.pending.insert(ticket, (query, Vec::new()));
        self.mesh.broadcast(|| Letter::StatusRequest { ticket, with_hash });
        let own = self.report(with_hash);
        self.take_report(ticket, own);
    }

    /// Takes a core's report and answers once all are there.
    pub(super) fn take_report(&mut self, ticket: u64, report: CoreReport) {
        let Some((_, reports)) = self.collector.pending.get_mut(&ticket) else { return };
        reports.push(report);
        if reports.len() < self.mesh.cores() {
            return;
        }
        if let Some((query, mut reports)) = self.collector.pending.remove(&ticket) {
            reports.sort_by_key(|report| report.status.core);
            let report = self.node_report(reports);
            // Whoever asked may have gone.
            let _ = query.answer.send(report);
        }
    }

    /// How this core is.
    pub(super) fn report(&self, with_hash: bool) -> CoreReport {
        CoreReport {
            status: self.reactor.status(with_hash),
            connections: self.sockets.len(),
            client_buffers_bytes: self.sockets.buffers.clients(),
            client_buffers_max: self.buffers_max,
            link_buffers_bytes: self.sockets.buffers.peers(),
            stalls: self.stalls.count(),
            stall_max_ms: self.stalls.longest_millis(),
        }
    }

    fn node_report(&self, cores: Vec<CoreReport>) -> NodeReport {
        let peer = |(&node, peer): (&NodeId, &super::links::PeerNode)| PeerReport {
            node,
            up: peer.up,
            incarnation: peer.incarnation,
        };
        let refused = |(node, incarnation)| RefusedReport {
            node,
            incarnation,
            remedy: format!("if its old data is lost: sunstar ctl member replace {node}"),
        };
        let registry = self.registry.as_ref().expect("core 0 reports");
        let local = self.local();
        NodeReport {
            node: local.node,
            cluster: format!("{:016x}", local.cluster.0),
            incarnation: local.incarnation,
            version: env!("CARGO_PKG_VERSION"),
            smp: local.smp,
            uptime_s: self.node.clock.uptime_seconds(),
            epoch: self.map.epoch,
            stalls: cores.iter().map(|core| core.stalls).sum(),
            stall_max_ms: cores.iter().map(|core| core.stall_max_ms).max().unwrap_or(0),
            peers: self.peers.iter().map(peer).collect(),
            refused: registry.refused(self.now).map(refused).collect(),
            cores,
        }
    }
}

/// Serves one administrator; not if there are too many.
#[expect(unsafe_code, reason = "the runtime takes a socket that others accepted only by number")]
fn serve(stream: StdTcpStream, connections: &Rc<Cell<usize>>, inbox: &Rc<Inbox>) {
    if connections.get() >= CONNECTIONS_MAX {
        tracing::warn!("too many connections to the administration port");
        return;
    }
    connections.set(connections.get() + 1);
    // SAFETY: the descriptor was just given up by its owner, and it is a connected socket.
    let stream = unsafe { TcpStream::from_raw_fd(stream.into_raw_fd()) };
    let (connections, inbox) = (connections.clone(), inbox.clone());
    let served = async move {
        serve_connection(stream, inbox).await;
        connections.set(connections.get() - 1);
    };
    glommio::spawn_local(served).detach();
}

async fn serve_connection(stream: TcpStream, inbox: Rc<Inbox>) {
    let address = stream.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string());
    let service = service_fn(move |request| answer(request, inbox.clone()));
    let served = async {
        if let Err(error) = http1::Builder::new().serve_connection(Stream(stream), service).await {
            tracing::warn!(%address, reason = %error, "administration connection closed");
        }
    };
    served.or(sleep_for(CONNECTION_TIME)).await;
}

async fn sleep_for(span: Duration) {
    sleep(span).await;
}

pub(super) type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, inbox: Rc<Inbox>) -> Result<Answer, Infallible> {
    if let Some(name) = request.uri().path().strip_prefix("/group/").map(str::to_owned) {
        return Ok(administration::group(&name, request, &inbox).await);
    }
    if let Some(name) = request.uri().path().strip_prefix("/member/").map(str::to_owned) {
        return Ok(replacement::member(&name, request, &inbox).await);
    }
    if request.uri().path() == "/placement" {
        return Ok(administration::placement(request, &inbox).await);
    }
    if request.method() != Method::GET {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n"));
    }
    let with_hash =
        request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "hash=1"));
    Ok(match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/map" => administration::map(request.uri().query(), &inbox).await,
        "/readyz" => ready(status(&inbox, false).await),
        "/health" => health(status(&inbox, false).await),
        "/status" => json(StatusCode::OK, status(&inbox, with_hash).await.as_ref()),
        _ => text(
            StatusCode::NOT_FOUND,
            "try /livez, /readyz, /health, /status, /placement, /map or /group/1\n",
        ),
    })
}

/// The node's status; nothing if a core does not answer.
async fn status(inbox: &Inbox, with_hash: bool) -> Option<NodeReport> {
    let (answer, answered) = oneshot::oneshot();
    inbox.push(Event::Status(StatusQuery { with_hash, answer }));
    in_time(answered).await
}

/// What a core answers, if it does so in time.
pub(super) async fn in_time<T>(answered: oneshot::Receiver<T>) -> Option<T> {
    let late = async {
        sleep(ANSWER_TIME).await;
        None
    };
    async { answered.await.ok() }.or(late).await
}

const SILENT: &str = "a core does not answer";

fn ready(report: Option<NodeReport>) -> Answer {
    match report.map(|report| report.reasons()) {
        Some(reasons) if reasons.is_empty() => text(StatusCode::OK, "ready\n"),
        Some(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))),
        None => text(StatusCode::SERVICE_UNAVAILABLE, SILENT),
    }
}

fn health(report: Option<NodeReport>) -> Answer {
    #[derive(Serialize)]
    struct Health {
        healthy: bool,
        reasons: Vec<String>,
    }
    let reasons = report.map_or_else(|| vec![SILENT.to_owned()], |report| report.reasons());
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(code, Some(&Health { healthy: reasons.is_empty(), reasons }))
}

pub(super) fn text(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(code, "text/plain; charset=utf-8", body.into())
}

/// What is for programs only.
pub(super) fn bytes(body: Vec<u8>) -> Answer {
    respond(StatusCode::OK, "application/octet-stream", body.into())
}

pub(super) fn json<T: Serialize>(code: StatusCode, value: Option<&T>) -> Answer {
    match value.map(serde_json::to_vec) {
        Some(Ok(body)) => respond(code, "application/json", body.into()),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, SILENT),
    }
}

fn respond(code: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let response = Response::builder().status(code).header(CONTENT_TYPE, kind);
    response.body(Full::new(body)).expect("a status and one header are valid")
}

/// A glommio stream as hyper wants it.
struct Stream(TcpStream);

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4096];
        let room = bytes.len().min(buffer.remaining());
        let read = Pin::new(&mut self.0).poll_read(context, &mut bytes[..room]);
        read.map_ok(|count| buffer.put_slice(&bytes[..count]))
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}
