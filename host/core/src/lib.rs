//! What dbmedic thinks, without any I/O: records, baselines, detection, diagnosis, incidents, the guard
//! and the pipeline that they make up.
//!
//! Nothing here reads a clock, a file or a database, and nothing draws a random number that is not
//! seeded: time arrives in events, and what is to be done leaves as effects. So the same events give the
//! same effects, live, in a replay and in a simulation.
//!
//! [`pipeline::Pipeline::step`] is the way in. It hands an observation ([`source`]) to [`baseline`] and
//! [`detect`], asks [`diagnose`] which problem it is, follows it in [`incident`], asks the policies
//! ([`policy`]) what it means, and [`guard`] whether the repair that they chose may begin.

pub mod admission;
pub mod baseline;
pub mod constraint;
pub mod detect;
pub mod diagnose;
pub mod escape;
pub mod guard;
pub mod health;
pub mod incident;
pub mod model;
pub mod pattern;
pub mod pipeline;
pub mod policy;
pub mod repair;
pub mod series;
pub mod signature;
pub mod source;
pub mod sqlite_state;
