//! The decisions of a log, one after the other, for who wants to know what happened.

use std::path::Path;
use std::sync::Arc;

use super::DecisionLogError;
use super::line::{Decided, Kind};
use super::reader;

/// Hands over each decision of a log. Lines that cannot be understood are left out: following the chain
/// tells of them.
///
/// # Errors
/// When the log cannot be read.
pub fn decisions(log: &Path, each: &mut dyn FnMut(Decided<'_>)) -> Result<(), DecisionLogError> {
    reader::read(log, &Arc::default(), &mut |line| {
        if line.head.kind == Kind::Decided
            && let Ok(decided) = serde_json::from_slice(line.head.value(line.text))
        {
            each(decided);
        }
        Ok::<_, DecisionLogError>(())
    })?;
    Ok(())
}
