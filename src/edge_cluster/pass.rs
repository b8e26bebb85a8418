//! One pass over one EdgeCluster.

mod record;
mod restart;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::observe::{Observed, PodFacts, Sample, Unanswered};
use super::roll::Step;
use super::status::{self, Report};
use super::topics::Outcome;
use super::validate::{ValidatedEdgeCluster, validate};
use super::volumes::Growth;
use super::{EdgeClusters, build, names, observe, topics, volumes};
use crate::api::{EdgeCluster, Reason};
use crate::broker::config::Identity;
use crate::controller::{
    Applied, Context, Error, KIND_LABEL, Kind, Latest, NAME_LABEL, ObjectKey, Problem, Requeue, Scope,
    StepOutcome, Steps, bootstrap_host,
};
use crate::kafka::KafkaConnection;
use crate::kafka::wire::Admin;

/// How soon a pass follows one that changed something or waits for a pod.
const SOON: Duration = Duration::from_secs(2);

/// What is remembered between the passes over one object.
#[derive(Debug, Default)]
pub struct Memory {
    read: observe::Memory,
    topics: topics::Memory,
    volumes: volumes::Memory,
    admin: Option<(Vec<String>, Admin)>,
}

/// What a pass came to, besides its steps.
#[derive(Default)]
struct Found {
    identity: Option<Identity>,
    refused: Option<(Reason, String)>,
    growth: Growth,
    topics: Option<Outcome>,
    step: Option<Step>,
}

/// Observe, validate, build, apply, report.
pub(super) async fn run(
    reconciler: &EdgeClusters,
    ctx: &Context,
    object: &EdgeCluster,
    memory: &mut Memory,
) -> Result<Requeue, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let mut observed = observe::observe(ctx, &namespace, &name, &mut memory.read).await?;
    let cluster = validate(object, ctx.options());
    let sample = sample_of(reconciler, ctx, object, cluster.as_ref().ok());
    let sample = sample.map(|sample| checked(sample, recorded(&observed).as_ref()));
    let mut steps = Steps::default();
    // Whatever the spec says: a broker that ran must not be formatted, also after weeks of pause (law 3).
    let withdrawal = record::withdraw(ctx, object, &mut observed, sample.as_ref());
    steps.run("permissions", withdrawal).await;
    let mut found = Found {
        identity: recorded(&observed),
        ..Found::default()
    };
    if let Ok(cluster) = &cluster
        && object.spec.paused != Some(true)
    {
        let mut pass = Pass {
            reconciler,
            ctx,
            object,
            cluster,
            observed: &observed,
            sample: sample.as_ref(),
            memory,
            found: &mut found,
        };
        pass.apply(&mut steps).await;
    }
    report(
        ctx,
        object,
        cluster.as_ref(),
        &observed,
        sample.as_ref(),
        &found,
        &steps,
    )
    .await?;
    Ok(requeue(&steps, &found))
}

/// The identity record, if there is one that can be read.
fn recorded(observed: &Observed) -> Option<Identity> {
    observed.identity.as_ref().and_then(|i| i.record.clone().ok())
}

fn requeue(steps: &Steps, found: &Found) -> Requeue {
    let failed = steps
        .iter()
        .any(|(_, outcome, _)| matches!(outcome, StepOutcome::Failed(_)));
    let busy =
        steps.wrote() || steps.stopped_by().is_some() || matches!(found.step, Some(Step::Restart { .. }));
    match (failed, busy) {
        (true, _) => Requeue::BackOff,
        (false, true) => Requeue::After(SOON),
        (false, false) => Requeue::Sample,
    }
}

async fn report(
    ctx: &Context,
    object: &EdgeCluster,
    cluster: Result<&ValidatedEdgeCluster, &Problem>,
    observed: &Observed,
    sample: Option<&Sample>,
    found: &Found,
    steps: &Steps,
) -> Result<(), Error> {
    let report = Report {
        object,
        cluster,
        observed,
        sample,
        identity: found.identity.as_ref(),
        stopped: found.refused.clone().or_else(|| steps.stopped_by()),
        step: found.step.as_ref(),
        topics: found.topics.as_ref(),
        growth: &found.growth,
        stale: status::stale_after(ctx.options().sample_interval),
        now: ctx.now(),
    };
    let key = ObjectKey::of(object);
    ctx.metrics().steps(key.kind, steps);
    if status::soon_known(&report) {
        return Ok(());
    }
    let status = status::compute(&report);
    ctx.metrics().figures(&key, status::figures(&status));
    ctx.statuses().write(ctx, object, &status).await.map(drop)
}

