//! The configuration files of three nodes: written the first time, read again when the folder has
//! them, so that a cluster kept with `--dir` comes back with its data and its addresses.

use std::fs;
use std::path::{Path, PathBuf};

use super::node::Plan;
use super::{Options, ports};
use crate::base::NodeId;
use crate::placement::NodeInfo;
use crate::server::config::{self, Config};
use crate::server::failure::Failure;
use crate::server::layers::Layers;
use crate::server::machine::Machine;
use crate::server::{add_file, byte_size};

/// Nodes of a development cluster: the fewest that outlive one of them.
pub(crate) const NODES: u16 = 3;

/// Ports of one node: for clients, peers and administration.
const PORTS: u16 = 3;

/// The nodes of `folder`: as its files say, or new ones.
///
/// # Errors
/// If the files cannot be read or written, or say something else than the options.
pub(crate) fn plan(folder: &Path, options: &Options) -> Result<Vec<Plan>, Failure> {
    let ids: Vec<NodeId> = (1..=u64::from(NODES)).map(NodeId).collect();
    let is_new = ids.iter().all(|&id| !config_path(folder, id).exists());
    if is_new {
        write_all(folder, &ids, options)?;
    }
    ids.iter().map(|&id| read(folder, id, options)).collect()
}

fn config_path(folder: &Path, id: NodeId) -> PathBuf {
    folder.join(format!("{id}.toml"))
}

fn read(folder: &Path, id: NodeId, options: &Options) -> Result<Plan, Failure> {
    let path = config_path(folder, id);
    let mut layers = Layers::new();
    add_file(&mut layers, &path)?;
    let config = Config::read(&layers, &Machine::look())?;
    if config.smp as u64 != options.smp {
        return Err(Failure::usage(format!(
            "{} was made for --smp {}: give that, or another --dir",
            path.display(),
            config.smp
        )));
    }
    let admin = config.admin_addr.ok_or_else(|| {
        Failure::usage(format!("{}: network.admin_addr is needed here", path.display()))
    })?;
    Ok(Plan {
        id,
        client_address: config.client_addr.to_string(),
        admin_address: admin.to_string(),
        config_path: path,
    })
}

fn write_all(folder: &Path, ids: &[NodeId], options: &Options) -> Result<(), Failure> {
    let first = match options.base_port {
        Some(port) if port > u16::MAX - NODES * PORTS => {
            return Err(Failure::usage(format!(
                "--base-port {port} leaves no room for nine ports"
            )));
        }
        Some(port) => port,
        None => ports::free(NODES * PORTS).map_err(Failure::failed)?,
    };
    let addresses = |position: u16| first + position * PORTS;
    let nodes: Vec<NodeInfo> = (0..)
        .zip(ids)
        .map(|(position, &id)| NodeInfo {
            id,
            client_address: format!("127.0.0.1:{}", addresses(position)),
            peer_address: format!("127.0.0.1:{}", addresses(position) + 1),
        })
        .collect();
    let memory = Machine::look().memory / 2 / u64::from(NODES);
    for (position, node) in (0..).zip(&nodes) {
        let admin = format!("127.0.0.1:{}", addresses(position) + 2);
        let text = file_text(folder, node, &admin, &nodes, options.smp, memory);
        let path = config_path(folder, node.id);
        fs::write(&path, text)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

fn file_text(
    folder: &Path,
    node: &NodeInfo,
    admin: &str,
    nodes: &[NodeInfo],
    smp: u64,
    memory: u64,
) -> String {
    let data_dir = toml::Value::String(folder.join(node.id.to_string()).display().to_string());
    format!(
        "# Written by `sunstar dev`.\n\
         [node]\nid = \"{}\"\ndata_dir = {data_dir}\n\n\
         [network]\nclient_addr = \"{}\"\npeer_addr = \"{}\"\nadmin_addr = \"{admin}\"\n\n\
         [cluster]\nname = \"dev\"\ninitial_nodes = \"{}\"\n\n\
         [reactor]\nsmp = {smp}\noverprovisioned = true\nmemory = \"{}\"\n",
        node.id,
        node.client_address,
        node.peer_address,
        config::nodes_text(nodes),
        byte_size::format(memory >> 20 << 20),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(smp: u64) -> Options {
        Options { smp, base_port: Some(20_000), ..Options::default() }
    }

    #[test]
    fn what_is_written_once_is_found_again() {
        let folder = tempfile::tempdir().expect("made");
        let first = plan(folder.path(), &options(2)).expect("planned");
        assert_eq!(first[2].client_address, "127.0.0.1:20006");
        assert_eq!(first[2].admin_address, "127.0.0.1:20008");
        let elsewhere = Options { base_port: Some(30_000), ..options(2) };
        let again = plan(folder.path(), &elsewhere).expect("read");
        assert_eq!(again[0].client_address, first[0].client_address);
    }

    #[test]
    fn another_number_of_cores_is_refused() {
        let folder = tempfile::tempdir().expect("made");
        plan(folder.path(), &options(1)).expect("planned");
        let error = plan(folder.path(), &options(2)).err().expect("refused");
        assert!(error.text.contains("was made for --smp 1"), "{}", error.text);
    }
}
