use kafka_troupe::ProducerRecord;

use crate::load::clock::Clock;
use crate::load::payload::Payload;

use super::identity::{self, Carried, DIGITS_IN_HEADER, HEADER};
use super::template::Template;

/// Gives one producer's records their identity where an application keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    run: u64,
    clock: WallClock,
    /// Whether a header has it; else a place in the template.
    in_header: bool,
    /// In turn; the generator's own values where there are none.
    templates: Vec<Template>,
    turn: usize,
    header: [u8; DIGITS_IN_HEADER],
}

/// A run's clock, and what the time of day was when it began: it never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    clock: Clock,
    /// Nanoseconds since the Unix epoch.
    began: u64,
}

impl Carrier {
    pub(crate) fn new(run: u64, clock: WallClock, carried: &Carried, templates: Vec<Template>) -> Self {
        let in_header = *carried == Carried::InHeader;
        Self { run, clock, in_header, templates, turn: 0, header: [b'0'; DIGITS_IN_HEADER] }
    }

    /// The record with its identity; `value` is what the generator would have sent. The intended time, which is on the run's clock, becomes the time
    /// of day.
    pub(crate) fn dress<'a>(
        &'a mut self,
        payload: &Payload,
        value: &'a [u8],
        record: ProducerRecord<'a>,
    ) -> ProducerRecord<'a> {
        let payload = Payload { intended: self.clock.time_of_day(payload.intended), ..*payload };
        let count = self.templates.len();
        let template = self.templates.get_mut(self.turn);
        self.turn = (self.turn + 1) % count.max(1);
        let value: &'a [u8] = match template {
            Some(template) => {
                if let Some(place) = template.place.clone() {
                    identity::write(&payload, self.run, &mut template.text[place]);
                }
                &template.text
            }
            None => value,
        };
        let record = record.value(value);
        if !self.in_header {
            return record;
        }
        identity::write_for_header(&payload, self.run, value, &mut self.header);
        record.header(HEADER, &self.header[..])
    }
}

impl WallClock {
    pub(crate) fn of(clock: Clock) -> Self {
        let time_of_day = std::time::UNIX_EPOCH.elapsed().map_or(0, crate::load::clock::nanoseconds);
        Self { clock, began: time_of_day.saturating_sub(clock.now()) }
    }

    pub(crate) fn now(self) -> u64 {
        self.time_of_day(self.clock.now())
    }

    fn time_of_day(self, at: u64) -> u64 {
        self.began + at
    }
}
