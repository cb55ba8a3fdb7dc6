//! Writes recordings anew: the pipeline takes each event again, so that what is written replays byte for
//! byte by itself.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempPath;

use super::{CutArgs, JoinArgs, WriteArgs};
use crate::assemble::DEFAULT_POLICY as DEFAULT_COMPONENT;
use crate::cli::{Ended, complain, policy};
use crate::decision_log::patient;
use crate::pipeline::{Effect, Event, Pipeline, Policies};
use crate::policy::{Policy, PolicyIdentity, Runtime};
use crate::recording::{Header, Recorded, RecordingReader, RecordingWriter, incident_spans_until};
use crate::signing::Verified;

/// Time that is kept before and after an incident, milliseconds.
const AROUND_MS: u64 = 60_000;

pub(super) fn cut(args: &CutArgs) -> Ended {
    let reader = RecordingReader::open(&args.recording)?;
    let started_ms = reader.header().started_ms;
    let (from_ms, until_ms) = if let Some(incident) = &args.incident {
        around(&args.recording, incident)?
    } else {
        let at = |time: Option<Duration>| {
            let after_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            time.map(|time| started_ms.saturating_add(after_ms(time)))
        };
        let until_ms = at(args.until).unwrap_or(u64::MAX);
        (at(args.from).unwrap_or(0), until_ms)
    };
    if from_ms > until_ms {
        bail!("the part would end before it begins; --from comes before --until");
    }
    let components = Components::of(&args.write)?;
    let mut out = Output::begin(&args.write.output)?;
    let mut read = Read::new(reader);
    let mut rework = Rework::of(read.reader.header().clone(), &components)?;
    while let Some(recorded) = read.next()? {
        let at_ms = recorded.event.at_ms();
        if at_ms > until_ms {
            break;
        }
        if at_ms < from_ms {
            rework.skip(&recorded)?;
        } else {
            rework.write(&recorded, &mut out)?;
        }
    }
    out.end(&rework, read.damage.as_deref())
}

