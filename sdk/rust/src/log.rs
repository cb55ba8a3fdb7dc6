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

/// What a panic says, and where: `index out of bounds: the len is 0 but the index is 3 at src/lib.rs:24`.
#[cfg(all(target_arch = "wasm32", feature = "panic-log"))]
pub(crate) fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("it panicked");
    match panic.location() {
        Some(place) => error(&format!("{what} at {}:{}", place.file(), place.line())),
        None => error(what),
    }
}

/// A note for the operator, as for `format!`. What `println!` writes in a component reaches nobody.
///
/// ```
/// dbmedic_policy::note!("{} locks are old", 3);
/// let notes = dbmedic_policy::testing::notes();
/// assert_eq!(notes[0].1, "3 locks are old");
/// ```
#[macro_export]
macro_rules! note {
    ($($text:tt)+) => {
        $crate::log::info(&::std::format!($($text)+))
    };
}
