//! How single settings are read and shown, in whatever format they stand.

pub(super) mod commit_when;
pub(super) mod duration;
pub(super) mod number;
pub(super) mod partitions;
pub(super) mod retry_topics;
pub(super) mod size;
pub(super) mod start_at;
mod text;
