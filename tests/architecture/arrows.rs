//! Which module may name which, and what only some may name. The map is that of
//! `ARCHITECTURE.md`; whoever adds a module adds its row here.

use crate::source::{Named, SourceFile, named_paths};

/// A module and the modules it may import. Whatever is absent is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("raft", &["base"]),
    ("merge", &["base"]),
    ("wal", &["base"]),
    ("wire", &["base"]),
    ("peering", &["base", "wire"]),
    ("kv", &["base"]),
    ("placement", &["base"]),
    ("reactor", &["base", "raft", "merge", "wal", "wire", "kv", "placement"]),
    ("io", &["base", "raft", "merge", "wal", "wire", "peering", "kv", "placement", "reactor"]),
    ("history", &["base"]),
    ("client", &["base", "wire", "placement", "history"]),
    (
        "sim",
        &[
            "base",
            "raft",
            "wal",
            "wire",
            "peering",
            "kv",
            "placement",
            "reactor",
            "client",
            "history",
        ],
    ),
    ("load", &["base", "wire", "placement", "client", "history"]),
    ("server", &["base", "wal", "wire", "kv", "placement", "io", "client", "load"]),
];

/// Something that only some modules may name, outside of tests.
struct Restriction {
    /// What a path must begin with to be meant.
    prefixes: &'static [&'static str],
    /// Paths that begin so and are harmless all the same.
    harmless: &'static [&'static str],
    /// Modules (or single files, by path below `src/`) that may.
    allowed: &'static [&'static str],
    /// Why.
    reason: &'static str,
}

const RESTRICTIONS: &[Restriction] = &[
    Restriction {
        prefixes: &["glommio"],
        harmless: &[],
        allowed: &["io"],
        reason: "the runtime stays behind `io`, so that another can take its place",
    },
    Restriction {
        prefixes: &["async", "await"],
        harmless: &[],
        allowed: &["io", "client/asynchronous.rs", "client/asynchronous"],
        reason: "protocol logic is driven, it never waits: what is simulated is what ships",
    },
    Restriction {
        prefixes: &["unsafe"],
        harmless: &[],
        allowed: &["io"],
        reason: "only the kernel's interfaces need it",
    },
    Restriction {
        prefixes: &["std::net", "std::os", "std::fs", "rustix", "polling"],
        harmless: &["std::net::SocketAddr", "std::net::IpAddr"],
        allowed: &[
            "io",
            "server",
            // The drivers under the pure client core, and the engine that runs many of them.
            "client/blocking.rs",
            "client/blocking",
            "load",
        ],
        reason: "a deterministic module sees no socket, file or system call",
    },
    Restriction {
        prefixes: &["std::time::Instant", "std::time::SystemTime", "std::thread"],
        harmless: &[],
        allowed: &[
            "io",
            "server",
            "client/clock.rs",
            "client/blocking.rs",
            "client/blocking",
            "load",
        ],
        reason: "a deterministic module is told the time and starts no thread",
    },
    Restriction {
        prefixes: &["std::sync", "std::process", "std::env"],
        harmless: &["std::sync::Arc", "std::sync::LazyLock"],
        allowed: &[
            "io",
            "server",
            "load",
            // With the feature `planted-bugs` only: which mistake to make.
            "base/planted.rs",
        ],
        reason: "nothing shared between cores, nothing taken from the environment",
    },
    Restriction {
        prefixes: &["std::hash::RandomState", "std::collections::hash_map::RandomState"],
        harmless: &[],
        allowed: &[],
        reason: "random iteration order breaks replay: use base::collections",
    },
    Restriction {
        prefixes: &["rand", "getrandom", "fastrand"],
        harmless: &["fastrand::Rng", "fastrand::Rng::with_seed"],
        allowed: &["io", "server"],
        reason: "everything random comes from one seed: fastrand::Rng::with_seed",
    },
];

/// What is wrong with `file`, a file of `src`: one line each, naming place and rule.
pub(crate) fn violations(file: &SourceFile) -> Vec<String> {
    let module = file.module();
    let Some(top) = module.first() else { return Vec::new() };
    let Some((_, below)) = ARROWS.iter().find(|(name, _)| name == top) else {
        return vec![format!(
            "{}: module `{top}` has no row in tests/architecture/arrows.rs: say what it may import",
            file.path
        )];
    };
    let named = named_paths(&module, &file.text);
    let arrows = named.iter().filter_map(|path| against_arrows(top, below, path));
    let in_tests = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
    let restricted = named
        .iter()
        .filter(|path| !path.in_tests && !in_tests)
        .filter_map(|path| against_restrictions(file, path));
    arrows.chain(restricted).map(|(line, rule)| format!("{}:{line}: {rule}", file.path)).collect()
}

fn against_arrows(top: &str, below: &[&str], path: &Named) -> Option<(usize, String)> {
    let [first, target, ..] = path.segments.as_slice() else { return None };
    if first != "crate" {
        return None;
    }
    if target == "*" {
        let rule = "a glob of the crate's root hides who is named: name the module".to_owned();
        return Some((path.line, rule));
    }
    let is_module = ARROWS.iter().any(|(name, _)| name == target);
    if !is_module || target == top || below.contains(&target.as_str()) {
        return None;
    }
    let allowed = if below.is_empty() { "nothing".to_owned() } else { below.join(", ") };
    let named = path.text();
    Some((path.line, format!("`{top}` names `{named}`, but may import only: {allowed}")))
}

fn against_restrictions(file: &SourceFile, path: &Named) -> Option<(usize, String)> {
    let restriction = RESTRICTIONS.iter().find(|restriction| {
        restriction.prefixes.iter().any(|prefix| begins_with(path, prefix))
            && !restriction.harmless.contains(&path.text().as_str())
            && !restriction.allowed.iter().any(|place| is_within(file, place))
    })?;
    let allowed = restriction.allowed.join(", ");
    let places = if allowed.is_empty() { "nobody" } else { &allowed };
    let rule = format!("`{}`: {}; may: {places}", path.text(), restriction.reason);
    Some((path.line, rule))
}

fn begins_with(path: &Named, prefix: &str) -> bool {
    prefix
        .split("::")
        .enumerate()
        .all(|(position, segment)| path.segments.get(position).is_some_and(|own| own == segment))
}

/// `place`: a module's path below `src/`, or one file's.
fn is_within(file: &SourceFile, place: &str) -> bool {
    let inner = file.path.trim_start_matches("src/");
    inner == place || inner.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
}

/// A map with a cycle would allow anything.
#[test]
fn the_map_has_no_cycle() {
    for (position, (name, below)) in ARROWS.iter().enumerate() {
        for target in *below {
            let of_target = ARROWS.iter().position(|(other, _)| other == target);
            assert!(of_target.is_some_and(|found| found < position), "{name} imports {target}");
        }
    }
}
