//! The arms of `against_bare` with the system's allocator. `against_bare` builds and starts it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../shared/arm.rs"]
mod arm;
mod arms;
mod drain;
mod end_to_end;
#[path = "../shared/measure.rs"]
mod measure;
#[path = "../shared/settings.rs"]
mod settings;

fn main() {
    if !arms::ran_as_arm() {
        println!("a part of `cargo bench --bench against_bare`, which starts it");
    }
}
