//! `report.html` of `troupe load`, in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use browser::Browser;

/// Runs `troupe load` with these arguments, words apart; its report is in the folder whatever the verdict.
fn load(arguments: &str, folder: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.arg("load").args(arguments.split_whitespace()).arg("--out").arg(folder);
    let output = command.env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap();
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1 | 4)), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_report_of_a_run_can_be_read_on_a_wide_and_on_a_narrow_page() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    load(
        "--rate 400 --duration 5s --warmup 1s --members 2 --order key --work sleep:2ms --keys zipf:1.1:200 --assert lost==0&&e2e.p99<10s",
        folder.path(),
    );
    browser.look_at_all(&folder.path().join("report.html"), Path::new(env!("CARGO_TARGET_TMPDIR")), "load-report");
}

#[test]
fn the_phases_of_a_run_can_be_told_apart_on_a_wide_and_on_a_narrow_page() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phases.toml");
    fs::write(
        &file,
        "[[phase]]\nkind = 'constant'\nrate = 200\nduration = '1s'\nwarmup = true\n\n\
         [[phase]]\nkind = 'constant'\nrate = 300\nduration = '3s'\n\n\
         [[phase]]\nkind = 'poisson'\nrate = 500\nduration = '2s'\n\n\
         [[phase]]\nkind = 'ramp'\nfrom = 100\nto = 1000\nduration = '4s'\n\n\
         [[phase]]\nkind = 'step'\nfrom = 200\nto = 600\nsteps = 2\nduration = '4s'\n",
    )
    .unwrap();
    load(&format!("--phases {} --members 2", file.display()), folder.path());
    let report = folder.path().join("report.html");
    browser.look_at_all(&report, Path::new(env!("CARGO_TARGET_TMPDIR")), "load-report-phases");
    let page = fs::read_to_string(&report).unwrap();
    // In each chart over time, for a wide page and for a narrow one; warm-up and drain are shaded.
    assert_eq!(page.matches("class=\"band outlined\"").count() % 10, 0, "{page}");
    assert!(page.contains(">4 ramp</text>") && page.contains(">4</text>"), "{page}");
}

#[test]
fn the_report_of_a_run_that_measured_next_to_nothing_has_no_empty_section() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    load("--in-flight 1 --records 1 --warmup 0s --assert e2e.max<1us", folder.path());
    browser.look_at_all(
        &folder.path().join("report.html"),
        Path::new(env!("CARGO_TARGET_TMPDIR")),
        "load-report-of-one",
    );
}

#[test]
fn what_is_wrong_with_a_page_is_found() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let mut problems = |body: &str| {
        fs::write(&page, format!("<!DOCTYPE html><body style=\"margin: 0\">{body}")).unwrap();
        browser.look(&page, 400, false).problems.join("\n")
    };
    assert_eq!(problems("<section><h2>fine</h2><p>text</p></section>"), "");
    let fine = "<section><p>text</p></section>";
    for (body, wanted) in [
        ("<section><h2>only a title</h2></section>", "is empty"),
        ("<section><p>a</p><svg><path class=line></svg></section>", "shows nothing"),
        (&*format!("{fine}<div style=\"width: 450px\">wide</div>"), "scrolls sideways"),
        (&*format!("{fine}<p style=\"margin-top: -40px\">upon it</p>"), "overlap"),
        (&*format!("{fine}<p style=\"font-size: 6px\">small</p>"), "too small"),
        (&*format!("{fine}<script>nothing.at.all()</script>"), "on the console"),
        (&*format!("{fine}<img src=\"file:///not/there.png\">"), "on the console"),
    ] {
        let found = problems(body);
        assert!(found.contains(wanted), "{wanted} in {body}: {found}");
    }
}
