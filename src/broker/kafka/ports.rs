//! Free ports on loopback that stay free while a node is down.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// Below the range from which systems take ports for outgoing connections: one of these would take the port of a node that is down.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// Different ports that nobody listens on. Somebody may before they are used: whoever uses them tries again with others.
pub(super) fn free(count: usize) -> Vec<u16> {
    let random = RandomState::new();
    let mut ports = Vec::with_capacity(count);
    let mut tried = 0_u64;
    while ports.len() < count {
        let span = u64::from(RANGE.end - RANGE.start);
        #[allow(clippy::cast_possible_truncation, reason = "below the span of the range")]
        let port = RANGE.start + (random.hash_one(tried) % span) as u16;
        tried += 1;
        if !ports.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}
