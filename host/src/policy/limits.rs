//! What a policy may use. Resources are configured; the bounds of an answer belong to the
//! contract and are constants, so that a recording is judged the same everywhere.

use serde::{Deserialize, Serialize};

use super::RuntimeError;

/// What stands between two decisions of one policy. Two policies, or two targets, never share an
/// instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Each decision gets an instance of its own.
    #[default]
    Fresh,
    /// Decisions on one target share an instance. About half the time of a decision is saved; a
    /// policy that keeps something outside of its `memory` then shows it.
    Reused {
        /// Decisions after which the instance is replaced, 1 at least. A failure replaces it at
        /// once.
        recycle_after: u32,
    },
}

/// The resources that policies may use. Every limit holds for each call on its own. One
/// [`super::Runtime`] has one set of limits: a policy that needs others gets a runtime of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// What stands between two decisions.
    pub isolation: Isolation,
    /// Wall-clock time for one decision, milliseconds. A good policy needs well under one.
    pub deadline_ms: u64,
    /// Wall-clock time for starting, describing and configuring, each, milliseconds.
    pub start_deadline_ms: u64,
    /// Linear memory of one instance, all its memories together, MiB.
    pub memory_mib: usize,
    /// Instances at the same time, those kept for reuse included: the decisions that may run at
    /// once.
    pub max_instances: u32,
    /// Core instances of one component; Python brings some ten.
    pub core_instances: u32,
    /// Memories of one component.
    pub memories: u32,
    /// Tables of one component.
    pub tables: u32,
    /// Elements of one table; a JavaScript or Python engine needs some ten thousand.
    pub table_elements: usize,
    /// The stack of one call, KiB. It is part of the calling thread's stack.
    pub stack_kib: usize,
    /// Bytes that the host copies for one answer or one argument of an import. A full answer
    /// within the contract's bounds stays below 1 MiB.
    pub hostcall_fuel: usize,
    /// Fuel for one decision, about one unit for each instruction: a limit that is the same on
    /// every machine, unlike `deadline_ms`. None: not counted, which saves a tenth of the time.
    pub fuel: Option<u64>,
    /// The largest component that is compiled, MiB.
    pub component_mib: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            isolation: Isolation::Fresh,
            deadline_ms: 50,
            start_deadline_ms: 1000,
            memory_mib: 16,
            max_instances: 8,
            core_instances: 64,
            memories: 4,
            tables: 16,
            table_elements: 20_000,
            stack_kib: 256,
            hostcall_fuel: 1 << 20,
            fuel: None,
            component_mib: 64,
        }
    }
}

impl Limits {
    /// The names follow the fields, so that the message leads to the line of the configuration.
    pub(super) fn check(&self) -> Result<(), RuntimeError> {
        // 4 GiB is all that 32 bits address; a thread's stack is 2 MiB by default, and the host
        // needs its own part of it.
        let recycle_after = match self.isolation {
            Isolation::Fresh => 1,
            Isolation::Reused { recycle_after } => recycle_after,
        };
        let rules = [
            (
                "recycle_after",
                u64::from(recycle_after),
                1,
                u64::from(u32::MAX),
            ),
            ("deadline_ms", self.deadline_ms, 1, 60_000),
            ("start_deadline_ms", self.start_deadline_ms, 1, 600_000),
            ("memory_mib", self.memory_mib as u64, 1, 4096),
            ("max_instances", u64::from(self.max_instances), 1, 1000),
            ("core_instances", u64::from(self.core_instances), 1, 1000),
            ("memories", u64::from(self.memories), 1, 16),
            ("tables", u64::from(self.tables), 1, 100),
            ("table_elements", self.table_elements as u64, 1, 1 << 20),
            ("stack_kib", self.stack_kib as u64, 16, 1024),
            ("hostcall_fuel", self.hostcall_fuel as u64, 1 << 16, 1 << 30),
            ("fuel", self.fuel.unwrap_or(1), 1, u64::MAX),
            ("component_mib", self.component_mib as u64, 1, 1024),
        ];
        for (name, value, least, most) in rules {
            if !(least..=most).contains(&value) {
                return Err(RuntimeError::Limit {
                    name,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_unknown_fields_are_refused() {
        assert!(Limits::default().check().is_ok());
        let limits: Limits = serde_json::from_str(r#"{"memory_mib": 32}"#).unwrap();
        assert_eq!(limits.memory_mib, 32);
        assert_eq!(limits.deadline_ms, Limits::default().deadline_ms);
        assert!(serde_json::from_str::<Limits>(r#"{"memory_mb": 32}"#).is_err());
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let limits = Limits {
            stack_kib: 1 << 20,
            ..Limits::default()
        };
        let error = limits.check().unwrap_err();
        assert!(error.to_string().contains("stack_kib"), "{error}");
    }
}
