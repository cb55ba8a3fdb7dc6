//! Roles: what a metric measures, told from its name, whatever exporter named it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Deviations;

/// The table that maps names to roles.
const TABLE: &str = include_str!("roles.toml");

/// The version of the table's format.
const VERSION: u32 = 1;

/// The role of a metric's name by the built-in table.
pub fn role_of(metric: &str) -> Option<String> {
    Roles::built_in().role(metric).map(str::to_owned)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Of the format.
    version: u32,
    role: Vec<Role>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    name: String,
    /// Patterns: words that must all be in a name, `a|b` for either. The pattern with the most
    /// words wins, the earlier of two alike.
    words: Vec<String>,
    /// Words of which none may be in a name.
    #[serde(default)]
    not: Vec<String>,
}

/// Maps names of metrics to roles.
#[derive(Debug, Clone)]
pub struct Roles {
    roles: Vec<Role>,
}

impl Roles {
    /// The built-in table.
    ///
    /// # Panics
    /// Never: a test reads the same table.
    pub fn built_in() -> Self {
        let table: Table = toml::from_str(TABLE).expect("a test reads it");
        assert_eq!(table.version, VERSION, "the format of the built-in table");
        Self { roles: table.role }
    }

    /// The role of a metric's name.
    pub fn role(&self, metric: &str) -> Option<&str> {
        let words = words(metric);
        let mut best: Option<(usize, &str)> = None;
        for role in &self.roles {
            if role.not.iter().any(|not| has(&words, not)) {
                continue;
            }
            for pattern in &role.words {
                let mut length = 0;
                let all = pattern.split_whitespace().all(|word| {
                    length += 1;
                    word.split('|').any(|either| has(&words, either))
                });
                if all && best.is_none_or(|(longest, _)| length > longest) {
                    best = Some((length, &role.name));
                }
            }
        }
        best.map(|(_, name)| name)
    }

    /// The strength of each role: that of its metric that moved most.
    pub(super) fn strengths(&self, seen: &Deviations) -> Deviations {
        let mut by_role: BTreeMap<String, f64> = BTreeMap::new();
        for (metric, strength) in seen.iter() {
            let Some(role) = self.role(metric) else {
                continue;
            };
            let most = by_role.entry(role.to_owned()).or_insert(0.0);
            if strength.abs() > most.abs() {
                *most = strength;
            }
        }
        by_role.into_iter().collect()
    }
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == wanted)
}

/// The words of a name in lower case: split at what is no letter or digit, and where a small letter
/// meets a capital one; a plural's `s` is dropped from words of four letters and more.
fn words(name: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut small_before = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (small_before && c.is_ascii_uppercase()) {
            all.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        small_before = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    all.push(word);
    all.retain(|word| !word.is_empty());
    for word in &mut all {
        if word.len() >= 4 && word.ends_with('s') && !word.ends_with("ss") {
            word.pop();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exporters_names_have_their_roles() {
        let roles = Roles::built_in();
        for (metric, role) in [
            // dstat, with a MySQL plug-in
            ("total_cpu_usage_usr", "cpu.user"),
            ("total_cpu_usage_wai", "cpu.iowait"),
            ("dsk_total_writ", "disk.write"),
            ("io_total_read", "disk.read_ops"),
            ("net_total_recv", "net.received"),
            ("memory_usage_free", "memory.free"),
            ("procs_blk", "cpu.blocked"),
            ("mysql5_conn_act", "connections.active"),
            ("mysql5_locks_locks", "lock.waits"),
            ("mysql5_all_readr", "rows.read"),
            ("mysql5_all_comm", "tx.commits"),
            // node exporter
            ("node_cpu_seconds_total{mode=\"user\"}", "cpu.user"),
            ("node_cpu_seconds_total{mode=\"iowait\"}", "cpu.iowait"),
            ("node_load1", "cpu.load"),
            ("node_disk_written_bytes_total", "disk.write"),
            ("node_disk_reads_completed_total", "disk.read_ops"),
            ("node_disk_io_time_seconds_total", "disk.busy"),
            ("node_network_receive_bytes_total", "net.received"),
            ("node_network_transmit_errs_total", "net.errors"),
            ("node_memory_MemAvailable_bytes", "memory.free"),
            ("node_vmstat_pswpin", "memory.swapping"),
            ("node_context_switches_total", "context.switches"),
            ("node_procs_running", "cpu.runnable"),
            // MySQL
            ("Threads_connected", "connections.open"),
            ("mysql_global_status_threads_running", "connections.active"),
            ("Innodb_row_lock_waits", "lock.waits"),
            ("Innodb_row_lock_time", "lock.time"),
            ("Innodb_rows_read", "rows.read"),
            ("Innodb_buffer_pool_reads", "reads.physical"),
            ("Innodb_buffer_pool_read_requests", "rows.read"),
            ("Innodb_buffer_pool_pages_dirty", "pages.dirty"),
            ("Innodb_os_log_written", "log.writes"),
            ("Handler_read_rnd_next", "scans.full"),
            ("Com_commit", "tx.commits"),
            ("Com_insert", "rows.inserted"),
            ("Questions", "queries"),
            ("Slow_queries", "query.slow"),
            ("Created_tmp_disk_tables", "temp.disk"),
            // PostgreSQL
            ("pg_stat_database_xact_commit", "tx.commits"),
            ("pg_stat_database_numbackends", "connections.open"),
            ("pg_stat_database_tup_inserted", "rows.inserted"),
            ("pg_stat_database_blks_read", "reads.physical"),
            ("pg_stat_database_deadlocks", "lock.deadlocks"),
            ("pg_stat_database_temp_bytes", "temp.disk"),
            (
                "pg_stat_activity_count{state=\"active\"}",
                "connections.active",
            ),
            ("pg_stat_user_tables_seq_scan", "scans.full"),
            ("pg_stat_wal_wal_bytes", "log.writes"),
            // Names in another spelling
            ("osCpuUser", "cpu.user"),
            ("cpuPercent", "cpu.busy"),
            ("commits_per_s", "tx.commits"),
            ("disk.write.bytes", "disk.write"),
        ] {
            assert_eq!(roles.role(metric), Some(role), "{metric}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_role() {
        let roles = Roles::built_in();
        for metric in [
            "m07",
            "",
            "total_cpu_usage_stl",
            "zones_memory_normf",
            "cpu",
            "time",
        ] {
            assert_eq!(roles.role(metric), None, "{metric}");
        }
    }

    #[test]
    fn a_role_is_as_strong_as_the_metric_that_moved_most() {
        let seen = [("node_load1", 0.5), ("load_1m", -2.0), ("m07", 4.0)];
        let seen = seen.into_iter().map(|(n, s)| (n.to_owned(), s)).collect();
        let by_role: Vec<_> = Roles::built_in()
            .strengths(&seen)
            .iter()
            .map(|(r, s)| (r.to_owned(), s))
            .collect();
        assert_eq!(by_role, [("cpu.load".to_owned(), -2.0)]);
    }
}
