//! End-to-end tests of dbmedic. One file a subject; what belongs there stands beside it.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise, in its helpers too"
)]

/// Policies that attack their host, and files that are no policies.
mod sandbox;
