//! Reads where policies come from, who is believed, and who decides for which target.

use std::path::Path;

use super::constraints::name;
use super::limits::{breaker, isolation, policy_limits, probation, shadow};
use super::resolve::Resolve;
use super::{BuiltIn, NamedPolicyConfig, PolicyConfig};
use crate::document::Section;
use crate::gate::{GateSettings, Source};
use crate::path_trust::{self, TrustError};
use crate::pipeline::DEFAULT_POLICY;
use crate::policy::Limits;
use crate::regular_file;
use crate::signing::{TrustedKey, parse_time, read_public_key};

/// The largest file whose text is a parameter, bytes.
const PARAMETER_BYTES: u64 = 1 << 20;

const BUILT_IN: [(&str, BuiltIn); 2] = [("default", BuiltIn::Default), ("rules", BuiltIn::Rules)];

/// A policy's section; what it does not say is as in `inherited`, but for source and parameters.
pub(super) fn policy_config(
    section: &mut Section<'_, '_>,
    base: &Path,
    resolve: &Resolve,
    inherited: &PolicyConfig,
) -> PolicyConfig {
    let PolicyConfig { gate, limits, .. } = inherited;
    let source = source(section, base, resolve);
    let built_in = section.choice("built_in", BuiltIn::Default, &BUILT_IN);
    if source != Source::BuiltIn && built_in != BuiltIn::Default {
        let hint = "leave out `built_in`, or `file` and `directory`";
        section.error("built_in", "the policy comes from somewhere else", hint);
    }
    let watch = section.flag("watch", inherited.watch);
    let require_signature = section.flag("require_signature", inherited.require_signature);
    let allow_downgrade = section.flag("allow_downgrade", gate.allow_downgrade);
    let has_keys = section.has("trusted_keys");
    let own_keys = trusted_keys(section);
    let isolation = isolation(section, limits.isolation);
    let policy = PolicyConfig {
        source,
        built_in,
        watch,
        require_signature,
        trusted_keys: if has_keys {
            own_keys
        } else {
            inherited.trusted_keys.clone()
        },
        gate: GateSettings {
            allow_downgrade,
            shadow: section.table("shadow", |section| shadow(section, &gate.shadow)),
            probation: section.table("probation", |section| probation(section, &gate.probation)),
        },
        limits: Limits {
            isolation,
            ..section.table("limits", |section| policy_limits(section, limits))
        },
        breaker: section.table("breaker", |section| breaker(section, &inherited.breaker)),
        parameters: section.table("parameters", |section| {
            section.settings(Some(&|path: &Path| text_of(&base.join(path), resolve)))
        }),
    };
    if inherited.require_signature && !policy.require_signature {
        section.warning(
            "require_signature",
            "policies run without anybody vouching for them",
            "sign them with `dbmedic policy sign`, and trust the key in [[policy.trusted_keys]]",
        );
    }
    needs_a_key(section, &policy);
    policy
}

/// The policies besides the default one.
pub(super) fn named_policies(
    root: &mut Section<'_, '_>,
    base: &Path,
    resolve: &Resolve,
    inherited: &PolicyConfig,
) -> Vec<NamedPolicyConfig> {
    let mut policies = Vec::new();
    let mut names = Vec::new();
    root.tables("policies", |section| {
        let name = name(section, "policy", &mut names);
        if name.as_deref() == Some(DEFAULT_POLICY) {
            let message = format!("`{DEFAULT_POLICY}` is the policy of [policy]");
            section.error("name", message, "give it another name");
        }
        let policy = policy_config(section, base, resolve, inherited);
        policies.extend(name.map(|name| NamedPolicyConfig { name, policy }));
    });
    policies
}

/// The text of a file that a parameter names. What a policy judges by is believed as far as the
/// configuration itself.
fn text_of(path: &Path, resolve: &Resolve) -> Result<String, String> {
    let bytes = match resolve {
        Resolve::OnDisk => path_trust::read(path, PARAMETER_BYTES).map_err(|error| error.what())?,
        Resolve::ByName => regular_file::read(path, PARAMETER_BYTES)
            .map_err(|error| format!("reading {}: {error}", path.display()))?,
    };
    String::from_utf8(bytes).map_err(|_| format!("{} is no text in UTF-8", path.display()))
}

