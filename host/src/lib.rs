//! dbmedic keeps databases healthy: it watches them, learns what is normal, notices what is not,
//! and repairs what can be repaired safely. What a problem means is decided by a sandboxed
//! WebAssembly policy.

pub mod diagnose;
pub mod guard;
pub mod model;
pub mod policy;
pub mod source;
pub mod target;
