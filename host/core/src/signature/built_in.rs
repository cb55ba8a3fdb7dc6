//! The signatures that need no learning, written on roles.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::Entry;
use super::{Movement, Signature, VERSION};

/// The signatures themselves.
const TABLE: &str = include_str!("built_in.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Of the format.
    version: u32,
    signature: Vec<BuiltIn>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltIn {
    name: String,
    summary: String,
    roles: BTreeMap<String, Entry>,
}

/// The built-in signatures; their metrics are roles.
///
/// # Panics
/// Never: a test reads the same table.
pub fn built_in() -> Vec<Signature> {
    let table: Table = toml::from_str(TABLE).expect("a test reads it");
    assert_eq!(
        table.version, VERSION,
        "the format of the built-in signatures"
    );
    table
        .signature
        .into_iter()
        .map(|s| Signature {
            name: s.name,
            summary: s.summary,
            episodes: 0,
            metrics: s
                .roles
                .into_iter()
                .map(|(role, entry)| (role, Movement::from(entry)))
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::signature::{Deviations, Origin, Roles, Signatures};

    #[test]
    fn every_role_of_a_signature_is_one_that_some_name_has() {
        let table = include_str!("roles.toml");
        for signature in built_in() {
            for role in signature.metrics.keys() {
                assert!(table.contains(&format!("name = \"{role}\"")), "{role}");
            }
        }
    }

    #[test]
    fn names_are_told_apart() {
        let all = built_in();
        let names: BTreeSet<_> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!((names.len(), all.len()), (9, 9));
    }

    /// A trouble that does just what its signature says is recognised by metrics' names of any
    /// exporter that the roles know.
    #[test]
    fn each_recognises_its_own_kind() {
        let names = [
            "cpu_percent",
            "cpu_user",
            "cpu_system",
            "cpu_idle",
            "cpu_iowait",
            "load1",
            "procs_running",
            "procs_blocked",
            "context_switches",
            "disk_read_bytes",
            "disk_write_bytes",
            "disk_reads_completed",
            "disk_writes_completed",
            "disk_utilization",
            "disk_await",
            "disk_queue",
            "net_recv",
            "net_sent",
            "net_errors",
            "memory_used",
            "memory_available",
            "swap_in",
            "pgscan",
            "threads_connected",
            "threads_running",
            "innodb_row_lock_waits",
            "innodb_row_lock_time",
            "deadlocks",
            "com_commit",
            "com_rollback",
            "questions",
            "query_p99",
            "innodb_rows_read",
            "innodb_rows_inserted",
            "innodb_rows_updated",
            "handler_read_rnd_next",
            "innodb_buffer_pool_reads",
            "innodb_buffer_pool_pages_dirty",
            "innodb_buffer_pool_pages_flushed",
            "innodb_os_log_written",
        ];
        let roles = Roles::built_in();
        for signature in built_in() {
            let seen: Deviations = names
                .iter()
                .map(|name| {
                    let role = roles
                        .role(name)
                        .unwrap_or_else(|| panic!("{name} has no role"));
                    let strength = signature.metrics.get(role).map_or(0.0, |m| m.strength);
                    ((*name).to_owned(), strength)
                })
                .collect();
            let ranking = Signatures::default().rank(&seen);
            let best = ranking.diagnosis().expect("a diagnosis");
            assert_eq!(best.name, signature.name, "{ranking:?}");
            assert_eq!(best.origin, Origin::BuiltIn);
            assert!(best.confidence > 0.7, "{ranking:?}");
        }
    }
}
