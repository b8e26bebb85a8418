//! Which of several operators works: leader election against a real API server.

use std::sync::atomic::Ordering;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tributary::operator::LEASE;

use super::fixture::Fixture;
use crate::harness::wait::{PATIENCE, eventually, until};

async fn lease(fixture: &Fixture) -> Result<LeaseSpec, String> {
    let lease = fixture
        .api::<Lease>()
        .get(LEASE)
        .await
        .map_err(|e| e.to_string())?;
    lease.spec.ok_or_else(|| "no spec".to_owned())
}

/// Waits until the Lease names this process.
async fn led_by(fixture: &Fixture, identity: &str) -> LeaseSpec {
    eventually(&format!("{identity} to lead"), PATIENCE, async || {
        let spec = lease(fixture).await?;
        if spec.holder_identity.as_deref() == Some(identity) {
            Ok(spec)
        } else {
            Err(format!("{spec:?}"))
        }
    })
    .await
}

/// Somebody's name in the Lease, without asking.
async fn write_holder(fixture: &Fixture, holder: Option<&str>) {
    let spec = json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 3600}});
    fixture
        .api::<Lease>()
        .patch(LEASE, &PatchParams::default(), &Patch::Merge(spec))
        .await
        .expect("patched");
}

#[tokio::test]
async fn of_two_operators_one_works_and_the_other_takes_over_when_it_dies() {
    let fixture = Fixture::new("leaders").await;
    let first = fixture.operator_as("operator-a");
    led_by(&fixture, "operator-a").await;
    let second = fixture.operator_as("operator-b");
    until("the second to stand by", PATIENCE, async || {
        second.ready.load(Ordering::Relaxed)
    })
    .await;
    fixture.bridge("before").await;
    fixture.wait("before-bridge", |_: &StatefulSet| Ok(())).await;
    assert!(first.leads() && !second.leads());

    // As if killed: the Lease still names it.
    drop(first);
    led_by(&fixture, "operator-b").await;
    fixture.bridge("after").await;
    fixture.wait("after-bridge", |_: &StatefulSet| Ok(())).await;
    assert!(second.leads());
}

#[tokio::test]
async fn an_operator_that_ends_in_order_gives_its_lease_back() {
    let fixture = Fixture::new("handover").await;
    let operator = fixture.operator_as("operator-a");
    led_by(&fixture, "operator-a").await;
    operator.stop().await;
    let spec = lease(&fixture).await.expect("the Lease stays");
    assert_eq!(
        (spec.holder_identity, spec.lease_duration_seconds),
        (None, Some(1))
    );
}

#[tokio::test]
async fn a_leader_whose_lease_names_another_drops_its_work_until_it_is_free() {
    let fixture = Fixture::new("usurped").await;
    let operator = fixture.operator_as("operator-a");
    led_by(&fixture, "operator-a").await;
    write_holder(&fixture, Some("somebody-else")).await;
    until("it to stand by", PATIENCE, async || !operator.leads()).await;
    fixture.bridge("machines").await;
    let sets = fixture.api::<StatefulSet>();
    assert_eq!(sets.get_opt("machines-bridge").await.expect("an answer"), None);

    write_holder(&fixture, None).await;
    led_by(&fixture, "operator-a").await;
    fixture.wait("machines-bridge", |_: &StatefulSet| Ok(())).await;
    assert!(operator.leads());
}
