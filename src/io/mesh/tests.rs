use std::thread;

use super::*;
use crate::base::{AlignedBuf, ConnectionId};

fn bells(cores: usize) -> Arc<[Bell]> {
    (0..cores).map(|_| Bell::new().expect("descriptors are left")).collect()
}

fn numbered(ticket: u64) -> Letter {
    Letter::StatusRequest { ticket, with_hash: false }
}

fn number(letter: &Letter) -> u64 {
    match letter {
        Letter::StatusRequest { ticket, .. } => *ticket,
        _ => panic!("another letter"),
    }
}

fn rung(bell: &Bell) -> bool {
    rustix::io::read(bell, &mut [0; 8]).is_ok()
}

#[test]
fn letters_keep_their_order_though_the_ring_is_full() {
    let bells = bells(2);
    let mut meshes = mesh(&bells);
    let (mut receiver, mut sender) = (meshes.pop().expect("two"), meshes.pop().expect("two"));
    let total = 10 * ring_capacity(2) as u64;
    for ticket in 0..total {
        sender.send(CoreId(1), numbered(ticket));
    }
    for expected in 0..total {
        sender.publish();
        let letter = receiver.receive(0).expect("nothing is lost");
        assert_eq!(number(&letter), expected);
    }
    assert!(receiver.receive(0).is_none());
}

#[test]
fn only_sleepers_are_rung_and_once() {
    let bells = bells(2);
    let mut meshes = mesh(&bells);
    let (mut receiver, mut sender) = (meshes.pop().expect("two"), meshes.pop().expect("two"));
    sender.send(CoreId(1), numbered(1));
    sender.publish();
    assert!(!rung(&bells[1]), "it is awake");
    receiver.fall_asleep();
    assert!(rung(&bells[1]), "it went to sleep on a letter");
    receiver.receive(0).expect("sent");
    receiver.wake_up();
    receiver.fall_asleep();
    assert!(!rung(&bells[1]), "nothing is there");
    sender.send(CoreId(1), numbered(2));
    sender.send(CoreId(1), numbered(3));
    assert!(!rung(&bells[1]), "not before the turn's end");
    sender.publish();
    assert!(rung(&bells[1]));
    sender.send(CoreId(1), numbered(4));
    sender.publish();
    assert!(!rung(&bells[1]), "it was rung already");
}

#[test]
fn a_sleeper_never_misses_a_letter() {
    const LETTERS: u64 = 20_000;
    let bells = bells(2);
    let mut meshes = mesh(&bells);
    let (mut receiver, mut sender) = (meshes.pop().expect("two"), meshes.pop().expect("two"));
    let bell = bells.clone();
    let receiving = thread::Builder::new()
        .spawn(move || {
            let mut expected = 0;
            while expected < LETTERS {
                receiver.wake_up();
                while let Some(letter) = receiver.receive(0) {
                    assert_eq!(number(&letter), expected);
                    expected += 1;
                }
                receiver.fall_asleep();
                while expected < LETTERS && !rung(&bell[1]) {
                    thread::yield_now();
                }
            }
        })
        .expect("threads are left");
    for ticket in 0..LETTERS {
        sender.send(CoreId(1), numbered(ticket));
        sender.publish();
    }
    while sender.any_sent {
        sender.publish();
        thread::yield_now();
    }
    receiving.join().expect("every letter arrived in order");
}

#[test]
fn clients_frames_are_refused_when_too_many_bytes_wait() {
    let bells = bells(2);
    let mut meshes = mesh(&bells);
    let (mut receiver, mut sender) = (meshes.pop().expect("two"), meshes.pop().expect("two"));
    let connection = ConnectionId(1);
    let mut frame = AlignedBuf::new();
    frame.resize(CLIENT_FRAME_BODY_MAX);
    let max = load_max(2) / frame.len();
    for _ in 0..max {
        assert!(!sender.is_full(CoreId(1), frame.len()));
        let frame = frame.clone();
        sender.send(CoreId(1), Letter::Core(CoreMessage::Request { connection, frame }));
    }
    assert!(sender.is_full(CoreId(1), frame.len()));
    sender.publish();
    receiver.receive(0).expect("sent");
    assert!(!sender.is_full(CoreId(1), frame.len()), "one was taken");
    assert!(sender.is_full(CoreId(1), frame.len() + 1));
    while receiver.receive(0).is_some() {}
    assert!(!sender.is_full(CoreId(1), usize::MAX / 2), "one of any size, if nothing waits");
}
