//! What is computed, and from what.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// That of every draw.
pub const TEMPERATURE: f32 = 0.7;

/// What is asked of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Probabilities.
    Softmax,
    /// The column of the greatest logit.
    ArgMax,
    /// A column, drawn with the probabilities of softmax(x / T).
    Sample,
    /// The K greatest of a softmax, and their shares of its sum over the K.
    Route,
}

impl Kind {
    /// In the order of reports.
    pub const ALL: [Self; 4] = [Self::Softmax, Self::ArgMax, Self::Sample, Self::Route];

    /// As the command line and the peers in Python know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::ArgMax => "argmax",
            Self::Sample => "sample",
            Self::Route => "route",
        }
    }
}

/// One piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    pub kind: Kind,
    /// Tokens, of routing.
    pub rows: u32,
    /// Experts, of routing.
    pub cols: u32,
    /// Of each row, of routing; else 1.
    pub choices: u32,
}

impl Work {
    const fn new(kind: Kind, rows: u32, cols: u32) -> Self {
        Self { kind, rows, cols, choices: 1 }
    }

    const fn route(rows: u32, cols: u32, choices: u32) -> Self {
        Self { kind: Kind::Route, rows, cols, choices }
    }

    /// Rows times columns.
    pub fn elements(&self) -> usize {
        self.rows as usize * self.cols as usize
    }

    /// Bytes of its logits.
    pub fn bytes(&self) -> u64 {
        self.elements() as u64 * 4
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.kind.name(), self.rows, self.cols)?;
        if self.kind == Kind::Route { write!(f, "x{}", self.choices) } else { Ok(()) }
    }
}

/// All that is measured: vocabularies and experts of current language models.
pub fn all() -> Vec<Work> {
    let softmax = [(4096, 1024), (512, 32_768), (8, 151_936), (4, 262_144), (16_384, 128)];
    let draws = [(1, 151_936), (8, 151_936), (64, 151_936), (1, 262_144), (8, 262_144), (64, 262_144)];
    let routes = [(4096, 64, 6), (4096, 128, 8), (4096, 256, 8)];
    let of = |kind, shapes: &[(u32, u32)]| shapes.iter().map(|&(r, c)| Work::new(kind, r, c)).collect::<Vec<_>>();
    let mut all = of(Kind::Softmax, &softmax);
    all.extend(of(Kind::ArgMax, &draws));
    all.extend(of(Kind::Sample, &draws));
    all.extend(routes.map(|(tokens, experts, choices)| Work::route(tokens, experts, choices)));
    all
}

/// The shapes of the preset `llm` of `onesum bench`, in f32 and without the options of models, which peers do not have: softmax of
/// rows of attention and of vocabularies, draws from these, and routing by softmax.
pub fn llm() -> Result<Vec<Work>> {
    #[derive(Deserialize)]
    struct File {
        bench: Vec<Bench>,
    }
    #[derive(Deserialize)]
    struct Bench {
        name: String,
        kernel: String,
        #[serde(default)]
        presets: Vec<String>,
        shapes: Vec<String>,
    }
    let texts = [
        include_str!("../../../benches/definitions/softmax.toml"),
        include_str!("../../../benches/definitions/sample.toml"),
        include_str!("../../../benches/definitions/router.toml"),
    ];
    let mut all = Vec::new();
    for text in texts {
        let file: File = toml::from_str(text)?;
        for bench in file.bench.iter().filter(|bench| bench.presets.iter().any(|preset| preset == "llm")) {
            for shape in &bench.shapes {
                let sizes: Option<Vec<u32>> = shape.split('x').map(|size| size.parse().ok()).collect();
                let work = match (bench.kernel.as_str(), sizes.as_deref()) {
                    ("softmax", Some(&[rows, cols])) => Work::new(Kind::Softmax, rows, cols),
                    ("sample", Some(&[rows, cols])) => Work::new(Kind::Sample, rows, cols),
                    ("route", Some(&[tokens, experts, choices])) => Work::route(tokens, experts, choices),
                    (kernel, _) => bail!("{}: no peer does {kernel} of {shape}", bench.name),
                };
                // Models share shapes.
                if !all.contains(&work) {
                    all.push(work);
                }
            }
        }
    }
    all.sort_by_key(|work| Kind::ALL.iter().position(|kind| *kind == work.kind));
    Ok(all)
}

/// A handful of [`all`].
pub fn quick() -> Vec<Work> {
    vec![
        Work::new(Kind::Softmax, 4096, 1024),
        Work::new(Kind::Softmax, 8, 151_936),
        Work::new(Kind::ArgMax, 8, 151_936),
        Work::new(Kind::Sample, 8, 151_936),
        Work::route(4096, 128, 8),
    ]
}

/// The work that shows whether a sampler draws with the right frequencies: every row the same few logits.
pub const FREQUENCIES: Work = Work::new(Kind::Sample, 4096, 64);

/// Work and its inputs.
pub struct Problem {
    pub work: Work,
    pub logits: Vec<f32>,
    /// The same as bytes in a file, for other processes.
    pub file: PathBuf,
    /// So many copies of the inputs are taken in turn, so that the last cache does not hold them.
    pub sets: u32,
}

/// What a peer has computed.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Columns: one a row, or `choices` a row.
    pub columns: Vec<u32>,
    /// Probabilities, or the weights of choices.
    pub values: Vec<f32>,
}

/// Uniform in [-10, 10), 24 bits, from `SplitMix64`: the data of `onesum bench`.
pub fn logits(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0 * 20.0 - 10.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// The same few logits in every row, in [-2, 2): at this temperature the least likely of 64 columns is still expected a dozen
/// times in 65,536 draws.
pub fn few_logits(work: &Work) -> Vec<f32> {
    let row: Vec<f32> = logits(work.cols as usize).iter().map(|x| x / 5.0).collect();
    row.repeat(work.rows as usize)
}
