use std::net::TcpListener;

use super::*;
use crate::wire::frame::{FrameKind, Scan, append_frame, scan};

/// A table with one socket, and the other end of it.
struct Pair {
    sockets: Sockets,
    token: Token,
    other: TcpStream,
    shared: AlignedBuf,
}

const SHARED_BYTES: usize = 4 << 10;

fn pair() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    let (stream, address) = listener.accept().expect("connected");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
    let mut sockets = Sockets::new(epoll);
    let handed = Handed { stream, address, rest: AlignedBuf::new() };
    let token = sockets.insert(handed, Role::Client).expect("room");
    let mut shared = AlignedBuf::new();
    shared.resize(SHARED_BYTES);
    Pair { sockets, token, other, shared }
}

fn frame(length: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
    let mut bytes = Vec::new();
    append_frame(FrameKind::MapRequest, &body, &mut bytes);
    bytes
}

impl Pair {
    /// Reads until nothing is there; returns the bodies of all whole frames. Loopback delivers
    /// within the call that sends, so nothing need be waited for.
    fn read(&mut self) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        loop {
            let socket = self.sockets.get_mut(self.token).expect("in the table");
            match socket.fill(&mut self.shared).expect("alive") {
                Filled::Nothing => return bodies,
                Filled::Growing { .. } => {}
                Filled::Large { .. } => {
                    let large = socket.take_large();
                    take(socket, &large, &mut bodies);
                }
                Filled::Shared { filled, .. } => take(socket, &self.shared[..filled], &mut bodies),
            }
        }
    }
}

fn take(socket: &mut Socket, bytes: &[u8], bodies: &mut Vec<Vec<u8>>) {
    let mut rest = bytes;
    loop {
        match scan(rest, CLIENT_FRAME_BODY_MAX).expect("intact") {
            Scan::Incomplete { needed } => return socket.keep(rest, needed),
            Scan::Frame(frame) => {
                bodies.push(frame.body.to_vec());
                rest = &rest[frame.bytes.len()..];
            }
        }
    }
}

#[test]
fn frames_are_found_whatever_the_pieces_they_arrive_in() {
    let lengths = [0, 1, 100, 3_000, 5_000, 4_080, 70_000, 8];
    let stream: Vec<u8> = lengths.iter().flat_map(|&length| frame(length)).collect();
    for piece in [1, 7, 16, 1_000, 4_096, 50_000, stream.len()] {
        let mut pair = pair();
        let mut bodies = Vec::new();
        for part in stream.chunks(piece) {
            pair.other.write_all(part).expect("the socket takes it");
            bodies.extend(pair.read());
        }
        let found: Vec<usize> = bodies.iter().map(Vec::len).collect();
        assert_eq!(found, lengths, "in pieces of {piece}");
        let socket = pair.sockets.get(pair.token).expect("in the table");
        assert_eq!(socket.partial.capacity(), 0, "an idle connection holds no buffer");
    }
}

#[test]
fn a_claimed_length_is_not_believed_before_its_bytes_arrive() {
    let mut pair = pair();
    pair.other.write_all(&frame(CLIENT_FRAME_BODY_MAX)[..HEADER]).expect("sent");
    assert_eq!(pair.read().len(), 0);
    let held = pair.sockets.get(pair.token).expect("in the table").partial.capacity();
    assert!(held <= 2 * LARGE_STEP, "{held} bytes held for a header");
}

#[test]
fn what_the_other_side_does_not_take_waits_and_pauses_reading() {
    let mut pair = pair();
    let socket = pair.sockets.get_mut(pair.token).expect("in the table");
    let mut sent = Vec::new();
    while socket.unsent <= PAUSE_BYTES {
        let bytes: Vec<u8> = (0..300_000).map(|_| fastrand::u8(..)).collect();
        sent.extend_from_slice(&bytes);
        socket.send(bytes).expect("alive");
    }
    pair.other.write_all(&frame(8)).expect("sent");
    assert_eq!(socket.fill(&mut pair.shared).expect("alive"), Filled::Nothing, "paused");

    let mut received = vec![0; sent.len()];
    let mut at = 0;
    let mut resumed = false;
    while at < received.len() {
        at += pair.other.read(&mut received[at..]).expect("alive");
        resumed |= socket.flush().expect("alive");
    }
    assert!(received == sent, "the bytes arrive unchanged and in order");
    assert!(resumed);
    assert_eq!(socket.unsent, 0);
    assert_eq!(pair.read().len(), 1);
}

#[test]
fn an_old_token_does_not_find_the_next_socket() {
    let mut first = pair();
    let old = first.token;
    first.sockets.remove(old).expect("there");
    let second = pair();
    let handed = Handed {
        stream: second.other,
        address: "127.0.0.1:1".parse().expect("an address"),
        rest: AlignedBuf::new(),
    };
    let new = first.sockets.insert(handed, Role::Client).expect("room");
    assert_eq!(new.place(), old.place(), "the place is used again");
    assert!(first.sockets.get(old).is_none());
    assert!(first.sockets.remove(old).is_none());
    assert!(first.sockets.get(new).is_some());
    assert_eq!(first.sockets.len(), 1);
}

#[test]
fn a_socket_moves_with_what_was_read_of_its_frames() {
    let mut from = pair();
    let rest = [frame(24), frame(40)[..20].to_vec()].concat();
    let handed = from.sockets.hand_over(from.token, &rest).expect("there");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
    let mut sockets = Sockets::new(epoll);
    let token = sockets.insert(handed, Role::Client).expect("room");
    let mut to = Pair { sockets, token, ..pair_parts(from.other) };
    let lengths = |bodies: Vec<Vec<u8>>| bodies.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(to.read()), [24], "without a byte more arriving");
    to.other.write_all(&frame(40)[20..]).expect("sent");
    assert_eq!(lengths(to.read()), [40]);
}

fn pair_parts(other: TcpStream) -> Pair {
    Pair { other, ..pair() }
}

#[test]
fn a_call_to_nobody_fails_when_it_is_looked_at() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound")
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
    let mut sockets = Sockets::new(epoll);
    let token = sockets.connect(address, Role::DetectorCalling(NodeId(2))).expect("begun");
    let socket = sockets.get_mut(token).expect("there");
    assert!(socket.take_error().is_err(), "loopback refuses at once");
}

#[test]
fn what_a_socket_holds_is_counted_as_it_comes_and_goes() {
    let mut pair = pair();
    let large = frame(3 * LARGE_STEP);
    let (begin, end) = large.split_at(2 * LARGE_STEP);
    let mut other = pair.other.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(move || other.write_all(begin).expect("it is read"));
        while pair.sockets.buffers.clients() < begin.len() {
            assert!(pair.read().is_empty());
        }
    });
    assert_eq!(pair.sockets.buffers.clients(), begin.len());
    assert_eq!(pair.sockets.heaviest_client(), Some((pair.token, begin.len())));
    let mut bodies = Vec::new();
    let mut other = pair.other.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(move || other.write_all(end).expect("it is read"));
        while bodies.is_empty() {
            bodies.extend(pair.read());
        }
    });
    assert_eq!(pair.sockets.buffers.clients(), 0, "the frame is whole");
    let socket = pair.sockets.get_mut(pair.token).expect("in the table");
    for _ in 0..64 {
        socket.send(vec![0; LARGE_STEP]).expect("alive");
    }
    let unsent = socket.unsent;
    assert!(unsent > 0, "more than the system takes");
    assert_eq!(pair.sockets.buffers.clients(), unsent);
    drop(pair.sockets.remove(pair.token));
    assert_eq!(pair.sockets.buffers.clients(), 0);
}
