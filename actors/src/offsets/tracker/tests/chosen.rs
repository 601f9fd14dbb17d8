//! Starts that a person chose.

use super::*;

#[test]
fn a_start_that_a_person_chose_is_committed_once_whatever_the_group_has() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 7);
    assert_eq!(stage.commit(), Some((1, 7)));
    stage.answer(1, 7, None);
    let cell = stage.begin_chosen(2, 3);
    assert_eq!(stage.commit(), Some((2, 3)), "below what was committed in the epoch before");
    stage.answer(2, 3, Some(RDKafkaErrorCode::RequestTimedOut));
    assert_eq!(stage.commit(), Some((2, 3)), "until it is");
    stage.answer(2, 3, None);
    assert_eq!((cell.committed(), stage.commit()), (Some(NextOffset(3)), None), "and not again");
}

#[test]
fn a_start_that_a_person_chose_is_committed_at_once_by_count_and_by_the_app_when_it_says_so() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Records(1000));
    stage.begin_chosen(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin_chosen(1, 3);
    assert_eq!(stage.commit(), None);
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 3)));
    assert!(answer.try_recv().is_err(), "not yet");
    stage.answer(1, 3, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
}

#[test]
fn a_start_that_a_person_chose_is_among_the_last_commits_of_a_drain() {
    let mut stage = Stage::new();
    stage.begin_chosen(1, 3);
    let commits = stage.tracker.last_commits(&[(0, Epoch(1))], &Default::default());
    assert_eq!(commits[0].entries[0].next, NextOffset(3));
}
