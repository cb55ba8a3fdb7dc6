//! The bounds of an answer. They belong to the contract and are constants, so that a recording is judged
//! the same everywhere.

/// Longest [`crate::model::Verdict::memory`], bytes.
pub const MEMORY_BYTES: usize = 16 * 1024;
/// Longest packed settings, bytes.
pub const SETTINGS_BYTES: usize = 16 * 1024;
/// Most alerts, reasons, suggestions, or errors of settings in one answer.
pub const ITEMS: usize = 64;
/// Longest text in an answer, bytes.
pub const TEXT_BYTES: usize = 4 * 1024;
/// The longest text that an operator may set, bytes: a document of rules is one.
pub const SETTING_TEXT_BYTES: usize = 128 * 1024;
/// Longest name of a rule or of anything else that machines compare, bytes.
pub const RULE_BYTES: usize = 128;
/// Most lines of the log kept of one call.
pub const LOG_LINES: usize = 64;
/// Longest line of the log, bytes.
pub const LOG_LINE_BYTES: usize = 1024;
/// Most points that one question for recent points is answered with.
pub const RECENT_POINTS: usize = 512;
