//! How large values are, and what they are filled with.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::payload::MINIMUM;
use super::random::Random;

/// The largest value there may be.
pub(crate) const MOST: usize = 100_000_000;
/// The largest that is drawn from a distribution without a bound of its own: producer and broker take it unless they were told otherwise.
const MOST_DRAWN: usize = 990_000;

/// Bytes of a value, the 48 that tell what it is included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sizes {
    Fixed(usize),
    /// Each as likely, the ends included.
    Uniform {
        from: usize,
        to: usize,
    },
    /// Half of the records have less than the median; the logarithm is normal, with this standard deviation. At least [`MINIMUM`] and at most
    /// 990,000 bytes: what is drawn beyond is made so.
    Lognormal {
        median: usize,
        sigma: f64,
    },
}

impl Sizes {
    pub(crate) fn draw(self, random: &mut Random) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Uniform { from, to } => from + random.below((to - from + 1) as u32) as usize,
            Self::Lognormal { median, sigma } => {
                (random.lognormal(median as f64, sigma) as usize).clamp(MINIMUM, MOST_DRAWN)
            }
        }
    }

    fn largest(self) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Uniform { to, .. } => to,
            Self::Lognormal { .. } => MOST_DRAWN,
        }
    }

    fn smallest(self) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Uniform { from, .. } => from,
            Self::Lognormal { .. } => MINIMUM,
        }
    }
}

/// What values hold behind what they say of themselves.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Bytes from the seed, up to the size.
    Filler(Sizes),
    /// One of these, each as likely; never empty.
    Lines(Arc<[Box<[u8]>]>),
}

impl Content {
    /// The lines of a file, as Kafka's own tools read them: without what ends them, and without empty ones.
    pub(crate) fn lines(file: &[u8]) -> Option<Self> {
        let lines = file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let lines: Arc<[Box<[u8]>]> = lines.filter(|line| !line.is_empty()).map(Into::into).collect();
        (!lines.is_empty()).then_some(Self::Lines(lines))
    }

    /// Bytes of the smallest and the largest value.
    pub(crate) fn bounds(&self) -> (usize, usize) {
        match self {
            Self::Filler(sizes) => (sizes.smallest(), sizes.largest()),
            Self::Lines(lines) => {
                let lengths = || lines.iter().map(|line| MINIMUM + line.len());
                (lengths().min().unwrap_or(MINIMUM), lengths().max().unwrap_or(MINIMUM))
            }
        }
    }
}

/// Makes one producer's values, the same ones for the same seed.
#[derive(Debug)]
pub(crate) struct Values {
    content: Content,
    random: Random,
    /// As long as the largest.
    value: Vec<u8>,
}

impl Values {
    pub(crate) fn new(content: &Content, seed: u64, producer: u16) -> Self {
        let mut random = Random::new(seed, 0x3_0000 + u64::from(producer));
        let value = (0..content.bounds().1).map(|_| random.next() as u8).collect();
        Self { content: content.clone(), random, value }
    }

