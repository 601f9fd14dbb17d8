//! What a run leaves.

use super::*;

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The ids of a page's sections.
fn sections(folder: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    page.split("<section id=\"").skip(1).map(|it| it.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn each_part_of_a_run_leaves_all_that_it_knows_in_its_folder_and_a_page_that_can_be_read() {
    let broker = broker();
    let servers = broker.bootstrap_servers();
    let _app =
        App::start(servers, ("in", "out"), counted(|number, entry| if number == 20 { vec![] } else { vec![entry] }));
    let folders = tempfile::tempdir().unwrap();
    let [whole, sent, seen] = ["whole", "sent", "seen"].map(|name| folders.path().join(name));
    let load = |arguments: &str, folder: &Path| {
        let mut command = load(servers, arguments, folder);
        command.env("TROUPE_KAFKA__SASL_PASSWORD", "hunter2");
        command
    };
    let load_of = |more: &str| format!("--rate 300 --duration 3s --warmup 1s --keys zipf:1.1:50 {more}");

    result(&mut load(&load_of("--topic in --verify-topic out --settle 3s --assert lost<3&&e2e.p99<60s"), &whole));
    let verifying =
        format!("--verify-only --run 1f --verify-topic out --settle 60s --manifest {}/manifest.json", sent.display());
    let mut early = load(&verifying, &seen);
    let mut early = early.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(early.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("  wait  ")).unwrap();
    let sending = load_of("--topic in --verify-topic out --produce-only --run 1f --assert ack.p99<60s&&acked>0");
    result(&mut load(&sending, &sent));
    lines.for_each(drop);
    early.wait_with_output().unwrap();

    let logs = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        files(&whole),
        logs(&["end_to_end.hlog", "produce_ack.hlog", "report.html", "result.json", "schedule_delay.hlog"])
    );
    assert_eq!(
        files(&sent),
        logs(&["manifest.json", "produce_ack.hlog", "report.html", "result.json", "schedule_delay.hlog"])
    );
    assert_eq!(files(&seen), logs(&["end_to_end.hlog", "report.html", "result.json"]));

    for (folder, producer, consumer) in [(&whole, true, true), (&sent, true, false), (&seen, false, true)] {
        for file in files(folder) {
            let text = std::fs::read_to_string(folder.join(&file)).unwrap();
            assert!(!text.contains("hunter2"), "{file}");
            assert!(!file.ends_with(".hlog") || text.lines().count() > 4, "{file}: {text}");
        }
        let result: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
        for (of, here) in [("producer", producer), ("consumer", consumer)] {
            let settings = result["settings"][of].as_array().unwrap();
            assert_eq!(!settings.is_empty(), here, "{of}: {result}");
            let password = settings.iter().find(|it| it["name"] == "kafka.sasl.password");
            let told = password.map(|it| [&it["value"], &it["from"]]);
            assert_eq!(told, here.then_some([&json!("***"), &json!("TROUPE_KAFKA__SASL_PASSWORD")]), "{of}: {result}");
        }
        assert!(result["host"]["os"].is_string() && result["versions"]["librdkafka"].is_string(), "{result}");
        assert!(result["resources"]["load_cpu_seconds"].as_f64().unwrap() > 0.0, "{result}");
        // Those that are measured may have no curve, on a machine too busy to keep up; their logs have them in any case.
        for (latency, here) in [("produce_ack", producer), ("end_to_end", consumer), ("handler", false)] {
            assert!(here || result["curves"][latency].as_array().unwrap().is_empty(), "{latency}: {result}");
        }
        let came: Vec<u64> = serde_json::from_value(result["verification"]["partitions"].clone()).unwrap_or_default();
        assert_eq!(came.len(), if consumer { PARTITIONS as usize } else { 0 });
        assert_eq!(came.iter().sum::<u64>(), result["figures"]["handled"].as_u64().unwrap());
    }

    let all = [
        "verdict",
        "records",
        "faults",
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
    assert_eq!(sections(&whole), all);
    assert_eq!(
        sections(&sent),
        all.into_iter().filter(|it| !["faults", "partitions"].contains(it)).collect::<Vec<_>>()
    );
    assert_eq!(sections(&seen), all.into_iter().filter(|it| !["faults", "lag"].contains(it)).collect::<Vec<_>>());

    let Some(mut browser) = browser::Browser::start() else { return };
    for (folder, name) in [(whole, "whole"), (sent, "sent"), (seen, "seen")] {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        browser.look_at_all(&folder.join("report.html"), kept, &format!("load-pipeline-{name}"));
    }
}
