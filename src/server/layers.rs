//! Who says what: flag over environment over file over default.
//!
//! Every layer gives texts; they are read into values in one place (`config`), so that an error
//! can name the setting, the text and where it came from, whichever layer that was.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::nearest::nearest;
use super::setting::{Kind, SETTINGS, Setting, position};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The data directory remembers what was so at the first start.
    FirstStart(PathBuf),
    /// The configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::FirstStart(path) => write!(f, "first start of {}", path.display()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A text that a layer gave for a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// As on the command line.
    pub(crate) text: String,
    /// The layer that gave it.
    pub(crate) origin: Origin,
}

/// What the layers say about every setting.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// By position in `SETTINGS`; the strongest layer so far. Only `add_*` write here.
    given: Vec<Option<Given>>,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {cause}: name a readable file with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML:\n{cause}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        cause: String,
    },
    /// The file has a key that means nothing.
    #[error("configuration file {path}: unknown key `{key}`{hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// `section.key`.
        key: String,
        /// The nearest known key, or where to find them all.
        hint: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{setting} = `{text}` ({origin}): {cause}")]
    Value {
        /// `section.key`.
        setting: String,
        /// What was given.
        text: String,
        /// By whom.
        origin: String,
        /// What is wrong with it, and the remedy.
        cause: String,
    },
}

impl Layers {
    /// Nobody has said anything.
    pub(crate) fn new() -> Self {
        Self { given: vec![None; SETTINGS.len()] }
    }

    /// The groups that the data directory at `path` was first started with: the default of their number
    /// depends on the cores, which may have changed since. Only a default is weaker: added last.
    pub(crate) fn add_first_start(&mut self, path: &Path, groups: u32) {
        let found = position("cluster.groups").expect("a setting of the table");
        let origin = Origin::FirstStart(path.to_owned());
        self.given[found].get_or_insert(Given { text: groups.to_string(), origin });
    }

    /// Takes in the text of the configuration file at `path`. The weakest layer: added first.
    ///
    /// # Errors
    /// If it is not TOML, or has an unknown key, or a value of a kind no setting has.
    pub(crate) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            cause: error.to_string().trim_end().to_owned(),
        })?;
        for (section, value) in &table {
            let Value::Table(keys) = value else {
                return Err(unknown_key(path, section));
            };
            for (key, value) in keys {
                let name = format!("{section}.{key}");
                let found = position(&name).ok_or_else(|| unknown_key(path, &name))?;
                let text = text_of(value).ok_or_else(|| ConfigError::Value {
                    setting: name,
                    text: value.to_string(),
                    origin: Origin::File(path.to_owned()).to_string(),
                    cause: "write a text, a whole number, true or false, or a list of texts"
                        .to_owned(),
                })?;
                self.given[found] = Some(Given { text, origin: Origin::File(path.to_owned()) });
            }
        }
        Ok(())
    }

    /// Takes in the environment; returns what to warn about: variables that look like a setting's
    /// and are none.
    pub(crate) fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, text) in variables {
            match SETTINGS.iter().position(|setting| setting.variable() == name) {
                Some(found) => {
                    self.given[found] = Some(Given { text, origin: Origin::Environment(name) });
                }
                None => warnings.extend(warning_about(&name)),
            }
        }
        warnings
    }

    /// Takes in a flag. The strongest layer: added last.
    pub(crate) fn add_flag(&mut self, setting: &'static Setting, text: &str) {
        let found = position(&setting.name()).expect("a setting of the table");
        let origin = Origin::Flag(setting.flag);
        self.given[found] = Some(Given { text: text.to_owned(), origin });
    }

    /// What was given for the setting called `name`; else its default, which may be empty.
    pub(crate) fn get(&self, name: &str) -> Given {
        let found = position(name).expect("a setting of the table");
        let default =
            || Given { text: SETTINGS[found].default.to_owned(), origin: Origin::Default };
        self.given[found].clone().unwrap_or_else(default)
    }
}

/// A value of a file as one would write it on the command line.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(text_of).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn unknown_key(path: &Path, key: &str) -> ConfigError {
    let names: Vec<String> = SETTINGS.iter().map(Setting::name).collect();
    // A key without its section, or in another one, is found by its last part.
    let last = key.rsplit('.').next().unwrap_or(key);
    let moved = SETTINGS.iter().find(|setting| setting.key == last).map(Setting::name);
    let near = || nearest(key, names.iter().map(String::as_str)).map(str::to_owned);
    let hint = match moved.or_else(near) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => "; `sunstar config print` shows every key".to_owned(),
    };
    ConfigError::UnknownKey { path: path.to_owned(), key: key.to_owned(), hint }
}

