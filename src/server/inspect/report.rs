//! What was found, for people and for programs: both see the same facts under the same names.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// In the order in which they are shown.
    pub(super) parts: Vec<Part>,
}

/// What was found in one place.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The place: a file or directory, relative to what was asked for.
    name: String,
    facts: Vec<(&'static str, Value)>,
    tables: Vec<Table>,
    /// What is wrong, one sentence each.
    damage: Vec<String>,
    /// What looks wrong and is not.
    notes: Vec<String>,
}

/// Rows of values under the names of their columns.
#[derive(Debug)]
pub(super) struct Table {
    /// What a row is, in the plural.
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
    /// Each with a value for every column.
    pub(super) rows: Vec<Vec<Value>>,
}

impl Report {
    /// Whether nothing is wrong.
    pub(super) fn is_sound(&self) -> bool {
        self.parts.iter().all(|part| part.damage.is_empty())
    }

    /// One JSON object.
    pub(super) fn to_json(&self, path: &str) -> String {
        let parts: Vec<Value> = self.parts.iter().map(Part::json).collect();
        format!("{}\n", json!({ "path": path, "sound": self.is_sound(), "parts": parts }))
    }

    /// Text with aligned columns.
    pub(super) fn to_text(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Part::text).collect();
        let damage: usize = self.parts.iter().map(|part| part.damage.len()).sum();
        let verdict = match damage {
            0 => "sound".to_owned(),
            1 => "DAMAGED in one place".to_owned(),
            places => format!("DAMAGED in {places} places"),
        };
        format!("{}\n{verdict}\n", parts.join("\n"))
    }
}

impl Part {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    pub(super) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Something is wrong.
    pub(super) fn damage(&mut self, what: &impl ToString) {
        self.damage.push(what.to_string());
    }

    /// Something looks wrong and is not.
    pub(super) fn note(&mut self, what: &impl ToString) {
        self.notes.push(what.to_string());
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), self.name.as_str().into());
        for (name, value) in &self.facts {
            object.insert((*name).to_owned(), value.clone());
        }
        for table in &self.tables {
            object.insert(table.name.to_owned(), table.json());
        }
        object.insert("notes".to_owned(), self.notes.clone().into());
        object.insert("damage".to_owned(), self.damage.clone().into());
        object.into()
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.name);
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.facts {
            let name = name.replace('_', " ");
            writeln!(text, "  {name:<width$}  {}", shown(value)).expect("a string takes all");
        }
        for table in self.tables.iter().filter(|table| !table.rows.is_empty()) {
            text.push('\n');
            text.push_str(&table.text());
        }
        for note in &self.notes {
            writeln!(text, "  note: {note}").expect("a string takes all");
        }
        for damage in &self.damage {
            writeln!(text, "  DAMAGE: {damage}").expect("a string takes all");
        }
        text
    }
}

impl Table {
    fn json(&self) -> Value {
        let named = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row);
            pairs.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>()
        };
        self.rows.iter().map(|row| Value::from(named(row))).collect()
    }

    /// Pads each column to its widest text.
    fn text(&self) -> String {
        let heads = self.columns.iter().map(|name| name.replace('_', " ").to_uppercase());
        let rows = self.rows.iter().map(|row| row.iter().map(shown).collect());
        let lines: Vec<Vec<String>> = std::iter::once(heads.collect()).chain(rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let padded = |line: &Vec<String>| {
            let cells = line.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}  "));
            format!("  {}\n", cells.collect::<String>().trim_end())
        };
        lines.iter().map(padded).collect()
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
