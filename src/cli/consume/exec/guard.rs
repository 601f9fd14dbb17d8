//! Sees to it that no worker outlives this process, also where it is killed.
//!
//! A shell waits at the end of a pipe, is told which workers run, and ends them when the pipe closes, which the system does for a process
//! that is killed as well. They have been told too by then, for their own pipes close with it; so they get a moment each to end by
//! themselves, and by SIGTERM.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A group is asked for by signal 0, ten times a second, so that a number which is free again is soon forgotten.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=
while read -r what group; do
    case $what in
    begun) groups="$groups $group" ;;
    ended)
        left=
        for each in $groups; do [ "$each" = "$group" ] || left="$left $each"; done
        groups=$left
        ;;
    esac
done
for signal in TERM KILL; do
    try=0
    while [ $try -lt 20 ]; do
        left=
        for each in $groups; do kill -0 "-$each" 2>/dev/null && left="$left $each"; done
        groups=$left
        [ -n "$groups" ] || exit 0
        sleep 0.1
        try=$((try + 1))
    done
    for each in $groups; do kill "-$signal" "-$each" 2>/dev/null; done
done
"#;

#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "troupe-guard"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    pub(super) fn begun(&mut self, group: u32) {
        self.tell("begun", group);
    }

    /// Call it when the process has been waited for.
    pub(super) fn ended(&mut self, group: u32) {
        self.tell("ended", group);
    }

    fn tell(&mut self, what: &str, group: u32) {
        if let Some(pipe) = &mut self.pipe {
            // A guard that is gone guards nothing, and nothing can be done about it.
            let _ = writeln!(pipe, "{what} {group}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // With no worker left it ends at once.
        let _ = self.shell.wait();
    }
}
