//! The client that etcd is measured with.
//!
//! Each thread runs a small executor with a few HTTP/2 connections and its share of the
//! outstanding requests, one task each; a task sends a request, awaits the reply, and sends the
//! next. Requests of all tasks share the connections, so that replies and requests leave and
//! arrive many to a packet. Nothing is shared between threads. Per request it costs less CPU than
//! the usual gRPC stack, which on a machine that servers and client share is to etcd's good.
//!
//! Source: gRPC over HTTP2 (`PROTOCOL-HTTP2.md` of grpc/grpc).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::drive::{Begin, key};
use super::protobuf;
use super::report::{Drove, Operation};
use crate::error::BenchError;

/// One client of etcd, in a process of its own.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DriveEtcd {
    /// Where requests go, spread evenly.
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<SocketAddr>,
    #[command(flatten)]
    begin: Begin,
    /// Threads of the client.
    #[arg(long)]
    threads: usize,
    /// Connections of the client, all threads together.
    #[arg(long)]
    connections: usize,
}

impl DriveEtcd {
    /// Fills the keys if asked to, warms up, and measures.
    ///
    /// # Errors
    /// If a connection fails or any key cannot be filled.
    pub(crate) fn run(&self) -> Result<Drove, BenchError> {
        if self.begin.preload {
            self.fill()?;
        }
        let window = self.begin.window();
        let plan = Plan { options: self, outstanding: self.begin.outstanding, window };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.threads).map(|thread| scope.spawn(move || plan.run(thread))).collect();
            let cpu = window.announce();
            let tallies = threads.into_iter().map(|thread| thread.join().expect("no panics"));
            drove(tallies.collect::<Result<_, _>>()?, window.seconds(), cpu)
        })
    }

    fn fill(&self) -> Result<(), BenchError> {
        let runtime = runtime()?;
        LocalSet::new().block_on(&runtime, async {
            let clients = self.connect(0).await.map_err(failed("connecting to etcd"))?;
            let keys = Rc::new(RefCell::new(0..self.begin.keys));
            let tasks: Vec<_> = (0..FILL_OUTSTANDING)
                .map(|task| {
                    let client = clients[task % clients.len()].clone();
                    tokio::task::spawn_local(fill(client, keys.clone(), self.begin.value_size))
                })
                .collect();
            for task in tasks {
                task.await.expect("no panics").map_err(failed("filling keys"))?;
            }
            Ok(())
        })
    }

    /// Opens this thread's connections.
    async fn connect(&self, thread: usize) -> Result<Vec<SendRequest<Bytes>>, h2::Error> {
        let mut clients = Vec::new();
        for connection in (thread..self.connections.max(self.threads)).step_by(self.threads) {
            let endpoint = self.endpoints[connection % self.endpoints.len()];
            clients.push(connect(endpoint).await?);
        }
        Ok(clients)
    }
}

/// What every thread of a run knows.
#[derive(Clone, Copy)]
struct Plan<'a> {
    options: &'a DriveEtcd,
    outstanding: usize,
    window: super::drive::Window,
}

impl Plan<'_> {
    fn run(self, thread: usize) -> Result<Tally, BenchError> {
        let runtime = runtime()?;
        LocalSet::new().block_on(&runtime, async {
            let clients =
                self.options.connect(thread).await.map_err(failed("connecting to etcd"))?;
            let tally = Rc::new(RefCell::new(Tally::new()));
            let tasks: Vec<_> = (thread..self.outstanding)
                .step_by(self.options.threads)
                .enumerate()
                .map(|(position, task)| {
                    let worker = Worker {
                        client: clients[position % clients.len()].clone(),
                        random: fastrand::Rng::with_seed(self.options.begin.seed + task as u64),
                        options: self.options.begin.clone(),
                        window: self.window,
                        tally: tally.clone(),
                    };
                    tokio::task::spawn_local(worker.run())
                })
                .collect();
            for task in tasks {
                task.await.expect("no panics");
            }
            Ok(tally.take())
        })
    }
}

/// One thread's counts.
#[derive(Default)]
struct Tally {
    /// Of the operations that ended within the window, in µs.
    latencies: Option<Histogram<u64>>,
    /// Operations that failed, whenever they did.
    errors: u64,
}

impl Tally {
    fn new() -> Self {
        Self { latencies: Some(histogram()), errors: 0 }
    }

    fn count(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.as_mut().expect("made by new").saturating_record(micros);
    }
}

/// One of the outstanding requests, again and again.
struct Worker {
    client: SendRequest<Bytes>,
    random: fastrand::Rng,
    options: Begin,
    window: super::drive::Window,
    tally: Rc<RefCell<Tally>>,
}

impl Worker {
    async fn run(mut self) {
        let value = vec![b'v'; self.options.value_size];
        loop {
            let started = Instant::now();
            if started >= self.window.end {
                return;
            }
            let key = key(self.random.u64(..self.options.keys));
            let answer = match self.options.operation {
                Operation::Write => put(&mut self.client, &key, &value).await.is_ok(),
                Operation::Read => matches!(range(&mut self.client, &key).await, Ok(1)),
            };
            let ended = Instant::now();
            let mut tally = self.tally.borrow_mut();
            if !answer {
                tally.errors += 1;
            } else if self.window.holds(ended) {
                tally.count(ended - started);
            }
        }
    }
}

