//! End-to-end tests of dbmedic. One file a subject; what belongs there stands beside it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, in its helpers too"
)]

/// Anomalies in the pipeline: incidents of their own, surges, and what was learned before.
mod anomalies;

/// What a person's approval lets happen, and what it does not.
mod approval;

/// Arbitrary verdicts through a real component, up to the guard.
mod arbitrary;

/// The direction of imports in host/src, and who may make what.
mod architecture;

/// Programs at work that look idle.
mod at_work;

/// Hostile components, one file each, and how each ends.
mod attacks;

/// Command lines, configurations, policies, targets and state that are wrong.
mod bad_input;

/// A policy that begins to fail in service: who decides then, and when it is tried again.
mod breaker;

/// The binary under test, and real databases to do harm to.
mod common;

/// What keeps decisions apart, what is counted, and when a policy is out of service.
mod containment;
/// The versions of the contract side by side.
mod contract;

/// Every decision in a chained log: kept, replayed, compared, tampered with.
mod decision_log;

/// The example of an engine that embeds dbmedic.
mod embedded;

/// Each fault by hand: `check`, `repair`, `repair --apply`.
mod faults;

/// A backup that was copied over a database beside its old log.
mod foreign_log;

/// What the fuzz command tries, a little of each kind.
mod fuzz;

/// How policies come into service: signatures, refusals, shadow, probation, watching, restart.
mod gate;

/// How healthy a target is: the levels rolled up, told and kept.
mod health;

/// A table of conditions, asserted at each moment at which one begins or ceases to fire.
mod alerts;

/// What findings say beside their summaries: the host's, the SDKs' and the manual's.
mod facts;

/// dbmedic is killed at each step of each repair and started again.
mod kills;

/// Where a gentler act, or none, is right.
mod left_alone;

/// Policies in each language: made, built, checked, tested and swapped.
mod languages;

/// `run` in its three modes, approving, stopping.
mod live;

/// Busy neighbours of a database: nobody is ended but who is in the way.
mod neighbours;

/// Denials, acknowledgements, silences and maintenance windows, in the pipeline.
mod people;

/// The same through the command line, to a dbmedic that runs and to one that does not.
mod people_command;

/// A policy's memory: its own over swaps, rollbacks, new keys and restarts.
mod memory;

/// `dbmedic policy test`: a policy's cases, and the default policy under its own.
mod policy_cases;

/// What `policy test` does beside: timelines, captured and rewritten cases, coverage.
mod case_commands;

/// The manual of test cases: its examples pass, and it names every key.
mod case_docs;

/// `policy fuzz` and `policy test --mutate`.
mod policy_harm;

/// `recording show`, `cut`, `join` and `anonymise`.
mod recordings;

/// A running dbmedic reads its configuration again, and goes on when its state directory vanishes.
mod reload;

/// The whole demo, its recording replayed, and damaged recordings.
mod replay;

/// Checks of a database that others use.
mod in_use;

/// Locks of SQLite's default mode: who is in the way, and who is not.
mod rollback_locks;
mod row_values;

/// The policy whose rules stand in its parameters.
mod rules;

/// Policies that attack their host, and files that are no policies.
mod sandbox;

/// The state on disk: taken over from the version before, damaged, lost.
mod state;

/// A thousand swaps under load, with bad candidates among them.
mod swaps;

/// `dbmedic policy` on the command line, against a dbmedic that runs.
mod policy_command;

/// A pipeline under load with a gate beside it, for the tests of both.
mod ward;

/// Anomalies compared with the signatures: what a finding says of it, and at replay.
mod pattern;

/// `learn` and `diagnose`: what they print, keep and refuse.
mod signatures;

/// Many databases in one process, one of them on a file system that stops to answer.
mod targets;

/// Tables of telemetry from outside: `detect` and `import`, live pipes among them.
mod tables;

/// What is believed because of where it lies: state directories, configurations and policies that
/// others could have planted.
mod trust;

/// Names and texts from outside that a terminal would obey, through every command.
mod hostile_text;
