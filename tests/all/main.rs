//! End-to-end tests of dbmedic. One file a subject; what belongs there stands beside it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, in its helpers too"
)]

/// The binary under test, and real databases to do harm to.
mod common;

/// dbmedic is killed at each step of each repair and started again.
mod kills;

/// Policies that attack their host, and files that are no policies.
mod sandbox;
