//! Waiting for a condition instead of for a time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long anything may take that takes seconds on an idle machine. What comes sooner is not waited for; what a starved
/// machine delays is no fault of the product.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`; panics with the last `Err` when that takes longer than `limit`.
pub(crate) async fn eventually<T, E: Display>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(error) if begun.elapsed() >= limit => panic!("{what}: not within {limit:?}: {error}"),
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// As [`eventually`], for a condition that is true or false.
pub(crate) async fn until(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> bool) {
    eventually(what, limit, async || {
        if ask().await { Ok(()) } else { Err("it is not so") }
    })
    .await;
}
