//! The order of the source files: which module may use which.
//!
//! The test reads `src/**/*.rs` as text. It finds every path that begins with `crate::`, `self::` or `super::`, in
//! `use` declarations and in code, and looks up the file in which the path ends, also through the re-exports of a
//! `mod.rs` and of `lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules, lowest floor first. A module uses the floors below its own, and no module of its own floor.
const FLOORS: [&[&str]; 8] = [
    &["bug", "escaped", "heap_size", "random", "redacted", "sync", "text", "time"],
    &["topic"],
    &["codec"],
    &["store"],
    &["generators", "session"],
    &["client", "server"],
    &["broker"],
    &["defmt", "guide", "lib"],
];

/// A source file: its module path, `["codec", "reader"]`, and its code without comments and without the contents of texts.
struct Source {
    path: String,
    module: Vec<String>,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(source(&root, &path));
            }
        }
    }
    assert!(sources.len() > 50, "the sources are there");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn source(root: &Path, path: &Path) -> Source {
    let relative: PathBuf = path.strip_prefix(root).unwrap().to_path_buf();
    let mut module: Vec<String> =
        relative.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let path = relative.to_str().unwrap().replace('\\', "/");
    Source { path, module, code: code(&fs::read_to_string(root.join(&relative)).unwrap()) }
}

/// Removes line comments, documentation included. The crate has no block comments, and no `//` in a string literal
/// except in links.
fn code(text: &str) -> String {
    assert!(!text.contains("/*"), "a block comment");
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The files of the crate, and the names that some of them re-export, each with the file that defines it.
struct Modules {
    files: BTreeSet<Vec<String>>,
    exports: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Modules {
    fn new(sources: &[Source]) -> Self {
        let files = sources.iter().map(|source| source.module.clone()).collect();
        let mut modules = Self { files, exports: BTreeMap::new() };
        for source in sources.iter().filter(|source| source.path == "lib.rs" || source.path.ends_with("/mod.rs")) {
            let is_root = source.path == "lib.rs";
            let code = if is_root { source.code.replace("pub use ", "pub use crate::") } else { source.code.clone() };
            let at = if is_root { Vec::new() } else { source.module.clone() };
            for path in paths(&code) {
                let name = path[path.len() - 1].clone();
                let (through, file) = modules.lead(&path, &source.module);
                modules.exports.insert((at.clone(), name), file.unwrap_or(through));
            }
        }
        modules
    }

    /// The last module in a path (empty: the root of the crate), and the file that defines the item if that module
    /// re-exports it.
    fn lead(&self, path: &[String], from: &[String]) -> (Vec<String>, Option<Vec<String>>) {
        let (mut at, rest) = match path[0].as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            _ => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                (from[..from.len().saturating_sub(ups)].to_vec(), &path[ups..])
            }
        };
        for part in rest {
            at.push(part.clone());
            if !self.files.contains(&at) {
                at.pop();
                let export = self.exports.get(&(at.clone(), part.clone())).cloned();
                return (at, export);
            }
        }
        (at, None)
    }

    /// The other files that a file uses.
    fn used_by(&self, source: &Source) -> BTreeSet<Vec<String>> {
        let used = paths(&source.code).into_iter().map(|path| self.lead(&path, &source.module));
        let used = used.flat_map(|(through, file)| [Some(through), file]).flatten();
        used.filter(|file| !file.is_empty() && *file != source.module).collect()
    }
}

/// The paths in some code, `use a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = ["crate::", "self::", "super::"].iter().filter_map(|head| rest.find(head)).min() {
        let is_begin = rest[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !"_:$".contains(c));
        let tokens = &rest[start..];
        let end = tokens.find("::").unwrap() + 2;
        if is_begin {
            read_path(tokens, &mut Vec::new(), &mut paths);
        }
        rest = &tokens[end..];
    }
    paths
}

/// Reads the path at the start of `text`, and returns the text after it.
fn read_path<'t>(mut text: &'t str, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'t str {
    let depth = before.len();
    loop {
        text = text.trim_start();
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = read_path(group, before, paths).trim_start();
                match group.chars().next() {
                    Some(',') => group = &group[1..],
                    Some('}') => {
                        group = &group[1..];
                        break;
                    }
                    _ => break,
                }
            }
            before.truncate(depth);
            return group;
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if end > 0 {
            before.push(text[..end].to_owned());
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(more) => text = more,
            None => break,
        }
    }
    paths.push(before.clone());
    before.truncate(depth);
    // `name as other`
    match text.trim_start().strip_prefix("as ") {
        Some(alias) => alias.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => text,
    }
}

