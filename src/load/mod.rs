//! The load harness: it drives the engine through its public interface and judges what became of each record.
//!
//! Pure, without clock, thread or socket:
//! - when a record is to be sent: [`schedule`]; under which key: [`keys`]; what it says of itself: [`payload`]; all from a seed: [`random`].
//! - what was sent and handled, record by record: [`ledger`] over [`marks`]; how long that took: [`latencies`]; whether handlers kept
//!   up: [`backlog`].
//! - what it comes to: [`figures`]; what has to hold of them: [`gates`]; [`verdict`].
//!
//! What does it: [`run`] by a [`plan`] with [`producing`] and [`consuming`], which write to the [`account`]; [`sampler`] makes a [`sample`] once a second,
//! [`resources`], the [`log`](mod@log) as a bare client reads it, and the [`result`](mod@result) in the end.

mod account;
mod backlog;
mod bare;
mod clock;
mod consuming;
mod crew;
mod figures;
pub(crate) mod gates;
pub(crate) mod keys;
mod latencies;
mod ledger;
mod log;
mod marks;
pub(crate) mod payload;
pub(crate) mod pipeline;
pub(crate) mod plan;
mod producing;
mod random;
mod resources;
pub(crate) mod result;
mod room;
pub(crate) mod run;
pub(crate) mod sample;
mod sampler;
pub(crate) mod schedule;
pub(crate) mod sizes;
pub(crate) mod verdict;
pub(crate) mod work;
