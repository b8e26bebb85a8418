//! Looks at Kafka from beside the producer: whether it answers, and whether the configured topics exist. librdkafka
//! would tell neither in words that a condition can use.

use std::time::Duration;

use jiff::Timestamp;
use kafka_protocol::error::ResponseError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::progress::Reason;
use crate::kafka::connection::KafkaConnection;
use crate::kafka::eras::Eras;
use crate::kafka::error::KafkaError;
use crate::kafka::wire::{Admin, Metadata, Topics};

/// Between two looks while all is well.
const CALM: Duration = Duration::from_secs(10);
/// Between two looks while something is wrong.
const KEEN: Duration = Duration::from_secs(2);

/// Looks in a row that must fail before a Kafka that answered is said to be gone: one slow answer is no news.
const FAILURES: u32 = 2;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaView {
    /// Since when Kafka answers; `None` while it does not, or nobody has looked yet.
    pub connected_since: Option<Timestamp>,
    /// Topics that do not exist.
    pub missing_topics: Vec<String>,
    /// Topics that we may not describe.
    pub forbidden_topics: Vec<String>,
    /// Why Kafka does not answer.
    pub error: Option<(Reason, String)>,
    /// Why credentials that have changed are not used yet.
    pub unreadable: Option<String>,
    /// How often a topic turned out to be another one, or older, than a producer may have learnt: see [`Eras`].
    pub eras_over: u64,
}

impl KafkaView {
    /// What is wrong with the connection.
    pub fn problem(&self) -> Option<(Reason, String)> {
        let kept = |why| format!("{why}; the connection that stands is kept");
        let unreadable = self.unreadable.as_ref();
        let unreadable = unreadable.map(|why| (Reason::CredentialsUnreadable, kept(why)));
        self.error.clone().or(unreadable)
    }

    /// What is wrong with a topic.
    pub fn topic_problem(&self) -> Option<(Reason, String)> {
        if let Some(first) = self.missing_topics.first() {
            let others = match self.missing_topics.len() - 1 {
                0 => String::new(),
                n => format!(" (nor {n} more)"),
            };
            let text =
                format!("topic {first:?} does not exist{others}; create it, nothing is lost meanwhile");
            return Some((Reason::TopicMissing, text));
        }
        let first = self.forbidden_topics.first()?;
        let text = format!("we may not describe topic {first:?}; grant Describe and Write on it to our user");
        Some((Reason::TopicUnauthorized, text))
    }

    /// Whether something that was wrong `before` is so no more.
    pub fn mends(&self, before: &Self) -> bool {
        let gone = |before: &[String], now: &[String]| before.iter().any(|topic| !now.contains(topic));
        (before.error.is_some() && self.error.is_none())
            || gone(&before.missing_topics, &self.missing_topics)
            || gone(&before.forbidden_topics, &self.forbidden_topics)
    }

    fn of(answer: Result<Metadata, KafkaError>, before: &Self, eras: &mut Eras) -> Self {
        let metadata = match answer {
            Ok(metadata) => metadata,
            Err(error) => {
                let error = Some((reason(&error), error.explain()));
                // What was known of the topics stays: nobody can say anything else now.
                return Self {
                    connected_since: None,
                    error,
                    ..before.clone()
                };
            }
        };
        let with = |code: ResponseError| {
            let topics = metadata.topics.iter();
            let matching = topics.filter(move |(_, answer)| answer.as_ref().is_err_and(|e| e.is(code)));
            matching.map(|(name, _)| name.clone()).collect()
        };
        let seen = metadata
            .topics
            .iter()
            .filter_map(|(name, topic)| Some((name, topic.as_ref().ok()?)));
        let over = seen.filter(|(name, topic)| eras.is_over(name, topic)).count();
        Self {
            connected_since: before.connected_since.or_else(|| Some(Timestamp::now())),
            missing_topics: with(ResponseError::UnknownTopicOrPartition),
            forbidden_topics: with(ResponseError::TopicAuthorizationFailed),
            error: None,
            unreadable: before.unreadable.clone(),
            eras_over: before.eras_over + over as u64,
        }
    }

    fn calm(&self) -> bool {
        self.error.is_none() && self.missing_topics.is_empty() && self.forbidden_topics.is_empty()
    }
}

