//! The test functions of the workspace, found in its source files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tokens::{Token, tokens};

/// The packages whose tests can show a statement: the folder, and the package's name unless it is the first one.
const PACKAGES: [(&str, &str); 7] = [
    ("", ""),
    ("tests/codec", "mqtt-sansio-codec-tests"),
    ("crates/testkit", "mqtt-sansio-testkit"),
    ("crates/std", "mqtt-sansio-std"),
    ("crates/tokio", "mqtt-sansio-tokio"),
    ("crates/embedded", "mqtt-sansio-embedded"),
    ("fuzz/bodies", "mqtt-sansio-fuzz-bodies"),
];

/// A test function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// The arguments of `cargo test` that select its binary, such as `--test server_statements`.
    pub binary: String,
    /// The path of the function in its binary, such as `connecting::mqtt_3_1_0_2_a_second_connect_closes`.
    pub path: String,
    /// The file, relative to the top of the repository.
    pub file: String,
}

impl Test {
    /// Returns the arguments of `cargo test` that run this test.
    pub fn arguments(&self) -> String {
        format!("{} {}", self.binary, self.path)
    }
}

/// Whether `cargo test` runs a function, when all features are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    Yes,
    /// It has no `#[test]`.
    NoTest,
    /// It has `#[ignore]`.
    Ignored,
    /// It, or a module around it, has a `#[cfg]` that does not hold.
    Disabled,
}

/// A function of a test binary, and its documentation.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) test: Test,
    pub(crate) docs: String,
    pub(crate) runs: Runs,
}

/// Returns the functions of all test binaries, and of the unit tests of libraries.
///
/// # Errors
///
/// A file cannot be read.
pub(crate) fn functions(root: &Path) -> Result<Vec<Function>, String> {
    let mut functions = Vec::new();
    for (folder, package) in PACKAGES {
        let package_argument = if package.is_empty() { String::new() } else { format!("-p {package} ") };
        let folder = Path::new(folder);
        let library = folder.join("src/lib.rs");
        let mut binaries = Vec::new();
        if root.join(&library).is_file() {
            binaries.push((library, format!("{package_argument}--lib")));
        }
        for file in test_files(root, &folder.join("tests"))? {
            let stem = if file.ends_with("main.rs") { file.parent().unwrap_or(&file) } else { &file };
            let name = stem.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            binaries.push((file, format!("{package_argument}--test {name}")));
        }
        for (file, binary) in binaries {
            let mut walk = Walk { root, binary, functions: &mut functions };
            walk.file(&Module { file, path: Vec::new(), is_enabled: true, owns_folder: true })?;
        }
    }
    Ok(functions)
}

/// The root files of the test binaries of a package: `tests/*.rs` and `tests/*/main.rs`.
fn test_files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = BTreeSet::new();
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
    for entry in entries {
        let name = entry.map_err(|error| format!("{}: {error}", folder.display()))?.file_name();
        let path = folder.join(name);
        let main = path.join("main.rs");
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path);
        } else if root.join(&main).is_file() {
            files.insert(main);
        }
    }
    Ok(files.into_iter().collect())
}

/// A file with a module.
#[derive(Debug)]
struct Module {
    file: PathBuf,
    path: Vec<String>,
    is_enabled: bool,
    /// Whether the files of its modules are beside it, as those of `lib.rs` and `mod.rs` are.
    owns_folder: bool,
}

/// The way through the modules of one binary.
struct Walk<'w> {
    root: &'w Path,
    binary: String,
    functions: &'w mut Vec<Function>,
}

