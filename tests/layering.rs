//! Holds every module of `src/` against the layering that `src/lib.rs` and ARCHITECTURE.md describe: pure modules import
//! pure modules only, and no library that does input or output; IO siblings import pure modules only, never each other;
//! composition may import what it composes.
//!
//! Modules for tests are left out: they may use whatever they need.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[path = "layering/source.rs"]
mod source;

use source::paths_of;

/// Pure modules, each with the pure modules that it may import. No module may import one that stands below it, so the
/// order is free of circles.
const PURE: &[(&str, &[&str])] = &[
    ("defaults", &[]),
    ("time", &[]),
    ("ids", &["defaults"]),
    ("model", &[]),
    ("pace", &["time"]),
    ("simulation", &["time"]),
    ("traffic", &["defaults", "ids", "time"]),
    ("registry", &["ids", "model", "time"]),
    ("status", &["ids", "model", "time"]),
    ("admin", &["ids", "registry", "status"]),
    ("wire", &["defaults", "ids", "model", "status", "time"]),
    ("outbox", &["defaults", "ids", "model", "time", "wire"]),
    ("session", &["defaults", "ids", "model", "time", "wire"]),
    ("routes", &["defaults", "ids", "model", "outbox", "pace", "status", "time", "traffic", "wire"]),
    (
        "hub",
        &[
            "admin", "defaults", "ids", "model", "outbox", "pace", "registry", "routes", "session", "status", "time",
            "traffic", "wire",
        ],
    ),
];

/// Modules that do input and output, each with the libraries that it alone may use.
const IO: &[(&str, &[&str])] = &[
    ("net", &["fastrand", "socket2", "tokio"]),
    ("store", &["csv", "jiff", "rusqlite", "tokio"]),
    ("ros", &["libloading", "r2r", "r2r_rcl", "tokio"]),
];

/// Modules that put the others together, each with the modules of this and the IO layer that it may import.
const COMPOSITION: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("node", &["config", "net", "ros", "store"]),
    ("cli", &["config", "net", "node", "ros", "store"]),
];

/// The programs only start what the library holds.
const PROGRAMS: (&str, &[&str]) = ("bin", &["cli", "config", "node"]);

/// Libraries that touch the world outside the process, or that not everybody has. Each module may use those that its
/// line in [`IO`] names; composition may use [`COMPOSITION_LIBRARIES`]; pure modules may use none.
const WORLDLY: &[&str] = &[
    "clap",
    "csv",
    "fastrand",
    "gethostname",
    "jiff",
    "libloading",
    "r2r",
    "r2r_rcl",
    "rusqlite",
    "rustix",
    "serde_saphyr",
    "socket2",
    "tokio",
    "tracing_subscriber",
];

const COMPOSITION_LIBRARIES: &[&str] =
    &["clap", "csv", "fastrand", "gethostname", "jiff", "rustix", "serde_saphyr", "tokio", "tracing_subscriber"];

/// Beginnings of paths that read clocks, files, the environment or the network: not for pure modules.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync::mpsc",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

#[test]
fn every_module_imports_only_what_its_layer_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    let mut checked = 0;
    for file in rust_files(&root).unwrap() {
        let inside = file.strip_prefix(&root).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        if is_for_tests(inside) {
            continue;
        }
        checked += 1;
        faults.extend(faults_of(inside, &text));
    }
    assert!(checked > 10, "only {checked} files were found in {}", root.display());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_module_of_the_library_has_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let declared: Vec<String> = source::modules_of(&fs::read_to_string(root.join("lib.rs")).unwrap());
    let known: Vec<&str> = PURE.iter().chain(IO).chain(COMPOSITION).map(|(name, _)| *name).collect();
    for module in &declared {
        assert!(
            known.contains(&module.as_str()),
            "{module} is in src/lib.rs, but tests/layering.rs names no layer for it"
        );
    }
    for module in known {
        assert!(
            declared.iter().any(|name| name == module),
            "tests/layering.rs names {module}, which src/lib.rs does not"
        );
    }
}

#[test]
fn the_order_of_the_pure_modules_has_no_circle() {
    for (place, (module, allowed)) in PURE.iter().enumerate() {
        for import in *allowed {
            assert!(PURE[..place].iter().any(|(name, _)| name == import), "{module} stands before {import}");
        }
    }
}