fn reason(error: &KafkaError) -> Reason {
    match error {
        KafkaError::Unreachable { .. } | KafkaError::Timeout { .. } => Reason::KafkaUnreachable,
        KafkaError::Tls { .. } => Reason::KafkaTlsFailed,
        KafkaError::Refused { .. } => Reason::KafkaCredentialsRefused,
        KafkaError::Misconfigured { .. } => Reason::CredentialsUnreadable,
        KafkaError::NotKafka { .. }
        | KafkaError::Unsupported { .. }
        | KafkaError::Kafka { .. }
        | KafkaError::Protocol { .. } => Reason::KafkaProtocolError,
    }
}

/// How to reach Kafka, or why nobody can say (a credential file that cannot be read).
pub type Way = Result<KafkaConnection, String>;

/// Where a way to Kafka that was read is told.
#[derive(Debug)]
pub struct Ways {
    /// The one to go.
    pub way: watch::Sender<Way>,
    /// Why the one that was read last is not it.
    pub unreadable: watch::Sender<Option<String>>,
}

impl Ways {
    /// Tells a way that was read anew. One that works is not left for one that cannot be used.
    pub fn tell(&self, read: Way) {
        match read {
            Err(why) if self.way.borrow().is_ok() => {
                self.unreadable.send_replace(Some(why));
            }
            read => {
                self.unreadable.send_replace(None);
                // What is back as it was changes nothing.
                self.way.send_if_modified(|way| {
                    let other = *way != read;
                    *way = read;
                    other
                });
            }
        }
    }
}

