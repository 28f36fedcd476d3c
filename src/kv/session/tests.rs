use super::*;

const NOW: WallTime = WallTime(1_000_000_000);

fn result(number: i64) -> Remembered {
    Remembered { number, index: Index(9), position: 1, status: Status::Ok }
}

fn session(lowest: u64) -> Session {
    Session::new(SessionId(3), NOW, Sequence(lowest))
}

fn later(span: u64) -> WallTime {
    WallTime(NOW.0 + span)
}

#[test]
fn sequences_below_the_window_are_forgotten_and_above_it_refused() {
    let mut session = session(5);
    let recall = |session: &Session, at| session.recall(Sequence(at));
    assert!(matches!(recall(&session, 0), Recall::Forgotten));
    assert!(matches!(recall(&session, 4), Recall::Forgotten));
    assert!(matches!(recall(&session, 5), Recall::New));
    let last = 5 + SESSION_WINDOW_MAX - 1;
    assert!(matches!(recall(&session, last), Recall::New));
    assert!(matches!(recall(&session, last + 1), Recall::WindowExceeded));
    assert!(matches!(recall(&session, u64::MAX), Recall::WindowExceeded));

    assert_eq!(session.remember(Sequence(last), result(1)), usize::from(u16::MAX) + 1);
    assert!(matches!(recall(&session, last), Recall::Known(known) if known == result(1)));
    assert!(matches!(recall(&session, last - 1), Recall::New));
}

#[test]
fn results_are_found_whatever_the_order_they_came_in() {
    let mut session = session(1);
    for sequence in [3, 1, 7, 2] {
        session.remember(Sequence(sequence), result(i64::try_from(sequence).expect("small")));
    }
    assert_eq!(session.begin_batch(Sequence(3), NOW), 2);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some((position, sequence, result)) = session.result_from(from) {
        found.push((sequence.0, result.number));
        from = position + 1;
    }
    assert_eq!(found, [(3, 3), (7, 7)]);
    assert_eq!(session.span(), 5);
}

#[test]
fn what_is_awaited_never_goes_back_and_may_jump_past_everything() {
    let mut session = session(1);
    session.remember(Sequence(4), result(4));
    session.begin_batch(Sequence(4), NOW);
    session.begin_batch(Sequence(2), NOW);
    assert_eq!(session.lowest(), Sequence(4));
    assert_eq!(session.begin_batch(Sequence(u64::MAX), NOW), 1);
    assert_eq!((session.lowest(), session.span()), (Sequence(u64::MAX), 0));
    session.remember(Sequence(u64::MAX), result(1));
    assert!(matches!(session.recall(Sequence(u64::MAX)), Recall::Known(_)));
}

#[test]
#[should_panic(expected = "executed twice")]
fn a_second_execution_is_a_bug() {
    let mut session = session(1);
    session.remember(Sequence(2), result(1));
    session.remember(Sequence(2), result(1));
}

#[test]
fn a_bursts_storage_is_given_back() {
    let mut session = session(1);
    for sequence in 1..=SESSION_WINDOW_MAX {
        session.remember(Sequence(sequence), result(0));
    }
    session.begin_batch(Sequence(SESSION_WINDOW_MAX - 10), NOW);
    assert!(session.results.capacity() < 100, "{}", session.results.capacity());
    assert!(matches!(session.recall(Sequence(SESSION_WINDOW_MAX)), Recall::Known(_)));
}

#[test]
fn a_full_table_takes_a_session_once_others_are_idle() {
    let mut sessions = Sessions::default();
    for id in 0..SESSIONS_MAX as u64 {
        assert_eq!(sessions.open(SessionId(id), NOW), Ok(()));
    }
    let next = SessionId(SESSIONS_MAX as u64);
    assert_eq!(sessions.open(next, later(SESSION_IDLE_MAX.0)), Err(SessionError::Full));

    let used = sessions.begin_batch(SessionId(7), Sequence(1), later(5)).map(|_| ());
    assert_eq!(used, Ok(()));
    assert_eq!(sessions.open(next, later(SESSION_IDLE_MAX.0 + 1)), Ok(()));
    let open: Vec<u64> = sessions.list.iter().map(|(id, _)| id.0).collect();
    assert_eq!(open, [7, next.0]);
    let expired = sessions.begin_batch(SessionId(8), Sequence(1), NOW).map(|_| ());
    assert_eq!(expired, Err(SessionError::Expired));
}

#[test]
fn bytes_follow_the_results_held() {
    let mut sessions = Sessions::default();
    sessions.open(SessionId(1), NOW).expect("there is room");
    sessions.open(SessionId(2), NOW).expect("there is room");
    let (session, sums) = sessions.begin_batch(SessionId(2), Sequence(1), NOW).expect("open");
    sums.remember(session, Sequence(10), result(1));
    assert_eq!(sessions.bytes(), 2 * SESSION_OVERHEAD + 10 * RESULT_BYTES);
    sessions.begin_batch(SessionId(2), Sequence(9), NOW).expect("open");
    assert_eq!(sessions.bytes(), 2 * SESSION_OVERHEAD + 2 * RESULT_BYTES);
    sessions.close(SessionId(2));
    sessions.close(SessionId(2));
    assert_eq!(sessions.bytes(), SESSION_OVERHEAD);
}
