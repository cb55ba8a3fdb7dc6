//! The rules of `tests/guests/typical` in Rego, Rhai and CEL, as one would plainly write them there.
//! The memory is left out: it would only make the peers slower.

use std::sync::Arc;

use dbmedic::model::{Context, PolicyEvent, Verdict};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use serde::Deserialize;
use serde_json::json;

/// What the rules come to, in every language.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Answer {
    pub(crate) classification: String,
    pub(crate) level: String,
    pub(crate) repair: Option<String>,
    pub(crate) reasons: Vec<String>,
}

impl Answer {
    pub(crate) fn of(verdict: &Verdict) -> Self {
        Self {
            classification: case_of(&verdict.classification.unwrap()),
            level: case_of(&verdict.level),
            repair: verdict.repair.clone(),
            reasons: verdict.reasons.iter().map(|r| r.text.clone()).collect(),
        }
    }
}

/// The case of an enum of the contract, as JSON has it: without the type's name.
pub(crate) fn case_of(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.rsplit("::").next().unwrap_or_default().to_owned()
}

fn input(event: &PolicyEvent, context: &Context) -> serde_json::Value {
    let PolicyEvent::Finding(finding) = event else {
        panic!("a finding is typical");
    };
    json!({ "finding": finding, "context": context })
}

pub(crate) struct Rego(RegoVM);

impl Rego {
    pub(crate) fn new(event: &PolicyEvent, context: &Context) -> Self {
        let mut engine = regorus::Engine::new();
        let rules = include_str!("typical.rego").to_owned();
        engine.add_policy("typical.rego".into(), rules).unwrap();
        let entry = "data.typical.verdict";
        let policy = engine.compile_with_entrypoint(&entry.into()).unwrap();
        let program = Compiler::compile_from_policy(&policy, &[entry]).unwrap();
        let mut machine = RegoVM::new();
        machine.load_program(program);
        let text = input(event, context).to_string();
        machine.set_input(regorus::Value::from_json_str(&text).unwrap());
        Self(machine)
    }

    pub(crate) fn run(&mut self) -> regorus::Value {
        self.0.execute().unwrap()
    }

    pub(crate) fn decide(&mut self) -> Answer {
        serde_json::from_str(&self.run().to_json_str().unwrap()).unwrap()
    }
}

pub(crate) struct Rhai {
    engine: rhai::Engine,
    rules: rhai::AST,
    scope: rhai::Scope<'static>,
}

impl Rhai {
    pub(crate) fn new(event: &PolicyEvent, context: &Context) -> Self {
        let engine = rhai::Engine::new();
        let rules = engine.compile(include_str!("typical.rhai")).unwrap();
        let input = input(event, context);
        let mut scope = rhai::Scope::new();
        for part in ["finding", "context"] {
            let value = rhai::serde::to_dynamic(&input[part]).unwrap();
            scope.push_constant_dynamic(part, value);
        }
        Self {
            engine,
            rules,
            scope,
        }
    }

    pub(crate) fn run(&mut self) -> rhai::Dynamic {
        let before = self.scope.len();
        let answer = self
            .engine
            .eval_ast_with_scope(&mut self.scope, &self.rules)
            .unwrap();
        self.scope.rewind(before);
        answer
    }

    pub(crate) fn decide(&mut self) -> Answer {
        rhai::serde::from_dynamic(&self.run()).unwrap()
    }
}

/// CEL has expressions only: what several of them need is worked out once and handed on.
pub(crate) struct Cel {
    input: cel::Context<'static, 'static>,
    steps: Vec<(&'static str, cel::Program)>,
    answer: cel::Program,
}

impl Cel {
    pub(crate) fn new(event: &PolicyEvent, context: &Context) -> Self {
        let env = Arc::new(cel::Env::stdlib());
        let mut variables = cel::Context::with_env(Arc::clone(&env));
        let input = input(event, context);
        for part in ["finding", "context"] {
            let value = cel::to_value(&input[part]).unwrap();
            variables.add_variable_from_value(part, value);
        }
        let mut steps = Vec::new();
        let mut answer = None;
        for paragraph in include_str!("typical.cel").split("\n\n") {
            let (name, expression) = paragraph.split_once(" =\n").unwrap();
            let program = env.compile(expression).unwrap();
            match name {
                "answer" => answer = Some(program),
                _ => steps.push((name, program)),
            }
        }
        Self {
            input: variables,
            steps,
            answer: answer.unwrap(),
        }
    }

    pub(crate) fn run(&self) -> cel::Value {
        let mut scope = self.input.new_inner_scope();
        for (name, program) in &self.steps {
            let value = program.execute(&scope).unwrap();
            scope.add_variable_from_value(*name, value);
        }
        self.answer.execute(&scope).unwrap()
    }

    pub(crate) fn decide(&self) -> Answer {
        serde_json::from_value(self.run().json().unwrap()).unwrap()
    }
}
