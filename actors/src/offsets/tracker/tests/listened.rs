//! The listener's turn in a drain.

use super::*;

#[test]
fn what_is_finished_after_the_listener_was_told_how_far_it_is_does_not_count() {
    let mut stage = Stage::new();
    let cell = stage.begin(1);
    stage.report(1, 3);
    stage.drain(1);
    assert_eq!(stage.told(), Some(3));
    stage.report(1, 9);
    assert_eq!((cell.watermark(), stage.last(LastCommit::Made(Offsets::new()))), (NextOffset(3), Some(3)));
    assert_eq!(stage.tracker.board.counters.snapshot().fenced_reports, 1);
}

#[test]
fn nothing_is_committed_while_the_listener_has_its_turn_but_what_it_asks_for() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 9);
    stage.drain(1);
    assert_eq!((stage.told(), stage.commit()), (Some(9), None));
    let mut answer = stage.ask_for(4, false);
    assert_eq!(stage.sent(), Some((1, 4)));
    stage.answer(1, 4, None);
    assert_eq!((answer.try_recv(), stage.commit()), (Ok(Ok(())), None));
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 9)));
    stage.answer(1, 9, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(stage.last(LastCommit::Made(Offsets::new())), None, "it is committed already");
}

#[test]
fn a_listener_that_failed_holds_back_the_last_commit_but_for_what_was_asked_for() {
    for when in [CommitWhen::default(), CommitWhen::Manual] {
        for (asked, committed) in [(None, None), (Some(2), Some(2))] {
            let mut stage = Stage::of(Membership::default(), when);
            stage.begin(1);
            stage.report(1, 9);
            stage.drain(1);
            assert_eq!(stage.told(), Some(9));
            if let Some(asked) = asked {
                drop(stage.ask_for(asked, false));
                stage.sent();
            }
            assert_eq!(stage.last(LastCommit::HeldBack), committed, "{when:?}");
        }
    }
}

#[test]
fn the_last_commit_says_what_the_listener_gave_and_never_past_what_is_finished() {
    for when in [CommitWhen::default(), CommitWhen::Manual] {
        for (given, committed) in [(5, 5), (9, 9), (30, 9)] {
            let mut stage = Stage::of(Membership::default(), when);
            stage.begin(1);
            stage.report(1, 9);
            stage.drain(1);
            assert_eq!(stage.told(), Some(9));
            assert_eq!(stage.last(Stage::given(given)), Some(committed), "{when:?}");
        }
    }
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 9);
    stage.drain(1);
    stage.told();
    assert_eq!(stage.last(LastCommit::Made(Offsets::new())), None, "the app commits, and asked for nothing");
}
