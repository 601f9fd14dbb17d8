//! `order`.
