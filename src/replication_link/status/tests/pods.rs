//! What the pods do, and whose word counts.

use super::*;

#[test]
fn a_pod_that_cannot_run_is_stalled_after_a_minute_with_kubernetes_own_words() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    let failing = [pod(PodState::Failing("ImagePullBackOff: no such image".into()))];
    let looked = |second| {
        let mut s = sample(second, Ok(source(100)), Ok(target(second, Some(100))), None);
        s.workers.clear();
        s
    };
    link.look(10, &failing, Some(&looked(10)));
    link.expect("Ready", "Unknown", Reason::PodsUnavailable);
    link.look(80, &failing, Some(&looked(80)));
    let message = link.expect("Stalled", "True", Reason::PodsUnavailable);
    assert!(message.contains("ImagePullBackOff"), "{message}");
}

#[test]
fn a_pod_of_the_previous_configuration_says_nothing_about_the_present_one() {
    let mut link = Watched::new();
    let old = PodView {
        config_hash: Some("h0".into()),
        ..running()
    };
    let looked = sample(0, Ok(source(100)), Ok(target(0, Some(100))), Some(progress(0)));
    link.look(0, &[old], Some(&looked));
    assert_eq!(link.verdict(), Verdict::Unknown);
    let message = link.expect("Reconciling", "True", Reason::Starting);
    assert!(message.contains("start anew"), "{message}");
}

#[test]
fn a_change_of_the_number_of_workers_is_reconciling_and_says_which_pod_is_waited_for() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    link.object.metadata.generation = Some(4);
    let good = validated(&link.object);
    let identity = Identity::of(&link.object, Some(&good.config), None, None);
    let mut ending = pod(PodState::Terminating);
    ending.config_hash = Some("h0".into());
    let message = "the number of workers changes: waiting for pod to-eu-replicator-0 to end";
    for (second, type_) in [(10, "Reconciling"), (609, "Reconciling"), (611, "Stalled")] {
        link.with(&Look {
            now: at(second),
            validated: Ok((&good, HASH)),
            stopped_by: Some((Reason::Progressing, message.into())),
            pods: std::slice::from_ref(&ending),
            sample: None,
            identity: &identity,
        });
        assert_eq!(link.expect(type_, "True", Reason::Progressing), message);
        link.expect("Ready", "False", Reason::Progressing);
    }
}

#[test]
fn what_the_former_process_told_says_nothing_about_the_present_one() {
    let mut link = Watched::new();
    let anew = PodView {
        uid: "another".into(),
        ..running()
    };
    let looked = sample(0, Ok(source(100)), Ok(target(0, Some(100))), Some(progress(0)));
    link.look(0, &[anew], Some(&looked));
    link.expect("Connected", "Unknown", Reason::Starting);
    link.look(10, &[running()], Some(&looked));
    link.expect("Connected", "True", Reason::Following);
}
