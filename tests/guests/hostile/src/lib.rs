//! A policy that misbehaves in the way its setting `misbehave` asks for, so that the host's
//! sandbox is tested with real components. Written straight on the contract, without the SDK:
//! an attacker is not kind enough to use it.

#[allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/"
)]
mod contract {
    wit_bindgen::generate!({ path: "../../../wit", world: "policy", generate_all });
}

use contract::dbmedic::policy::findings::Value;
use contract::dbmedic::policy::log::{self, LogLevel};
use contract::dbmedic::policy::situation::{Context, Event};
use contract::dbmedic::policy::telemetry;
use contract::dbmedic::policy::verdicts::{
    Alert, Classification, EscalationLevel, Reason, Urgency, Verbosity, Verdict,
};
use contract::exports::dbmedic::policy::decision::{
    Description, Guest, Parameter, Setting, SettingError,
};

/// What `describe` does. A test overwrites these bytes in the component: settings cannot reach
/// `describe`, and one prebuilt component is enough this way.
static DESCRIBE: &[u8; 32] = b"describe=well-behaved___________";

/// A page of text, for answers of megabytes.
const KIB: usize = 1024;

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Description {
        // Read byte by byte at run time, so that the compiler does not fold it away.
        let described = std::hint::black_box(DESCRIBE);
        let how = std::str::from_utf8(&described[9..]).unwrap_or_default();
        match how.trim_end_matches('_') {
            "endless-loop" => endless_loop(),
            "trap" => std::process::abort(),
            "nameless" => Description {
                name: String::new(),
                ..description()
            },
            "bomb" => Description {
                summary: "x".repeat(512 * KIB),
                ..description()
            },
            _ => description(),
        }
    }

    fn configure(settings: Vec<Setting>) -> Result<Vec<u8>, Vec<SettingError>> {
        let mut chosen = String::from("nothing");
        let mut errors = Vec::new();
        for Setting { name, value } in settings {
            match (name.as_str(), value) {
                ("misbehave", Value::Text(how)) => chosen = how,
                _ => errors.push(SettingError {
                    name,
                    message: "is not a text named `misbehave`".into(),
                }),
            }
        }
        match chosen.as_str() {
            "configure-endless-loop" => endless_loop(),
            "configure-bomb" => Ok(vec![0; 64 * KIB]),
            _ if errors.is_empty() => Ok(chosen.into_bytes()),
            _ => Err(errors),
        }
    }

    fn decide(event: Event, context: Context) -> Result<Verdict, Reason> {
        let good = verdict(&event, &context);
        let how = String::from_utf8(context.settings).unwrap_or_default();
        Ok(match how.as_str() {
            "nothing" => good,
            "endless-loop" => endless_loop(),
            "endless-host-calls" => loop {
                std::hint::black_box(telemetry::recent("commits_per_s", u32::MAX));
            },
            "memory-bomb" => memory_bomb(),
            "memory-bomb-survived" => {
                let mut greedy: Vec<u8> = Vec::new();
                assert!(greedy.try_reserve(512 * KIB * KIB).is_err());
                good
            }
            "panic" => panic!("on purpose"),
            "stack-overflow" => Verdict {
                confidence: f64::from(recurse(0, std::hint::black_box(u32::MAX))),
                ..good
            },
            "shadow-stack-overflow" => Verdict {
                confidence: f64::from(recurse_with_frames(0)),
                ..good
            },
            "wild-read" => Verdict {
                halt: wild_read(),
                ..good
            },
            "refuse" => return Err(reason("hostile.refused", "cannot judge this")),
            "refuse-at-length" => return Err(reason("hostile.refused", &"x".repeat(64 * KIB))),
            "unknown-candidate" => Verdict {
                repair: Some("drop.everything".into()),
                ..good
            },
            "no-classification" => Verdict {
                classification: None,
                ..good
            },
            "no-reasons" => Verdict {
                reasons: Vec::new(),
                ..good
            },
            "nan" => Verdict {
                confidence: f64::NAN,
                ..good
            },
            "infinite" => Verdict {
                confidence: f64::INFINITY,
                ..good
            },
            "too-sure" => Verdict {
                confidence: 1.5,
                ..good
            },
            "memory-too-large" => Verdict {
                memory: vec![7; 64 * KIB],
                ..good
            },
            "many-reasons" => Verdict {
                reasons: (0..1000)
                    .map(|_| reason("hostile.chatty", "again"))
                    .collect(),
                ..good
            },
            "long-alert" => Verdict {
                alerts: vec![Alert {
                    rule: "hostile.long".into(),
                    urgency: Urgency::Info,
                    message: "x".repeat(64 * KIB),
                }],
                ..good
            },
            "megabytes" => Verdict {
                suggestions: vec!["x".repeat(6 * KIB * KIB)],
                ..good
            },
            "lift-bomb" => Verdict {
                suggestions: aliases(),
                ..good
            },
            "invalid-utf8" => Verdict {
                suggestions: vec![not_text()],
                ..good
            },
            "terminal-escapes" => Verdict {
                suggestions: vec!["\u{1b}]0;owned\u{7}\u{1b}[2Jrun this".into()],
                ..good
            },
            "log-flood" => {
                for line in 0..1000 {
                    log::write(LogLevel::Warn, &format!("{line} {}", "é".repeat(2 * KIB)));
                }
                good
            }
            "log-bomb" => loop {
                log::write(LogLevel::Error, &"x".repeat(2 * KIB * KIB));
            },
            "read-telemetry" => read_telemetry(good),
            "counter" => count(good, &context.memory),
            other => return believe(other, good, &context.memory),
        })
    }
}

