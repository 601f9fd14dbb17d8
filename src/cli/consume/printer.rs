use std::sync::Arc;
use std::time::Duration;

use kafka_troupe::{Handler, Outcome, PartitionContext, Record};
use tokio_util::sync::CancellationToken;

use super::format::Format;
use super::output::Output;

/// Prints one partition's records. A record is done, and may be committed, when all of its line is written.
pub(super) struct Printer {
    output: Arc<Output>,
    format: Format,
    revoking: CancellationToken,
    /// One record's bytes, so that they go out in one write.
    line: Vec<u8>,
}

impl Printer {
    pub(super) fn new(output: &Arc<Output>, format: &Format, context: &PartitionContext) -> Self {
        let (output, format) = (Arc::clone(output), format.clone());
        Self { output, format, revoking: context.revoking().clone(), line: Vec::new() }
    }
}

impl Handler for Printer {
    type Answer = Outcome;

    async fn handle(&mut self, record: &Record) -> Outcome {
        self.line.clear();
        self.format.append(record, &mut self.line);
        match self.output.write(&self.line) {
            Ok(true) => Outcome::Done,
            Ok(false) => {
                // Not printed, so it is the next owner's: kept until this one has to let go of it.
                self.revoking.cancelled().await;
                Outcome::Retry { after: Duration::ZERO, cause: "it is not printed any more".into() }
            }
            Err(error) => Outcome::Stop { cause: format!("stdout takes no more: {error}").into() },
        }
    }
}
