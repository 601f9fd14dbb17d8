use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::random::Random;

/// The most keys there may be: their sequences are kept per producer, 8 bytes each, on both sides.
const MOST: u32 = 1_000_000;
/// Of 100 records, how many go to the hot keys.
const HOT_SHARE: u32 = 90;

/// Which key a record gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keys {
    Null,
    RoundRobin { keys: u32 },
    Uniform { keys: u32 },
    Zipf { exponent: f64, keys: u32 },
    Hot { hot: u32, keys: u32 },
}

impl Keys {
    /// How many different ones there are.
    pub(crate) fn cardinality(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::RoundRobin { keys } | Self::Uniform { keys } | Self::Zipf { keys, .. } | Self::Hot { keys, .. } => {
                keys
            }
        }
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "it is null, round-robin:KEYS, uniform:KEYS, zipf:EXPONENT:KEYS or hot:HOT:KEYS, with 1 to {MOST} KEYS, an EXPONENT above 0 \
                 and fewer HOT than KEYS, as in zipf:1.1:10000"
            )
        };
        let count = |text: &str| text.parse().ok().filter(|keys| (1..=MOST).contains(keys)).ok_or_else(wrong);
        let parts: Vec<&str> = text.split(':').collect();
        match *parts.as_slice() {
            ["null"] => Ok(Self::Null),
            ["round-robin", keys] => Ok(Self::RoundRobin { keys: count(keys)? }),
            ["uniform", keys] => Ok(Self::Uniform { keys: count(keys)? }),
            ["zipf", exponent, keys] => {
                let exponent = exponent.parse().ok().filter(|it: &f64| *it > 0.0 && *it <= 10.0).ok_or_else(wrong)?;
                Ok(Self::Zipf { exponent, keys: count(keys)? })
            }
            ["hot", hot, keys] => {
                let (hot, keys) = (count(hot)?, count(keys)?);
                if hot < keys { Ok(Self::Hot { hot, keys }) } else { Err(wrong()) }
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::RoundRobin { keys } => write!(f, "round-robin:{keys}"),
            Self::Uniform { keys } => write!(f, "uniform:{keys}"),
            Self::Zipf { exponent, keys } => write!(f, "zipf:{exponent}:{keys}"),
            Self::Hot { hot, keys } => write!(f, "hot:{hot}:{keys}"),
        }
    }
}

/// Picks one producer's keys, the same ones for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct KeyChooser {
    keys: Keys,
    random: Random,
    sent: u64,
    /// For Zipf: how likely it is to be this key or one before it.
    up_to: Arc<[f64]>,
}

impl KeyChooser {
    /// One for each producer. They share what is large.
    pub(crate) fn of_all(keys: Keys, producers: u16, seed: u64) -> Vec<Self> {
        let up_to: Arc<[f64]> = match keys {
            Keys::Zipf { exponent, keys } => zipf(exponent, keys).into(),
            _ => Arc::default(),
        };
        let chooser = |producer| Self {
            keys,
            random: Random::new(seed, 0x2_0000 + u64::from(producer)),
            sent: 0,
            up_to: Arc::clone(&up_to),
        };
        (0..producers).map(chooser).collect()
    }

    /// The next record's key, by its number; `None` for null.
    pub(crate) fn next(&mut self) -> Option<u32> {
        let random = &mut self.random;
        match self.keys {
            Keys::Null => None,
            Keys::RoundRobin { keys } => {
                self.sent += 1;
                Some(((self.sent - 1) % u64::from(keys)) as u32)
            }
            Keys::Uniform { keys } => Some(random.below(keys)),
            Keys::Zipf { keys, .. } => {
                let drawn = random.unit();
                Some((self.up_to.partition_point(|up_to| *up_to <= drawn) as u32).min(keys - 1))
            }
            Keys::Hot { hot, keys } => {
                if random.below(100) < HOT_SHARE {
                    Some(random.below(hot))
                } else {
                    Some(hot + random.below(keys - hot))
                }
            }
        }
    }
}

fn zipf(exponent: f64, keys: u32) -> Vec<f64> {
    let mut sum = 0.0;
    let mut up_to: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        })
        .collect();
    up_to.iter_mut().for_each(|it| *it /= sum);
    up_to
}

/// A key as it stands in the record: `k`, and its number in ten digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyText([u8; KeyText::LEN]);

impl KeyText {
    pub(crate) const LEN: usize = 11;

    pub(crate) fn of(key: u32) -> Self {
        let mut text = [b'k'; Self::LEN];
        let mut left = key;
        for digit in text[1..].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        Self(text)
    }
}

impl AsRef<[u8]> for KeyText {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn drawn(keys: Keys, seed: u64, count: usize) -> Vec<u32> {
        let mut chooser = KeyChooser::of_all(keys, 1, seed).remove(0);
        (0..count).filter_map(|_| chooser.next()).collect()
    }

    fn shares(keys: Keys) -> Vec<f64> {
        let count = 200_000;
        let mut shares = vec![0.0; keys.cardinality() as usize];
        drawn(keys, 3, count).into_iter().for_each(|key| shares[key as usize] += 1.0 / count as f64);
        shares
    }

    #[test]
    fn each_way_to_choose_is_read_and_written_the_same() {
        for text in ["null", "round-robin:7", "uniform:1000", "zipf:1.1:10000", "hot:3:100"] {
            assert_eq!(text.parse::<Keys>().unwrap().to_string(), text);
        }
        for text in
            ["", "none", "uniform", "uniform:0", "uniform:1000001", "zipf:0:10", "zipf:x:10", "zipf:1", "hot:10:10"]
        {
            assert!(text.parse::<Keys>().unwrap_err().contains("zipf:1.1:10000"), "{text}");
        }
    }

    #[test]
    fn the_same_seed_chooses_the_same_keys_and_each_producer_others() {
        for keys in [Keys::Uniform { keys: 50 }, Keys::Zipf { exponent: 1.0, keys: 50 }, Keys::Hot { hot: 2, keys: 50 }]
        {
            assert_eq!(drawn(keys, 1, 100), drawn(keys, 1, 100));
            assert_ne!(drawn(keys, 1, 100), drawn(keys, 2, 100));
            let two = KeyChooser::of_all(keys, 2, 1).into_iter();
            let two: Vec<Vec<_>> = two.map(|mut it| (0..100).map(|_| it.next()).collect()).collect();
            assert_ne!(two[0], two[1]);
        }
    }

    #[test]
    fn keys_come_as_often_as_they_should() {
        assert!(drawn(Keys::Null, 1, 10).is_empty());
        assert_eq!(drawn(Keys::RoundRobin { keys: 3 }, 1, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert!(shares(Keys::Uniform { keys: 20 }).iter().all(|share| (0.045..0.055).contains(share)));

        let hot = shares(Keys::Hot { hot: 2, keys: 12 });
        assert!(hot[..2].iter().all(|share| (0.43..0.47).contains(share)), "{hot:?}");
        assert!(hot[2..].iter().all(|share| (0.008..0.012).contains(share)), "{hot:?}");

        // 1, 1/2, 1/3, 1/4 of the sum of these.
        let zipf = shares(Keys::Zipf { exponent: 1.0, keys: 4 });
        for (rank, share) in zipf.iter().enumerate() {
            assert!((share - 12.0 / 25.0 / (rank + 1) as f64).abs() < 0.01, "{zipf:?}");
        }
    }

    #[test]
    fn a_key_is_its_number_in_ten_digits() {
        assert_eq!(KeyText::of(0).as_ref(), b"k0000000000");
        assert_eq!(KeyText::of(u32::MAX).as_ref(), b"k4294967295");
    }
}
