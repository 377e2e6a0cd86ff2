//! Which settings of PostgreSQL a reload does for, and which of Redis can be set while it runs.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::place::At;
use super::raw;

/// Why a setting is not taken, and what to do.
type Refusal = (&'static str, &'static str);

/// Returns settings by name; those that are refused, or have no value of one line, are findings of this code.
pub(super) fn settings<'a, K: 'a>(
    written: impl Iterator<Item = (&'a At<K>, &'a At<raw::Scalar>)>,
    name_of: impl Fn(&K) -> &String,
    (code, refused): (&str, fn(&str) -> Option<Refusal>),
    findings: &mut Findings<'_>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (at, value) in written {
        let name = name_of(&at.value);
        if let Some((why, hint)) = refused(name) {
            findings.error_at(code, at, format!("`{name}` {why}"), hint);
        }
        if value.value.0.chars().any(char::is_control) {
            findings.error_at(code, value, format!("the value of `{name}` is one line"), "take the line's end out");
        }
        all.insert(name.clone(), value.value.0.clone());
    }
    all
}

/// Settings that take a new start of the server.
///
/// # Source
/// PostgreSQL 13 to 18: `pg_settings` where `context` is `postmaster`. Of a setting that is not here the server itself is asked.
const STARTS: [&str; 64] = [
    "archive_mode",
    "autovacuum_freeze_max_age",
    "autovacuum_max_workers",
    "autovacuum_multixact_freeze_max_age",
    "autovacuum_worker_slots",
    "bonjour",
    "bonjour_name",
    "cluster_name",
    "commit_timestamp_buffers",
    "config_file",
    "data_directory",
    "data_sync_retry",
    "debug_io_direct",
    "dynamic_shared_memory_type",
    "event_source",
    "external_pid_file",
    "hba_file",
    "hot_standby",
    "huge_page_size",
    "huge_pages",
    "ident_file",
    "io_max_combine_limit",
    "io_max_concurrency",
    "io_method",
    "jit_provider",
    "listen_addresses",
    "logging_collector",
    "max_active_replication_origins",
    "max_connections",
    "max_files_per_process",
    "max_locks_per_transaction",
    "max_logical_replication_workers",
    "max_notify_queue_pages",
    "max_pred_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "min_dynamic_shared_memory",
    "multixact_member_buffers",
    "multixact_offset_buffers",
    "notify_buffers",
    "old_snapshot_threshold",
    "port",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_timeline",
    "reserved_connections",
    "serializable_buffers",
    "shared_buffers",
    "shared_memory_type",
    "shared_preload_libraries",
    "subtransaction_buffers",
    "superuser_reserved_connections",
    "track_activity_query_size",
    "track_commit_timestamp",
    "transaction_buffers",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "wal_buffers",
    "wal_decode_buffer_size",
    "wal_level",
    "wal_log_hints",
];

/// Settings that are lists of names, which one text cannot say.
const LISTS: [&str; 4] = ["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"];

/// Returns why a setting is not changed by a reload, and what to do.
pub(super) fn refused(name: &str) -> Option<Refusal> {
    let in_command = "say it in the service's `command`, as `-c name=value`: the plan shows the new start";
    if STARTS.contains(&name) {
        return Some(("takes a new start of the server", in_command));
    }
    LISTS.contains(&name).then_some(("is a list of names", in_command))
}

/// Settings of Redis that take a new start of it.
///
/// # Source
/// `src/config.c` of Redis 6 to 8: those that are immutable, those that are protected, and directives that are none of `CONFIG`'s. Of a
/// setting that is not here the server itself is asked.
const STARTS_OF_REDIS: [&str; 38] = [
    "aclfile",
    "always-show-logo",
    "aof_rewrite_cpulist",
    "appenddirname",
    "appendfilename",
    "bgsave_cpulist",
    "bio_cpulist",
    "cluster-config-file",
    "cluster-enabled",
    "daemonize",
    "databases",
    "dbfilename",
    "dir",
    "disable-thp",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "include",
    "io-threads",
    "io-threads-do-reads",
    "loadmodule",
    "logfile",
    "pidfile",
    "rdbchecksum",
    "rename-command",
    "replicaof",
    "server_cpulist",
    "set-proc-title",
    "slaveof",
    "supervised",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "tcp-backlog",
    "unixsocket",
    "unixsocketperm",
    "use-exit-on-panic",
    "user",
];

/// Settings of Redis that are passwords.
const PASSWORDS_OF_REDIS: [&str; 5] =
    ["masterauth", "masteruser", "requirepass", "tls-client-key-file-pass", "tls-key-file-pass"];

/// Returns why a setting of Redis is not set while it runs, and what to do.
pub(super) fn refused_by_redis(name: &str) -> Option<Refusal> {
    if STARTS_OF_REDIS.contains(&name) {
        let hint = "say it in its `redis.conf` or its `command`: the plan shows the new start";
        return Some(("is not set while Redis runs", hint));
    }
    let hint = "say it in its `redis.conf`, by `{{ secrets.NAME }}`";
    PASSWORDS_OF_REDIS.contains(&name).then_some(("is a secret, and settings are shown", hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_34_what_takes_a_new_start_is_told_from_what_a_reload_does_for() {
        for name in ["max_connections", "shared_buffers", "wal_level", "search_path"] {
            assert!(refused(name).is_some(), "{name}");
        }
        for name in ["work_mem", "log_min_duration_statement", "random_page_cost", "auto_explain.log_min_duration"] {
            assert_eq!(refused(name), None);
        }
        assert!(STARTS.is_sorted() && LISTS.is_sorted());
        for name in ["databases", "dir", "requirepass"] {
            assert!(refused_by_redis(name).is_some(), "{name}");
        }
        for name in ["maxmemory", "maxmemory-policy", "save", "appendonly"] {
            assert_eq!(refused_by_redis(name), None);
        }
        assert!(STARTS_OF_REDIS.is_sorted() && PASSWORDS_OF_REDIS.is_sorted());
    }
}
