//! What the audit finds, and that it finds it.

use std::path::Path;

use serde_json::{Value, json};

use super::forwarder::{Fate, Forwarder};
use super::{Said, lines, probe, program, sent_file};
use crate::harness::client::{create_topic, delete_records, produce, producer};
use crate::harness::kafka::{KafkaCluster, Listener, PASSWORD, USER, shared, unique};
use crate::harness::mosquitto::{Mosquitto, Options};
use crate::harness::process::Process;
use crate::harness::wait::{PATIENCE, until};

/// A topic in the shared Kafka and an MQTT server of the test's own.
struct Site {
    kafka: &'static KafkaCluster,
    mqtt: Mosquitto,
    topic: String,
}

impl Site {
    async fn new(partitions: i32) -> Self {
        let (kafka, topic) = (shared().await, unique("telemetry"));
        create_topic(&kafka.admin(), &topic, partitions, &[]).await;
        Self {
            kafka,
            mqtt: Mosquitto::start(&Options::default()).await,
            topic,
        }
    }

    async fn another_topic(&self, what: &str) -> String {
        let topic = unique(what);
        create_topic(&self.kafka.admin(), &topic, 1, &[]).await;
        topic
    }

    async fn forwarder(&self, rule: impl Fn(u64, u64) -> Fate + Send + 'static) -> Forwarder {
        let connection = self.kafka.connection(Listener::Plain);
        Forwarder::start(&self.mqtt.url(), &connection, &self.topic, rule).await
    }

    fn address(&self) -> String {
        self.kafka.address(0, Listener::Plain)
    }

    /// Sends to the end and lets the forwarder deal with all of it.
    async fn send(&self, sent: &Path, messages: u64, forwarder: &Forwarder) -> Value {
        let (url, sent) = (self.mqtt.url(), sent.display());
        let options =
            format!("send --mqtt {url} --devices 4 --rate 0 --messages {messages} --sent {sent} -o json");
        let said = probe(options).await.expect(0);
        forwarder.taken(messages).await;
        said.json()
    }

    async fn audit(&self, options: &str) -> Said {
        probe(format!(
            "audit --kafka {} --topic {} -o json {options}",
            self.address(),
            self.topic
        ))
        .await
    }
}

#[tokio::test]
async fn a_run_that_arrived_whole_passes() {
    let site = Site::new(3).await;
    let forwarder = site.forwarder(|_, _| Fate::Pass).await;
    let sent = sent_file();
    let summary = site.send(&sent, 2000, &forwarder).await;
    assert_eq!(
        (&summary["acked"], &summary["unheard"]),
        (&json!(2000), &json!(0))
    );

    let report = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(0)
        .json();
    assert_eq!(report["verdict"], "Complete");
    let figures =
        ["acked", "received", "lost", "duplicates", "outOfOrder", "gaps"].map(|f| report[f].as_u64());
    assert_eq!(
        figures,
        [Some(2000), Some(2000), Some(0), Some(0), Some(0), Some(0)]
    );
    assert_eq!(report["devices"].as_array().unwrap().len(), 4);
    assert_eq!(report["topic"]["toRecord"]["count"], 2000);
    assert_eq!(report["topic"]["toRecord"]["clock"], "CreateTime");
    assert_eq!(report["topic"]["scatteredDevices"], 0);
}

#[tokio::test]
async fn messages_dropped_before_kafka_fail_the_audit() {
    let site = Site::new(1).await;
    let forwarder = site
        .forwarder(|d, s| {
            if d == 2 && (50..53).contains(&s) {
                Fate::Drop
            } else {
                Fate::Pass
            }
        })
        .await;
    let sent = sent_file();
    site.send(&sent, 400, &forwarder).await;
    let report = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(1)
        .json();
    assert_eq!(
        (&report["verdict"], &report["lost"]),
        (&json!("Missing"), &json!(3))
    );
    assert_eq!(
        report["missing"],
        json!([{"device": 2, "first": 50, "last": 52, "place": "BeforeKafka"}])
    );
    let text = probe(format!(
        "audit --kafka {} --topic {} --sent {}",
        site.address(),
        site.topic,
        sent.display()
    ));
    let text = text.await.expect(1).out;
    assert!(
        text.contains("LOST: messages were acknowledged and did not arrive"),
        "{text}"
    );
}

#[tokio::test]
async fn records_deleted_in_kafka_fail_the_audit() {
    let site = Site::new(1).await;
    let forwarder = site.forwarder(|_, _| Fate::Pass).await;
    let sent = sent_file();
    site.send(&sent, 400, &forwarder).await;
    delete_records(&site.kafka.connection(Listener::Plain), &site.topic, 0, 100)
        .await
        .unwrap();
    let report = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(1)
        .json();
    assert_eq!((&report["lost"], &report["received"]), (&json!(100), &json!(300)));
    assert_eq!(
        report["topic"]["truncatedPartitions"], 1,
        "the audit names the likely cause"
    );
}

