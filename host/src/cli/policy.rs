//! `policy`: keys, signatures, and the policy in service.

mod check;
mod diff;
mod fuzz;
mod project;
mod replay;
mod show;
mod test;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Ended, StateArgs, complain, say, say_json, with_causes};
use crate::assemble::{DEFAULT_POLICY as DEFAULT_COMPONENT, RULES_POLICY};
use crate::clock::now_ms;
use crate::gate::{self, AskError, GateRecord, Reply, Request};
use crate::path_trust;
use crate::pipeline::DEFAULT_POLICY;
use crate::policy::{Limits, Runtime};
use crate::regular_file;
use crate::signing::{self, Comment, Password, Provenance, TrustedKey, Verified};
use crate::store::Reader;

/// The largest file of a key, bytes.
const KEY_BYTES: u64 = 64 << 10;

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make a folder with a policy to begin with, its tests and its build
    New(project::NewArgs),
    /// Build the policy of such a folder, and check it: exit 0 good, 1 not, 2 could not build
    Build(project::BuildArgs),
    /// Print the contract, as one WIT file
    Wit,
    /// Make a component of a core WebAssembly module, as C and Go compilers leave it
    Component(project::ComponentArgs),
    /// Make a key pair for signing policies, in minisign's format
    Keygen(KeygenArgs),
    /// Sign a policy: writes FILE.minisig beside it
    Sign(SignArgs),
    /// Check a policy's signature: exit 0 only when a key of yours made it and it still holds
    Verify(VerifyArgs),
    /// Which policies are in service, and how they do
    Status(StatusArgs),
    /// Take a policy through the gate of a running dbmedic
    Swap(SwapArgs),
    /// Put the candidate that is in the shadow, or waits, in service
    Promote(ServiceArgs),
    /// Put the last good policy back
    Rollback(ServiceArgs),
    /// Make every decision of a decision log again, and compare byte for byte: exit 0 all the same, 1 not,
    /// 2 nothing to compare
    Replay(replay::ReplayArgs),
    /// Which decisions of a log another policy, or other parameters, would have changed: exit 0 none, 1
    /// some, 2 nothing to compare
    Diff(diff::DiffArgs),
    /// Check a policy as the gate would, and that it is a pure function: exit 0 good, 1 not, 2 could not
    /// check
    Check(check::CheckArgs),
    /// Run a policy's test cases: exit 0 passed, 1 failed, 2 could not run
    Test(test::TestArgs),
    /// Search for harm with generated histories: exit 0 none found, 1 some
    Fuzz(fuzz::FuzzArgs),
}

/// Arguments of `policy status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `policy swap`.
#[derive(Debug, Args)]
pub(crate) struct SwapArgs {
    /// The policy component; its signature is FILE.minisig
    file: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Which policy of which dbmedic.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// The policy's name in the configuration
    #[arg(long, default_value = DEFAULT_POLICY, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    state: StateArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `policy keygen`.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// The secret key's file; the public one gets `.pub`. Neither may exist
    #[arg(default_value = "dbmedic-policy.key", value_name = "FILE")]
    key: PathBuf,
    /// Do not lock the secret key with a password
    #[arg(long)]
    no_password: bool,
}

/// Arguments of `policy sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The policy component
    policy: PathBuf,
    /// The secret key, made by `policy keygen` or by minisign
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// The last day, or the time, that the signature holds: 2027-06-30 or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<u64>,
}

/// Arguments of `policy verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The policy component; its signature is FILE.minisig
    policy: PathBuf,
    /// A public key's file, or the key itself; may be given several times
    #[arg(short, long = "key", value_name = "FILE|KEY", required = true)]
    keys: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<u64, String> {
    signing::parse_time(text)
        .ok_or_else(|| "write a day as 2027-06-30, or a time as 2027-06-30T12:00:00Z".into())
}

