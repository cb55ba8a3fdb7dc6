//! The faults: each one done for real, and each with the right answer to it, found without dbmedic.
//!
//! | fault | done by | the right answer |
//! | --- | --- | --- |
//! | a process holds the write lock and does nothing | [`hold_write_lock`] | end that process |
//! | a reader never ends, the log grows | [`read_without_end`] | end that process, checkpoint |
//! | an index disagrees with its table | [`damage_index`] | build the index again |
//! | a frame near the log's end is damaged | [`damage_wal`], near its end | keep the valid part, announce the rest |
//! | a frame early in the log is damaged | [`damage_wal`], early | leave all as it is, ask a person |

pub(crate) mod bystander;
pub(crate) mod index;
pub(crate) mod wal;

pub use bystander::{hold_write_lock, read_without_end};
pub use index::{DamagedCell, IndexDamage, damage_index};
pub use wal::{Fingerprint, WalDamage, WalPlace, damage_wal};
