//! Documents name files that exist: a guide to a house that was rebuilt is worse than none.

use std::path::Path;

/// Lines of `ARCHITECTURE.md`, at most: what is longer is not read.
const GUIDE_LINES_MAX: usize = 300;

/// What is wrong with the documents of the repository at `root`, one line each.
pub(crate) fn violations(root: &Path) -> Vec<String> {
    let documents =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "schema/README.md"];
    let mut found = Vec::new();
    for name in documents {
        let path = root.join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        found.extend(missing(root, name, &text));
        if name == "ARCHITECTURE.md" && text.lines().count() > GUIDE_LINES_MAX {
            found.push(format!("{name}: more than {GUIDE_LINES_MAX} lines"));
        }
    }
    found
}

/// The files that `text`, the document called `name`, names and that are not there.
pub(crate) fn missing(root: &Path, name: &str, text: &str) -> Vec<String> {
    let here = Path::new(name).parent().unwrap_or(Path::new(""));
    (1..)
        .zip(text.lines())
        .flat_map(|(number, line)| named(line).into_iter().map(move |path| (number, path)))
        .filter(|(_, path)| {
            let bases = [root.join(here), root.to_owned(), root.join("src")];
            !bases.iter().any(|base| base.join(path).exists())
        })
        .map(|(number, path)| format!("{name}:{number}: `{path}` is not there"))
        .collect()
}

/// Source files in backquotes that have a folder, and the targets of links within the repository.
fn named(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let is_source = |text: &&str| Path::new(text).extension().is_some_and(|found| found == "rs");
    let sources = quoted.filter(is_source).filter(|text| text.contains('/'));
    let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|target| !target.contains("://") && !target.starts_with('#'));
    sources.chain(links).collect()
}
