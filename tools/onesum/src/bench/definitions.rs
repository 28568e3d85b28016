//! What is measured, as data: `benches/definitions/*.toml`, built in, or a file of the user's.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use onesum::router;
use onesum::softmax::{Dtype, Shape};
use serde::Deserialize;
use toml::Spanned;

use super::rounds::Label;
use super::variants;
use crate::failure::Failure;

/// The files that the program comes with.
const BUILT_IN: [(&str, &str); 5] = [
    ("softmax.toml", include_str!("../../../../benches/definitions/softmax.toml")),
    ("gumbel.toml", include_str!("../../../../benches/definitions/gumbel.toml")),
    ("sample.toml", include_str!("../../../../benches/definitions/sample.toml")),
    ("router.toml", include_str!("../../../../benches/definitions/router.toml")),
    ("permute.toml", include_str!("../../../../benches/definitions/permute.toml")),
];

/// Sets of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Every kernel in about a minute: few small shapes, fewer repeats
    Quick,
    /// The two-pass softmax paper: 128 to 10^7 columns, two passes against three, and the online algorithm
    Paper,
    /// Softmax, sampling and routing with the shapes of language models
    Llm,
    /// Everything but `quick`, whose shapes are in here
    All,
}

impl Preset {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Paper => "paper",
            Self::Llm => "llm",
            Self::All => "all",
        }
    }
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    Softmax,
    Gumbel,
    Sample,
    Route,
    Permute,
}

impl Kernel {
    /// As definitions have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Gumbel => "gumbel",
            Self::Sample => "sample",
            Self::Route => "route",
            Self::Permute => "permute",
        }
    }

    /// Whether a shape has a third number.
    fn is_routed(self) -> bool {
        matches!(self, Self::Route | Self::Permute)
    }
}

/// `2048x4096`: rows and columns; `4096x256x8`: with the choices of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size {
    /// Rows, or tokens.
    pub rows: u32,
    /// Columns; experts of a routing, elements of a token that is moved.
    pub cols: u32,
    /// Choices of a token; 0 where rows are not routed.
    pub choices: u32,
}

impl Size {
    /// Without the choices.
    pub fn shape(self) -> Shape {
        Shape::new(self.rows, self.cols)
    }

    /// Elements of what is read.
    pub fn elements(self) -> usize {
        self.rows as usize * self.cols as usize
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u32>> =
            text.split(['x', 'X']).map(|n| n.trim().parse().ok().filter(|&n| n > 0)).collect();
        match numbers.as_deref() {
            Some(&[rows, cols]) => Ok(Self { rows, cols, choices: 0 }),
            Some(&[rows, cols, choices]) => Ok(Self { rows, cols, choices }),
            _ => Err("expected ROWSxCOLUMNS, both at least 1, such as 2048x4096".to_owned()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)?;
        if self.choices > 0 { write!(f, "x{}", self.choices) } else { Ok(()) }
    }
}

/// `f32`; `f16-f32`: of what is read and of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Types {
    /// Of what is read.
    pub input: Dtype,
    /// Of what is written.
    pub output: Dtype,
}

impl Types {
    /// Both f32.
    pub const F32: Self = Self::both(Dtype::F32);

    /// The same for input and output.
    pub const fn both(dtype: Dtype) -> Self {
        Self { input: dtype, output: dtype }
    }
}

impl FromStr for Types {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |name: &str| Dtype::ALL.into_iter().find(|d| d.name() == name);
        let (input, output) = text.split_once('-').unwrap_or((text, text));
        match (one(input), one(output)) {
            (Some(input), Some(output)) => Ok(Self { input, output }),
            _ => Err(format!("expected f32, f16 or bf16, or two of them such as f16-f32, got {text:?}")),
        }
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.input.name())?;
        if self.input == self.output { Ok(()) } else { write!(f, "-{}", self.output.name()) }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Types {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How many rows are held against the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Those that hold about so many elements as a plan says.
    #[default]
    Sample,
    /// Every one.
    All,
}

/// Of softmax, and of Gumbel-Softmax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SoftmaxOptions {
    /// Factor on the logits.
    pub scale: Option<f32>,
    /// Soft cap of the logits.
    pub soft_cap: Option<f32>,
    /// That of every row.
    pub temperature: Option<f32>,
    /// Causal: each so many rows are the last positions of a sequence as long as there are columns.
    pub queries: Option<u32>,
    /// Log-probabilities.
    #[serde(default)]
    pub log: bool,
    /// With Gumbel noise; the kernel decides.
    #[serde(skip)]
    pub noise: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GumbelOptions {
    scale: Option<f32>,
    temperature: Option<f32>,
}

/// Of sampling.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleOptions {
    /// That of every row.
    pub temperature: f32,
    /// Columns that are drawn from a row, without replacement.
    pub k: u32,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { temperature: 1.0, k: 1 }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRouteOptions {
    model: Option<String>,
    scoring: Option<String>,
}

