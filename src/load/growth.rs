//! Whether something that is looked at again and again, with noise, grows: and does so at the end.

/// Fewer records than these are not called a backlog.
pub(super) const FEW: f64 = 100.0;
/// Growth has to be so many times what the samples stray.
const ABOVE_NOISE: f64 = 4.0;
/// What began late is looked for in the last half, the last quarter and so on, down to so many seconds.
const SHORTEST_END: f64 = 5.0;
/// A stall shows in so many steps from sample to sample: where it begins, as long as it lasts, and where it ends.
const STEPS_OF_A_STALL: usize = 3;
/// The last of a stretch that has to go on rising: this share of it, and no less than these seconds, as far as that is half of it.
const TAIL_SHARE: f64 = 0.25;
const TAIL: f64 = 3.0;
/// Of a stretch no longer than so many seconds, what rose by more than this share of the rate and does no longer at the very end was the way to where handlers
/// are that take seconds: that may be most of it.
const SHORT: f64 = 4.0 * TAIL;
const STEEP: f64 = 0.3;
/// From sample to sample, a share of what came meanwhile: who leaves more than that undone, as often as this and for so many seconds, and no less of it
/// at the end than a third of the most, has not just stalled.
const LEFT_UNDONE: f64 = 0.1;
const STEPS: usize = 3;
const UNBROKEN: f64 = 2.9;
const EVEN: f64 = 1.0 / 3.0;
/// What was made good before, so many times (of a rise and a fall that are looked at once a second a third may not be seen), is no growth at the end.
const MADE_GOOD: f64 = 1.5;
/// Samples that are less than so many seconds apart count as one.
const APART: f64 = 0.5;

/// Seconds, and records.
pub(super) type Point = (f64, f64);

/// A straight line through some points.
struct Line {
    /// Records a second.
    slope: f64,
    /// Records that the points stray from it, as a standard deviation.
    spread: f64,
}

/// Whether they rise as a whole by at least so much, and not by chance; and still do in the end, which a single step does not, wherever it comes.
pub(super) fn rises(points: &[Point], least: f64, rate: f64) -> bool {
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return false };
    let span = last - first;
    let tail = last - (span * TAIL_SHARE).max(TAIL.min(span / 2.0));
    let (Some(whole), Some(tail)) = (line(points), line(from(points, tail))) else { return false };
    whole.slope * span > least.max(FEW).max(ABOVE_NOISE * whole.spread)
        && tail.slope > whole.slope / 2.0
        && (whole.slope < rate * STEEP || span > SHORT || last_rise(points) > whole.slope / 2.0)
}

/// Records a second, to the last point from the one before it.
fn last_rise(points: &[Point]) -> f64 {
    let Some(last) = points.last() else { return 0.0 };
    let before = points.iter().rfind(|point| last.0 - point.0 >= APART);
    before.map_or(0.0, |before| (last.1 - before.1) / (last.0 - before.0))
}

/// Whether they began to rise late: in the last half, or in some smaller part at the end, by more than a second's worth at that `rate`. Of that, half a
/// second's is left without the greatest steps: so a stall is no growth.
pub(super) fn rises_late(points: &[Point], rate: f64) -> bool {
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return false };
    let halves =
        std::iter::successors(Some((last - first) / 2.0), |it| Some(it / 2.0).filter(|it| *it >= SHORTEST_END));
    let mut ends = halves.map(|seconds| from(points, last - seconds));
    ends.any(|end| {
        let before = &points[..=points.len() - end.len()];
        let risen = end.iter().map(|it| it.1).fold(f64::MAX, f64::min);
        rises(end, rate, rate)
            && without_a_stall(end) > rate / 2.0
            && end[end.len() - 1].1 - risen > MADE_GOOD * made_good(before)
    })
}

/// Whether the last of them rise without a break, sample by sample, and by at least so much, where more came at that `rate` than was done.
///
/// It tells an overload that began four seconds before the end from a stall of one: which of them it is, no line through so few samples says.
pub(super) fn rises_without_break(points: &[Point], rate: f64, least: f64) -> bool {
    let points = apart(points);
    let steps = points.windows(2).map(|pair| (pair[0].1 - pair[1].1) / (pair[0].0 - pair[1].0));
    let steps: Vec<f64> = steps.take_while(|slope| *slope > rate * LEFT_UNDONE).collect();
    let (Some(last), Some(begun)) = (points.first(), points.get(steps.len())) else { return false };
    let of_late = || steps.iter().take(STEPS).copied();
    let before: Vec<Point> = points[steps.len()..].iter().rev().copied().collect();
    steps.len() >= STEPS
        && last.0 - begun.0 >= UNBROKEN
        && of_late().fold(f64::MAX, f64::min) >= EVEN * of_late().fold(0.0, f64::max)
        && last.1 - begun.1 > least.max(FEW).max(ABOVE_NOISE * noise(&points)).max(MADE_GOOD * made_good(&before))
}

fn from(points: &[Point], then: f64) -> &[Point] {
    &points[points.partition_point(|(at, _)| *at < then)..]
}

/// By how much they rise without the greatest of their steps.
fn without_a_stall(points: &[Point]) -> f64 {
    let mut steps: Vec<f64> = points.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    steps.sort_by(f64::total_cmp);
    steps.iter().rev().skip(STEPS_OF_A_STALL).sum()
}

/// The most by which they rose, from any point to a later one, and fell again behind that.
fn made_good(points: &[Point]) -> f64 {
    let lows = |points: &mut dyn Iterator<Item = &Point>| -> Vec<f64> {
        let least = |low: &mut f64, point: &Point| {
            *low = low.min(point.1);
            Some(*low)
        };
        points.scan(f64::MAX, least).collect()
    };
    let (before, behind) = (lows(&mut points.iter()), lows(&mut points.iter().rev()));
    let sides = before.iter().zip(behind.iter().rev());
    points.iter().zip(sides).map(|((_, records), (before, behind))| records - before.max(*behind)).fold(0.0, f64::max)
}

/// From the last one back, those that are apart.
fn apart(points: &[Point]) -> Vec<Point> {
    let mut apart: Vec<Point> = Vec::with_capacity(points.len());
    for point in points.iter().rev() {
        if apart.last().is_none_or(|next| next.0 - point.0 >= APART) {
            apart.push(*point);
        }
    }
    apart
}

/// What points at equal distances stray, as a standard deviation. Neither a trend nor a step or a few have a part in it: it is taken from how much each
/// three of them bend, and from the median of that.
fn noise(points: &[Point]) -> f64 {
    /// The median of what is normally distributed strays by so many standard deviations.
    const MEDIAN: f64 = 0.6745;
    let mut bends: Vec<f64> = points.windows(3).map(|it| (it[2].1 - 2.0 * it[1].1 + it[0].1).abs()).collect();
    bends.sort_by(f64::total_cmp);
    bends.get(bends.len() / 2).map_or(0.0, |median| median / MEDIAN / 6_f64.sqrt())
}

/// The line of least squares; none through a single moment.
fn line(points: &[Point]) -> Option<Line> {
    let count = points.len() as f64;
    let mean = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (at, records) = (mean(|it| it.0), mean(|it| it.1));
    let width: f64 = points.iter().map(|it| (it.0 - at).powi(2)).sum();
    if points.len() < 2 || width <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|it| (it.0 - at) * (it.1 - records)).sum::<f64>() / width;
    let strays: f64 = points.iter().map(|it| (it.1 - records - slope * (it.0 - at)).powi(2)).sum();
    Some(Line { slope, spread: (strays / (count - 2.0).max(1.0)).sqrt() })
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod tests;
