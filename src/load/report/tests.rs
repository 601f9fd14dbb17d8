use std::time::Duration;

use kafka_troupe::consume::Order;

use super::super::families::ByFamily;
use super::super::faults::Blow;
use super::super::figures::{Figures, Latency};
use super::super::gates::Gates;
use super::super::keys::Keys;
use super::super::latencies::Latencies;
use super::super::of_phases::TooMuch;
use super::super::pipeline::expect::Expect;
use super::super::pipeline::ledger::{At, Fault, Kind, Who};
use super::super::pipeline::manifest::RunId;
use super::super::pipeline::measured::{Measured, Verified};
use super::super::pipeline::part::Part;
use super::super::pipeline::result::{PipelineResult, Settings};
use super::super::pipeline::run::Verify;
use super::super::pipeline::verdict::{Circumstances, Waited};
use super::super::plan::{Engine, Length, Pace, Plan};
use super::super::recovery::Recovered;
use super::super::resources::Resources;
use super::super::result::{Effective, RunResult, Scene, Told};
use super::super::run::{self, OfPartition};
use super::super::sample::tests::sample;
use super::super::sample::{Phase, Sample};
use super::super::schedule::Arrivals;
use super::super::sizes::{Content, Sizes};
use super::super::verdict;
use super::super::work::{Time, Work};
use super::*;

#[path = "../../../tests/load_report/browser.rs"]
mod browser;

const HOSTILE: &str = "</title></style><script>document.title='run'</script><img src=x onerror=\"alert('x')\">&amp;";

fn plan(name: &str) -> Plan {
    Plan {
        run: 1,
        seed: 2,
        topic: name.to_owned(),
        group: name.to_owned(),
        partitions: 200,
        producers: 2,
        members: 3,
        pace: Pace::OpenLoop { rate: 1_000, arrivals: Arrivals::Constant },
        warmup: Duration::from_secs(10),
        length: Length::Seconds(Duration::from_secs(3_000)),
        drain: Duration::from_secs(30),
        content: Content::Filler(Sizes::Fixed(100)),
        keys: Keys::Null,
        order: Order::Key,
        concurrency: Some(100),
        engine: Engine::Troupe,
        work: Work::Sleep(Time::Fixed(Duration::from_millis(5))),
        failure_rate: 0.1,
        verify: true,
        faults: Vec::new(),
        most_outstanding: None,
    }
}

/// A run of almost an hour in which all that can be said is said, under a name.
fn eventful(name: &str, saturated: bool) -> RunResult {
    let mut latencies = ByFamily::try_new(|_| Latencies::new()).unwrap();
    for (place, family) in super::super::families::Family::ALL.into_iter().enumerate() {
        let from = 10_u64.pow(4 + place as u32 / 2);
        (1..=5_000_u64)
            .for_each(|record| latencies.of_mut(family).record(from * (record + 5_000_000 / (5_001 - record))));
    }
    let summary = latencies.end_to_end.summary();
    let samples = (1..=3_030_u32).map(|second| {
        let phase = match second {
            ..=10 => Phase::Warmup,
            11..=3_010 => Phase::Load,
            _ => Phase::Drain,
        };
        let dip = (1_500..1_600).contains(&second);
        let rate = if phase == Phase::Drain { 0 } else { 1_000 };
        Sample {
            target: (rate > 0).then_some(rate),
            sent: Some(rate),
            acked: Some(if dip { rate / 2 } else { rate }),
            done: Some(if dip { 0 } else { rate }),
            lag: Some(if dip { u64::from(second - 1_499) * 1_000 } else { 3 }),
            uncommitted: Some(120),
            in_flight: Some(u64::from(second % 7)),
            end_to_end: summary.filter(|_| !dip),
            produce_ack: summary,
            cpu_seconds: Some(0.4),
            rss_bytes: Some(80 << 20),
            ..sample(f64::from(second), phase)
        }
    });
    let mut latency: Latency = latencies.map(Latencies::summary);
    let mut curves = latencies.map(Latencies::curve);
    if saturated {
        (latency.end_to_end, latency.residence) = (None, None);
        (curves.end_to_end, curves.residence) = (Vec::new(), Vec::new());
    }
    let figures = Figures {
        sent: 3_010_000,
        acked: 3_010_000,
        handled: 3_009_990,
        lost: 10,
        duplicated: 4,
        redelivered: 5,
        times_handled: [(2, 3), (3, 1)].into(),
        late: 17,
        scheduled: 3_000_000,
        rate: 999.6,
        latency,
        ..Figures::default()
    };
    let told = |name: &str, value: &str, from: &str| Told {
        name: name.to_owned(),
        value: value.to_owned(),
        from: from.to_owned(),
    };
    let measured = run::Measured {
        figures,
        around: verdict::Circumstances {
            order_promised: true,
            open_loop: true,
            saturated,
            ..verdict::Circumstances::default()
        },
        samples: samples.collect(),
        curves,
        phases: Vec::new(),
        partitions: (0..200)
            .map(|it| OfPartition { end: 10_000 + it * 50, handled: 10_000, committed: 10_000 })
            .collect(),
        cpu_seconds: Some(1_200.0),
        handled_meanwhile: 3_000_000,
        resources: Resources { peak_rss_bytes: Some(90 << 20), threads: Some(40), ..Resources::default() },
        first_error: Some(format!("{name} was not taken")),
        stopped: true,
        recovered: vec![Recovered {
            fault: Blow::Kill,
            member: 1,
            at_ms: 500_000,
            shared_out_after_ms: Some(3_000),
            recovered_after_ms: Some(90_000),
            most_behind: 100_000,
            repeated: 4,
        }],
    };
    let settings = Effective {
        producer: vec![told("kafka.sasl.password", "***", "--command-config")],
        consumer: vec![told("consumer.group_id", name, name), told("consumer.topics", name, "default")],
    };
    let gates: Gates = "lost==0 && e2e.p99<50ms && dup_rate<0.001".parse().unwrap();
    let scene = Scene { broker: name.to_owned(), settings, started: "2026-01-02T03:04:05Z".to_owned() };
    RunResult::new(&plan(name), scene, &gates, measured)
}