/// Of routing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RouteOptions {
    /// As this model does.
    pub model: Option<router::Preset>,
    /// By these scores, without a model.
    pub scoring: Option<router::Scoring>,
}

/// Of permutations.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PermuteOptions {
    /// Experts that tokens go to; at least as many as there are choices.
    pub experts: u32,
}

impl Default for PermuteOptions {
    fn default() -> Self {
        Self { experts: 128 }
    }
}

/// A kernel and its options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    Softmax(SoftmaxOptions),
    Sample(SampleOptions),
    Route(RouteOptions),
    Permute(PermuteOptions),
}

/// What is measured: one definition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Unique.
    pub name: String,
    /// What the shapes are.
    pub about: String,
    pub kernel: Kernel,
    pub work: Work,
    pub presets: Vec<Preset>,
    pub sizes: Vec<Size>,
    pub types: Vec<Types>,
    /// Who competes, in the words of [`variants`].
    pub words: Vec<String>,
    /// As written: `temperature=0.7`.
    pub options: String,
    pub check: Check,
}

/// One shape of one definition with one element type.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    pub definition: &'a Definition,
    pub size: Size,
    pub types: Types,
}

impl Case<'_> {
    /// What the names of its records begin with: `sample-llama3/8x128256/f32/temperature=0.7`.
    pub fn name(&self) -> String {
        let Definition { name, options, .. } = self.definition;
        let slash = if options.is_empty() { "" } else { "/" };
        format!("{name}/{}/{}{slash}{options}", self.size, self.types)
    }

    /// For records.
    pub fn label(&self) -> Label {
        let Definition { name, options, .. } = self.definition;
        Label { definition: name.clone(), dtype: self.types.to_string(), options: options.clone() }
    }

    /// What does not go together.
    pub fn check(&self) -> Result<(), String> {
        let (size, routed) = (self.size, self.definition.kernel.is_routed());
        if size.choices > 0 && !routed {
            return Err(format!("shape {size}: two numbers, ROWSxCOLUMNS: only rows that are routed have choices"));
        }
        if size.choices == 0 && routed {
            return Err(format!("shape {size}: three numbers, the third one the choices of a token"));
        }
        let narrows = matches!(self.definition.kernel, Kernel::Softmax | Kernel::Gumbel);
        if self.types.input != self.types.output && !narrows {
            return Err(format!("dtype {}: only softmax and gumbel write another type than they read", self.types));
        }
        match self.definition.work {
            Work::Softmax(SoftmaxOptions { queries: Some(n), .. }) if !size.rows.is_multiple_of(n) || n > size.cols => {
                Err(format!("shape {size}: with queries = {n}, rows are a multiple of that, and no fewer columns"))
            }
            Work::Sample(SampleOptions { k, .. }) if k > size.cols => {
                Err(format!("shape {size}: with k = {k} there are at least as many columns"))
            }
            Work::Route(options) => options.spec(size, self.types.input).map(drop),
            Work::Permute(options) if size.choices > options.experts.min(onesum::router::MAX_CHOICES) => {
                Err(format!("shape {size}: at most {} choices", options.experts.min(onesum::router::MAX_CHOICES)))
            }
            _ => Ok(()),
        }
    }
}

