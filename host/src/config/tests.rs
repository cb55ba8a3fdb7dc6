use std::fs;
use std::path::Path;

use super::*;
use crate::model::Value;

const TARGET: &str = "[[targets]]\nname = \"a\"\nsqlite = \"a.db\"\n";

fn parsed(text: &str) -> Result<Loaded, ConfigErrors> {
    Config::parse(text, Path::new("dbmedic.toml"))
}

/// What is wrong with a text, its problems as a person sees them.
fn wrong(text: &str) -> String {
    parsed(text).unwrap_err().to_string()
}

/// The template with every commented-out option in force.
fn uncommented() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(option) if option.starts_with(|c: char| !c.is_whitespace()) => option,
        _ => line,
    };
    TEMPLATE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_empty_configuration_is_the_default_one() {
    let loaded = parsed("version = 1\n").unwrap();
    assert_eq!(loaded.config, Config::default());
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(warning.message.contains("no target"), "{warning}");
}

#[test]
fn the_template_is_the_default_configuration() {
    assert_eq!(parsed(TEMPLATE).unwrap().config, Config::default());
}

#[test]
fn each_option_in_the_template_shows_its_default() {
    let loaded = parsed(&uncommented()).unwrap();
    assert_eq!(loaded.warnings, []);
    let mut config = loaded.config;
    let source = std::mem::take(&mut config.policy.source);
    assert_eq!(source, Source::File("policy.wasm".into()));
    let directory = config.decision_log.directory.take();
    assert_eq!(directory, Some("decisions".into()));
    let key = config.policy.trusted_keys.pop().unwrap();
    assert_eq!(key.expires_ms, crate::signing::parse_time("2027-06-30"));
    assert_eq!(config.policy.limits.fuel, Some(10_000_000));
    let mut strict = config.policies.pop().unwrap().policy;
    let source = std::mem::take(&mut strict.source);
    assert_eq!(source, Source::Directory("strict".into()));
    assert_eq!(strict.trusted_keys.pop(), Some(key));
    assert_eq!(
        strict, config.policy,
        "what it does not set is as in [policy]"
    );
    config.policy.limits.fuel = None;
    let mut target = config.targets.pop().unwrap();
    let window = target.maintenance.pop().unwrap();
    assert_eq!((window.days.len(), window.start_minute), (7, 120));
    assert!(!window.allow_repairs && target.maintenance.is_empty());
    assert_eq!(target.mode, Mode::default());
    assert_eq!(target.constraints, Constraint::defaults());
    assert!(target.may_end.is_empty());
    assert_eq!(config, Config::default());
}

#[test]
fn no_option_is_missing_from_the_template() {
    let text = uncommented();
    let (table, mistakes) = DeTable::parse_recoverable(&text);
    assert!(mistakes.is_empty());
    let mut findings = Findings::new("dbmedic.toml", &text);
    let mut root = Section::root(&mut findings, table.get_ref());
    read::config(&mut root, Path::new(""), &Resolve::ByName).unwrap();
    root.finish();
    for (label, name) in findings.known() {
        let there = if label.is_empty() && findings.known().any(|(l, _)| l == format!("[{name}]")) {
            text.contains(&format!("\n[{name}]"))
        } else if label == "[[targets]]" && ["constraints", "maintenance"].contains(&name) {
            text.contains(&format!("[[targets.{name}]]"))
        } else if label == "[policy]" && text.contains(&format!("\n[policy.{name}]")) {
            true
        } else if label == "[policy]" && name == "trusted_keys" {
            text.contains("\n[[policy.trusted_keys]]")
        } else if label == "[[policies]]" || label.starts_with("[policies") {
            // The same as in [policy], where all of it stands.
            text.contains(&format!("\n{name} = "))
                || text.contains(&format!("\n[policy.{name}]"))
                || text.contains(&format!("\n[[policy.{name}]]"))
        } else {
            [
                format!("\n{name} = "),
                format!("\n[[{name}]]"),
                format!("\n[policy.{name}]"),
            ]
            .iter()
            .any(|line| text.contains(line))
        };
        assert!(there, "`{name}` of `{label}` is not in the template");
    }
}