pub(crate) fn run(command: &PolicyCommand) -> Ended {
    match command {
        PolicyCommand::New(args) => project::new(args),
        PolicyCommand::Build(args) => project::build(args),
        PolicyCommand::Wit => project::wit(),
        PolicyCommand::Component(args) => project::component(args),
        PolicyCommand::Keygen(args) => keygen(args),
        PolicyCommand::Sign(args) => sign(args),
        PolicyCommand::Verify(args) => verify(args),
        PolicyCommand::Status(args) => status(args),
        PolicyCommand::Replay(args) => replay::run(args),
        PolicyCommand::Diff(args) => diff::run(args),
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Test(args) => test::run(args),
        PolicyCommand::Fuzz(args) => fuzz::run(args),
        PolicyCommand::Swap(args) => {
            let file = fs::canonicalize(&args.file)
                .with_context(|| format!("reading policy {}", args.file.display()))?;
            let policy = args.service.name.clone();
            tell_to(&args.service, &Request::Swap { policy, file })
        }
        PolicyCommand::Promote(args) => {
            let policy = args.name.clone();
            tell_to(args, &Request::Promote { policy })
        }
        PolicyCommand::Rollback(args) => {
            let policy = args.name.clone();
            tell_to(args, &Request::Rollback { policy })
        }
    }
}

fn keygen(args: &KeygenArgs) -> Ended {
    let public = with_suffix(&args.key, "pub");
    for path in [&args.key, &public] {
        if path.symlink_metadata().is_ok() {
            bail!(
                "{} exists already and is left as it is; name another file",
                path.display()
            );
        }
    }
    let password = if args.no_password {
        Password::None
    } else {
        if fs::File::open("/dev/tty").is_err() {
            bail!(
                "there is no terminal on which to ask for a password: run this in one, or give \
                 `--no-password` for a key that needs none"
            );
        }
        Password::Ask
    };
    let keys = signing::generate(&password)?;
    write_new(&args.key, keys.secret.as_bytes(), 0o600)?;
    write_new(&public, keys.public.as_bytes(), 0o644)?;
    complain(&format!(
        "wrote {} (keep it secret and away from the databases) and {}; trust the key by these lines \
         in dbmedic.toml:",
        args.key.display(),
        public.display()
    ));
    say("[[policy.trusted_keys]]")?;
    say(&format!("name = \"{}\"", keys.id))?;
    say(&format!("key = \"{}\"", keys.key))?;
    Ok(ExitCode::SUCCESS)
}

