//! What a process has used so far.

use std::time::{Duration, Instant};

/// A moment of the run, by the wall clock and by the processor time of all threads of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    pub(crate) cpu: Duration,
}

impl Mark {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu_time() }
    }

    /// Wall clock and processor time from an earlier mark to this one.
    pub(crate) fn since(&self, earlier: &Self) -> (Duration, Duration) {
        (self.at - earlier.at, self.cpu - earlier.cpu)
    }
}

/// In user and kernel mode.
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is writable and of the type that the call fills; it is read only when the call says it has.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime]
        .into_iter()
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .sum()
}

/// The most memory that was resident at a time, in bytes.
pub(crate) fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[allow(dead_code, reason = "one of the benches has no arms without mimalloc")]
/// Bytes that glibc's allocator has taken from the system: next to nothing where mimalloc replaces `malloc` for librdkafka too.
pub(crate) fn glibc_heap() -> u64 {
    // SAFETY: the call reads glibc's own bookkeeping, under its locks.
    let info = unsafe { libc::mallinfo2() };
    (info.arena + info.hblkhd) as u64
}