/// What is wrong with the imports of `file`, a path inside `src/`.
fn faults_of(file: &Path, text: &str) -> Vec<String> {
    let Some((module, depth)) = module_of(file) else { return Vec::new() };
    let mut faults = Vec::new();
    for found in paths_of(text) {
        let mut fault = |what: String| faults.push(format!("src/{}:{}: {what}", file.display(), found.line));
        let path = found.path.join("::");
        if let Some(target) = module_imported(&found.path, depth, module) {
            if target != module && !may_import(module, target) {
                fault(format!("{module} must not import {target} ({path})"));
            }
        } else if let Some(library) = found.path.first().filter(|first| WORLDLY.contains(&first.as_str())) {
            if !may_use(module, library) {
                fault(format!("{module} must not use the library {library} ({path})"));
            }
        } else if is_pure(module) && is_impure(&found.path) {
            fault(format!("{module} is pure and must not use {path}"));
        }
    }
    faults
}

/// The module that `file` belongs to and how deep in it the file is: 1 for `net.rs` and `net/mod.rs`, 2 for `net/x.rs`.
fn module_of(file: &Path) -> Option<(&str, usize)> {
    let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["lib.rs"] => None,
        [single] => Some((single.strip_suffix(".rs")?, 1)),
        [module, inner @ ..] => Some((module, inner.len() + usize::from(inner.last() != Some(&"mod.rs")))),
        [] => None,
    }
}

/// The top-level module that `path`, found `depth` modules below the crate's root, leads to; `None` if it stays inside
/// the module or leads to another crate.
fn module_imported<'a>(path: &'a [String], depth: usize, module: &str) -> Option<&'a str> {
    let first = path.first()?.as_str();
    let at_root = match first {
        "crate" => 1,
        "switchboard" if module == PROGRAMS.0 => 1,
        "super" if path.iter().take_while(|part| *part == "super").count() >= depth => depth,
        _ => return None,
    };
    path.get(at_root).map(String::as_str)
}

fn may_import(module: &str, target: &str) -> bool {
    let listed = |layer: &[(&str, &[&str])]| {
        layer.iter().find(|(name, _)| *name == module).map(|(_, allowed)| allowed.contains(&target))
    };
    if module == PROGRAMS.0 {
        PROGRAMS.1.contains(&target)
    } else if is_pure(module) {
        listed(PURE).unwrap_or(false)
    } else if IO.iter().any(|(name, _)| *name == module) {
        is_pure(target)
    } else {
        is_pure(target) || listed(COMPOSITION).unwrap_or(false)
    }
}

fn may_use(module: &str, library: &str) -> bool {
    if let Some((_, own)) = IO.iter().find(|(name, _)| *name == module) {
        own.contains(&library)
    } else {
        !is_pure(module) && COMPOSITION_LIBRARIES.contains(&library)
    }
}

fn is_pure(module: &str) -> bool {
    PURE.iter().any(|(name, _)| *name == module)
}

fn is_impure(path: &[String]) -> bool {
    let joined = path.join("::");
    let begins = |start: &str| joined == start || joined.strip_prefix(start).is_some_and(|rest| rest.starts_with("::"));
    // `use std::time` and then `time::Instant` is the same.
    let shortened = |start: &str| start.strip_prefix("std::").is_some_and(begins);
    IMPURE.iter().any(|start| begins(start) || shortened(start))
}

fn is_for_tests(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs")
}

fn rust_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The checker itself.
mod checker {
    use super::*;

    fn faults(file: &str, text: &str) -> Vec<String> {
        faults_of(Path::new(file), text)
    }

    #[test]
    fn what_the_layers_allow_passes() {
        for (file, text) in [
            ("wire/frame.rs", "use crate::{defaults, ids::{ChannelId, FeedId}, time::Wall};"),
            ("wire/frame.rs", "use super::WireError; use super::super::ids::ClientId;"),
            ("net/link.rs", "use tokio::net::TcpStream; use crate::{outbox, wire::Packet}; use std::time::Instant;"),
            ("store/mod.rs", "use crate::registry::EventKind; fn f() { let c = rusqlite::Connection::open(p); }"),
            ("node/robot.rs", "use crate::{config::ClientConfig, hub, net, ros, store};"),
            ("cli/status.rs", "use crate::{node, config}; use clap::Parser;"),
            ("bin/server.rs", "use switchboard::{cli, config};"),
            ("hub/mod.rs", "use std::{collections::HashMap, net::SocketAddr, time::Duration};"),
            ("lib.rs", "pub mod anything; use crate::ros::Bridge;"),
        ] {
            assert_eq!(faults(file, text), Vec::<String>::new(), "{file}: {text}");
        }
    }

