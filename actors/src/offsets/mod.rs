//! `offsets`.
