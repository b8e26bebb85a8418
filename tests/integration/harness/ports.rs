//! Ports for the servers that tests start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes one between our choosing it and
/// the server's binding it.
const FIRST: u32 = 12_000;
const SLICE: u32 = 100;
const SLICES: u32 = 200;

/// A free port of 127.0.0.1. Processes draw from different slices, so that test runs side by side do not meet.
pub(crate) fn free_port() -> u16 {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..SLICE * SLICES {
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let slice = (std::process::id() + drawn / SLICE * 37) % SLICES;
        let port = u16::try_from(FIRST + slice * SLICE + drawn % SLICE).expect("below 32768");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + SLICE * SLICES);
}
