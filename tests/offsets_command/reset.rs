//! `troupe offsets reset`.

use std::io::Write;

use jiff::Timestamp;
use serde_json::json;

use crate::spawning::output;
use crate::stage::{Ran, STOP, Stage, eventually, now, skipped, troupe};

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 50);
    stage.plant(&[(0, 20, b"a note"), (1, 30, b"")]);
    let before = stage.commits();
    for words in [&["--dry-run"][..], &[]] {
        let ran =
            stage.run(&[&["offsets", "reset", "--topic", stage.topic.as_str(), "--shift-by", "-25"], words].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let topic = stage.topic.as_str();
        assert_eq!(ran.rows()[0][..5], [topic, "0", "20", "0", "-20"], "{ran:?}");
        assert_eq!(ran.rows()[1], [topic, "1", "30", "5", "-25"], "{ran:?}");
        assert!(ran.stdout.contains("-5 is below the log's start"), "{ran:?}");
        assert!(ran.stderr.contains("would reset 2 partitions") && ran.stderr.contains("1 commit would go"), "{ran:?}");
        assert_eq!(stage.commits(), before);
    }
    let plan = stage.json(&["offsets", "reset", "--topic", &stage.topic, "--to-latest"]);
    assert_eq!(plan["executed"], false);
    assert_eq!(
        plan["partitions"][0],
        json!({"topic": stage.topic, "partition": 0, "current": 20, "new": 50, "change": 30})
    );
    assert_eq!(stage.commits(), before);
}

