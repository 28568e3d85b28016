//! The options of `onesum run route`, as inference engines call them, and the specification that they make.

use std::path::PathBuf;

use clap::ValueEnum;
use onesum::plan::{Capacity, Priority};
use onesum::router::{Bias, GroupScore, Groups, LEAST_SUM, MAX_EXPERTS, Noise, Preset, Scoring, Shared, Spec};
use onesum::softmax::{Dtype, Shape};

use crate::failure::Failure;

/// How to route.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Route as a model does: mixtral, olmoe, deepseek-v2-lite, deepseek-v3, qwen3, qwen3-next, gpt-oss, llama4,
    /// llama4-maverick or kimi-k2. Other options go before what it sets
    #[arg(long, value_name = "MODEL")]
    pub preset: Option<Preset>,
    /// Experts of a token
    #[arg(long, short = 'k', value_name = "K", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub experts_per_token: Option<u32>,
    /// What logits become before they are weights [default: softmax]
    #[arg(long, value_enum, value_name = "HOW")]
    pub scoring: Option<ScoringArg>,
    /// Divide the weights of a token by their sum [default: yes, but not with --scoring none]
    #[arg(long, conflicts_with = "no_renormalize")]
    pub renormalize: bool,
    /// Do not
    #[arg(long)]
    pub no_renormalize: bool,
    /// The least that their sum counts as [default: 1e-20]
    #[arg(long, value_name = "F", conflicts_with = "no_renormalize")]
    pub least_sum: Option<f32>,
    /// Factor on the weights
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub scaling_factor: Option<f32>,
    /// Groups of experts that compete first; 1 is none
    #[arg(long, value_name = "N")]
    pub n_group: Option<u32>,
    /// Groups that stay in the race
    #[arg(long, value_name = "N")]
    pub topk_group: Option<u32>,
    /// What groups compete by: their best expert, or their two best added [default: top2 with a bias of the scores, else max]
    #[arg(long, value_enum, value_name = "HOW")]
    pub group_score: Option<GroupScoreArg>,
    /// A bias per expert: a file of [experts]
    #[arg(long, value_name = "FILE")]
    pub bias: Option<PathBuf>,
    /// Whether the bias only selects (as in DeepSeek-V3), or is part of the logits (gpt-oss)
    /// [default: select, or what the preset has]
    #[arg(long, value_enum, value_name = "ROLE", requires = "bias")]
    pub bias_role: Option<BiasArg>,
    /// Go on with zeros where the preset has a bias
    #[arg(long, requires = "preset", conflicts_with = "bias")]
    pub no_bias: bool,
    /// Soft cap c of the logits: c * tanh(x / c)
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    pub soft_cap: Option<f32>,
    /// Noise: of the choice (gumbel draws experts without replacement), or of the logits (normal: noisy top-K)
    #[arg(long, value_enum, value_name = "KIND", default_value_t = NoiseArg::None)]
    pub noise: NoiseArg,
    /// What normal noise has for its deviation, before softplus: a file of the input's shape
    #[arg(long, value_name = "FILE")]
    pub noise_logits: Option<PathBuf>,
    /// Seed of the noise, of all tokens
    #[arg(long, value_name = "S", default_value_t = 0, requires = "noise")]
    pub seed: u64,
    /// Position of the first token in the stream of noise; the next token has the next one
    #[arg(long, value_name = "P", default_value_t = 0, requires = "noise")]
    pub position: u64,
    /// Experts that every token goes to besides: numbers from the number of experts on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shared_experts: u32,
    /// The weight of each of them [default: 1]
    #[arg(long, value_name = "F", allow_negative_numbers = true, requires = "shared_experts")]
    pub shared_weight: Option<f32>,
    /// What experts are called on this shard: a .npy file of u32, i32 or i64, [experts + shared]; -1 is another shard's
    #[arg(long, value_name = "FILE")]
    pub expert_map: Option<PathBuf>,
    /// Tokens from this one on are padding: they go nowhere
    #[arg(long, value_name = "N")]
    pub valid_tokens: Option<u32>,
}

