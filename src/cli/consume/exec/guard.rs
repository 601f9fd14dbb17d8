//! Sees to it that no worker outlives this process, also where it is killed.
//!
//! Workers have been told too by then, for their own pipes close with it; so they get a moment each to end by themselves, and by SIGTERM.

use std::io;

use crate::warden::Warden;

/// The ids are those of groups. A group is asked for by signal 0, ten times a second, so that a number which is free again is soon forgotten.
const ENDING: &str = r#"
for signal in TERM KILL; do
    try=0
    while [ $try -lt 20 ]; do
        left=
        for each in $ids; do kill -0 "-$each" 2>/dev/null && left="$left $each"; done
        ids=$left
        [ -n "$ids" ] || exit 0
        sleep 0.1
        try=$((try + 1))
    done
    for each in $ids; do kill "-$signal" "-$each" 2>/dev/null; done
done
"#;

pub(super) fn start() -> io::Result<Warden> {
    Warden::start(ENDING, &[])
}