    #[test]
    fn what_the_layers_forbid_is_named_with_file_and_line() {
        for (file, text, expected) in [
            (
                "wire/frame.rs",
                "\n\nuse crate::net::Link;",
                "src/wire/frame.rs:3: wire must not import net (crate::net::Link)",
            ),
            ("wire/mod.rs", "use crate::{defaults, hub};", "src/wire/mod.rs:1: wire must not import hub (crate::hub)"),
            ("wire/mod.rs", "use super::hub::Hub;", "src/wire/mod.rs:1: wire must not import hub (super::hub::Hub)"),
            (
                "wire/frame.rs",
                "fn f() { super::super::hub::new() }",
                "src/wire/frame.rs:1: wire must not import hub (super::super::hub::new)",
            ),
            (
                "net/mod.rs",
                "use crate::store::Store;",
                "src/net/mod.rs:1: net must not import store (crate::store::Store)",
            ),
            (
                "net/mod.rs",
                "fn f() -> rusqlite::Result<()> {}",
                "src/net/mod.rs:1: net must not use the library rusqlite (rusqlite::Result)",
            ),
            ("config/mod.rs", "use crate::node;", "src/config/mod.rs:1: config must not import node (crate::node)"),
            ("node/mod.rs", "use r2r::Node;", "src/node/mod.rs:1: node must not use the library r2r (r2r::Node)"),
            (
                "session/machine.rs",
                "use tokio::time;",
                "src/session/machine.rs:1: session must not use the library tokio (tokio::time)",
            ),
            (
                "time.rs",
                "use std::time::{Duration, Instant};",
                "src/time.rs:1: time is pure and must not use std::time::Instant",
            ),
            (
                "hub/mod.rs",
                "use std::time;\nfn f() { time::SystemTime::now(); }",
                "src/hub/mod.rs:2: hub is pure and must not use time::SystemTime::now",
            ),
            (
                "hub/mod.rs",
                "use std::{net::{SocketAddr, TcpStream}};",
                "src/hub/mod.rs:1: hub is pure and must not use std::net::TcpStream",
            ),
            (
                "bin/server.rs",
                "use switchboard::hub;",
                "src/bin/server.rs:1: bin must not import hub (switchboard::hub)",
            ),
            ("secret.rs", "use crate::net;", "src/secret.rs:1: secret must not import net (crate::net)"),
        ] {
            assert_eq!(faults(file, text), [expected], "{file}: {text}");
        }
    }

    #[test]
    fn comments_strings_and_modules_for_tests_do_not_count() {
        for text in [
            "//! See [`crate::net`].\n/* use crate::net; /* crate::ros */ */",
            "const X: &str = \"crate::net::Link\"; const Y: &str = r#\"use \"crate::net\"\"#; const Z: &[u8] = b\"crate::net\";",
            "const C: char = '\"'; fn f<'a>(x: &'a str) {} // crate::net",
            "#[cfg(test)]\nmod tests { use crate::net; mod inner { use tokio::time; } }",
            "#[cfg(test)]\nuse crate::net::Link;",
            "#[cfg(test)]\nmod tests;",
        ] {
            assert_eq!(faults("wire/mod.rs", text), Vec::<String>::new(), "{text}");
        }
        let after = "#[cfg(test)]\nmod tests { fn f() { \"}\"; } }\nuse crate::net;";
        assert_eq!(faults("wire/mod.rs", after), ["src/wire/mod.rs:3: wire must not import net (crate::net)"]);
    }

    #[test]
    fn modules_are_found_in_the_library() {
        let text = "//! mod a;\npub mod net;\n#[cfg(feature = \"ros\")]\npub(crate) mod ros;\nmod x { mod y; }";
        assert_eq!(source::modules_of(text), ["net", "ros", "x"]);
    }
}
