//! What a formatter does not check: sizes, names and lines.

use crate::source::{SourceFile, tokens};

/// Lines of one file, at most: by then it holds a second idea.
const LINES_MAX: usize = 800;

/// File names that name no idea.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "impls", "misc"];

/// Macros that stand for something unfinished.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// What is untidy about `file`, one line each.
pub(crate) fn violations(file: &SourceFile) -> Vec<String> {
    if file.is_generated() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let length = file.text.lines().count();
    if length > LINES_MAX {
        found.push(format!("{}: {length} lines, more than {LINES_MAX}", file.path));
    }
    for name in file.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&name) {
            found.push(format!("{}: `{name}` names no idea", file.path));
        }
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.ends_with([' ', '\t']) {
            found.push(format!("{}:{number}: ends in a blank", file.path));
        }
    }
    for pair in tokens(&file.text).windows(2) {
        if pair[1].text == "!" && UNFINISHED.contains(&pair[0].text.as_str()) {
            found.push(format!("{}:{}: `{}!` is left", file.path, pair[0].line, pair[0].text));
        }
    }
    found
}
