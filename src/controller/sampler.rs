//! Reads what takes time (Kafka, a pod's progress) beside the reconciles, so that a dead peer delays none of them.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{AbortHandle, JoinHandle};

use super::ObjectKey;

/// One background task for each object, which keeps its latest observation at hand. A task lives until its object is
/// gone, its input changes, or the samplers are dropped. Bounded by the number of objects.
pub struct Samplers<T> {
    entries: Mutex<HashMap<ObjectKey, Entry<T>>>,
}

struct Entry<T> {
    input: u64,
    latest: Latest<T>,
    task: AbortOnDrop,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> fmt::Debug for Samplers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Samplers")
    }
}

impl<T> Default for Samplers<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::new(HashMap::new()),
        }
    }
}

/// The place of an object's latest observation.
pub struct Latest<T>(Arc<Mutex<Option<Arc<T>>>>);

impl<T> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Latest")
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Latest<T> {
    /// Puts a new observation in place.
    pub fn set(&self, observation: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(observation));
    }

    /// The latest observation, if there is one yet.
    #[must_use]
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Send + Sync + 'static> Samplers<T> {
    /// Sees to it that the task of `key` runs with `input`, and yields the latest observation. A changed input ends the
    /// old task and starts a new one, which begins without an observation.
    pub fn observe<F>(
        &self,
        key: &ObjectKey,
        input: &impl Hash,
        task: impl FnOnce(Latest<T>) -> F,
    ) -> Option<Arc<T>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let input = hasher.finish();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(key)
            && entry.input == input
            && !entry.task.0.is_finished()
        {
            return entry.latest.get();
        }
        let latest = Latest(Arc::new(Mutex::new(None)));
        let handle: JoinHandle<()> = tokio::spawn(task(latest.clone()));
        entries.insert(
            key.clone(),
            Entry {
                input,
                latest,
                task: AbortOnDrop(handle.abort_handle()),
            },
        );
        None
    }

    /// The latest observation of an object whose task runs.
    #[must_use]
    pub fn latest(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .and_then(|e| e.latest.get())
    }

    /// Ends the task of an object.
    pub fn stop(&self, key: &ObjectKey) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    async fn sample(latest: Latest<u32>, value: u32, set: mpsc::Sender<()>) {
        latest.set(value);
        let _ = set.send(()).await;
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn a_changed_input_starts_anew_and_the_same_input_goes_on() {
        let samplers = Samplers::default();
        let key = ObjectKey::new("K", "ns", "a");
        let (tx, mut rx) = mpsc::channel(8);
        assert_eq!(samplers.observe(&key, &1, |l| sample(l, 10, tx.clone())), None);
        rx.recv().await.unwrap();
        assert_eq!(
            samplers
                .observe(&key, &1, |l| sample(l, 11, tx.clone()))
                .as_deref(),
            Some(&10)
        );
        assert_eq!(samplers.observe(&key, &2, |l| sample(l, 20, tx.clone())), None);
        rx.recv().await.unwrap();
        assert_eq!(samplers.latest(&key).as_deref(), Some(&20));
        samplers.stop(&key);
        assert_eq!(samplers.latest(&key), None);
    }

    #[tokio::test]
    async fn a_task_that_ended_is_started_again() {
        let samplers = Samplers::default();
        let key = ObjectKey::new("K", "ns", "a");
        let (tx, mut rx) = mpsc::channel::<()>(1);
        samplers.observe(&key, &1, |latest: Latest<u32>| async move {
            latest.set(1);
            drop(tx);
        });
        assert!(rx.recv().await.is_none());
        let (tx, mut rx) = mpsc::channel(8);
        // The task's end is seen a moment after its last act.
        while samplers.observe(&key, &1, |l| sample(l, 2, tx.clone())).is_some() {
            tokio::task::yield_now().await;
        }
        rx.recv().await.unwrap();
        assert_eq!(samplers.latest(&key).as_deref(), Some(&2));
    }
}
