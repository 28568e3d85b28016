//! Tuned choices: which variants were fastest on an adapter, by kernel and shape.
//!
//! Each kernel's `Variant::select` argues from what a device offers. A [`Tuning`] says what was measured on one adapter instead:
//! `onesum tune -o tuning.toml` makes it, [`Library::with_tuning`](crate::Library::with_tuning) takes it. A kernel whose
//! specification names no variant then runs that of the nearest entry; where there is none, or it cannot be used, what
//! `select` says.
//!
//! ```toml
//! version = 1
//!
//! [adapter]
//! name = "llvmpipe (LLVM 15.0.6, 256 bits)"
//! backend = "vulkan"
//! driver = "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)"
//!
//! [variants]
//! softmax = [
//!     { rows = [1, 64], cols = [1024, 4096], variant = "softmax/stream/f32/shuffle/w8/x4" },
//! ]
//! router = [
//!     { rows = [4096, 4096], cols = [64, 256], choices = [8, 8], variant = "router/lane/f32/baseline/w8/x4" },
//! ]
//! ```
//!
//! An entry is for the element types and the x4 or x1 of its variant. Its **distance** from a shape is that of their logarithms
//! to base 2: for rows, for columns and for choices the octaves by which the shape lies outside the entry's range, as the root of
//! the sum of their squares. An entry may be used up to a distance of [`RADIUS`], by a specification that its variant takes on this
//! device ([`Tunable::takes`]); the nearest of those is, of equally near ones the first.
//!
//! **No result changes otherwise than by naming a variant.** The rivals of softmax, whose results are less accurate, and sampling
//! by blocks, which draws other tokens, are refused in a tuning. Variants that split rows want scratch memory: ask `scratch_bytes`
//! of the kernel, as without a tuning.
//!
//! | table | rows | columns | choices |
//! |---|---|---|---|
//! | `softmax`, `gumbel` (softmax with noise) | rows | columns | |
//! | `sample` | rows | columns | draws of a row |
//! | `router`, `plan` | tokens | experts | choices of a token |
//! | `dispatch`, `combine` | tokens | elements of a token | choices of a token |
//! | `stats` | tokens | experts | |
//! | `expert_choice` | tokens | experts | capacity of an expert |

use std::fmt::Display;

use crate::softmax::Dtype;
use crate::{Caps, expert_choice, permute, plan, router, sample, softmax, stats};

/// Of the format that is read and written.
pub const VERSION: u32 = 1;

/// Octaves from an entry to the furthest shape that it is used for.
pub const RADIUS: f64 = 2.0;

/// Which variants were fastest, and where that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    /// Where.
    pub adapter: Adapter,
    /// What.
    pub variants: Variants,
}

/// An adapter, as far as speed depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "tuning", derive(serde::Deserialize), serde(deny_unknown_fields))]
pub struct Adapter {
    /// As it calls itself.
    pub name: String,
    /// `vulkan`, `gl`, `metal`, `dx12`, …
    pub backend: String,
    /// Name and version of its driver.
    pub driver: String,
}

/// A table for each kernel.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "tuning", derive(serde::Deserialize), serde(deny_unknown_fields, default))]
pub struct Variants {
    /// Of [`softmax`], without noise.
    pub softmax: Vec<Entry<softmax::Variant>>,
    /// Of [`softmax`] with Gumbel noise, which [`gumbel`](crate::gumbel) is made of.
    pub gumbel: Vec<Entry<softmax::Variant>>,
    /// Of [`sample`].
    pub sample: Vec<Entry<sample::Variant>>,
    /// Of [`router`].
    pub router: Vec<Entry<router::Variant>>,
    /// Of [`plan`].
    pub plan: Vec<Entry<plan::Variant>>,
    /// Of [`permute::Dispatch`].
    pub dispatch: Vec<Entry<permute::Variant>>,
    /// Of [`permute::Combine`].
    pub combine: Vec<Entry<permute::Variant>>,
    /// Of [`stats`].
    pub stats: Vec<Entry<stats::Variant>>,
    /// Of [`expert_choice`].
    pub expert_choice: Vec<Entry<expert_choice::Variant>>,
}

/// The variant for a range of shapes. Ranges are from and to, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "tuning", derive(serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "tuning", serde(bound(deserialize = "V: std::str::FromStr, V::Err: Display")))]
pub struct Entry<V> {
    /// Rows.
    pub rows: [u32; 2],
    /// Columns.
    pub cols: [u32; 2],
    /// Choices, of kernels that have them.
    #[cfg_attr(feature = "tuning", serde(default))]
    pub choices: Option<[u32; 2]>,
    /// What is fastest there.
    #[cfg_attr(feature = "tuning", serde(deserialize_with = "variant"))]
    pub variant: V,
}

/// A shape, as tables have it: see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Choices, of kernels that have them.
    pub choices: Option<u32>,
}

/// A specification whose variant can be tuned.
pub trait Tunable {
    /// Its kernel's.
    type Variant: Copy + PartialEq + Display;

