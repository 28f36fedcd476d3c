use std::path::Path;

use super::*;
use crate::server::membership::FirstNodes;
use crate::server::setting::position;

fn machine() -> Machine {
    Machine { cpus: vec![0, 1, 4], memory: 8 << 30 }
}

fn layers(flags: &[(&str, &str)]) -> Layers {
    let mut layers = Layers::new();
    for (name, text) in flags {
        layers.add_flag(&SETTINGS[position(name).expect("known")], text);
    }
    layers
}

fn read(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::read(&layers(flags), &machine())
}

fn first(config: &Config) -> &FirstNodes {
    match &config.membership {
        Membership::First(first) => first,
        Membership::Joining(joining) => panic!("{joining:?}"),
    }
}

const THREE: &str = "n1=a:1/a:2,n2=b:1/b:2,n3=c:1/c:2";

#[test]
fn without_a_word_it_is_a_cluster_of_one_on_all_cpus() {
    let config = read(&[]).expect("defaults are valid");
    assert_eq!(config.node, NodeId(1));
    assert_eq!((config.smp, first(&config).groups), (3, 3));
    assert_eq!(config.cpuset, [0, 1, 4]);
    assert_eq!(config.memory, 4 << 30);
    assert_eq!(first(&config).nodes[0].client_address, "127.0.0.1:7400");
    assert_eq!(config.idle_poll_time_us, 200);
    assert_eq!(config.segment_bytes, 64 << 20);
}

#[test]
fn a_lone_node_may_change_its_ports_and_a_cluster_has_one_identity() {
    let here = read(&[]).expect("valid");
    let there = read(&[("network.peer_addr", "127.0.0.1:9")]).expect("valid");
    assert_eq!(first(&here).cluster, first(&there).cluster);

    let one = read(&[("cluster.initial_nodes", THREE)]).expect("valid");
    let two = read(&[("cluster.initial_nodes", THREE), ("node.id", "n2")]).expect("valid");
    assert_eq!(first(&one).cluster, first(&two).cluster);
    assert_eq!(first(&one).shard_map, first(&two).shard_map);
    assert_eq!(first(&one).groups, 9);
    assert_ne!(first(&one).cluster, first(&here).cluster);
}

#[test]
fn what_does_not_fit_is_refused_with_a_remedy() {
    for (flags, cause) in [
        (&[("reactor.smp", "0")][..], "a whole number from 1 to 256"),
        (&[("reactor.smp", "4")], "--overprovisioned"),
        (&[("reactor.cpuset", "0-1,3")], "CPU 3 is not allowed to this process: it may use 0-1,4"),
        (&[("reactor.memory", "lots")], "such as 512MiB"),
        (&[("reactor.memory", "1MiB")], "at least 32MiB"),
        (&[("node.id", "x")], "not a node id"),
        (&[("network.client_addr", "here")], "0.0.0.0:7400"),
        (&[("network.client_addr", "0.0.0.0:7400")], "--initial-nodes"),
        (
            &[("cluster.initial_nodes", THREE), ("node.id", "n4")],
            "this node, n4, is not among them",
        ),
        (&[("cluster.initial_nodes", "n1=a:1")], "no client address"),
        (&[("cluster.join", "n1")], "has no port"),
        (&[("cluster.initial_nodes", THREE), ("cluster.join", "a:7402")], "drop --join"),
        (&[("cluster.groups", "4"), ("cluster.join", "a:7402")], "ctl join"),
        (&[("network.peer_addr", "0.0.0.0:1"), ("cluster.join", "a:7402")], "--join-as"),
        (&[("cluster.join_as", "a:1"), ("cluster.join", "a:7402")], "no client address"),
        (&[("cluster.join_as", "a:1/a:2")], "add --join"),
        (&[("raft.heartbeat_interval_ms", "400")], "a third of the election timeout (1000 ms)"),
        (&[("reactor.overprovisioned", "perhaps")], "true or false"),
        (&[("reactor.idle_poll_time_us", "5"), ("reactor.overprovisioned", "true")], "drop one"),
        (&[("storage.log_segment_bytes", "67108865")], "a multiple of 4KiB"),
        (&[("logging.format", "xml")], "text or json"),
    ] {
        let error = read(flags).expect_err(cause).to_string();
        assert!(error.contains(cause), "{error}");
        assert!(error.contains(flags[0].0) && error.contains("flag --"), "{error}");
    }
}

