//! `MoE` routing against what must be read, its plan and its load beside it; of a few tokens, against a dispatch.

use onesum::host::{Gpu, HostError};
use onesum::reference::expert_choice::expert_choice as chosen_by_experts;
use onesum::router::{self, Preset, Spec};
use onesum::softmax::{Dtype, Tier};
use onesum::{BindError, Bound, Library, Matrix, expert_choice, plan, stats};

use super::contest::{PATTERN, random_logits, stored};
use super::definitions::{Case, RouteOptions, Size};
use super::raw::{empty, fastest_read};
use super::rounds::{Entrant, First, Label, Outcome, Plan, Runner, Standing, Timing, Yardstick, take_turns};
use super::variants::{EXPERT_CHOICE, Field, MODEL, PLAN, STATS, beside};
use crate::device::Turn;
use crate::elements::encode;
use crate::failure::Failure;
use crate::routing::{Buffers, PlanBuffers, Routing, compare_plan, words};

/// Fewer tokens are a step of decoding.
const DECODE: u32 = 64;

/// Who routes.
fn variants(library: &Library, spec: &Spec, words: &[String]) -> Vec<router::Variant> {
    let (caps, shape, chosen) = (library.caps(), spec.shape, library.choose(spec));
    let runnable = router::Variant::all()
        .filter(|v| v.input == spec.input && (shape.quads || !v.quads))
        .filter(|v| v.supported(caps).is_ok() && v.fits(caps, spec, shape.cols).is_ok());
    let field = Field { chosen, runnable: runnable.collect(), quads: shape.quads };
    let rank = |v: &router::Variant| {
        let liked =
            v.quads == shape.quads && (v.width <= 8) == caps.cpu && v.tier == Tier::select(caps, v.width, v.lanes);
        (!liked, (v.quads != shape.quads, u32::MAX - v.width))
    };
    field.pick(words, rank, |_| false)
}

/// Some steps, one after another.
struct Steps(Vec<Bound>);

impl Turn for Steps {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.0.iter().for_each(|bound| bound.record(pass));
    }
}

/// One competitor: what its name is, what it is compared with, and what came of its check.
struct Entry {
    name: String,
    role: &'static str,
    over: Yardstick,
    candidate: Result<Runner, Standing>,
    /// Tokens that were checked.
    checked: usize,
}

/// What came of a first use and its check: the steps and their first time, and how many tokens were checked.
type Checked = Result<(First<Steps>, usize), Standing>;

/// One shape's contest: set up, checked, run.
pub struct Contest<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    size: Size,
    src: Vec<wgpu::Buffer>,
    job: Routing,
    buffers: Buffers,
    entries: Vec<Entry>,
}

/// The contest of a case.
pub fn contest<'a>(
    gpu: &'a Gpu,
    plan: &'a Plan,
    case: &Case<'_>,
    options: RouteOptions,
) -> Result<Contest<'a>, Failure> {
    let (size, dtype, words) = (case.size, case.types.input, &case.definition.words);
    let spec = options.spec(size, dtype).map_err(Failure::usage)?;
    let mut contest = Contest::new(gpu, plan, size, spec)?;
    contest.enter_all(words)?;
    Ok(contest)
}

/// `chosen` by select, or `other`.
fn role<V: PartialEq>(variant: &V, chosen: &V) -> &'static str {
    if variant == chosen { "chosen" } else { "other" }
}

/// As many tokens an expert as choose it otherwise.
pub fn expert_choice_spec(Size { rows, cols, choices }: Size, input: Dtype) -> expert_choice::Spec {
    let capacity = (u64::from(rows) * u64::from(choices)).div_ceil(u64::from(cols)).max(1);
    let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
    expert_choice::Spec { input, ..expert_choice::Spec::new(rows, cols, capacity) }
}

/// A small bias, as that of a trained router, where the specification has one.
fn bias(spec: &Spec) -> Option<Vec<f32>> {
    spec.options.bias.map(|_| random_logits(spec.shape.cols as usize).into_iter().map(|x| x * 0.01).collect())
}