#[tokio::test]
async fn a_lost_tail_is_found_only_with_the_file() {
    let site = Site::new(1).await;
    let forwarder = site
        .forwarder(|_, s| if s >= 90 { Fate::Drop } else { Fate::Pass })
        .await;
    let sent = sent_file();
    site.send(&sent, 400, &forwarder).await;
    let with = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(1)
        .json();
    assert_eq!(with["lost"], 40);
    let without = site.audit("").await.expect(2).json();
    assert_eq!(
        (&without["verdict"], &without["gaps"]),
        (&json!("TailUnknown"), &json!(0))
    );
    assert_eq!(without["acked"], Value::Null);
}

#[tokio::test]
async fn duplicates_and_disorder_are_counted_and_are_no_loss() {
    let site = Site::new(2).await;
    let rule = |d, s| match (d, s) {
        (0, 10..15) => Fate::Twice,
        (1, 20) => Fate::Swap,
        _ => Fate::Pass,
    };
    let sent = sent_file();
    let forwarder = site.forwarder(rule).await;
    let options = format!(
        // One connection and one device after the other would hide a swap between devices.
        "send --mqtt {} --devices 2 --rate 0 --messages 200 --connections 1 --sent {}",
        site.mqtt.url(),
        sent.display()
    );
    probe(options).await.expect(0);
    forwarder.taken(200).await;
    let report = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(0)
        .json();
    assert_eq!((&report["duplicates"], &report["lost"]), (&json!(5), &json!(0)));
    assert_eq!(report["devices"][0]["duplicates"], 5);
    // The message behind the held one is the other device's: nothing is out of order within a device.
    assert_eq!(report["outOfOrder"], 0);
}

#[tokio::test]
async fn a_device_whose_messages_change_places_is_out_of_order() {
    let site = Site::new(2).await;
    let forwarder = site
        .forwarder(|_, s| if s % 50 == 10 { Fate::Swap } else { Fate::Pass })
        .await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 1 --rate 0 --messages 200 --sent {}",
        site.mqtt.url(),
        sent.display()
    );
    probe(options).await.expect(0);
    forwarder.taken(200).await;
    let report = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(0)
        .json();
    assert_eq!(
        (&report["outOfOrder"], &report["duplicates"]),
        (&json!(4), &json!(0))
    );
}

#[tokio::test]
async fn loss_is_placed_before_or_after_the_bridge_and_dead_letters_are_found() {
    let site = Site::new(1).await;
    let (region, dead) = (
        site.another_topic("region").await,
        site.another_topic("dead").await,
    );
    let dead_letter = dead.clone();
    let rule = move |d, s| match (d, s) {
        (0, 5) => Fate::Drop,
        (1, 6) => Fate::To(dead_letter.clone()),
        _ => Fate::Pass,
    };
    let forwarder = site.forwarder(rule).await;
    let sent = sent_file();
    site.send(&sent, 40, &forwarder).await;

    // A replicator that lost device 3's messages 7 to 9.
    let connection = site.kafka.connection(Listener::Plain);
    let replicator = producer(&connection);
    for device in 0..4 {
        for sequence in 0..10 {
            if !matches!((device, sequence), (0, 5) | (1, 6) | (3, 7..10)) {
                let value = json!({"probe": 1, "run": lines(&sent, "run")[0]["run"], "device": device, "seq": sequence,
                    "sentNs": 1_u64});
                produce(&replicator, &region, 0, None, Some(value.to_string().as_bytes())).await;
            }
        }
    }
    let options = format!(
        "audit --kafka {kafka} --topic {region} --factory-kafka {kafka} --factory-topic {} --dead-letter {dead} --sent {} \
         -o json",
        site.topic,
        sent.display(),
        kafka = site.address(),
    );
    let report = probe(options).await.expect(1).json();
    assert_eq!((&report["lost"], &report["deadLettered"]), (&json!(4), &json!(1)));
    assert_eq!(
        report["lostAt"],
        json!({"beforeBridge": 0, "beforeKafka": 1, "afterBridge": 3})
    );
    assert_eq!(report["factory"]["received"], 38);
}

