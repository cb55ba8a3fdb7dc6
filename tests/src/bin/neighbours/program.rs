//! What the neighbours do, each in a process of its own.

mod application;
mod fault;
mod maintenance;
mod reader;
mod stage;
mod writer;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::kind::Kind;

pub(crate) use stage::READY;
use stage::Stage;

/// A process that is really in the way. Only `--with-fault` starts one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Takes the write lock and does nothing.
    IdleHolder,
    /// Begins to read and never ends.
    EndlessReader,
}

/// What a process does: a neighbour, a fault, or the plain application that is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A small transaction now and then; or a large one after a long rest.
    Application { quiet: bool },
    /// 600 pages every 0.7 s.
    SteadyWriter,
    /// A neighbour.
    Neighbour(Kind),
    /// A fault.
    Fault(Fault),
}

/// How a process of this program is started.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct ChildArguments {
    /// The name that it takes, as `ps -o comm` shows it
    #[arg(long)]
    pub(crate) name: String,
    /// The database
    #[arg(long)]
    pub(crate) database: PathBuf,
    /// Where acknowledgements and copies are kept
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The number of this process among the writers
    #[arg(long)]
    pub(crate) writer: u32,
    /// The seed of the run
    #[arg(long)]
    pub(crate) seed: u64,
    /// The age at which dbmedic ends somebody, milliseconds
    #[arg(long)]
    pub(crate) threshold_ms: u64,
    /// The journal mode of the database
    #[arg(long)]
    pub(crate) journal_mode: String,
    /// What it does
    #[arg(long)]
    pub(crate) kind: Option<Kind>,
    /// What stands in the way
    #[arg(long)]
    pub(crate) fault: Option<Fault>,
    /// Write rarely, and much at once
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Write 600 pages every 0.7 s
    #[arg(long)]
    pub(crate) steady: bool,
    /// Take it slowly, for hours
    #[arg(long)]
    pub(crate) soak: bool,
    /// One transaction, then the end
    #[arg(long)]
    pub(crate) once: bool,
}

impl ChildArguments {
    /// What it does.
    pub(crate) fn part(&self) -> Part {
        match (self.kind, self.fault) {
            (_, Some(fault)) => Part::Fault(fault),
            (Some(kind), None) => Part::Neighbour(kind),
            (None, None) if self.steady => Part::SteadyWriter,
            (None, None) => Part::Application { quiet: self.quiet },
        }
    }

    /// The same as flags of the command line.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--name={}", self.name),
            format!("--database={}", self.database.display()),
            format!("--dir={}", self.dir.display()),
            format!("--writer={}", self.writer),
            format!("--seed={}", self.seed),
            format!("--threshold-ms={}", self.threshold_ms),
            format!("--journal-mode={}", self.journal_mode),
        ];
        if let Some(kind) = self.kind {
            flags.push(format!("--kind={}", kind.name()));
        }
        if let Some(fault) = self.fault.and_then(|fault| fault.to_possible_value()) {
            flags.push(format!("--fault={}", fault.get_name()));
        }
        if self.quiet {
            flags.push("--quiet".into());
        }
        if self.steady {
            flags.push("--steady".into());
        }
        if self.soak {
            flags.push("--soak".into());
        }
        if self.once {
            flags.push("--once".into());
        }
        flags
    }
}

/// Runs a process until its standard input closes.
pub(crate) fn run(arguments: &ChildArguments) -> anyhow::Result<()> {
    let mut stage = Stage::enter(arguments)?;
    match arguments.part() {
        Part::Application { quiet: false } => writer::application(&mut stage),
        Part::Application { quiet: true } => writer::quiet_application(&mut stage),
        Part::SteadyWriter => writer::steady(&mut stage),
        Part::Fault(Fault::IdleHolder) => fault::idle_holder(&mut stage),
        Part::Fault(Fault::EndlessReader) => fault::endless_reader(&mut stage),
        Part::Neighbour(kind) => match kind {
            Kind::Backup => maintenance::backup(&mut stage),
            Kind::CopyBackup => maintenance::copy_backup(&mut stage),
            Kind::VacuumInto => maintenance::vacuum_into(&mut stage),
            Kind::FileCopy => maintenance::file_copy(&mut stage),
            Kind::Migration => maintenance::migration(&mut stage),
            Kind::Vacuum => maintenance::vacuum(&mut stage),
            Kind::IncrementalVacuum => maintenance::incremental_vacuum(&mut stage),
            Kind::Checkpointer => maintenance::checkpointer(&mut stage),
            Kind::ModeSwitch => maintenance::mode_switch(&mut stage),
            Kind::SchemaChanges => maintenance::schema_changes(&mut stage),
            Kind::Pool => application::pool(&mut stage),
            Kind::Orm => application::orm(&mut stage),
            Kind::Attach => application::attach(&mut stage),
            Kind::Cron => application::cron(&mut stage),
            Kind::Exclusive => application::exclusive(&mut stage),
            Kind::Replicator => reader::replicator(&mut stage),
            Kind::Dashboard | Kind::Crowd => reader::dashboard(&mut stage, 0),
            Kind::Containers | Kind::ContainersSeen => reader::dashboard(&mut stage, 400),
            Kind::SlotZero => reader::slot_zero(&mut stage),
            Kind::Report => reader::report(&mut stage),
            Kind::Export => reader::export(&mut stage),
            Kind::BulkLoad => writer::bulk_load(&mut stage),
            Kind::Crash => writer::crash(&mut stage),
            Kind::JobQueue => writer::job_queue(&mut stage),
            Kind::SlowCommit => writer::slow_commit(&mut stage),
            Kind::PollingWorker => writer::polling_worker(&mut stage, false),
            Kind::SlowPollingWorker => writer::polling_worker(&mut stage, true),
        },
    }
}
