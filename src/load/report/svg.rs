//! Charts as SVG, each twice: for a wide page and for a narrow one, where a chart that is only made smaller could not be read.

use std::fmt::{self, Display, Write};

use super::axis::Axis;
use super::text::Text;

/// Points of a line that are drawn, at most, beside the highest and lowest of each stretch.
const STRETCHES: usize = 240;

/// Lines over an axis, with their legend.
pub(super) struct Chart {
    /// What it shows, for who cannot see it.
    pub(super) name: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    pub(super) bands: Vec<Band>,
}

pub(super) struct Line {
    pub(super) label: String,
    /// 1 to 6.
    pub(super) color: usize,
    pub(super) dashed: bool,
    /// Where there is nothing, the line has a gap.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A stretch of the x axis that stands out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) label: String,
    /// What stands there where the label has no room.
    pub(super) short: Option<String>,
    /// Or else it has a border only.
    pub(super) shaded: bool,
}

/// Bars from left to right.
pub(super) struct Bars {
    pub(super) name: &'static str,
    pub(super) y: Axis,
    /// What stands below each, what it is, how high it is, and how much of that is marked.
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) label: String,
    pub(super) title: String,
    pub(super) height: f64,
    pub(super) marked: f64,
}

/// The two sizes a chart is drawn in.
#[derive(Clone, Copy)]
struct Size {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    x_ticks: usize,
    y_ticks: usize,
}

const WIDE: Size = Size { class: "wide", width: 1040.0, height: 280.0, left: 64.0, x_ticks: 10, y_ticks: 6 };
const NARROW: Size = Size { class: "narrow", width: 344.0, height: 230.0, left: 52.0, x_ticks: 4, y_ticks: 5 };
const TOP: f64 = 20.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 28.0;

impl Size {
    fn x(&self, share: f64) -> f64 {
        self.left + share * (self.width - self.left - RIGHT)
    }

    fn y(&self, share: f64) -> f64 {
        self.height - BOTTOM - share * (self.height - BOTTOM - TOP)
    }

