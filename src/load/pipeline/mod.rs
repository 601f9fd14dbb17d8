//! Somebody else's application under load: records go into its topic IN, and what comes out of its topic OUT is judged.
//!
//! Pure:
//! - who a record is, as text that an application carries along: [`identity`]; where it stands in JSON: [`pointer`](mod@pointer); a value that holds it: [`template`].
//! - what came out, record by record: [`ledger`]; what may become of them: [`expect`]; what that comes to: [`verdict`].
//! - what the producing host tells the verifying one: [`manifest`].
//!
//! What does it: [`run`], with a [`carrier`] that gives records their identity, the reader of [`out`], in whichever [`part`] this host has: [`sending`], and the [`wait`] for what comes out, under
//! [`watch`]; [`measured`] and [`result`](mod@result) in the end.

pub(crate) mod carrier;
mod ends;
pub(crate) mod expect;
pub(crate) mod identity;
pub(crate) mod ledger;
pub(crate) mod manifest;
pub(crate) mod measured;
pub(crate) mod out;
pub(crate) mod part;
pub(crate) mod pointer;
mod progress;
pub(crate) mod result;
pub(crate) mod run;
mod sending;
pub(crate) mod template;
pub(crate) mod verdict;
mod wait;
mod watch;

pub(crate) use carrier::Carrier;
