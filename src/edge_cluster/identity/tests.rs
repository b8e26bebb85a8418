use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::super::validate::tests::{factory, region, valid};
use super::*;
use crate::broker::config::FormatPermission;

fn cluster() -> ValidatedEdgeCluster {
    valid(&factory())
}

fn short_lived() -> ValidatedEdgeCluster {
    let mut object = factory();
    object.spec.storage.retain = Some(false);
    valid(&object)
}

/// A record as the operator makes it.
fn record(cluster: &ValidatedEdgeCluster) -> FoundIdentity {
    let name = names::identity(&cluster.name);
    FoundIdentity {
        meta: if cluster.storage.retain {
            cluster.unowned_metadata(name)
        } else {
            cluster.metadata(name)
        },
        record: Ok(Identity::draw(cluster.brokers)),
    }
}

fn claims(terminating: bool) -> BTreeMap<i32, Claim> {
    let claim = Claim {
        name: "data-munich-kafka-0".into(),
        version: None,
        owners: Vec::new(),
        terminating,
        requested: 1,
        capacity: Some(1),
        trouble: None,
    };
    BTreeMap::from([(0, claim)])
}

fn refusal(plan: Plan) -> (Reason, String) {
    match plan {
        Plan::Refuse(reason, message) => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_is_drawn_only_when_there_is_neither_record_nor_volume() {
    assert_eq!(plan(&cluster(), None, &BTreeMap::new()), Plan::Draw);
}

#[test]
fn volumes_without_a_record_are_not_touched() {
    let (reason, message) = refusal(plan(&cluster(), None, &claims(false)));
    assert_eq!(reason, Reason::IdentityMissing);
    assert!(
        message.contains("data-munich-kafka-0") && message.contains("munich-kafka-identity"),
        "{message}"
    );
}

#[test]
fn what_is_still_being_deleted_is_waited_for() {
    assert!(matches!(plan(&cluster(), None, &claims(true)), Plan::Wait(_)));
    let mut going = record(&cluster());
    going.meta.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    assert!(matches!(
        plan(&cluster(), Some(&going), &BTreeMap::new()),
        Plan::Wait(_)
    ));
    // With `retain: false` the garbage collector will take the record of the earlier object with it.
    let mut earlier = record(&short_lived());
    earlier.meta.owner_references.as_mut().unwrap()[0].uid = "earlier".into();
    assert!(matches!(
        plan(&cluster(), Some(&earlier), &BTreeMap::new()),
        Plan::Wait(_)
    ));
}

#[test]
fn a_retained_record_is_adopted_as_it_is() {
    let cluster = cluster();
    let found = record(&cluster);
    let Plan::Use { identity, adopt } = plan(&cluster, Some(&found), &claims(false)) else {
        panic!("not used");
    };
    assert_eq!((Ok(identity), adopt), (found.record, false));
}

#[test]
fn a_record_restored_by_hand_gets_its_labels() {
    let mut found = record(&cluster());
    found.meta = ObjectMeta::default();
    let plan = plan(&cluster(), Some(&found), &claims(false));
    assert!(matches!(plan, Plan::Use { adopt: true, .. }));
}

#[test]
fn the_records_owner_follows_retain() {
    for (now, before) in [(cluster(), short_lived()), (short_lived(), cluster())] {
        let plan = plan(&now, Some(&record(&before)), &claims(false));
        assert!(matches!(plan, Plan::Use { adopt: true, .. }));
    }
    let plan = plan(&short_lived(), Some(&record(&short_lived())), &claims(false));
    assert!(matches!(plan, Plan::Use { adopt: false, .. }));
}

#[test]
fn the_permission_is_withdrawn_from_a_broker_that_ran() {
    let found = record(&valid(&region()));
    let withdrawn = withdrawal(&region(), &found, &[2]).unwrap();
    let formats: Vec<_> = withdrawn.brokers.iter().map(|b| b.format).collect();
    use FormatPermission::{Permitted, Withdrawn};
    assert_eq!(formats, [Permitted, Permitted, Withdrawn]);
    assert_eq!(withdrawal(&region(), &found, &[]), None);
    let done = FoundIdentity {
        record: Ok(withdrawn),
        ..found
    };
    assert_eq!(withdrawal(&region(), &done, &[2]), None);
}

#[test]
fn the_permission_is_withdrawn_whatever_the_spec_says() {
    let found = record(&valid(&region()));
    let mut object = region();
    (object.spec.brokers, object.spec.paused) = (2, Some(true));
    object.spec.listeners.clear();
    assert!(withdrawal(&object, &found, &[0]).is_some());
}

#[test]
fn a_record_that_is_going_or_cannot_be_read_is_left_alone() {
    let mut going = record(&cluster());
    going.meta.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    let mut earlier = record(&short_lived());
    earlier.meta.owner_references.as_mut().unwrap()[0].uid = "earlier".into();
    let mut damaged = record(&cluster());
    damaged.record = Err("it is damaged".into());
    for found in [going, earlier, damaged] {
        assert_eq!(withdrawal(&factory(), &found, &[0]), None);
    }
}

#[test]
fn a_record_of_another_number_of_brokers_or_a_damaged_one_is_refused() {
    let other = record(&valid(&region()));
    let (reason, message) = refusal(plan(&cluster(), Some(&other), &claims(false)));
    assert_eq!(reason, Reason::IdentityMismatch);
    assert!(message.contains("[0, 1, 2]"), "{message}");
    let mut damaged = record(&cluster());
    damaged.record = Err("it is damaged".into());
    assert_eq!(
        refusal(plan(&cluster(), Some(&damaged), &claims(false))).0,
        Reason::IdentityMismatch
    );
}