/// From a minute before an incident to a minute after its end.
fn around(recording: &Path, incident: &str) -> anyhow::Result<(u64, u64)> {
    let mut reader = RecordingReader::open(recording)?;
    let (spans, _) = incident_spans_until(&mut reader, &mut |_| {});
    let Some(span) = spans.get(incident) else {
        let known: Vec<&str> = spans.keys().map(String::as_str).collect();
        bail!(
            "{}: no {incident} is in this recording; it has {}",
            recording.display(),
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
    };
    let until_ms = span
        .until_ms
        .map_or(u64::MAX, |until| until.saturating_add(AROUND_MS));
    Ok((span.from_ms.saturating_sub(AROUND_MS), until_ms))
}

pub(super) fn join(args: &JoinArgs) -> Ended {
    let components = Components::of(&args.write)?;
    let mut out = Output::begin(&args.write.output)?;
    let mut rework: Option<Rework<'_>> = None;
    let mut last_ms = 0;
    let mut damage = None;
    for path in &args.recordings {
        let reader = RecordingReader::open(path)?;
        let header = reader.header().clone();
        let rework = match &mut rework {
            None => rework.insert(Rework::of(header, &components)?),
            Some(rework) => {
                rework
                    .is_of(&header)
                    .with_context(|| path.display().to_string())?;
                rework
            }
        };
        let mut read = Read::new(reader);
        while let Some(recorded) = read.next()? {
            let at_ms = recorded.event.at_ms();
            if at_ms < last_ms {
                bail!(
                    "{}: it has events from before the end of the recording before it; name them in the \
                     order of their times",
                    path.display()
                );
            }
            last_ms = at_ms;
            rework.write(&recorded, &mut out)?;
        }
        if let Some(found) = read.damage {
            damage = Some(found);
        }
    }
    let Some(rework) = rework else {
        bail!("name the recordings");
    };
    out.end(&rework, damage.as_deref())
}

/// Reads up to damage.
pub(super) struct Read {
    pub(super) reader: RecordingReader,
    pub(super) damage: Option<String>,
}

impl Read {
    pub(super) fn new(reader: RecordingReader) -> Self {
        Self {
            reader,
            damage: None,
        }
    }

    /// The next event; none at the end, or where the rest is damaged.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Recorded>> {
        match self.reader.next_event() {
            Ok(next) => Ok(next),
            Err(error) if error.is_damage() => {
                self.damage = Some(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The components that are at hand.
pub(super) struct Components(Vec<Verified>);

impl Components {
    pub(super) fn of(args: &WriteArgs) -> anyhow::Result<Self> {
        let mut all = vec![Verified::built_in(DEFAULT_COMPONENT)];
        for path in &args.policy {
            all.push(Verified::unsigned(policy::read(path)?));
        }
        Ok(Self(all))
    }

    fn load(
        &self,
        header: &Header,
        name: Option<&str>,
        identity: &PolicyIdentity,
    ) -> anyhow::Result<Policy> {
        let found = self
            .0
            .iter()
            .find(|known| known.digest() == identity.digest);
        let component = found.with_context(|| {
            format!(
                "{} {} (SHA-256 {}) decided, and is not at hand; name its file with --policy",
                identity.name, identity.version, identity.digest
            )
        })?;
        let named = name.and_then(|name| header.named.get(name));
        let limits = named
            .and_then(|named| named.limits.as_ref())
            .unwrap_or(&header.limits);
        let settings = named.map_or(&header.settings, |named| &named.settings);
        let runtime = Runtime::new(patient(limits)).context("starting the policy runtime")?;
        Ok(runtime.load(component, settings)?)
    }

    fn policies(&self, header: &Header) -> anyhow::Result<Policies> {
        let default = self.load(header, None, &header.policy)?;
        let named = header.named.iter().map(|(name, named)| {
            let policy = self.load(header, Some(name), &named.identity)?;
            Ok((name.clone(), policy))
        });
        let named: anyhow::Result<_> = named.collect();
        Ok(Policies::new(default, named?))
    }
}

/// A pipeline that takes events again.
pub(super) struct Rework<'a> {
    components: &'a Components,
    header: Header,
    pipeline: Pipeline,
    skipped: u64,
    written: u64,
    differing: u64,
}

impl<'a> Rework<'a> {
    pub(super) fn of(header: Header, components: &'a Components) -> anyhow::Result<Self> {
        let policies = components.policies(&header)?;
        Ok(Self {
            pipeline: Pipeline::new(header.options.clone(), policies, header.carried.clone()),
            components,
            header,
            skipped: 0,
            written: 0,
            differing: 0,
        })
    }

    /// Whether a recording goes on with the same configuration.
    fn is_of(&self, header: &Header) -> anyhow::Result<()> {
        let same = |one: &Header, other: &Header| -> serde_json::Result<bool> {
            let parts = |header: &Header| serde_json::to_value((&header.options, &header.settings));
            Ok(parts(one)? == parts(other)?)
        };
        if !same(&self.header, header)? {
            bail!("it was recorded with another configuration than the recording before it");
        }
        Ok(())
    }

    fn step(&mut self, recorded: &Recorded) -> anyhow::Result<Vec<Effect>> {
        if let Event::PolicySwapped { policy, to, .. } = &recorded.event {
            let name = self
                .header
                .named
                .contains_key(policy)
                .then_some(policy.as_str());
            let ready = self.components.load(&self.header, name, to)?;
            self.pipeline.stand_by(policy, ready);
            match self.header.named.get_mut(policy) {
                // Whoever begins here begins with this one.
                Some(named) if self.written == 0 => named.identity = to.clone(),
                None if self.written == 0 => self.header.policy = to.clone(),
                _ => {}
            }
        }
        let failures = recorded.failures_of_machine();
        Ok(self.pipeline.step_again(&recorded.event, failures))
    }

    /// Takes an event that is not written.
    fn skip(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        self.skipped += 1;
        self.step(recorded).map(drop)
    }

    /// Takes an event and writes it with what comes of it.
    pub(super) fn write(&mut self, recorded: &Recorded, out: &mut Output) -> anyhow::Result<()> {
        if self.written == 0 {
            if self.skipped > 0 {
                // What is carried over is all that a new beginning knows: so is this one.
                self.header.carried = self.pipeline.carried();
                self.header.started_ms = recorded.event.at_ms();
                let policies = self.components.policies(&self.header)?;
                let (options, carried) = (&self.header.options, &self.header.carried);
                self.pipeline = Pipeline::new(options.clone(), policies, carried.clone());
            }
            out.header(&self.header)?;
        }
        let effects = self.step(recorded)?;
        // As values: whoever took names out may have put the fields in another order.
        let before: serde_json::Value = serde_json::from_str(recorded.effects.get())?;
        self.differing += u64::from(serde_json::to_value(&effects)? != before);
        self.written += 1;
        out.write(&recorded.event, &effects)
    }
}

/// A recording that is put in its place whole.
pub(super) struct Output {
    place: std::path::PathBuf,
    scratch: tempfile::TempDir,
    writer: Option<RecordingWriter>,
}

impl Output {
    pub(super) fn begin(place: &Path) -> anyhow::Result<Self> {
        if place.exists() {
            bail!("{} exists already; choose another name", place.display());
        }
        let dir = match place.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let scratch = tempfile::tempdir_in(dir)
            .with_context(|| format!("making a scratch directory in {}", dir.display()))?;
        Ok(Self {
            place: place.to_owned(),
            scratch,
            writer: None,
        })
    }

    fn partial(&self) -> std::path::PathBuf {
        self.scratch.path().join("recording")
    }

    fn header(&mut self, header: &Header) -> anyhow::Result<()> {
        self.writer = Some(RecordingWriter::create(&self.partial(), header)?);
        Ok(())
    }

    fn write(&mut self, event: &Event, effects: &[Effect]) -> anyhow::Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.write(event, effects)?;
        }
        Ok(())
    }

    /// Puts the recording in its place, and tells what is in it.
    pub(super) fn end(mut self, rework: &Rework<'_>, damage: Option<&str>) -> Ended {
        if self.writer.take().is_none() {
            bail!("there is no event in that part; nothing was written");
        }
        TempPath::try_from_path(self.partial())?
            .persist_noclobber(&self.place)
            .map_err(|error| error.error)
            .with_context(|| {
                format!(
                    "putting the recording in its place, {}",
                    self.place.display()
                )
            })?;
        if let Some(damage) = damage {
            complain(&format!("warning: read up to damage: {damage}"));
        }
        if rework.differing > 0 {
            complain(&format!(
                "{} events have other effects than they were recorded with",
                rework.differing
            ));
        }
        complain(&format!(
            "wrote {}: {} events",
            self.place.display(),
            rework.written
        ));
        Ok(ExitCode::SUCCESS)
    }
}
