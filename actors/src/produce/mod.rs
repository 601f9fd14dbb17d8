//! `produce`.