#[test]
fn a_problem_shows_place_line_and_remedy() {
    let text =
        format!("version = 1\n\n\n\n\n[observation]\nsample_intervall_ms = 500 # often\n{TARGET}");
    assert_eq!(
        wrong(&text),
        "dbmedic.toml:7:1: unknown option `sample_intervall_ms` in [observation]\n  \
         7 | sample_intervall_ms = 500 # often\n\
         hint: did you mean `sample_interval_ms`?"
    );
}

#[test]
fn a_warning_names_the_typical_range() {
    let text = format!("version = 1\n{TARGET}[guard]\nrepairs_per_hour = 500\n");
    let warnings = parsed(&text).unwrap().warnings;
    assert_eq!(
        warnings[0].to_string(),
        "dbmedic.toml:6:1: warning: `repairs_per_hour` is 500, which is unusual\n  \
         6 | repairs_per_hour = 500\n\
         hint: typical: 1 to 20"
    );
    assert_eq!(warnings.len(), 1);
}

#[test]
fn all_mistakes_are_reported_at_once_and_in_order() {
    let errors = parsed(
        "mod = \"observe\"\n\
         mode = \"watch\"\n\
         [observation]\n\
         tick_interval_ms = 0\n\
         lock_hold_ms = \"1s\"\n\
         [[targets]]\n\
         name = \"a/b\"\n\
         [polisy]\n",
    )
    .unwrap_err();
    let found: Vec<_> = errors
        .0
        .iter()
        .map(|problem| (problem.line.unwrap(), problem.field.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (1, "version"),
            (1, "mod"),
            (2, "mode"),
            (4, "observation.tick_interval_ms"),
            (5, "observation.lock_hold_ms"),
            (6, "targets[0].sqlite"),
            (7, "targets[0].name"),
            (8, "polisy"),
        ]
    );
}

#[test]
fn broken_lines_are_all_reported() {
    let errors = parsed("version = 1\nmode = \nstate_dir = ]\n").unwrap_err();
    let lines: Vec<_> = errors.0.iter().filter_map(|problem| problem.line).collect();
    assert!(lines.contains(&2) && lines.contains(&3), "{errors}");
    assert!(wrong("version = 1\nversion = 1\n").contains("dbmedic.toml:2:1: duplicate key"));
}

