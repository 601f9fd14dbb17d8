//! Points in time, as Kafka's own tool takes them.

use jiff::civil::DateTime;
use jiff::fmt::temporal::SpanParser;
use jiff::tz::TimeZone;
use jiff::{SpanRelativeTo, Timestamp};

/// A date and time, with an offset from UTC or without one, which means UTC: in milliseconds since the Unix epoch.
pub(crate) fn parse_datetime(text: &str) -> Result<i64, String> {
    let wrong =
        |error: jiff::Error| format!("it is a date and time as in 2024-06-30T18:00:00, or …Z, or …+02:00: {error}");
    let Some((_, time)) = text.split_once(['T', 't', ' ']) else {
        return Err("it is a date and time with a T between them, as in 2024-06-30T18:00:00".to_owned());
    };
    // What a date without a zone is parsed as would swallow a zone, and not heed it.
    let timestamp = match time.contains(['Z', 'z', '+', '-', '\u{2212}', '[']) {
        true => text.parse::<Timestamp>().map_err(wrong)?,
        false => {
            let datetime: DateTime = text.parse().map_err(wrong)?;
            TimeZone::UTC.to_timestamp(datetime).map_err(wrong)?
        }
    };
    Ok(timestamp.as_millisecond())
}

/// A duration in ISO 8601, `P1DT12H` for example, in milliseconds. A day has 24 hours, as for Kafka's tool.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    const HOW: &str = "it is a duration as in PT30M, PT1H30M or P1DT12H";
    let span = SpanParser::new().parse_span(text).map_err(|error| format!("{HOW}: {error}"))?;
    if span.is_negative() {
        return Err("it goes back from now by itself, and takes no minus".to_owned());
    }
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err("years and months are not always as long: say it in days".to_owned());
    }
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| format!("{HOW}: {error}"))?;
    i64::try_from(duration.as_millis()).map_err(|_| "this is too long".to_owned())
}

/// So long before now, in milliseconds since the Unix epoch.
pub(super) fn before(now: Timestamp, millis: i64) -> i64 {
    now.as_millisecond().saturating_sub(millis)
}

/// For a person to read: in UTC, to the millisecond.
pub(crate) fn shown(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc_and_with_one_it_counts() {
        // As Kafka's tool documents its formats; and RFC 3339.
        let six = 1_605_027_098_198;
        for (text, millis) in [
            ("2020-11-10T16:51:38.198", six),
            ("2020-11-10T16:51:38.198Z", six),
            ("2020-11-10T16:51:38.198+0800", six - 8 * 3_600_000),
            ("2020-11-10T16:51:38.198+08", six - 8 * 3_600_000),
            ("2020-11-10T16:51:38.198+08:00", six - 8 * 3_600_000),
            ("2020-11-10T16:51:38.198-01:30", six + 5_400_000),
            ("2020-11-10 16:51:38.198Z", six),
            ("2020-11-10T16:51:38", six - 198),
            ("2020-11-10T16:51", six - 38_198),
            ("1970-01-01T00:00:00.000", 0),
        ] {
            assert_eq!(parse_datetime(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_and_time_is_refused() {
        for text in [
            "",
            "now",
            "2020-11-10",
            "16:51:38",
            "2020-13-10T16:51:38",
            "2020-11-10T25:51:38",
            "2020-11-10T16:51:38+26:00",
            "2020-11-10T16:51:38[Europe/Vienna]",
            "2020-02-30T00:00:00",
            "1605027098198",
        ] {
            assert!(parse_datetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_iso_8601_in_weeks_days_and_less() {
        for (text, millis) in [
            ("PT5M", 300_000),
            ("PT1H30M", 5_400_000),
            ("P1D", 86_400_000),
            ("P1DT12H", 129_600_000),
            ("P1W", 604_800_000),
            ("PT0.5S", 500),
            ("PT0S", 0),
            ("pt5m", 300_000),
        ] {
            assert_eq!(parse_duration(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_or_has_no_fixed_length_is_refused() {
        for text in ["", "P", "5m", "PT", "P1M", "P1Y", "-PT5M", "PT-5M", "P1DT", "P99999999999D"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("P1M").is_err_and(|error| error.contains("in days")));
    }

    #[test]
    fn so_long_before_now() {
        let now = Timestamp::from_millisecond(1_000_000).unwrap_or_default();
        assert_eq!(before(now, 1), 999_999);
        assert_eq!(before(now, i64::MAX), 1_000_000 - i64::MAX);
        assert_eq!(shown(before(now, 0)), "1970-01-01T00:16:40Z");
    }
}
