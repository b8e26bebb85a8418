//! Either side away, wrong addresses, credentials that are missing, wrong or changed: it waits, says why once, and goes
//! on by itself.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tributary::kafka::positions::POSITIONS_TOPIC;
use tributary::replicator::progress::{Side, StopReason};

use super::records::{Audit, Record, audit, numbered, producer_with, write};
use super::world::{Link, World, plain, shared};
use crate::harness::acls::AUTHORIZER;
use crate::harness::client::{create_topic, noise, set_config};
use crate::harness::fake_server::{Behaviour, FakeServer};
use crate::harness::kafka::{KafkaCluster, Listener, PASSWORD, USER, unique};
use crate::harness::process::data_dir;
use crate::harness::proxy::Line;

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_be_away_for_long() {
    let world = World::start().await;
    let topic = unique("away");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let mut replicator = world.proxied_link(&[&topic]).run();
    replicator.until_following(&topic, 2).await;
    let sessions = replicator.progress().await.unwrap().totals.sessions;
    let mut sent = 0;
    let mut send = async |count: u64| {
        write(&producer, &topic, &numbered(sent, sent + count, 2)).await;
        sent += count;
        i64::try_from(sent / 2).unwrap()
    };
    let end = send(1000).await;
    replicator.until_stored(&topic, 0, end).await;

    // The target is cut for longer than any client's own patience of a few seconds.
    world.target.proxy(0).cut();
    let end = send(3000).await;
    let cut = replicator
        .until("the target to be away", |progress| {
            !progress.target.is_connected()
        })
        .await;
    assert_eq!(cut.target.reason.as_deref(), Some("KafkaUnreachable"));
    assert!(cut.source.is_connected());
    assert!(replicator.get("/healthz").await.unwrap().0.contains("200"));
    assert!(
        replicator.get("/readyz").await.unwrap().0.contains("200"),
        "a line that is cut makes no pod unready"
    );
    // The length of the cut is what is tested: the replicator's own account of it.
    let longer = |since: Timestamp| Timestamp::now().duration_since(since) > SignedDuration::from_secs(20);
    replicator
        .until("the cut to have lasted", |progress| {
            let fault = progress.last_error.as_ref().filter(|e| e.until.is_none());
            fault.is_some_and(|error| longer(error.since))
        })
        .await;
    world.target.proxy(0).mend();
    replicator.until_stored(&topic, 1, end).await;

    // Neither side says anything, though connections stand.
    world.target.proxy(0).set(Line::Silent);
    let end = send(1000).await;
    replicator
        .until("the target to be silent", |progress| {
            !progress.target.is_connected()
        })
        .await;
    world.target.proxy(0).mend();
    replicator.until_stored(&topic, 0, end).await;

    world.source.proxy(0).cut();
    let cut = replicator
        .until("the source to be away", |progress| {
            !progress.source.is_connected()
        })
        .await;
    assert!(cut.target.is_connected());
    let end = send(1000).await;
    world.source.proxy(0).mend();
    replicator.until_stored(&topic, 1, end).await;
    replicator.until_stored(&topic, 0, end).await;

    let progress = replicator.progress().await.unwrap();
    assert_eq!(
        progress.totals.sessions, sessions,
        "the clients were never built anew"
    );
    assert!(
        progress.last_error.is_some_and(|error| error.until.is_some()),
        "the last fault is over"
    );
    let faults = replicator
        .log()
        .lines()
        .filter(|line| line.contains("\"message\":\"fault\""))
        .count();
    assert!(
        faults <= 8,
        "each fault is told once, not at each attempt: {faults}\n{}",
        replicator.log()
    );
    let arrived = world.arrived(&topic, 2, usize::try_from(sent).unwrap()).await;
    let audit = audit(&arrived, sent, 2);
    assert_eq!((audit.lost, audit.disordered), (0, 0), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_although_the_target_is_away() {
    let world = World::start().await;
    let topic = unique("ends");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let mut replicator = world.proxied_link(&[&topic]).run();
    replicator.until_following(&topic, 1).await;
    world.target.proxy(0).cut();
    replicator
        .until("the target to be away", |progress| {
            !progress.target.is_connected()
        })
        .await;
    write(&producer, &topic, &numbered(0, 1000, 1)).await;
    // The line stays cut until it has ended.
    replicator.stop().await;
    world.target.proxy(0).mend();
    replicator.start();
    replicator.until_stored(&topic, 0, 1000).await;
    assert_eq!(audit(&world.arrived(&topic, 1, 1000).await, 1000, 1).lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_costs_nothing() {
    let mut world = World::start().await;
    let topic = unique("broker");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let mut replicator = world.link(&[&topic]).run();
    write(&producer, &topic, &numbered(0, 2000, 1)).await;
    replicator.until_stored(&topic, 0, 2000).await;
    world.target.kill(0);
    write(&producer, &topic, &numbered(2000, 4000, 1)).await;
    world.target.start_node(0).await;
    replicator.until_stored(&topic, 0, 4000).await;
    world.source.stop(0).await;
    world.source.start_node(0).await;
    write(&producer, &topic, &numbered(4000, 5000, 1)).await;
    replicator.until_stored(&topic, 0, 5000).await;
    let audit = audit(&world.arrived(&topic, 1, 5000).await, 5000, 1);
    assert_eq!((audit.lost, audit.disordered), (0, 0), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_kafka_is_named() {
    let world = shared().await;
    let topic = unique("not-kafka");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let http = FakeServer::start(Behaviour::Answers("HTTP/1.1 400 Bad Request\r\n\r\n".into())).await;
    let link = Link::new(
        world.source.bootstrap(Listener::Plain),
        vec![http.address()],
        &[&topic],
    );
    let mut replicator = link.run();
    let progress = replicator
        .until("NotKafka", |progress| {
            progress.target.reason.as_deref() == Some("NotKafka")
        })
        .await;
    assert!(progress.target.message.unwrap().contains(&http.address()));
    assert!(replicator.get("/readyz").await.unwrap().0.contains("503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_be_seen_and_not_read_stops_alone_and_is_not_asked_for_over_and_over() {
    let (source, target) = tokio::join!(KafkaCluster::start(1, &AUTHORIZER), KafkaCluster::start(1, &[]));
    let world = World { source, target };
    let prefix = unique("rights");
    let named = |name: &str| format!("{prefix}.{name}");
    let (open, closed, later) = (named("open"), named("closed"), named("later"));
    let create = async |topic: &String| {
        create_topic(&world.source.admin(), topic, 1, &[]).await;
        let producer = producer_with(&plain(&world.source), "lz4");
        write(&producer, topic, &numbered(0, 100, 1)).await;
    };
    for topic in [&open, &closed] {
        create(topic).await;
    }
    for topic in [&open, &later] {
        world
            .source
            .allow(&["Describe", "DescribeConfigs", "Read"], topic);
    }
    world.source.allow(&["Describe", "Read"], POSITIONS_TOPIC);
    world.source.allow(&["Describe", "DescribeConfigs"], &closed);
    let mut link = world.link(&[&format!("{prefix}\\..*")]);
    link.source = scram(&world.source).0;
    let mut replicator = link.run();
    let (stopped, _) = replicator.until_stopped(&closed, 0).await;
    assert_eq!(stopped.reason, Some(StopReason::NotAuthorized));
    let message = stopped.message.unwrap_or_default();
    assert!(message.contains("grant Read"), "{message}");
    replicator.until_stored(&open, 0, 100).await;
    // One that comes later takes two surveys more: in none of them it is tried again.
    create(&later).await;
    replicator.until_stored(&later, 0, 100).await;
    let log = replicator.log();
    let followed = log
        .lines()
        .filter(|line| line.contains("partition is followed") && line.contains(&closed));
    assert_eq!(followed.count(), 1, "{log}");
    world.source.allow(&["Read"], &closed);
    // It would be tried again within a minute, and is at once by a new process.
    replicator.stop().await;
    replicator.start();
    replicator.until_stored(&closed, 0, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_answers_too_late_is_told_and_is_no_cut_while_records_arrive() {
    let world = World::start().await;
    let topic = unique("late");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let mut replicator = world.proxied_link(&[&topic]).run();
    write(&producer, &topic, &numbered(0, 100, 1)).await;
    replicator.until_stored(&topic, 0, 100).await;
    // Every call takes 4 s and gives up after 3, and records arrive all the same: one batch in each 4 s, of what the
    // pump hands over in some milliseconds. So many that there are several, and not so many that they take minutes.
    world.target.proxy(0).set(Line::Up(Duration::from_secs(2)));
    write(&producer, &topic, &numbered(100, 3_000, 1)).await;
    let late = |progress: &tributary::replicator::progress::Progress| {
        let fault = progress.last_error.as_ref().filter(|error| error.until.is_none());
        fault.is_some_and(|error| error.side == Side::Target && error.reason == "KafkaTimeout")
            && progress.target.is_connected()
    };
    replicator
        .until("an answer to be late while the target counts as connected", late)
        .await;
    // Once nothing arrives any more, nothing speaks for the line.
    let silent = |progress: &tributary::replicator::progress::Progress| !progress.target.is_connected();
    let progress = replicator.until("the target to count as away", silent).await;
    assert_eq!(progress.target.reason.as_deref(), Some("KafkaTimeout"));
    world.target.proxy(0).mend();
    replicator.until_stored(&topic, 0, 3_000).await;
    let audit = audit(&world.arrived(&topic, 1, 3_000).await, 3_000, 1);
    assert_eq!((audit.lost, audit.disordered), (0, 0), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_may_not_be_read_is_found_and_only_a_record_above_it_stops() {
    let (source, target) = tokio::join!(KafkaCluster::start(1, &[]), KafkaCluster::start(1, &AUTHORIZER));
    let world = World { source, target };
    let topic = unique("untold");
    let target = format!("munich.{topic}");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let small = [("max.message.bytes", "20000")];
    create_topic(&world.target.admin(), &target, 1, &small).await;
    world.target.allow(&["Describe", "Write"], &target);
    let positions = ["Create", "Describe", "DescribeConfigs", "Read", "Write"];
    world.target.allow(&positions, POSITIONS_TOPIC);
    let sized = |number: u64, bytes| Record {
        value: Some([format!("{number:012} ").into_bytes(), noise(bytes)].concat()),
        ..Record::numbered(0, number)
    };
    let producer = producer_with(&plain(&world.source), "none");
    let records: Vec<Record> = (0..100).map(|number| sized(number, 2000)).collect();
    write(&producer, &topic, &records).await;
    let mut link = world.link(&[&topic]);
    link.target = scram(&world.target).0;
    let mut replicator = link.run();
    let progress = replicator.until_stored(&topic, 0, 100).await;
    assert!(progress.gaps.is_empty());
    write(&producer, &topic, &[sized(100, 60_000), sized(101, 10)]).await;
    let (stopped, progress) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(
        (stopped.reason, stopped.position),
        (Some(StopReason::RecordTooLarge), Some(100))
    );
    let message = stopped.message.unwrap_or_default();
    assert!(message.contains("grant DescribeConfigs"), "{message}");
    assert!(progress.gaps.is_empty());
    set_config(&world.target.admin(), &target, "max.message.bytes", "100000").await;
    // It would be tried again within a minute, and is at once by a new process.
    replicator.stop().await;
    replicator.start();
    replicator.until_stored(&topic, 0, 102).await;
    let audit = audit(&world.arrived(&topic, 1, 102).await, 102, 1);
    assert_eq!((audit.lost, audit.disordered), (0, 0), "{audit:?}");
}

/// The endpoint of a cluster's listener with SASL over TLS, and the files with the password and the CA.
fn scram(cluster: &KafkaCluster) -> (String, PathBuf, PathBuf) {
    let folder = data_dir("credentials");
    let (password, ca) = (folder.join("password"), folder.join("ca.crt"));
    std::fs::write(&ca, cluster.authority().pem()).unwrap();
    std::fs::write(&password, PASSWORD).unwrap();
    let endpoint = format!(
        "{{bootstrapServers: {:?}, tls: {{mode: Verify, caFile: {ca:?}}}, authentication: {{type: Scram, mechanism: \
         ScramSha512, username: {USER}, passwordFile: {password:?}}}}}",
        cluster.bootstrap(Listener::SaslTls)
    );
    (endpoint, password, ca)
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_wrong_and_changed_credentials_are_told_and_mend_by_themselves() {
    let world = shared().await;
    let topic = unique("credentials");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let (endpoint, password, ca) = scram(&world.target);
    std::fs::remove_file(&password).unwrap();
    let mut link = world.link(&[&topic]);
    link.target = endpoint;
    let mut replicator = link.run();
    let reason = |reason: &'static str| {
        move |progress: &tributary::replicator::progress::Progress| {
            progress.target.reason.as_deref() == Some(reason)
        }
    };
    let missing = replicator.until("no file", reason("CredentialsMissing")).await;
    assert!(missing.target.message.unwrap().contains("password"));
    std::fs::write(&password, "wrong").unwrap();
    replicator
        .until("wrong password", reason("AuthenticationFailed"))
        .await;
    std::fs::write(&password, PASSWORD).unwrap();
    write(&producer, &topic, &numbered(0, 1000, 1)).await;
    let before = replicator.until_stored(&topic, 0, 1000).await;

    // Gone while it runs: what works goes on working.
    std::fs::remove_file(&password).unwrap();
    let fault = |progress: &tributary::replicator::progress::Progress| {
        progress
            .last_error
            .as_ref()
            .is_some_and(|error| error.reason == "CredentialsMissing" && error.until.is_none())
    };
    replicator.until("the missing file to be told", fault).await;
    write(&producer, &topic, &numbered(1000, 2000, 1)).await;
    replicator.until_stored(&topic, 0, 2000).await;
    std::fs::write(&password, PASSWORD).unwrap();

    // Another CA bundle, of which the present CA is one: new clients, under load, nothing lost or repeated.
    let other = crate::harness::certificates::Authority::new("another");
    let load = {
        let (producer, topic) = (producer.clone(), topic.clone());
        tokio::spawn(async move {
            for n in 20..200 {
                write(&producer, &topic, &numbered(n * 100, (n + 1) * 100, 1)).await;
            }
        })
    };
    std::fs::write(&ca, format!("{}{}", other.pem(), world.target.authority().pem())).unwrap();
    let anew = |progress: &tributary::replicator::progress::Progress| {
        progress.totals.sessions > before.totals.sessions
    };
    replicator.until("new clients", anew).await;
    load.await.unwrap();
    replicator.until_stored(&topic, 0, 20_000).await;
    assert_eq!(
        audit(&world.arrived(&topic, 1, 20_000).await, 20_000, 1),
        Audit::default()
    );
    assert!(!replicator.log().contains(PASSWORD), "no secret in the log");
    assert!(!replicator.get("/progress").await.unwrap().1.contains(PASSWORD));
}
