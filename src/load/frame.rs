//! What a member in a process of its own says to the run: frames of one size, so that each is written and read whole.
//!
//! | at | bytes | a record | what it holds | the end of that | a commit |
//! |---|---|---|---|---|---|
//! | 0 | 1 | 1 fits, 2 corrupted, 3 foreign | 4 | 5 | 6 |
//! | 1 | 1 | bit 0: warm-up, bit 1: it has a key, bit 2: corrupted, and known, bit 3: its handler was timed | | | |
//! | 2 | 2 | producer | | | |
//! | 4 | 4 | partition | partition | | partition |
//! | 8 | 8 | offset | committed offset | last commits that were not made | committed offset |
//! | 16 | 8 | sequence | | attempts that failed as they were to | |
//! | 24 | 8 | sequence within the key | | | |
//! | 32 | 8 | intended send time | | | |
//! | 40 | 4 | number of the key | | | |
//! | 44 | 4 | bytes of the value | | | |
//! | 48 | 8 | nanoseconds since it was received | | | |
//! | 56 | 8 | nanoseconds in its handler | | | |
//!
//! All big-endian. A pipe takes so few bytes in one piece, whichever threads write.

use super::ledger::Place;
use super::payload::{Odd, Payload};

pub(crate) const LEN: usize = 64;

const WARM_UP: u8 = 1;
const KEY: u8 = 2;
const KNOWN: u8 = 4;
const TIMED: u8 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A handler is through with a record.
    Handled { place: Place, read: Result<Payload, Odd>, length: u32, waited: u64, worked: Option<u64> },
    /// It was told that all of a partition below an offset is committed.
    Committed { partition: u32, next: u64 },
    /// One of the partitions it holds, and what it has committed of it, as far as it knows.
    Holds { partition: u32, committed: u64 },
    /// It holds those told since the last of these; has so far given up so many partitions, or sets of them, without a last commit; and so many
    /// attempts failed as they were to.
    Told { uncommitted: u64, failed_attempts: u64 },
}

impl Frame {
    pub(crate) fn write(&self) -> [u8; LEN] {
        let mut frame = [0; LEN];
        match self {
            Self::Handled { place, read, length, waited, worked } => {
                frame[44..48].copy_from_slice(&length.to_be_bytes());
                frame[48..56].copy_from_slice(&waited.to_be_bytes());
                frame[56..].copy_from_slice(&worked.unwrap_or_default().to_be_bytes());
                frame[0] = match read {
                    Ok(_) => 1,
                    Err(Odd::Corrupted(_)) => 2,
                    Err(Odd::Foreign) => 3,
                };
                frame[4..8].copy_from_slice(&place.partition.to_be_bytes());
                frame[8..16].copy_from_slice(&place.offset.to_be_bytes());
                if let Err(Odd::Corrupted(Some((producer, sequence)))) = read {
                    frame[1] = KNOWN;
                    frame[2..4].copy_from_slice(&producer.to_be_bytes());
                    frame[16..24].copy_from_slice(&sequence.to_be_bytes());
                }
                if let Ok(payload) = read {
                    frame[1] = u8::from(payload.warm_up) * WARM_UP + u8::from(payload.key.is_some()) * KEY;
                    frame[2..4].copy_from_slice(&payload.producer.to_be_bytes());
                    frame[16..24].copy_from_slice(&payload.sequence.to_be_bytes());
                    frame[24..32].copy_from_slice(&payload.key_sequence.to_be_bytes());
                    frame[32..40].copy_from_slice(&payload.intended.to_be_bytes());
                    frame[40..44].copy_from_slice(&payload.key.unwrap_or_default().to_be_bytes());
                }
                frame[1] |= u8::from(worked.is_some()) * TIMED;
            }
            Self::Committed { partition, next } => {
                frame[0] = 6;
                frame[4..8].copy_from_slice(&partition.to_be_bytes());
                frame[8..16].copy_from_slice(&next.to_be_bytes());
            }
            Self::Holds { partition, committed } => {
                frame[0] = 4;
                frame[4..8].copy_from_slice(&partition.to_be_bytes());
                frame[8..16].copy_from_slice(&committed.to_be_bytes());
            }
            Self::Told { uncommitted, failed_attempts } => {
                frame[0] = 5;
                frame[8..16].copy_from_slice(&uncommitted.to_be_bytes());
                frame[16..24].copy_from_slice(&failed_attempts.to_be_bytes());
            }
        }
        frame
    }

