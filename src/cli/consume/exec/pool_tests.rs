#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;

use futures_util::FutureExt;
use kafka_troupe::ids::{Offset, TopicPartition};
use kafka_troupe::testing::{HandlerTest, TestRecord};
use tempfile::TempDir;
use tokio::time::timeout;

use super::super::handler::Handler as Work;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A record of this partition. The engine's test has a runtime of its own, which is none within another.
fn record(partition: i32, value: &'static str) -> Record {
    std::thread::spawn(move || record_of(partition, value)).join().unwrap()
}

fn record_of(partition: i32, value: &str) -> Record {
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let test = HandlerTest::handler(move |record: &Record| drop(keeps.lock().unwrap().replace(record.clone())));
    test.at(TopicPartition::new("t", partition), Offset(0)).feed(TestRecord::value(value));
    kept.lock().unwrap().take().unwrap()
}

/// Workers that are at a slow record until there is a file `go`, and write down what they get.
fn pool(dir: &TempDir, workers: usize, within: Option<Duration>) -> Arc<Pool> {
    let exec = r#"while IFS= read -r line; do printf '%s\n' "$line" >> DIR/got;
        case $line in *slow*) until [ -e DIR/go ]; do sleep 0.01; done;; esac; echo ok; done"#;
    let processes = Arc::new(Processes::of(exec.replace("DIR", dir.path().to_str().unwrap())));
    Pool::start(processes, workers, within, Handle::current(), PassOn::to_nobody())
}

fn got(dir: &Path) -> usize {
    std::fs::read_to_string(dir.join("got")).unwrap_or_default().lines().count()
}

/// Has a worker begin with the record, and then waits for it no longer.
async fn begin_and_drop(pool: &Arc<Pool>, record: &Record, dir: &Path) {
    let before = got(dir);
    let lease = pool.lease(record).await.unwrap();
    let mut answer = pin!(lease.answer());
    let begun = async {
        while got(dir) == before {
            assert!(answer.as_mut().now_or_never().is_none(), "it answers only when it is told to");
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
}

async fn done(pool: &Arc<Pool>, record: &Record) -> Result<Answer, Ended> {
    timeout(PATIENCE, async { pool.lease(record).await.unwrap().answer().await }).await.unwrap()
}

#[tokio::test]
async fn a_worker_whose_answer_nobody_waits_for_gets_no_other_record_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(&dir, 1, None);
    begin_and_drop(&pool, &record(0, "slow"), dir.path()).await;
    let other = record(1, "other");
    let mut lease = Box::pin(pool.lease(&other));
    for _ in 0..20 {
        sleep(Duration::from_millis(5)).await;
        assert!((&mut lease).now_or_never().is_none(), "it is at the first one still");
    }
    std::fs::write(dir.path().join("go"), "").unwrap();
    let lease = timeout(PATIENCE, lease).await.unwrap().unwrap();
    assert_eq!(lease.answer().await.unwrap(), Answer::Done);
    assert_eq!(got(dir.path()), 2);
    pool.close(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_partition_waits_for_the_worker_that_is_still_at_its_record_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(&dir, 2, None);
    begin_and_drop(&pool, &record(0, "slow"), dir.path()).await;
    assert_eq!(done(&pool, &record(1, "other")).await.unwrap(), Answer::Done);
    let again = record(0, "again");
    let mut lease = Box::pin(pool.lease(&again));
    assert!((&mut lease).now_or_never().is_none(), "though a worker is idle");
    std::fs::write(dir.path().join("go"), "").unwrap();
    assert_eq!(timeout(PATIENCE, lease).await.unwrap().unwrap().answer().await.unwrap(), Answer::Done);
    pool.close(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_timeout_holds_also_for_an_answer_that_nobody_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(&dir, 1, Some(Duration::from_millis(300)));
    begin_and_drop(&pool, &record(0, "slow"), dir.path()).await;
    assert_eq!(done(&pool, &record(0, "again")).await.unwrap(), Answer::Done, "by the one in its place");
    pool.close(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn who_waits_for_a_worker_goes_when_its_partition_is_to_be_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(&dir, 1, None);
    begin_and_drop(&pool, &record(0, "slow"), dir.path()).await;
    let other = record(1, "other");
    let mut lease = Box::pin(pool.lease(&other));
    assert!((&mut lease).now_or_never().is_none());
    other.revoking().cancel();
    assert!(timeout(PATIENCE, lease).await.unwrap().is_none());
    pool.close(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_long_at_a_record_that_was_given_up_is_named_again_when_that_has_taken_twice_as_long() {
    let mut said = Vec::new();
    assert!(timeout(Duration::from_secs(500), remind(|age| said.push(age.as_secs()))).await.is_err());
    assert_eq!(said, [60, 120, 240, 480]);
}

#[tokio::test]
async fn a_record_at_which_workers_end_in_good_order_one_after_the_other_has_failed_in_the_end() {
    // Each has answered for another record before, so that its end is none that counts.
    let exec = "while IFS= read -r line; do case $line in *poison*) exit 0;; esac; echo ok; done";
    let pool = Pool::start(Arc::new(Processes::of(exec.to_owned())), 1, None, Handle::current(), PassOn::to_nobody());
    let others = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move {
            let other = record(1, "other");
            while let Some(lease) = pool.lease(&other).await {
                let _ = lease.answer().await;
            }
        }
    });
    let handler = Work::new(Arc::clone(&pool), None, None);
    let failure = timeout(PATIENCE, handler.handle(record(0, "poison"))).await.unwrap().unwrap_err();
    assert!(format!("{failure:?}").contains("worker 1 ended (exit status: 0)"), "{failure:?}");
    others.abort();
    pool.close(Duration::from_secs(2)).await;
}
