//! Text and figures as they stand in the page. Nothing else writes text that comes from elsewhere.

use std::fmt::{self, Write};

/// Text of any origin, as HTML shows it and never reads it, be it between tags or in a quoted attribute.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(['&', '<', '>', '"', '\'']) {
            let mut chars = part.chars();
            let instead = match chars.next_back() {
                Some('&') => "&amp;",
                Some('<') => "&lt;",
                Some('>') => "&gt;",
                Some('"') => "&quot;",
                Some('\'') => "&#39;",
                _ => {
                    self.0.write_str(part)?;
                    continue;
                }
            };
            self.0.write_str(chars.as_str())?;
            self.0.write_str(instead)?;
        }
        Ok(())
    }
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Three digits or so: `0.5`, `250`, `1.5k`, `20k`, `3M`.
pub(super) fn short(number: f64) -> String {
    let (value, unit) = match number.abs() {
        it if it >= 1e9 => (number / 1e9, "G"),
        it if it >= 1e6 => (number / 1e6, "M"),
        it if it >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    format!("{}{unit}", trimmed(value))
}

/// `64MiB`.
pub(super) fn bytes(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| number >= *size);
    unit.map_or_else(|| format!("{}B", trimmed(number)), |(size, name)| format!("{}{name}", trimmed(number / size)))
}

/// Microseconds: `20µs`, `1.5ms`, `3s`.
pub(super) fn micros(number: f64) -> String {
    let (value, unit) = match number {
        it if it >= 1e6 => (number / 1e6, "s"),
        it if it >= 1e3 => (number / 1e3, "ms"),
        _ => (number, "µs"),
    };
    format!("{}{unit}", trimmed(value))
}

/// Seconds: `30s`, `1m30`, `2h05`.
pub(super) fn seconds(number: f64) -> String {
    let whole = number.round() as u64;
    match (whole / 3_600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{}s", trimmed(number)),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}"),
    }
}

/// At most three digits, without noughts behind the point.
fn trimmed(number: f64) -> String {
    let digits = match number.abs() {
        it if it > 0.0 && it < 0.01 => 6,
        it if it >= 99.95 => 0,
        it if it >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_read_as_html() {
        let text = r#"</title><script>alert("x")</script> & 'y'"#;
        let shown = Text(text).to_string();
        assert_eq!(shown, "&lt;/title&gt;&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;y&#39;");
        assert_eq!(Text("plain µ").to_string(), "plain µ");
        assert_eq!(Text(format_args!("{}-{}", "<", 1)).to_string(), "&lt;-1");
    }

    #[test]
    fn figures_are_short_and_have_their_unit() {
        assert_eq!([0, 12, 1_234, 1_234_567].map(grouped), ["0", "12", "1,234", "1,234,567"]);
        assert_eq!([0.0, 0.25, 250.0, 1_500.0, 20_000.0, 3e6].map(short), ["0", "0.25", "250", "1.5k", "20k", "3M"]);
        assert_eq!([20.0, 1_500.0, 3e6].map(micros), ["20µs", "1.5ms", "3s"]);
        assert_eq!([0.5, 30.0, 60.0, 90.0, 7_500.0].map(seconds), ["0.5s", "30s", "1m", "1m30", "2h05"]);
        assert_eq!([512.0, 64.0 * 1_048_576.0].map(bytes), ["512B", "64MiB"]);
    }
}
