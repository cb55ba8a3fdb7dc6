//! The hostile components of `tests/guests/attacks`, one file each, made when they are asked for.
//!
//! A file that begins with `(component` is one as it stands. Every other holds what is special of a
//! core module; [`component`] adds what it does not say itself, so that each file shows its attack
//! and nothing else. `@decide`, `@describe`, `@configure` and `@post-decide` stand for the names of
//! the exports.
//!
//! What is added behaves well. Its bytes: strings from 256 on, a reason at 512, the description at
//! 1024, the answer to `configure` at 2048, the answer to `decide` at 3072 (the verdict from 3080 on,
//! as the canonical ABI lays it out), arguments from 65536 on.

use std::fs;
use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

const MEMORY: &str = r#"(memory (export "memory") 2)"#;

const REALLOC: &str = r#"
(global $heap (mut i32) (i32.const 65536))
(func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32)
  (local.set $at
    (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (local.get $at))"#;

const DESCRIBE: &str = r#"(func (export "@describe") (result i32) (i32.const 1024))"#;
const CONFIGURE: &str =
    r#"(func (export "@configure") (param i32 i32) (result i32) (i32.const 2048))"#;
const DECIDE: &str = r#"(func (export "@decide") (param i32) (result i32) (i32.const 3072))"#;

const DATA: &str = r#"
(data (i32.const 256) "attack")
(data (i32.const 272) "0.1.0")
(data (i32.const 288) "Attacks.")
(data (i32.const 304) "attack.behaved")
(data (i32.const 320) "all is well")
(data (i32.const 336) "lock.end-holder")
;; One reason: rule and text.
(data (i32.const 512) "\30\01\00\00\0e\00\00\00\40\01\00\00\0b\00\00\00")
;; Name, version, summary, no parameters.
(data (i32.const 1024)
  "\00\01\00\00\06\00\00\00\10\01\00\00\05\00\00\00\20\01\00\00\08\00\00\00")
;; A verdict: hiccup, watch, the repair, confidence 0.5, elevated, the reason.
(data (i32.const 3080)
  "\01\00\01\00\01\00\00\00\50\01\00\00\0f\00\00\00\00\00\00\00\00\00\00\00"
  "\00\00\00\00\00\00\e0\3f\01\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\01\00\00\00")"#;

const INTERFACE: &str = "dbmedic:policy/decision@0.2.0";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all attacks, sorted.
///
/// # Panics
/// When the directory cannot be read.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(here().join("guests/attacks")).expect("the attacks are there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the attacks can be listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wat"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// An attack's component.
///
/// # Panics
/// When there is no such attack, or its text is no WebAssembly at all: the text is wrong then.
pub fn component(name: &str) -> Vec<u8> {
    let path: PathBuf = here().join(format!("guests/attacks/{name}.wat"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    build(&text).unwrap_or_else(|e| panic!("{}: {e:#}", path.display()))
}

/// The component of a text like those in `tests/guests/attacks`.
///
/// # Panics
/// When it cannot be built.
pub fn built(text: &str) -> Vec<u8> {
    build(text).unwrap_or_else(|e| panic!("{text}: {e:#}"))
}

fn build(text: &str) -> anyhow::Result<Vec<u8>> {
    if text.lines().any(|line| line.starts_with("(component")) {
        return Ok(wat::parse_str(text)?);
    }
    // Imports come first in a module, so what is added stands behind.
    let mut module = format!("(module\n{text}\n{DATA}\n");
    for (what, mark) in [
        (MEMORY, r#"(export "memory")"#),
        (REALLOC, r#"(export "cabi_realloc")"#),
        (DESCRIBE, "@describe"),
        (CONFIGURE, "@configure"),
        (DECIDE, "\"@decide\""),
    ] {
        if !text.contains(mark) {
            module.push_str(what);
            module.push('\n');
        }
    }
    module.push(')');
    let module = module
        .replace("@post-decide", &format!("cabi_post_{INTERFACE}#decide"))
        .replace("@decide", &format!("{INTERFACE}#decide"))
        .replace("@describe", &format!("{INTERFACE}#describe"))
        .replace("@configure", &format!("{INTERFACE}#configure"));
    let mut module = wat::parse_str(module)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(here().join("../wit"))?;
    let world = resolve.select_world(&[package], Some("policy"))?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    // Not validated: the host must refuse by itself what is not valid.
    ComponentEncoder::default()
        .validate(false)
        .module(&module)?
        .encode()
}
