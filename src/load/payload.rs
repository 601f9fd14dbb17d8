//! What a record says of itself, at the head of its value; all numbers are big-endian.
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 4 | magic, `TrLd` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | flags: bit 0 says that it belongs to the warm-up |
//! | 6 | 2 | producer |
//! | 8 | 8 | run |
//! | 16 | 8 | sequence, of the producer |
//! | 24 | 8 | sequence of the producer's records with this key; of all of its records where the key is null |
//! | 32 | 8 | intended send time, nanoseconds from the start of the run |
//! | 40 | 4 | number of the key; all ones for null |
//! | 44 | 4 | CRC-32 of all of the value but these four bytes |
//! | 48 | | filler |

const MAGIC: [u8; 4] = *b"TrLd";
const VERSION: u8 = 1;
const WARM_UP: u8 = 1;
const NO_KEY: u32 = u32::MAX;
const CRC_AT: usize = 44;

/// The smallest value that holds all this.
pub(crate) const MINIMUM: usize = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) producer: u16,
    pub(crate) sequence: u64,
    pub(crate) key: Option<u32>,
    pub(crate) key_sequence: u64,
    pub(crate) intended: u64,
    pub(crate) warm_up: bool,
}

/// Why a value is none of this run's, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Another run's, or something else's.
    Foreign,
    /// It begins like one of ours and does not fit its checksum, or its key. Which one it says it is, where it is long enough to say so: that may be
    /// what is damaged.
    Corrupted(Option<Claim>),
}

/// A producer and its sequence.
pub(crate) type Claim = (u16, u64);

impl Payload {
    /// Writes it to the head of a value of at least [`MINIMUM`] bytes, and the checksum over all of it.
    pub(crate) fn write(&self, run: u64, value: &mut [u8]) {
        value[..4].copy_from_slice(&MAGIC);
        value[4] = VERSION;
        value[5] = if self.warm_up { WARM_UP } else { 0 };
        value[6..8].copy_from_slice(&self.producer.to_be_bytes());
        value[8..16].copy_from_slice(&run.to_be_bytes());
        value[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        value[24..32].copy_from_slice(&self.key_sequence.to_be_bytes());
        value[32..40].copy_from_slice(&self.intended.to_be_bytes());
        value[40..44].copy_from_slice(&self.key.unwrap_or(NO_KEY).to_be_bytes());
        let crc = checksum(value);
        value[CRC_AT..MINIMUM].copy_from_slice(&crc.to_be_bytes());
    }

    /// Reads it back.
    pub(crate) fn read(run: u64, value: &[u8]) -> Result<Self, Odd> {
        if value.get(..4) != Some(&MAGIC) {
            return Err(Odd::Foreign);
        }
        if value.len() < MINIMUM || u32::from_be_bytes(bytes(value, CRC_AT)) != checksum(value) {
            let claimed = value.len() >= 24;
            return Err(Odd::Corrupted(claimed.then(|| claim(value))));
        }
        if value[4] != VERSION || u64::from_be_bytes(bytes(value, 8)) != run {
            return Err(Odd::Foreign);
        }
        let (producer, sequence) = claim(value);
        Ok(Self {
            producer,
            sequence,
            key: Some(u32::from_be_bytes(bytes(value, 40))).filter(|key| *key != NO_KEY),
            key_sequence: u64::from_be_bytes(bytes(value, 24)),
            intended: u64::from_be_bytes(bytes(value, 32)),
            warm_up: value[5] & WARM_UP != 0,
        })
    }
}

fn claim(value: &[u8]) -> Claim {
    (u16::from_be_bytes(bytes(value, 6)), u64::from_be_bytes(bytes(value, 16)))
}

/// `N` bytes of a value that is known to hold them.
fn bytes<const N: usize>(value: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&value[at..at + N]);
    bytes
}

fn checksum(value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&value[..CRC_AT]);
    crc.update(&value[MINIMUM..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payloads() -> impl Strategy<Value = Payload> {
        let numbers = (any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>());
        let key = proptest::option::of(0..NO_KEY);
        (numbers, key, any::<bool>()).prop_map(|((producer, sequence, key_sequence, intended), key, warm_up)| Payload {
            producer,
            sequence,
            key,
            key_sequence,
            intended,
            warm_up,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payload in payloads(), run: u64, filler in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut value = vec![0; MINIMUM];
            value.extend(filler);
            payload.write(run, &mut value);
            prop_assert_eq!(Payload::read(run, &value), Ok(payload));
            prop_assert_eq!(Payload::read(run ^ 1, &value), Err(Odd::Foreign));
        }

        #[test]
        fn a_bit_that_turned_is_seen_wherever_it_is(payload in payloads(), run: u64, at in 0..8 * (MINIMUM + 20)) {
            let mut value = vec![0; MINIMUM + 20];
            payload.write(run, &mut value);
            value[at / 8] ^= 1 << (at % 8);
            // Without the magic nobody can say that it was ours.
            let claims_another = (48..64).contains(&at) || (128..192).contains(&at);
            match Payload::read(run, &value) {
                Err(Odd::Foreign) => prop_assert!(at < 32),
                Err(Odd::Corrupted(Some(claim))) => {
                    prop_assert_eq!(claim != (payload.producer, payload.sequence), claims_another);
                }
                read => prop_assert!(false, "{:?}", read),
            }
        }

        #[test]
        fn a_value_cut_short_is_seen(payload in payloads(), run: u64, left in 0..MINIMUM + 20) {
            let mut value = vec![7; MINIMUM + 20];
            payload.write(run, &mut value);
            let claim = (left >= 24).then_some((payload.producer, payload.sequence));
            let odd = if left < 4 { Odd::Foreign } else { Odd::Corrupted(claim) };
            prop_assert_eq!(Payload::read(run, &value[..left]), Err(odd));
        }

        #[test]
        fn other_bytes_are_foreign(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(!value.starts_with(&MAGIC));
            prop_assert_eq!(Payload::read(1, &value), Err(Odd::Foreign));
        }
    }
}
