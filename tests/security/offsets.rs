//! What the tools that look at a group say to one who may not.

use std::process::{Command, Output, Stdio};

use crate::acl::{Operation, Resource};
use crate::servers::{self, BOB};
use crate::{Door, says, skipped};

impl Door {
    /// `troupe` of these words about the door's group, by this listener.
    fn troupe(&self, servers: &str, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
        command.args(words).args(["--group", &self.group(), "--bootstrap-server", servers]);
        if servers == self.servers() {
            for (name, value) in &self.properties {
                command.arg("-X").arg(format!("{name}={value}"));
            }
        }
        command.env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn refuses(&self, words: &[&str], why: &str) {
        let output = self.troupe(self.servers(), words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && said.contains(why), "{words:?} {:?}: {said}", output.status);
    }

    #[track_caller]
    fn lets(&self, words: &[&str]) -> String {
        let output = self.troupe(self.servers(), words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn who_may_not_see_or_reset_a_group_is_told_what_is_missing() {
    if skipped() {
        return;
    }
    let door = Door::plain(BOB);
    let (group, topic) = (door.group(), door.topic.as_str());
    let reset = ["offsets", "reset", "--topic", topic, "--to-latest", "--execute"];
    // By the open listener, as one who may do everything.
    let set = door.troupe(
        servers::plain().bootstrap_servers(),
        &["offsets", "reset", "--topic", topic, "--to-earliest", "--execute"],
    );
    assert!(set.status.success(), "{set:?}");

    let see = format!("no permission to see group {group}: an ACL must allow Describe");
    for words in [&["lag"][..], &["offsets", "show"], &reset] {
        door.refuses(words, &see);
    }
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Resource::RD_KAFKA_RESOURCE_GROUP, &group);
    for words in [&["lag", "--topic", topic][..], &reset] {
        door.refuses(words, &format!("no permission to see topic {topic}"));
    }
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Resource::RD_KAFKA_RESOURCE_TOPIC, topic);
    assert!(
        door.lets(&["lag"])
            .split_whitespace()
            .eq("topic partition committed log_end lag".split(' ').chain([topic, "0", "0", "1", "1", "total", "1"]))
    );
    // To see them is not to reset them.
    door.refuses(&reset, &format!("no permission to reset group {group}: an ACL must allow Read"));
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_READ, Resource::RD_KAFKA_RESOURCE_GROUP, &group);
    let refused = door.troupe(door.servers(), &reset);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    says(&String::from_utf8_lossy(&refused.stdout).into_owned(), &["NOT RESET", "authori"]);
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_READ, Resource::RD_KAFKA_RESOURCE_TOPIC, topic);
    door.lets(&reset);
    door.lets(&["lag", "--max", "0"]);
}
