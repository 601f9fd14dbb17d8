use kafka_troupe::ProducerRecord;

use crate::load::clock::Clock;
use crate::load::payload::{MINIMUM, Payload};
use crate::load::plan::Plan;
use crate::load::sizes::Content;

use super::identity::{self, Carried, DIGITS, DIGITS_IN_HEADER, HEADER};
use super::template::Template;

/// Bytes of the largest value that there may be with its identity, and of the header where that is in one.
pub(crate) fn largest(content: &Content, carried: &Carried) -> usize {
    /// Lengths of name and value, and each record has one header.
    const HEADER_HEAD: usize = 3;
    let (_, largest) = content.bounds();
    match carried {
        Carried::InHeader => {
            let head = if matches!(content, Content::Lines(_)) { MINIMUM } else { 0 };
            largest - head + HEADER.len() + DIGITS_IN_HEADER + HEADER_HEAD
        }
        Carried::InJson(pointer) => Template::new(content, pointer).length(largest),
    }
}

/// Gives one producer's records their identity where an application keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    run: u64,
    clock: WallClock,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Header {
        text: [u8; DIGITS_IN_HEADER],
        /// Values are lines of somebody's, and go without the head.
        lines: bool,
    },
    Json {
        template: Template,
        identity: [u8; DIGITS],
        value: Vec<u8>,
    },
}

/// A run's clock, and what the time of day was when it began: it never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    clock: Clock,
    /// Nanoseconds since the Unix epoch.
    began: u64,
}

impl Carrier {
    pub(crate) fn new(plan: &Plan, clock: WallClock, carried: &Carried) -> Self {
        let place = match carried {
            Carried::InHeader => {
                let lines = matches!(plan.content, Content::Lines(_));
                Place::Header { text: [b'0'; DIGITS_IN_HEADER], lines }
            }
            Carried::InJson(pointer) => {
                let template = Template::new(&plan.content, pointer);
                Place::Json { template, identity: [b'0'; DIGITS], value: Vec::new() }
            }
        };
        Self { run: plan.run, clock, place }
    }

    /// The record with its identity; `value` is the generator's. The intended time, which is on the run's clock, becomes the time of day.
    pub(crate) fn dress<'a>(
        &'a mut self,
        payload: &Payload,
        value: &'a [u8],
        record: ProducerRecord<'a>,
    ) -> ProducerRecord<'a> {
        let payload = Payload { intended: self.clock.time_of_day(payload.intended), ..*payload };
        match &mut self.place {
            Place::Header { text, lines } => {
                let value = if *lines { value.get(MINIMUM..).unwrap_or_default() } else { value };
                identity::write_for_header(&payload, self.run, value, text);
                record.value(value).header(HEADER, &text[..])
            }
            Place::Json { template, identity, value: json } => {
                identity::write(&payload, self.run, identity);
                template.write(value, identity, json);
                record.value(&json[..])
            }
        }
    }
}

impl WallClock {
    pub(crate) fn of(clock: Clock) -> Self {
        let time_of_day = std::time::UNIX_EPOCH.elapsed().map_or(0, crate::load::clock::nanoseconds);
        Self { clock, began: time_of_day.saturating_sub(clock.now()) }
    }

    /// When the run's clock showed 0, in seconds since the Unix epoch.
    pub(crate) fn epoch_seconds(self) -> f64 {
        self.began as f64 / 1e9
    }

    pub(crate) fn now(self) -> u64 {
        self.time_of_day(self.clock.now())
    }

    fn time_of_day(self, at: u64) -> u64 {
        self.began + at
    }
}