impl Walk<'_> {
    fn file(&mut self, module: &Module) -> Result<(), String> {
        let source = fs::read_to_string(self.root.join(&module.file))
            .map_err(|error| format!("{}: {error}", module.file.display()))?;
        let items = items(&tokens(&source));
        let is_enabled = module.is_enabled && items.is_enabled;
        for item in items.list {
            let path: Vec<_> = module.path.iter().chain(&item.path).cloned().collect();
            let is_enabled = is_enabled && item.is_enabled;
            match item.kind {
                ItemKind::Module { file } => {
                    let child = self.child(module, &item.path, file.as_deref());
                    let owns_folder = file.is_some() || child.ends_with("mod.rs");
                    self.file(&Module { file: child, path, is_enabled, owns_folder })?;
                }
                ItemKind::Function { runs, docs } => self.functions.push(Function {
                    test: Test {
                        binary: self.binary.clone(),
                        path: path.join("::"),
                        file: module.file.to_string_lossy().replace('\\', "/"),
                    },
                    docs,
                    runs: if is_enabled || runs == Runs::NoTest { runs } else { Runs::Disabled },
                }),
            }
        }
        Ok(())
    }

    /// The file of a module that is declared in another one.
    fn child(&self, module: &Module, path: &[String], file: Option<&str>) -> PathBuf {
        let folder = module.file.parent().unwrap_or(Path::new(""));
        if let Some(file) = file {
            return folder.join(file);
        }
        let mut folder = folder.to_path_buf();
        if !module.owns_folder {
            folder.push(module.file.file_stem().unwrap_or_default());
        }
        folder.extend(path);
        let beside = folder.with_extension("rs");
        if self.root.join(&beside).is_file() { beside } else { folder.join("mod.rs") }
    }
}

/// The functions in a file, and the modules that it declares.
struct Items {
    list: Vec<Item>,
    /// Whether the inner `#![cfg]` of the file hold.
    is_enabled: bool,
}

#[derive(Debug, PartialEq)]
struct Item {
    /// The path from the module of the file.
    path: Vec<String>,
    is_enabled: bool,
    kind: ItemKind,
}

#[derive(Debug, PartialEq)]
enum ItemKind {
    /// A module in another file, which its `#[path]` may name.
    Module {
        file: Option<String>,
    },
    Function {
        runs: Runs,
        docs: String,
    },
}

/// What stands before an item.
#[derive(Default)]
struct Before {
    docs: Vec<String>,
    attributes: Vec<Vec<Token>>,
}

impl Before {
    fn is_enabled(&self) -> bool {
        self.attributes.iter().all(|attribute| is_enabled(attribute))
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute.iter().any(|token| token.word() == Some(name)))
    }

    /// Whether there is `#[test]`, or an attribute such as `#[tokio::test]`.
    fn is_test(&self) -> bool {
        let path = |attribute: &[Token]| {
            let words = attribute.iter().take_while(|token| !token.is('(')).filter_map(Token::word);
            words.last() == Some("test")
        };
        self.attributes.iter().any(|attribute| path(attribute))
    }

    fn runs(&self) -> Runs {
        match (self.is_test(), self.has("ignore")) {
            (false, _) => Runs::NoTest,
            (true, true) => Runs::Ignored,
            (true, false) => Runs::Yes,
        }
    }

    fn file(&self) -> Option<String> {
        let path = self.attributes.iter().find(|attribute| attribute[0].word() == Some("path"))?;
        path.iter().find_map(|token| if let Token::Text(file) = token { Some(file.clone()) } else { None })
    }
}

/// Words between the attributes of an item and its keyword.
const QUALIFIERS: [&str; 8] = ["async", "const", "crate", "extern", "in", "pub", "super", "unsafe"];

