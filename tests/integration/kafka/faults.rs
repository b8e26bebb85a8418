//! Our own client against what is not Kafka, brokers that die or hang, and lines that are cut.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tributary::kafka::error::Seen;
use tributary::kafka::offsets::TopicPartition;
use tributary::kafka::wire::{Admin, Isolation, OffsetSpec, Topics};
use tributary::kafka::{KafkaConnection, KafkaError};

use crate::harness::client::{create_topic, produce, producer};
use crate::harness::fake_server::{Behaviour, FakeServer};
use crate::harness::kafka::{KafkaCluster, Listener, shared, unique};
use crate::harness::ports::free_port;
use crate::harness::proxy::Line;
use crate::harness::wait::{PATIENCE, eventually, until};

/// Longer than any deadline by far: only what would hang for ever exceeds it.
const FOREVER: Duration = Duration::from_secs(30);

fn admin(servers: &[String]) -> Admin {
    Admin::new(&KafkaConnection::plaintext(servers)).expect("a client")
}

async fn within<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(FOREVER, call)
        .await
        .expect("the call's own deadline ends it")
}

async fn seen(behaviour: Behaviour) -> Seen {
    let server = FakeServer::start(behaviour).await;
    let client = admin(&[server.address()]).with_deadline(Duration::from_millis(800));
    match within(client.cluster()).await {
        Err(KafkaError::NotKafka { address, seen }) => {
            assert_eq!(address, server.address());
            seen
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_answers_instead_of_kafka_is_named() {
    let http = Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    assert_eq!(
        seen(Behaviour::Answers(http)).await,
        Seen::Text("HTTP/1.1 400 Bad Request".into())
    );
    let ssh = Bytes::from_static(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    assert_eq!(
        seen(Behaviour::Greets(ssh)).await,
        Seen::Text("SSH-2.0-OpenSSH_9.2p1".into())
    );
    let alert = Bytes::from_static(b"\x15\x03\x03\x00\x02\x02\x46");
    assert_eq!(seen(Behaviour::Answers(alert)).await, Seen::Tls);
    let garbage = Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef, 0x01]);
    assert_eq!(
        seen(Behaviour::Answers(garbage)).await,
        Seen::Bytes("de ad be ef 01".into())
    );
    // A length that Kafka could send, and then another call's number.
    let nearly = Bytes::from_static(&[0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(matches!(seen(Behaviour::Answers(nearly)).await, Seen::Bytes(_)));
    assert_eq!(seen(Behaviour::Closes).await, Seen::Closed);
    assert_eq!(
        seen(Behaviour::Silent).await,
        Seen::Silence(Duration::from_millis(800))
    );
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_refused_unread() {
    for (answer, word) in [
        (&[0x7f, 0xff, 0xff, 0xff][..], "2147483647"),
        (&[0xff, 0xff, 0xff, 0xff], "-1"),
    ] {
        let server = FakeServer::start(Behaviour::KafkaThen(Bytes::from_static(answer))).await;
        let error = within(admin(&[server.address()]).cluster())
            .await
            .expect_err("refused");
        assert!(
            matches!(error, KafkaError::Protocol { .. }) && error.to_string().contains(word),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_broken_answer_is_an_error_and_not_a_panic() {
    let broken = Bytes::from_static(&[0, 0, 0, 8, 0, 0, 0, 2, 0, 0x7f, 0x7f, 0x7f]);
    let server = FakeServer::start(Behaviour::KafkaThen(broken)).await;
    let error = within(admin(&[server.address()]).cluster())
        .await
        .expect_err("refused");
    assert!(matches!(error, KafkaError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_unreachable_with_the_address() {
    let address = format!("127.0.0.1:{}", free_port());
    let error = within(admin(std::slice::from_ref(&address)).cluster())
        .await
        .expect_err("nobody there");
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&address) && error.to_string().contains("refused"),
        "{error}"
    );

    let error = within(admin(&["no-such-host.invalid:9092".into()]).cluster())
        .await
        .expect_err("no such host");
    assert!(
        error.is_unreachable() && error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
}

#[tokio::test]
async fn one_good_bootstrap_server_is_enough() {
    let kafka = shared().await;
    let silent = FakeServer::start(Behaviour::Silent).await;
    let refusing = format!("127.0.0.1:{}", free_port());
    let servers = [silent.address(), refusing, kafka.address(0, Listener::Plain)];
    assert_eq!(
        within(admin(&servers).cluster()).await.expect("an answer").id,
        kafka.id()
    );
}

#[tokio::test]
async fn a_restarted_broker_is_found_again_and_a_hanging_one_ends_by_deadline() {
    let mut kafka = KafkaCluster::start(1, &[]).await;
    let admin = kafka.admin();
    let id = within(admin.cluster()).await.expect("an answer").id;

    kafka.pause(0);
    let error = within(admin.with_deadline(Duration::from_millis(500)).cluster())
        .await
        .expect_err("it hangs");
    assert!(
        matches!(error, KafkaError::Timeout { .. }),
        "it was Kafka before, so that silence is load: {error:?}"
    );
    kafka.resume(0);
    eventually("the resumed broker", PATIENCE, || admin.cluster()).await;

    // Killed while the call waits for its answer.
    kafka.pause(0);
    let call = tokio::spawn({
        let admin = admin.clone();
        async move { admin.cluster().await }
    });
    until("the call to be under way", PATIENCE, || async {
        !call.is_finished()
    })
    .await;
    kafka.kill(0);
    let error = within(call).await.expect("no panic").expect_err("it is dead");
    assert!(error.is_unreachable(), "{error:?}");

    kafka.start_node(0).await;
    assert_eq!(
        eventually("the restarted broker", PATIENCE, || admin.cluster())
            .await
            .id,
        id
    );
    // A controlled restart between two calls: the kept connection is dead, and the caller does not notice.
    within(admin.describe_quorum()).await.expect("an answer");
    kafka.stop(0).await;
    kafka.start_node(0).await;
    within(admin.cluster())
        .await
        .expect("the dead connection is replaced");
}

#[tokio::test]
async fn a_slow_line_works_and_a_cut_one_is_unreachable_until_mended() {
    let kafka = KafkaCluster::start(1, &[]).await;
    let admin = Admin::new(&kafka.connection(Listener::Proxied)).expect("a client");
    let proxy = kafka.proxy(0);
    proxy.set(Line::Up(Duration::from_millis(100)));
    within(admin.describe_log_dirs(None)).await.expect("an answer")[&0]
        .as_ref()
        .expect("directories");

    proxy.set(Line::Silent);
    let error = within(admin.with_deadline(Duration::from_millis(500)).cluster())
        .await
        .expect_err("no answer");
    assert!(matches!(error, KafkaError::Timeout { .. }), "{error:?}");
    proxy.cut();
    let error = eventually("the cut to show", PATIENCE, || async {
        match admin.cluster().await {
            Err(error @ KafkaError::Unreachable { .. }) => Ok(error),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(
        error.to_string().contains(&kafka.address(0, Listener::Proxied)),
        "{error}"
    );
    proxy.mend();
    eventually("the mended line", PATIENCE, || admin.cluster()).await;
}

/// Three brokers, seen through proxies so that single lines can be cut.
struct Three {
    kafka: KafkaCluster,
    admin: Admin,
    topic: String,
}

impl Three {
    async fn start() -> Self {
        let kafka = KafkaCluster::start(3, &[("min.insync.replicas", "2")]).await;
        // One bootstrap server: the others are known by their advertised addresses only.
        let bootstrap = KafkaConnection::plaintext([kafka.address(0, Listener::Proxied)]);
        let admin = Admin::new(&bootstrap).expect("a client");
        let topic = unique("three");
        create_topic(&admin, &topic, 6, &[]).await;
        let sender = producer(&kafka.connection(Listener::Plain));
        for partition in 0..6 {
            produce(&sender, &topic, partition, None, Some(b"x")).await;
        }
        Self { kafka, admin, topic }
    }

    fn all(&self) -> Vec<(TopicPartition, OffsetSpec)> {
        (0..6)
            .map(|partition| (TopicPartition::new(&self.topic, partition), OffsetSpec::Latest))
            .collect()
    }

    /// The end of every partition, or the first error.
    async fn ends(&self) -> Result<Vec<i64>, KafkaError> {
        let offsets = self
            .admin
            .list_offsets(self.all(), Isolation::ReadUncommitted)
            .await?;
        offsets
            .into_values()
            .map(|listed| listed.map(|listed| listed.offset.unwrap_or(-1)))
            .collect()
    }

    async fn under_replicated(&self) -> Result<usize, KafkaError> {
        let mut topics = self
            .admin
            .metadata(Topics::Named(vec![self.topic.clone()]))
            .await?
            .topics;
        let topic = topics.remove(&self.topic).expect("a result")?;
        Ok(topic
            .partitions
            .values()
            .filter(|partition| partition.is_under_replicated())
            .count())
    }
}

#[tokio::test]
async fn three_brokers_their_quorum_and_the_death_of_a_leader() {
    let mut three = Three::start().await;
    let quorum = within(three.admin.describe_quorum()).await.expect("an answer");
    let mut voters: Vec<i32> = quorum.voters.iter().map(|voter| voter.id).collect();
    voters.sort_unstable();
    assert_eq!(voters, [0, 1, 2]);
    assert!(
        quorum
            .voters
            .iter()
            .all(|voter| voter.last_caught_up_ms.is_some() && voter.directory_id.is_some())
    );
    assert_eq!(three.ends().await.expect("offsets of all leaders"), [1; 6]);
    assert_eq!(three.under_replicated().await.expect("an answer"), 0);
    let dirs = within(three.admin.describe_log_dirs(Some(&[])))
        .await
        .expect("an answer");
    assert!(dirs.len() == 3 && dirs.values().all(Result::is_ok), "{dirs:?}");

    let leader = quorum.leader_id.expect("a leader");
    three.kafka.kill(usize::try_from(leader).expect("not negative"));
    // The client's only bootstrap server may be the one that died: it goes on with those that it has learnt of.
    let after = eventually("another leader of the quorum", PATIENCE, || async {
        let quorum = three
            .admin
            .describe_quorum()
            .await
            .map_err(|error| error.to_string())?;
        if quorum.leader_id.is_some_and(|id| id != leader) {
            Ok(quorum)
        } else {
            Err(format!("{quorum:?}"))
        }
    })
    .await;
    assert!(after.leader_epoch > quorum.leader_epoch);
    let ends = eventually("other leaders of the partitions", PATIENCE, || three.ends()).await;
    assert_eq!(ends, [1; 6]);
    until("six partitions to be under-replicated", PATIENCE, || async {
        three.under_replicated().await == Ok(6)
    })
    .await;
    until("the dead voter to fall behind", PATIENCE, || async {
        three.admin.describe_quorum().await.is_ok_and(|quorum| {
            let caught_up = |dead: bool| {
                quorum
                    .voters
                    .iter()
                    .filter(move |voter| (voter.id == leader) == dead)
                    .filter_map(|voter| voter.last_caught_up_ms)
            };
            caught_up(true).max() < caught_up(false).min()
        })
    })
    .await;

    three
        .kafka
        .start_node(usize::try_from(leader).expect("not negative"))
        .await;
    until("the partitions to be whole again", PATIENCE, || async {
        three.under_replicated().await == Ok(0)
    })
    .await;
}

#[tokio::test]
async fn an_advertised_address_that_cannot_be_reached_is_named_with_its_broker() {
    let three = Three::start().await;
    three.ends().await.expect("offsets");
    three.kafka.proxy(2).cut();
    let dirs = within(three.admin.describe_log_dirs(Some(&[])))
        .await
        .expect("an answer");
    assert!(dirs[&0].is_ok() && dirs[&1].is_ok());
    let error = dirs[&2].clone().expect_err("unreachable");
    assert!(
        matches!(
            &error,
            KafkaError::Unreachable {
                advertised_by: Some(2),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains(&three.kafka.address(2, Listener::Proxied)),
        "{error}"
    );

    // Its partitions have errors, and the others their offsets.
    let offsets = within(three.admin.list_offsets(three.all(), Isolation::ReadUncommitted))
        .await
        .expect("an answer");
    let failed = offsets.values().filter(|result| result.is_err()).count();
    assert!((1..6).contains(&failed), "{offsets:?}");
    three.kafka.proxy(2).mend();
    eventually("the mended line", PATIENCE, || three.ends()).await;
}
