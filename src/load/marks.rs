const WORDS: usize = 512;
/// Marks of a page: 4 KiB of bits.
const PAGE: u64 = WORDS as u64 * 64;

/// Which numbers, counted from 0, have been marked: a bit for each, and next to nothing for a stretch that is marked as a whole.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pages: Vec<Page>,
    marked: u64,
}

#[derive(Debug, Default)]
enum Page {
    #[default]
    Empty,
    Partial {
        bits: Box<[u64; WORDS]>,
        marked: u64,
    },
    Full,
}

impl Marks {
    /// Marks a number; says whether it was not marked before.
    pub(crate) fn mark(&mut self, number: u64) -> bool {
        let (index, word, bit) = place(number);
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, Page::default);
        }
        let page = &mut self.pages[index];
        if matches!(page, Page::Empty) {
            *page = Page::Partial { bits: Box::new([0; WORDS]), marked: 0 };
        }
        let Page::Partial { bits, marked } = page else {
            return false;
        };
        if bits[word] & bit != 0 {
            return false;
        }
        bits[word] |= bit;
        *marked += 1;
        if *marked == PAGE {
            *page = Page::Full;
        }
        self.marked += 1;
        true
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let (index, word, bit) = place(number);
        match self.pages.get(index) {
            None | Some(Page::Empty) => false,
            Some(Page::Full) => true,
            Some(Page::Partial { bits, .. }) => bits[word] & bit != 0,
        }
    }

    /// How many are marked.
    pub(crate) fn count(&self) -> u64 {
        self.marked
    }

    /// How many below `end` are not marked.
    pub(crate) fn missing_below(&self, end: u64) -> u64 {
        let (index, word, bit) = place(end);
        let whole = self.pages.iter().take(index);
        let before: u64 = whole
            .map(|page| match page {
                Page::Empty => 0,
                Page::Full => PAGE,
                Page::Partial { marked, .. } => *marked,
            })
            .sum();
        let within = match self.pages.get(index) {
            None | Some(Page::Empty) => 0,
            Some(Page::Full) => end % PAGE,
            Some(Page::Partial { bits, .. }) => {
                let words = bits[..word].iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
                words + u64::from((bits[word] & (bit - 1)).count_ones())
            }
        };
        end - before - within
    }

    /// The memory it takes, in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let partial = self.pages.iter().filter(|page| matches!(page, Page::Partial { .. })).count();
        self.pages.capacity() * size_of::<Page>() + partial * WORDS * size_of::<u64>()
    }
}

fn place(number: u64) -> (usize, usize, u64) {
    let within = number % PAGE;
    ((number / PAGE) as usize, (within / 64) as usize, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn they_are_a_set_of_numbers(
            stretches in proptest::collection::vec((0..3 * PAGE, 0_u64..40_000), 1..6),
            ends in proptest::collection::vec(0..4 * PAGE, 1..20),
        ) {
            let (mut marks, mut set) = (Marks::default(), BTreeSet::new());
            for (first, count) in stretches {
                for number in first..first + count {
                    prop_assert_eq!(marks.mark(number), set.insert(number));
                }
            }
            prop_assert_eq!(marks.count(), set.len() as u64);
            for end in ends {
                prop_assert_eq!(marks.missing_below(end), end - set.range(..end).count() as u64);
                prop_assert_eq!(marks.contains(end), set.contains(&end));
            }
        }
    }
}
