//! `sunstar inspect map`: the shard map that a node keeps.

use serde_json::Value;

use super::place::{Place, name_of, read};
use super::report::{Part, Report, Table};
use crate::io::KeptMap;
use crate::placement::{GroupInfo, NodeInfo};
use crate::server::failure::Failure;
use crate::wal::MapFile;

/// Looks at the map.
pub(super) fn report(place: &Place) -> Result<Report, Failure> {
    let path = place.map();
    if !path.exists() {
        return Err(Failure::usage(format!(
            "`{}` is not there: a node keeps no map until it changes for the first time; before that \
             its settings say who owns what",
            path.display()
        )));
    }
    let bytes = read(&path)?;
    let mut part = Part::new(name_of(&path));
    part.fact("bytes", bytes.len());
    part.fact("checksum", MapFile::checksum(&bytes).map(|checksum| format!("{checksum:08x}")));
    match KeptMap::decode(&bytes) {
        Ok(kept) => describe(&kept, &mut part),
        Err(error) => part.damage(&error),
    }
    Ok(Report { parts: vec![part] })
}

fn describe(kept: &KeptMap, part: &mut Part) {
    let map = &kept.map;
    part.fact("cluster", format!("{:016x}", kept.cluster.0));
    part.fact("epoch", map.epoch);
    part.table(Table {
        name: "nodes",
        columns: &["node", "client_address", "peer_address"],
        rows: map.nodes.iter().map(node).collect(),
    });
    let slots = |info: &GroupInfo| map.owned(info.id).len();
    part.table(Table {
        name: "groups",
        columns: &["group", "members", "preferred_leader", "slots"],
        rows: map.all_groups().map(|info| group(info, slots(info))).collect(),
    });
    part.table(Table {
        name: "slots",
        columns: &["first", "last", "group"],
        rows: map
            .ranges()
            .into_iter()
            .map(|(first, last, group)| vec![first.into(), last.into(), group.to_string().into()])
            .collect(),
    });
}

fn node(info: &NodeInfo) -> Vec<Value> {
    let NodeInfo { id, client_address, peer_address, .. } = info;
    vec![id.to_string().into(), client_address.as_str().into(), peer_address.as_str().into()]
}

fn group(info: &GroupInfo, slots: u32) -> Vec<Value> {
    let members: Vec<String> = info.members.iter().map(ToString::to_string).collect();
    vec![
        info.id.to_string().into(),
        members.into(),
        info.preferred_leader.to_string().into(),
        slots.into(),
    ]
}