    /// `None` where it is no frame.
    pub(crate) fn read(frame: &[u8; LEN]) -> Option<Self> {
        let (partition, number) = (u32::from_be_bytes(bytes(frame, 4)), u64::from_be_bytes(bytes(frame, 8)));
        let (producer, sequence) = (u16::from_be_bytes(bytes(frame, 2)), u64::from_be_bytes(bytes(frame, 16)));
        let read = match frame[0] {
            1 => Ok(Payload {
                producer,
                sequence,
                key: (frame[1] & KEY != 0).then(|| u32::from_be_bytes(bytes(frame, 40))),
                key_sequence: u64::from_be_bytes(bytes(frame, 24)),
                intended: u64::from_be_bytes(bytes(frame, 32)),
                warm_up: frame[1] & WARM_UP != 0,
            }),
            2 => Err(Odd::Corrupted((frame[1] & KNOWN != 0).then_some((producer, sequence)))),
            3 => Err(Odd::Foreign),
            4 => return Some(Self::Holds { partition, committed: number }),
            5 => return Some(Self::Told { uncommitted: number, failed_attempts: sequence }),
            6 => return Some(Self::Committed { partition, next: number }),
            _ => return None,
        };
        let (length, waited) = (u32::from_be_bytes(bytes(frame, 44)), u64::from_be_bytes(bytes(frame, 48)));
        let worked = (frame[1] & TIMED != 0).then(|| u64::from_be_bytes(bytes(frame, 56)));
        Some(Self::Handled { place: Place { partition, offset: number }, read, length, waited, worked })
    }
}

fn bytes<const N: usize>(frame: &[u8; LEN], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&frame[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads() -> impl Strategy<Value = Result<Payload, Odd>> {
        let numbers = (any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>());
        let payload = (numbers, any::<Option<u32>>(), any::<bool>());
        prop_oneof![
            payload.prop_map(|((producer, sequence, key_sequence, intended), key, warm_up)| {
                Ok(Payload { producer, sequence, key, key_sequence, intended, warm_up })
            }),
            any::<Option<(u16, u64)>>().prop_map(|known| Err(Odd::Corrupted(known))),
            Just(Err(Odd::Foreign)),
        ]
    }

    fn frames() -> impl Strategy<Value = Frame> {
        prop_oneof![
            ((any::<u32>(), any::<u64>()), reads(), any::<u32>(), any::<u64>(), any::<Option<u64>>()).prop_map(
                |((partition, offset), read, length, waited, worked)| {
                    Frame::Handled { place: Place { partition, offset }, read, length, waited, worked }
                }
            ),
            (any::<u32>(), any::<u64>()).prop_map(|(partition, next)| Frame::Committed { partition, next }),
            (any::<u32>(), any::<u64>()).prop_map(|(partition, committed)| Frame::Holds { partition, committed }),
            (any::<u64>(), any::<u64>())
                .prop_map(|(uncommitted, failed_attempts)| Frame::Told { uncommitted, failed_attempts }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frame in frames()) {
            prop_assert_eq!(Frame::read(&frame.write()), Some(frame));
        }
    }

    #[test]
    fn what_is_no_frame_is_none() {
        assert_eq!(Frame::read(&[0; LEN]), None);
        assert_eq!(Frame::read(&[9; LEN]), None);
    }
}