fn sign(args: &SignArgs) -> Ended {
    let bytes = read(&args.policy)?;
    // Only what this dbmedic would take is worth a signature, and its version goes with it.
    let runtime = Runtime::new(Limits {
        start_deadline_ms: 60_000,
        ..Limits::default()
    })?;
    let component = Verified::unsigned(bytes);
    let compiled = runtime
        .compile(&component, None)
        .with_context(|| format!("{} is not signed", args.policy.display()))?;
    let description = compiled.description();
    let comment = Comment {
        policy: Some(description.name.clone()),
        version: Some(description.version.clone()),
        sha256: Some(component.digest().to_owned()),
        signed_ms: Some(now_ms()),
        expires_ms: args.expires,
    };
    let secret = regular_file::read_text(&args.key, KEY_BYTES)
        .with_context(|| format!("reading the secret key {}", args.key.display()))?;
    let signature = signing::sign(component.bytes(), &comment, &secret)?;
    let path = with_suffix(&args.policy, "minisig");
    write_whole(&path, signature.as_bytes())?;
    complain(&format!("wrote {}: {comment}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// What `policy verify --json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    believed: bool,
    digest: String,
    provenance: Option<&'a Provenance>,
    reason: Option<String>,
}

fn verify(args: &VerifyArgs) -> Ended {
    let keys = trusted_keys(&args.keys)?;
    let bytes = read(&args.policy)?;
    let signature = signing_file(&args.policy)?;
    let digest = signing::sha256(&bytes);
    let verified = Verified::signed(bytes, signature.as_deref(), &keys, now_ms());
    let shown = Verdict {
        believed: verified.is_ok(),
        digest,
        provenance: verified.as_ref().ok().map(Verified::provenance),
        reason: verified.as_ref().err().map(ToString::to_string),
    };
    if args.json {
        say_json(&shown)?;
    } else if let Some(Provenance::Signed {
        key,
        key_id,
        comment,
    }) = shown.provenance
    {
        say(&format!(
            "{}: signed by {key_id} ({key}): {comment}",
            args.policy.display()
        ))?;
    }
    match verified {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(_) if args.json => Ok(ExitCode::FAILURE),
        Err(error) => {
            let path = args.policy.display().to_string();
            let error = anyhow::Error::from(error).context(path);
            complain(&format!("error: {}", with_causes(&error)));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The public keys that were typed, as files or as they are.
fn trusted_keys(words: &[String]) -> anyhow::Result<Vec<TrustedKey>> {
    let key = |word: &String| {
        let path = Path::new(word);
        let is_file = path.is_file();
        let text = if is_file {
            // Whoever could write it could have a policy verified that nobody vouches for.
            let bytes = path_trust::read(path, KEY_BYTES)?;
            String::from_utf8(bytes).with_context(|| format!("reading {word}"))?
        } else {
            word.clone()
        };
        let key = signing::read_public_key(&text).with_context(|| {
            if is_file {
                format!("key {word}")
            } else {
                format!("key {word}: there is no such file, nor is it a key itself")
            }
        })?;
        Ok(TrustedKey {
            name: word.clone(),
            key,
            expires_ms: None,
        })
    };
    words.iter().map(key).collect()
}

/// What `policy swap`, `promote` and `rollback` print as JSON.
#[derive(Serialize)]
struct Order {
    v: u32,
    /// Whether it was done.
    done: bool,
    /// What was done, or why not.
    text: String,
    /// The steps that the candidate took meanwhile.
    steps: Vec<GateRecord>,
}

/// Tells a running dbmedic what to do, and what it says while it does.
fn tell_to(args: &ServiceArgs, request: &Request) -> Ended {
    let mut order = Order {
        v: 1,
        done: false,
        text: String::new(),
        steps: Vec::new(),
    };
    let asked = gate::ask(&args.state.existing()?, request, |reply| match reply {
        Reply::Record(record) => {
            if !args.json {
                complain(&record.to_string());
            }
            order.steps.push(*record);
        }
        Reply::Done(text) => (order.done, order.text) = (true, text),
        Reply::Status(_) | Reply::Error(_) | Reply::Stopping => {}
    });
    match asked {
        Err(error @ (AskError::Refused(_) | AskError::Stopping)) => order.text = error.to_string(),
        asked => asked?,
    }
    match (args.json, order.done) {
        (true, _) => say_json(&order)?,
        (false, true) => say(&order.text)?,
        (false, false) => complain(&format!("error: {}", order.text)),
    }
    Ok(if order.done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn status(args: &StatusArgs) -> Ended {
    let state_dir = args.state.existing()?;
    let mut reports = Vec::new();
    let asked = gate::ask(&state_dir, &Request::Status, |reply| {
        if let Reply::Status(all) = reply {
            reports = all;
        }
    });
    match asked {
        Err(AskError::NotRunning { .. }) => {
            let reader = Reader::open(&state_dir)?;
            let services = reader.map(|reader| reader.services()).transpose()?;
            reports = gate::at_rest(&services.unwrap_or_default());
        }
        other => other?,
    }
    if args.json {
        say_json(&reports)?;
        return Ok(ExitCode::SUCCESS);
    }
    if reports.is_empty() {
        complain("no policy has been in service yet");
    }
    for report in &reports {
        for line in show::lines(report, now_ms()) {
            say(&line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The signature beside a component; none when there is none.
fn signing_file(policy: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let path = with_suffix(policy, "minisig");
    // One byte more than is allowed, so that too long a signature is seen as such.
    match regular_file::read(&path, signing::SIGNATURE_BYTES as u64 + 1) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// What stands for a built-in policy where a component's file is named.
const BUILT_IN: [(&str, &[u8]); 2] = [
    ("built-in", DEFAULT_COMPONENT),
    ("built-in:rules", RULES_POLICY),
];

/// The built-in policy that is named instead of a file.
fn built_in(path: &Path) -> Option<&'static [u8]> {
    let named = BUILT_IN.iter().find(|(name, _)| path == Path::new(name));
    named.map(|(_, bytes)| *bytes)
}

/// Reads a component, no larger than one that may come into service by default.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if let Some(bytes) = built_in(path) {
        return Ok(bytes.to_vec());
    }
    let most_bytes = (Limits::default().component_mib as u64) << 20;
    regular_file::read(path, most_bytes)
        .with_context(|| format!("reading policy {}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .with_context(|| format!("writing {}", path.display()))
}

/// Writes a file whole, over an older one.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}
