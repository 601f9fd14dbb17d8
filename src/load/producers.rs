use std::sync::Arc;
use std::thread;

use anyhow::Context;
use kafka_troupe::Producer;
use tokio::sync::oneshot;

use super::account::Account;
use super::keys::KeyChooser;
use super::pipeline::Carrier;
use super::plan::Plan;
use super::producing::Generator;
use super::room::Room;

/// Starts the threads of a plan's producers, and waits until each has sent all. Gives how many sequences each has given away.
///
/// With a `carrier`, records have their identity where somebody's application carries it along.
///
/// # Errors
/// A thread cannot be started, or has died.
pub(crate) async fn generate(
    plan: &Arc<Plan>,
    account: &Arc<Account>,
    producer: &Producer,
    start: u64,
    carrier: Option<&Carrier>,
) -> anyhow::Result<Vec<u64>> {
    let room = Arc::new(Room::of(plan.pace.in_flight().unwrap_or_default()));
    let mut ends = Vec::new();
    for (number, keys) in (0..).zip(KeyChooser::of_all(plan.keys, plan.producers, plan.seed)) {
        let mut generator = Generator::new(plan, account, producer.sender(), number, keys, start, &room);
        if let Some(carrier) = carrier {
            generator = generator.carrying(carrier.clone());
        }
        let (tell, told) = oneshot::channel();
        let generate = move || {
            let _ = tell.send(generator.run());
        };
        let thread = thread::Builder::new().name(format!("load-producer-{number}"));
        thread.spawn(generate).context("a producer's thread cannot be started")?;
        ends.push(told);
    }
    let mut sequences = Vec::new();
    for end in ends {
        sequences.push(end.await.context("a producer's thread died")?);
    }
    Ok(sequences)
}
