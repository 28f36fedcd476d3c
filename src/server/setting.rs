//! The table of settings: each has one row here, and from it come its flag, its environment
//! variable, its place in the configuration file, its help and `config print`.

/// One setting of a node.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The table of the configuration file it stands in.
    pub(crate) section: &'static str,
    /// Its key there.
    pub(crate) key: &'static str,
    /// Its flag, without the dashes.
    pub(crate) flag: &'static str,
    /// What its value is called in the help.
    pub(crate) placeholder: &'static str,
    /// How its value is written in a file.
    pub(crate) kind: Kind,
    /// What holds when nobody says anything, as one would write it; empty: see the help.
    pub(crate) default: &'static str,
    /// One or two sentences.
    pub(crate) help: &'static str,
}

/// How a value is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In quotes.
    Text,
    /// Several texts, each in quotes; on the command line with commas between.
    List,
    /// Digits.
    Integer,
    /// `true` or `false`; as a flag its presence alone means true.
    Switch,
}

impl Setting {
    /// `section.key`, its name in messages.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// Its environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("SUNSTAR_{}_{}", self.section, self.key).to_ascii_uppercase()
    }
}

/// Where in [`SETTINGS`] the setting called `name` (`section.key`) stands.
pub(crate) fn position(name: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.name() == name)
}