/// A run through an application that was wrong in each way, or one host's part of it, under a name.
fn through_an_application(name: &str, part: Part) -> PipelineResult {
    let RunResult { outcome, .. } = eventful(name, false);
    let (sends, verifies) = (part.sends(), part.verifies());
    let here = |count: Option<u64>, there: bool| count.filter(|_| there);
    let samples = outcome.samples.into_iter().map(|it| Sample {
        target: here(it.target, sends),
        sent: here(it.sent, sends),
        acked: here(it.acked, sends),
        done: here(it.done, verifies),
        lag: here(it.lag, sends && verifies),
        uncommitted: None,
        in_flight: here(it.in_flight, sends),
        end_to_end: it.end_to_end.filter(|_| verifies),
        produce_ack: it.produce_ack.filter(|_| sends),
        phase: if sends && it.phase != Phase::Drain { it.phase } else { Phase::Wait },
        ..it
    });
    let measured = ByFamily::try_new(|family| Ok::<_, ()>(part.measures(family))).unwrap();
    let (mut latency, mut curves) = (outcome.figures.latency, outcome.curves);
    for (family, _) in measured.each().filter(|(_, measured)| !**measured) {
        *latency.of_mut(family) = None;
        curves.of_mut(family).clear();
    }
    let faults = [Kind::Missing, Kind::Duplicated, Kind::Reordered, Kind::Corrupted].map(|fault| Fault {
        fault,
        who: (fault != Kind::Corrupted).then_some(Who { producer: 1, sequence: 1_234_567 }),
        place: (fault != Kind::Missing).then_some(At { partition: 199, offset: 123_456_789 }),
    });
    let measured = Measured {
        figures: Figures { latency, foreign: 7, reordered: 1, corrupted: 1, ..outcome.figures },
        around: Circumstances {
            expect: Expect::default(),
            open_loop: true,
            saturated: false,
            queued: false,
            worked_off: None,
            too_much: TooMuch::default(),
            unread: false,
            undecided: 0,
            verified: verifies,
            sent_known: sends,
            unsent: 0,
            nameless: 3,
        },
        phases: Vec::new(),
        samples: samples.collect(),
        curves,
        resources: Resources { peak_rss_bytes: Some(90 << 20), threads: Some(40), ..Resources::default() },
        first_error: outcome.first_error.filter(|_| sends),
        stopped: true,
        verified: verifies.then(|| Verified {
            waited: Waited::Stopped,
            two_clocks: !sends,
            before_sent: 12,
            not_timed: 1_000,
            without_identity: 3,
            partitions: (0..200).map(|it| 10_000 + it * 50).collect(),
            faults: faults.to_vec(),
        }),
    };
    let verify = Verify { topic: name.to_owned(), expect: Expect::default(), settle: Duration::from_secs(30) };
    let plan = plan(name);
    let settings = Settings {
        plan: Some(&plan).filter(|_| sends),
        verify: Some(&verify).filter(|_| verifies),
        id_pointer: Some(format!("/{name}")),
    };
    let scene = Scene { broker: name.to_owned(), settings: outcome.settings, started: outcome.started };
    PipelineResult::new((RunId(0x1f), part), settings, scene, &Gates::default(), measured).unwrap()
}