/// Where the operator reaches Kafka: the Service of ready brokers, then each broker by name.
fn bootstrap(reconciler: &EdgeClusters, cluster: &ValidatedEdgeCluster) -> Vec<String> {
    let reached = reconciler
        .reach
        .as_ref()
        .and_then(|reach| reach(&cluster.namespace, &cluster.name));
    reached.unwrap_or_else(|| {
        let port = cluster.inter_broker_listener().port;
        let mut hosts = vec![bootstrap_host(&cluster.name, &cluster.namespace)];
        hosts
            .extend((0..cluster.brokers).map(|id| names::broker_host(&cluster.name, &cluster.namespace, id)));
        hosts.into_iter().map(|host| format!("{host}:{port}")).collect()
    })
}

/// The latest sample. While the spec is invalid the brokers of the last good one go on, and so does the look at them.
fn sample_of(
    reconciler: &EdgeClusters,
    ctx: &Context,
    object: &EdgeCluster,
    cluster: Option<&ValidatedEdgeCluster>,
) -> Option<Sample> {
    let key = ObjectKey::of(object);
    let Some(cluster) = cluster else {
        return reconciler.samplers.latest(&key).map(|s| (*s).clone());
    };
    let servers = bootstrap(reconciler, cluster);
    let input = (servers.clone(), cluster.brokers, cluster.owner.uid.clone());
    let sample = reconciler
        .samplers
        .observe(&key, &input, |latest: Latest<Sample>| {
            observe::sample_for_ever(ctx.clone(), key.clone(), servers, cluster.brokers, latest)
        })?;
    Some((*sample).clone())
}

/// A Kafka with another cluster ID than the record's is not ours: nothing it says counts.
fn checked(mut sample: Sample, identity: Option<&Identity>) -> Sample {
    if let (Ok(facts), Some(identity)) = (&sample.result, identity)
        && facts.cluster_id != identity.cluster_id
    {
        let message = format!(
            "what answers there is cluster {}, the identity record says {}",
            facts.cluster_id, identity.cluster_id
        );
        sample.result = Err(Unanswered {
            reason: Reason::IdentityMismatch,
            message,
        });
    }
    sample
}

/// Everything that the steps of a pass need.
struct Pass<'a> {
    reconciler: &'a EdgeClusters,
    ctx: &'a Context,
    object: &'a EdgeCluster,
    cluster: &'a ValidatedEdgeCluster,
    observed: &'a Observed,
    sample: Option<&'a Sample>,
    memory: &'a mut Memory,
    found: &'a mut Found,
}

