//! What time does to a status.

use super::*;

const MINUTES_11: i64 = 660;

impl Situation {
    /// The status of a fresh look at that time, which is then the one that stands.
    fn told_at(&mut self, now: i64) -> BTreeSet<String> {
        if let Some(sample) = &mut self.sample {
            sample.at = at(now);
        }
        let status = self.status_at(now);
        let told = words(&status);
        self.object.status = Some(status);
        told
    }

    /// Looks at it then, a second before ten minutes are over, and after: the wait is told until it is too long, and
    /// does not begin anew.
    fn waits_ten_minutes_from(&mut self, begin: i64, reason: &str) {
        for second in [0, 599] {
            let told = self.told_at(begin + second);
            assert!(told.contains(&format!("Reconciling=True/{reason}")), "{told:?}");
            assert!(!told.iter().any(|c| c.starts_with("Stalled")), "{told:?}");
        }
        for second in [600, 610, 2_000] {
            let told = self.told_at(begin + second);
            assert!(told.contains(&format!("Stalled=True/{reason}")), "{told:?}");
            assert!(!told.iter().any(|c| c.starts_with("Reconciling")), "{told:?}");
        }
    }

    fn start(&mut self, id: i32) {
        self.pod(id).process = Process::Starting { since: at(NOW) };
    }
}

#[test]
fn a_first_start_is_progress_for_ten_minutes_and_then_a_case_for_help() {
    let mut situation = one();
    situation.start(0);
    (situation.sample, situation.topics) = (None, None);
    situation.has(&[
        "Ready=False/Starting",
        "Reconciling=True/Starting",
        "QuorumHealthy=Unknown/KafkaUnknown",
    ]);
    situation.waits_ten_minutes_from(NOW, "Starting");
}

#[test]
fn a_start_behind_a_long_pause_has_ten_minutes_of_its_own() {
    let mut situation = one();
    situation.object.spec.paused = Some(true);
    assert!(situation.told_at(NOW).contains("Ready=False/Paused"));
    situation.object.spec.paused = None;
    situation.object.metadata.generation = Some(2);
    situation.start(0);
    situation.waits_ten_minutes_from(NOW + MINUTES_11, "Starting");
}

#[test]
fn a_start_behind_what_was_mended_has_ten_minutes_of_its_own() {
    let mut situation = one();
    situation.start(0);
    situation.pod(0).failing = true;
    situation.told_at(NOW);
    let told = situation.told_at(NOW + MINUTES_11);
    assert!(told.contains("Stalled=True/BrokerFailing"), "{told:?}");
    situation.pod(0).failing = false;
    situation.waits_ten_minutes_from(NOW + MINUTES_11, "Starting");
}

#[test]
fn a_wait_of_whatever_kind_is_told_with_one_time_until_it_is_too_long() {
    let mut situation = one();
    let stranger = Unanswered {
        reason: Reason::IdentityMismatch,
        message: "what answers there is another cluster".into(),
    };
    situation.sample.as_mut().unwrap().result = Err(stranger);
    situation.waits_ten_minutes_from(NOW, "IdentityMismatch");
}

#[test]
fn the_last_start_of_a_long_roll_has_ten_minutes_of_its_own() {
    let mut situation = three();
    situation.step = Some(Step::Wait {
        waiting: BTreeMap::from([(0, Wait::Broker(1, "is restarting"))]),
    });
    situation.pod(1).terminating = true;
    situation.told_at(NOW);
    let told = situation.told_at(NOW + MINUTES_11);
    assert!(told.contains("Reconciling=True/Progressing"), "{told:?}");
    situation.pod(1).terminating = false;
    situation.step = Some(Step::Done);
    situation.start(0);
    situation.facts().live.remove(&0);
    situation.waits_ten_minutes_from(NOW + MINUTES_11, "Starting");
}

#[test]
fn a_sample_is_good_until_the_next_but_one_should_have_come() {
    let stale = |seconds| stale_after(Duration::from_secs(seconds)).as_secs();
    assert_eq!([stale(1), stale(10), stale(20), stale(60)], [30, 30, 50, 130]);
    let rare = Duration::from_secs(60);
    let situation = three();
    let known = |now| {
        situation.with_report(now, |report| {
            let report = Report {
                stale: stale_after(rare),
                ..report.clone()
            };
            words(&compute(&report)).contains("QuorumHealthy=True/AsDesired")
        })
    };
    assert!(known(NOW + 66) && !known(NOW + 131));
}

#[test]
fn a_status_that_is_fresh_stands_until_kafkas_first_answer_to_a_new_operator() {
    let kept = |change: fn(&mut Situation), now| {
        let mut situation = three();
        situation.told_at(NOW);
        situation.sample = None;
        change(&mut situation);
        situation.with_report(now, soon_known)
    };
    assert!(kept(|_| (), NOW + 30));
    assert!(!kept(|_| (), NOW + 90), "it is too old");
    assert!(!kept(|s| s.object.status = None, NOW + 30));
    let other: fn(&mut Situation) = |s| s.object.metadata.generation = Some(2);
    assert!(!kept(other, NOW + 30), "it speaks of another spec");
    let stopped: fn(&mut Situation) = |s| s.stopped = Some((Reason::ApiError, "why".into()));
    assert!(!kept(stopped, NOW + 30));
    let invalid: fn(&mut Situation) = |s| s.object.spec.brokers = 2;
    assert!(!kept(invalid, NOW + 30));
    let asked: fn(&mut Situation) = |s| s.sample = three().sample;
    assert!(!kept(asked, NOW + 30), "Kafka has answered");
}
