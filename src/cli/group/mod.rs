//! A consumer group seen from outside, for the commands that look at one or change it; of whichever client's making.
//!
//! - What is asked of its coordinator, in librdkafka's own calls: [`admin`].
//! - A client that asks that, and where logs begin and end: [`observer`].
//! - What was seen, put together: [`snapshot`].
//! - `TOPIC:0,1`: [`topics`].

mod admin;
mod observer;
mod snapshot;
mod topics;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::apart::apart_until;
use super::connect::Connection;

pub(super) use admin::Member;
pub(super) use observer::{Identities, Observer, Offsets};
pub(super) use snapshot::{Log, Position, Snapshot};
pub(super) use topics::{TopicSpec, Topics};

#[cfg(test)]
pub(super) use snapshot::tests::position;

/// Reaches the brokers, and then looks at the group in these topics: see [`Snapshot::take`].
///
/// # Errors
/// As [`Connection::reach`] and [`Snapshot::take`].
pub(super) async fn look(
    connection: &Connection,
    group: &str,
    topics: Topics,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<Observer>, Snapshot)> {
    connection.reach(None, stop)?;
    let observer = Arc::new(Observer::new(connection)?);
    let snapshot = {
        let (observer, group) = (Arc::clone(&observer), group.to_owned());
        apart_until(stop, move || Snapshot::take(&observer, &group, &topics)).await?
    };
    Ok((observer, snapshot))
}

/// What is said of a group that there is none of.
pub(super) fn missing(group: &str) -> anyhow::Error {
    anyhow::anyhow!("group {group} does not exist: it has neither members nor commits")
}