impl Pass<'_> {
    /// The steps, what restarts brokers last.
    async fn apply(&mut self, steps: &mut Steps) {
        if !steps.run("identity", self.identity()).await {
            return;
        }
        let config = match build::config_map(self.cluster) {
            Ok(config) => config,
            Err(error) => {
                steps.run("build", async { StepOutcome::Failed(error) }).await;
                return;
            }
        };
        let config_name = config.name_any();
        for service in build::services(self.cluster) {
            steps.run("service", self.ctx.apply(self.object, &service)).await;
        }
        steps
            .run("configuration", self.ctx.apply(self.object, &config))
            .await;
        let policy = build::network_policy(self.cluster);
        steps
            .run("network policy", self.ctx.apply(self.object, &policy))
            .await;
        steps.run("disruption budget", self.disruption_budget()).await;
        steps.run("stateful set", self.stateful_set(&config_name)).await;
        steps.run("volumes", self.volumes()).await;
        steps.run("remove", self.remove(&config_name)).await;
        steps.run("topics", self.topics()).await;
        steps.run("roll", self.roll(&config_name)).await;
    }

    async fn disruption_budget(&self) -> Result<Applied, Error> {
        match build::disruption_budget(self.cluster) {
            Some(budget) => self.ctx.apply(self.object, &budget).await,
            None => Ok(Applied::Unchanged),
        }
    }

    async fn stateful_set(&self, config: &str) -> Result<Applied, Error> {
        let size = match &self.observed.set {
            Some(set) => build::ClaimSize::Existing(set.claim_size.clone()),
            None => build::ClaimSize::New,
        };
        let set = build::stateful_set(self.cluster, config, &size)?;
        self.ctx.apply(self.object, &set).await
    }

    async fn volumes(&mut self) -> StepOutcome {
        match volumes::own(self.ctx, self.cluster, &self.observed.claims).await {
            Ok(true) => {}
            Ok(false) => self.memory.read.forget_claims(),
            Err(error) => return StepOutcome::Failed(error),
        }
        let memory = &mut self.memory.volumes;
        match volumes::grow(self.ctx, self.cluster, &self.observed.claims, memory).await {
            Ok(growth) => {
                let growing = matches!(growth, Growth::Growing(_));
                if growing {
                    self.memory.read.forget_claims();
                }
                self.found.growth = growth;
                StepOutcome::Unchanged
            }
            Err(error) => StepOutcome::Failed(error),
        }
    }

    /// Removes Services of listeners that are gone, and configurations that no pod uses any more.
    async fn remove(&self, config: &str) -> Result<Applied, Error> {
        let wanted: Vec<String> = build::services(self.cluster)
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        let mut written = Applied::Unchanged;
        for name in self.cached_names(|scope| {
            scope
                .services
                .state()
                .iter()
                .map(|s| s.metadata.clone())
                .collect()
        }) {
            if !wanted.contains(&name)
                && self.ctx.delete_owned::<_, Service>(self.object, &name).await? == Applied::Written
            {
                written = Applied::Written;
            }
        }
        let revision = build::revision(self.cluster, config)?;
        let current = |pod: &PodFacts| pod.revision.as_deref() == Some(revision.as_str()) && !pod.terminating;
        let all_current = self.observed.pods.len() == usize::try_from(self.cluster.brokers).unwrap_or(0)
            && self.observed.pods.values().all(current);
        if !all_current {
            return Ok(written);
        }
        let prefix = names::config_prefix(&self.cluster.name);
        let used = |name: &str| {
            name == config
                || self
                    .observed
                    .pods
                    .values()
                    .any(|pod| pod.config.as_deref() == Some(name))
        };
        let maps = self.cached_names(|scope| {
            scope
                .config_maps
                .state()
                .iter()
                .map(|m| m.metadata.clone())
                .collect()
        });
        for name in maps
            .into_iter()
            .filter(|name| name.starts_with(&prefix) && !used(name))
        {
            if self.ctx.delete_owned::<_, ConfigMap>(self.object, &name).await? == Applied::Written {
                written = Applied::Written;
            }
        }
        Ok(written)
    }

    /// Names of cached objects that were made for this one.
    fn cached_names(&self, list: impl Fn(&Scope) -> Vec<ObjectMeta>) -> Vec<String> {
        let Some(scope) = self.ctx.caches().scope(&self.cluster.namespace) else {
            return Vec::new();
        };
        let label = |meta: &ObjectMeta, key: &str| meta.labels.as_ref().and_then(|l| l.get(key)).cloned();
        let ours = |meta: &ObjectMeta| {
            meta.namespace.as_deref() == Some(self.cluster.namespace.as_str())
                && label(meta, KIND_LABEL).as_deref() == Some(EdgeCluster::KIND)
                && label(meta, NAME_LABEL).as_deref() == Some(self.cluster.name.as_str())
        };
        list(scope)
            .into_iter()
            .filter(ours)
            .filter_map(|meta| meta.name)
            .collect()
    }

    fn admin(&mut self) -> Option<Admin> {
        let servers = bootstrap(self.reconciler, self.cluster);
        if let Some((known, admin)) = &self.memory.admin
            && *known == servers
        {
            return Some(admin.clone());
        }
        let admin = Admin::new(&KafkaConnection::plaintext(servers.clone())).ok()?;
        self.memory.admin = Some((servers, admin.clone()));
        Some(admin)
    }

    async fn topics(&mut self) -> StepOutcome {
        let facts = match self.sample.map(|s| &s.result) {
            None => {
                return StepOutcome::Skipped {
                    why: "Kafka was not asked yet".to_owned(),
                };
            }
            Some(Err(unanswered)) => {
                self.found.topics = Some(Outcome::Unknown(unanswered.message.clone()));
                return StepOutcome::Skipped {
                    why: "Kafka cannot be asked".to_owned(),
                };
            }
            Some(Ok(facts)) => facts,
        };
        let Some(admin) = self.admin() else {
            return StepOutcome::Skipped {
                why: "there is no address".to_owned(),
            };
        };
        let (record, memory) = (self.observed.topics.as_ref(), &mut self.memory.topics);
        match topics::sync(self.ctx, self.object, self.cluster, &admin, facts, record, memory).await {
            Ok(outcome) => {
                self.found.topics = Some(outcome);
                StepOutcome::Unchanged
            }
            Err(error) => StepOutcome::Failed(error),
        }
    }
}
