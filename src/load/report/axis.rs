use super::text;

/// What an axis counts, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    Bytes,
    Seconds,
    Micros,
    /// The decimal places of the share that is left: 2 is 99 %.
    Percentile,
}

/// Values along one side of a chart, in even steps or, for latencies, in even ratios.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    unit: Unit,
    from: f64,
    to: f64,
}

impl Axis {
    /// From 0 to the largest of these values, and a little room.
    pub(super) fn up_to(unit: Unit, values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        let to = match unit {
            Unit::Seconds | Unit::Percentile => most.max(1e-3),
            _ if most <= 0.0 => 1.0,
            _ => most * 1.08,
        };
        Self { unit, from: 0.0, to }
    }

    /// Of latencies: whole powers of ten around them.
    pub(super) fn latencies(micros: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 1.0_f64);
        for value in micros {
            (least, most) = (least.min(value.max(1.0)), most.max(value));
        }
        let from = if least.is_finite() { least.log10().floor() } else { 0.0 };
        Self { unit: Unit::Micros, from, to: most.log10().ceil().max(from + 1.0) }
    }

    /// Where a value stands, 0 to 1.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.unit == Unit::Micros { value.max(1.0).log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// At most so many values to name, and how they are written.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let step = match self.unit {
            Unit::Micros | Unit::Percentile => ((self.to - self.from) / most as f64).ceil().max(1.0),
            Unit::Seconds => nice_time(self.to / most as f64),
            Unit::Number => nice(self.to / most as f64),
            Unit::Bytes => 2_f64.powf((self.to / most as f64).log2().ceil()),
        };
        let count = ((self.to - self.from) / step + 1e-9).floor() as usize;
        (0..=count)
            .map(|number| {
                let at = self.from + number as f64 * step;
                match self.unit {
                    Unit::Number => (at, text::short(at)),
                    Unit::Bytes => (at, text::bytes(at)),
                    Unit::Seconds => (at, text::seconds(at)),
                    Unit::Micros => (10_f64.powf(at), text::micros(10_f64.powf(at))),
                    Unit::Percentile => (at, percent(at as i32)),
                }
            })
            .collect()
    }
}

/// 1, 2 or 5 and noughts, and no less than this.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-9).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|it| it * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

/// Likewise, of clocks.
fn nice_time(step: f64) -> f64 {
    const STEPS: [f64; 12] =
        [60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0, 43_200.0, 86_400.0];
    if step <= 1.0 {
        return nice(step);
    }
    let below_a_minute = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0].into_iter();
    below_a_minute.chain(STEPS).find(|it| *it >= step).unwrap_or_else(|| nice(step / 86_400.0) * 86_400.0)
}

fn percent(places: i32) -> String {
    match places {
        0 => "0%".to_owned(),
        1 => "90%".to_owned(),
        _ => format!("{:.*}%", places as usize - 2, 100.0 - 10_f64.powi(2 - places)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(axis: Axis, most: usize) -> Vec<String> {
        axis.ticks(most).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        let up_to = |unit, value| Axis::up_to(unit, [value].into_iter());
        assert_eq!(names(up_to(Unit::Number, 2_000.0), 5), ["0", "500", "1k", "1.5k", "2k"]);
        assert_eq!(names(up_to(Unit::Seconds, 32.0), 8), ["0s", "5s", "10s", "15s", "20s", "25s", "30s"]);
        assert_eq!(names(up_to(Unit::Seconds, 7_200.0), 4), ["0s", "30m", "1h00", "1h30", "2h00"]);
        assert_eq!(names(up_to(Unit::Percentile, 4.0), 8), ["0%", "90%", "99%", "99.9%", "99.99%"]);
        assert_eq!(names(up_to(Unit::Bytes, 60e6), 4), ["0B", "16MiB", "32MiB", "48MiB"]);
        assert_eq!(names(Axis::latencies([300.0, 2e6].into_iter()), 6), ["100µs", "1ms", "10ms", "100ms", "1s", "10s"]);
    }

    #[test]
    fn an_axis_of_nothing_has_a_length() {
        assert_eq!(Axis::up_to(Unit::Number, std::iter::empty()).at(0.5), 0.5);
        assert_eq!(Axis::latencies(std::iter::empty()).at(10.0), 1.0);
        assert_eq!(Axis::latencies([0.0].into_iter()).at(0.0), 0.0);
    }

    proptest! {
        #[test]
        fn values_and_ticks_lie_on_the_axis(values in proptest::collection::vec(0.0_f64..1e12, 1..9), most in 2_usize..9) {
            let axes = [Unit::Number, Unit::Bytes, Unit::Seconds].map(|unit| Axis::up_to(unit, values.iter().copied()));
            for axis in axes.into_iter().chain([Axis::latencies(values.iter().copied())]) {
                prop_assert!(values.iter().all(|value| (0.0..=1.0).contains(&axis.at(*value))));
                let ticks = axis.ticks(most);
                prop_assert!(!ticks.is_empty() && ticks.len() <= most + 2, "{:?}", ticks);
                prop_assert!(ticks.is_sorted_by(|one, next| axis.at(one.0) < axis.at(next.0)), "{:?}", ticks);
            }
        }
    }
}
