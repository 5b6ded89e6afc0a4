//! What a machine can check about the shape of the code, so that it holds: module docs, who imports
//! whom, who may print, spawn and rename, and how long files and functions get.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file without its tests, and of a function. Lower them when you can; never raise them.
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Each module of `src/`, and those that it may import. What is absent from a row is an invariant:
/// senders and receivers never see the server, the server never sees the client.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Layer 1: the ground.
    ("buffers", &[]),
    ("cli", &[]),
    ("clock", &["failure", "human"]),
    ("config", &["failure"]),
    ("crash", &[]),
    ("disk", &["failure"]),
    ("failure", &[]),
    ("human", &[]),
    ("identity", &["disk", "failure"]),
    ("log", &["progress"]),
    ("pace", &[]),
    ("progress", &["failure", "human"]),
    ("secrecy", &["failure"]),
    ("task", &["failure"]),
    ("throttle", &[]),
    ("tls", &["clock", "disk", "failure", "identity"]),
    ("worker", &["clock", "task"]),
    // Layer 2: speaking, listening, remembering.
    ("client", &["buffers", "clock", "failure", "identity", "pace", "task", "tls"]),
    ("context", &["client", "progress"]),
    ("journal", &["clock", "disk", "failure"]),
    ("known_swarms", &["disk", "failure"]),
    ("server", &["failure", "pace", "task", "tls"]),
    ("withdraw", &["client", "clock", "context", "failure", "journal", "known_swarms"]),
    // Layer 3: the roles.
    (
        "tracker",
        &[
            "buffers", "client", "clock", "crash", "disk", "failure", "human", "identity", "server", "task",
            "throttle", "tls", "worker",
        ],
    ),
    (
        "peer",
        &[
            "buffers", "client", "clock", "crash", "disk", "failure", "human", "identity", "server", "task",
            "throttle", "tls", "worker",
        ],
    ),
    (
        "share",
        &[
            "buffers", "client", "clock", "config", "context", "crash", "disk", "failure", "human",
            "identity", "journal", "progress", "task", "withdraw",
        ],
    ),
    (
        "get",
        &[
            "buffers", "client", "clock", "context", "crash", "disk", "failure", "human", "journal",
            "progress", "task",
        ],
    ),
    // Layer 4: all together. `commands` imports what it needs, but for servers: see MAY_SERVE.
    ("simulation", &["client", "clock", "peer", "tracker"]),
];

/// The files of `src/commands` that may import the servers, and the modules that these are.
const MAY_SERVE: &[&str] = &["drain", "invite", "local", "peer", "serving", "tokens", "tracker"];
const SERVERS: &[&str] = &["peer", "server", "tracker"];

/// Each directory of `web/js`, and those that it may import. Whatever a directory imports stands above it: no circles.
const WEB_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("format", &[]),
    ("transfer", &["format"]),
    ("page", &["format"]),
    ("sinks", &["format", "page", "transfer"]),
    ("get", &["format", "page", "sinks", "transfer"]),
    ("share", &["format", "page", "transfer"]),
    ("admin", &["page", "transfer"]),
];

/// Words that may stand in these files only, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("println!", &["src/simulation/mod.rs"], "progress.rs prints, and it returns errors"),
    ("eprintln!", &["src/simulation/mod.rs"], "progress.rs prints, and it returns errors"),
    ("io::stdout()", &["src/progress.rs", "src/get/sink.rs"], "stdout carries results only"),
    (
        "io::stderr()",
        &["src/progress.rs", "src/progress/bar.rs", "src/log.rs", "src/commands/pasted.rs"],
        "progress.rs prints around its bar",
    ),
    ("tokio::spawn", &[], "every task has an owner: use task::Tasks or a JoinSet"),
    ("thread::spawn", &[], "blocking work goes through task::blocking"),
    (
        "JoinSet::new",
        &["src/share/push.rs", "src/get/download.rs", "src/tracker/audits.rs"],
        "only the shells and the audits run a set of work",
    ),
    ("fs::rename", &["src/disk/durable.rs"], "a rename must be synced and must not replace by accident"),
    ("renameat", &["src/disk/dir.rs"], "a rename must be synced and must not replace by accident"),
    ("SystemTime::now", &["src/clock.rs"], "one place knows the wall clock"),
    ("use ring::", &["core/src/gcm.rs"], "aws-lc does all but AES-GCM on some processors"),
    ("crypto::ring", &["src/tls.rs"], "aws-lc does all but AES-GCM on some processors"),
    ("process::exit", &[], "main returns the exit code"),
    ("todo!", &[], "finish it or say in the docs that it is not there"),
    ("unimplemented!", &[], "finish it or say in the docs that it is not there"),
    ("dbg!", &[], "use tracing"),
    ("FIXME", &[], "mend it"),
];

/// What the pure crate must not touch.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::io",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant",
    "tracing",
    "getrandom",
    "OsRng",
];

/// Lines of the pure crate that may name the above, for they touch bytes in memory only.
const IN_MEMORY: &[(&str, &str)] = &[("core/src/proof.rs", "use std::io::Read as _;")];

