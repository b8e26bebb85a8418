//! Pure: lag, history and reachability to a verdict.