#[test]
fn a_node_that_joins_says_where_it_is_reached() {
    let joins = |flags: &[_]| {
        let flags = [&[("cluster.join", "a:7402"), ("node.id", "n4")], flags].concat();
        match read(&flags).expect("valid").membership {
            Membership::Joining(joining) => joining,
            Membership::First(first) => panic!("{first:?}"),
        }
    };
    let here = joins(&[]);
    assert_eq!((here.through.as_str(), here.node.id), ("a:7402", NodeId(4)));
    assert_eq!(here.node.client_address, "127.0.0.1:7400");
    let flags = [("network.client_addr", "0.0.0.0:7400"), ("cluster.join_as", "d:1/d:2")];
    let there = joins(&flags).node;
    assert_eq!((there.peer_address.as_str(), there.client_address.as_str()), ("d:1", "d:2"));
}

#[test]
fn more_cores_than_cpus_need_overprovisioning() {
    let config = read(&[("reactor.smp", "8"), ("reactor.overprovisioned", "true")]).expect("valid");
    assert_eq!((config.smp, config.idle_poll_time_us), (8, 0));
}

#[test]
fn what_is_printed_means_the_same() {
    for flags in [&[][..], &[("cluster.initial_nodes", THREE), ("reactor.memory", "1GiB")]] {
        let layers = layers(flags);
        let config = Config::read(&layers, &machine()).expect("valid");
        let printed = config.to_toml(&layers);
        let mut again = Layers::new();
        again.add_file(Path::new("printed"), &printed).expect("reads back");
        let reread = Config::read(&again, &machine()).expect("valid again");
        let strip = |text: String| text.replace(" # file printed", "");
        assert_eq!(first(&reread).cluster, first(&config).cluster);
        assert_eq!(reread.memory, config.memory);
        for line in strip(reread.to_toml(&again)).lines() {
            let value = line.split("  #").next().expect("one part");
            assert!(printed.contains(value.trim_end()), "{value}\n{printed}");
        }
    }
}

/// Whatever is in the file: it is read, or refused with a cause.
#[test]
fn a_mutated_configuration_does_no_harm() {
    let given = layers(&[("cluster.initial_nodes", THREE), ("reactor.memory", "1GiB")]);
    let valid = Config::read(&given, &machine()).expect("valid").to_toml(&given);
    let mut random = fastrand::Rng::with_seed(9);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let mut bytes = valid.clone().into_bytes();
        for _ in 0..random.usize(1..6) {
            mutate(&mut bytes, &mut random);
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let mut layers = Layers::new();
        let read = layers.add_file(Path::new("sunstar.toml"), &text);
        match read.and_then(|()| Config::read(&layers, &machine())) {
            Ok(config) => {
                assert!(config.smp >= 1 && first(&config).groups >= 1, "{text}");
                accepted += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{text}");
                refused += 1;
            }
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let at = random.usize(..bytes.len());
    let end = (at + random.usize(1..20)).min(bytes.len());
    let piece = match random.u8(0..5) {
        0 => return bytes[at] = random.u8(..),
        1 => return drop(bytes.drain(at..end)),
        2 => b"99999999999999999999".to_vec(),
        3 => "\u{2028}-\"]\n".as_bytes().to_vec(),
        _ => bytes[at..end].to_vec(),
    };
    let to = random.usize(..bytes.len());
    bytes.splice(to..to, piece);
}
