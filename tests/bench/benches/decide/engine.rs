//! The engine without dbmedic around it, to tell what being cut off in time costs: the checks in the
//! policy's code. Everything else is set up as the host does it, whose ticker does not disturb a call
//! that ends in time.

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store, UpdateDeadline};

use crate::TYPICAL;
use crate::case::bare;
use generated::Policy;
use generated::dbmedic::policy::situation::{Context, Event};
use generated::dbmedic::policy::telemetry::{BaselineSummary, Point};
use generated::dbmedic::policy::verdicts::Verdict;
use generated::dbmedic::policy::{findings, log, situation, telemetry, verdicts};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/"
)]
pub(crate) mod generated {
    wasmtime::component::bindgen!({ path: "../../wit", world: "policy" });
}

struct Nothing;

impl telemetry::Host for Nothing {
    fn latest(&mut self, _series: String) -> Option<Point> {
        None
    }

    fn baseline(&mut self, _series: String) -> Option<BaselineSummary> {
        None
    }

    fn recent(&mut self, _series: String, _limit: u32) -> Vec<Point> {
        Vec::new()
    }
}

impl log::Host for Nothing {
    fn write(&mut self, _level: log::LogLevel, _message: String) {}
}

impl findings::Host for Nothing {}
impl situation::Host for Nothing {}
impl verdicts::Host for Nothing {}

/// One instance that is called again and again.
pub(crate) struct Bare {
    store: Store<Nothing>,
    policy: Policy,
    event: Event,
    context: Context,
    epochs: bool,
}

impl Bare {
    pub(crate) fn new(epochs: bool, settings: &[u8]) -> Self {
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            .epoch_interruption(epochs);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, TYPICAL).unwrap();
        let mut linker = Linker::new(&engine);
        Policy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).unwrap();
        let mut store = Store::new(&engine, Nothing);
        if epochs {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        }
        let policy = Policy::instantiate(&mut store, &component, &linker).unwrap();
        Self {
            store,
            policy,
            event: bare::event(),
            context: bare::context(settings.to_vec()),
            epochs,
        }
    }

    pub(crate) fn decide(&mut self) -> Verdict {
        if self.epochs {
            self.store.set_epoch_deadline(1);
        }
        let decision = self.policy.dbmedic_policy_decision();
        let answer = decision.call_decide(&mut self.store, &self.event, &self.context);
        answer.unwrap().unwrap()
    }
}