fn items(tokens: &[Token]) -> Items {
    let mut items = Items { list: Vec::new(), is_enabled: true };
    let mut before = Before::default();
    // For each brace that is open: the name and state of its module, if it is the brace of a module.
    let mut open: Vec<Option<(String, bool)>> = Vec::new();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let path = |name: &str| open.iter().flatten().map(|(name, _)| name.clone()).chain([name.to_owned()]).collect();
        let enclosing = open.iter().flatten().all(|(_, is_enabled)| *is_enabled);
        match (token, rest) {
            (Token::Doc(line), _) => before.docs.push(line.clone()),
            (Token::Mark('#'), [Token::Mark('!'), Token::Mark('['), ..]) => {
                let (attribute, after) = attribute(&rest[2..]);
                items.is_enabled &= is_enabled(attribute);
                rest = after;
            }
            (Token::Mark('#'), [Token::Mark('['), ..]) => {
                let (attribute, after) = attribute(&rest[1..]);
                if !attribute.is_empty() {
                    before.attributes.push(attribute.to_vec());
                }
                rest = after;
            }
            (Token::Word(word), [Token::Word(name), after @ ..]) if word == "fn" => {
                let docs = before.docs.join("\n");
                let kind = ItemKind::Function { runs: before.runs(), docs };
                items.list.push(Item { path: path(name), is_enabled: enclosing && before.is_enabled(), kind });
                (rest, before) = (after, Before::default());
            }
            (Token::Word(word), [Token::Word(name), Token::Mark(';'), after @ ..]) if word == "mod" => {
                let kind = ItemKind::Module { file: before.file() };
                items.list.push(Item { path: path(name), is_enabled: enclosing && before.is_enabled(), kind });
                (rest, before) = (after, Before::default());
            }
            (Token::Word(word), [Token::Word(name), Token::Mark('{'), after @ ..]) if word == "mod" => {
                open.push(Some((name.clone(), before.is_enabled())));
                (rest, before) = (after, Before::default());
            }
            (Token::Word(word), _) if QUALIFIERS.contains(&word.as_str()) => {}
            // `pub(crate)`, `extern "C"`
            (Token::Mark('(' | ')') | Token::Text(_), _) => {}
            (token, _) => {
                if token.is('{') {
                    open.push(None);
                } else if token.is('}') {
                    open.pop();
                }
                before = Before::default();
            }
        }
    }
    items
}

/// Returns the tokens of an attribute, and what follows it.
fn attribute(tokens: &[Token]) -> (&[Token], &[Token]) {
    let mut depth = 1_usize;
    for (position, token) in tokens.iter().enumerate() {
        if token.is('[') {
            depth += 1;
        } else if token.is(']') {
            depth -= 1;
            if depth == 0 {
                return (&tokens[..position], &tokens[position + 1..]);
            }
        }
    }
    (tokens, &[])
}

/// Whether an attribute is none that disables its item: another one than `cfg`, or one whose predicate holds.
fn is_enabled(attribute: &[Token]) -> bool {
    match attribute {
        [Token::Word(name), predicate @ ..] if name == "cfg" => holds(predicate).0,
        _ => true,
    }
}

/// Whether a predicate of `cfg` holds in tests with all features, and what follows it. A name that is not known does not
/// hold.
fn holds(predicate: &[Token]) -> (bool, &[Token]) {
    let (results, rest) = match predicate {
        [Token::Word(name), Token::Mark('='), Token::Text(_), rest @ ..] => return (name == "feature", rest),
        [Token::Word(name), Token::Mark('('), rest @ ..] => {
            let (results, rest) = list(rest);
            let result = match name.as_str() {
                "all" => results.iter().all(|&result| result),
                "any" => results.iter().any(|&result| result),
                "not" => results == [false],
                _ => false,
            };
            return (result, rest);
        }
        [Token::Word(name), rest @ ..] => return (["debug_assertions", "test", "unix"].contains(&name.as_str()), rest),
        [Token::Mark('('), rest @ ..] => list(rest),
        _ => (Vec::new(), predicate),
    };
    (results == [true], rest)
}

