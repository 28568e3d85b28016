//! The report in JSON. Field names are stable; fields may be added.

use onesum::conformance::Adapter;
use onesum::router::{Bias, GroupScore, Noise, Spec};
use onesum::stats::State;
use serde::Serialize;

use super::options::Options;
use super::{Args, Planned};
use crate::routing::balance;

/// What `--json` prints, and, with `state`, what `--stats` writes.
#[derive(Clone, Serialize)]
pub struct Record {
    pub kernel: &'static str,
    pub onesum: &'static str,
    pub wgpu: String,
    pub input: String,
    pub weights: String,
    pub experts: String,
    pub shape: Vec<usize>,
    pub dtype: String,
    /// What reading changed: a narrowed type.
    pub note: Option<String>,
    pub tokens: usize,
    pub num_experts: usize,
    pub options: OptionsRecord,
    pub adapter: Adapter,
    pub variant: String,
    pub stats_variant: String,
    pub time_ms: f64,
    pub stats_time_ms: f64,
    pub time_method: &'static str,
    /// Tokens that were compared with the CPU's, all equal. Null with --no-check.
    pub compared: Option<usize>,
    pub plan: Option<PlanRecord>,
    pub figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRecord>,
}

/// The options in use, by their names on the command line.
#[derive(Clone, Serialize)]
pub struct OptionsRecord {
    preset: Option<&'static str>,
    experts_per_token: u32,
    scoring: &'static str,
    renormalize: bool,
    least_sum: Option<f32>,
    scaling_factor: f32,
    n_group: u32,
    topk_group: u32,
    group_score: Option<&'static str>,
    /// Null without a bias; `no_bias` says that it is zeros.
    bias_role: Option<&'static str>,
    no_bias: bool,
    soft_cap: Option<f32>,
    noise: &'static str,
    /// Null without noise.
    seed: Option<u64>,
    position: Option<u64>,
    shared_experts: u32,
    shared_weight: Option<f32>,
    expert_map: Option<String>,
    valid_tokens: Option<u32>,
}

impl OptionsRecord {
    pub fn new(options: &Options, spec: &Spec) -> Self {
        let o = &spec.options;
        let noisy = o.noise.is_some();
        Self {
            preset: options.preset.map(onesum::router::Preset::name),
            experts_per_token: spec.choices,
            scoring: spec.scoring.name(),
            renormalize: spec.renormalize.is_some(),
            least_sum: spec.renormalize,
            scaling_factor: spec.scale,
            n_group: o.groups.map_or(1, |g| g.count),
            topk_group: o.groups.map_or(1, |g| g.kept),
            group_score: o.groups.map(|g| if g.score == GroupScore::Max { "max" } else { "top2" }),
            bias_role: o.bias.map(|b| if b == Bias::Logit { "logit" } else { "select" }),
            no_bias: options.no_bias,
            soft_cap: o.soft_cap,
            noise: match o.noise {
                None => "none",
                Some(Noise::Gumbel) => "gumbel",
                Some(Noise::Normal) => "normal",
            },
            seed: noisy.then_some(options.seed),
            position: noisy.then_some(options.position),
            shared_experts: o.shared.map_or(0, |s| s.count),
            shared_weight: o.shared.map(|s| s.weight),
            expert_map: options.expert_map.as_ref().map(|p| p.display().to_string()),
            valid_tokens: options.valid_tokens,
        }
    }
}

/// What was planned.
#[derive(Clone, Serialize)]
pub struct PlanRecord {
    pub variant: String,
    pub time_ms: f64,
    /// Experts that it is for.
    pub experts: usize,
    /// Slots in use, padding of blocks included, and those that the file has.
    pub slots: u32,
    pub slots_in_file: usize,
    /// Choices that have a slot, and those for which there was no room.
    pub kept: u64,
    pub dropped: usize,
    pub block: Option<u32>,
    pub capacity: Option<u32>,
    pub drop: Option<&'static str>,
}

impl PlanRecord {
    pub fn new(args: &Args, planned: &Planned) -> Self {
        let (plan, options) = (&planned.plan, &args.plan_options);
        let by_weight = |c: onesum::plan::Capacity| c.priority == onesum::plan::Priority::BatchPrioritised;
        Self {
            variant: planned.variant.to_string(),
            time_ms: planned.seconds * 1e3,
            experts: plan.counts.len(),
            slots: plan.offsets.last().copied().unwrap_or(0),
            slots_in_file: plan.sorted.len(),
            kept: plan.counts.iter().map(|&n| u64::from(n)).sum(),
            dropped: plan.dropped.len(),
            block: options.block,
            capacity: options.capacity,
            drop: options.room().map(|c| if by_weight(c) { "batch-prioritised" } else { "k-major" }),
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        let blocks = self.block.map_or(String::new(), |b| format!(", {} blocks of {b}", self.slots / b.max(1)));
        let drops = self.capacity.map_or(String::new(), |c| format!(", {} dropped beyond {c} an expert", self.dropped));
        format!("plan     {} choices of {} experts in {} slots{blocks}{drops}", self.kept, self.experts, self.slots)
    }
}

/// What is computed from a state.
#[derive(Clone, Serialize)]
pub struct Figures {
    max_over_mean: f64,
    load_cv2: f64,
    importance_cv2: f64,
    /// Over the greatest there can be.
    entropy: f64,
    /// The share of experts that nobody has chosen.
    unused: f64,
    /// Null, as the next one, if no token could be measured.
    balance_loss: Option<f64>,
    z_loss: Option<f64>,
}

impl Figures {
    pub fn new(state: &State) -> Self {
        let measured = state.measured_tokens > 0;
        Self {
            max_over_mean: state.max_over_mean(),
            load_cv2: state.load_cv2(),
            importance_cv2: state.importance_cv2(),
            entropy: state.entropy(),
            unused: state.unused(),
            balance_loss: measured.then(|| state.balance_loss()),
            z_loss: measured.then(|| state.z_loss()),
        }
    }

    /// For people.
    pub fn lines(&self, state: &State) -> Vec<String> {
        let shown = |loss: Option<f64>| loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
        let losses = format!("loss     balance {}, z {}", shown(self.balance_loss), shown(self.z_loss));
        let mut lines = vec![balance(state), losses];
        let odd = [
            (state.nan_tokens, "tokens with NaN or +inf"),
            (state.masked_tokens, "tokens without any finite logit"),
            (state.bad_weights, "weights not finite or too large to add up"),
        ];
        let odd: Vec<_> = odd.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !odd.is_empty() {
            lines.push(format!("odd      {}", odd.join(", ")));
        }
        lines
    }
}

/// What was counted; arrays have an entry for each expert.
#[derive(Clone, Serialize)]
pub struct StateRecord {
    tokens: u64,
    sentinels: u64,
    nan_tokens: u64,
    masked_tokens: u64,
    measured_tokens: u64,
    bad_weights: u64,
    squares: f64,
    counts: Vec<u64>,
    first: Vec<u64>,
    gates: Vec<f64>,
    probabilities: Vec<f64>,
}

impl StateRecord {
    pub fn new(state: &State) -> Self {
        Self {
            tokens: state.tokens,
            sentinels: state.sentinels,
            nan_tokens: state.nan_tokens,
            masked_tokens: state.masked_tokens,
            measured_tokens: state.measured_tokens,
            bad_weights: state.bad_weights,
            squares: state.squares,
            counts: state.counts.clone(),
            first: state.first.clone(),
            gates: state.gates.clone(),
            probabilities: state.probabilities.clone(),
        }
    }
}
