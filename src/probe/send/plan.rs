//! Who sends what: devices over connections, and the MQTT topic of each device. Pure.

/// Bytes of a topic, at most (MQTT 5.0, 4.7.3).
const MAX_TOPIC_BYTES: usize = 65_535;

/// What one connection sends: every `step`th device from `first`, one message of each in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    first: u32,
    step: u32,
    devices: u32,
    messages: Option<u64>,
}

impl Share {
    /// Divides `devices` and `messages` (absent = no end) over `connections`, of which none is left without a device.
    ///
    /// Each device gets `messages / devices`, and the first of them one more until the rest is used up.
    #[must_use]
    pub fn divide(devices: u32, connections: u32, messages: Option<u64>) -> Vec<Self> {
        let step = connections.clamp(1, devices.max(1));
        (0..step)
            .map(|first| {
                let count = (devices + step - 1 - first) / step;
                let messages = messages.map(|m| {
                    let rest = m % u64::from(devices);
                    let with_one_more = (rest + u64::from(step - 1 - first)) / u64::from(step);
                    m / u64::from(devices) * u64::from(count) + with_one_more
                });
                Self {
                    first,
                    step,
                    devices: count,
                    messages,
                }
            })
            .collect()
    }

    /// Devices of this share.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.devices
    }

    /// Device and sequence of the `n`th message of this share; `None` after the last.
    #[must_use]
    pub fn nth(&self, n: u64) -> Option<(u32, u64)> {
        if self.messages.is_some_and(|m| n >= m) {
            return None;
        }
        let devices = u64::from(self.devices);
        // Below `devices`, a u32.
        #[allow(clippy::cast_possible_truncation)]
        let turn = (n % devices) as u32;
        Some((self.first + turn * self.step, n / devices))
    }
}

/// Where each device publishes: a topic with `{device}` and `{line}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    parts: Vec<Part>,
    lines: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Device,
    Line,
}

/// Why a text is no topic template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--topic-template {value:?} {why}; write for example 'factory/line{{line}}/dev{{device}}/telemetry'")]
pub struct TemplateError {
    value: String,
    why: String,
}

impl TopicTemplate {
    /// Reads `text`; device `d` belongs to line `d % lines`.
    ///
    /// # Errors
    /// Unknown placeholders, MQTT wildcards, an empty or too long topic, or several devices on one topic.
    pub fn parse(text: &str, lines: u32, devices: u32) -> Result<Self, TemplateError> {
        let error = |why: String| TemplateError {
            value: text.to_owned(),
            why,
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind
                .split_once('}')
                .ok_or_else(|| error("has a brace that is not closed".to_owned()))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "device" => Part::Device,
                "line" => Part::Line,
                other => {
                    return Err(error(format!(
                        "has {{{other}}}, but only {{device}} and {{line}} exist"
                    )));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self {
            parts,
            lines: lines.max(1),
        };
        let fault = if text.contains(['+', '#', '\0']) {
            Some("has a character that no topic may have (+, # or NUL)")
        } else if text.starts_with('$') {
            Some("begins with $, which is the server's own")
        } else if template.topic(devices.saturating_sub(1)).len() > MAX_TOPIC_BYTES || text.is_empty() {
            Some("gives an empty topic or one of more than 65535 bytes")
        } else if devices > 1 && !template.parts.contains(&Part::Device) {
            Some("lacks {device}: several devices on one topic cannot be told apart by their keys")
        } else {
            None
        };
        fault.map_or(Ok(template), |why| Err(error(why.to_owned())))
    }

    /// The topic of one device.
    #[must_use]
    pub fn topic(&self, device: u32) -> String {
        let mut topic = String::new();
        self.write(device, &mut topic);
        topic
    }

    /// Replaces `topic` by the topic of one device.
    pub fn write(&self, device: u32, topic: &mut String) {
        use std::fmt::Write as _;
        topic.clear();
        for part in &self.parts {
            // Writing into a String cannot fail.
            let _ = match part {
                Part::Text(text) => write!(topic, "{text}"),
                Part::Device => write!(topic, "{device}"),
                Part::Line => write!(topic, "{}", device % self.lines),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_device_sends_its_part_in_sequence_whatever_the_number_of_connections(
            devices in 1u32..40, connections in 1u32..50, messages in 0u64..400,
        ) {
            let shares = Share::divide(devices, connections, Some(messages));
            prop_assert_eq!(shares.iter().map(Share::devices).sum::<u32>(), devices);
            prop_assert!(shares.iter().all(|s| s.devices() > 0));
            let mut next: BTreeMap<u32, u64> = BTreeMap::new();
            for share in &shares {
                for (device, sequence) in (0..).map_while(|n| share.nth(n)) {
                    let expected = next.entry(device).or_default();
                    prop_assert_eq!(sequence, *expected, "device {}", device);
                    *expected += 1;
                }
            }
            for device in 0..devices {
                let part = messages / u64::from(devices) + u64::from(u64::from(device) < messages % u64::from(devices));
                prop_assert_eq!(next.get(&device).copied().unwrap_or(0), part, "device {}", device);
            }
        }
    }

    #[test]
    fn without_a_number_of_messages_a_share_has_no_end() {
        let share = Share::divide(3, 2, None)[0];
        assert_eq!(share.nth(u64::from(u32::MAX) * 2), Some((0, u64::from(u32::MAX))));
    }

    #[test]
    fn topics_have_their_device_and_line() {
        let template = TopicTemplate::parse("factory/line{line}/dev{device}/t", 4, 50).unwrap();
        assert_eq!(template.topic(0), "factory/line0/dev0/t");
        assert_eq!(template.topic(13), "factory/line1/dev13/t");
        assert_eq!(
            TopicTemplate::parse("just/one", 1, 1).unwrap().topic(0),
            "just/one"
        );
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_cause() {
        for (text, why) in [
            ("", "an empty topic"),
            ("a/{machine}", "{machine}"),
            ("a/{device", "not closed"),
            ("a/+/{device}", "no topic may have"),
            ("$SYS/{device}", "begins with $"),
            ("a/b", "lacks {device}"),
        ] {
            let error = TopicTemplate::parse(text, 1, 2).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(TopicTemplate::parse(&format!("{}{{device}}", "x".repeat(65535)), 1, 2).is_err());
    }
}