/// The predicates up to the closing parenthesis, and what follows it.
fn list(mut tokens: &[Token]) -> (Vec<bool>, &[Token]) {
    let mut results = Vec::new();
    loop {
        match tokens {
            [Token::Mark(')'), rest @ ..] => return (results, rest),
            [Token::Mark(','), rest @ ..] => tokens = rest,
            [] => return (results, tokens),
            _ => {
                let (result, rest) = holds(tokens);
                results.push(result);
                // At least one token is used up, so that the loop ends.
                tokens = if rest.len() < tokens.len() { rest } else { &tokens[1..] };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions in some source text, whether they run, and their documentation.
    fn found(source: &str) -> Vec<(String, Runs, String)> {
        let items = items(&tokens(source));
        let function = |item: Item| match item.kind {
            ItemKind::Function { runs, docs } => {
                let is_enabled = items.is_enabled && item.is_enabled;
                Some((item.path.join("::"), if is_enabled { runs } else { Runs::Disabled }, docs))
            }
            ItemKind::Module { .. } => None,
        };
        items.list.into_iter().filter_map(function).collect()
    }

    /// Checks a source text with one function.
    #[track_caller]
    fn assert_runs(source: &str, expected: Runs) {
        let found = found(source);
        let [(_, runs, _)] = &found[..] else { panic!("{source}: {found:?}") };
        assert_eq!(*runs, expected, "{source}");
    }

    #[test]
    fn tests_and_other_functions_are_told_apart() {
        assert_runs("#[test] fn a() {}", Runs::Yes);
        assert_runs("#[tokio::test(start_paused = true)] pub(crate) async fn a() {}", Runs::Yes);
        assert_runs("#[should_panic(expected = \"x\")] #[test] fn a() {}", Runs::Yes);
        assert_runs("fn a() {}", Runs::NoTest);
        assert_runs("#[test] struct A; fn a() {}", Runs::NoTest);
        assert_runs("#[cfg(test)] fn a() {}", Runs::NoTest);
        assert_runs("#[test] #[ignore] fn a() {}", Runs::Ignored);
        assert_runs("#[ignore = \"slow\"] #[test] fn a() {}", Runs::Ignored);
        assert_runs("#[cfg_attr(not(unix), ignore)] #[test] fn a() {}", Runs::Ignored);
    }

    #[test]
    fn a_test_runs_if_all_conditions_around_it_hold() {
        for (predicate, expected) in [
            ("test", Runs::Yes),
            ("feature = \"broker\"", Runs::Yes),
            ("not(feature = \"broker\")", Runs::Disabled),
            ("all(unix, feature = \"std\")", Runs::Yes),
            ("all(unix, windows)", Runs::Disabled),
            ("any(windows, feature = \"std\")", Runs::Yes),
            ("not(any(windows, all(test, not(unix))))", Runs::Yes),
            ("target_os = \"windows\"", Runs::Disabled),
            ("unknown", Runs::Disabled),
        ] {
            assert_runs(&format!("#[cfg({predicate})] #[test] fn a() {{}}"), expected);
            assert_runs(&format!("#![cfg({predicate})] #[test] fn a() {{}}"), expected);
            assert_runs(&format!("#[cfg({predicate})] mod m {{ #[test] fn a() {{}} }}"), expected);
        }
        assert_runs("#[cfg(windows)] mod m { fn_like!{} } #[test] fn a() {}", Runs::Yes);
    }

    #[test]
    fn paths_and_documentation_belong_to_the_function() {
        let source = "//! none
            mod outer {
                /// One
                /// more.
                #[test]
                #[doc(hidden)]
                fn a() { if x { } struct S { /// no
                    field: u8 } }
                mod inner { /// Two.
                    pub fn b() { fn c() {} } }
                /// Lost.
                const X: u8 = 0;
                fn d() {}
            }
            proptest! { /// Three.
                #[test] fn e(x in 0..3) {} }
            macro_rules! m { ($f:ident) => { #[test] fn $f() {} } }";
        let expected = [
            ("outer::a", Runs::Yes, "One\nmore."),
            ("outer::inner::b", Runs::NoTest, "Two."),
            ("outer::inner::c", Runs::NoTest, ""),
            ("outer::d", Runs::NoTest, ""),
            ("e", Runs::Yes, "Three."),
        ];
        assert_eq!(found(source), expected.map(|(path, runs, docs)| (path.to_owned(), runs, docs.to_owned())));
    }

    #[test]
    fn modules_of_other_files_are_found() {
        let items = items(&tokens("#[path = \"../x.rs\"] mod a; mod b { pub(crate) mod c; } #[cfg(windows)] mod d;"));
        let module = |path: &[&str], is_enabled, file: Option<&str>| Item {
            path: path.iter().map(|&name| name.to_owned()).collect(),
            is_enabled,
            kind: ItemKind::Module { file: file.map(str::to_owned) },
        };
        let expected =
            [module(&["a"], true, Some("../x.rs")), module(&["b", "c"], true, None), module(&["d"], false, None)];
        assert_eq!(items.list, expected);
    }
}
