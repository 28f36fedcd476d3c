//! The repository's own Rust source as tokens and paths: just enough of the grammar to ask who
//! names whom, without a parser crate.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file of the repository.
pub(crate) struct SourceFile {
    /// Relative to the repository, with forward slashes: `src/raft/mod.rs`.
    pub(crate) path: String,
    /// The text as it stands.
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether a tool wrote it: nobody reads it line by line, and no rule of style concerns it.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }

    /// The path of the file's own module from the crate's root: `["raft", "quorum"]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut names: Vec<String> =
            inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            names.pop();
        }
        names
    }
}

/// Every Rust file under `folders` (relative to the repository), sorted by path.
pub(crate) fn rust_files(folders: &[&str]) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(root, path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read(root: &Path, path: &Path) -> SourceFile {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let relative = path.strip_prefix(root).expect("found under the root");
    SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text }
}

/// A token and where it stands. Comments, strings and characters are gone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// An identifier or keyword, `::`, or one character of punctuation.
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
}

/// Splits `text` into tokens.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let end = token_end(&characters, at);
        let piece = &characters[at..end];
        if !is_skipped(piece) {
            tokens.push(Token { text: piece.iter().collect(), line });
        }
        line += piece.iter().filter(|&&character| character == '\n').count();
        at = end;
    }
    tokens
}

/// Whether a piece says nothing about who names whom.
fn is_skipped(piece: &[char]) -> bool {
    match piece[0] {
        '"' | '\'' => true,
        'r' | 'b' | 'c' if piece.last() == Some(&'"') || piece.last() == Some(&'#') => true,
        '/' => piece.len() > 1,
        first => first.is_whitespace(),
    }
}

/// Where the token that begins at `at` ends.
fn token_end(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied().unwrap_or('\0');
    match text[at] {
        '/' if next == '/' => position(text, at, |text, at| text[at] == '\n'),
        '/' if next == '*' => block_comment_end(text, at),
        '"' => string_end(text, at + 1),
        '\'' => character_end(text, at),
        ':' if next == ':' => at + 2,
        first if is_word(first) => {
            let end = position(text, at, |text, at| !is_word(text[at]));
            let prefix: String = text[at..end].iter().collect();
            match (prefix.as_str(), text.get(end)) {
                ("r" | "br" | "cr", Some('"' | '#')) => raw_string_end(text, end),
                ("b" | "c", Some('"')) => string_end(text, end + 1),
                _ => end,
            }
        }
        _ => at + 1,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The first place from `from` on where `found` holds, or the end.
fn position(text: &[char], from: usize, found: impl Fn(&[char], usize) -> bool) -> usize {
    (from..text.len()).find(|&at| found(text, at)).unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment_end(text: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string_end(text: &[char], start: usize) -> usize {
    let mut at = start;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// `start` is at the first `#` or quote after the letters. An `r#identifier` ends where it began.
fn raw_string_end(text: &[char], start: usize) -> usize {
    let open = position(text, start, |text, at| text[at] != '#');
    if text.get(open) != Some(&'"') {
        return start + 1;
    }
    let hashes = open - start;
    let close = position(text, open + 1, |text, at| {
        text[at] == '"' && text[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    });
    (close + 1 + hashes).min(text.len())
}

/// A lifetime's quote stands alone; a character literal has its closing quote.
fn character_end(text: &[char], start: usize) -> usize {
    match (text.get(start + 1), text.get(start + 2)) {
        (Some('\\'), _) => position(text, start + 3, |text, at| text[at] == '\'') + 1,
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
    .min(text.len())
}

/// A path that the source names: `use a::{b, c::d}` names `a::b` and `a::c::d`. `crate`, `self` and
/// `super` are resolved; a path from this crate's root begins with `crate`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    /// The segments; a lone word is a path of one segment, keywords included.
    pub(crate) segments: Vec<String>,
    /// From 1.
    pub(crate) line: usize,
    /// Whether it stands in a module named `tests` or `test`.
    pub(crate) in_tests: bool,
}

impl Named {
    /// The path as one would write it.
    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// Every path that `text`, the source of module `module`, names.
pub(crate) fn named_paths(module: &[String], text: &str) -> Vec<Named> {
    let tokens = tokens(text);
    let mut walk = Walk {
        tokens: &tokens,
        modules: module.to_vec(),
        opened_at: Vec::new(),
        depth: 0,
        found: Vec::new(),
    };
    walk.run();
    walk.found
}

/// One pass over a file's tokens that knows which inline module it is in.
struct Walk<'a> {
    tokens: &'a [Token],
    /// The module at the cursor, from the crate's root.
    modules: Vec<String>,
    /// Brace depth just inside each inline module around the cursor.
    opened_at: Vec<usize>,
    /// Braces open at the cursor.
    depth: usize,
    found: Vec<Named>,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            at = self.one(at);
        }
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    /// Takes in what stands at `at` and returns where to go on.
    fn one(&mut self, at: usize) -> usize {
        if self.is(at, "mod") && self.is(at + 2, "{") {
            self.depth += 1;
            self.modules.push(self.tokens[at + 1].text.clone());
            self.opened_at.push(self.depth);
            return at + 3;
        }
        if self.is(at, "{") {
            self.depth += 1;
        } else if self.is(at, "}") {
            self.close_brace();
        } else if self.tokens[at].text.starts_with(is_word) && !(at > 0 && self.is(at - 1, ".")) {
            return self.path(at, &mut Vec::new());
        }
        at + 1
    }

    fn close_brace(&mut self) {
        if self.opened_at.last() == Some(&self.depth) {
            self.opened_at.pop();
            self.modules.pop();
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// Reads the path (or tree of paths) that begins at `at`, below `prefix`.
    fn path(&mut self, at: usize, prefix: &mut Vec<String>) -> usize {
        let start = prefix.len();
        let mut at = at;
        loop {
            if self.is(at, "{") && !prefix.is_empty() {
                at = self.tree(at + 1, prefix);
                break;
            }
            let Some(token) = self.tokens.get(at) else { break };
            prefix.push(token.text.clone());
            at += 1;
            let goes_on = self.is(at, "::")
                && self.tokens.get(at + 1).is_some_and(|next| {
                    next.text.starts_with(is_word) || next.text == "{" || next.text == "*"
                });
            if !goes_on {
                self.record(prefix, at - 1);
                break;
            }
            at += 1;
        }
        prefix.truncate(start);
        at
    }

    /// Reads `a, b::c}`; returns the place after the brace.
    fn tree(&mut self, at: usize, prefix: &mut Vec<String>) -> usize {
        let mut at = at;
        while at < self.tokens.len() && !self.is(at, "}") {
            at = if self.is(at, ",") { at + 1 } else { self.path(at, prefix) };
        }
        at + 1
    }

    fn record(&mut self, written: &[String], last: usize) {
        let segments = self.resolve(written);
        let in_tests = self.modules.iter().any(|name| name == "tests" || name == "test");
        self.found.push(Named { segments, line: self.tokens[last].line, in_tests });
    }

    /// Resolves `self` and `super` against the module at the cursor.
    fn resolve(&self, written: &[String]) -> Vec<String> {
        if written.len() < 2 || !matches!(written[0].as_str(), "self" | "super") {
            return written.to_vec();
        }
        let supers = written.iter().skip_while(|name| *name == "self");
        let count = supers.clone().take_while(|name| *name == "super").count();
        let kept = self.modules.len().saturating_sub(count);
        let mut segments = vec!["crate".to_owned()];
        segments.extend_from_slice(&self.modules[..kept]);
        segments.extend(supers.skip(count).cloned());
        segments
    }
}