    /// The next value, whose first [`MINIMUM`] bytes are still to be written.
    pub(crate) fn next(&mut self) -> &mut [u8] {
        let length = match &self.content {
            Content::Filler(sizes) => sizes.draw(&mut self.random),
            Content::Lines(lines) => {
                let line = &lines[self.random.below(lines.len() as u32) as usize];
                let end = MINIMUM + line.len();
                self.value[MINIMUM..end].copy_from_slice(line);
                end
            }
        };
        &mut self.value[..length]
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "it is BYTES, uniform:FROM:TO or lognormal:MEDIAN:SIGMA, with {MINIMUM} to {MOST} bytes, a MEDIAN of at most {MOST_DRAWN} and \
                 a SIGMA above 0 and at most 5, as in uniform:100:1000"
            )
        };
        let bytes = |text: &str| text.parse().ok().filter(|it| (MINIMUM..=MOST).contains(it)).ok_or_else(wrong);
        match *text.split(':').collect::<Vec<_>>().as_slice() {
            [size] => Ok(Self::Fixed(bytes(size)?)),
            ["uniform", from, to] => {
                let (from, to) = (bytes(from)?, bytes(to)?);
                if from < to { Ok(Self::Uniform { from, to }) } else { Err(wrong()) }
            }
            ["lognormal", median, sigma] => {
                let (median, sigma) = (bytes(median)?, sigma.parse().map_err(|_| wrong())?);
                let fits = median <= MOST_DRAWN && sigma > 0.0 && sigma <= 5.0;
                if fits { Ok(Self::Lognormal { median, sigma }) } else { Err(wrong()) }
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Uniform { from, to } => write!(f, "uniform:{from}:{to}"),
            Self::Lognormal { median, sigma } => write!(f, "lognormal:{median}:{sigma}"),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filler(sizes) => sizes.fmt(f),
            Self::Lines(lines) => write!(f, "{} lines of a file", lines.len()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_and_written_the_same() {
        for text in ["48", "100", "uniform:48:1000", "lognormal:300:1.5"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "47",
            "100000001",
            "uniform:100",
            "uniform:100:100",
            "uniform:40:100",
            "lognormal:300",
            "lognormal:300:0",
            "lognormal:2000000:1",
            "lognormal:300:NaN",
            "normal:300:1",
        ] {
            assert!(text.parse::<Sizes>().unwrap_err().contains("uniform:100:1000"), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn values_keep_their_bounds_and_follow_the_seed(
            seed: u64,
            producer: u16,
            from in MINIMUM..500,
            more in 1_usize..500,
            sigma in 0.01..5.0,
        ) {
            let content = [
                Content::Filler(Sizes::Fixed(from)),
                Content::Filler(Sizes::Uniform { from, to: from + more }),
                Content::Filler(Sizes::Lognormal { median: from, sigma }),
                Content::lines(b"one\r\n\ntwo and more\nthree").unwrap(),
            ];
            for content in content {
                let (smallest, largest) = content.bounds();
                let (mut values, mut again) = (Values::new(&content, seed, producer), Values::new(&content, seed, producer));
                for _ in 0..20 {
                    let value = values.next();
                    prop_assert!((smallest..=largest).contains(&value.len()));
                    prop_assert_eq!(&*value, &*again.next());
                }
            }
        }
    }

    #[test]
    fn sizes_are_spread_as_was_said() {
        let mut random = Random::new(3, 0);
        let mut drawn = |sizes: Sizes| {
            let mut drawn: Vec<usize> = (0..20_000).map(|_| sizes.draw(&mut random)).collect();
            drawn.sort_unstable();
            drawn
        };
        let uniform = drawn(Sizes::Uniform { from: 100, to: 199 });
        assert_eq!((uniform[0], uniform[19_999]), (100, 199));
        assert!((148..=151).contains(&uniform[10_000]), "{}", uniform[10_000]);
        let lognormal = drawn(Sizes::Lognormal { median: 1_000, sigma: 0.5 });
        assert!((980..1_020).contains(&lognormal[10_000]), "{}", lognormal[10_000]);
        assert!((1_600..1_700).contains(&lognormal[16_826]), "{}", lognormal[16_826]);
    }

    #[test]
    fn lines_come_whole_each_as_often_as_another() {
        let content = Content::lines(b"a\nbb\r\n\nccc").unwrap();
        assert_eq!((content.bounds(), content.to_string()), ((49, 51), "3 lines of a file".to_owned()));
        let mut values = Values::new(&content, 1, 0);
        let mut times = [0; 3];
        for _ in 0..3_000 {
            match &values.next()[MINIMUM..] {
                b"a" => times[0] += 1,
                b"bb" => times[1] += 1,
                b"ccc" => times[2] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(times.iter().all(|it| (900..1_100).contains(it)), "{times:?}");
        assert!(Content::lines(b"\n\r\n").is_none());
    }
}