/// Looks until `token` is cancelled; at once when the way changes, or cannot be read any more.
pub async fn look(
    mut way: watch::Receiver<Way>,
    mut unreadable: watch::Receiver<Option<String>>,
    topics: Vec<String>,
    seen: watch::Sender<KafkaView>,
    token: CancellationToken,
) {
    loop {
        let admin = match way.borrow_and_update().clone() {
            Ok(connection) => Admin::new(&connection).map_err(|e| (reason(&e), e.explain())),
            Err(text) => Err((Reason::CredentialsUnreadable, text)),
        };
        let (mut failures, mut eras) = (0, Eras::default());
        loop {
            let mut view = match &admin {
                Err(error) => KafkaView {
                    error: Some(error.clone()),
                    ..KafkaView::default()
                },
                Ok(admin) => {
                    let answer = tokio::select! {
                        () = token.cancelled() => return,
                        answer = admin.metadata(Topics::Named(topics.clone())) => answer,
                    };
                    let before = seen.borrow().clone();
                    KafkaView::of(answer, &before, &mut eras)
                }
            };
            view.unreadable.clone_from(&unreadable.borrow_and_update());
            let pause = if view.calm() { CALM } else { KEEN };
            failures = if view.error.is_some() { failures + 1 } else { 0 };
            if failures == 0 || failures >= FAILURES || seen.borrow().connected_since.is_none() {
                seen.send_replace(view);
            }
            tokio::select! {
                () = token.cancelled() => return,
                changed = way.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Ok(()) = unreadable.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::Cluster;
    use std::collections::BTreeMap;

    fn view_of(answer: Result<Metadata, KafkaError>, before: &KafkaView) -> KafkaView {
        KafkaView::of(answer, before, &mut Eras::default())
    }

    fn answer(topics: &[(&str, Option<ResponseError>)]) -> Result<Metadata, KafkaError> {
        let topic = |code: &Option<ResponseError>| match code {
            Some(code) => Err(KafkaError::Kafka {
                what: "t".into(),
                code: (*code).into(),
                message: None,
            }),
            None => Err(KafkaError::Kafka {
                what: "t".into(),
                code: ResponseError::LeaderNotAvailable.into(),
                message: None,
            }),
        };
        Ok(Metadata {
            cluster: Cluster {
                id: "c".into(),
                brokers: BTreeMap::new(),
                controller: None,
            },
            topics: topics
                .iter()
                .map(|(name, code)| ((*name).to_owned(), topic(code)))
                .collect(),
            unknown_ids: BTreeMap::new(),
        })
    }

    #[test]
    fn missing_and_forbidden_topics_are_named_with_what_to_do() {
        let before = KafkaView::default();
        let view = view_of(
            answer(&[("a", Some(ResponseError::UnknownTopicOrPartition)), ("b", None)]),
            &before,
        );
        assert_eq!(view.missing_topics, ["a"]);
        assert!(view.connected_since.is_some() && !view.calm());
        let (reason, text) = view.topic_problem().unwrap();
        assert_eq!(reason, Reason::TopicMissing);
        assert!(text.contains("\"a\" does not exist; create it"), "{text}");
        let view = view_of(
            answer(&[("b", Some(ResponseError::TopicAuthorizationFailed))]),
            &view,
        );
        assert_eq!(view.topic_problem().unwrap().0, Reason::TopicUnauthorized);
        let view = view_of(answer(&[("b", None)]), &view);
        assert!(view.calm() && view.topic_problem().is_none());
    }

    #[test]
    fn what_was_wrong_and_is_no_more_is_noticed() {
        let missing = |topics: &[&str]| KafkaView {
            missing_topics: topics.iter().map(ToString::to_string).collect(),
            ..KafkaView::default()
        };
        assert!(missing(&["b"]).mends(&missing(&["a", "b"])));
        assert!(
            missing(&["b"]).mends(&missing(&["a"])),
            "another one is missing now"
        );
        assert!(!missing(&["a", "b"]).mends(&missing(&["a"])));
        assert!(!missing(&[]).mends(&missing(&[])));
        let forbidden = KafkaView {
            forbidden_topics: vec!["a".into()],
            ..KafkaView::default()
        };
        assert!(missing(&["a"]).mends(&forbidden) && !forbidden.mends(&forbidden));
        let away = KafkaView {
            error: Some((Reason::KafkaUnreachable, String::new())),
            ..missing(&["a"])
        };
        assert!(missing(&["a"]).mends(&away) && !away.mends(&missing(&["a"])));
    }

    #[test]
    fn a_kafka_that_does_not_answer_leaves_what_was_known_of_the_topics() {
        let before = view_of(
            answer(&[("a", Some(ResponseError::UnknownTopicOrPartition))]),
            &KafkaView::default(),
        );
        let error = KafkaError::Unreachable {
            address: "k:9092".into(),
            why: "refused".into(),
            advertised_by: None,
        };
        let view = view_of(Err(error), &before);
        assert_eq!(view.connected_since, None);
        assert_eq!(view.missing_topics, ["a"]);
        let (reason, text) = view.problem().unwrap();
        assert_eq!(reason, Reason::KafkaUnreachable);
        assert!(text.contains("k:9092"), "{text}");
    }

    #[test]
    fn a_way_that_works_is_kept_when_its_files_cannot_be_read_and_the_files_are_named() {
        let unreadable = |why: &str| Way::Err(why.to_owned());
        let ways = Ways {
            way: watch::channel(unreadable("at first")).0,
            unreadable: watch::channel(None).0,
        };
        ways.tell(unreadable("still"));
        assert_eq!(*ways.way.borrow(), unreadable("still"));
        let works = || Ok(KafkaConnection::plaintext(["k:9092"]));
        let other = || Ok(KafkaConnection::plaintext(["other:9092"]));
        ways.tell(works());
        assert_eq!(*ways.way.borrow(), works());
        let mut seen = ways.way.subscribe();
        seen.mark_unchanged();
        ways.tell(unreadable("kafka.authentication.passwordFile: cannot read"));
        assert!(!seen.has_changed().unwrap(), "nobody opens a producer for that");
        let view = KafkaView {
            unreadable: ways.unreadable.borrow().clone(),
            ..view_of(answer(&[]), &KafkaView::default())
        };
        let (reason, text) = view.problem().unwrap();
        assert_eq!(reason, Reason::CredentialsUnreadable);
        assert!(
            text.contains("passwordFile") && text.contains("is kept"),
            "{text}"
        );
        assert!(view.connected_since.is_some());
        ways.tell(works());
        assert_eq!(*ways.unreadable.borrow(), None);
        assert!(!seen.has_changed().unwrap(), "it is back as it was");
        ways.tell(other());
        assert!(seen.has_changed().unwrap());
        assert_eq!(*ways.way.borrow(), other());
    }

    #[test]
    fn since_when_is_kept_while_it_answers() {
        let first = view_of(answer(&[]), &KafkaView::default());
        let second = view_of(answer(&[]), &first);
        assert_eq!(first.connected_since, second.connected_since);
    }
}
