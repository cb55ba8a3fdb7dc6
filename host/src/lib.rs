//! dbmedic keeps databases healthy: it watches them, learns what is normal, notices what is not,
//! and repairs what can be repaired safely. What a problem means is decided by a sandboxed
//! WebAssembly policy.

pub mod assemble;
pub mod baseline;
pub mod cli;
pub mod clock;
pub mod config;
pub mod constraint;
pub mod demo;
pub mod detect;
pub mod diagnose;
pub mod digest;
pub mod gate;
pub mod guard;
pub mod incident;
pub mod journal;
pub mod live;
pub mod model;
pub mod pipeline;
pub mod policy;
pub mod recording;
pub mod repair;
pub mod replay;
pub mod report;
pub mod series;
pub mod signature;
pub mod signing;
pub mod snapshot;
pub mod source;
pub mod state_dir;
pub mod table;
pub mod target;
pub mod watch;
