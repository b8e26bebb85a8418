//! What the probe prints: results on standard output, progress on standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object, for programs; its schema is stable
    Json,
}

impl Output {
    /// Prints the result: `text` or `document`.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print(self, document: &impl Serialize, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::Text => out.write_all(text.as_bytes())?,
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, document)?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()
    }
}

/// One line of progress on standard error; a closed one is no reason to stop.
pub fn progress_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
