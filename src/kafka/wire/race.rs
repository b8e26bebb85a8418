//! Several ways to the same end: the next is tried when one failed or is slow (RFC 8305, "happy eyeballs").

use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

/// How long an attempt may go on alone before the next one is started beside it.
pub(super) const STAGGER: Duration = Duration::from_millis(500);

/// The first success; the others are dropped. All errors, in the order in which they came, when none succeeds.
pub(super) async fn first_ok<T, E, F>(attempts: impl IntoIterator<Item = F>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        let outcome = match waiting.next() {
            Some(attempt) => {
                running.push(attempt);
                match tokio::time::timeout(STAGGER, running.next()).await {
                    Ok(outcome) => outcome,
                    Err(_) => continue,
                }
            }
            None => running.next().await,
        };
        match outcome {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => errors.push(error),
            None => return Err(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{BoxFuture, FutureExt as _, pending};
    use tokio::time::{Instant, sleep};

    use super::*;

    type Attempt = BoxFuture<'static, Result<u8, u8>>;

    fn after(ms: u64, result: Result<u8, u8>) -> Attempt {
        async move {
            sleep(Duration::from_millis(ms)).await;
            result
        }
        .boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_first_way_costs_one_stagger() {
        let begun = Instant::now();
        assert_eq!(first_ok([pending().boxed(), after(10, Ok(2))]).await, Ok(2));
        assert_eq!(begun.elapsed(), STAGGER + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let begun = Instant::now();
        assert_eq!(first_ok([after(5, Err(1)), after(10, Ok(2))]).await, Ok(2));
        assert_eq!(begun.elapsed(), Duration::from_millis(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_way_may_still_win() {
        assert_eq!(first_ok([after(700, Ok(1)), after(900, Ok(2))]).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn all_errors_come_back_when_nothing_works() {
        assert_eq!(
            first_ok([after(5, Err(1)), after(5, Err(2))]).await,
            Err(vec![1, 2])
        );
        assert_eq!(first_ok(Vec::<Attempt>::new()).await, Err(vec![]));
    }
}
