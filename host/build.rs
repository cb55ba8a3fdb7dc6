//! Makes what the binary carries beside its code: the contract as one WIT file, the files of a new
//! policy project in each language, and the module that answers for WASI in components.
//!
//! A language is a folder `sdk/LANGUAGE` with a `template`, a whole project called `my-policy`, and
//! with `vendor.txt`, which says what else of the SDK lies in that project: `FROM TO` in each line.

#![allow(clippy::print_stdout, reason = "that is how cargo is told")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What tools leave behind when somebody works in a template.
const LEFT_BEHIND: &[&str] = &[
    ".pytest_cache",
    ".tools",
    "__pycache__",
    "node_modules",
    "target",
];
/// What the binary adds to a project itself, for whoever works in a template.
const CONTRACT: &str = "wit/policy.wit";

fn main() -> Result<()> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("..");
    let root = fs::canonicalize(root)?;
    for watched in ["wit", "sdk"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    fs::write(out.join("policy.wit"), contract(&root.join("wit"))?)?;
    fs::write(out.join("languages.rs"), languages(&root.join("sdk"))?)?;
    let adapter = wat::parse_file(root.join("sdk/adapter/preview1.wat"))?;
    fs::write(out.join("preview1.wasm"), adapter)?;
    Ok(())
}

/// The contract in one file. The package's name stands in `world.wit`, and must come first.
fn contract(wit: &Path) -> Result<String> {
    let mut text = fs::read_to_string(wit.join("world.wit"))?;
    for path in entries(wit)? {
        if !path.ends_with("world.wit") {
            text.push('\n');
            text.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(text)
}

/// The table of languages as Rust source.
fn languages(sdk: &Path) -> Result<String> {
    let mut table = String::from("&[\n");
    for folder in entries(sdk)? {
        let template = folder.join("template");
        if !template.is_dir() {
            continue;
        }
        let name = text_of(&folder)?;
        writeln!(table, "Language {{ name: {name:?}, files: &[")?;
        for file in files_below(&template)? {
            if file.ends_with(CONTRACT) {
                continue;
            }
            write_file(&mut table, "Template", &template, &file, "")?;
        }
        let vendored = fs::read_to_string(folder.join("vendor.txt"))
            .map_err(|error| format!("{}/vendor.txt: {error}", folder.display()))?;
        for line in vendored.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let Some((from, to)) = line.split_once(' ') else {
                continue;
            };
            let from = folder.join(from);
            if from.is_dir() {
                for file in files_below(&from)? {
                    write_file(&mut table, "Vendored", &from, &file, to.trim())?;
                }
            } else if from.is_file() {
                let to = to.trim();
                let from = text_of_path(&from)?;
                writeln!(table, "{}", entry("Vendored", to, &from))?;
            } else {
                let from = from.display();
                return Err(format!("{name}/vendor.txt: {from} is not there").into());
            }
        }
        table.push_str("] },\n");
    }
    table.push_str("]\n");
    Ok(table)
}

fn write_file(table: &mut String, origin: &str, base: &Path, file: &Path, to: &str) -> Result<()> {
    let inside = text_of_path(file.strip_prefix(base)?)?;
    let from = text_of_path(file)?;
    writeln!(table, "{}", entry(origin, &format!("{to}{inside}"), &from))?;
    Ok(())
}

fn entry(origin: &str, to: &str, from: &str) -> String {
    format!("File {{ origin: Origin::{origin}, path: {to:?}, bytes: include_bytes!({from:?}) }},")
}

/// Every file below a folder, sorted, but for what tools left behind.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        let name = text_of(&path)?;
        let left_behind = LEFT_BEHIND.contains(&name.as_str())
            || path
                .extension()
                .is_some_and(|extension| extension == "wasm");
        if left_behind {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn text_of(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.ok_or("a name is not UTF-8")?.to_owned())
}

fn text_of_path(path: &Path) -> Result<String> {
    Ok(path.to_str().ok_or("a path is not UTF-8")?.to_owned())
}