struct Source {
    path: String,
    /// The text up to the unit tests.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below these directories.
fn sources(directories: &[&str]) -> Vec<Source> {
    files(directories, &["rs"]).into_iter().map(read).collect()
}

/// The modules of the web page.
fn web_modules() -> Vec<Source> {
    files(&["web/js"], &["js"]).into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    Source { path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), code }
}

/// The files below these directories whose names end so.
fn files(directories: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = directories.iter().map(|directory| root().join(directory)).collect();
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| extensions.contains(&end.to_str().unwrap())) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 5);
    found
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let all = sources(&["src", "core/src", "core/tests", "tests"]);
    let silent = all.iter().filter(|source| !source.code.starts_with("//! "));
    report(&silent.map(|source| format!("{}: starts without a module doc", source.path)).collect::<Vec<_>>());
    // A JSDoc block would belong to what is declared next.
    let (mut silent, mut modules) = (Vec::new(), web_modules());
    modules.push(read(root().join("web/sw.js")));
    for Source { path, code } in modules {
        let after = code.lines().find(|line| !line.starts_with("//"));
        if !code.starts_with("// ") || after != Some("") {
            silent.push(format!("{path}: starts without a comment of lines and an empty line after it"));
        }
    }
    report(&silent);
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut problems = Vec::new();
    for source in sources(&["src"]) {
        let module = source.path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        if matches!(module.as_str(), "main" | "lib" | "commands") {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            problems.push(format!("{}: add the module to MAY_IMPORT in tests/tidy.rs", source.path));
            continue;
        };
        for name in imports(&source.code) {
            if name != module && !allowed.contains(&name) {
                problems.push(format!("{}: must not import {name}", source.path));
            }
        }
    }
    report(&problems);
}

#[test]
fn only_commands_that_serve_import_servers() {
    let mut problems = Vec::new();
    for source in sources(&["src/commands"]) {
        let name = source.path["src/commands/".len()..].trim_end_matches(".rs");
        let mut servers = imports(&source.code);
        servers.retain(|name| SERVERS.contains(name));
        let may_serve = MAY_SERVE.contains(&name);
        if may_serve && servers.is_empty() {
            problems.push(format!("{}: imports no server any more", source.path));
        }
        for server in servers.iter().filter(|_| !may_serve) {
            problems.push(format!("{}: must not import {server}", source.path));
        }
    }
    report(&problems);
}

/// The modules of this crate that the code names.
fn imports(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let imported: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in imported {
            let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn the_web_page_imports_only_what_lies_below_it() {
    let mut problems = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (at, (directory, allowed)) in WEB_MAY_IMPORT.iter().enumerate() {
        unused.extend(allowed.iter().map(|imported| (*directory, *imported)));
        let below: Vec<&str> = WEB_MAY_IMPORT[..at].iter().map(|(below, _)| *below).collect();
        let circles = allowed.iter().filter(|imported| !below.contains(*imported));
        problems
            .extend(circles.map(|imported| format!("{imported} must stand above {directory} in the table")));
    }
    for Source { path, code } in web_modules() {
        let place: Vec<&str> = path.split('/').collect();
        let Some((directory, allowed)) =
            WEB_MAY_IMPORT.iter().find(|(name, _)| place.len() == 4 && *name == place[2])
        else {
            problems.push(format!("{path}: lies in none of the folders in WEB_MAY_IMPORT in tests/tidy.rs"));
            continue;
        };
        // Types count as well, and so do the scripts of workers.
        for start in ["\"../", "\"/web/js/"] {
            for (at, _) in code.match_indices(start) {
                let imported = code[at + start.len()..].split('/').next().unwrap();
                unused.retain(|arrow| *arrow != (*directory, imported));
                if imported != *directory && !allowed.contains(&imported) {
                    problems.push(format!("{path}: must not import {imported}"));
                }
            }
        }
    }
    problems.extend(
        unused.iter().map(|(directory, imported)| format!("{directory} does not import {imported} any more")),
    );
    report(&problems);
}

#[test]
fn the_core_is_pure() {
    let mut problems = Vec::new();
    for source in sources(&["core/src"]) {
        for line in source.code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let in_memory = IN_MEMORY.contains(&(source.path.as_str(), line));
            for word in IMPURE.iter().filter(|word| line.contains(**word) && !in_memory) {
                problems.push(format!("{}: {word} in: {}", source.path, line.trim()));
            }
        }
    }
    report(&problems);
}

#[test]
fn reserved_words_stand_where_they_may() {
    let mut problems = Vec::new();
    for source in sources(&["src", "core/src"]) {
        for (word, files, why) in RESERVED {
            if source.code.contains(word) && !files.contains(&source.path.as_str()) {
                problems.push(format!("{}: {word}: {why}", source.path));
            }
        }
    }
    report(&problems);
}

#[test]
fn files_and_functions_stay_short() {
    let mut problems = Vec::new();
    let mut all = sources(&["src", "core/src", "core/tests", "tests"]);
    all.extend(web_modules());
    for source in all {
        let lines: Vec<&str> = source.code.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            problems.push(format!("{}: {} lines; is it two things?", source.path, lines.len()));
        }
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[start..].iter().position(|line| *line == format!("{indent}}}")).unwrap_or(0);
            if end + 1 > FUNCTION_LINES_MAX {
                problems.push(format!("{}:{}: {} lines in one function", source.path, start + 1, end + 1));
            }
        }
    }
    report(&problems);
}