/// How to plan.
#[derive(clap::Args, Debug, Default)]
pub struct PlanOptions {
    /// Rows of an expert are padded to a multiple of this
    #[arg(long, value_name = "B", requires = "plan")]
    pub block: Option<u32>,
    /// Choices that an expert has room for
    #[arg(long, value_name = "C", requires = "plan")]
    pub capacity: Option<u32>,
    /// Which ones it keeps: by choice, then token; or those of the tokens with the greatest weight
    #[arg(long, value_enum, value_name = "ORDER", requires = "capacity")]
    pub drop: Option<DropArg>,
}

/// What logits become.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub enum ScoringArg {
    Softmax,
    Sigmoid,
    SqrtSoftplus,
    /// Logits are the weights
    None,
}

impl From<ScoringArg> for Scoring {
    fn from(arg: ScoringArg) -> Self {
        match arg {
            ScoringArg::Softmax => Self::Softmax,
            ScoringArg::Sigmoid => Self::Sigmoid,
            ScoringArg::SqrtSoftplus => Self::SqrtSoftplus,
            ScoringArg::None => Self::Identity,
        }
    }
}

/// What groups compete by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GroupScoreArg {
    Max,
    Top2,
}

/// What a bias is added to.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BiasArg {
    Select,
    Logit,
}

/// Which noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NoiseArg {
    #[default]
    None,
    Gumbel,
    Normal,
}

/// What an expert without room drops last.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DropArg {
    KMajor,
    BatchPrioritised,
}

impl Options {
    /// The specification for so many tokens and experts.
    pub fn spec(&self, tokens: u32, experts: u32, input: Dtype) -> Result<Spec, Failure> {
        let mut spec = self.basis(tokens, experts)?;
        spec.input = input;
        if let Some(choices) = self.experts_per_token {
            spec.choices = choices;
        }
        if let Some(scoring) = self.scoring {
            spec.scoring = scoring.into();
        }
        self.weigh(&mut spec)?;
        self.bias_of(&mut spec)?;
        self.group(&mut spec)?;
        if let Some(cap) = self.soft_cap {
            spec.options.soft_cap = Some(cap);
        }
        spec.options.noise = match (self.noise, &self.noise_logits) {
            (NoiseArg::None, None) => None,
            (NoiseArg::Gumbel, None) => Some(Noise::Gumbel),
            (NoiseArg::Normal, Some(_)) => Some(Noise::Normal),
            (NoiseArg::Normal, None) => {
                return Err(Failure::usage("--noise normal needs --noise-logits: what its deviation is made of"));
            }
            (_, Some(_)) => return Err(Failure::usage("--noise-logits is for --noise normal")),
        };
        if self.shared_experts > 0 {
            spec.options.shared =
                Some(Shared { count: self.shared_experts, weight: self.shared_weight.unwrap_or(1.0) });
        }
        spec.options.map = self.expert_map.is_some();
        spec.options.valid = self.valid_tokens.is_some();
        spec.check(experts)?;
        Ok(spec)
    }

    /// What the preset says, or nothing but the number of choices.
    fn basis(&self, tokens: u32, experts: u32) -> Result<Spec, Failure> {
        let shape = Shape::new(tokens, experts);
        let Some(preset) = self.preset else {
            return match self.experts_per_token {
                Some(choices) => Ok(Spec::new(shape, choices)),
                None => Err(Failure::usage("--experts-per-token is needed, or a --preset that sets it")),
            };
        };
        let spec = preset.spec(tokens);
        let own = spec.shape.cols;
        let grouped = spec.options.groups.is_some();
        let overridden = self.experts_per_token.is_some()
            && (!grouped || self.n_group == Some(1) || (self.n_group.is_some() && self.topk_group.is_some()));
        // Of more than any router has, the check that follows says so.
        if own != experts && !overridden && experts <= MAX_EXPERTS {
            let groups = if grouped { ", --n-group and --topk-group" } else { "" };
            return Err(Failure::error(format!(
                "the router of {preset} has {own} experts, the input has {experts}: to route these by its rules, \
                 give --experts-per-token{groups} too"
            )));
        }
        Ok(Spec { shape, ..spec })
    }

