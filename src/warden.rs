//! Sees to it that no process outlives this one, however it ends.
//!
//! A shell waits at the end of a pipe and is told which processes run. When the pipe closes, which the system does for a process that is killed
//! as well, it ends those that are left. Library and tool have one each, and what an ending is they say.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What comes before the ending.
const WATCH: &str = r#"
trap '' INT TERM HUP
ids=
while read -r what id; do
    case $what in
    begun) ids="$ids $id" ;;
    ended)
        left=
        for each in $ids; do [ "$each" = "$id" ] || left="$left $each"; done
        ids=$left
        ;;
    esac
done
"#;

#[derive(Debug)]
pub(crate) struct Warden {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Warden {
    /// `ending` is in POSIX shell: it finds the ids of those that are left in `$ids`, and `arguments` from `$1` on.
    pub(crate) fn start(ending: &str, arguments: &[&OsStr]) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", &[WATCH, ending].concat(), "troupe-warden"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of a terminal's Ctrl-C.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    pub(crate) fn begun(&mut self, id: u32) {
        self.tell("begun", id);
    }

    /// Call it after the process has been waited for, when another may get its id.
    pub(crate) fn ended(&mut self, id: u32) {
        self.tell("ended", id);
    }

    fn tell(&mut self, what: &str, id: u32) {
        if let Some(pipe) = &mut self.pipe {
            // A shell that is gone watches over nothing, and nothing can be done about it.
            let _ = writeln!(pipe, "{what} {id}");
        }
    }
}

impl Drop for Warden {
    /// Waits for the ending, which has nothing to wait for where no process is left.
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.shell.wait();
    }
}
