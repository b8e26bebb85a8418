//! What every reconcile has at hand.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use super::apply::ApplyMemory;
use super::cache::Caches;
use super::endpoint::Credentials;
use super::metrics::Metrics;
use super::services::Services;
use super::{Backoffs, Clock, Error, Events, Kind, Options, StatusWriter};

/// How long one call to the Kubernetes API may take.
pub const API_DEADLINE: Duration = Duration::from_secs(10);

/// An object's kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind, such as `ReplicationLink`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// Builds a key.
    pub fn new(kind: &'static str, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of<K: Kind>(object: &K) -> Self {
        Self::new(K::KIND, object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What every reconcile has at hand. Lives as long as one term of leadership.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

struct Inner {
    client: Client,
    options: Options,
    clock: Arc<dyn Clock>,
    caches: Caches,
    events: Events,
    metrics: Metrics,
    backoffs: Backoffs,
    applied: ApplyMemory,
    statuses: StatusWriter,
    credentials: Credentials,
    services: Services,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Builds a context.
    #[must_use]
    pub fn new(
        client: Client,
        options: Options,
        clock: Arc<dyn Clock>,
        caches: Caches,
        metrics: Metrics,
        instance: &str,
    ) -> Self {
        Self(Arc::new(Inner {
            events: Events::new(client.clone(), instance),
            statuses: StatusWriter::new(options.status_refresh),
            client,
            options,
            clock,
            caches,
            metrics,
            backoffs: Backoffs::default(),
            applied: ApplyMemory::default(),
            credentials: Credentials::default(),
            services: Services::default(),
        }))
    }

    /// The client of the API server.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The operator's settings.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Now, by the clock.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    /// What is watched.
    #[must_use]
    pub fn caches(&self) -> &Caches {
        &self.0.caches
    }

    /// The event recorder.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// The operator's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The objects' back-offs.
    #[must_use]
    pub fn backoffs(&self) -> &Backoffs {
        &self.0.backoffs
    }

    pub(super) fn applied(&self) -> &ApplyMemory {
        &self.0.applied
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    pub(super) fn services(&self) -> &Services {
        &self.0.services
    }

    /// Writes statuses.
    #[must_use]
    pub fn statuses(&self) -> &StatusWriter {
        &self.0.statuses
    }

    /// The API of a namespaced type.
    pub fn api<T>(&self, namespace: &str) -> Api<T>
    where
        T: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.0.client.clone(), namespace)
    }

    /// Makes one call with [`API_DEADLINE`]; `what` names it for the error, such as `read Secret factory/mqtt`.
    ///
    /// # Errors
    /// What the API server answers, or that it did not in time.
    pub async fn call<T>(
        &self,
        what: impl FnOnce() -> String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        match timeout(API_DEADLINE, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(Error::Api { what: what(), source }),
            Err(_) => Err(Error::Timeout {
                what: what(),
                after: API_DEADLINE,
            }),
        }
    }

    /// Has an object reconciled soon.
    pub fn trigger<K: Kind>(&self, namespace: &str, name: &str) {
        let key = ObjectKey::new(K::KIND, namespace, name);
        // Before it is sent: the pass may begin at once.
        self.0.metrics.requested(&key);
        if !self.0.caches.trigger::<K>(namespace, name) {
            self.0.metrics.served(&key);
        }
    }
}
