//! Headless Chromium, by the pipes of its DevTools protocol: pages as people see them, at a width, in light or dark.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// What is wrong with a page, as a list of texts.
const MEASURE: &str = include_str!("measure.js");

pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    sent: u64,
    /// Told by the browser and not asked for.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// What came of a look at a page.
#[derive(Debug)]
pub(crate) struct Seen {
    /// None on a page as it should be.
    pub(crate) problems: Vec<String>,
    /// The whole page, as PNG.
    pub(crate) screenshot: Vec<u8>,
}

impl Browser {
    /// `None` where `TROUPE_TEST_BROWSER=skip`.
    pub(crate) fn start() -> Option<Self> {
        if std::env::var_os("TROUPE_TEST_BROWSER").is_some_and(|value| value == "skip") {
            eprintln!("skipped: TROUPE_TEST_BROWSER=skip");
            return None;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = NAMES.iter().find(|name| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
        let program = program.expect("no Chromium: apt-get install chromium, or set TROUPE_TEST_BROWSER=skip");
        let profile = tempfile::tempdir().unwrap();
        // It reads commands from 3 and writes to 4.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2"#, program])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .args(["--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, input, output, sent: 0, events: Vec::new(), _profile: profile })
    }

    /// Opens a page so many pixels wide.
    pub(crate) fn look(&mut self, page: &Path, width: u32, dark: bool) -> Seen {
        let target = self.ask(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask(None, "Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        self.events.clear();
        for domain in ["Page", "Runtime", "Log"] {
            self.ask(Some(&session), &format!("{domain}.enable"), json!({}));
        }
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.ask(Some(&session), "Emulation.setDeviceMetricsOverride", metrics);
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        self.ask(Some(&session), "Emulation.setEmulatedMedia", json!({"features": [scheme]}));
        self.ask(Some(&session), "Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
        let measured = json!({"expression": format!("({MEASURE})({width})"), "returnByValue": true});
        let measured = self.ask(Some(&session), "Runtime.evaluate", measured);
        assert!(measured["exceptionDetails"].is_null(), "{measured}");
        let texts = measured["result"]["value"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
        let mut problems: Vec<String> = texts.collect();
        problems.extend(self.events.iter().filter_map(complaint));

        let size = self.ask(Some(&session), "Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1});
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let shot = self.ask(Some(&session), "Page.captureScreenshot", shot);
        let screenshot = base64_decoded(shot["data"].as_str().unwrap());
        self.ask(None, "Target.closeTarget", json!({"targetId": target["targetId"]}));
        Seen { problems, screenshot }
    }

    /// Looks at a page at 1280 and 400 pixels, and once in the dark; keeps the screenshots as `NAME-WIDTH.png` in a folder.
    pub(crate) fn look_at_all(&mut self, page: &Path, folder: &Path, name: &str) {
        std::fs::create_dir_all(folder).unwrap();
        let mut wrong = Vec::new();
        for (width, dark, suffix) in [(1280, false, "1280"), (400, false, "400"), (1280, true, "1280-dark")] {
            let seen = self.look(page, width, dark);
            let file: PathBuf = folder.join(format!("{name}-{suffix}.png"));
            std::fs::write(&file, seen.screenshot).unwrap();
            eprintln!("screenshot: {}", file.display());
            wrong.extend(seen.problems.into_iter().map(|problem| format!("at {suffix}: {problem}")));
        }
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    }

    fn ask(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        self.input.flush().unwrap();
        loop {
            let mut answer = self.read();
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.output.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser has ended: {}", String::from_utf8_lossy(&message));
        serde_json::from_slice(&message).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself when nobody is at the pipes, but not before the profile is to go.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An error or warning on the console.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Log.entryAdded" => {
            Some(&params["entry"]).filter(|entry| entry["level"] != "verbose" && entry["level"] != "info")
        }
        "Runtime.consoleAPICalled" => Some(params).filter(|call| call["type"] == "error" || call["type"] == "warning"),
        "Runtime.exceptionThrown" => Some(params),
        _ => None,
    }
    .map(|what| format!("on the console: {what}"))
}

fn base64_decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let quad = |quad: &[u8]| {
        let bits = quad.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - quad.len()));
        bits.to_be_bytes()[1..quad.len()].to_vec()
    };
    digits.chunks(4).flat_map(quad).collect()
}
