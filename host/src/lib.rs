//! dbmedic keeps databases healthy: it watches them, learns what is normal, notices what is not,
//! and repairs what can be repaired safely. What a problem means is decided by a sandboxed
//! WebAssembly policy.

pub use dbmedic_core::{
    admission, baseline, constraint, detect, diagnose, escape, guard, health, incident, model,
    pattern, pipeline, repair, series, signature, source, sqlite_state,
};

pub mod assemble;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod decision_log;
pub mod demo;
pub mod digest;
pub mod document;
pub mod embedded;
pub mod gate;
pub mod live;
pub mod logging;
pub mod operations;
pub mod own_dir;
pub mod path_trust;
pub mod policy;
pub mod policy_component;
pub mod policy_project;
pub mod policy_tests;
pub mod recording;
pub mod regular_file;
pub mod repair_run;
pub mod replay;
pub mod report;
pub mod resources;
pub mod row_values;
pub mod signature_dir;
pub mod signing;
pub mod sqlite;
pub mod state_dir;
pub mod store;
pub mod table;
pub mod watch;
