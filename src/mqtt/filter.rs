//! Topic filters: validity, matching and overlap, as MQTT 5.0 section 4.7 has them (the same in 3.1.1).

/// Bound of a filter or topic, in bytes; the protocol allows 65,535, no site needs more than this.
pub const MAX_FILTER_BYTES: usize = 1024;

/// Why a text is no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Empty text.
    #[error("is empty")]
    Empty,
    /// Longer than [`MAX_FILTER_BYTES`].
    #[error("is longer than 1024 bytes")]
    TooLong,
    /// `#` in another place than the last level, or not alone there.
    #[error("has a # that is not the whole last level")]
    MultiLevel,
    /// `+` with other characters in its level.
    #[error("has a + that is not a whole level")]
    SingleLevel,
    /// A NUL or another control character.
    #[error("has a control character")]
    ControlCharacter,
    /// `$share/…`: the members of a shared subscription get no order and no session of their own.
    #[error("is a shared subscription")]
    Shared,
}

/// Checks a subscription's filter.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty);
    }
    if filter.len() > MAX_FILTER_BYTES {
        return Err(FilterError::TooLong);
    }
    if filter.chars().any(char::is_control) {
        return Err(FilterError::ControlCharacter);
    }
    if filter.starts_with("$share/") || filter == "$share" {
        return Err(FilterError::Shared);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        if level.contains('#') && !(last && level == "#") {
            return Err(FilterError::MultiLevel);
        }
        if level.contains('+') && level != "+" {
            return Err(FilterError::SingleLevel);
        }
    }
    Ok(())
}

/// Whether `topic` is matched by `filter`, both valid. A first-level wildcard matches no topic that begins with `$`
/// (section 4.7.2).
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether some topic is matched by both filters.
pub fn overlap(a: &str, b: &str) -> bool {
    let reserved = |one: &str, other: &str| one.starts_with('$') && other.starts_with(['+', '#']);
    if reserved(a, b) || reserved(b, a) {
        return false;
    }
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            // `x/#` matches `x` too (section 4.7.1.2), so a `#` against nothing still meets.
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (None, _) | (_, None) => return false,
            (Some(x), Some(y)) if x == y || x == "+" || y == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_of_the_specification_are_judged_as_it_says() {
        for good in [
            "#",
            "+",
            "sport/tennis/#",
            "sport/+/player1",
            "/finance",
            "+/+",
            "a//b",
            "$SYS/#",
            " ",
        ] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for (bad, error) in [
            ("", FilterError::Empty),
            ("sport/tennis#", FilterError::MultiLevel),
            ("sport/#/ranking", FilterError::MultiLevel),
            ("sport+", FilterError::SingleLevel),
            ("a/b+/c", FilterError::SingleLevel),
            ("a\0b", FilterError::ControlCharacter),
            ("$share/group/a", FilterError::Shared),
        ] {
            assert_eq!(check_filter(bad), Err(error), "{bad}");
        }
        assert_eq!(
            check_filter(&"a".repeat(MAX_FILTER_BYTES + 1)),
            Err(FilterError::TooLong)
        );
    }

    #[test]
    fn matching_follows_the_specifications_examples() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn overlap_sees_wildcards_on_either_side() {
        for (a, b, expected) in [
            ("a/+", "a/b", true),
            ("a/#", "a", true),
            ("a/+/c", "a/b/+", true),
            ("a/+/c", "a/b/d", false),
            ("#", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "a/b/c", false),
            ("+/+", "a", false),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
    }

    prop_compose! {
        fn topic()(levels in prop::collection::vec("[ab$]{0,2}", 1..4)) -> String { levels.join("/") }
    }
    prop_compose! {
        fn filter()(levels in prop::collection::vec(prop_oneof!["[ab]{0,2}", Just("+".to_owned())], 1..4),
                    tail in any::<bool>()) -> String {
            let mut levels = levels;
            if tail { levels.push("#".to_owned()); }
            levels.join("/")
        }
    }

    proptest! {
        #[test]
        fn two_filters_that_match_one_topic_overlap(a in filter(), b in filter(), t in topic()) {
            if matches(&a, &t) && matches(&b, &t) {
                prop_assert!(overlap(&a, &b), "{} {} {}", a, b, t);
            }
        }

        #[test]
        fn overlap_is_symmetric_and_reflexive(a in filter(), b in filter()) {
            prop_assert_eq!(overlap(&a, &b), overlap(&b, &a));
            prop_assert!(overlap(&a, &a));
        }

        #[test]
        fn filters_that_overlap_have_a_common_topic(a in filter(), b in filter()) {
            // A witness: the literal of either side wins, wildcards become "x"; lengths differ only behind a '#'.
            let witness = {
                let (av, bv): (Vec<_>, Vec<_>) = (a.split('/').collect(), b.split('/').collect());
                let a_open = av.last() == Some(&"#");
                let b_open = bv.last() == Some(&"#");
                let need = (av.len() - usize::from(a_open)).max(bv.len() - usize::from(b_open)).max(1);
                let at = |v: &[&str], open: bool, i: usize| -> Option<String> {
                    let fixed = v.len() - usize::from(open);
                    (i < fixed && v[i] != "+").then(|| v[i].to_owned())
                };
                (0..need).map(|i| at(&av, a_open, i).or_else(|| at(&bv, b_open, i)).unwrap_or_else(|| "x".into()))
                    .collect::<Vec<_>>().join("/")
            };
            prop_assert_eq!(overlap(&a, &b), matches(&a, &witness) && matches(&b, &witness), "{}", witness);
        }
    }
}
