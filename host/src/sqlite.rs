//! SQLite: looks at database files and their companions, checks, copies and repairs them.
//!
//! The four files (database, `-wal`, `-shm`, `-journal`) belong together. They are only ever opened in
//! worker processes, which have the rights of the database's owner: see [`worker`].

pub mod activity;
pub mod backup;
pub mod beside;
mod btree;
pub mod connection;
pub mod contents;
pub mod copies;
pub mod files;
mod hidden_uses;
mod inspect;
pub mod integrity;
pub mod libraries;
pub mod locks;
pub mod look;
pub mod numbers;
mod openers;
mod own_lock;
mod probe;
pub mod probe_transaction;
pub mod raw;
pub mod repairs;
pub mod set_aside;
#[cfg(test)]
mod set_tests;
pub mod snapshot;
pub mod sql;
pub mod trail;

pub mod wal;
pub mod wal_index;
pub mod whole;
pub mod worker;
pub mod writers;
