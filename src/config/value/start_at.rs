//! Where a consumer starts: a word, or a time. Offsets are for code: they come from elsewhere, and a file outlives them.

use serde::{Deserializer, Serializer};
use toml::value::{Datetime, Offset};
use troupe_actors::consume::StartAt;

use super::text::{Text, read};

const WHAT: &str = "committed, earliest, latest, a time as in 2024-06-30T18:00:00+02:00, or milliseconds since 1970";

fn parse(text: &str) -> Result<StartAt, String> {
    match text {
        "committed" => return Ok(StartAt::Committed),
        "earliest" => return Ok(StartAt::Earliest),
        "latest" => return Ok(StartAt::Latest),
        _ => {}
    }
    if let Ok(number) = text.parse() {
        return millis(number);
    }
    let time: Datetime = text.parse().map_err(|_| format!("use {WHAT}"))?;
    since_1970(&time).map(StartAt::Timestamp).ok_or_else(|| {
        "a time has a date, a time of day and where on earth that is: 2024-06-30T18:00:00+02:00, or Z at the end"
            .to_owned()
    })
}

fn millis(number: u64) -> Result<StartAt, String> {
    i64::try_from(number).map(StartAt::Timestamp).map_err(|_| format!("use {WHAT}"))
}

/// Milliseconds since the Unix epoch, by the proleptic Gregorian calendar.
fn since_1970(time: &Datetime) -> Option<i64> {
    let (date, clock, offset) = (time.date?, time.time?, time.offset?);
    // Years that begin in March, so that the day that comes and goes is the last: 400 of them have 146,097 days.
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
    let offset = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let minutes = (days * 24 + i64::from(clock.hour)) * 60 + i64::from(clock.minute) - offset;
    let seconds = minutes * 60 + i64::from(clock.second.unwrap_or(0));
    Some(seconds * 1_000 + i64::from(clock.nanosecond.unwrap_or(0)) / 1_000_000)
}

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StartAt, D::Error> {
    read(deserializer, Text { what: WHAT, parse, number: millis })
}

pub(in crate::config) fn serialize<S: Serializer>(start: &StartAt, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&match start {
        StartAt::Committed => "committed".to_owned(),
        StartAt::Earliest => "earliest".to_owned(),
        StartAt::Latest => "latest".to_owned(),
        StartAt::Timestamp(millis) => millis.to_string(),
        StartAt::Offsets(offsets) => format!("offsets of {} partitions", offsets.len()),
        other => format!("{other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_times_are_read() {
        assert_eq!(parse("committed"), Ok(StartAt::Committed));
        assert_eq!(parse("earliest"), Ok(StartAt::Earliest));
        assert_eq!(parse("latest"), Ok(StartAt::Latest));
        for text in ["1719763200000", "2024-06-30T18:00:00+02:00", "2024-06-30T16:00:00Z", "2024-06-30 16:00:00.000Z"] {
            assert_eq!(parse(text), Ok(StartAt::Timestamp(1_719_763_200_000)), "{text}");
        }
        for text in ["", "newest", "-1", "2024-06-30", "2024-06-30T18:00:00", "18:00:00", "2024-02-30T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn times_are_those_of_a_calendar_made_by_others(seconds in -62_135_596_800_i64..253_402_300_800, millis in 0..1000_i64) {
            let time = Timestamp::from_millisecond(seconds * 1000 + millis).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(parse(&time.to_string()), Ok(StartAt::Timestamp(time.as_millisecond())));
        }
    }
}
