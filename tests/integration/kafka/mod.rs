//! The room `kafka` against real brokers.

mod faults;
mod positions;
mod security;
mod wire;