/// All settings, in the order in which they are shown.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        section: "node",
        key: "id",
        flag: "node-id",
        placeholder: "ID",
        kind: Kind::Text,
        default: "n1",
        help: "This node's identity, for ever: n1, n2, …",
    },
    Setting {
        section: "node",
        key: "data_dir",
        flag: "data-dir",
        placeholder: "DIR",
        kind: Kind::Text,
        default: "sunstar-data",
        help: "Where log and snapshots live; made at the first start. Its file system must support \
               O_DIRECT (ext4 and xfs do, tmpfs does not)",
    },
    Setting {
        section: "network",
        key: "client_addr",
        flag: "client-addr",
        placeholder: "IP:PORT",
        kind: Kind::Text,
        default: "127.0.0.1:7400",
        help: "Listen here for clients",
    },
    Setting {
        section: "network",
        key: "peer_addr",
        flag: "peer-addr",
        placeholder: "IP:PORT",
        kind: Kind::Text,
        default: "127.0.0.1:7401",
        help: "Listen here for the other nodes",
    },
    Setting {
        section: "network",
        key: "admin_addr",
        flag: "admin-addr",
        placeholder: "IP:PORT",
        kind: Kind::Text,
        default: "127.0.0.1:7402",
        help: "Listen here for administration: HTTP /livez /readyz /health /status; `none` for \
               nowhere",
    },
    Setting {
        section: "cluster",
        key: "initial_nodes",
        flag: "initial-nodes",
        placeholder: "n1=PEER/CLIENT,…",
        kind: Kind::List,
        default: "",
        help: "The nodes of a new cluster, the same list on each: n1=host:7401/host:7400,n2=… with \
               the peer address, then the client address, as others reach them. Without it: a \
               cluster of this node alone",
    },
    Setting {
        section: "cluster",
        key: "join",
        flag: "join",
        placeholder: "HOST:PORT",
        kind: Kind::Text,
        default: "",
        help: "Join a cluster that runs, through the administration address of one of its nodes. With \
               its data directory there it just starts: the flag may stay",
    },
    Setting {
        section: "cluster",
        key: "join_as",
        flag: "join-as",
        placeholder: "PEER/CLIENT",
        kind: Kind::Text,
        default: "",
        help: "How others reach a node that joins, host:7401/host:7400. Default: where it listens",
    },
    Setting {
        section: "cluster",
        key: "name",
        flag: "cluster-name",
        placeholder: "NAME",
        kind: Kind::Text,
        default: "sunstar",
        help: "Part of the cluster's identity: clusters of different names never talk to each \
               other. Of no meaning with --join",
    },
    Setting {
        section: "cluster",
        key: "groups",
        flag: "groups",
        placeholder: "COUNT",
        kind: Kind::Integer,
        default: "",
        help: "Raft groups that the slots are split over, the same on each node; fixed at the \
               first start. Default: initial nodes × smp, as at the first start",
    },
    Setting {
        section: "reactor",
        key: "smp",
        flag: "smp",
        placeholder: "CORES",
        kind: Kind::Integer,
        default: "",
        help: "Cores to run on, each a thread with its own groups, log and keys; another number at \
               the next start moves groups between cores. Default: all of the cpuset",
    },
    Setting {
        section: "reactor",
        key: "cpuset",
        flag: "cpuset",
        placeholder: "CPUS",
        kind: Kind::Text,
        default: "",
        help: "CPUs to use, such as 0-3,8. Default: those this process is allowed",
    },
    Setting {
        section: "reactor",
        key: "memory",
        flag: "memory",
        placeholder: "SIZE",
        kind: Kind::Text,
        default: "",
        help: "Memory for keys, values and sessions, such as 2GiB; past it writes are refused. \
               Default: half of what this process may have",
    },
    Setting {
        section: "reactor",
        key: "overprovisioned",
        flag: "overprovisioned",
        placeholder: "BOOL",
        kind: Kind::Switch,
        default: "false",
        help: "Share the CPUs with others: no pinning, no busy polling",
    },
    Setting {
        section: "reactor",
        key: "idle_poll_time_us",
        flag: "idle-poll-time-us",
        placeholder: "US",
        kind: Kind::Integer,
        default: "200",
        help: "How long an idle core polls before it sleeps; 0 with --overprovisioned",
    },
    Setting {
        section: "reactor",
        key: "task_quota_ms",
        flag: "task-quota-ms",
        placeholder: "MS",
        kind: Kind::Integer,
        default: "10",
        help: "How long tasks run before I/O is looked at again; at least 10",
    },
    Setting {
        section: "reactor",
        key: "blocked_reactor_notify_ms",
        flag: "blocked-reactor-notify-ms",
        placeholder: "MS",
        kind: Kind::Integer,
        default: "200",
        help: "Log a core that did not get round for longer than this",
    },
    Setting {
        section: "raft",
        key: "election_timeout_ms",
        flag: "election-timeout-ms",
        placeholder: "MS",
        kind: Kind::Integer,
        default: "1000",
        help: "A replica without a leader for this long, up to twice, stands for election",
    },
    Setting {
        section: "raft",
        key: "heartbeat_interval_ms",
        flag: "heartbeat-interval-ms",
        placeholder: "MS",
        kind: Kind::Integer,
        default: "100",
        help: "How often a leader with nothing to say makes itself heard; at most a third of the \
               election timeout",
    },
    Setting {
        section: "raft",
        key: "lease_drift_percent",
        flag: "lease-drift-percent",
        placeholder: "PERCENT",
        kind: Kind::Integer,
        default: "0",
        help: "Read under the leader's lease, without asking a majority, and trust that no node's \
               clock runs faster than another's by more than this; 0: no leases. Clocks that were \
               seen to are not trusted, but one that begins to may show only after a stale read",
    },
    Setting {
        section: "storage",
        key: "log_segment_bytes",
        flag: "log-segment-bytes",
        placeholder: "SIZE",
        kind: Kind::Text,
        default: "64MiB",
        help: "Size of the log's segment files, each written with zeros before use; a multiple of \
               4KiB, at least 32MiB; another size at the next start has the logs written anew",
    },
    Setting {
        section: "logging",
        key: "level",
        flag: "log-level",
        placeholder: "LEVEL",
        kind: Kind::Text,
        default: "info",
        help: "error, warn, info, debug or trace; or filters such as info,sunstar::io=debug",
    },
    Setting {
        section: "logging",
        key: "format",
        flag: "log-format",
        placeholder: "FORMAT",
        kind: Kind::Text,
        default: "text",
        help: "text or json, to standard error",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_names_are_unique() {
        for (position, setting) in SETTINGS.iter().enumerate() {
            for other in &SETTINGS[position + 1..] {
                assert_ne!(setting.name(), other.name());
                assert_ne!(setting.flag, other.flag);
            }
        }
    }
}
