//! How models in use route.

use std::fmt;
use std::str::FromStr;

use super::{Bias, GroupScore, Groups, LEAST_SUM, Options, Scoring, Shape, Spec};

/// The routers of published models: from their configurations and reference implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Mixtral 8x7B and 8x22B: 2 of 8, softmax, renormalized.
    Mixtral,
    /// `OLMoE` 1B-7B: 8 of 64, softmax, as it is.
    Olmoe,
    /// DeepSeek-V2-Lite: 6 of 64, softmax, as it is.
    DeepseekV2Lite,
    /// DeepSeek-V3 and R1: 8 of 256 in 4 of 8 groups, sigmoid, a bias that chooses, renormalized, times 2.5.
    DeepseekV3,
    /// Qwen3-30B-A3B and 235B-A22B: 8 of 128, softmax, renormalized.
    Qwen3,
    /// Qwen3-Next-80B-A3B: 10 of 512, softmax, renormalized.
    Qwen3Next,
    /// gpt-oss-120b: 4 of 128, a bias of the logits, softmax over the chosen.
    GptOss,
    /// Llama 4 Scout: 1 of 16, sigmoid.
    Llama4,
    /// Llama 4 Maverick: 1 of 128, sigmoid.
    Llama4Maverick,
    /// Kimi-K2: 8 of 384, sigmoid, a bias that chooses, renormalized, times 2.827.
    KimiK2,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Mixtral,
        Self::Olmoe,
        Self::DeepseekV2Lite,
        Self::DeepseekV3,
        Self::Qwen3,
        Self::Qwen3Next,
        Self::GptOss,
        Self::Llama4,
        Self::Llama4Maverick,
        Self::KimiK2,
    ];

    /// How so many tokens are routed.
    #[must_use]
    pub fn spec(self, tokens: u32) -> Spec {
        let spec = |experts, choices| Spec::new(Shape::new(tokens, experts), choices);
        let raw = |spec: Spec| Spec { renormalize: None, ..spec };
        let sigmoid = |spec: Spec| Spec { scoring: Scoring::Sigmoid, ..spec };
        let chosen = |spec: Spec, scale, groups| Spec {
            scale,
            renormalize: Some(LEAST_SUM),
            options: Options { bias: Some(Bias::Score), groups, ..Options::default() },
            ..sigmoid(spec)
        };
        match self {
            Self::Mixtral => spec(8, 2),
            Self::Olmoe => raw(spec(64, 8)),
            Self::DeepseekV2Lite => raw(spec(64, 6)),
            Self::DeepseekV3 => {
                chosen(spec(256, 8), 2.5, Some(Groups { count: 8, kept: 4, score: GroupScore::TopTwo }))
            }
            Self::Qwen3 => spec(128, 8),
            Self::Qwen3Next => spec(512, 10),
            Self::GptOss => Spec { options: Options { bias: Some(Bias::Logit), ..Options::default() }, ..spec(128, 4) },
            Self::Llama4 => raw(sigmoid(spec(16, 1))),
            Self::Llama4Maverick => raw(sigmoid(spec(128, 1))),
            Self::KimiK2 => chosen(spec(384, 8), 2.827, None),
        }
    }

    /// `mixtral`, `deepseek-v3`, ….
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixtral => "mixtral",
            Self::Olmoe => "olmoe",
            Self::DeepseekV2Lite => "deepseek-v2-lite",
            Self::DeepseekV3 => "deepseek-v3",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Next => "qwen3-next",
            Self::GptOss => "gpt-oss",
            Self::Llama4 => "llama4",
            Self::Llama4Maverick => "llama4-maverick",
            Self::KimiK2 => "kimi-k2",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|p| p.name()).collect();
            format!("no router is called {name:?}; there are {}", known.join(", "))
        })
    }
}
