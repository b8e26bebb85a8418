//! Figures for people: times, sizes, counts. Pure.

use jiff::Timestamp;

/// Seconds in the unit that a person would use: `42 s`, `5 min 40 s`, `3 h 20 min`, `12 d`.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => two(seconds, 60, "min", 1, "s"),
        600..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds, 3600, "h", 60, "min"),
        86_400..864_000 => two(seconds, 86_400, "d", 3600, "h"),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn two(seconds: i64, big: i64, big_name: &str, small: i64, small_name: &str) -> String {
    let rest = seconds % big / small;
    if rest == 0 {
        format!("{} {big_name}", seconds / big)
    } else {
        format!("{} {big_name} {rest} {small_name}", seconds / big)
    }
}

/// [`span`] with one unit only, for columns: `42 s`, `5 min`, `3 h`, `12 d`.
pub(super) fn short_span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Bytes with a binary unit and at most one decimal: `512 B`, `1.5 KiB`, `88 MiB`.
pub(super) fn bytes(count: i64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Tenths of the unit in integers: 1 to 10239, so that no float rounds a figure up into the next unit.
    let mut tenths = i128::from(count) * 10 / 1024;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if tenths < 100 && tenths % 10 != 0 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 object`, `2 objects`.
pub(super) fn count(number: usize, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {one}{s}")
}

/// A time as it is told to people.
pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_units_that_a_person_would_use() {
        for (seconds, long, short) in [
            (-5, "0 s", "0 s"),
            (59, "59 s", "59 s"),
            (60, "1 min", "1 min"),
            (340, "5 min 40 s", "5 min"),
            (719, "11 min", "11 min"),
            (3600, "1 h", "1 h"),
            (12_000, "3 h 20 min", "3 h"),
            (90_000, "1 d 1 h", "25 h"),
            (172_800, "2 d", "2 d"),
            (i64::MAX, "106751991167300 d", "106751991167300 d"),
        ] {
            assert_eq!(
                (&*span(seconds), &*short_span(seconds)),
                (long, short),
                "{seconds}"
            );
        }
    }

    #[test]
    fn bytes_have_binary_units() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (92_274_688, "88 MiB"),
            (1_073_741_823, "1023 MiB"),
            (1_181_116_007, "1.1 GiB"),
            (i64::MAX, "7.9 EiB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn thousands_are_grouped_from_the_right() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