impl<'a> Contest<'a> {
    /// Uploads the logits.
    pub fn new(gpu: &'a Gpu, plan: &'a Plan, size: Size, spec: Spec) -> Result<Self, Failure> {
        let logits = random_logits(size.elements());
        let encoded = encode(&logits, spec.input);
        // Decoding has its logits in the cache.
        let sets = if size.rows < DECODE { 1 } else { plan.rotate.div_ceil(encoded.len().max(1) as u64).clamp(1, 64) };
        let logits = stored(&logits, spec.input);
        let job = Routing { bias: bias(&spec), ..Routing::new(spec, logits) };
        Ok(Self {
            gpu,
            plan,
            size,
            src: (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<_, _>>()?,
            buffers: Buffers::new(gpu, &job)?,
            job,
            entries: Vec::new(),
        })
    }

    fn decodes(&self) -> bool {
        self.size.rows < DECODE
    }

    /// What everything but the plan is compared with.
    fn yardstick(&self) -> Yardstick {
        if self.decodes() { Yardstick::Empty } else { Yardstick::Read }
    }

    fn dtype(&self) -> Dtype {
        self.job.spec.input
    }

    fn bytes(&self) -> u64 {
        self.job.logits.len() as u64 * self.dtype().bytes()
    }

    fn push(&mut self, name: String, role: &'static str, over: Yardstick, entry: Checked) {
        let checked = entry.as_ref().map_or(0, |(_, checked)| *checked);
        let candidate = entry.map(|(first, _)| Runner::first(first, self.bytes()));
        self.entries.push(Entry { name, role, over, candidate, checked });
    }

    /// Everyone that the words mean takes part. What is not a routing is made of the first one.
    fn enter_all(&mut self, words: &[String]) -> Result<(), Failure> {
        let mut variants = variants(&self.gpu.library, &self.job.spec, words);
        if variants.is_empty() {
            variants.push(self.gpu.library.choose(&self.job.spec));
        }
        for &variant in &variants {
            self.enter_variant(variant)?;
        }
        self.job.spec.variant = Some(variants[0]);
        if words.iter().any(|word| word == MODEL) {
            self.enter_model()?;
        }
        // What is made of a wrong routing means nothing.
        if self.entries[0].candidate.is_err() {
            return Ok(());
        }
        self.restore()?;
        self.enter_plans(words)?;
        self.enter_loads(words)?;
        if !self.decodes() {
            self.enter_expert_choices(words)?;
        }
        Ok(())
    }

    /// One more variant of the router takes part.
    pub fn enter_variant(&mut self, variant: router::Variant) -> Result<(), Failure> {
        let chosen = self.gpu.library.choose(&Spec { variant: None, ..self.job.spec.clone() });
        self.job.spec.variant = Some(variant);
        self.enter_route(None, role(&variant, &chosen))
    }

    /// The first variant's routing, which others have written over.
    fn restore(&self) -> Result<(), HostError> {
        let kernel = self.gpu.library.router(&self.job.spec)?;
        let bounds = self.buffers.bind(&kernel, &self.job, &self.src[0])?;
        self.gpu.run(&bounds.iter().collect::<Vec<_>>())
    }

    /// The routing of a job, or of the contest's own.
    fn enter_route(&mut self, other: Option<(&'static str, &Routing)>, role: &'static str) -> Result<(), Failure> {
        let own;
        let (what, job, buffers) = match other {
            None => ("route", &self.job, &self.buffers),
            Some((what, job)) => {
                own = Buffers::new(self.gpu, job)?;
                (what, job, &own)
            }
        };
        let name = match job.spec.variant {
            Some(variant) => format!("{what}: {variant}"),
            None => what.to_owned(),
        };
        for buffer in [&buffers.experts, &buffers.weights] {
            self.gpu.queue.write_buffer(buffer, 0, &vec![PATTERN; buffer.size() as usize]);
        }
        let entry = match self.plan.first_use(self.gpu, |gpu| self.bind_route(gpu, job, buffers))? {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok(first) => {
                let (experts, weights) = self.routed(buffers)?;
                let right = job.compare(&experts, &weights, self.plan.checked);
                right.map_err(Standing::Wrong).map(|checked| (first, checked))
            }
        };
        self.push(name, role, self.yardstick(), entry);
        Ok(())
    }

    fn bind_route(&self, gpu: &Gpu, job: &Routing, buffers: &Buffers) -> Result<Vec<Steps>, HostError> {
        let kernel = gpu.library.router(&job.spec)?;
        let steps = self.src.iter().map(|src| Ok(Steps(buffers.bind(&kernel, job, src)?)));
        Ok(steps.collect::<Result<_, BindError>>()?)
    }

    fn routed(&self, buffers: &Buffers) -> Result<(Vec<u32>, Vec<f32>), HostError> {
        let count = self.size.rows as usize * self.size.choices as usize;
        let weights = words(self.gpu, &buffers.weights, count)?;
        Ok((words(self.gpu, &buffers.experts, count)?, weights.into_iter().map(f32::from_bits).collect()))
    }

    /// As the model of this shape routes, where that is another thing.
    fn enter_model(&mut self) -> Result<(), Failure> {
        let Size { rows, cols, choices } = self.size;
        let of_shape = |p: &Preset| {
            let spec = p.spec(rows);
            (spec.shape.cols, spec.choices) == (cols, choices)
        };
        let Some(preset) = Preset::ALL.into_iter().find(of_shape) else { return Ok(()) };
        let spec = Spec { input: self.dtype(), ..preset.spec(rows) };
        if spec == (Spec { variant: None, ..self.job.spec.clone() }) {
            return Ok(());
        }
        let variant = Some(self.gpu.library.choose(&spec));
        let job = Routing { bias: bias(&spec), ..Routing::new(Spec { variant, ..spec }, self.job.logits.clone()) };
        self.enter_route(Some((preset.name(), &job)), "chosen")
    }

    /// The plan alone of what the first variant has routed, by this one.
    pub fn enter_plan_alone(&mut self, variant: plan::Variant) -> Result<(), Failure> {
        let Size { rows, cols, choices } = self.size;
        let spec = plan::Spec { variant: Some(variant), ..plan::Spec::new(rows, choices, cols) };
        let mut buffers = None;
        let bind = |gpu: &Gpu| {
            let kernel = gpu.library.plan(&spec)?;
            let bound = buffers.insert(PlanBuffers::new(gpu, &kernel)?).bind(&kernel, &self.buffers)?;
            Ok(vec![Steps(vec![bound])])
        };
        let bound = self.plan.first_use(self.gpu, bind)?;
        let entry = self.planned(&spec, bound, buffers)?;
        self.push(variant.to_string(), "other", Yardstick::Route, entry);
        Ok(())
    }

    /// What came of a plan's first use.
    fn planned(
        &self,
        spec: &plan::Spec,
        bound: Result<First<Steps>, HostError>,
        buffers: Option<PlanBuffers>,
    ) -> Result<Checked, Failure> {
        Ok(match (bound, buffers) {
            (Ok(first), Some(buffers)) => {
                let (experts, weights) = self.routed(&self.buffers)?;
                let right = compare_plan(&buffers.read(self.gpu, spec)?, spec, &experts, &weights);
                right.map_err(Standing::Wrong).map(|()| (first, self.size.rows as usize))
            }
            (Err(e), _) => Err(Standing::Refused(e.to_string())),
            (Ok(_), None) => Err(Standing::Refused("it has no buffers".to_owned())),
        })
    }

    /// Routing, and the plan of what comes of it.
    fn enter_plans(&mut self, words: &[String]) -> Result<(), Failure> {
        let Size { rows, cols, choices } = self.size;
        let spec = plan::Spec::new(rows, choices, cols);
        let (caps, chosen) = (self.gpu.library.caps(), self.gpu.library.choose(&spec));
        let all = plan::Variant::ALL.into_iter().filter(|v| v.supported(caps).is_ok());
        for variant in beside(words, PLAN, chosen, all) {
            let spec = plan::Spec { variant: Some(variant), ..spec.clone() };
            let mut buffers = None;
            let bound = self.plan.first_use(self.gpu, |gpu| self.bind_plan(gpu, &spec, &mut buffers))?;
            let entry = self.planned(&spec, bound, buffers)?;
            self.push(format!("route + {variant}"), role(&variant, &chosen), Yardstick::Route, entry);
        }
        Ok(())
    }

    fn bind_plan(&self, gpu: &Gpu, spec: &plan::Spec, made: &mut Option<PlanBuffers>) -> Result<Vec<Steps>, HostError> {
        let kernel = gpu.library.plan(spec)?;
        let buffers = made.insert(PlanBuffers::new(gpu, &kernel)?);
        let bound = buffers.bind(&kernel, &self.buffers)?;
        let routes = self.bind_route(gpu, &self.job, &self.buffers)?;
        Ok(routes.into_iter().map(|Steps(route)| Steps([route, vec![bound.clone()]].concat())).collect())
    }

    /// The load of what has been routed.
    fn enter_loads(&mut self, list: &[String]) -> Result<(), Failure> {
        let spec = self.job.load_spec();
        let (caps, dtype, quads) = (self.gpu.library.caps(), self.dtype(), spec.shape.quads);
        let all =
            stats::Variant::all().filter(|v| v.input == dtype && (quads || !v.quads) && v.supported(caps).is_ok());
        let variants = beside(list, STATS, self.gpu.library.choose(&spec), all);
        self.enter_stats(&variants)
    }

    /// The load by these variants.
    pub fn enter_stats(&mut self, variants: &[stats::Variant]) -> Result<(), Failure> {
        let (spec, rows) = (self.job.load_spec(), self.size.rows);
        let chosen = self.gpu.library.choose(&spec);
        let count = stats::words(self.size.cols) as usize;
        let state = self.gpu.allocate(count as u64 * 4)?;
        for &variant in variants {
            self.gpu.queue.write_buffer(&state, 0, &vec![PATTERN; count * 4]);
            let spec = stats::Spec { variant: Some(variant), ..spec.clone() };
            let bind = |gpu: &Gpu| {
                let load = |src| self.buffers.bind_load(gpu, &self.job, src, &spec, &state);
                self.src.iter().map(|src| Ok(Steps(load(src)?.1))).collect()
            };
            let entry = match self.plan.first_use(self.gpu, bind)? {
                Err(e) => Err(Standing::Refused(e.to_string())),
                Ok(first) => {
                    let counted = stats::State::from_words(&words(self.gpu, &state, count)?)?;
                    let (experts, weights) = self.routed(&self.buffers)?;
                    let right = self.job.compare_load(&counted, &experts, &weights);
                    right.map_err(Standing::Wrong).map(|()| (first, rows as usize))
                }
            };
            self.push(variant.to_string(), role(&variant, &chosen), self.yardstick(), entry);
        }
        Ok(())
    }

    /// The other way round: experts choose as many tokens as would choose them.
    fn enter_expert_choices(&mut self, list: &[String]) -> Result<(), Failure> {
        let (caps, dtype) = (self.gpu.library.caps(), self.dtype());
        let all = expert_choice::Variant::all().filter(|v| v.input == dtype && v.supported(caps).is_ok());
        let chosen = self.gpu.library.choose(&expert_choice_spec(self.size, dtype));
        self.enter_expert_choice(&beside(list, EXPERT_CHOICE, chosen, all))
    }

    /// The choice of experts by these variants.
    pub fn enter_expert_choice(&mut self, variants: &[expert_choice::Variant]) -> Result<(), Failure> {
        let spec = expert_choice_spec(self.size, self.dtype());
        let (rows, cols, capacity) = (spec.tokens, spec.experts, spec.capacity);
        let chosen = self.gpu.library.choose(&spec);
        let outputs = u64::from(cols) * u64::from(capacity);
        let (tokens, weights) = (self.gpu.allocate(outputs * 4)?, self.gpu.allocate(outputs * 4)?);
        let mut want = None;
        for &variant in variants {
            for buffer in [&tokens, &weights] {
                self.gpu.queue.write_buffer(buffer, 0, &vec![PATTERN; buffer.size() as usize]);
            }
            let spec = expert_choice::Spec { variant: Some(variant), ..spec.clone() };
            let bind = |gpu: &Gpu| self.bind_expert_choice(gpu, &spec, &tokens, &weights);
            let entry = match self.plan.first_use(self.gpu, bind)? {
                Err(e) => Err(Standing::Refused(e.to_string())),
                Ok(first) => {
                    let want = want.get_or_insert_with(|| {
                        chosen_by_experts(&self.job.logits, cols as usize, capacity as usize, rows as usize)
                    });
                    let got = words(self.gpu, &tokens, outputs as usize)?;
                    let weighed = words(self.gpu, &weights, outputs as usize)?;
                    let same = got == want.tokens && weighed.iter().zip(&want.weights).all(|(a, b)| *a == b.to_bits());
                    let wrong = || Standing::Wrong("its tokens are not the CPU's".to_owned());
                    if same { Ok((first, rows as usize)) } else { Err(wrong()) }
                }
            };
            self.push(variant.to_string(), role(&variant, &chosen), self.yardstick(), entry);
        }
        Ok(())
    }

    fn bind_expert_choice(
        &self,
        gpu: &Gpu,
        spec: &expert_choice::Spec,
        chosen: &wgpu::Buffer,
        weights: &wgpu::Buffer,
    ) -> Result<Vec<Steps>, HostError> {
        let kernel = gpu.library.expert_choice(spec)?;
        let (tokens, experts, capacity) = (spec.tokens, spec.experts, spec.capacity);
        let scratch = gpu.allocate(kernel.scratch_bytes(tokens, experts))?;
        let bind = |src: &wgpu::Buffer| {
            let bound = kernel.bind(&expert_choice::Operands::new(
                Matrix::new(src, tokens, experts),
                Matrix::new(chosen, experts, capacity),
                Matrix::new(weights, experts, capacity),
                Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX)),
            ))?;
            Ok(Steps(vec![bound]))
        };
        self.src.iter().map(bind).collect()
    }

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entries.into_iter().map(|entry| entry.candidate).collect()
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (yardstick, bytes, plan) = (self.yardstick(), self.bytes(), self.plan);
        let (name, mut unit) = match yardstick {
            Yardstick::Empty => empty(self.gpu, plan, bytes)?,
            _ => fastest_read(self.gpu, plan, &self.src, bytes)?,
        };
        let timed = self.entries.iter_mut().filter_map(|e| e.candidate.as_mut().ok());
        take_turns(self.gpu, plan, std::iter::once(&mut unit).chain(timed), tell)?;
        let entrants = self.entries.iter().map(|entry| {
            let base = match (entry.over, &self.entries[0].candidate) {
                (Yardstick::Route, Ok(route)) => route,
                _ => &unit,
            };
            let standing = match &entry.candidate {
                Ok(runner) => {
                    Standing::Timed(Box::new(Timing { rows_checked: entry.checked, ..runner.timing(base, plan) }))
                }
                Err(standing) => standing.clone(),
            };
            Entrant { name: entry.name.clone(), role: entry.role, over: entry.over, standing }
        });
        let Size { rows, cols, choices } = self.size;
        let entrants = entrants.collect();
        Ok(Outcome {
            label: Label::default(),
            shape: (rows, cols),
            choices: Some(choices),
            title: format!("{rows} token{}, {choices} of {cols} experts", if rows == 1 { "" } else { "s" }),
            yardstick,
            unit: (name, unit.timing(&unit, plan)),
            entrants,
        })
    }
}
