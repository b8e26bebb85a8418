//! How many pods a link may have now. Pure.
//!
//! Each worker copies the partitions that fall to it by their number. Pods that count differently would write the same
//! partition side by side, and an older batch of one could land behind a newer one of the other. So a change of the
//! number ends all pods first.

use crate::controller::PodView;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Have the pods that are wanted.
    Run(i32),
    /// Have none, until this pod is gone.
    Clear {
        /// Its name.
        pod: String,
    },
}

impl Step {
    /// `spec.replicas` of the StatefulSet.
    pub(super) const fn replicas(&self) -> i32 {
        match self {
            Self::Run(count) => *count,
            Self::Clear { .. } => 0,
        }
    }

    /// What is waited for, for people.
    pub(super) fn waits(&self) -> Option<String> {
        let Self::Clear { pod } = self else { return None };
        Some(format!(
            "the number of workers changes: waiting for pod {pod} to end before the others start; if its node is gone \
             for good, delete the Node"
        ))
    }
}

/// The next step towards `wanted` pods that share the partitions among `workers`. A pod counts until it is gone: one that
/// is being deleted still writes.
pub(super) fn next(wanted: i32, workers: u32, restart_hash: &str, pods: &[PodView]) -> Step {
    // A pod of an earlier version tells no number; its configuration as a whole is as good.
    let same = |pod: &&PodView| match pod.workers {
        Some(count) => count == workers,
        None => pod.config_hash.as_deref() == Some(restart_hash),
    };
    match pods.iter().find(|pod| !same(pod)) {
        Some(other) if wanted > 0 => Step::Clear {
            pod: other.name.clone(),
        },
        _ => Step::Run(wanted),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::controller::PodState;

    const HASH: &str = "h1";

    fn pod(ordinal: usize, workers: Option<u32>) -> PodView {
        PodView {
            name: format!("to-eu-replicator-{ordinal}"),
            state: PodState::Starting,
            config_hash: Some("another".into()),
            workers,
            restarts: 0,
            uid: "u".into(),
        }
    }

    #[test]
    fn another_number_of_workers_ends_all_pods_before_any_starts() {
        assert_eq!(next(2, 2, HASH, &[]), Step::Run(2));
        assert_eq!(next(2, 2, HASH, &[pod(0, Some(2))]), Step::Run(2));
        let mixed = [pod(0, Some(2)), pod(1, Some(1))];
        let step = next(2, 2, HASH, &mixed);
        assert_eq!(step.replicas(), 0);
        assert!(step.waits().unwrap().contains("to-eu-replicator-1"));
        let mut ending = pod(0, Some(1));
        ending.state = PodState::Terminating;
        assert_eq!(next(2, 2, HASH, &[ending]).replicas(), 0, "it still writes");
    }

    #[test]
    fn a_pod_that_tells_no_number_counts_as_the_same_only_with_the_same_configuration() {
        let mut old = pod(0, None);
        assert_eq!(next(1, 1, HASH, std::slice::from_ref(&old)).replicas(), 0);
        old.config_hash = Some(HASH.into());
        assert_eq!(next(1, 1, HASH, &[old]), Step::Run(1));
    }

    #[test]
    fn a_paused_link_waits_for_nobody() {
        assert_eq!(next(0, 2, HASH, &[pod(0, Some(1))]), Step::Run(0));
    }

    /// A StatefulSet of the kind that we write, and its pods.
    #[derive(Debug, Default)]
    struct Model {
        replicas: usize,
        template: u32,
        pods: Vec<(usize, u32)>,
        ending: Vec<(usize, u32)>,
    }

    impl Model {
        fn reconcile(&mut self, workers: u32) {
            let all = self.pods.iter().chain(&self.ending);
            let pods: Vec<_> = all.map(|(ordinal, w)| pod(*ordinal, Some(*w))).collect();
            let step = next(i32::try_from(workers).unwrap(), workers, HASH, &pods);
            self.replicas = usize::try_from(step.replicas()).unwrap();
            self.template = workers;
        }

        /// The StatefulSet's controller starts the first pod that is missing.
        fn start(&mut self) {
            let taken = |ordinal| self.pods.iter().chain(&self.ending).any(|(o, _)| *o == ordinal);
            if let Some(ordinal) = (0..self.replicas).find(|o| !taken(*o)) {
                self.pods.push((ordinal, self.template));
            }
        }

        /// It ends a pod that is too many, or of another template.
        fn end(&mut self) {
            let (replicas, template) = (self.replicas, self.template);
            let ends = |(ordinal, workers): &(usize, u32)| *ordinal >= replicas || *workers != template;
            if let Some(at) = self.pods.iter().position(ends) {
                self.ending.push(self.pods.remove(at));
            }
        }
    }

    proptest! {
        #[test]
        fn pods_that_count_differently_never_run_side_by_side(
            steps in proptest::collection::vec((0..5_u8, 1..5_u32), 0..200),
        ) {
            let (mut model, mut wanted) = (Model::default(), 1);
            let check = |model: &Model| {
                let mut counts: Vec<u32> = model.pods.iter().chain(&model.ending).map(|(_, w)| *w).collect();
                counts.dedup();
                counts.len() <= 1
            };
            for (step, workers) in steps {
                match step {
                    0 => wanted = workers,
                    1 => model.reconcile(wanted),
                    2 => model.start(),
                    3 => model.end(),
                    _ => drop(model.ending.pop()),
                }
                prop_assert!(check(&model), "{model:?}");
            }
            // It gets there, once everybody has had enough turns.
            for _ in 0..20 {
                model.reconcile(wanted);
                model.end();
                model.ending.pop();
                model.start();
                prop_assert!(check(&model), "{model:?}");
            }
            prop_assert_eq!(model.pods.len(), wanted as usize);
            prop_assert!(model.pods.iter().all(|(_, w)| *w == wanted));
        }
    }
}
