//! Sees to it that nothing outlives this process, however it ends.
//!
//! A shell waits at the end of a pipe. It is told which processes run, and when the pipe closes, which the system does for a process that is
//! killed as well, it kills them and removes their folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=
while read -r what pid; do
    case $what in
    begun) pids="$pids $pid" ;;
    ended)
        left=
        for each in $pids; do [ "$each" = "$pid" ] || left="$left $each"; done
        pids=$left
        ;;
    esac
done
for each in $pids; do kill -KILL "$each" 2>/dev/null; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && break
    sleep 0.1
done
"#;

#[derive(Debug)]
pub(super) struct Warden {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Warden {
    /// Watches over a folder.
    pub(super) fn of(folder: &Path) -> std::io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "warden"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of a terminal's Ctrl-C.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    pub(super) fn begun(&mut self, pid: u32) {
        self.tell("begun", pid);
    }

    /// Call it after the process has been waited for, when another may get its id.
    pub(super) fn ended(&mut self, pid: u32) {
        self.tell("ended", pid);
    }

    fn tell(&mut self, what: &str, pid: u32) {
        if let Some(pipe) = &mut self.pipe {
            // A shell that is gone watches over nothing, and nothing can be done about it.
            let _ = writeln!(pipe, "{what} {pid}");
        }
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.shell.wait();
    }
}