impl RouteOptions {
    /// How so many tokens are routed.
    pub fn spec(self, size: Size, input: Dtype) -> Result<router::Spec, String> {
        let plain = router::Spec { input, ..router::Spec::new(size.shape(), size.choices) };
        let spec = match (self.model, self.scoring) {
            (Some(model), _) => {
                let spec = router::Spec { input, ..model.spec(size.rows) };
                if (spec.shape.cols, spec.choices) != (size.cols, size.choices) {
                    let (experts, choices) = (spec.shape.cols, spec.choices);
                    return Err(format!("shape {size}: {model} has {experts} experts and {choices} choices"));
                }
                spec
            }
            (None, Some(scoring)) => {
                let renormalize = plain.renormalize.filter(|_| scoring != router::Scoring::Identity);
                router::Spec { scoring, renormalize, ..plain }
            }
            (None, None) => plain,
        };
        spec.check(size.cols).map_err(|e| format!("shape {size}: {e}"))?;
        Ok(spec)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bench: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    #[serde(default)]
    about: String,
    kernel: Kernel,
    #[serde(default = "in_all")]
    presets: Vec<Preset>,
    shapes: Vec<Size>,
    #[serde(default = "only_f32")]
    dtypes: Vec<Types>,
    #[serde(default = "usual")]
    variants: Vec<String>,
    #[serde(default)]
    options: toml::Table,
    #[serde(default)]
    check: Check,
}

fn in_all() -> Vec<Preset> {
    vec![Preset::All]
}

fn only_f32() -> Vec<Types> {
    vec![Types::F32]
}

fn usual() -> Vec<String> {
    ["chosen", "others", "rivals"].map(str::to_owned).to_vec()
}

impl Raw {
    /// Everything but its name is checked here.
    fn definition(self) -> Result<Definition, String> {
        for (what, empty) in [
            ("presets", self.presets.is_empty()),
            ("shapes", self.shapes.is_empty()),
            ("dtypes", self.dtypes.is_empty()),
            ("variants", self.variants.is_empty()),
        ] {
            if empty {
                return Err(format!("{what} is empty"));
            }
        }
        for word in &self.variants {
            variants::check(self.kernel, word)?;
        }
        let is_finite = |value: &toml::Value| value.as_float().is_none_or(|x| (x as f32).is_finite());
        if let Some((key, value)) = self.options.iter().find(|(_, value)| !is_finite(value)) {
            return Err(format!("options: {key}: a finite f32, got {value}"));
        }
        let options = self.options.iter().map(|(key, value)| format!("{key}={}", plainly(value))).collect::<Vec<_>>();
        let definition = Definition {
            name: self.name.into_inner(),
            about: self.about,
            kernel: self.kernel,
            work: work(self.kernel, self.options).map_err(|e| format!("options: {e}"))?,
            presets: self.presets,
            sizes: self.shapes,
            types: self.dtypes,
            words: self.variants,
            options: options.join(","),
            check: self.check,
        };
        for case in definition.cases() {
            case.check()?;
        }
        Ok(definition)
    }
}

impl Definition {
    /// Each shape with each element type.
    pub fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        let of_size = move |&size| self.types.iter().map(move |&types| Case { definition: self, size, types });
        self.sizes.iter().flat_map(of_size)
    }
}

/// Text without its quotes.
fn plainly(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn work(kernel: Kernel, options: toml::Table) -> Result<Work, String> {
    fn of<T: serde::de::DeserializeOwned>(options: toml::Table) -> Result<T, String> {
        options.try_into().map_err(|e: toml::de::Error| e.message().to_owned())
    }
    Ok(match kernel {
        Kernel::Softmax => {
            let options: SoftmaxOptions = of(options)?;
            if options.queries == Some(0) {
                return Err("queries: at least 1".to_owned());
            }
            Work::Softmax(options)
        }
        Kernel::Gumbel => {
            let GumbelOptions { scale, temperature } = of(options)?;
            Work::Softmax(SoftmaxOptions { scale, temperature, noise: true, ..SoftmaxOptions::default() })
        }
        Kernel::Sample => {
            let options: SampleOptions = of(options)?;
            let most = onesum::sample::MAX_DRAWS;
            if !(1..=most).contains(&options.k) {
                return Err(format!("k: 1 to {most}, got {}", options.k));
            }
            Work::Sample(options)
        }
        Kernel::Route => {
            let RawRouteOptions { model, scoring } = of(options)?;
            if model.is_some() && scoring.is_some() {
                return Err("either model or scoring: a model has its own".to_owned());
            }
            let by_name = |name: String| {
                let known = router::Scoring::ALL;
                let found = known.into_iter().find(|s| s.name() == name);
                found.ok_or_else(|| {
                    format!("scoring: one of {}, got {name:?}", known.map(router::Scoring::name).join(", "))
                })
            };
            Work::Route(RouteOptions {
                model: model.map(|m| m.parse()).transpose()?,
                scoring: scoring.map(by_name).transpose()?,
            })
        }
        Kernel::Permute => Work::Permute(of(options)?),
    })
}

/// The definitions of a text, whose name is for messages.
pub fn parse(file: &str, text: &str) -> Result<Vec<Definition>, Failure> {
    let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let raw: File = toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(String::new(), |span| format!("{}: ", line(span.start)));
        Failure::error(format!("{file}:{at}{}{}", if at.is_empty() { " " } else { "" }, e.message()))
    })?;
    let mut names = HashSet::new();
    let mut all = Vec::new();
    for raw in raw.bench {
        let (name, at) = (raw.name.get_ref().clone(), line(raw.name.span().start));
        let wrong = |what: String| Failure::error(format!("{file}:{at}: bench {name:?}: {what}"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(wrong("a name has small letters, digits, - and .".to_owned()));
        }
        if !names.insert(name.clone()) {
            return Err(wrong("there is another one of this name".to_owned()));
        }
        all.push(raw.definition().map_err(wrong)?);
    }
    Ok(all)
}

/// Those that the program comes with.
pub fn built_in() -> Result<Vec<Definition>, Failure> {
    let mut all = Vec::new();
    for (file, text) in BUILT_IN {
        all.extend(parse(file, text)?);
    }
    Ok(all)
}

/// Those of a file.
pub fn read(path: &Path) -> Result<Vec<Definition>, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Failure::error(format!("{name}: cannot read: {e}")))?;
    parse(&name.to_string(), &text)
}
