//! Whether all that was promised was kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sunstar::history::{CHECKS, Check, History, Keys};

use crate::cluster::Cluster;
use crate::control::{NodeAnswer, replicas};
use crate::map::Map;
use crate::owners::{Epochs, check_owners};
use crate::pace::Pace;
use crate::trouble::{Trouble, at};

/// What one check of the history found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    check: &'static str,
    ok: bool,
    answers: u64,
    undecided: u64,
    seconds: f64,
    /// The finding, for people.
    #[serde(skip)]
    pub(crate) text: String,
}

impl Checked {
    /// Whether it came to its end and found nothing.
    pub(crate) const fn is_clean(&self) -> bool {
        self.ok
    }

    /// How long it took.
    pub(crate) const fn seconds(&self) -> f64 {
        self.seconds
    }
}

/// Makes every check on the history at `path`; `epochs`: the maps that were in force.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn check_history(
    path: &Path,
    epochs: &Epochs,
    pace: &Pace,
) -> Result<Vec<Checked>, Trouble> {
    let file = BufReader::new(File::open(path).map_err(at("open", path))?);
    let history = History::read(file);
    let history = history.map_err(|error| Trouble::broken(format!("the history: {error}")))?;
    let keys = Keys::of(&history.records);
    let check = |check: &Check| {
        let start = pace.now();
        let finding = check(&keys);
        Checked {
            check: finding.check,
            ok: finding.is_clean(),
            answers: finding.checked,
            undecided: finding.unchecked,
            seconds: pace.now().saturating_sub(start).as_secs_f64(),
            text: finding.to_string(),
        }
    };
    let mut checked: Vec<_> = CHECKS.iter().map(check).collect();
    let start = pace.now();
    let found = check_owners(&history.records, epochs);
    checked.push(Checked {
        check: "owners",
        ok: found.is_ok(),
        answers: found.as_ref().copied().unwrap_or_default(),
        undecided: 0,
        seconds: pace.now().saturating_sub(start).as_secs_f64(),
        text: match found {
            Ok(count) => {
                format!("owners: {count} answers, each of the one group that had the slot")
            }
            Err(why) => format!("owners: {why}"),
        },
    });
    Ok(checked)
}

/// Waits until each group is where `map` says, on these nodes alone, and all its replicas have applied the
/// same; demands equal states of them, and that they serve the slots that `map` gives the group, no others.
/// There must be no load, and no change under way; how many replicas were compared.
///
/// # Errors
/// If they differ, or do not get as far in time.
pub(crate) fn compare_replicas(
    cluster: &mut Cluster,
    map: &Map,
    pace: &Pace,
) -> Result<usize, Trouble> {
    let positions = cluster.positions();
    let mut last = String::new();
    let compared = pace.wait_for("all replicas of each group apply the same", AGREED_MAX, || {
        cluster.check_alive()?;
        let answers = cluster.control.status(&positions, true)?;
        last = format!("{answers:?}");
        compare(&answers, map)
    });
    compared.map(|(_, count)| count).map_err(|trouble| trouble.with(&last))
}

/// `None`: not yet.
fn compare(answers: &[NodeAnswer], map: &Map) -> Result<Option<usize>, Trouble> {
    let divergences: u64 = answers.iter().map(NodeAnswer::divergences).sum();
    if divergences > 0 {
        return Err(Trouble::broken(format!("replicas differed from their majority: {answers:?}")));
    }
    let found = replicas(answers);
    let wanted = map.all_groups().map(|info| info.group);
    if !found.keys().copied().eq(wanted) {
        return Ok(None);
    }
    for info in map.all_groups() {
        let views = &found[&info.group];
        let Some(first) = views.values().next() else { return Ok(None) };
        let is_settled = views.keys().eq(&info.members)
            && views.values().all(|view| {
                view.applied_index == first.applied_index
                    && view.is_settled()
                    && (info.group == META || view.epoch == map.epoch)
                    && view.arriving + view.leaving == 0
            });
        if !is_settled {
            return Ok(None);
        }
    }
    for info in map.all_groups() {
        let views = &found[&info.group];
        let first = views.values().next().expect("looked at above");
        if views.values().any(|view| view.state_hash != first.state_hash) {
            return Err(Trouble::broken(format!("equal places, different states: {views:?}")));
        }
        if views.values().any(|view| view.slots != info.slot_count) {
            let (group, count) = (info.group, info.slot_count);
            let text = format!("g{group} is to serve {count} slots, nothing moves: {views:?}");
            return Err(Trouble::broken(text));
        }
    }
    Ok(Some(found.values().map(BTreeMap::len).sum()))
}

/// The shard master's group, which owns no slots and follows no epochs.
const META: u32 = 0;

const AGREED_MAX: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::map::tests::map;

    /// Three nodes with a replica each of the shard master's group, and of one that has all slots.
    fn healthy() -> Value {
        let group = |group: u32, slots: u32| {
            json!({"group": group, "leader": 1, "applied_index": 9, "slots": slots, "epoch": 4,
                "arriving": 0, "leaving": 0, "state_hash": "ab"})
        };
        let node = |node: u64| {
            let core = json!({"divergences": 0, "groups": [group(0, 0), group(1, 16_384)]});
            json!({"ready": true, "status": {"node": node, "cores": [core]}})
        };
        json!([node(1), node(2), node(3)])
    }

    fn verdict(answers: Value) -> Result<Option<usize>, Trouble> {
        let answers: Vec<NodeAnswer> = serde_json::from_value(answers).expect("as nodes answer");
        compare(&answers, &map(4, &[(1, &[1, 2, 3], &[(0, 16_383)])]))
    }

    /// The same, with one field of the last node's replica of `group` otherwise.
    fn with(group: usize, field: &str, value: Value) -> Result<Option<usize>, Trouble> {
        let mut answers = healthy();
        answers[2]["status"]["cores"][0]["groups"][group][field] = value;
        verdict(answers)
    }

    #[test]
    fn equal_replicas_where_the_map_says_are_well() {
        assert_eq!(verdict(healthy()).expect("well"), Some(6));
    }

    #[test]
    fn what_is_not_as_the_map_says_is_waited_for() {
        for (field, value) in [
            ("applied_index", json!(8)),
            ("epoch", json!(3)),
            ("arriving", json!(1)),
            ("leaving", json!(1)),
            ("leader", Value::Null),
            ("doubt", json!("votes")),
            ("group", json!(2)),
        ] {
            assert_eq!(with(1, field, value).expect("not yet"), None, "{field}");
        }
        let mut without = healthy();
        without.as_array_mut().expect("three").pop();
        assert_eq!(verdict(without).expect("not yet"), None);
    }

    #[test]
    fn what_must_not_be_is_found() {
        for (field, value) in [("state_hash", json!("cd")), ("slots", json!(16_383))] {
            assert!(with(1, field, value).is_err(), "{field}");
        }
        // Two groups, one slot: all else is as it should be.
        assert!(with(0, "slots", json!(1)).is_err());
        let mut diverged = healthy();
        diverged[0]["status"]["cores"][0]["divergences"] = json!(1);
        assert!(verdict(diverged).is_err());
    }
}