    fn weigh(&self, spec: &mut Spec) -> Result<(), Failure> {
        // Of a router of its own, and of one that is made another by --scoring, logits are not divided by their sum.
        let bare = self.scoring.is_some() && spec.scoring == Scoring::Identity;
        if self.no_renormalize || (bare && !self.renormalize) {
            spec.renormalize = None;
        } else if self.renormalize {
            spec.renormalize = spec.renormalize.or(Some(LEAST_SUM));
        }
        if let Some(least) = self.least_sum {
            if spec.renormalize.is_none() {
                return Err(Failure::usage("--least-sum is for --renormalize"));
            }
            spec.renormalize = Some(least);
        }
        if let Some(scale) = self.scaling_factor {
            spec.scale = scale;
        }
        Ok(())
    }

    fn bias_of(&self, spec: &mut Spec) -> Result<(), Failure> {
        let own = spec.options.bias;
        if self.bias.is_some() {
            let role = self.bias_role.map(|role| match role {
                BiasArg::Select => Bias::Score,
                BiasArg::Logit => Bias::Logit,
            });
            spec.options.bias = role.or(own).or(Some(Bias::Score));
            return Ok(());
        }
        match (own, self.preset) {
            (Some(_), Some(preset)) if !self.no_bias => Err(Failure::usage(format!(
                "the router of {preset} has a bias per expert: give it with --bias, or --no-bias to go on with zeros"
            ))),
            (None, Some(preset)) if self.no_bias => {
                Err(Failure::usage(format!("--no-bias: the router of {preset} has no bias")))
            }
            _ => Ok(()),
        }
    }

    fn group(&self, spec: &mut Spec) -> Result<(), Failure> {
        if self.n_group == Some(1) && self.topk_group.is_none_or(|n| n == 1) {
            spec.options.groups = None;
            return Ok(());
        }
        let own = spec.options.groups;
        let usual = if spec.options.bias == Some(Bias::Score) { GroupScore::TopTwo } else { GroupScore::Max };
        let score = match self.group_score {
            Some(GroupScoreArg::Max) => GroupScore::Max,
            Some(GroupScoreArg::Top2) => GroupScore::TopTwo,
            None => own.map_or(usual, |g| g.score),
        };
        let (count, kept) = (self.n_group.or(own.map(|g| g.count)), self.topk_group.or(own.map(|g| g.kept)));
        spec.options.groups = match (count, kept) {
            (Some(count), Some(kept)) => Some(Groups { count, kept, score }),
            (None, None) if self.group_score.is_none() => None,
            _ => return Err(Failure::usage("groups need both --n-group and --topk-group")),
        };
        Ok(())
    }
}

impl PlanOptions {
    /// What an expert has room for.
    pub fn room(&self) -> Option<Capacity> {
        let priority = match self.drop {
            None | Some(DropArg::KMajor) => Priority::KMajor,
            Some(DropArg::BatchPrioritised) => Priority::BatchPrioritised,
        };
        self.capacity.map(|slots| Capacity { slots, priority })
    }
}

