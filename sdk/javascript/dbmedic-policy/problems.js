/**
 * Typed views of the problems that the host knows today.
 *
 * Made by sdk/generate.py from sdk/rust/src/problems.rs; not to be changed by hand. Every fact may be null, because
 * kinds and facts come and go without the contract changing. A kind that is not listed is null, never an error.
 */
/** The facts of every known kind, with what they are read as. */
export const FACTS = {
    "lock.stale-holder": {
        holder_pid: "count",
        holder_name: "text",
        holder_stopped: "flag",
        holder_lock: "text",
        age_ms: "count",
        found_held_ms: "count",
        holder_cpu_ms: "count",
        commits_during_hold: "count",
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
        concurrent_operations: "count",
        waiting_processes: "count",
        writer_waits: "flag",
        writer_pid: "count",
        writer_name: "text",
        holder_may_be_ended: "flag",
    },
    "lock.long-holder": {
        holder_pid: "count",
        holder_name: "text",
        holder_outside: "flag",
        holder_lock: "text",
        age_ms: "count",
        holder_cpu_ms: "count",
        writer_waits: "flag",
        writer_pid: "count",
        writer_name: "text",
    },
    "wal.checkpoint-starved": {
        wal_bytes: "count",
        backlog_frames: "count",
        reader_pid: "count",
        reader_name: "text",
        reader_stopped: "flag",
        reader_age_ms: "count",
        reader_idle_ms: "count",
        reader_outside: "flag",
        reader_on_purpose: "flag",
        reader_holds: "count",
        reader_longest_ms: "count",
        pinned_frames: "count",
        dbmedic_reads: "flag",
        reader_may_be_ended: "flag",
    },
    "wal.oversized": {
        wal_bytes: "count",
        backlog_frames: "count",
        dbmedic_reads: "flag",
    },
    "wal.corrupt-frame": {
        first_bad_frame: "count",
        total_frames: "count",
        last_commit_frame: "count",
        commits_lost: "count",
        commits_kept: "count",
        percent_lost: "number",
        has_recent_snapshot: "flag",
    },
    "index.corrupt": {
        index: "text",
        table: "text",
        table_clean: "flag",
        faults: "count",
        rebuildable: "flag",
        missing_entries: "count",
        removable_entries: "count",
        expected_lock_ms: "count",
    },
    "index.disagrees-with-row": {
        index: "text",
        table: "text",
        disagreements: "count",
        column: "text",
        row_bytes: "count",
        entry_bytes: "count",
        missing_entries: "count",
    },
    "fulltext.corrupt": {
        table: "text",
        module: "text",
        content: "text",
        content_sound: "flag",
        rebuildable: "flag",
        documents_without_text: "count",
        faults: "count",
    },
    "virtual-table.corrupt": {
        table: "text",
        module: "text",
    },
    "virtual-table.broken": {
        table: "text",
        module: "text",
        missing: "text",
    },
    "rule.check": {
        table: "text",
        rows: "count",
    },
    "rule.not-null": {
        table: "text",
        columns: "text",
        rows: "count",
    },
    "rule.type": {
        table: "text",
        columns: "text",
        rows: "count",
    },
    "rule.unique": {
        table: "text",
        index: "text",
        keys: "count",
        rows: "count",
        rowids: "text",
    },
    "rule.foreign-key": {
        table: "text",
        columns: "text",
        parent: "text",
        rows: "count",
    },
    "table.corrupt": {
        table: "text",
        faults: "count",
        sound_tables: "count",
    },
    "schema.corrupt": {},
    "schema.broken-entry": {
        entry: "text",
        entry_type: "text",
        table: "text",
        others_sound: "flag",
        removable: "flag",
        removal: "text",
    },
    "pages.corrupt": {
        faults: "count",
    },
    "file.missing": {
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.truncated": {
        expected_pages: "count",
        actual_pages: "count",
    },
    "file.not-a-database": {
        other_pages_sound: "flag",
    },
    "journal.hot": {
        journal_bytes: "count",
    },
    "file.emptied": {
        wal_bytes: "count",
        wal_commits: "count",
        journal_bytes: "count",
        bytes_before: "count",
        held_beside: "flag",
        had_content: "flag",
        same_file: "flag",
        in_use: "flag",
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.empty": {},
    "schema.emptied": {
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.replaced": {
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.linked": {
        links: "count",
        mounted_alone: "flag",
        in_use: "flag",
    },
    "file.unlinked": {
        holder_pid: "count",
        holder_name: "text",
        descriptor: "count",
        holders: "count",
    },
    "wal.unlinked": {
        holder_pid: "count",
        holder_name: "text",
        descriptor: "count",
        holders: "count",
    },
    "wal.elsewhere": {
        holder_pid: "count",
        holder_name: "text",
        holders: "count",
    },
    "lock.lost": {
        holder_pid: "count",
        holder_name: "text",
        descriptor: "count",
        holders: "count",
    },
    "wal.foreign": {
        evidence: "text",
        proven: "flag",
        file_sound: "flag",
        wal_bytes: "count",
        wal_commits: "count",
    },
    "journal.foreign": {
        evidence: "text",
        file_sound: "flag",
        journal_bytes: "count",
    },
    "target.not-judgeable": {
        reason: "text",
        reserved_bytes: "count",
        write_version: "count",
        read_version: "count",
    },
    "target.unreachable": {
        reason: "text",
    },
    "constraint.violated": {
        constraint: "text",
        metric: "text",
        value: "number",
        bound: "number",
        utilization: "number",
        auto_fix: "flag",
    },
    "anomaly.unexplained": {
        series: "text",
        confidence: "number",
        series_count: "count",
        anomalies_last_minute: "count",
        error_anomalies_last_minute: "count",
        signature_best: "text",
        signature_confidence: "number",
        signature_second: "text",
        signature_second_confidence: "number",
        signature_none: "number",
    },
};
/** The typed view of a finding; null for a kind that is not known here. A fact of another type is null. */
export function problemOf(finding) {
    const known = finding === null ? undefined : FACTS[finding.kind];
    if (finding === null || known === undefined) {
        return null;
    }
    const view = { kind: finding.kind };
    for (const [name, type] of Object.entries(known)) {
        const field = name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
        const value = finding.facts.find((fact) => fact.name === name)?.value;
        view[field] = value === undefined ? null : READ[type](value);
    }
    return view;
}
const READ = {
    count: (value) => (value.tag === "integer" && value.val >= 0 ? value.val : null),
    number: (value) => (value.tag === "integer" || value.tag === "number" ? value.val : null),
    flag: (value) => (value.tag === "boolean" ? value.val : null),
    text: (value) => (value.tag === "text" ? value.val : null),
};