    fn open(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let Self { class, width, height, .. } = self;
        write!(f, r#"<svg class="{class}" viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#, Text(name))
    }

    fn y_axis(&self, f: &mut fmt::Formatter<'_>, axis: &Axis) -> fmt::Result {
        let (from, to) = (self.x(0.0), self.x(1.0));
        for (value, label) in axis.ticks(self.y_ticks) {
            let y = self.y(axis.at(value));
            write!(f, r#"<path class="grid" d="M{from:.1} {y:.1}H{to:.1}"/>"#)?;
            write!(f, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#, from - 8.0, y + 4.0, Text(label))?;
        }
        Ok(())
    }

    fn x_label(&self, f: &mut fmt::Formatter<'_>, x: f64, label: &str) -> fmt::Result {
        write!(f, r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#, self.height - 8.0, Text(label))
    }
}

impl Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"<ul class="legend">"#)?;
        for line in &self.lines {
            let dashed = if line.dashed { " dashed" } else { "" };
            write!(f, r#"<li><i class="c{}{dashed}"></i>{}</li>"#, line.color, Text(&line.label))?;
        }
        f.write_str("</ul>")?;
        self.draw(f, WIDE)?;
        self.draw(f, NARROW)
    }
}

impl Chart {
    fn draw(&self, f: &mut fmt::Formatter<'_>, size: Size) -> fmt::Result {
        size.open(f, self.name)?;
        for Band { from, to, label, short, shaded } in &self.bands {
            let (from, to) = (size.x(self.x.at(*from)), size.x(self.x.at(*to)));
            let (top, height, width) = (size.y(1.0), size.y(0.0) - size.y(1.0), to - from);
            let class = if *shaded { "band" } else { "band outlined" };
            write!(f, r#"<rect class="{class}" x="{from:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"/>"#)?;
            let label = [Some(label), short.as_ref()].into_iter().flatten().find(|it| width > it.len() as f64 * 8.0);
            if let Some(label) = label {
                let x = from + width / 2.0;
                write!(f, r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#, top - 6.0, Text(label))?;
            }
        }
        size.y_axis(f, &self.y)?;
        for (value, label) in self.x.ticks(size.x_ticks) {
            size.x_label(f, size.x(self.x.at(value)), &label)?;
        }
        for line in &self.lines {
            self.line(f, line, size)?;
        }
        f.write_str("</svg>")
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, line: &Line, size: Size) -> fmt::Result {
        let dashed = if line.dashed { " dashed" } else { "" };
        let points = thinned(&line.points);
        let place = |(x, y): &(f64, Option<f64>)| y.map(|y| (size.x(self.x.at(*x)), size.y(self.y.at(y))));
        let mut path = String::new();
        for stretch in points.split(|(_, y)| y.is_none()) {
            let mut places = stretch.iter().filter_map(place);
            match (places.next(), stretch.len()) {
                (Some((x, y)), 1) => {
                    write!(f, r#"<circle class="dot c{}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#, line.color)?;
                }
                (Some((x, y)), _) => {
                    write!(path, "M{x:.1} {y:.1}")?;
                    places.try_for_each(|(x, y)| write!(path, "L{x:.1} {y:.1}"))?;
                }
                (None, _) => {}
            }
        }
        if path.is_empty() {
            return Ok(());
        }
        write!(f, r#"<path class="line c{}{dashed}" d="{path}"/>"#, line.color)
    }
}

/// The points, or of each of many stretches the lowest and the highest.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    if points.len() <= STRETCHES * 2 {
        return points.to_vec();
    }
    let mut thinned = Vec::with_capacity(STRETCHES * 2);
    for stretch in points.chunks(points.len().div_ceil(STRETCHES)) {
        let there = || stretch.iter().enumerate().filter_map(|(at, (x, y))| y.map(|y| (at, *x, y)));
        let (low, high) = (there().min_by(|a, b| a.2.total_cmp(&b.2)), there().max_by(|a, b| a.2.total_cmp(&b.2)));
        let (Some(low), Some(high)) = (low, high) else {
            thinned.push((stretch[0].0, None));
            continue;
        };
        let (first, second) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        thinned.push((first.1, Some(first.2)));
        if first.0 != second.0 {
            thinned.push((second.1, Some(second.2)));
        }
    }
    thinned
}

impl Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draw(f, WIDE)?;
        self.draw(f, NARROW)
    }
}

impl Bars {
    fn draw(&self, f: &mut fmt::Formatter<'_>, size: Size) -> fmt::Result {
        size.open(f, self.name)?;
        size.y_axis(f, &self.y)?;
        let (count, mut free) = (self.bars.len().max(1) as f64, 0.0);
        for (number, bar) in self.bars.iter().enumerate() {
            let (from, to) = (size.x(number as f64 / count), size.x((number as f64 + 1.0) / count));
            let gap = ((to - from) * 0.2).min(12.0);
            let (left, width, middle) = (from + gap / 2.0, (to - from - gap).max(0.5), (from + to) / 2.0);
            write!(f, "<g><title>{}</title>", Text(&bar.title))?;
            for (class, height) in [("c1", bar.height), ("bad", bar.marked)] {
                let (y, bottom) = (size.y(self.y.at(height)), size.y(0.0));
                if height > 0.0 {
                    let height = (bottom - y).max(1.0);
                    let y = bottom - height;
                    write!(
                        f,
                        r#"<rect class="bar {class}" x="{left:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
                    )?;
                }
            }
            f.write_str("</g>")?;
            let half = bar.label.len() as f64 * 4.0 + 4.0;
            if middle - half >= free {
                size.x_label(f, middle, &bar.label)?;
                free = middle + half;
            }
        }
        f.write_str("</svg>")
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis::Unit;
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>) -> Chart {
        Chart {
            name: "<b>",
            x: Axis::up_to(Unit::Seconds, points.iter().map(|it| it.0)),
            y: Axis::up_to(Unit::Number, points.iter().filter_map(|it| it.1)),
            lines: vec![Line { label: "<script>".to_owned(), color: 2, dashed: true, points }],
            bands: vec![Band { from: 0.0, to: 1.0, label: "<i>".to_owned(), short: None, shaded: true }],
        }
    }

    #[test]
    fn a_line_has_gaps_where_there_is_nothing_and_its_labels_are_text() {
        let shown = chart(vec![(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(1.0))]).to_string();
        assert_eq!(shown.matches("<svg").count(), 2);
        let path = shown.split("class=\"line c2 dashed\" d=\"").nth(1).unwrap_or_default().split('"').next();
        let path = path.unwrap_or_default();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (1, 1), "{path}");
        // What stands alone is a dot, in both sizes.
        assert_eq!(shown.matches("<circle").count(), 2);
        assert!(!shown.contains("<script>") && !shown.contains("<b>") && !shown.contains("<i>"), "{shown}");
        assert!(!shown.contains("NaN") && !shown.contains("inf"), "{shown}");
    }

    #[test]
    fn long_lines_are_thinned_and_keep_their_peaks() {
        let mut points: Vec<_> = (0..100_000).map(|x| (f64::from(x), Some(5.0))).collect();
        points[77_777].1 = Some(900.0);
        points[33_333].1 = Some(1.0);
        points[50_000..60_000].iter_mut().for_each(|it| it.1 = None);
        let thinned = thinned(&points);
        assert!(thinned.len() <= 2 * STRETCHES);
        for kept in [(77_777.0, Some(900.0)), (33_333.0, Some(1.0))] {
            assert!(thinned.contains(&kept), "{kept:?}");
        }
        assert!(thinned.iter().any(|it| it.1.is_none()));
        assert!(thinned.is_sorted_by(|one, next| one.0 < next.0));
    }

    #[test]
    fn labels_of_many_bars_leave_each_other_room() {
        let bar = |number: usize| Bar {
            label: format!("{number}"),
            title: "<t>".to_owned(),
            height: number as f64,
            marked: 0.0,
        };
        let bars =
            Bars { name: "bars", y: Axis::up_to(Unit::Number, [64.0].into_iter()), bars: (0..64).map(bar).collect() };
        let shown = bars.to_string();
        let (wide, narrow) = shown.split_once("</svg>").unwrap_or_default();
        let labels = |svg: &str| svg.matches("text-anchor=\"middle\"").count();
        assert!(labels(narrow) < labels(wide) && labels(narrow) > 8, "{} {}", labels(narrow), labels(wide));
        assert!(!shown.contains("<t>"));
    }
}
