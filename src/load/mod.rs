//! The load harness: it drives the engine through its public interface and judges what became of each record.
//!
//! Pure, without clock, thread or socket:
//! - when a record is to be sent: [`schedule`] of [`phases`], from a [`phases_file`]; under which key: [`keys`]; what it says of itself: [`payload`];
//!   how large it is: [`sizes`], within [`limits`]; what a handler does for it: [`work`]; all from a seed: [`random`].
//! - what was sent and handled, record by record: [`ledger`] over [`marks`]; how long that took: [`latencies`] by [`families`], and [`by_phase`]; what was
//!   committed: [`commits`]; whether handlers kept up: [`backlog`] by its [`growth`], [`calm`], [`standstill`] and [`leftover`]; what is done to members, and how they get over it: [`faults`], [`recovery`].
//! - what it comes to: [`figures`], and [`of_phases`]; what has to hold of them: [`gates`]; [`verdict`].
//!
//! What does it: [`run`] by a [`plan`], until one of its [`stops`], with [`producers`] and a [`crew`], [`consuming`] or [`bare`], which write to the [`account`]; [`sampler`] makes a
//! [`sample`] once a second (a [`series`] of them is kept, and histograms in an [`hdr_log`]), [`striking`] does the faults to [`processes`], which talk in
//! [`frame`]s; [`resources`], the [`log`](mod@log) as a bare client reads it that is [`quiet`] at an end, and the [`result`](mod@result) in the end, with its [`report`].

pub(crate) mod account;
mod backlog;
mod bare;
mod borders;
mod by_phase;
mod calm;
mod clock;
mod collected;
mod commits;
mod consuming;
pub(crate) mod crew;
pub(crate) mod families;
pub(crate) mod faults;
mod figures;
pub(crate) mod frame;
pub(crate) mod gates;
mod growth;
pub(crate) mod hdr_log;
pub(crate) mod keys;
pub(crate) mod latencies;
mod ledger;
mod leftover;
pub(crate) mod limits;
mod log;
mod marks;
mod member_process;
pub(crate) mod of_phases;
pub(crate) mod payload;
pub(crate) mod phases;
pub(crate) mod phases_file;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod processes;
mod producers;
mod producing;
mod quiet;
mod random;
mod recovery;
pub(crate) mod relay;
pub(crate) mod report;
mod resources;
pub(crate) mod result;
mod room;
pub(crate) mod run;
pub(crate) mod sample;
mod sampler;
pub(crate) mod schedule;
mod series;
pub(crate) mod sizes;
mod standstill;
pub(crate) mod stops;
mod striking;
pub(crate) mod verdict;
pub(crate) mod work;