#[test]
fn every_way_to_reset_commits_what_it_says() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 0);
    let hour = 3_600_000;
    let (then, later) = (now() - 3 * hour, now() - hour);
    stage.produce(40, Some(then));
    stage.produce(10, Some(later));
    stage.delete_records(10);
    stage.plant(&[(0, 20, b"a note")]);
    assert_eq!(stage.reset(&["--to-current"]), [Some(20), Some(50)], "without a commit it is the log's end");
    assert!(stage.commits()[0].metadata.is_empty());
    assert_eq!(stage.reset(&["--to-earliest"]), [Some(10), Some(10)]);
    assert_eq!(stage.reset(&["--to-latest"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--to-offset", "33"]), [Some(33), Some(33)]);
    assert_eq!(stage.reset(&["--shift-by", "-3"]), [Some(30), Some(30)]);
    assert_eq!(stage.reset(&["--shift-by", "7"]), [Some(37), Some(37)]);
    assert_eq!(stage.reset(&["--by-duration", "PT2H"]), [Some(40), Some(40)]);
    assert_eq!(stage.reset(&["--by-duration", "P1DT2H"]), [Some(10), Some(10)], "all is younger");
    // What lies outside the log.
    assert_eq!(stage.reset(&["--to-offset", "51"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--to-offset", "9"]), [Some(10), Some(10)]);
    assert_eq!(stage.reset(&["--shift-by", "1000"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--shift-by=-9223372036854775808"]), [Some(10), Some(10)]);
    // A time with and without a zone; behind the last record; before the first.
    assert_eq!(stage.reset(&["--to-datetime", "2001-09-09T01:46:40.000"]), [Some(10), Some(10)]);
    assert_eq!(stage.reset(&["--to-datetime", "2101-09-09T01:46:40.000+02:00"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--to-datetime", &utc(later)]), [Some(40), Some(40)], "just then is late enough");
    assert_eq!(stage.reset(&["--to-datetime", &utc(later + 1)]), [Some(50), Some(50)]);
    // Of one partition only.
    let one = format!("{}:1", stage.topic);
    let ran = stage.run(&["offsets", "reset", "--topic", &one, "--to-earliest", "--execute"]);
    assert_eq!((ran.code, stage.committed()), (Some(0), vec![Some(50), Some(10)]), "{ran:?}");
    // What a file says, with more topics than one.
    let other = Stage::with(1, 5);
    let mut plan = tempfile::NamedTempFile::new().unwrap();
    write!(plan, "{},0,12\n{},0,3\n{},1,99\n", stage.topic, other.topic, stage.topic).unwrap();
    let plan = plan.path().to_str().unwrap();
    let ran = stage.run(&["offsets", "reset", "--from-file", plan, "--execute"]);
    assert_eq!((ran.code, stage.committed()), (Some(0), vec![Some(12), Some(50)]), "{ran:?}");
    let show = stage.json(&["offsets", "show", "--topic", &other.topic]);
    assert_eq!(show["partitions"][0]["committed"], 3);
    // All that the group has a commit of.
    let ran = stage.run(&["offsets", "reset", "--all-topics", "--to-latest", "--execute"]);
    assert_eq!((ran.code, ran.rows().len(), stage.committed()), (Some(0), 3, vec![Some(50), Some(50)]), "{ran:?}");
}

/// UTC without a zone, as Kafka's tool takes it.
fn utc(millis: i64) -> String {
    Timestamp::from_millisecond(millis).unwrap().to_string().replace('Z', "")
}

#[test]
fn nothing_is_shifted_where_one_partition_has_no_commit() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 50);
    stage.plant(&[(0, 20, b"")]);
    let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--shift-by", "1", "--execute"]);
    ran.fails(3, &format!("{}-1: it has no commit to shift", stage.topic));
    assert_eq!(stage.committed(), [Some(20), None]);
}

#[test]
fn a_group_with_a_member_is_not_reset_and_the_member_is_named() {
    if skipped() {
        return;
    }
    for protocol in ["classic", "consumer"] {
        let stage = Stage::with(2, 50);
        let member = stage.consumer(protocol);
        eventually("it is through", || stage.committed() == [Some(50), Some(50)]);
        let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--to-earliest", "--execute"]);
        ran.fails(3, "has members, and cannot be reset while they run\n  client till at ");
        assert!(ran.stderr.starts_with("error: group "), "it is not even tried: {ran:?}");
        assert!(ran.stderr.contains(", with 2 partitions\nstop them and try again"), "{ran:?}");
        assert_eq!(stage.committed(), [Some(50), Some(50)]);
        // A rehearsal is possible.
        let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--to-earliest"]);
        assert!(ran.code == Some(0) && ran.stderr.contains("client till at "), "{ran:?}");
        member.shutdown_blocking(STOP).unwrap();
        eventually("the member is gone", || stage.json(&["lag"])["members"] == 0);
        assert_eq!(stage.reset(&["--to-earliest"]), [Some(0), Some(0)]);
        // And the group goes on from there.
        let member = stage.consumer(protocol);
        eventually("it is through again", || stage.committed() == [Some(50), Some(50)]);
        assert_eq!(member.state().counters.finished, 100);
        member.shutdown_blocking(STOP).unwrap();
    }
}

#[test]
fn a_group_that_does_not_exist_is_missing_and_comes_into_being_by_a_reset() {
    if skipped() {
        return;
    }
    let stage = Stage::with(1, 50);
    for words in [&["lag"][..], &["offsets", "show"], &["lag", "--topic", &stage.topic]] {
        stage.run(words).fails(3, "does not exist: it has neither members nor commits");
    }
    stage.run(&["offsets", "reset", "--all-topics", "--to-earliest"]).fails(3, "has committed nothing");
    let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--to-offset", "7", "--execute"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("does not exist, and comes into being"), "{ran:?}");
    assert_eq!(stage.json(&["lag"])["lag"], 43);
}

#[test]
fn what_cannot_be_asked_for_ends_with_2() {
    let reset = ["offsets", "reset", "--bootstrap-server", "localhost:1", "--group", "g"];
    for words in [
        &["--topic", "t"][..],
        &["--to-earliest"],
        &["--topic", "t", "--all-topics", "--to-earliest"],
        &["--topic", "t", "--to-earliest", "--to-latest"],
        &["--topic", "t", "--to-earliest", "--dry-run", "--execute"],
        &["--topic", "t", "--to-offset", "-1"],
        &["--topic", "t:x", "--to-earliest"],
        &["--topic", "t", "--to-datetime", "yesterday"],
        &["--topic", "t", "--by-duration", "1h"],
        &["--topic", "t", "--by-duration", "P1M"],
        &["--topic", "t", "--from-file", "plan.csv"],
    ] {
        let ran = Ran::of(output(&mut troupe(&[&reset[..], words].concat())));
        assert!(ran.code == Some(2) && ran.stdout.is_empty() && !ran.stderr.is_empty(), "{words:?}: {ran:?}");
    }
    for words in [&["lag"][..], &["lag", "--group", "g", "--max", "-1"], &["offsets"], &["offsets", "show"]] {
        assert_eq!(Ran::of(output(&mut troupe(words))).code, Some(2), "{words:?}");
    }
    let mut plan = tempfile::NamedTempFile::new().unwrap();
    plan.write_all(b"t,0,5\nt,zero,5\n").unwrap();
    let ran = Ran::of(output(troupe(&reset).arg("--from-file").arg(plan.path())));
    ran.fails(2, "line 2 is not topic,partition,offset");
}
