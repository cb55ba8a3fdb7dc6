//! The databases under care. One module for each kind.

pub mod sqlite;