fn description() -> Description {
    Description {
        name: "hostile".into(),
        version: "0.1.0".into(),
        summary: "Misbehaves as asked.".into(),
        parameters: vec![Parameter {
            name: "misbehave".into(),
            summary: "How.".into(),
            default: Value::Text("nothing".into()),
            minimum: None,
            maximum: None,
        }],
    }
}

/// A well-behaved answer: the first candidate, and the memory as it was.
fn verdict(event: &Event, context: &Context) -> Verdict {
    Verdict {
        classification: Some(Classification::Hiccup),
        level: EscalationLevel::Watch,
        repair: match event {
            Event::Finding(finding) => finding.candidates.first().map(|c| c.id.clone()),
            Event::Outcome(_) | Event::Tick => None,
        },
        halt: false,
        confidence: 0.9,
        verbosity: Verbosity::Elevated,
        alerts: Vec::new(),
        reasons: vec![reason("hostile.behaved", "nothing to hide")],
        suggestions: Vec::new(),
        memory: context.memory.clone(),
        needs_approval: false,
    }
}

fn reason(rule: &str, text: &str) -> Reason {
    Reason {
        rule: rule.into(),
        text: text.into(),
    }
}

fn endless_loop() -> ! {
    loop {
        std::hint::black_box(0);
    }
}

fn memory_bomb() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 256 * KIB]);
        std::hint::black_box(&kept);
    }
}

/// Keeps its frames on the engine's stack only. Rotating keeps it from becoming a loop.
#[inline(never)]
fn recurse(depth: u32, end: u32) -> u32 {
    if depth == end {
        return depth;
    }
    recurse(depth + 1, end).rotate_left(depth)
}

/// Keeps an array in each frame, so that the stack in linear memory ends first.
#[inline(never)]
fn recurse_with_frames(depth: u32) -> u32 {
    let frame = std::hint::black_box([depth; 256]);
    if frame[0] == u32::MAX {
        return depth;
    }
    recurse_with_frames(depth + 1).wrapping_add(frame[255])
}

fn wild_read() -> bool {
    let address = std::hint::black_box(0xffff_fff0_usize as *const u8);
    // SAFETY: none; the address is outside of the memory on purpose. The engine traps.
    unsafe { address.read_volatile() == 1 }
}

/// Half a million strings that share half a MiB: 4 MiB here, 256 GiB for a host that copies.
fn aliases() -> Vec<String> {
    let text = "x".repeat(512 * KIB).leak();
    (0..512 * KIB)
        .map(|_| {
            // SAFETY: none; every string believes that it owns the same bytes. The host must fail
            // before anything frees them.
            unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) }
        })
        .collect()
}

fn not_text() -> String {
    // SAFETY: none; the contract says UTF-8 and this is not. The host must check it.
    unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0xfd]) }
}

/// Puts what telemetry answers into the suggestions.
fn read_telemetry(good: Verdict) -> Verdict {
    let name = "commits_per_s";
    let latest = telemetry::latest(name);
    let baseline = telemetry::baseline(name);
    let recent = telemetry::recent(name, u32::MAX);
    Verdict {
        suggestions: vec![
            latest.map_or("none".into(), |p| format!("{}@{}", p.value, p.at_ms)),
            baseline.map_or("none".into(), |b| format!("{} +- {}", b.median, b.mad)),
            recent.len().to_string(),
            format!("{}", telemetry::latest("no_such_series").is_none()),
        ],
        ..good
    }
}

/// Believes whatever is handed back: counts on, judges by it, or takes its first bytes.
fn believe(how: &str, good: Verdict, memory: &[u8]) -> Result<Verdict, Reason> {
    let number = number(memory);
    Ok(match how {
        "memory-counter" => Verdict {
            memory: (number + 1).to_le_bytes().to_vec(),
            ..good
        },
        "memory-number" => Verdict {
            classification: Some(match number {
                0..1000 => Classification::Hiccup,
                _ => Classification::Crisis,
            }),
            ..good
        },
        "flap" => Verdict {
            level: match memory.first() {
                Some(1) => EscalationLevel::Normal,
                _ => EscalationLevel::Warn,
            },
            memory: vec![u8::from(memory.first() != Some(&1))],
            ..good
        },
        "memory-index" => Verdict {
            memory: match memory {
                [] => vec![0; 4],
                _ => memory[..4].to_vec(),
            },
            ..good
        },
        other => return Err(reason("hostile.unknown", other)),
    })
}

/// The number that the first eight bytes are, whoever wrote them; 0 where there are fewer.
fn number(memory: &[u8]) -> u64 {
    let bytes = memory.first_chunk().copied();
    bytes.map_or(0, u64::from_le_bytes) % (1 << 62)
}

/// What a static of this guest counts, beside what the memory counts: a fresh instance for each
/// decision keeps the first at one.
fn count(good: Verdict, memory: &[u8]) -> Verdict {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let remembered = memory.first().copied().unwrap_or_default().wrapping_add(1);
    Verdict {
        suggestions: vec![calls.to_string()],
        memory: vec![remembered],
        ..good
    }
}

contract::export!(Hostile with_types_in contract);
