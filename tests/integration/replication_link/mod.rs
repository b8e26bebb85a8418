//! ReplicationLinks against a real API server and two real Kafkas. No kubelet: the test plays the replicator, by the
//! positions that it writes and the progress that it serves.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use rdkafka::producer::FutureProducer;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tributary::api::{ReplicationLink, ReplicationLinkStatus, Verdict};
use tributary::kafka::TopicId;
use tributary::kafka::positions::{POSITIONS_TOPIC, Position, PositionKey, ensure_positions_topic};
use tributary::replicator::config::ReplicatorConfig;
use tributary::replicator::progress::{ClusterProgress, Progress, Totals};

use crate::harness::apiserver::run_pod;
use crate::harness::client::{create_topic, produce, producer};
use crate::harness::kafka::{KafkaCluster, Listener, shared, unique};
use crate::operator::{Fixture, progress_server};

const LINK: &str = "to-eu";
const OBJECTS: &str = "to-eu-replicator";

fn external(servers: &[String]) -> Value {
    json!({"external": {"bootstrapServers": servers, "tls": {"mode": "Disabled"}, "authentication": {"type": "None"}}})
}

fn link(source: &Value, target: &Value, topic: &str) -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "ReplicationLink", "metadata": {"name": LINK},
        "spec": {
            "source": source, "target": target,
            "topics": {"include": [topic], "naming": {"type": "Prefix", "prefix": "munich."}},
            "delivery": "AtLeastOnce", "start": "Earliest",
        },
    })
}

