//! The blocking client over real sockets.

use super::{Client, ConnectError};
use crate::base::Micros;
use crate::client::tests::cluster::Faults;
use crate::client::tests::serve::Served;
use crate::client::{ClientError, Command, CommandError, Multi, MultiAnswer, Options, Rejection};

#[test]
fn calls_return_what_the_cluster_answers() {
    let served = Served::start(1, Faults::default());
    let mut client = Client::connect(&served.addresses, Options::default()).expect("it serves");
    assert_eq!(client.get(b"k").expect("a reply").value, None);
    client.put(b"k", b"value").expect("a reply");
    assert_eq!(client.append(b"k", b"+").expect("a reply").value, 6);
    assert_eq!(client.get(b"k").expect("a reply").value.as_deref(), Some(&b"value+"[..]));
    drop(client);
    assert_eq!(served.stop().session_count(), 0, "the client closed its sessions");
}

#[test]
fn many_keys_are_read_in_order_by_one_frame_for_each_group() {
    let served = Served::start(1, Faults::default());
    let mut client = Client::connect(&served.addresses, Options::default()).expect("it serves");
    let keys: Vec<Vec<u8>> = (0..90).map(|number| format!("key-{number}").into_bytes()).collect();
    for key in &keys[..60] {
        client.put(key, key).expect("a reply");
    }
    let frames = client.counters().frames_sent;
    let mut wanted: Vec<&[u8]> = keys.iter().rev().map(Vec::as_slice).collect();
    wanted.insert(3, b"");
    let answers = client.mget(&wanted);
    assert_eq!(client.counters().frames_sent - frames, 3);
    assert_eq!(answers.len(), wanted.len());
    for (key, answer) in wanted.iter().zip(answers) {
        if key.is_empty() {
            assert_eq!(answer, Err(ClientError::Command(CommandError::EmptyKey)));
            continue;
        }
        let written = keys[..60].iter().any(|other| other == key);
        let value = answer.expect("a reply").value;
        assert_eq!(value.as_deref(), written.then_some(*key));
    }
}

#[test]
fn a_batch_on_one_slot_happens_whole_or_not_at_all() {
    let served = Served::start(1, Faults { slots_move: 30, ..Faults::default() });
    let mut client = Client::connect(&served.addresses, Options::default()).expect("it serves");
    let (account, journal): (&[u8], &[u8]) = (b"{alice}euros", b"{alice}journal");
    client.put(account, b"7").expect("a reply");
    let pay = |client: &mut Client, held: &[u8]| {
        let batch = Multi::new().compare(account, Some(held)).increment(account, -5);
        client.multi(&batch.append(journal, b"-5;")).expect("a reply")
    };
    let MultiAnswer::Done(answers) = pay(&mut client, b"7") else { panic!("nobody else pays") };
    assert_eq!(answers.iter().map(|answer| answer.number).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(pay(&mut client, b"7"), MultiAnswer::CompareFailed(0));
    let values = client.mget(&[account, journal]).into_iter();
    let values: Vec<_> = values.map(|answer| answer.expect("a reply").value).collect();
    assert_eq!(values, [Some(b"2".to_vec()), Some(b"-5;".to_vec())]);
    let two_slots = Multi::new().put(account, b"").put(b"elsewhere", b"");
    assert_eq!(client.multi(&two_slots), Err(ClientError::Command(CommandError::CrossSlot(1))));
    let no_number = Multi::new().put(account, b"1").increment(journal, 1);
    assert_eq!(client.multi(&no_number), Err(ClientError::Rejected(Rejection::NotANumber)));
}

#[test]
fn thousands_of_commands_may_be_outstanding_while_leaders_change() {
    // How commands fall into frames depends on the sockets: of the 300 frames at the least, so many
    // go wrong that some do in any run.
    let faults = Faults { refused: 10, doubtful: 10, leader_changes: 5, ..Faults::default() };
    let served = Served::start(2, faults);
    let options = Options { frame_commands_max: 10, ..Options::default() };
    let mut client = Client::connect(&served.addresses[..1], options).expect("it serves");
    let key = |number: usize| format!("key-{}", number % 10).into_bytes();
    let submit = |number| client.submit(Command::Append { key: &key(number), value: b"x" });
    let tickets: Vec<_> = (0..3_000).map(submit).collect::<Result<_, _>>().expect("sound");
    for ticket in tickets {
        client.wait(ticket).expect("applied in the end");
    }
    for number in 0..10 {
        let value = client.get(&key(number)).expect("a reply").value.expect("written");
        assert_eq!(value.len(), 300);
    }
    assert!(client.counters().frames_repeated > 0, "nothing went wrong");
}

#[test]
fn nobody_there_is_said_in_time() {
    let options = Options { operation_timeout: Micros::from_millis(50), ..Options::default() };
    let refused = Client::connect(&["127.0.0.1:1"], options);
    assert!(matches!(refused, Err(ConnectError::Unreachable { .. })));
    let nobody: [&str; 0] = [];
    assert!(matches!(Client::connect(&nobody, options), Err(ConnectError::NoAddress)));
}
