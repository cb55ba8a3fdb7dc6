//! Ten mistakes that authors really make, and what each language says of them: `docs/policy-mistakes.md`.
//!
//! With `UPDATE_DOCS=1` in the environment the table is written anew.

use std::fmt::Write as _;
use std::fs;

use dbmedic::model::{Setting, Value};
use dbmedic::policy::Policy;
use dbmedic::policy_tests;

use super::project::{Workshop, policy, root};
use crate::common::{data, run, talk};

/// How a mistake is made, and so who tells it.
enum Made {
    /// The policy of the folder `mistakes` makes it in service: it stands in the policy's log.
    Judging(&'static str),
    /// A file of the template is changed: the build says no.
    Source(&'static str, &'static str, &'static str),
    /// The build is changed: `dbmedic policy check` says no.
    Script(&'static str, &'static str),
}

use Made::{Judging, Script, Source};

/// A mistake, how it is made, and what must be told of it.
type Mistake = (&'static str, Made, &'static [&'static str]);

const EXCEPTION: &str = "an exception";
const TYPE: &str = "a value of another type";
const FIELD: &str = "a field that is missing";
const ENUMERATION: &str = "a misspelt case of an enumeration";
const EXPORT: &str = "no export";
const PRINT: &str = "printing (no mistake: it goes to the policy's log)";
const CLOCK: &str = "a clock";
const WASI: &str = "a build with WASI";
const INTEGER: &str = "an integer of 2^53 or more";
const LOOP: &str = "an endless loop";

const PYTHON: [Mistake; 10] = [
    (EXCEPTION, Judging("exception"), &["KeyError: 'gone' at "]),
    (
        TYPE,
        Judging("type"),
        &["verdict.confidence: a number is expected, not 'high' at "],
    ),
    (
        FIELD,
        Judging("field"),
        &["missing 1 required positional argument: 'message' at "],
    ),
    (
        ENUMERATION,
        Judging("enumeration"),
        &["there is no Classification.OBSTACEL; there are HICCUP, OBSTACLE"],
    ),
    (
        EXPORT,
        Source("policy.py", "Decision = ", "Decide = "),
        &[
            "dbmedic:policy/decision",
            "`Decision = export_policy(MyPolicy)`",
        ],
    ),
    (PRINT, Judging("print"), &["lock 7"]),
    (
        CLOCK,
        Judging("clock"),
        &["a policy has no clock; the event's time is `situation.now_ms` at "],
    ),
    (
        WASI,
        Script(" --stub-wasi", ""),
        &["wasi:", "add `--stub-wasi`"],
    ),
    (
        INTEGER,
        Source(
            "policy.py",
            "300_000, minimum=1_000, maximum=86_400_000",
            "2**53, minimum=1_000, maximum=2**60",
        ),
        &["2^53", "at policy.py:"],
    ),
    (
        LOOP,
        Source(
            "policy.py",
            "failures = ",
            "while True: pass\n        failures = ",
        ),
        &["EndlessLoop", "at policy.py:"],
    ),
];

const JAVASCRIPT: [Mistake; 10] = [
    (
        EXCEPTION,
        Judging("exception"),
        &["TypeError: cannot read property 'at' of undefined at "],
    ),
    (
        TYPE,
        Judging("type"),
        &["verdict.confidence: a number is expected, not \"high\" at "],
    ),
    (
        FIELD,
        Judging("field"),
        &["alert.message: a text is expected, not nothing at "],
    ),
    (
        ENUMERATION,
        Judging("enumeration"),
        &["not \"obstacel\"; did you mean \"obstacle\"? at "],
    ),
    (
        EXPORT,
        Source(
            "policy.js",
            "export default definePolicy",
            "export const policy = definePolicy",
        ),
        &[
            "dbmedic:policy/decision",
            "`export default definePolicy({ ... })`",
        ],
    ),
    (PRINT, Judging("print"), &["lock 7"]),
    (
        CLOCK,
        Judging("clock"),
        &["a policy has no clock; the event's time is `situation.nowMs` at "],
    ),
    (
        WASI,
        Script(" --stub-wasi", ""),
        &["wasi:", "add `--sync` and `--stub-wasi`"],
    ),
    (
        INTEGER,
        Source("policy.js", "300_000, {", "9_007_199_254_740_993, {"),
        &["2^53", "at policy.js:"],
    ),
    (
        LOOP,
        Source(
            "policy.js",
            "const failures = ",
            "for (;;) {}\n        const failures = ",
        ),
        &["EndlessLoop", "at policy.js:"],
    ),
];

const TYPESCRIPT: [Mistake; 10] = [
    (
        EXCEPTION,
        Judging("exception"),
        &["TypeError: cannot read property 'at' of undefined at "],
    ),
    (
        TYPE,
        Source("policy.ts", "END_HOLDER, 0.9", "END_HOLDER, \"high\""),
        &[
            "policy.ts(",
            "'string' is not assignable to parameter of type 'number'",
        ],
    ),
    (
        FIELD,
        Source(
            "policy.ts",
            "\"lock_stale\", \"warning\", ",
            "\"lock_stale\", ",
        ),
        &["policy.ts(", "Expected 3 arguments, but got 2"],
    ),
    (
        ENUMERATION,
        Source(
            "policy.ts",
            "classify(\"obstacle\")",
            "classify(\"obstacel\")",
        ),
        &[
            "policy.ts(",
            "'\"obstacel\"' is not assignable to parameter of type 'Classification'",
        ],
    ),
    (
        EXPORT,
        Source(
            "policy.ts",
            "export default definePolicy",
            "export const policy = definePolicy",
        ),
        &["policy.test.ts(", "has no default export"],
    ),
    (PRINT, Judging("print"), &["lock 7"]),
    (
        CLOCK,
        Judging("clock"),
        &["a policy has no clock; the event's time is `situation.nowMs` at "],
    ),
    (
        WASI,
        Script(" --stub-wasi", ""),
        &["wasi:", "add `--sync` and `--stub-wasi`"],
    ),
    (
        INTEGER,
        Source("policy.ts", "300_000, {", "9_007_199_254_740_993, {"),
        &["2^53", "at policy.ts:"],
    ),
    (
        LOOP,
        Source(
            "policy.ts",
            "const failures = ",
            "while (FAILURES > 0) {}\n        const failures = ",
        ),
        &["EndlessLoop", "at policy.ts:"],
    ),
];

#[test]
fn mistakes_in_python() {
    section(
        "python",
        "Python",
        ("policy.py", include_str!("mistakes/policy.py")),
        &PYTHON,
    );
}

#[test]
fn mistakes_in_javascript() {
    section(
        "javascript",
        "JavaScript",
        ("policy.js", include_str!("mistakes/policy.js")),
        &JAVASCRIPT,
    );
}

#[test]
fn mistakes_in_typescript() {
    section(
        "typescript",
        "TypeScript",
        ("policy.ts", include_str!("mistakes/policy.ts")),
        &TYPESCRIPT,
    );
}

/// Makes every mistake, and holds what is told of it against the section of the document.
fn section(
    language: &'static str,
    called: &str,
    (file, source): (&str, &str),
    mistakes: &[Mistake],
) {
    let Some(workshop) = Workshop::with_tools(language) else {
        return;
    };
    let template = fs::read_to_string(workshop.dir().join(file)).unwrap();
    let script = fs::read_to_string(workshop.dir().join("build.sh")).unwrap();
    fs::write(workshop.dir().join(file), source).unwrap();
    workshop.build();
    let in_service = policy(&workshop.component());
    let mut made = format!("## {called}\n\n| mistake | written | told |\n| --- | --- | --- |\n");
    for (mistake, how, pieces) in mistakes {
        fs::write(workshop.dir().join(file), &template).unwrap();
        fs::write(workshop.dir().join("build.sh"), &script).unwrap();
        let (written, told) = match how {
            Judging(which) => {
                let (at, line) = written(source, which);
                let told = in_the_log(&workshop, &in_service, which);
                let place = format!("{file}:{at}");
                assert!(
                    *which == "print" || told.ends_with(&place),
                    "{language}: {place}: {told}"
                );
                (line, told)
            }
            Source(file, old, new) => {
                workshop.edit(file, old, new);
                let built = workshop.shell("sh build.sh");
                assert_eq!(
                    built.status.code().map(|code| code > 0),
                    Some(true),
                    "{language}: {mistake}"
                );
                let written = new.lines().next().unwrap().to_owned();
                (written, line_with(&(talk(&built) + &data(&built)), pieces))
            }
            Script(old, new) => {
                workshop.edit("build.sh", old, new);
                workshop.build();
                let checked = run(&["policy", "check", workshop.component().to_str().unwrap()]);
                (
                    format!("build.sh without {}", old.trim()),
                    line_with(&data(&checked), pieces),
                )
            }
        };
        for piece in *pieces {
            assert!(
                told.contains(piece),
                "{language}: {mistake}: {piece}: {told}"
            );
        }
        let told = shortened(&told, &workshop).replace('|', "\\|");
        writeln!(made, "| {mistake} | `{written}` | {told} |").unwrap();
    }
    compare(called, &made);
}

/// The line of the source that makes a mistake.
fn written(source: &str, which: &str) -> (usize, String) {
    let begin = format!("case \"{which}\":");
    let at = source
        .lines()
        .position(|line| line.trim() == begin)
        .unwrap()
        + 1;
    let line = source.lines().nth(at).unwrap();
    (at + 1, line.trim().to_owned())
}

/// What the policy's log says when it is asked what its cases ask.
fn in_the_log(workshop: &Workshop, policy: &Policy, which: &str) -> String {
    let mistake = Setting {
        name: "mistake".into(),
        value: Value::Text(which.into()),
    };
    let policy = policy
        .with_settings(std::slice::from_ref(&mistake))
        .unwrap();
    let mut files = policy_tests::from_paths(&[workshop.cases()]).unwrap();
    for case in files.iter_mut().flat_map(|file| &mut file.cases) {
        case.parameters = vec![mistake.clone()];
    }
    let mut questions = policy_tests::questions(&policy, &files);
    let question = &mut questions.first_mut().unwrap().question;
    let decision = policy.decide(&question.event, &question.context, &mut question.telemetry);
    assert_eq!(
        decision.failure.is_none(),
        which == "print",
        "{:?}",
        decision.failure
    );
    decision.log.last().unwrap().message.clone()
}

/// Without the place of the project, and of many imports the first.
fn shortened(told: &str, workshop: &Workshop) -> String {
    let told = told.replace(workshop.dir().to_str().unwrap(), "...");
    let (Some(begin), Some(end)) = (told.find(", wasi:"), told.find("; a policy may import"))
    else {
        return told;
    };
    format!("{}, ...{}", &told[..begin], &told[end..])
}

/// The first line that holds a piece of what must be told.
fn line_with(text: &str, pieces: &[&str]) -> String {
    let line = text.lines().find(|line| line.contains(pieces[0]));
    line.unwrap_or_else(|| panic!("{pieces:?} is not told: {text}"))
        .trim()
        .to_owned()
}

/// Holds a section against the document, or writes it there.
fn compare(called: &str, made: &str) {
    let path = root().join("docs/policy-mistakes.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("## {called}\n");
    let at = text
        .find(&begin)
        .unwrap_or_else(|| panic!("{} has no {begin}", path.display()));
    let end = text[at + 3..]
        .find("\n## ")
        .map_or(text.len(), |end| at + 3 + end);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{}{made}{}", &text[..at], &text[end..]);
        fs::write(path, text).unwrap();
    } else {
        assert_eq!(
            text[at..end].trim_end(),
            made.trim_end(),
            "run it with UPDATE_DOCS=1"
        );
    }
}