#[tokio::test]
async fn what_nobody_had_subscribed_to_was_lost_before_the_bridge() {
    let site = Site::new(1).await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 2 --rate 0 --messages 20 --sent {}",
        site.mqtt.url(),
        sent.display()
    );
    let said = probe(options).await.expect(0);
    assert!(said.out.contains("nobody had subscribed"), "{said:?}");
    let report = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(1)
        .json();
    assert_eq!(
        report["lostAt"],
        json!({"beforeBridge": 20, "beforeKafka": 0, "afterBridge": null})
    );
}

#[tokio::test]
async fn an_audit_that_began_with_the_run_waits_for_its_end() {
    let site = Site::new(2).await;
    let forwarder = site.forwarder(|_, _| Fate::Pass).await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 4 --rate 300 --messages 900 --sent {}",
        site.mqtt.url(),
        sent.display()
    );
    let mut sender = Process::start("probe-send", &program(&options));
    until("the first acknowledgements", PATIENCE, async || {
        !lines(&sent, "acked").is_empty()
    })
    .await;
    let report = site
        .audit(&format!(
            "--sent {} --until-complete --timeout 30s",
            sent.display()
        ))
        .await
        .expect(0)
        .json();
    assert_eq!(
        (&report["received"], &report["sender"]["state"]),
        (&json!(900), &json!("Finished"))
    );
    assert!(
        report["topic"]["toReader"]["count"].as_u64() > Some(0),
        "latency to the reader is measured live: {report}"
    );
    forwarder.taken(900).await;
    until("the sender's end", PATIENCE, async || {
        sender.exit_status().is_some()
    })
    .await;
    assert!(sender.exit_status().unwrap().success(), "{}", sender.log_tail());
}

#[tokio::test]
async fn a_sender_that_was_killed_leaves_a_file_that_can_be_audited() {
    let site = Site::new(1).await;
    let _forwarder = site.forwarder(|_, _| Fate::Pass).await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 4 --rate 500 --duration 10m --sent {}",
        site.mqtt.url(),
        sent.display()
    );
    let mut sender = Process::start("probe-send", &program(&options));
    until("acknowledgements", PATIENCE, async || {
        lines(&sent, "acked").len() >= 2
    })
    .await;
    let running = site
        .audit(&format!("--sent {}", sent.display()))
        .await
        .expect(2)
        .json();
    assert_eq!(running["sender"]["state"], "Running");
    sender.kill();
    let options = format!("--sent {} --until-complete --timeout 10s", sent.display());
    let report = site.audit(&options).await.expect(2).json();
    assert_eq!(
        (&report["sender"]["state"], &report["lost"]),
        (&json!("Interrupted"), &json!(0))
    );
    assert!(report["acked"].as_u64() > Some(0));
}

#[tokio::test]
async fn kafka_is_reached_with_tls_and_sasl() {
    let site = Site::new(1).await;
    let forwarder = site.forwarder(|_, _| Fate::Pass).await;
    let sent = sent_file();
    site.send(&sent, 20, &forwarder).await;
    let dir = sent.parent().unwrap();
    std::fs::write(dir.join("ca.pem"), site.kafka.authority().pem()).unwrap();
    std::fs::write(dir.join("password"), format!("{PASSWORD}\n")).unwrap();
    let audit = |user: &str| {
        probe(format!(
            "audit --kafka {} --topic {} --sent {} --kafka-ca-file {dir}/ca.pem --kafka-sasl scram-sha512 \
             --kafka-username {user} --kafka-password-file {dir}/password",
            site.kafka.address(0, Listener::SaslTls),
            site.topic,
            sent.display(),
            dir = dir.display(),
        ))
    };
    audit(USER).await.expect(0);
    let refused = audit("nobody").await.expect(3);
    assert!(refused.err.contains("refuses the credentials"), "{refused:?}");
    assert!(!refused.err.contains(PASSWORD), "no secret in messages");
}

#[tokio::test]
async fn what_cannot_be_audited_ends_with_the_reason() {
    let site = Site::new(1).await;
    let none = site.audit("").await.expect(3);
    assert!(none.err.contains("holds no message of the probe"), "{none:?}");

    let producer = producer(&site.kafka.connection(Listener::Plain));
    for run in ["first", "second"] {
        let value = json!({"probe": 1, "run": run, "device": 0, "seq": 0, "sentNs": 1}).to_string();
        produce(&producer, &site.topic, 0, None, Some(value.as_bytes())).await;
    }
    let several = site.audit("").await.expect(3);
    assert!(
        several.err.contains("several runs (first, second)"),
        "{several:?}"
    );
    site.audit("--run first").await.expect(2);

    let missing = site.audit("--sent /nonexistent/sent.jsonl").await.expect(3);
    assert!(missing.err.contains("/nonexistent/sent.jsonl"), "{missing:?}");
    probe("audit --topic t".to_owned()).await.expect(64);
}