/// A link between two Kafkas that are not there.
fn nowhere() -> Value {
    let (source, target) = ("127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned());
    link(&external(&[source]), &external(&[target]), "telemetry")
}

async fn wait_status<T>(fixture: &Fixture, mut check: impl FnMut(&ReplicationLinkStatus) -> Option<T>) -> T {
    fixture
        .wait(LINK, |link: &ReplicationLink| {
            let status = link.status.clone().unwrap_or_default();
            check(&status).ok_or_else(|| format!("{status:#?}"))
        })
        .await
}

async fn wait_condition(fixture: &Fixture, type_: &str, status: &str, reason: &str) -> String {
    wait_status(fixture, |found| {
        let mut conditions = found.conditions.iter();
        let found = conditions.find(|c| c.type_ == type_ && c.status == status && c.reason == reason);
        found.map(|c| c.message.clone())
    })
    .await
}

async fn wait_lag(fixture: &Fixture, verdicts: &[Verdict], offsets: i64) -> ReplicationLinkStatus {
    wait_status(fixture, |status| {
        let lag = status.lag.as_ref().map(|lag| lag.offsets);
        let good = lag == Some(offsets) && status.verdict.is_some_and(|v| verdicts.contains(&v));
        good.then(|| status.clone())
    })
    .await
}

async fn stateful_set(fixture: &Fixture) -> StatefulSet {
    fixture.wait(OBJECTS, |set: &StatefulSet| Ok(set.clone())).await
}

async fn config(fixture: &Fixture, mut check: impl FnMut(&ReplicatorConfig) -> bool) -> ReplicatorConfig {
    fixture
        .wait(OBJECTS, |map: &ConfigMap| {
            let text = &map.data.as_ref().ok_or("no data")?["replicator.yaml"];
            let config = ReplicatorConfig::parse(text).map_err(|e| e.to_string())?;
            if check(&config) {
                Ok(config)
            } else {
                Err(text.clone())
            }
        })
        .await
}

/// What the test does as the replicator.
struct Replicator {
    positions: FutureProducer,
    key: PositionKey,
    progress: Arc<Mutex<Progress>>,
}

fn connected(cluster_id: &str) -> ClusterProgress {
    ClusterProgress {
        cluster_id: Some(cluster_id.into()),
        connected_since: Some(Timestamp::now()),
        ..ClusterProgress::default()
    }
}

impl Replicator {
    async fn new(source: &KafkaCluster, target: &KafkaCluster, topic_id: TopicId, link_id: &str) -> Self {
        ensure_positions_topic(&target.admin())
            .await
            .expect("the positions topic");
        let progress = Progress {
            observed_at: Timestamp::now(),
            started_at: Timestamp::now(),
            config_hash: String::new(),
            generation: None,
            name: String::new(),
            link_id: Some(link_id.into()),
            worker: 0,
            workers: 1,
            source: connected(source.id()),
            target: connected(target.id()),
            positions_seen: false,
            stopped: None,
            partitions: Vec::new(),
            gaps: Vec::new(),
            refused: Vec::new(),
            topics: Vec::new(),
            totals: Totals::default(),
            last_error: None,
        };
        Self {
            positions: producer(&target.connection(Listener::Plain)),
            key: PositionKey {
                link_id: link_id.into(),
                source_cluster_id: source.id().into(),
                topic_id,
                partition: 0,
            },
            progress: Arc::new(Mutex::new(progress)),
        }
    }

    /// Everything below this offset is on the target.
    async fn reach(&self, topic: &str, next_offset: i64) {
        let position = Position {
            next_offset,
            leader_epoch: None,
            source_topic: topic.into(),
            target_topic: format!("munich.{topic}"),
            target_topic_id: None,
            last_record_timestamp_ms: None,
            written_at_ms: 0,
            generation: 1,
        };
        let (key, value) = (self.key.encode(), position.encode());
        let partition = self.key.positions_partition();
        produce(
            &self.positions,
            POSITIONS_TOPIC,
            partition,
            Some(&key),
            Some(&value),
        )
        .await;
    }

    fn sees_target(&self, target: ClusterProgress) {
        self.progress.lock().unwrap().target = target;
    }

    /// Serves the progress where the pod is.
    async fn run(&self, fixture: &Fixture, stop: &CancellationToken) {
        let progress = Arc::clone(&self.progress);
        let ip = progress_server(stop, move || progress.lock().unwrap().clone()).await;
        run_pod(&fixture.client, &fixture.namespace, OBJECTS, 0, &ip).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_shows_the_lag_that_kafka_shows_also_during_a_cut() {
    let (source, target) = (shared().await, KafkaCluster::start(1, &[]).await);
    let topic = unique("telemetry");
    let created = create_topic(&source.admin(), &topic, 2, &[]).await;
    let records = producer(&source.connection(Listener::Plain));
    let fixture = Fixture::new("link").await;
    let _operator = fixture.operator();
    let spec = link(
        &external(&source.bootstrap(Listener::Plain)),
        &external(&target.bootstrap(Listener::Proxied)),
        &topic,
    );
    fixture.apply::<ReplicationLink>(LINK, &spec).await;
    let set = stateful_set(&fixture).await;
    assert!(!config(&fixture, |_| true).await.positions_seen);
    wait_condition(&fixture, "Reconciling", "True", "Starting").await;

    let stop = CancellationToken::new();
    let link_id = format!("{}/{}/{LINK}", source.id(), fixture.namespace);
    let replicator = Replicator::new(source, &target, created.id.unwrap(), &link_id).await;
    for _ in 0..10 {
        produce(&records, &topic, 0, None, Some(b"x")).await;
    }
    replicator.reach(&topic, 4).await;
    replicator.run(&fixture, &stop).await;
    let status = wait_lag(&fixture, &[Verdict::CatchingUp], 6).await;
    assert_eq!(
        (status.topics[0].name.as_str(), status.topics[0].partitions),
        (topic.as_str(), 2)
    );
    let effective = status.effective.unwrap();
    assert_eq!(effective.link_id, Some(link_id));
    assert_eq!(effective.target_cluster_id.as_deref(), Some(target.id()));
    assert!(effective.positions_seen);
    // The next start knows it; the running pod is left alone.
    config(&fixture, |config| config.positions_seen).await;
    assert_eq!(
        stateful_set(&fixture).await.metadata.generation,
        set.metadata.generation
    );

    replicator.reach(&topic, 10).await;
    wait_lag(&fixture, &[Verdict::InSync], 0).await;
    wait_condition(&fixture, "Ready", "True", "Following").await;

    target.proxy(0).cut();
    replicator.sees_target(ClusterProgress {
        disconnected_since: Some(Timestamp::now()),
        reason: Some("KafkaUnreachable".into()),
        message: Some("connection refused".into()),
        ..ClusterProgress::default()
    });
    for _ in 0..5 {
        produce(&records, &topic, 1, None, Some(b"x")).await;
    }
    let cut = wait_lag(&fixture, &[Verdict::Disconnected], 5).await;
    assert!(cut.position_read_at.unwrap() < cut.observed_at.unwrap());
    let message = wait_condition(&fixture, "Connected", "False", "KafkaUnreachable").await;
    assert!(
        message.contains("target: connection refused (since "),
        "{message}"
    );
    wait_condition(&fixture, "Ready", "True", "KafkaUnreachable").await;

    // The listener that the test itself uses was never cut.
    let second = PositionKey {
        partition: 1,
        ..replicator.key.clone()
    };
    let progress = Arc::clone(&replicator.progress);
    let replicator = Replicator {
        key: second,
        ..replicator
    };
    replicator.reach(&topic, 5).await;
    target.proxy(0).mend();
    progress.lock().unwrap().target = connected(target.id());
    wait_lag(&fixture, &[Verdict::InSync], 0).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_told_and_recovers_and_pausing_stops_the_pods() {
    let fixture = Fixture::new("link-bad").await;
    let _operator = fixture.operator();
    let mut spec = nowhere();
    spec["spec"]["topics"]["include"] = json!(["telemetry(-dead"]);
    fixture.apply::<ReplicationLink>(LINK, &spec).await;
    let message = wait_condition(&fixture, "Stalled", "True", "InvalidSpec").await;
    assert!(
        message.contains("spec.topics.include[0] \"telemetry(-dead\""),
        "{message}"
    );
    spec["spec"]["topics"]["include"] = json!(["telemetry"]);
    spec["spec"]["source"] = json!({"clusterRef": {"name": "absent", "listener": "internal"}});
    fixture.apply::<ReplicationLink>(LINK, &spec).await;
    let message = wait_condition(&fixture, "Stalled", "True", "ClusterNotFound").await;
    assert!(
        message.contains("spec.source.clusterRef.name \"absent\""),
        "{message}"
    );

    fixture.apply::<ReplicationLink>(LINK, &nowhere()).await;
    assert_eq!(stateful_set(&fixture).await.spec.unwrap().replicas, Some(1));
    let policy = fixture
        .wait(OBJECTS, |policy: &NetworkPolicy| Ok(policy.clone()))
        .await;
    let text = serde_json::to_string(&policy.spec).unwrap();
    assert!(
        text.contains("\"port\":1,") && text.contains("\"port\":2,"),
        "{text}"
    );
    let message = wait_condition(&fixture, "Reconciling", "True", "KafkaUnreachable").await;
    assert!(
        message.contains("127.0.0.1:1") || message.contains("127.0.0.1:2"),
        "{message}"
    );

    let mut paused = nowhere();
    paused["spec"]["paused"] = json!(true);
    fixture.apply::<ReplicationLink>(LINK, &paused).await;
    fixture
        .wait(OBJECTS, |set: &StatefulSet| {
            match set.spec.as_ref().unwrap().replicas {
                Some(0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    wait_condition(&fixture, "Ready", "False", "Paused").await;
    wait_status(&fixture, |status| {
        (status.verdict == Some(Verdict::Paused)).then_some(())
    })
    .await;
}