/// Returns (this member, leader) as the member at `endpoint` sees it.
///
/// # Errors
/// If it does not answer within a second, as while it starts.
pub(crate) fn status(endpoint: SocketAddr) -> Result<(u64, u64), BenchError> {
    let ask = async {
        let mut client = connect(endpoint).await.ok()?;
        let reply = call(&mut client, protobuf::STATUS, Vec::new()).await.ok()?;
        protobuf::status_response(&reply)
    };
    let answer = LocalSet::new()
        .block_on(&runtime()?, async { tokio::time::timeout(Duration::from_secs(1), ask).await });
    answer
        .ok()
        .flatten()
        .ok_or_else(|| BenchError::Failed(format!("etcd at {endpoint} does not answer")))
}

fn runtime() -> Result<Runtime, BenchError> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(BenchError::io("starting an executor"))
}

async fn connect(endpoint: SocketAddr) -> Result<SendRequest<Bytes>, h2::Error> {
    let stream = TcpStream::connect(endpoint).await.map_err(h2_error)?;
    stream.set_nodelay(true).map_err(h2_error)?;
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .initial_max_send_streams(STREAMS)
        .handshake(stream)
        .await?;
    // Ends with the connection; what went wrong shows in the requests.
    tokio::task::spawn_local(connection);
    Ok(client)
}

async fn fill(
    mut client: SendRequest<Bytes>,
    keys: Rc<RefCell<std::ops::Range<u64>>>,
    value_size: usize,
) -> Result<(), h2::Error> {
    let value = vec![b'v'; value_size];
    loop {
        let next = keys.borrow_mut().next();
        let Some(number) = next else { return Ok(()) };
        put(&mut client, &key(number), &value).await?;
    }
}

async fn put(client: &mut SendRequest<Bytes>, key: &[u8], value: &[u8]) -> Result<(), h2::Error> {
    let mut message = Vec::with_capacity(PREFIX + key.len() + value.len() + 16);
    message.resize(PREFIX, 0);
    protobuf::put_request(key, value, &mut message);
    call(client, protobuf::PUT, message).await.map(drop)
}

/// Returns how many keys were found: one, unless something is wrong.
async fn range(client: &mut SendRequest<Bytes>, key: &[u8]) -> Result<u64, h2::Error> {
    let mut message = Vec::with_capacity(PREFIX + key.len() + 16);
    message.resize(PREFIX, 0);
    protobuf::range_request(key, &mut message);
    let reply = call(client, protobuf::RANGE, message).await?;
    protobuf::range_count(&reply).ok_or_else(malformed)
}

/// Makes one unary call. `message` begins with room for gRPC's prefix.
async fn call(
    client: &mut SendRequest<Bytes>,
    method: &'static str,
    mut message: Vec<u8>,
) -> Result<Bytes, h2::Error> {
    message.resize(message.len().max(PREFIX), 0);
    let length = u32::try_from(message.len() - PREFIX).expect("requests are small");
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    std::future::poll_fn(|context| client.poll_ready(context)).await?;
    let (response, mut stream) = client.send_request(request(method), false)?;
    stream.send_data(message.into(), true)?;
    read_reply(response.await?).await
}

fn request(method: &'static str) -> http::Request<()> {
    http::Request::post(
        http::Uri::builder()
            .scheme("http")
            .authority("etcd")
            .path_and_query(method)
            .build()
            .expect("three constants make an address"),
    )
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())
    .expect("constants make a request")
}

async fn read_reply(response: http::Response<h2::RecvStream>) -> Result<Bytes, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut reply = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        reply.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?;
    let status = trailers.as_ref().unwrap_or(&head.headers).get("grpc-status");
    if status.is_none_or(|status| status != "0") || reply.len() < PREFIX {
        return Err(malformed());
    }
    reply.advance(PREFIX);
    Ok(reply.freeze())
}

fn drove(tallies: Vec<Tally>, seconds: f64, client_cpu: Duration) -> Result<Drove, BenchError> {
    let mut all = histogram();
    let mut errors = 0;
    for tally in tallies {
        all.add(tally.latencies.expect("made by new")).expect("of the same bounds");
        errors += tally.errors;
    }
    if all.is_empty() {
        return Err(BenchError::Failed("no operation succeeded within the window".into()));
    }
    Ok(Drove {
        ops: all.len(),
        seconds,
        p50_us: super::report::to_f64(all.value_at_quantile(0.50)),
        p99_us: super::report::to_f64(all.value_at_quantile(0.99)),
        errors,
        client_cpu_s: client_cpu.as_secs_f64(),
    })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds in order, three digits")
}

fn h2_error(_: std::io::Error) -> h2::Error {
    h2::Reason::CONNECT_ERROR.into()
}

fn malformed() -> h2::Error {
    h2::Reason::PROTOCOL_ERROR.into()
}

fn failed(what: &'static str) -> impl FnOnce(h2::Error) -> BenchError {
    move |error| BenchError::Failed(format!("{what}: {error}"))
}

/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Flow control never holds a request or a reply back.
const WINDOW: u32 = 1 << 24;
const STREAMS: usize = 4096;
const FILL_OUTSTANDING: usize = 256;
