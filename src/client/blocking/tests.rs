//! The blocking client over real sockets.

use super::{Client, ConnectError};
use crate::base::Micros;
use crate::client::tests::cluster::Faults;
use crate::client::tests::serve::Served;
use crate::client::{Command, Options};

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