/// A router in words.
pub fn words(spec: &Spec) -> String {
    let o = &spec.options;
    let mut parts = vec![format!("{} of {} experts", spec.choices, spec.shape.cols)];
    match o.bias {
        Some(Bias::Logit) => parts.push("a bias of the logits".into()),
        Some(Bias::Score) => parts.push("a bias that selects".into()),
        None => {}
    }
    parts.extend(o.soft_cap.map(|cap| format!("soft cap {cap}")));
    match o.noise {
        Some(Noise::Gumbel) => parts.push("Gumbel noise".into()),
        Some(Noise::Normal) => parts.push("normal noise".into()),
        None => {}
    }
    parts.push(match spec.scoring {
        Scoring::Identity => "logits as weights".into(),
        scoring => scoring.name().to_owned(),
    });
    if let Some(Groups { count, kept, score }) = o.groups {
        let by = if score == GroupScore::TopTwo { "two best added" } else { "best" };
        parts.push(format!("the {kept} of {count} groups with the greatest {by}"));
    }
    match spec.renormalize {
        Some(LEAST_SUM) => parts.push("renormalized".into()),
        Some(least) => parts.push(format!("renormalized by at least {least:e}")),
        None => {}
    }
    if spec.scale != 1.0 {
        parts.push(format!("times {}", spec.scale));
    }
    parts.extend(o.shared.map(|s| format!("{} shared with weight {}", s.count, s.weight)));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(options: &Options, experts: u32) -> Result<Spec, String> {
        options.spec(7, experts, Dtype::F32).map_err(|e| e.line().unwrap_or_default())
    }

    fn of(preset: Preset) -> Options {
        Options { preset: Some(preset), no_bias: preset.spec(1).options.bias.is_some(), ..Options::default() }
    }

    #[test]
    fn presets_are_what_the_library_has() {
        for preset in Preset::ALL {
            let want = preset.spec(7);
            assert_eq!(spec(&of(preset), want.shape.cols), Ok(want));
        }
        let refused = spec(&of(Preset::DeepseekV3), 64).unwrap_err();
        assert!(refused.contains("256 experts, the input has 64") && refused.contains("--n-group"), "{refused}");
        let forgotten = Options { no_bias: false, ..of(Preset::KimiK2) };
        assert!(spec(&forgotten, 384).unwrap_err().contains("--no-bias to go on with zeros"));
        assert!(spec(&Options { no_bias: true, ..of(Preset::Qwen3) }, 128).unwrap_err().contains("has no bias"));
    }

    #[test]
    fn options_go_before_presets() {
        let small =
            Options { experts_per_token: Some(4), n_group: Some(4), topk_group: Some(2), ..of(Preset::DeepseekV3) };
        let got = spec(&small, 64).unwrap();
        assert_eq!((got.choices, got.shape.cols, got.scale), (4, 64, 2.5));
        assert_eq!(got.options.groups, Some(Groups { count: 4, kept: 2, score: GroupScore::TopTwo }));
        let flat = Options { n_group: Some(1), no_renormalize: true, ..of(Preset::DeepseekV3) };
        let got = spec(&flat, 256).unwrap();
        assert_eq!((got.options.groups, got.renormalize), (None, None));
        let logits = Options { scoring: Some(ScoringArg::None), ..of(Preset::Qwen3) };
        assert_eq!(spec(&logits, 128).unwrap().renormalize, None);
        let least = Options { renormalize: true, least_sum: Some(1e-6), ..of(Preset::Olmoe) };
        assert_eq!(spec(&least, 64).unwrap().renormalize, Some(1e-6));
        let role = Options { bias: Some("b.npy".into()), no_bias: false, ..of(Preset::GptOss) };
        assert_eq!(spec(&role, 128).unwrap().options.bias, Some(Bias::Logit));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let plain = || Options { experts_per_token: Some(2), ..Options::default() };
        for (options, said) in [
            (Options::default(), "--experts-per-token is needed"),
            (Options { n_group: Some(2), ..plain() }, "both --n-group and --topk-group"),
            (Options { group_score: Some(GroupScoreArg::Max), ..plain() }, "both --n-group"),
            (Options { n_group: Some(3), topk_group: Some(1), ..plain() }, "a divisor of the number of experts"),
            (Options { noise: NoiseArg::Normal, ..plain() }, "needs --noise-logits"),
            (Options { noise_logits: Some("d.npy".into()), ..plain() }, "is for --noise normal"),
            (Options { least_sum: Some(1e-6), scoring: Some(ScoringArg::None), ..plain() }, "is for --renormalize"),
            (Options { renormalize: true, scoring: Some(ScoringArg::None), ..plain() }, "renormalize must be off"),
            (Options { experts_per_token: Some(9), ..plain() }, "at most the number of experts"),
        ] {
            let refused = spec(&options, 8).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn routers_have_words() {
        let said = words(&Preset::DeepseekV3.spec(1));
        assert_eq!(
            said,
            "8 of 256 experts, a bias that selects, sigmoid, the 4 of 8 groups with the greatest two best added, \
             renormalized, times 2.5"
        );
    }
}