    /// All of them, on every device.
    fn variants() -> impl Iterator<Item = Self::Variant>;

    /// Its shape.
    fn sizes(&self) -> Sizes;

    /// Its kernel's table.
    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Self::Variant>];

    /// The variant that it asks for, if it does.
    fn named(&self) -> Option<Self::Variant>;

    /// What runs without a tuning.
    fn select(&self, caps: &Caps) -> Self::Variant;

    /// Whether a tuning may put `variant` in its place: a device with these capabilities can run it on this shape, and the results
    /// are as good: those of random choices the same.
    fn takes(&self, caps: &Caps, variant: &Self::Variant) -> bool;

    /// All variants that it takes.
    fn candidates(&self, caps: &Caps) -> Vec<Self::Variant> {
        Self::variants().filter(|v| self.takes(caps, v)).collect()
    }
}

/// What is wrong with a tuning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TuningError {
    /// It is no TOML, or has a field, a kernel or a variant that there is not.
    #[error("line {line}: {message}")]
    Format {
        /// Counted from 1.
        line: usize,
        /// What was expected, what came.
        message: String,
    },
    /// It is of another version.
    #[error("it is of version {0}, not {known}", known = VERSION)]
    Version(String),
    /// An entry says nothing that makes sense.
    #[error("{kernel}, entry {entry} ({variant}): {message}")]
    Entry {
        /// Its table.
        kernel: &'static str,
        /// Counted from 1.
        entry: usize,
        /// Its variant.
        variant: String,
        /// What is wrong.
        message: String,
    },
}

impl Adapter {
    /// What the adapter says of itself.
    #[must_use]
    pub fn of(info: &wgpu::AdapterInfo) -> Self {
        let driver = [info.driver.as_str(), info.driver_info.as_str()];
        Self {
            name: info.name.clone(),
            backend: format!("{:?}", info.backend).to_lowercase(),
            driver: driver.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
        }
    }
}

impl<V> Entry<V> {
    /// Octaves to this shape.
    fn distance(&self, sizes: &Sizes) -> f64 {
        let choices = sizes.choices.zip(self.choices).map_or(0.0, |(choices, range)| octaves(choices, range));
        octaves(sizes.rows, self.rows).hypot(octaves(sizes.cols, self.cols)).hypot(choices)
    }
}

/// By so many octaves a number lies outside a range.
fn octaves(number: u32, [from, to]: [u32; 2]) -> f64 {
    let log = |x: u32| f64::from(x.max(1)).log2();
    (log(from) - log(number)).max(log(number) - log(to)).max(0.0)
}

impl Tuning {
    /// Whether it was measured on this adapter, by this driver. On others it may be slow, but not wrong.
    #[must_use]
    pub fn matches(&self, info: &wgpu::AdapterInfo) -> bool {
        self.adapter == Adapter::of(info)
    }

    /// The variant of the nearest entry within [`RADIUS`] that `spec` takes on a device with these capabilities.
    #[must_use]
    pub fn nearest<S: Tunable>(&self, spec: &S, caps: &Caps) -> Option<S::Variant> {
        let sizes = spec.sizes();
        let measured = spec.entries(&self.variants).iter().map(|entry| (entry.distance(&sizes), entry.variant));
        let usable = measured.filter(|(distance, variant)| *distance <= RADIUS && spec.takes(caps, variant));
        usable.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, variant)| variant)
    }

    /// Whether every entry makes sense: ranges ascend and begin at 1 or later, those of choices are given where the kernel has
    /// choices, variants are ones that may be chosen, and no two entries are for one shape.
    ///
    /// # Errors
    /// [`TuningError::Entry`], for the first that does not.
    pub fn check(&self) -> Result<(), TuningError> {
        self.variants.tables().iter().try_for_each(Table::check)
    }

    /// Reads the text of a file, strictly.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    #[cfg(feature = "tuning")]
    pub fn from_toml(text: &str) -> Result<Self, TuningError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(rename = "version")]
            _version: u32,
            adapter: Adapter,
            #[serde(default)]
            variants: Variants,
        }
        let wrong = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            TuningError::Format { line: before.matches('\n').count() + 1, message }
        };
        // Before all else: another version may have other fields.
        let all: toml::Table = toml::from_str(text).map_err(wrong)?;
        match all.get("version") {
            Some(version) if version.as_integer() != Some(VERSION.into()) => {
                return Err(TuningError::Version(version.to_string()));
            }
            _ => {}
        }
        let File { adapter, variants, .. } = toml::from_str(text).map_err(wrong)?;
        let tuning = Self { adapter, variants };
        tuning.check()?;
        Ok(tuning)
    }

    /// The text of its file: [`Tuning::from_toml`] reads it back.
    #[cfg(feature = "tuning")]
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Adapter { name, backend, driver } = &self.adapter;
        let [name, backend, driver] = [name, backend, driver].map(|text| quoted(text));
        let adapter = format!("name = {name}\nbackend = {backend}\ndriver = {driver}\n");
        let tables: String = self.variants.tables().iter().map(Table::text).collect();
        format!("version = {VERSION}\n\n[adapter]\n{adapter}\n[variants]\n{tables}")
    }
}