/// The files that each file uses, by module.
fn graph(sources: &[Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules = Modules::new(sources);
    sources.iter().map(|source| (source.module.clone(), modules.used_by(source))).collect()
}

fn floor(module: &[String]) -> usize {
    let name = &module[0];
    let floor = FLOORS.iter().position(|floor| floor.contains(&name.as_str()));
    floor.unwrap_or_else(|| panic!("on which floor is the module {name}? Say so in this test"))
}

#[test]
fn no_floor_uses_a_higher_one_or_a_sibling() {
    for (module, used) in graph(&sources()) {
        for other in used.iter().filter(|other| other[0] != module[0]) {
            let is_below = floor(other) < floor(&module);
            assert!(is_below, "{} uses {}, which is not below it", module.join("::"), other.join("::"));
        }
    }
}

#[test]
fn files_of_the_codec_form_no_circle() {
    assert_no_circle("codec");
}

#[test]
fn files_of_the_broker_form_no_circle() {
    assert_no_circle("broker");
}

fn assert_no_circle(room: &str) {
    let mut left = graph(&sources());
    left.retain(|module, _| module[0] == room && module.len() > 1);
    assert!(left.len() > 20, "the files of {room} are there");
    // Removes files that use no remaining file. Circles, and the files that use them, remain.
    loop {
        let done: Vec<_> = left.iter().filter(|(_, used)| used.iter().all(|other| !left.contains_key(other))).collect();
        let done: Vec<_> = done.into_iter().map(|(module, _)| module.clone()).collect();
        if done.is_empty() {
            break;
        }
        done.iter().for_each(|module| drop(left.remove(module)));
    }
    // Removes files that no remaining file uses.
    while let Some(unused) = left.keys().find(|module| !left.values().any(|used| used.contains(*module))).cloned() {
        left.remove(&unused);
    }
    let circle: Vec<_> = left.keys().map(|module| module.join("::")).collect();
    assert!(circle.is_empty(), "these use each other in a circle: {}", circle.join(", "));
}

/// No file below `broker/` depends on whether the broker is compiled.
#[test]
fn no_cfg_of_the_broker_below_the_broker() {
    let broker = FLOORS.iter().position(|floor| floor.contains(&"broker")).unwrap();
    let knows = |source: &Source| source.code.contains("feature = \"broker\"");
    let below = sources().into_iter().filter(|source| floor(&source.module) < broker && knows(source));
    let found: Vec<_> = below.map(|source| source.path).collect();
    assert!(found.is_empty(), "cfg(feature = \"broker\") below broker/: {}", found.join(", "));
}

/// The methods of a type are in its own file, or in two: its commands, and its inner steps.
#[test]
fn methods_of_a_type_are_in_two_files_at_most() {
    /// The third file of a server session is its interface for a router.
    const MORE: [(&str, usize); 1] = [("ServerSession", 3)];
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        if !["session", "client", "server"].contains(&source.module.first().map_or("", String::as_str)) {
            continue;
        }
        for name in source.code.lines().filter_map(implemented) {
            files.entry(name).or_default().insert(source.path.clone());
        }
    }
    assert!(files.contains_key("Engine") && files.contains_key("ClientSession"), "the types are there");
    for (name, files) in files {
        let most = MORE.iter().find(|(of, _)| *of == name).map_or(2, |&(_, most)| most);
        assert!(files.len() <= most, "methods of {name} are in {files:?}");
    }
}

/// The type whose own methods begin in this line.
fn implemented(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl").filter(|rest| !rest.contains(" for "))?;
    // Behind the generic parameters.
    let mut depth = 0;
    let start = rest.find(|c: char| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth == 0 && c.is_alphabetic()
    })?;
    Some(rest[start..].chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect())
}

#[test]
fn paths_are_read() {
    let code = "use crate::a::{self, b::{C, D as E}, f};\nfn g() -> super::h::I { self::j() }\nmycrate::k; $crate::l;";
    let types = ["impl A {", "impl<'a, T: B<'a>> C<'a, T> {", "impl D for E {", "    impl F {"].map(implemented);
    assert_eq!(types, [Some("A".into()), Some("C".into()), None, None]);
    let found: Vec<_> = paths(code).iter().map(|path| path.join("::")).collect();
    let expected = ["crate::a::self", "crate::a::b::C", "crate::a::b::D", "crate::a::f", "super::h::I", "self::j"];
    assert_eq!(found, expected);
}
