//! What a failed record means. Pure: one table from Kafka's error codes.
//!
//! When in doubt a record waits and is sent again: only what Kafka says about this very record, and will say again,
//! makes it a dead letter.

use rdkafka::types::RDKafkaErrorCode as Code;

use super::progress::Reason;

/// What to do with a record that Kafka, or librdkafka, did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It, or the batch that it was in, is larger than the topic takes.
    TooLarge,
    /// This record will never be taken; or, if it was not alone in its batch, perhaps another one of that.
    Refused(Reason, String),
    /// Another record of its batch is at fault.
    OfBatch,
    /// Send it again, in order, with a new producer.
    Again(Reason, String),
}

/// Judges one code. `topic` is named in the sentences.
pub fn judge(code: Code, topic: &str) -> Verdict {
    let text = code.to_string();
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Verdict::TooLarge,
        Code::InvalidRecord => Verdict::Refused(
            Reason::RecordRefused,
            format!(
                "topic {topic:?} refuses the record: {text} (a compacted topic wants a key, and its schema rules hold)"
            ),
        ),
        Code::InvalidTimestamp => Verdict::Refused(
            Reason::RecordRefused,
            format!(
                "topic {topic:?} refuses the record's timestamp: {text}; compare the clocks, see \
                 message.timestamp.before.max.ms and message.timestamp.after.max.ms"
            ),
        ),
        Code::InvalidDifferentRecord => Verdict::OfBatch,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId => Verdict::Again(
            Reason::TopicMissing,
            format!("topic {topic:?} does not exist; create it, nothing is lost meanwhile"),
        ),
        Code::TopicAuthorizationFailed => Verdict::Again(
            Reason::TopicUnauthorized,
            format!("we may not write to topic {topic:?}; grant Write on it to our user"),
        ),
        Code::ClusterAuthorizationFailed => Verdict::Again(
            Reason::TopicUnauthorized,
            "we may not write with idempotence; grant IdempotentWrite on the cluster, or Write on the topics"
                .to_owned(),
        ),
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            Verdict::Again(
                Reason::KafkaCredentialsRefused,
                format!("Kafka refuses the credentials: {text}"),
            )
        }
        Code::SSL => Verdict::Again(Reason::KafkaTlsFailed, format!("TLS with Kafka failed: {text}")),
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::MessageTimedOut => {
            Verdict::Again(Reason::KafkaUnreachable, format!("no broker answers: {text}"))
        }
        _ => Verdict::Again(
            Reason::RecordRefused,
            format!("topic {topic:?} did not take a record: {text}; it is sent again"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_record_itself_refuses_it() {
        for code in [Code::InvalidRecord, Code::InvalidTimestamp] {
            assert!(
                matches!(judge(code, "t"), Verdict::Refused(Reason::RecordRefused, _)),
                "{code}"
            );
        }
        for code in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge] {
            assert_eq!(judge(code, "t"), Verdict::TooLarge);
        }
        assert_eq!(judge(Code::InvalidDifferentRecord, "t"), Verdict::OfBatch);
    }

    #[test]
    fn everything_else_is_sent_again_with_its_reason() {
        for (code, reason) in [
            (Code::UnknownTopicOrPartition, Reason::TopicMissing),
            (Code::UnknownTopic, Reason::TopicMissing),
            (Code::TopicAuthorizationFailed, Reason::TopicUnauthorized),
            (Code::SaslAuthenticationFailed, Reason::KafkaCredentialsRefused),
            (Code::SSL, Reason::KafkaTlsFailed),
            (Code::MessageTimedOut, Reason::KafkaUnreachable),
            (Code::NotEnoughReplicas, Reason::RecordRefused),
            (Code::PurgeInflight, Reason::RecordRefused),
            (Code::Fatal, Reason::RecordRefused),
            (Code::PolicyViolation, Reason::RecordRefused),
            (Code::Unknown, Reason::RecordRefused),
        ] {
            assert!(
                matches!(judge(code, "t"), Verdict::Again(r, _) if r == reason),
                "{code}"
            );
        }
    }
}
