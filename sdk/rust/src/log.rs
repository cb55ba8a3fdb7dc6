//! The policy's own notes, for the host's log. They never change a decision.
//!
//! Natively there is no host: the notes go to [`testing::notes`](crate::testing::notes).

pub use crate::generated::dbmedic::policy::log::LogLevel;

/// Writes one line. The host keeps the first 64 lines of a call and 1 KiB of each.
pub fn write(level: LogLevel, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::generated::dbmedic::policy::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::note(level, message);
}

/// A note for the policy's author.
pub fn debug(message: &str) {
    write(LogLevel::Debug, message);
}

/// A note for the operator.
pub fn info(message: &str) {
    write(LogLevel::Info, message);
}

/// Something is odd.
pub fn warn(message: &str) {
    write(LogLevel::Warn, message);
}

/// Something is wrong.
pub fn error(message: &str) {
    write(LogLevel::Error, message);
}
