//! What every controller shares: context, server-side apply, backoff, events, leader election, step outcomes.