fn is_function(line: &str) -> bool {
    let words = line.trim_start().split(' ');
    let mut words = words.skip_while(|word| {
        word.starts_with("pub") || matches!(*word, "in" | "const" | "async" | "unsafe" | "extern")
    });
    words.next() == Some("fn")
}

#[test]
fn the_map_names_every_file_and_only_files_that_exist() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut problems = Vec::new();
    for source in sources(&["src", "core/src"]) {
        if !map.contains(&format!("`{}`", source.path)) {
            problems.push(format!("ARCHITECTURE.md does not say what {} is for", source.path));
        }
    }
    for file in files(&["web"], &["css", "html", "js", "svg"]) {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        if !map.contains(&format!("| `{path}` |")) {
            problems.push(format!("ARCHITECTURE.md does not say what {path} is for"));
        }
    }
    let glossary = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let ends = [".rs", ".md", ".sh", ".sql", ".json", ".js", ".css", ".html"];
    for (document, text) in [("ARCHITECTURE.md", &map), ("docs/glossary.md", &glossary)] {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/') && ends.iter().any(|end| word.ends_with(end));
            if is_path && !root().join(word).exists() {
                problems.push(format!("{document} names {word}, which is not there"));
            }
        }
    }
    report(&problems);
}

/// Whoever changes the API reads the protocol's description once more, and then renews the hash.
#[test]
fn the_protocol_description_was_read_at_the_last_change_of_the_api() {
    let wire = on_the_wire();
    for known in
        ["struct HeartbeatRequest", "struct Usage", "enum Condition", "for ChunkSet", "macro_rules! id"]
    {
        assert!(wire.contains(known), "{known}");
    }
    let hash = &blake3::hash(wire.as_bytes()).to_hex()[..16];
    let description = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let line = format!("<!-- describes the types of the wire in core/src, whose hash is {hash} -->");
    assert!(
        description.contains(&line),
        "read docs/protocol.md against core/src/api.rs and the other types of the wire, then put there: {line}"
    );
}

/// The files of `core/src` that are about the wire alone: requests and answers, and the tokens that go with them.
const WIRE_FILES: &[&str] = &[
    "api",
    "blob",
    "dashboard",
    "enclosed",
    "evidence",
    "gateway",
    "grant",
    "heartbeat",
    "owner",
    "problem",
    "receipt",
    "terms",
];

/// The code of the files that are about the APIs alone, and of all others the items by which a type stands in a schema:
/// no list has to name where those are.
fn on_the_wire() -> String {
    let mut wire = String::new();
    for Source { path, code } in sources(&["core/src"]) {
        let name = path["core/src/".len()..].trim_end_matches(".rs");
        if WIRE_FILES.contains(&name) {
            wire += &code;
        } else if code.contains("ToSchema") {
            let forms =
                ["ToSchema", "PartialSchema", "Serialize for ", "Deserialize<'de> for ", "Display for "];
            let is_form = |item: &String| forms.iter().any(|form| item.contains(form));
            wire.extend(items(&code).into_iter().filter(|item| !item.starts_with("use ") && is_form(item)));
        }
    }
    wire
}

/// What stands in a file side by side, each with its comments.
fn items(code: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for part in code.split("\n\n") {
        match items.last_mut().filter(|_| part.starts_with(' ')) {
            Some(item) => item.extend(["\n\n", part]),
            None => items.push(part.to_owned()),
        }
    }
    items
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut problems = Vec::new();
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/durability.md",
        "docs/field.md",
        "docs/formats.md",
        "docs/glossary.md",
        "docs/json.md",
        "docs/protocol.md",
        "docs/operating.md",
        "docs/performance.md",
        "docs/security.md",
    ];
    for document in documents {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let directory = root().join(document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") && !directory.join(file).exists() {
                problems.push(format!("{document} links to {file}, which is not there"));
            }
        }
    }
    report(&problems);
}

/// The table of cases is worth something only as long as its tests are there.
#[test]
fn every_test_that_the_documents_name_is_there() {
    let mut code = String::new();
    for file in files(&["src", "core/src", "tests", "core/tests"], &["rs"]) {
        code += &fs::read_to_string(file).unwrap();
    }
    for (document, heading) in [("security", "| case | test |"), ("durability", "| mutant | noticed by |")] {
        let text = fs::read_to_string(root().join(format!("docs/{document}.md"))).unwrap();
        let (_, table) = text.split_once(heading).unwrap();
        let quoted = table.split('`').skip(1).step_by(2);
        let names = quoted.filter(|name| name.contains('_') && !name.contains(['/', ' ', '.']));
        let missing: Vec<_> = names.clone().filter(|name| !code.contains(&format!("fn {name}("))).collect();
        assert!(
            names.count() > 15 && missing.is_empty(),
            "docs/{document}.md names tests that are not there: {missing:?}"
        );
    }
}
