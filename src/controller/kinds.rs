//! The three kinds as the shared machinery sees them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;

use super::Kind;
use super::cache::{Scope, Trigger};
use crate::api::{
    BridgePipeline, BridgePipelineStatus, EdgeCluster, EdgeClusterStatus, Lag, ReplicationLink,
    ReplicationLinkStatus, Verdict, condition_type,
};

macro_rules! kind {
    ($type:ident, $status:ident, $store:ident, $trigger:ident, $at_rest:ident, $measured:expr) => {
        impl Kind for $type {
            const KIND: &'static str = stringify!($type);
            type Status = $status;
            const MEASURED: &'static [&'static str] = &$measured;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn conditions(status: &$status) -> &[Condition] {
                &status.conditions
            }

            fn observed_generation(status: &$status) -> Option<i64> {
                status.observed_generation
            }

            fn observed_at(status: &$status) -> Option<Timestamp> {
                status.observed_at.as_ref().map(|t| t.0)
            }

            fn at_rest(status: &$status) -> $status {
                $at_rest($status {
                    observed_at: None,
                    ..status.clone()
                })
            }

            fn store(scope: &Scope) -> &Store<DeserializeGuard<Self>> {
                &scope.$store
            }

            fn triggers(scope: &Scope) -> &Trigger<Self> {
                &scope.$trigger
            }
        }
    };
}

kind!(
    EdgeCluster,
    EdgeClusterStatus,
    edge_clusters,
    edge_cluster_trigger,
    edge_cluster_at_rest,
    ["readyBrokers", "brokers", "partitions"]
);
kind!(
    BridgePipeline,
    BridgePipelineStatus,
    bridge_pipelines,
    bridge_pipeline_trigger,
    bridge_at_rest,
    ["lag"]
);
kind!(
    ReplicationLink,
    ReplicationLinkStatus,
    replication_links,
    replication_link_trigger,
    link_at_rest,
    ["lag", "topics"]
);

/// Disk usage moves all the time; only whole steps of 5% are news.
fn edge_cluster_at_rest(mut status: EdgeClusterStatus) -> EdgeClusterStatus {
    for broker in &mut status.brokers {
        broker.disk_used_percent = broker.disk_used_percent.map(|percent| percent / 5 * 5);
    }
    status
}

/// What is in flight moves with every message; it is news only while the bridge is not in sync. That something is lost is
/// news as a condition; the counts in its text grow with every look.
fn bridge_at_rest(mut status: BridgePipelineStatus) -> BridgePipelineStatus {
    if let Some(lag) = &mut status.lag {
        lag.oldest_seconds = None;
    }
    if let Some(session) = &mut status.session {
        session.broker_dropped = None;
    }
    for condition in &mut status.conditions {
        if condition.type_ == condition_type::LOSSLESS {
            condition.message.clear();
        }
    }
    if status.verdict == Some(Verdict::InSync) {
        status.lag = None;
    }
    status
}

/// In sync, the lag is the noise of records under way. Otherwise the offsets count; what follows from them or from the
/// time that passes does not.
fn link_at_rest(mut status: ReplicationLinkStatus) -> ReplicationLinkStatus {
    status.position_read_at = None;
    if status.verdict == Some(Verdict::InSync) {
        status.lag = None;
        status.topics = Vec::new();
    }
    let calm = |lag: &Lag| Lag {
        offsets: lag.offsets,
        ..Lag::default()
    };
    status.lag = status.lag.as_ref().map(calm);
    for topic in &mut status.topics {
        topic.lag = calm(&topic.lag);
    }
    status
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn link(verdict: Verdict, offsets: i64, seconds: i64) -> ReplicationLinkStatus {
        ReplicationLinkStatus {
            verdict: Some(verdict),
            observed_at: Some(Time(Timestamp::from_second(seconds).unwrap())),
            lag: Some(Lag {
                offsets,
                seconds: Some(seconds),
                ..Lag::default()
            }),
            ..ReplicationLinkStatus::default()
        }
    }

    fn same(a: &ReplicationLinkStatus, b: &ReplicationLinkStatus) -> bool {
        ReplicationLink::at_rest(a) == ReplicationLink::at_rest(b)
    }

    fn lossy(status: &str, reason: &str, message: &str) -> BridgePipelineStatus {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: Some(1),
        };
        let conditions = vec![
            condition(condition_type::READY, "True", "Following", "subscribed"),
            condition(condition_type::LOSSLESS, status, reason, message),
        ];
        BridgePipelineStatus {
            conditions,
            ..BridgePipelineStatus::default()
        }
    }

    #[test]
    fn a_loss_is_news_of_a_bridge_and_the_growing_count_in_its_text_is_not() {
        let rest = |status: &BridgePipelineStatus| BridgePipeline::at_rest(status);
        let ten = lossy("False", "BrokerDroppedMessages", "dropped 10 messages");
        assert_eq!(
            rest(&ten),
            rest(&lossy("False", "BrokerDroppedMessages", "dropped 90 messages"))
        );
        for other in [
            lossy("True", "NothingLost", "dropped 10 messages"),
            lossy("False", "PayloadTooLarge", "dropped 10 messages"),
        ] {
            assert_ne!(rest(&ten), rest(&other));
        }
        let mut told_otherwise = ten.clone();
        told_otherwise.conditions[0].message = "subscribed: 2 filters".to_owned();
        assert_ne!(rest(&ten), rest(&told_otherwise), "other texts count");
    }

    #[test]
    fn the_noise_of_a_link_in_sync_is_no_news() {
        assert!(same(&link(Verdict::InSync, 0, 0), &link(Verdict::InSync, 900, 1)));
    }

    #[test]
    fn a_lag_that_grows_is_news_and_time_that_passes_is_not() {
        assert!(!same(
            &link(Verdict::Disconnected, 10, 1),
            &link(Verdict::Disconnected, 11, 1)
        ));
        assert!(same(
            &link(Verdict::Disconnected, 10, 1),
            &link(Verdict::Disconnected, 10, 99)
        ));
        assert!(!same(
            &link(Verdict::InSync, 10, 1),
            &link(Verdict::CatchingUp, 10, 1)
        ));
    }
}
