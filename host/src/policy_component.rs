//! Makes a component of a core WebAssembly module, as compilers of C and Go leave it.
//!
//! Such a module may ask for `wasi_snapshot_preview1`, which no policy may import. The adapter that is
//! put in its place (`sdk/adapter`) answers without the world: a clock that counts calls, numbers from
//! a fixed seed, no files; what is printed goes to the policy's log.

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use crate::policy_project::CONTRACT;

/// Answers for [`PREVIEW_1`]; made of `sdk/adapter/preview1.wat`.
const ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preview1.wasm"));
/// What the adapter imports itself.
const ADAPTER_WORLD: &str = "package dbmedic:adapter;\n\
    world adapter { import dbmedic:policy/log@0.2.0; }\n";
/// What compilers for WASI let a module import.
const PREVIEW_1: &str = "wasi_snapshot_preview1";
/// How a section begins that says which contract a module was compiled for.
const METADATA: &str = "component-type";
/// The world of the contract.
const WORLD: &str = "policy";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// It is no core module.
    #[error("it is no core WebAssembly module: {0}")]
    NotAModule(String),
    /// The contract cannot be read.
    #[error("the contract cannot be read: {0:#}")]
    Contract(anyhow::Error),
    /// The module and the contract do not fit.
    #[error("it does not become a component: {0:#}")]
    Encode(anyhow::Error),
}

/// The component of a module. The contract `wit` counts where the module does not carry its own; the
/// adapter, by default dbmedic's, where it asks for WASI.
///
/// # Errors
/// When the module is none, or does not fit the contract.
pub fn from_module(
    module: &[u8],
    wit: &str,
    adapter: Option<&[u8]>,
) -> Result<Vec<u8>, ComponentError> {
    let asks = Asks::of(module)?;
    let mut module = module.to_vec();
    if !asks.has_metadata {
        embed(&mut module, wit, None).map_err(ComponentError::Contract)?;
    }
    let mut encoder = ComponentEncoder::default().module(&module);
    if asks.preview_1 {
        let adapter = match adapter {
            Some(adapter) => adapter.to_vec(),
            None => own_adapter().map_err(ComponentError::Contract)?,
        };
        encoder = encoder.and_then(|encoder| encoder.adapter(PREVIEW_1, &adapter));
    }
    encoder
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(ComponentError::Encode)
}

fn own_adapter() -> anyhow::Result<Vec<u8>> {
    let mut adapter = ADAPTER.to_vec();
    embed(&mut adapter, CONTRACT, Some(ADAPTER_WORLD))?;
    Ok(adapter)
}

/// Notes in a module which world it was compiled for: that of `more` where that is given, else the
/// contract's.
fn embed(module: &mut Vec<u8>, wit: &str, more: Option<&str>) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let mut package: PackageId = resolve.push_str("policy.wit", wit)?;
    let mut world = WORLD;
    if let Some(more) = more {
        package = resolve.push_str("adapter.wit", more)?;
        world = "adapter";
    }
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

/// What a module asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asks {
    preview_1: bool,
    has_metadata: bool,
}

impl Asks {
    fn of(module: &[u8]) -> Result<Self, ComponentError> {
        if !Parser::is_core_wasm(module) {
            return Err(ComponentError::NotAModule(
                "it does not begin like one".into(),
            ));
        }
        let mut asks = Self {
            preview_1: false,
            has_metadata: false,
        };
        let broken =
            |error: wasmparser::BinaryReaderError| ComponentError::NotAModule(error.to_string());
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(broken)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        asks.preview_1 |= import.map_err(broken)?.module == PREVIEW_1;
                    }
                }
                Payload::CustomSection(section) => {
                    asks.has_metadata |= section.name().starts_with(METADATA);
                }
                _ => {}
            }
        }
        Ok(asks)
    }
}
