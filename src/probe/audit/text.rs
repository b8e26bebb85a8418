//! The report for people.

use std::fmt::{self, Display, Formatter};

use super::report::{Place, Report, TopicAccount, Verdict};
use super::tally::Clock;
use crate::probe::latency::Percentiles;
use crate::probe::output::thousands;
use crate::probe::sent::SenderState;

/// Missing ranges and devices that are shown, at most; JSON has more.
const MAX_SHOWN: usize = 10;

/// The report as text: what counts first, the rest only where there is something to say.
#[derive(Debug)]
pub struct Text<'a>(pub &'a Report);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let r = self.0;
        let TopicAccount {
            topic,
            bootstrap_servers,
            partitions,
            ..
        } = &r.topic;
        writeln!(
            f,
            "run {}: {topic} at {}, {partitions} partitions",
            r.run,
            bootstrap_servers.join(",")
        )?;
        if let Some(acked) = r.acked {
            row(f, "acknowledged", acked, "by the MQTT server")?;
        }
        row(f, "received", r.received, "different messages")?;
        row(f, "lost", r.lost, "")?;
        self.places(f)?;
        optional(
            f,
            "dead letters",
            r.dead_lettered,
            "refused by the bridge; their headers say why",
        )?;
        let own = r.sender.as_ref().map_or(0, |s| s.resent);
        let of = if own > 0 {
            format!("up to {} of them repeated by the sender itself", thousands(own))
        } else {
            String::new()
        };
        row(f, "duplicates", r.duplicates, &of)?;
        row(
            f,
            "out of order",
            r.out_of_order,
            "first occurrences, per device and partition",
        )?;
        if r.acked.is_none() {
            row(
                f,
                "gaps",
                r.gaps,
                "missing below the highest sequence of each device",
            )?;
        }
        self.remarks(f)?;
        self.latencies(f)?;
        self.missing(f)?;
        writeln!(f, "{}", self.verdict())
    }
}

fn row(f: &mut Formatter<'_>, name: &str, count: u64, remark: &str) -> fmt::Result {
    let line = format!("  {name:<13}{:>13}   {remark}", thousands(count));
    writeln!(f, "{}", line.trim_end())
}

fn optional(f: &mut Formatter<'_>, name: &str, count: u64, remark: &str) -> fmt::Result {
    if count == 0 {
        Ok(())
    } else {
        row(f, name, count, remark)
    }
}

impl Text<'_> {
    fn places(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let places = &self.0.lost_at;
        let known = places.after_bridge.is_some();
        optional(
            f,
            "",
            places.before_bridge,
            "before the bridge: the MQTT server had no subscriber for them",
        )?;
        let before = if known {
            "before the factory's Kafka: by the MQTT server or the bridge"
        } else {
            "before this topic; --factory-kafka tells the bridge from the replicator"
        };
        optional(f, "", places.before_kafka, before)?;
        let after = "after the bridge: in the factory's Kafka, not here";
        optional(f, "", places.after_bridge.unwrap_or(0), after)
    }

    fn remarks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let r = self.0;
        if let Some(sender) = &r.sender {
            optional(
                f,
                "unknown",
                sender.unknown,
                "never acknowledged; may or may not be here",
            )?;
            optional(f, "refused", sender.refused, "by the MQTT server")?;
        }
        optional(
            f,
            "unrecorded",
            r.unrecorded,
            "here, but their acknowledgement is not in the sent file",
        )?;
        let scattered = "devices in several partitions: no order between those";
        optional(f, "scattered", r.topic.scattered_devices, scattered)?;
        if let Some(factory) = &r.factory {
            row(
                f,
                "in factory",
                factory.received,
                &format!("{} at {}", factory.topic, factory.bootstrap_servers.join(",")),
            )?;
        }
        if r.lost > 0 && r.topic.truncated_partitions > 0 {
            let truncated = r.topic.truncated_partitions as u64;
            row(
                f,
                "truncated",
                truncated,
                "partitions whose older records are deleted; what is lost may have been there",
            )?;
        }
        Ok(())
    }

    fn latencies(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let r = self.0;
        if let Some(to_record) = &r.topic.to_record {
            let clock = match to_record.clock {
                Clock::CreateTime => "producer's clock",
                Clock::LogAppendTime => "broker's clock",
                Clock::Mixed => "producer's and broker's clocks",
            };
            percentiles(f, &format!("sent to record ({clock})"), &to_record.percentiles)?;
        }
        if let Some(to_reader) = &r.topic.to_reader {
            percentiles(f, "sent to read here", to_reader)?;
        }
        Ok(())
    }

    fn missing(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let missing = &self.0.missing;
        for range in missing.iter().take(MAX_SHOWN) {
            let place = match range.place {
                Place::BeforeBridge => "before the bridge",
                Place::BeforeKafka => "before Kafka",
                Place::AfterBridge => "after the bridge",
                Place::DeadLetter => "dead letter",
            };
            writeln!(
                f,
                "  missing: device {}, {} to {} ({place})",
                range.device, range.first, range.last
            )?;
        }
        if missing.len() > MAX_SHOWN {
            writeln!(f, "  and more; -o json lists them")?;
        }
        Ok(())
    }

    fn verdict(&self) -> &'static str {
        let r = self.0;
        match (r.verdict, r.sender.as_ref().map(|s| s.state)) {
            (Verdict::Complete, _) => "complete: everything acknowledged has arrived",
            (Verdict::Missing, _) if r.lost > 0 => "LOST: messages were acknowledged and did not arrive",
            (Verdict::Missing, _) => {
                "INCOMPLETE: messages were refused by the bridge and are in the dead-letter topic"
            }
            (Verdict::TailUnknown, None) => "tail unknown: without --sent nobody knows what was sent last",
            (Verdict::TailUnknown, Some(SenderState::Running)) => {
                "tail unknown: the sender is still running; --until-complete waits for it"
            }
            (Verdict::TailUnknown, Some(_)) => {
                "tail unknown: all that is in the sent file has arrived, but its sender did not end in order"
            }
        }
    }
}

fn percentiles(f: &mut Formatter<'_>, name: &str, p: &Percentiles) -> fmt::Result {
    write!(
        f,
        "  {name}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        p.p50, p.p90, p.p99, p.max
    )?;
    if p.negative > 0 {
        write!(f, " ({} below zero: the clocks differ)", thousands(p.negative))?;
    }
    writeln!(f)
}
