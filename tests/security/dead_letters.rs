//! A dead-letter topic that the consumer's user may not see, or not write to.

use std::time::{Duration, Instant};

use kafka_troupe::consume::{ConsumerHandle, DeadLetters, OnDeadLetterFailure, Outcome, Record};

use crate::acl::{Operation, Resource};
use crate::servers::CAROL;
use crate::{Door, STOP, ended, says, skipped};

/// Where Carol may read the topic, and not more.
fn door() -> (Door, String) {
    let door = Door::plain(CAROL);
    door.allow(CAROL, Operation::RD_KAFKA_ACL_OPERATION_READ, Resource::RD_KAFKA_RESOURCE_GROUP, &door.group());
    door.allow(CAROL, Operation::RD_KAFKA_ACL_OPERATION_READ, Resource::RD_KAFKA_RESOURCE_TOPIC, &door.topic);
    let letters = format!("{}-dead-letters", door.topic);
    door.kafka.create_topic(&letters, 1).unwrap();
    (door, letters)
}

fn consumer(door: &Door, letters: DeadLetters) -> ConsumerHandle {
    let handler = |_: &Record| Outcome::DeadLetter { cause: "hopeless".into() };
    door.consumer().dead_letters(letters).handler(handler).start().unwrap()
}

#[test]
fn no_permission_for_the_dead_letters_is_told_with_the_command_that_gives_it() {
    if skipped() {
        return;
    }
    let (door, letters) = door();
    let command = format!("--operation Write --topic {letters}");
    let stop = || DeadLetters::to(&letters).on_failure(OnDeadLetterFailure::Stop);
    says(&ended(&consumer(&door, stop())), &[&letters, "may not be seen", &command]);
    // To see it is not to write to it.
    door.allow(CAROL, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Resource::RD_KAFKA_RESOURCE_TOPIC, &letters);
    says(&ended(&consumer(&door, stop())), &[&letters, &door.topic, "offset 0", "authori", &command]);

    let waits = consumer(&door, DeadLetters::to(&letters));
    let dead = || waits.state().dead_letters.unwrap();
    eventually(&waits, || dead().trouble.is_some_and(|trouble| trouble.contains(&command)));
    assert_eq!(dead().written, 0);
    door.allow(CAROL, Operation::RD_KAFKA_ACL_OPERATION_WRITE, Resource::RD_KAFKA_RESOURCE_TOPIC, &letters);
    eventually(&waits, || dead().written == 1);
    assert!(waits.shutdown_blocking(STOP).unwrap().drained);
}

#[track_caller]
fn eventually(consumer: &ConsumerHandle, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + STOP;
    while !condition() {
        assert!(Instant::now() < until, "{:?}", consumer.state());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
