use std::time::Duration;

/// Reads a duration as a person writes it: `250ms`, `10s`, `5m` or `1h`.
///
/// A bare number is refused: what it counts would have to be guessed.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let unit_at =
        text.find(|c: char| !c.is_ascii_digit()).ok_or("a duration carries its unit, as in 250ms, 10s, 5m or 1h")?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| "a duration starts with a whole number, as in 250ms or 10s")?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is none of the units ms, s, m and h")),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "this is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "10", "s", "-1s", "1.5s", "10 s", "10d", "10S", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
