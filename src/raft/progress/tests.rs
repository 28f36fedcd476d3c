use super::*;
use crate::base::GroupId;

const INTERVAL: Micros = Micros(100);

fn config(messages: usize, bytes: usize) -> RaftConfig {
    RaftConfig {
        in_flight_messages_max: messages,
        in_flight_bytes_max: bytes,
        ..RaftConfig::new(GroupId(1), NodeId(1))
    }
}

/// A follower that is known to have five entries, all there are.
fn replicating() -> Progress {
    let mut progress = Progress::new(NodeId(2), Index(5), Time(0));
    progress.append_sent(Time(0), Index(5), 0);
    progress.vouch(Index(5));
    progress.acknowledge(Time(0), Index(5), Index(0));
    progress
}

#[test]
fn a_probe_asks_once_until_its_answer() {
    let mut progress = Progress::new(NodeId(2), Index(5), Time(0));
    assert!(progress.may_send(&config(1, 1)));
    progress.append_sent(Time(0), Index(5), 10);
    assert!(!progress.may_send(&config(1, 1)));
    // Lost, not slow: only a heartbeat's answer after an interval says so.
    progress.heartbeat_answered(Time(99), INTERVAL);
    assert!(!progress.may_send(&config(1, 1)));
    progress.heartbeat_answered(Time(100), INTERVAL);
    assert!(progress.may_send(&config(1, 1)));
}

#[test]
fn a_refusal_counts_once_and_only_where_it_is_news() {
    let mut progress = Progress::new(NodeId(2), Index(9), Time(0));
    assert!(progress.reject(Index(9), Index(4)));
    assert_eq!(progress.next_index, Index(5));
    assert!(!progress.reject(Index(9), Index(1)), "a duplicate");
    progress.acknowledge(Time(0), Index(4), Index(0));
    assert!(!progress.reject(Index(4), Index(1)), "of what is acknowledged");
    progress.append_sent(Time(0), Index(9), 1);
    assert!(progress.reject(Index(9), Index(0)));
    assert_eq!(progress.next_index, Index(5), "not below what is acknowledged");
    assert!(progress.is_probing());
}

#[test]
fn the_window_fills_by_count_or_bytes_and_empties_by_acknowledgement() {
    let mut progress = replicating();
    progress.append_sent(Time(1), Index(6), 40);
    progress.append_sent(Time(1), Index(7), 40);
    assert!(progress.may_send(&config(3, 100)));
    assert!(!progress.may_send(&config(2, 100)) && !progress.may_send(&config(3, 80)));
    progress.acknowledge(Time(2), Index(7), Index(0));
    assert!(progress.may_send(&config(1, 1)));
    progress.check_invariants(Index(7));
}

#[test]
fn stale_acknowledgements_take_nothing_back() {
    let mut progress = replicating();
    progress.acknowledge(Time(1), Index(3), Index(0));
    assert_eq!((progress.match_index, progress.next_index), (Index(5), Index(6)));
}

#[test]
fn silence_on_appends_while_heartbeats_are_answered_is_loss() {
    let mut progress = replicating();
    assert_eq!(progress.heartbeat_answered(Time(500), INTERVAL), Resume::Continue, "all is known");
    progress.append_sent(Time(500), Index(6), 1);
    assert_eq!(progress.heartbeat_answered(Time(599), INTERVAL), Resume::Continue);
    assert_eq!(progress.heartbeat_answered(Time(600), INTERVAL), Resume::Ask);
    assert_eq!(progress.heartbeat_answered(Time(601), INTERVAL), Resume::Continue, "just asked");
}

#[test]
fn a_snapshot_ends_where_the_log_goes_on() {
    let mut progress = Progress::new(NodeId(2), Index(9), Time(0));
    progress.become_snapshot(Time(0));
    assert!(!progress.may_send(&config(9, 9)) && !progress.reject(Index(9), Index(2)));
    progress.acknowledge(Time(0), Index(6), Index(8));
    assert!(progress.awaits_snapshot(), "entry 7 is forgotten");
    progress.acknowledge(Time(0), Index(8), Index(8));
    assert_eq!((progress.awaits_snapshot(), progress.next_index), (false, Index(9)));
}

#[test]
fn a_failed_snapshot_waits_for_a_sign_of_life() {
    let mut progress = Progress::new(NodeId(2), Index(9), Time(0));
    progress.become_snapshot(Time(0));
    progress.snapshot_failed(Time(50), LogRange { base: Index(7), last: Index(9) });
    assert!(!progress.may_send(&config(9, 9)));
    progress.heartbeat_answered(Time(150), INTERVAL);
    assert!(progress.may_send(&config(9, 9)));
}

#[test]
fn one_who_may_have_more_is_asked_before_it_is_sent_a_snapshot() {
    let log = LogRange { base: Index(7), last: Index(9) };
    let mut unknown = Progress::new(NodeId(2), Index(9), Time(0));
    unknown.reset(log);
    assert_eq!(unknown.next_index, Index(10), "nothing is known: as in the beginning");
    let mut behind = replicating();
    behind.reset(log);
    assert_eq!(behind.next_index, Index(8), "6 is forgotten, but may be there");
    behind.reset(LogRange { base: Index(2), ..log });
    assert_eq!(behind.next_index, Index(6));
}

#[test]
fn heartbeats_are_due_when_nothing_was_said_or_heard() {
    let mut progress = replicating();
    let due = |progress: &Progress| progress.heartbeat_due(INTERVAL, None);
    assert_eq!(due(&progress), Time(100));
    progress.heard_at = Time(60);
    progress.append_sent(Time(70), Index(6), 1);
    assert_eq!(due(&progress), Time(160), "an append at 70, an answer at 60");
    progress.append_sent(Time(400), Index(7), 1);
    assert_eq!(due(&progress), Time(160), "silent since 60, whatever is sent");
    progress.heartbeat_sent(Time(160));
    assert_eq!(due(&progress), Time(260), "once an interval");
    assert_eq!(progress.heartbeat_due(INTERVAL, Some(1)), Time(260));
    progress.heard_at = Time(250);
    progress.append_sent(Time(250), Index(8), 1);
    assert_eq!(progress.heartbeat_due(INTERVAL, Some(1)), Time(260), "a read waits for it");
    progress.round_acknowledged = 1;
    assert_eq!(progress.heartbeat_due(INTERVAL, Some(1)), Time(350));
}
