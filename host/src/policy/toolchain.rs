//! Recognises what built a component, so that a refusal can say how to build it without what a
//! policy must not import. A guess for a message: nothing else depends on it.

use wasmparser::{KnownCustom, Parser, Payload};

/// What built a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Toolchain {
    /// rustc, for a target with WASI.
    Rust,
    /// componentize-py.
    ComponentizePy,
    /// componentize-js, also as jco runs it.
    ComponentizeJs,
    /// componentize-qjs.
    ComponentizeQjs,
    /// `TinyGo`.
    TinyGo,
    /// The Go project's own compiler.
    Go,
    /// clang with a libc for WASI: wasi-sdk, Debian's packages, zig cc.
    Clang,
}

impl Toolchain {
    /// The toolchain that left its name in a component; none when no known one did.
    pub(super) fn of(component: &[u8]) -> Option<Self> {
        let producers = producers(component);
        let named = |name: &str| producers.iter().any(|p| p.eq_ignore_ascii_case(name));
        let marked = |mark: &str| {
            let mut places = component.windows(mark.len());
            places.any(|place| place.eq_ignore_ascii_case(mark.as_bytes()))
        };
        // The interpreters are written in Rust or C themselves: they are looked for first.
        if marked("componentize-py") || marked("componentize_py") {
            Some(Self::ComponentizePy)
        } else if marked("componentize-qjs") || marked("quickjs") {
            Some(Self::ComponentizeQjs)
        } else if named("ComponentizeJS") || named("JavaScript") || marked("spidermonkey") {
            Some(Self::ComponentizeJs)
        } else if named("TinyGo") || marked("tinygo") {
            Some(Self::TinyGo)
        } else if named("Go") || named("Go cmd/compile") {
            Some(Self::Go)
        } else if named("rustc") || named("Rust") {
            Some(Self::Rust)
        } else if named("clang") || named("wit-bindgen-c") || marked("wasi-libc") {
            Some(Self::Clang)
        } else {
            None
        }
    }

    /// How to build with it so that nothing but the contract is imported.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Rust => {
                "it was built by rustc for WASI: build it with `--target wasm32-unknown-unknown` \
                 and `wasm-component-ld` as the linker of that target"
            }
            Self::ComponentizePy => {
                "it was built by componentize-py: add `--stub-wasi` to `componentize`"
            }
            Self::ComponentizeJs => {
                "it was built by componentize-js: disable its features `clocks`, `fetch-event`, \
                 `http`, `random` and `stdio`"
            }
            Self::ComponentizeQjs => {
                "it was built by componentize-qjs: add `--sync` and `--stub-wasi`"
            }
            Self::TinyGo | Self::Go => {
                "it was built from Go: give `wasm-tools component new` an adapter of \
                 `wasi_snapshot_preview1` that imports nothing, instead of the stock one"
            }
            Self::Clang => {
                "it was built by clang for WASI: use `-mexec-model=reactor`, and leave out what \
                 needs a clock, random numbers, files or streams"
            }
        }
    }
}

/// The names in every `producers` section, nested modules included.
fn producers(component: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        // What is left after damage is not worth a guess.
        let Ok(payload) = payload else { break };
        let Payload::CustomSection(section) = payload else {
            continue;
        };
        let KnownCustom::Producers(fields) = section.as_known() else {
            continue;
        };
        for field in fields.into_iter().flatten() {
            names.extend(
                field
                    .values
                    .into_iter()
                    .flatten()
                    .map(|value| value.name.to_owned()),
            );
        }
    }
    names
}
