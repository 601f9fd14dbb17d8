//! `consume`.