/// Only names within our sections are suspicious: others, such as those that container platforms
/// set for a service called sunstar, are not meant for us.
fn warning_about(name: &str) -> Option<String> {
    let is_ours = SETTINGS.iter().any(|setting| {
        let section = format!("SUNSTAR_{}_", setting.section).to_ascii_uppercase();
        name.starts_with(&section)
    });
    if !is_ours {
        return None;
    }
    let variables: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    let hint = nearest(name, variables.iter().map(String::as_str))
        .map(|known| format!("; did you mean {known}?"))
        .unwrap_or_default();
    Some(format!("environment variable {name} is no setting and is ignored{hint}"))
}

/// Writes a setting's value as it stands in a file.
pub(crate) fn toml_text(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Integer | Kind::Switch => text.to_owned(),
        Kind::Text => Value::String(text.to_owned()).to_string(),
        Kind::List => {
            let items = text.split(',').map(|item| Value::String(item.trim().to_owned()));
            Value::Array(items.collect()).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Layers, ConfigError> {
        let mut layers = Layers::new();
        layers.add_file(Path::new("x.toml"), text).map(|()| layers)
    }

    fn setting(name: &str) -> &'static Setting {
        &SETTINGS[position(name).expect("known")]
    }

    #[test]
    fn each_layer_overrides_those_below_it() {
        let mut layers = Layers::new();
        assert_eq!(layers.get("node.id").text, "n1");
        layers.add_file(Path::new("x.toml"), "[node]\nid = 2\n[reactor]\nsmp = 2").expect("valid");
        assert_eq!(layers.get("node.id").text, "2");
        let variable = ("SUNSTAR_NODE_ID".to_owned(), "n3".to_owned());
        assert!(layers.add_environment([variable].into_iter()).is_empty());
        assert_eq!(layers.get("node.id").text, "n3");
        layers.add_flag(setting("node.id"), "n4");
        let given = layers.get("node.id");
        assert_eq!((given.text.as_str(), given.origin), ("n4", Origin::Flag("node-id")));
        assert_eq!(layers.get("reactor.smp").origin.to_string(), "file x.toml");
    }

    #[test]
    fn the_first_start_counts_where_nobody_says_otherwise() {
        let mut layers = Layers::new();
        layers.add_first_start(Path::new("data"), 3);
        let given = layers.get("cluster.groups");
        assert_eq!(
            (given.text.as_str(), given.origin.to_string().as_str()),
            ("3", "first start of data")
        );

        let mut layers = file("[cluster]\ngroups = 6").expect("valid");
        layers.add_first_start(Path::new("data"), 3);
        assert_eq!(layers.get("cluster.groups").text, "6", "to be refused by name");
    }

    #[test]
    fn lists_may_be_written_as_lists() {
        let layers =
            file("[cluster]\ninitial_nodes = ['n1=a:1/a:2', 'n2=b:1/b:2']").expect("valid");
        assert_eq!(layers.get("cluster.initial_nodes").text, "n1=a:1/a:2,n2=b:1/b:2");
    }

    #[test]
    fn unknown_keys_name_the_nearest_known_one() {
        for (text, hint) in [
            (
                "[reactor]\nmemroy = '1GiB'",
                "unknown key `reactor.memroy`; did you mean `reactor.memory`?",
            ),
            ("[node]\nsmp = 2", "did you mean `reactor.smp`?"),
            ("smp = 2", "unknown key `smp`; did you mean `reactor.smp`?"),
            ("[somewhere]\nelse = 2", "`sunstar config print` shows every key"),
        ] {
            let error = file(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn what_is_not_toml_is_shown_with_its_line() {
        let error = file("[node]\nid = \n").expect_err("no value").to_string();
        assert!(error.contains("x.toml") && error.contains("line 2"), "{error}");
        let error = file("[node]\nid = 1.5").expect_err("a float").to_string();
        assert!(error.contains("node.id = `1.5` (file x.toml)"), "{error}");
    }

    #[test]
    fn only_variables_of_our_sections_are_warned_about() {
        let variables =
            [("SUNSTAR_REACTOR_SPM", "2"), ("SUNSTAR_PORT_7400_TCP", "x"), ("PATH", "")];
        let variables = variables.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
        let warnings = Layers::new().add_environment(variables);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("did you mean SUNSTAR_REACTOR_SMP?"), "{warnings:?}");
    }
}
