//! The contract in `wit/` as Rust. Public only because `export_policy!` runs in other crates;
//! authors use what the crate's root names.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, where every item is documented"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "policy",
    additional_derives: [PartialEq],
    pub_export_macro: true,
    default_bindings_module: "dbmedic_policy::generated",
});