const PARTS: [(Part, &str); 3] = [(Part::Whole, "whole"), (Part::ProduceOnly, "sent"), (Part::VerifyOnly, "seen")];

fn sections(page: &str) -> Vec<&str> {
    page.split("<section id=\"").skip(1).filter_map(|it| it.split('"').next()).collect()
}

#[test]
fn the_verdict_comes_first_and_each_section_once() {
    let page = EnginePage(&eventful("orders", false)).to_string();
    let expected = [
        "verdict",
        "faults",
        "records",
        "gates",
        "latencies",
        "throughput",
        "latency",
        "percentiles",
        "lag",
        "partitions",
        "resources",
        "configuration",
    ];
    assert_eq!(sections(&page), expected);
    assert!(page.contains("FAILED") && page.contains("the gate lost==0 does not hold: it is 10"));
    assert!(page.contains("***"));
    assert!(!page.contains("NaN") && !page.contains("inf "));
    // Long runs are drawn by their peaks.
    assert!(page.len() < 400_000, "{}", page.len());
}

#[test]
fn names_that_are_html_are_text() {
    let page = EnginePage(&eventful(HOSTILE, false)).to_string();
    for tag in ["<script", "<img", "</style><"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(page.contains("&lt;script&gt;document.title=&#39;run&#39;&lt;/script&gt;"));
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn each_part_of_a_run_through_an_application_shows_what_it_knows_and_names_are_text() {
    let common = ["verdict", "records", "gates", "latencies", "throughput", "latency", "percentiles"];
    for (part, only) in [
        (Part::Whole, ["faults", "lag", "partitions"].as_slice()),
        (Part::ProduceOnly, &["lag"]),
        (Part::VerifyOnly, &["faults", "partitions"]),
    ] {
        let page = ApplicationPage(&through_an_application(HOSTILE, part)).to_string();
        let mut shown = sections(&page);
        shown.sort_unstable();
        let mut expected: Vec<&str> = [&common, only, &["resources", "configuration"]].concat();
        expected.sort_unstable();
        assert_eq!(shown, expected);
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("NaN"), "{part:?}");
        assert!(!page.contains("handler") && !page.contains("residence") && !page.contains("commit"), "{part:?}");
        assert_eq!(page.contains("produce ack"), part.sends());
        assert_eq!(page.contains("end to end"), part.verifies());
        assert_eq!(page.contains("two hosts"), part == Part::VerifyOnly);
        // Without a manifest the verifying host cannot say how much was sent.
        assert_eq!(page.contains("sent late"), part.sends());
    }
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    let page = EnginePage(&eventful("orders", false)).to_string();
    for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn above_saturation_no_depth_of_a_backlog_is_called_a_latency() {
    let page = EnginePage(&eventful("orders", true)).to_string();
    assert!(page.contains("Without figures: end to end, residence in the engine; above saturation"), "{page}");
    assert!(page.contains("End to end is not shown") && !page.contains("</i>end to end"));
}

#[test]
fn a_long_run_under_a_long_and_hostile_name_can_be_read() {
    let Some(mut browser) = browser::Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    // `target/debug/deps/test`: beside what tests of the whole tool leave.
    let kept = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("tmp");
    for (name, result) in [
        ("load-report-hostile", eventful(&format!("{}{HOSTILE}", "long".repeat(60)), false)),
        ("load-report-saturated", eventful("orders", true)),
    ] {
        let page = folder.path().join("report.html");
        std::fs::write(&page, EnginePage(&result).to_string()).unwrap();
        browser.look_at_all(&page, &kept, name);
    }
    for (part, name) in PARTS {
        let page = folder.path().join("report.html");
        let result = through_an_application(&format!("{}{HOSTILE}", "long".repeat(60)), part);
        std::fs::write(&page, ApplicationPage(&result).to_string()).unwrap();
        browser.look_at_all(&page, &kept, &format!("load-pipeline-hostile-{name}"));
    }
}
