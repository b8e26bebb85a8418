mod bench;

use bench::{Bench, Sent, TELEMETRY};

use std::sync::atomic::Ordering;

use super::*;
use crate::bridge::progress::BridgeProgress;
use crate::bridge::window::RecordId;

#[tokio::test(start_paused = true)]
async fn a_session_subscribes_unsubscribes_carries_and_acknowledges() {
    let bench = Bench::start(&["old/#"]);
    let mut server = bench.connect(false);
    assert_eq!(server.expect().await, Sent::Unsubscribe(1, vec!["old/#".into()]));
    server.send(Incoming::UnsubAck {
        pkid: 1,
        done: vec![Ok(())],
    });
    server.grant(Ok(1)).await;
    server.publish(5, TELEMETRY, "{}");
    server.publish(6, TELEMETRY, "{}");
    assert_eq!(
        [server.expect().await, server.expect().await],
        [Sent::Ack(5), Sent::Ack(6)]
    );
    let progress = bench
        .wait(|p| p.subscribed() && p.counters.acknowledged == 2)
        .await;
    assert_eq!(progress.mqtt.unsubscribed, ["old/#"]);
    assert_eq!(progress.mqtt.first_session_present, Some(false));
    assert_eq!(progress.problems, []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_reported_and_asked_for_again() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(true);
    server.grant(Err("NotAuthorized".into())).await;
    let progress = bench
        .wait(|p| p.problem(Component::Subscriptions).is_some())
        .await;
    let problem = progress.problem(Component::Subscriptions).unwrap();
    assert_eq!(problem.reason, Reason::SubscriptionRefused);
    assert!(problem.message.contains("factory/+/+/telemetry") && problem.message.contains("NotAuthorized"));
    assert!(!progress.subscribed());
    assert_eq!(
        progress.mqtt.subscriptions[0].refused.as_deref(),
        Some("NotAuthorized")
    );
    let Sent::Subscribe(pkid, filters) = server.expect().await else {
        panic!()
    };
    assert_eq!(filters, ["factory/+/+/telemetry"]);
    server.send(Incoming::SubAck {
        pkid,
        granted: vec![Ok(1)],
    });
    let progress = bench.wait(BridgeProgress::subscribed).await;
    assert_eq!(progress.problem(Component::Subscriptions), None);
}

#[tokio::test(start_paused = true)]
async fn a_lower_qos_than_asked_for_is_not_ready() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(true);
    server.grant(Ok(0)).await;
    let progress = bench
        .wait(|p| p.problem(Component::Subscriptions).is_some())
        .await;
    assert_eq!(
        progress.problem(Component::Subscriptions).unwrap().reason,
        Reason::SubscriptionQosLowered
    );
    assert!(!progress.subscribed());
    assert_eq!(progress.mqtt.subscriptions[0].granted_qos, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_a_subscription_is_left() {
    let mut bench = Bench::start(&[]);
    let _silent = bench.connect(true);
    let progress = bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    assert!(
        progress
            .problem(Component::Mqtt)
            .unwrap()
            .message
            .contains("subscribing")
    );
    bench.dialled.recv().await.unwrap();
    bench.dialled.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_less_and_less_often_and_a_changed_file_at_once() {
    let mut bench = Bench::start(&[]);
    let refused = || MqttError::CredentialsRefused {
        server: "s".into(),
        reason: "no".into(),
    };
    let mut times = Vec::new();
    for _ in 0..10 {
        bench.fail(refused());
        bench.dialled.recv().await.unwrap();
        times.push(tokio::time::Instant::now());
    }
    let gaps: Vec<Duration> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps[0] <= Duration::from_secs(2), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(61)), "{gaps:?}");
    assert!(*gaps.last().unwrap() >= Duration::from_secs(30), "{gaps:?}");
    let progress = bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    assert_eq!(
        progress.problem(Component::Mqtt).unwrap().reason,
        Reason::MqttCredentialsRefused
    );
    bench.wait(|_| bench.dialled.is_empty()).await;
    let before = tokio::time::Instant::now();
    bench.files.send_modify(|n| *n += 1);
    bench.dialled.recv().await.unwrap();
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_what_is_in_flight_is_not_produced_twice() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.kafka.waits.lock().unwrap() = true;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.in_flight.messages == 1).await;
    bench.files.send_modify(|n| *n += 1);
    assert_eq!(server.expect().await, Sent::Close);
    let mut server = bench.connect(true);
    server.grant(Ok(1)).await;
    server.publish_dup(5, TELEMETRY, "{}", true);
    bench.wait(|p| p.counters.received == 2).await;
    let reports = bench.kafka.reports.lock().unwrap().clone().unwrap();
    reports.push((RecordId { message: 0, slot: 0 }, Ok(())));
    assert_eq!(server.expect().await, Sent::Ack(5));
    let progress = bench.wait(|p| p.in_flight.messages == 0).await;
    assert_eq!(
        (progress.counters.records, progress.counters.sessions_lost),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_works_is_kept_while_its_credentials_cannot_be_read() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    bench.wait(|p| p.mqtt.connected_since.is_some()).await;
    *bench.broken.lock().unwrap() = Some("/secrets/password".into());
    bench.files.send_modify(|n| *n += 1);
    server.grant(Ok(1)).await;
    let unreadable = |p: &BridgeProgress| p.subscribed() && p.problem(Component::Mqtt).is_some();
    let progress = bench.wait(unreadable).await;
    let problem = progress.problem(Component::Mqtt).unwrap();
    assert_eq!(problem.reason, Reason::CredentialsUnreadable);
    assert!(
        problem.message.contains("/secrets/password") && problem.message.contains("is kept"),
        "{}",
        problem.message
    );
    server.publish(5, TELEMETRY, "{}");
    assert_eq!(server.expect().await, Sent::Ack(5));
    *bench.broken.lock().unwrap() = None;
    bench.files.send_modify(|n| *n += 1);
    assert_eq!(server.expect().await, Sent::Close);
    let mut server = bench.connect(true);
    server.grant(Ok(1)).await;
    bench.wait(|p| p.subscribed() && p.problems.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_when_its_credentials_are_back_as_they_were() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.broken.lock().unwrap() = Some("/secrets/password".into());
    bench.files.send_modify(|n| *n += 1);
    bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    *bench.broken.lock().unwrap() = None;
    bench.same.store(true, Ordering::Relaxed);
    bench.files.send_modify(|n| *n += 1);
    bench.wait(|p| p.problems.is_empty()).await;
    server.publish(5, TELEMETRY, "{}");
    assert_eq!(server.expect().await, Sent::Ack(5));
    bench.same.store(false, Ordering::Relaxed);
    bench.files.send_modify(|n| *n += 1);
    assert_eq!(server.expect().await, Sent::Close);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_after_a_reconnect_is_a_possible_loss() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    bench.wait(BridgeProgress::subscribed).await;
    drop(server);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    let progress = bench.wait(|p| p.counters.sessions_lost == 1).await;
    assert_eq!(progress.losses[0].reason, Reason::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_again_and_again_lets_another_client_with_our_name_be_suspected() {
    let bench = Bench::start(&[]);
    for _ in 0..3 {
        let mut server = bench.connect(true);
        server.grant(Ok(1)).await;
        bench.wait(BridgeProgress::subscribed).await;
        drop(server);
        bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    }
    let progress = bench.board.snapshot();
    let problem = progress.problem(Component::Mqtt).unwrap();
    assert_eq!(problem.reason, Reason::MqttSessionTakenOver);
    assert!(
        problem.message.contains("\"factory-munich\""),
        "{}",
        problem.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_that_another_client_took_the_session_is_believed_at_once() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(true);
    server.grant(Ok(1)).await;
    bench.wait(BridgeProgress::subscribed).await;
    let client_id = bench.board.snapshot().mqtt.client_id;
    server.end(MqttError::TakenOver { client_id });
    let progress = bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    let problem = progress.problem(Component::Mqtt).unwrap();
    assert_eq!(problem.reason, Reason::MqttSessionTakenOver);
    assert!(
        problem.message.contains("mqtt.clientId \"factory-munich\""),
        "{}",
        problem.message
    );
}

#[tokio::test(start_paused = true)]
async fn the_servers_count_of_dropped_messages_is_read_and_goes_nowhere() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    server.publish(0, DROPPED_TOPIC, "7");
    server.publish(0, DROPPED_TOPIC, "9");
    server.publish(0, DROPPED_TOPIC, "nonsense");
    let progress = bench
        .wait(|p| p.mqtt.broker_dropped.is_some_and(|d| d.growth == 2))
        .await;
    assert_eq!(progress.losses[0].reason, Reason::BrokerDropped);
    assert_eq!(progress.counters.received, 0);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_waits_for_kafka_acknowledges_and_says_goodbye() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.kafka.waits.lock().unwrap() = true;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.in_flight.messages == 1).await;
    bench.shutdown.cancel();
    sleep(Duration::from_secs(5)).await;
    assert!(!bench.session.is_finished());
    let reports = bench.kafka.reports.lock().unwrap().clone().unwrap();
    reports.push((RecordId { message: 0, slot: 0 }, Ok(())));
    assert_eq!(
        [server.expect().await, server.expect().await],
        [Sent::Ack(5), Sent::Close]
    );
    bench.session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_does_not_wait_for_ever() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.kafka.waits.lock().unwrap() = true;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.in_flight.messages == 1).await;
    bench.shutdown.cancel();
    assert_eq!(server.expect().await, Sent::Close, "and no acknowledgement");
    bench.session.await.unwrap();
    // Without a connection there is nothing to wait for.
    let mut bench = Bench::start(&[]);
    bench.dialled.recv().await.unwrap();
    bench.shutdown.cancel();
    bench.session.await.unwrap();
}
