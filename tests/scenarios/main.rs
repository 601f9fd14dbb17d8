//! What must not break, told as scenarios on a running broker. Each test is named as the sentence it proves.
//!
//! `cargo test --test scenarios kafka::` runs those on Apache Kafka, `embedded::` those on the embedded broker. Kafka is started once, by
//! the first scenario that needs it. `cargo test --release --test scenarios -- --ignored` runs the long forms.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

/// States which brokers a module's scenarios run on, and why where it is not both.
macro_rules! scenarios {
    (
        $(on both brokers: $($both:ident),+;)?
        $(on the embedded broker, $why_embedded:literal: $($embedded:ident),+;)*
        $(on Apache Kafka, $why_kafka:literal: $($kafka:ident),+;)*
        $(at length on Apache Kafka: $($long:ident),+;)?
    ) => {
        mod embedded {
            $($(#[test] fn $both() { super::$both($crate::fixture::On::Embedded); })+)?
            $($(#[doc = $why_embedded] #[test] fn $embedded() { super::$embedded($crate::fixture::On::Embedded); })+)*
        }
        mod kafka {
            $($(#[test] fn $both() { $crate::fixture::on_kafka(super::$both); })+)?
            $($(#[doc = $why_kafka] #[test] fn $kafka() { $crate::fixture::on_kafka(super::$kafka); })+)*
            $($(#[test] #[ignore = "takes minutes"] fn $long() { $crate::fixture::on_kafka(super::$long); })+)?
        }
    };
}

mod admin;
mod fixture;
mod letters;
mod listener;
mod process;
mod random;
mod retries;

mod acting;
mod assignors;
mod backlog;
mod batches;
mod bounds;
mod by_hand;
mod churn;
mod commits;
mod computing;
mod dead_letters;
mod each_order;
mod embedding;
mod exhausted;
mod external;
mod failing;
mod gaps;
mod handlers;
mod killing;
mod leaving;
mod letters_held;
mod listening;
mod memory;
mod naming;
mod orders;
mod outages;
mod pausing;
mod producing;
mod pull;
mod rebalancing;
mod refusals;
mod retry_topics;
mod retry_waits;
mod routing;
mod runtimes;
mod seeking;
mod seeks_among_others;
mod standalone;
mod starts;
mod static_members;
mod stopping;
mod topics;
mod unruly;
mod watermark;
mod zombies;
