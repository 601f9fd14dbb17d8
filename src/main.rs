//! The command line tool `troupe`.

fn main() {}
