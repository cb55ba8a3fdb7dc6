//! Names what ended a call of a policy.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::answer::cut;
use super::sandbox::State;
use super::{Limits, PolicyFailure};

/// Frames of a backtrace that are kept.
pub(super) const FRAMES: usize = 16;
/// Longest name of a function in it, bytes: the policy's author chose it.
const FUNCTION_BYTES: usize = 256;

/// Names what ended a call. By the engine's types, never by its words.
pub(super) fn of_call(error: &wasmtime::Error, state: &State, limits: &Limits) -> PolicyFailure {
    let memory = PolicyFailure::Memory {
        limit_mib: limits.memory_mib,
    };
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => PolicyFailure::Deadline {
            limit_ms: state.limit_ms,
        },
        Some(Trap::OutOfFuel) => PolicyFailure::Fuel {
            limit: limits.fuel.unwrap_or_default(),
        },
        Some(Trap::StackOverflow) => PolicyFailure::Stack {
            limit_kib: limits.stack_kib,
        },
        // What an allocator does that was given no memory.
        Some(Trap::UnreachableCodeReached) if state.memory.denied => memory,
        Some(
            trap @ (Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::InvalidChar
            | Trap::UnalignedPointer),
        ) => PolicyFailure::Unreadable {
            detail: trap.to_string(),
        },
        Some(trap) => PolicyFailure::Trap {
            trap: trap.to_string(),
            backtrace: backtrace(error),
        },
        None if error.is::<PoolConcurrencyLimitError>() => PolicyFailure::Busy {
            limit: limits.max_instances,
        },
        // An instance whose first memory is already too large.
        None if state.memory.denied => memory,
        None => PolicyFailure::Unreadable {
            detail: error.root_cause().to_string(),
        },
    }
}

/// Functions and offsets in the component: the same on every machine, unlike addresses.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames)
        .iter()
        .take(FRAMES)
        .map(|frame| {
            let function = frame.func_name().map_or_else(
                || format!("function {}", frame.func_index()),
                |name| cut(name.to_owned(), FUNCTION_BYTES),
            );
            let offset = frame.func_offset().unwrap_or_default();
            format!("{function} +{offset:#x}")
        })
        .collect()
}
