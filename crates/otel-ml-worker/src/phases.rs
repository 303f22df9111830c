//! The two parts of generating.

use otel_ml::opentelemetry::Context;
use otel_ml::semconv::ml;
use otel_ml::{MlSpan, Outcome, Running, StageRecord, Telemetry, stage};

/// Prefill and decode of one request in a step loop.
///
/// | recorded | |
/// |---|---|
/// | spans `prefill`, `decode`, INTERNAL | children of what is active where the phases start; `ml.pipeline.stage.name`, `ml.inference.phase`; on `decode` `gen_ai.usage.output_tokens` |
/// | on the operation around | `gen_ai.usage.output_tokens`, and the time of the first token |
/// | metrics | `ml.stage.duration` of both; `gen_ai.server.time_to_first_token` and `gen_ai.server.time_per_output_token`, when the operation around ends, if it says which GenAI operation it is ([`MlSpan::gen_ai_operation`]) |
///
/// ```
/// use otel_ml::{MlSpan, Outcome};
/// use otel_ml_worker::Phases;
///
/// # let mut tokens = ["An", " answer"].into_iter();
/// MlSpan::current().gen_ai_operation("chat").provider("openai");
/// let mut phases = Phases::start();
/// while let Some(token) = phases.scope(|| tokens.next()) {
///     phases.token(); // the first one ends the prefill
///     print!("{token}");
/// }
/// phases.finish(Outcome::Ok);
/// ```
///
/// # When it ends
/// By [`finish`](Self::finish), by a panic in [`scope`](Self::scope), or when dropped, as
/// cancelled: the phase that runs then ends in that way.
#[derive(Debug)]
#[must_use = "dropping it ends the phase as cancelled"]
pub struct Phases {
    phase: Option<Running<StageRecord>>,
    around: Context,
    telemetry: Telemetry,
    tokens: u64,
}

impl Phases {
    /// Starts with the prefill, in the current context.
    pub fn start() -> Self {
        let telemetry = Telemetry::current();
        Self {
            phase: Some(start(ml::phase::PREFILL, &telemetry)),
            around: Context::current(),
            telemetry,
            tokens: 0,
        }
    }

    /// Runs a step on this thread, in the context of the phase.
    pub fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        match &mut self.phase {
            Some(phase) => phase.scope(work),
            None => work(),
        }
    }

    /// The context of the phase, for a step that awaits or runs elsewhere.
    #[must_use]
    pub fn context(&self) -> Context {
        let phase = self.phase.as_ref().map(Running::context);
        phase.unwrap_or_else(|| self.around.clone())
    }

    /// The handle to write facts about the phase by.
    #[must_use]
    pub fn span(&self) -> MlSpan {
        self.phase.as_ref().map(Running::span).unwrap_or_default()
    }

    /// A token came out. See [`tokens`](Self::tokens).
    pub fn token(&mut self) {
        self.tokens(1);
    }

    /// So many tokens came out of a step. The first ones end the prefill, and begin the decode.
    /// Costs a write of a fact, twice; nothing is allocated after the first.
    pub fn tokens(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        let owner = MlSpan::from_context(&self.around);
        if self.tokens == 0 {
            owner.first_token();
            if let Some(prefill) = self.phase.take() {
                prefill.finish(Outcome::Ok);
                let _attached = self.around.clone().attach();
                self.phase = Some(start(ml::phase::DECODE, &self.telemetry));
            }
        }
        self.tokens = self.tokens.saturating_add(count);
        owner.output_tokens(self.tokens);
        self.span().output_tokens(self.tokens);
    }

    /// How many tokens came out so far.
    #[must_use]
    pub const fn output_tokens(&self) -> u64 {
        self.tokens
    }

    /// Ends the phase that runs.
    pub fn finish(mut self, outcome: Outcome) {
        if let Some(phase) = self.phase.take() {
            phase.finish(outcome);
        }
    }
}

fn start(phase: &'static str, telemetry: &Telemetry) -> Running<StageRecord> {
    let running = stage(phase).telemetry(telemetry).start();
    running.span().inference_phase(phase);
    running
}
