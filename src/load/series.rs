use super::sample::Sample;

/// An hour of seconds.
const MOST: usize = 3_600;

/// The samples of a run in bounded memory: where it lasts longer than an hour, two neighbours of one phase become one, again and again.
#[derive(Debug)]
pub(crate) struct Series {
    samples: Vec<Sample>,
    most: usize,
    /// So many samples are told as one.
    together: usize,
    open: Option<(Sample, usize)>,
}

impl Default for Series {
    fn default() -> Self {
        Self::bounded(MOST)
    }
}

impl Series {
    fn bounded(most: usize) -> Self {
        Self { samples: Vec::new(), most, together: 1, open: None }
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        match self.open.take() {
            Some((mut open, count)) if open.phase == sample.phase => {
                open.absorb(&sample);
                self.open = Some((open, count + 1));
            }
            before => {
                self.samples.extend(before.map(|(sample, _)| sample));
                self.open = Some((sample, 1));
            }
        }
        if let Some((sample, _)) = self.open.take_if(|(_, count)| *count >= self.together) {
            self.samples.push(sample);
        }
        if self.samples.len() >= self.most {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let mut halved: Vec<Sample> = Vec::with_capacity(self.most);
        let mut odd = false;
        for sample in self.samples.drain(..) {
            match halved.last_mut().filter(|last| odd && last.phase == sample.phase) {
                Some(last) => {
                    last.absorb(&sample);
                    odd = false;
                }
                None => {
                    halved.push(sample);
                    odd = true;
                }
            }
        }
        self.samples = halved;
        self.together *= 2;
    }

    pub(crate) fn finish(mut self) -> Vec<Sample> {
        self.samples.extend(self.open.map(|(sample, _)| sample));
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Phase, tests::sample};
    use super::*;

    #[test]
    fn a_long_run_keeps_its_sums_and_its_worst_in_bounded_memory() {
        let mut series = Series::bounded(16);
        for second in 1..=1_000_u32 {
            let phase = if second <= 5 { Phase::Warmup } else { Phase::Load };
            let lag = Some(if second == 777 { 9_999 } else { 1 });
            series.push(Sample { lag, sent: Some(10), ..sample(f64::from(second), phase) });
            assert!(series.samples.len() <= 16, "{}", series.samples.len());
        }
        let samples = series.finish();
        assert_eq!(samples.iter().filter_map(|it| it.sent).sum::<u64>(), 10_000);
        assert_eq!(samples.iter().filter_map(|it| it.lag).max(), Some(9_999));
        assert_eq!(samples.iter().filter(|it| it.phase == Phase::Warmup).filter_map(|it| it.sent).sum::<u64>(), 50);
        assert!(samples.is_sorted_by_key(|it| it.seconds as u64));
        assert_eq!(samples.last().map(|it| it.seconds), Some(1_000.0));
    }

    #[test]
    fn a_short_run_is_kept_second_by_second() {
        let mut series = Series::default();
        (1..=60).for_each(|second| series.push(sample(f64::from(second), Phase::Load)));
        assert_eq!(series.finish().len(), 60);
    }
}