/// What comes after `version = 1` and a sound target, and what is said about it.
const WRONG: &[(&str, &[&str])] = &[
    (
        "[observation]\nsample_interval_ms = 0",
        &[
            "`sample_interval_ms` is 0, out of its bounds",
            "hint: a whole number of milliseconds from 10 to 2_592_000_000; the default is 1_000",
        ],
    ),
    (
        "[observation]\nsample_interval_ms = -5",
        &["is -5, out of its bounds"],
    ),
    (
        "[observation]\nsample_interval_ms = 99999999999999999999",
        &["out of its bounds"],
    ),
    (
        "[observation]\nsample_interval_ms = 1.5",
        &[
            "is a number with a fraction",
            "a whole number of milliseconds",
        ],
    ),
    (
        "[observation]\nsample_interval_ms = \"1s\"",
        &["`sample_interval_ms` is text"],
    ),
    (
        "[observation]\nwindow = 5",
        &[
            "unknown option `window`",
            "hint: `window` belongs in [baseline]",
        ],
    ),
    (
        "[observation]\nxyz = 5",
        &[
            "unknown option `xyz`",
            "hint: known here: decide_interval_ms, ",
        ],
    ),
    (
        "[observation]\nstate_dir = \"x\"",
        &["hint: `state_dir` belongs at the top"],
    ),
    (
        "[[observation]]",
        &[
            "`observation` is a list, but must be one table",
            "hint: write [observation]",
        ],
    ),
    (
        "[observations]",
        &[
            "unknown section [observations]",
            "did you mean `observation`?",
        ],
    ),
    (
        "[baseline]\nwindow = 10_001",
        &["`window` is ", "from 100 to 10_000"],
    ),
    (
        "[baseline]\nestablished_after = 20_000",
        &["`established_after` is ", "from 2 to 10_000"],
    ),
    (
        "[baseline]\nwindow = 100\nestablished_after = 200",
        &["dbmedic.toml:7:1: `established_after` is above `window` (100)"],
    ),
    ("[snapshots]\nkeep = 0", &["`keep` is 0", "from 1 to 1_000"]),
    (
        "[guard]\nmax_loss_percent = 101",
        &[
            "`max_loss_percent` is 101",
            "from 0 to 100; the default is 5",
        ],
    ),
    (
        "[guard]\nmax_loss_percent = nan",
        &["is not a finite number"],
    ),
    (
        "[guard]\nmax_loss_percent = true",
        &["`max_loss_percent` is true or false"],
    ),
    ("[policy]\nfile = \"\"", &["`file` is empty"]),
    ("[policy]\nfile = 7", &["`file` is a whole number"]),
    (
        "[policy]\nfile = \"p.wasm\"",
        &["a signature is required, and no key is trusted"],
    ),
    (
        "[policy]\nrequire_signature = false\nfile = \"p.wasm\"\ndirectory = \"d\"",
        &["`file` and `directory` are both there"],
    ),
    (
        "[[policy.trusted_keys]]\nname = \"a\"",
        &["a trusted key without the key"],
    ),
    (
        "[[policy.trusted_keys]]\nname = \"a\"\nkey = \"RWQ\"",
        &["it is no minisign public key"],
    ),
    (
        "[[policy.trusted_keys]]\nname = \"a\"\nexpires = \"soon\"\n\
         key = \"RWRAsSeIj/bflXZNv2UW6iGQomQWNtS80hQZJP0mR7TfsxYVPVySwZOV\"",
        &["`expires` is \"soon\""],
    ),
    (
        "[policy.shadow]\npromote = \"never\"",
        &["one of \"auto\", \"manual\""],
    ),
    (
        "[policy.probation]\nfailures = 0",
        &["`failures` is 0, out of its bounds"],
    ),
    (
        "[[policies]]\nname = \"default\"",
        &["is the policy of [policy]"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\npolicies = [\"none\"]",
        &["there is no policy `none`"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\npolicies = []",
        &["no policy decides for this target"],
    ),
    (
        "[policy.limits]\ndeadline_ms = 0",
        &["`deadline_ms` is 0", "from 1 to 10_000; the default is 50"],
    ),
    (
        "[policy.limits]\ndeadline_ms = 10_001",
        &["`deadline_ms` is 10001"],
    ),
    (
        "[policy.limits]\nmemory_mib = 0",
        &["a whole number of MiB from 1 to 1_024; the default is 16"],
    ),
    (
        "[policy.limits]\nmemory = 5",
        &["did you mean `memory_mib`?"],
    ),
    (
        "[policy]\nisolation = \"none\"",
        &["`isolation` is \"none\"", "one of \"fresh\", \"reused\""],
    ),
    (
        "[policy]\nrecycle_after = 0",
        &["`recycle_after` is 0", "the default is 1_000"],
    ),
    ("[policy.limits]\nfuel = 0", &["`fuel` is 0", "from 10_000"]),
    (
        "[policy.breaker]\nbackoff_ms = 60_000\nbackoff_max_ms = 30_000",
        &["dbmedic.toml:7:1: `backoff_max_ms` is below `backoff_ms`"],
    ),
    (
        "[policy.breaker]\nfailures = 3",
        &["did you mean `failures_in_a_row`?"],
    ),
    (
        "[[policies]]\nname = \"a\"\n[policies.limits]\nmemory = 5",
        &["unknown option `memory`", "did you mean `memory_mib`?"],
    ),
    (
        "[[policies]]\nname = \"a\"\nisolate = \"fresh\"",
        &["did you mean `isolation`?"],
    ),
    (
        "[policy.breaker]\nbackoff_max_ms = 120_000\n[[policies]]\nname = \"a\"\n\
         [policies.breaker]\nbackoff_ms = 300_000",
        &["`backoff_max_ms` is below `backoff_ms`"],
    ),
    (
        "[policy.parameters]\nx = [1, \"a\"]",
        &["`x` is no list of one kind", "a list holds texts"],
    ),
    (
        "[policy.parameters]\nx = 2026-11-27",
        &["`x` is a date or time", "a parameter is true or false"],
    ),
    (
        "[policy.parameters]\nx = { fil = \"a\" }",
        &["`x` is a table", "write it as { file = \"PATH\" }"],
    ),
    (
        "[policy.parameters]\nx = { file = \"nowhere.toml\" }",
        &["reading nowhere.toml", "name a file of text"],
    ),
    (
        "[policy.parameters]\nx = inf",
        &["`x` is not a finite number"],
    ),
    (
        "[policy.parameters]\nx = 9007199254740992",
        &["too large for a policy"],
    ),
    (
        "[[constraints]]\nname = \"x\"\nmetric = \"m\"",
        &[
            "the constraint `x` bounds nothing",
            "add `lower`, `upper` or both",
        ],
    ),
    (
        "[[constraints]]\nname = \"x\"\nupper = 1",
        &["the constraint `x` has no metric"],
    ),
    (
        "[[constraints]]\nmetric = \"m\"\nupper = 1",
        &["a constraint without a name"],
    ),
    (
        "[[constraints]]\nname = \"x\"\nmetric = \"m\"\nlower = 3\nupper = 1",
        &["`lower` (3) is above `upper` (1)"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\nlower = 2e9",
        &["above `upper` (1000000000)"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\nwarning_threshold = 0.99",
        &["`warning_threshold` (0.99) is above `critical_threshold` (0.95)"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\nwarning_threshold = 0",
        &["`warning_threshold` is 0", "above 0 and below 1"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\ncritical_threshold = 1.0",
        &["`critical_threshold` is 1"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\nupper = inf",
        &["`upper` is not a finite number"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\nauto_fix = \"yes\"",
        &["`auto_fix` is text", "true or false, without quotes"],
    ),
    (
        "[[constraints]]\nname = \"wal_size\"\n[[constraints]]\nname = \"wal_size\"",
        &["the constraint `wal_size` is there already, in line 6"],
    ),
    (
        "[[targets]]\nname = \"a\"\nsqlite = \"b.db\"",
        &["the target `a` is there already, in line 3"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"./x/../a.db\"",
        &["is a target already, in line 4"],
    ),
    (
        "[[targets]]\nname = \"\"\nsqlite = \"b.db\"",
        &["`name` is empty"],
    ),
    (
        "[[targets]]\nname = \"a b\"\nsqlite = \"b.db\"",
        &["the name \"a b\" cannot name a directory"],
    ),
    (
        "[[targets]]\nname = \"..\"\nsqlite = \"b.db\"",
        &["cannot name a directory"],
    ),
    (
        "[[targets]]\nname = \"b\"",
        &["a target without a database"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \":memory:\"",
        &["which is not a path"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"file:b.db?mode=ro\"",
        &["which is not a path"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"dbmedic-state/b.db\"",
        &["is in `state_dir`"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"dbmedic-state\"",
        &["`state_dir` is a file of the database"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\nmode = \"Enforce\"",
        &[
            "`mode` is \"Enforce\"",
            "one of \"observe\", \"approve\", \"enforce\"",
        ],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\nmay_end = \"worker\"",
        &["`may_end` is text, but must be a list of texts"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\nmay_end = [7]",
        &["an entry that is not text"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\nmay_end = [\" \"]",
        &["an empty name"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\nmay_end = [\"background-worker\"]",
        &["write \"background-work\""],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\n[[targets.constraints]]\nname = \"x\"\nmetric = \"m\"",
        &["dbmedic.toml:9:1: the constraint `x` bounds nothing"],
    ),
    (
        "[[targets]]\nname = \"b\"\nsqlite = \"b.db\"\n[[targets.constraints]]\nnam = \"x\"",
        &[
            "unknown option `nam` in [[targets.constraints]]",
            "did you mean `name`?",
        ],
    ),
];

#[test]
fn wrong_options_are_told_with_what_is_right() {
    for (text, expected) in WRONG {
        let said = wrong(&format!("version = 1\n{TARGET}{text}\n"));
        for part in *expected {
            assert!(
                said.contains(part),
                "{text}\n--- said:\n{said}\n--- but not:\n{part}"
            );
        }
    }
}

#[test]
fn one_bracket_where_two_belong() {
    let said = wrong("version = 1\n[targets]\nname = \"a\"\n");
    assert!(said.contains("must be a list of tables"), "{said}");
    assert!(
        said.contains("write [[targets]], with two brackets"),
        "{said}"
    );
}

#[test]
fn the_version_comes_first() {
    assert!(wrong("").contains("`version` is missing"));
    assert!(wrong("version = \"1\"").contains("`version` is text"));
    let errors = parsed("version = 2\nnew_option = 1\n").unwrap_err();
    assert_eq!(errors.0.len(), 1, "nothing else can be judged: {errors}");
    assert!(errors.to_string().contains("version 2 is unknown"));
}

#[test]
fn odd_but_valid_values_are_warnings() {
    let table = [
        (
            "[observation]\nsample_interval_ms = 50",
            "typical: 100 to 60_000 milliseconds",
        ),
        (
            "[observation]\nsample_interval_ms = 5000\nlock_hold_ms = 1000",
            "`lock_hold_ms` is shorter than",
        ),
        (
            "[snapshots]\nrecent_ms = 3_600_000\ninterval_ms = 7_200_000",
            "less often than they stay recent",
        ),
        ("[guard]\ncool_down_ms = 0", "`cool_down_ms` is 0"),
        ("[guard]\nmax_loss_percent = 50", "typical: 0 to 10"),
        (
            "[[constraints]]\nname = \"wal_size\"\nwarning_threshold = 0.1",
            "typical: 0.5 to 0.99",
        ),
    ];
    for (text, expected) in table {
        let warnings = parsed(&format!("version = 1\n{TARGET}{text}\n"))
            .unwrap()
            .warnings;
        let [warning] = &warnings[..] else {
            panic!("{text}: {warnings:?}")
        };
        assert_eq!(warning.severity, ProblemSeverity::Warning);
        assert!(warning.to_string().contains(expected), "{warning}");
    }
}

#[test]
fn everything_is_resolved() {
    let text = "version = 1\n\
        mode = \"approve\"\n\
        [policy]\nfile = \"p.wasm\"\n\
        [[policy.trusted_keys]]\nname = \"k\"\n\
        key = \"RWRAsSeIj/bflXZNv2UW6iGQomQWNtS80hQZJP0mR7TfsxYVPVySwZOV\"\n\
        [policy.parameters]\nb = 2\na = \"x\"\nc = 0.5\nd = true\n\
        [[constraints]]\nname = \"wal_size\"\nupper = 5\n\
        [[constraints]]\nname = \"error_rate\"\nenabled = false\n\
        [[targets]]\nname = \"one\"\nsqlite = \"/data/one.db\"\nmay_end = [\"worker\"]\n\
        [[targets.constraints]]\nname = \"wal_size\"\nwarning_threshold = 0.5\n\
        [[targets.constraints]]\nname = \"own\"\nmetric = \"own_count\"\nlower = 1\n\
        [[targets]]\nname = \"two\"\nsqlite = \"two.db\"\nmode = \"enforce\"\n";
    let loaded = Config::parse(text, Path::new("/etc/dbmedic/dbmedic.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.state_dir, Path::new("/etc/dbmedic/dbmedic-state"));
    assert_eq!(
        config.policy.source,
        Source::File("/etc/dbmedic/p.wasm".into())
    );
    let parameters: Vec<_> = config
        .policy
        .parameters
        .iter()
        .map(|s| (&s.name[..], &s.value))
        .collect();
    assert_eq!(
        parameters,
        [
            ("a", &Value::Text("x".into())),
            ("b", &Value::Integer(2)),
            ("c", &Value::Number(0.5)),
            ("d", &Value::Boolean(true)),
        ]
    );
    assert_eq!(config.constraints.len(), 5);
    let [one, two] = &config.targets[..] else {
        panic!()
    };
    assert_eq!((one.mode, two.mode), (Mode::Approve, Mode::Enforce));
    assert_eq!(one.sqlite, Path::new("/data/one.db"));
    assert_eq!(two.sqlite, Path::new("/etc/dbmedic/two.db"));
    assert_eq!(one.may_end, ["worker"]);
    assert_eq!(two.constraints, config.constraints);
    let wal = one
        .constraints
        .iter()
        .find(|c| c.name == "wal_size")
        .unwrap();
    assert_eq!(
        (
            wal.upper,
            wal.warning_threshold.to_string(),
            &wal.metric[..]
        ),
        (Some(5.0), "0.5".into(), "wal_bytes")
    );
    assert_eq!(one.constraints.last().unwrap().lower, Some(1.0));
}

#[test]
fn a_configuration_survives_a_recording() {
    let config = parsed(&uncommented()).unwrap().config;
    let recorded = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&recorded).unwrap(), config);
}

#[test]
fn a_later_problem_finds_its_line() {
    let text = format!("version = 1\n{TARGET}[policy.parameters]\nmax_age_ms = 5\n");
    let places = parsed(&text).unwrap().places;
    let line = |field: &str| places.problem(field, "no".into(), None).line;
    assert_eq!(line("policy.parameters.max_age_ms"), Some(6));
    assert_eq!(line("policy.parameters.not_there"), Some(5));
    assert_eq!(line("targets[0].sqlite"), Some(4));
    assert_eq!(line("guard.keep"), None);
}

#[test]
fn errors_serialise_for_machines() {
    let errors = parsed("version = 1\nmod = 1\n").unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    let unknown = &json[1];
    assert_eq!(unknown["line"], 2);
    assert_eq!(unknown["column"], 1);
    assert_eq!(unknown["field"], "mod");
    assert_eq!(unknown["severity"], "error");
    assert_eq!(unknown["message"], "unknown option `mod` at the top");
    assert_eq!(unknown["hint"], "did you mean `mode`?");
    assert_eq!(json[0]["severity"], "warning");
}

#[test]
fn columns_count_characters_and_odd_text_is_harmless() {
    let errors = parsed("version = 1\nobservation = { \"ä\" = 1, x = 2 }\n").unwrap_err();
    let columns: Vec<_> = errors
        .0
        .iter()
        .filter(|problem| problem.line == Some(2))
        .map(|problem| problem.column.unwrap())
        .collect();
    assert_eq!(columns, [17, 26]);
    for text in [
        "\u{feff}version = 1",
        "version = 1\r\nx = 1\r\n",
        "\0",
        "ä",
        "=\n=\n[[[",
        "a.b.c = {",
    ] {
        let said = parsed(text)
            .map(|_| ())
            .err()
            .map(|errors| errors.to_string());
        assert!(said.is_none_or(|said| !said.contains('\r')));
    }
}

#[test]
fn files_are_looked_up_when_a_file_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dbmedic.toml");
    let load = |text: &str| {
        fs::write(&path, format!("version = 1\n{text}")).unwrap();
        Config::load(&path)
    };
    let target =
        |name: &str, file: &str| format!("[[targets]]\nname = \"{name}\"\nsqlite = \"{file}\"\n");

    let warnings = load(&target("a", "a.db")).unwrap().warnings;
    assert!(
        warnings[0].message.contains("there is no database in"),
        "{warnings:?}"
    );

    fs::write(dir.path().join("a.db"), "").unwrap();
    let loaded = load(&target("a", "a.db")).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.targets[0].sqlite, dir.path().join("a.db"));

    std::os::unix::fs::symlink("a.db", dir.path().join("link.db")).unwrap();
    let said = load(&(target("a", "a.db") + &target("b", "link.db"))).unwrap_err();
    assert!(
        said.to_string().contains("is a target already, in line 4"),
        "{said}"
    );

    fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("state")).unwrap();
    let said = load(&format!(
        "state_dir = \"state\"\n{}",
        target("a", "real/new.db")
    ))
    .unwrap_err();
    assert!(said.to_string().contains("is in `state_dir`"), "{said}");

    let said = load(&target("a", "real")).unwrap_err();
    assert!(said.to_string().contains("is a directory"), "{said}");

    let said = load(&format!("state_dir = \"a.db\"\n{}", target("b", "b.db"))).unwrap_err();
    assert!(said.to_string().contains("which is a file"), "{said}");

    let said = load(&format!(
        "[policy]\nfile = \"p.wasm\"\nrequire_signature = false\n{}",
        target("a", "a.db")
    ))
    .unwrap_err();
    assert!(
        said.to_string().contains(":3:1: there is no policy in"),
        "{said}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dbmedic.toml");
    let said = Config::load(&path).unwrap_err().to_string();
    assert!(said.contains("cannot read the configuration"), "{said}");
    assert!(said.contains("dbmedic config init"), "{said}");

    fs::write(&path, b"version = 1\n# \xff\n").unwrap();
    let said = Config::load(&path).unwrap_err().to_string();
    assert!(said.contains("line 2 is not UTF-8"), "{said}");

    fs::write(&path, "#".repeat(FILE_BYTES + 1)).unwrap();
    let said = Config::load(&path).unwrap_err().to_string();
    assert!(said.contains("1 MiB is the most"), "{said}");
}

#[test]
fn init_writes_the_template_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dbmedic.toml");
    init(&path).unwrap();
    // For root it names a state directory.
    let written = fs::read_to_string(&path).unwrap();
    let named = format!("state_dir = \"{ROOTS_STATE_DIR}\"");
    let written = written.replace(&named, "#state_dir = \"dbmedic-state\"");
    assert_eq!(written, TEMPLATE);
    assert_eq!(Config::load(&path).unwrap().config.targets, []);

    fs::write(&path, "mine").unwrap();
    assert!(matches!(init(&path), Err(InitError::Exists { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

    let nowhere = dir.path().join("missing/dbmedic.toml");
    assert!(matches!(init(&nowhere), Err(InitError::Write { .. })));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing left behind"
    );
}

#[test]
fn the_decision_log_has_room_for_two_files_and_a_place_of_its_own() {
    let log = |options: &str| format!("version = 1\n{TARGET}[decision_log]\n{options}\n");
    let small = wrong(&log("max_file_mib = 64\nmax_total_mib = 100"));
    assert!(
        small.starts_with("dbmedic.toml:7:1: `max_total_mib` is less than"),
        "{small}"
    );
    let state = wrong(&log("directory = \"dbmedic-state\""));
    assert!(state.contains("the state directory itself"), "{state}");
    let slip = wrong(&log("max_fil_mib = 64"));
    assert!(slip.contains("did you mean `max_file_mib`?"), "{slip}");
    let off = parsed(&log("enabled = false")).unwrap().config.decision_log;
    assert!(!off.enabled);
    assert_eq!(off.directory, None);
}

#[test]
fn shares_of_resources_and_bounds_of_operations_are_checked() {
    let text = "version = 1\n[resources]\nwarning_threshold = 0.9\ncritical_threshold = 0.85\n";
    assert!(wrong(text).contains("below `warning_threshold`"));
    let text = "version = 1\n[operations]\nmax_names = 0\n";
    assert!(wrong(text).contains("from 1 to 4_096"), "{}", wrong(text));
    let loaded = parsed("version = 1\n[operations]\nbucket_ms = 1_000\n").unwrap();
    assert_eq!(loaded.config.operations.bucket_ms, 1000);
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("unusual"))
    );
}

#[test]
fn learned_signatures_have_a_directory_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dbmedic.toml");
    fs::write(&path, "version = 1\n").unwrap();
    let loaded = Config::load(&path).unwrap();
    assert_eq!(loaded.config.signature_dir, dir.path().join("signatures"));
    fs::write(dir.path().join("known"), "a file").unwrap();
    fs::write(&path, "version = 1\nsignature_dir = \"known\"\n").unwrap();
    let said = Config::load(&path).unwrap_err().to_string();
    assert!(
        said.contains("dbmedic.toml:2:1: `signature_dir` is"),
        "{said}"
    );
}

#[test]
fn a_named_policy_has_what_it_sets_and_the_rest_of_the_default_one() {
    let text = format!(
        "version = 1\n{TARGET}\
         [policy]\nisolation = \"reused\"\nrecycle_after = 50\n\
         [policy.limits]\ndeadline_ms = 20\nfuel = 5_000_000\n\
         [policy.probation]\nfailures = 4\n\
         [policy.parameters]\nx = 1\n\
         [[policies]]\nname = \"same\"\n\
         [[policies]]\nname = \"other\"\nrecycle_after = 9\nwatch = false\n\
         [policies.limits]\nmemory_mib = 32\n\
         [policies.shadow]\ndecisions = 10\n\
         [policies.breaker]\nfailures_in_a_row = 5\n\
         [policies.parameters]\ny = 2\n"
    );
    let config = parsed(&text).unwrap().config;
    let [same, other] = &config.policies[..] else {
        panic!("{:?}", config.policies)
    };
    let mut expected = config.policy.clone();
    expected.parameters.clear();
    assert_eq!(same.policy, expected);
    expected.watch = false;
    expected.limits.isolation = crate::policy::Isolation::Reused { recycle_after: 9 };
    expected.limits.memory_mib = 32;
    expected.gate.shadow.decisions = 10;
    expected.breaker.failures_in_a_row = 5;
    expected.parameters.clone_from(&other.policy.parameters);
    assert_eq!(other.policy, expected);
    assert_eq!(other.policy.parameters[0].name, "y");
}
