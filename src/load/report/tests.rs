use std::time::Duration;

use kafka_troupe::consume::Order;

use super::super::families::ByFamily;
use super::super::faults::Blow;
use super::super::figures::{Figures, Latency};
use super::super::gates::Gates;
use super::super::keys::Keys;
use super::super::latencies::Latencies;
use super::super::plan::{Engine, Length, Pace, Plan};
use super::super::recovery::Recovered;
use super::super::resources::Resources;
use super::super::result::{Effective, Told};
use super::super::run::{Measured, OfPartition};
use super::super::sample::tests::sample;
use super::super::sample::{Phase, Sample};
use super::super::schedule::Arrivals;
use super::super::sizes::{Content, Sizes};
use super::super::verdict::Circumstances;
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
            sent: rate,
            acked: if dip { rate / 2 } else { rate },
            done: if dip { 0 } else { rate },
            lag: if dip { u64::from(second - 1_499) * 1_000 } else { 3 },
            uncommitted: 120,
            in_flight: u64::from(second % 7),
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
    let measured = Measured {
        figures,
        around: Circumstances { order_promised: true, open_loop: true, saturated, ..Circumstances::default() },
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
    RunResult::new(&plan(name), name.to_owned(), settings, &gates, "2026-01-02T03:04:05Z".to_owned(), measured)
}

fn sections(page: &str) -> Vec<&str> {
    page.split("<section id=\"").skip(1).filter_map(|it| it.split('"').next()).collect()
}

#[test]
fn the_verdict_comes_first_and_each_section_once() {
    let page = Page(&eventful("orders", false)).to_string();
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
    let page = Page(&eventful(HOSTILE, false)).to_string();
    for tag in ["<script", "<img", "</style><"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(page.contains("&lt;script&gt;document.title=&#39;run&#39;&lt;/script&gt;"));
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    let page = Page(&eventful("orders", false)).to_string();
    for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn above_saturation_no_depth_of_a_backlog_is_called_a_latency() {
    let page = Page(&eventful("orders", true)).to_string();
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
        std::fs::write(&page, Page(&result).to_string()).unwrap();
        browser.look_at_all(&page, &kept, name);
    }
}