/// A policy that nobody could ever vouch for.
fn needs_a_key(section: &mut Section<'_, '_>, policy: &PolicyConfig) {
    let by_nobody = policy.require_signature && policy.trusted_keys.is_empty();
    if policy.source == Source::BuiltIn || !by_nobody {
        return;
    }
    let field = match policy.source {
        Source::Directory(_) => "directory",
        Source::File(_) | Source::BuiltIn => "file",
    };
    section.error(
        field,
        "a signature is required, and no key is trusted",
        "add [[policy.trusted_keys]] (`dbmedic policy keygen` makes a key), or write \
         `require_signature = false` in [policy]",
    );
}

fn source(section: &mut Section<'_, '_>, base: &Path, resolve: &Resolve) -> Source {
    let file = section
        .text("file", "the file of a policy; without it, the built-in one")
        .map(|file| base.join(file));
    let directory = section
        .text(
            "directory",
            "a directory of policies, of which the newest counts",
        )
        .map(|directory| base.join(directory));
    let on_disk = matches!(resolve, Resolve::OnDisk);
    match (file, directory) {
        (Some(_), Some(_)) => {
            section.error(
                "directory",
                "`file` and `directory` are both there",
                "leave one of them out",
            );
            Source::BuiltIn
        }
        (Some(file), None) => {
            if on_disk && !file.is_file() {
                section.error(
                    "file",
                    format!("there is no policy in {}", file.display()),
                    "build it, or leave `file` out for the built-in policy; paths start at the \
                     configuration's directory",
                );
            } else if on_disk && let Err(error) = path_trust::open(&file) {
                not_believed(section, "file", &error);
            }
            Source::File(file)
        }
        (None, Some(directory)) => {
            if on_disk && !directory.is_dir() {
                section.error(
                    "directory",
                    format!("there is no directory {}", directory.display()),
                    "make it, or leave `directory` out for the built-in policy; paths start at \
                     the configuration's directory",
                );
            } else if on_disk && let Err(error) = path_trust::check_directory(&directory) {
                not_believed(section, "directory", &error);
            }
            Source::Directory(directory)
        }
        (None, None) => Source::BuiltIn,
    }
}

/// What lies there could have been planted by others.
pub(super) fn not_believed(section: &mut Section<'_, '_>, key: &str, error: &TrustError) {
    let hint = error.mend();
    section.error(
        key,
        error.what(),
        hint.unwrap_or_else(|| "name another".to_owned()),
    );
}

fn trusted_keys(section: &mut Section<'_, '_>) -> Vec<TrustedKey> {
    let mut keys: Vec<TrustedKey> = Vec::new();
    let mut names = Vec::new();
    section.tables("trusted_keys", |section| {
        let name = name(section, "key", &mut names);
        let right =
            "the second line of a minisign public key, as `dbmedic policy keygen` prints it";
        if !section.has("key") {
            section.error("key", "a trusted key without the key", right);
        }
        let key = section.text("key", right).and_then(|text| {
            read_public_key(text)
                .map_err(|error| section.error("key", error.to_string(), right))
                .ok()
        });
        let right = "a day as \"2027-06-30\", or a time as \"2027-06-30T12:00:00Z\"";
        let expires_ms = section.text("expires", right).and_then(|text| {
            let time = parse_time(text);
            if time.is_none() {
                section.error("expires", format!("`expires` is \"{text}\""), right);
            }
            time
        });
        if let (Some(name), Some(key)) = (name, key) {
            if keys.iter().any(|other| other.key == key) {
                let message = "this key is trusted already";
                section.error("key", message, "name each key once");
            }
            keys.push(TrustedKey {
                name,
                key,
                expires_ms,
            });
        }
    });
    keys
}

/// The policies of a target, in line; each must be there.
pub(super) fn line(section: &mut Section<'_, '_>, policies: &[NamedPolicyConfig]) -> Vec<String> {
    let right = "names of policies, as [\"default\", \"strict\"]; `default` is the one of [policy]";
    if !section.has("policies") {
        return crate::pipeline::only_default();
    }
    let mut line: Vec<String> = Vec::new();
    for name in section.texts("policies", right) {
        let known = name == DEFAULT_POLICY || policies.iter().any(|policy| policy.name == name);
        if !known {
            let message = format!("there is no policy `{name}`");
            section.error("policies", message, "add it under [[policies]]");
        } else if line.iter().any(|other| other == name) {
            let message = format!("the policy `{name}` is in the line twice");
            section.error("policies", message, right);
        } else {
            line.push(name.to_owned());
        }
    }
    if line.is_empty() {
        section.error("policies", "no policy decides for this target", right);
    }
    line
}
