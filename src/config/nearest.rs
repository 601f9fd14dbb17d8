/// The candidate that `name` was probably meant to be, if one is near enough: a third of its letters may be wrong.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = candidates.into_iter().map(|each| (strsim::damerau_levenshtein(name, each), each));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.chars().count().div_ceil(3)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["order", "concurrency", "group_id", "max_attempts"];
        assert_eq!(nearest("ordr", names), Some("order"));
        assert_eq!(nearest("concurency", names), Some("concurrency"));
        assert_eq!(nearest("group.id", names), Some("group_id"));
        assert_eq!(nearest("attempts", names), None);
        assert_eq!(nearest("zebra", names), None);
    }
}