/// A string, as TOML has it.
#[cfg(feature = "tuning")]
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A variant by its name.
#[cfg(feature = "tuning")]
fn variant<'de, D, V>(deserializer: D) -> Result<V, D::Error>
where
    D: serde::Deserializer<'de>,
    V: std::str::FromStr<Err: Display>,
{
    let name: String = serde::Deserialize::deserialize(deserializer)?;
    name.parse().map_err(serde::de::Error::custom)
}

/// What entries are for, besides a shape: element types, and whether four elements are moved at a time.
type Kind = (Dtype, Dtype, bool);

/// A kernel's table, whatever its variants are.
struct Table {
    kernel: &'static str,
    /// Whether its entries have choices.
    choices: bool,
    rows: Vec<Row>,
}

/// An entry of a table.
struct Row {
    rows: [u32; 2],
    cols: [u32; 2],
    choices: Option<[u32; 2]>,
    variant: String,
    /// `None` if the table may not have this variant.
    kind: Option<Kind>,
}

impl Variants {
    /// Every table, with the variants that it may have.
    fn tables(&self) -> Vec<Table> {
        let softmax = |v: &softmax::Variant| (!v.schedule.is_rival()).then_some((v.input, v.output, v.quads));
        let permute = |kernel| move |v: &permute::Variant| (v.kernel == kernel).then_some((v.input, v.output, v.quads));
        let sample = |v: &sample::Variant| (!v.schedule.by_blocks()).then_some((v.input, Dtype::F32, v.quads));
        vec![
            table("softmax", false, &self.softmax, softmax),
            table("gumbel", false, &self.gumbel, softmax),
            table("sample", true, &self.sample, sample),
            table("router", true, &self.router, |v| Some((v.input, Dtype::F32, v.quads))),
            table("plan", true, &self.plan, |_| Some((Dtype::F32, Dtype::F32, true))),
            table("dispatch", true, &self.dispatch, permute(permute::Kernel::Dispatch)),
            table("combine", true, &self.combine, permute(permute::Kernel::Combine)),
            table("stats", false, &self.stats, |v| Some((v.input, Dtype::F32, v.quads))),
            table("expert_choice", true, &self.expert_choice, |v| Some((v.input, Dtype::F32, true))),
        ]
    }
}

fn table<V: Display>(
    kernel: &'static str,
    choices: bool,
    entries: &[Entry<V>],
    kind: impl Fn(&V) -> Option<Kind>,
) -> Table {
    let row = |e: &Entry<V>| Row {
        rows: e.rows,
        cols: e.cols,
        choices: e.choices,
        variant: e.variant.to_string(),
        kind: kind(&e.variant),
    };
    Table { kernel, choices, rows: entries.iter().map(row).collect() }
}

impl Table {
    /// As files have it; nothing if it is empty.
    #[cfg(feature = "tuning")]
    fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let rows: String = self.rows.iter().map(Row::text).collect();
        format!("{} = [\n{rows}]\n", self.kernel)
    }

    fn check(&self) -> Result<(), TuningError> {
        for (index, row) in self.rows.iter().enumerate() {
            let wrong = |message: String| {
                let (kernel, entry, variant) = (self.kernel, index + 1, row.variant.clone());
                Err(TuningError::Entry { kernel, entry, variant, message })
            };
            if row.kind.is_none() {
                return wrong("no variant that may be put in the default's place".into());
            }
            if self.choices != row.choices.is_some() {
                return wrong(format!("choices are {}", if self.choices { "missing" } else { "not of this kernel" }));
            }
            for (what, [from, to]) in row.ranges() {
                if from == 0 || from > to {
                    return wrong(format!("{what} from {from} to {to} are no ascending range from 1 on"));
                }
            }
            if let Some(other) = self.rows[..index].iter().position(|other| other.overlaps(row)) {
                return wrong(format!("its shapes overlap those of entry {}", other + 1));
            }
        }
        Ok(())
    }
}

impl Row {
    #[cfg(feature = "tuning")]
    fn text(&self) -> String {
        let mut fields: Vec<_> = self.ranges().map(|(what, range)| format!("{what} = {range:?}")).collect();
        fields.push(format!("variant = {}", quoted(&self.variant)));
        format!("    {{ {} }},\n", fields.join(", "))
    }

    fn ranges(&self) -> impl Iterator<Item = (&'static str, [u32; 2])> {
        [("rows", Some(self.rows)), ("cols", Some(self.cols)), ("choices", self.choices)]
            .into_iter()
            .filter_map(|(what, range)| Some((what, range?)))
    }

    /// Whether there is a specification that both are for.
    fn overlaps(&self, other: &Self) -> bool {
        let mut ranges = self.ranges().zip(other.ranges());
        self.kind == other.kind && ranges.all(|((_, a), (_, b))| a[0] <= b[1] && b[0] <= a[1])
    }
}
