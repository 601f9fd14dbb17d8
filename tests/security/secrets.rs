//! A secret that is planted is found nowhere.

use std::fs;
use std::process::{Command, Stdio};

use crate::servers::{self, ALICE};
use crate::{Door, skipped};

const PLANTED: &str = "pl4nted-s3cret";

/// What a command printed on both streams, and how it ended.
fn printed(door: &Door, command: &[&str], login: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_troupe"))
        .args(command)
        .args(["--topic", &door.topic, "--bootstrap-server", door.servers(), "-vvv", "-X", "debug=all"])
        .args(login)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (text, output.status.code())
}

#[test]
fn a_planted_password_is_in_no_output_of_any_command_however_noisy() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.properties");
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let login = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nssl.key.password={PLANTED}\n\
         sasl.jaas.config={jaas} username=\"{}\" password=\"{PLANTED}\";\n",
        ALICE.0
    );
    fs::write(&file, login).unwrap();
    let file = file.display().to_string();
    let by_option = format!("sasl.password={PLANTED}");
    let by_option = [
        "-X",
        "security.protocol=SASL_PLAINTEXT",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        "sasl.username=alice",
        "-X",
        &by_option,
    ];
    let by_file = ["--command-config", &file];
    let settings = folder.path().join("troupe.toml");
    let login = format!(
        "[kafka]\nsecurity.protocol = 'SASL_PLAINTEXT'\nsasl.mechanism = 'PLAIN'\nsasl.username = '{}'\n\
         sasl.password = '{PLANTED}'\n",
        ALICE.0
    );
    fs::write(&settings, &login).unwrap();
    let settings = settings.display().to_string();
    let by_settings = ["--config", &settings];
    let variables: Vec<_> = login.lines().filter_map(|line| line.split_once(" = ")).collect();
    let named = |name: &str| format!("TROUPE_KAFKA__{}", name.replace('.', "_").to_ascii_uppercase());
    let variables: Vec<_> = variables.iter().map(|(name, value)| (named(name), value.trim_matches('\''))).collect();
    let by_variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let records = folder.path().join("records");
    fs::write(&records, "one\ntwo\n").unwrap();
    let records = records.display().to_string();
    let door = Door::new(servers::plain(), &[]);
    for command in [
        &["consume", "--until-end"][..],
        &["consume", "--group", "g", "--until-end"],
        &["produce", &records],
        &["lag", "--group", "g"],
        &["offsets", "show", "--group", "g"],
        &["offsets", "reset", "--group", "g", "--to-earliest", "--execute"],
    ] {
        for (login, variables) in
            [(&by_option[..], &[][..]), (&by_file, &[]), (&by_settings, &[]), (&[], &by_variables)]
        {
            let (text, code) = printed(&door, command, login, variables);
            assert!(!text.contains(PLANTED), "{command:?} {login:?}: {text}");
            assert!(text.to_lowercase().contains("authentication"), "{command:?} {login:?}: {text}");
            assert_eq!(code, Some(3), "{command:?}: {text}");
        }
    }
}

#[test]
fn a_planted_password_is_in_no_debug_and_no_error_of_the_library() {
    if skipped() {
        return;
    }
    let door = Door::plain((ALICE.0, PLANTED));
    let shown = [
        format!("{:?}", door.consumer()),
        format!("{:?}", door.producer()),
        format!("{:?}", door.turns_consumers_away()),
        format!("{:?}", door.turns_records_away()),
    ];
    for text in &shown {
        assert!(!text.contains(PLANTED), "{text}");
    }
    assert!(shown[..2].iter().all(|text| text.contains("***")), "{shown:?}");
}
