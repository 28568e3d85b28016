//! `MoE` routing against what must be read, its plan and its load beside it; of a few tokens, against a dispatch.

use onesum::expert_choice;
use onesum::host::{Gpu, HostError};
use onesum::reference::expert_choice::expert_choice as chosen_by_experts;
use onesum::router::{self, Preset, Spec};
use onesum::softmax::{Dtype, Shape};
use onesum::{BindError, Bound, Matrix, plan, stats};

use super::contest::{PATTERN, random_logits};
use super::raw::{empty, fastest_read};
use super::rounds::{Entrant, Outcome, Plan, Runner, Standing, Yardstick, take_turns};
use crate::device::Turn;
use crate::elements::encode;
use crate::failure::Failure;
use crate::routing::{Buffers, PlanBuffers, Routing, compare_plan, words};

/// Tokens, experts and choices that are measured unless `--shape` says otherwise: the routers of current models, and two
/// steps of decoding.
pub const SHAPES: [(u32, u32, u32); 9] = [
    (4096, 8, 2),
    (4096, 64, 6),
    (4096, 128, 8),
    (4096, 256, 8),
    (4096, 384, 8),
    (4096, 512, 10),
    (16_384, 256, 8),
    (1, 256, 8),
    (8, 256, 8),
];

/// What `--quick` measures.
pub const QUICK_SHAPES: [(u32, u32, u32); 3] = [(4096, 64, 6), (4096, 256, 8), (8, 256, 8)];

/// Fewer tokens are a step of decoding.
const DECODE: u32 = 64;

/// The variants that were named, by kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variants {
    pub router: Option<router::Variant>,
    pub plan: Option<plan::Variant>,
    pub stats: Option<stats::Variant>,
    pub expert_choice: Option<expert_choice::Variant>,
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

/// One shape's contest: set up, checked, run.
pub struct Contest<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    variants: Variants,
    shape: (u32, u32, u32),
    src: Vec<wgpu::Buffer>,
    /// The softmax of the chosen, which plan and load are made of.
    job: Routing,
    buffers: Buffers,
    entries: Vec<Entry>,
}

fn role(named: bool) -> &'static str {
    if named { "other" } else { "chosen" }
}

impl<'a> Contest<'a> {
    /// Uploads the logits.
    pub fn new(gpu: &'a Gpu, plan: &'a Plan, shape: (u32, u32, u32), variants: Variants) -> Result<Self, Failure> {
        let (tokens, experts, choices) = shape;
        let logits = random_logits(tokens as usize * experts as usize);
        let encoded = encode(&logits, Dtype::F32);
        // Decoding has its logits in the cache.
        let sets = if tokens < DECODE { 1 } else { plan.rotate.div_ceil(encoded.len().max(1) as u64).clamp(1, 64) };
        let spec = Spec { variant: variants.router, ..Spec::new(Shape::new(tokens, experts), choices) };
        let job = Routing::new(spec, logits);
        Ok(Self {
            gpu,
            plan,
            variants,
            shape,
            src: (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<_, _>>()?,
            buffers: Buffers::new(gpu, &job)?,
            job,
            entries: Vec::new(),
        })
    }

    fn decodes(&self) -> bool {
        self.shape.0 < DECODE
    }

    /// What everything but the plan is compared with.
    fn yardstick(&self) -> Yardstick {
        if self.decodes() { Yardstick::Empty } else { Yardstick::Read }
    }

    fn bytes(&self) -> u64 {
        self.job.logits.len() as u64 * 4
    }

    fn push(&mut self, name: String, named: bool, over: Yardstick, entry: Result<(Vec<Steps>, usize), Standing>) {
        let checked = entry.as_ref().map_or(0, |(_, checked)| *checked);
        let turns = |steps: Vec<Steps>| steps.into_iter().map(|s| Box::new(s) as Box<dyn Turn>).collect();
        let candidate = entry.map(|(steps, _)| Runner::new(turns(steps), self.bytes()));
        self.entries.push(Entry { name, role: role(named), over, candidate, checked });
    }

    /// Everyone takes part.
    pub fn enter_all(&mut self) -> Result<(), Failure> {
        self.enter_route(None)?;
        self.enter_preset()?;
        // What is made of a wrong routing means nothing.
        if self.entries[0].candidate.is_ok() {
            // The preset's routing has its own buffers.
            self.enter_plan()?;
            self.enter_load()?;
            if !self.decodes() {
                self.enter_expert_choice()?;
            }
        }
        Ok(())
    }

    /// One more variant of the router takes part.
    pub fn enter_router(&mut self, variant: router::Variant) -> Result<(), Failure> {
        self.job.spec.variant = Some(variant);
        self.enter_route(None)
    }

    /// One more variant of the plan takes part, alone: after a routing.
    pub fn enter_plan_alone(&mut self, variant: plan::Variant) -> Result<(), Failure> {
        let (tokens, experts, choices) = self.shape;
        let spec = plan::Spec { variant: Some(variant), ..plan::Spec::new(tokens, choices, experts) };
        let bound = self.gpu.library.plan(&spec).map_err(HostError::from).and_then(|kernel| {
            let buffers = PlanBuffers::new(self.gpu, &kernel)?;
            Ok((buffers.bind(&kernel, &self.buffers)?, buffers))
        });
        let entry = match bound {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok((bound, buffers)) => {
                let steps = vec![Steps(vec![bound])];
                self.plan.once(self.gpu, &steps[0])?;
                let (experts, weights) = self.routed(&self.buffers)?;
                let right = compare_plan(&buffers.read(self.gpu, &spec)?, &spec, &experts, &weights);
                right.map_err(Standing::Wrong).map(|()| (steps, tokens as usize))
            }
        };
        self.push(variant.to_string(), true, Yardstick::Route, entry);
        Ok(())
    }

    /// One more variant of the load takes part: after a routing.
    pub fn enter_stats(&mut self, variant: stats::Variant) -> Result<(), Failure> {
        self.variants.stats = Some(variant);
        self.enter_load()
    }

    /// One more variant of expert choice takes part.
    pub fn enter_experts(&mut self, variant: expert_choice::Variant) -> Result<(), Failure> {
        self.variants.expert_choice = Some(variant);
        self.enter_expert_choice()
    }

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entries.into_iter().map(|entry| entry.candidate).collect()
    }

    /// The routing of a job, or of the contest's own.
    fn enter_route(&mut self, other: Option<(&'static str, &Routing)>) -> Result<(), Failure> {
        let own;
        let (what, job, buffers) = match other {
            None => ("route", &self.job, &self.buffers),
            Some((what, job)) => {
                own = Buffers::new(self.gpu, job)?;
                (what, job, &own)
            }
        };
        let (name, entry) = match self.bind_route(job, buffers) {
            Err(e) => (what.to_owned(), Err(Standing::Refused(e.to_string()))),
            Ok((variant, bounds)) => {
                let checked = self.check_route(job, buffers, &bounds[0])?.map_err(Standing::Wrong);
                (format!("{what}: {variant}"), checked.map(|checked| (bounds, checked)))
            }
        };
        self.push(name, self.variants.router.is_some(), self.yardstick(), entry);
        Ok(())
    }

    fn bind_route(&self, job: &Routing, buffers: &Buffers) -> Result<(router::Variant, Vec<Steps>), HostError> {
        let kernel = self.gpu.library.router(&job.spec)?;
        let steps = self.src.iter().map(|src| Ok(Steps(buffers.bind(&kernel, job, src)?)));
        Ok((kernel.variant(), steps.collect::<Result<_, BindError>>()?))
    }

    /// How many tokens are right, or what is wrong.
    fn check_route(&self, job: &Routing, buffers: &Buffers, bound: &Steps) -> Result<Result<usize, String>, Failure> {
        for buffer in [&buffers.experts, &buffers.weights] {
            self.gpu.queue.write_buffer(buffer, 0, &vec![PATTERN; buffer.size() as usize]);
        }
        self.plan.once(self.gpu, bound)?;
        let (experts, weights) = self.routed(buffers)?;
        Ok(job.compare(&experts, &weights, self.plan.checked))
    }

    fn routed(&self, buffers: &Buffers) -> Result<(Vec<u32>, Vec<f32>), HostError> {
        let count = self.shape.0 as usize * self.shape.2 as usize;
        let weights = words(self.gpu, &buffers.weights, count)?;
        Ok((words(self.gpu, &buffers.experts, count)?, weights.into_iter().map(f32::from_bits).collect()))
    }

    /// As the model of this shape routes, where that is another thing than a softmax of the chosen.
    fn enter_preset(&mut self) -> Result<(), Failure> {
        let (tokens, experts, choices) = self.shape;
        let of_shape = |p: &Preset| {
            let spec = p.spec(tokens);
            (spec.shape.cols, spec.choices) == (experts, choices)
        };
        let Some(preset) = Preset::ALL.into_iter().find(of_shape) else { return Ok(()) };
        let spec = Spec { variant: self.variants.router, ..preset.spec(tokens) };
        if spec == self.job.spec {
            return Ok(());
        }
        // Small, as that of a trained router.
        let bias = spec.options.bias.map(|_| random_logits(experts as usize).into_iter().map(|x| x * 0.01).collect());
        let job = Routing { bias, ..Routing::new(spec, self.job.logits.clone()) };
        self.enter_route(Some((preset.name(), &job)))
    }

    /// Routing, and the plan of what comes of it.
    fn enter_plan(&mut self) -> Result<(), Failure> {
        let (tokens, experts, choices) = self.shape;
        let spec = plan::Spec { variant: self.variants.plan, ..plan::Spec::new(tokens, choices, experts) };
        let (name, entry) = match self.bind_plan(&spec) {
            Err(e) => ("route + plan".to_owned(), Err(Standing::Refused(e.to_string()))),
            Ok((variant, buffers, steps)) => {
                self.plan.once(self.gpu, &steps[0])?;
                let (experts, weights) = self.routed(&self.buffers)?;
                let right = compare_plan(&buffers.read(self.gpu, &spec)?, &spec, &experts, &weights);
                (format!("route + {variant}"), right.map_err(Standing::Wrong).map(|()| (steps, tokens as usize)))
            }
        };
        self.push(name, self.variants.plan.is_some(), Yardstick::Route, entry);
        Ok(())
    }

    fn bind_plan(&self, spec: &plan::Spec) -> Result<(plan::Variant, PlanBuffers, Vec<Steps>), HostError> {
        let kernel = self.gpu.library.plan(spec)?;
        let buffers = PlanBuffers::new(self.gpu, &kernel)?;
        let bound = buffers.bind(&kernel, &self.buffers)?;
        let (_, routes) = self.bind_route(&self.job, &self.buffers)?;
        let steps = routes.into_iter().map(|Steps(route)| Steps([route, vec![bound.clone()]].concat())).collect();
        Ok((kernel.variant(), buffers, steps))
    }

    /// The load of what has been routed.
    fn enter_load(&mut self) -> Result<(), Failure> {
        let (tokens, experts, _) = self.shape;
        let shape = Shape::new(tokens, experts);
        let spec = stats::Spec { variant: self.variants.stats, ..stats::Spec::new(shape) };
        let count = stats::words(experts) as usize;
        let state = self.gpu.allocate(count as u64 * 4)?;
        self.gpu.queue.write_buffer(&state, 0, &vec![PATTERN; count * 4]);
        let bound: Result<Vec<_>, _> =
            self.src.iter().map(|src| self.buffers.bind_load(self.gpu, &self.job, src, &spec, &state)).collect();
        let (name, entry) = match bound {
            Err(e) => ("stats".to_owned(), Err(Standing::Refused(e.to_string()))),
            Ok(all) => {
                let name = all[0].0.to_string();
                let steps: Vec<_> = all.into_iter().map(|(_, bounds)| Steps(bounds)).collect();
                self.plan.once(self.gpu, &steps[0])?;
                let counted = stats::State::from_words(&words(self.gpu, &state, count)?)?;
                let (experts, weights) = self.routed(&self.buffers)?;
                let right = self.job.compare_load(&counted, &experts, &weights);
                (name, right.map_err(Standing::Wrong).map(|()| (steps, tokens as usize)))
            }
        };
        self.push(name, self.variants.stats.is_some(), self.yardstick(), entry);
        Ok(())
    }

    /// The other way round: experts choose as many tokens as would choose them.
    pub fn enter_expert_choice(&mut self) -> Result<(), Failure> {
        let (tokens, experts, choices) = self.shape;
        let capacity = capacity((tokens, experts, choices));
        let spec = expert_choice::Spec {
            variant: self.variants.expert_choice,
            ..expert_choice::Spec::new(tokens, experts, capacity)
        };
        let outputs = u64::from(experts) * u64::from(capacity);
        let (chosen, weights) = (self.gpu.allocate(outputs * 4)?, self.gpu.allocate(outputs * 4)?);
        let (name, entry) = match self.bind_expert_choice(&spec, &chosen, &weights) {
            Err(e) => ("expert_choice".to_owned(), Err(Standing::Refused(e.to_string()))),
            Ok((variant, steps)) => {
                self.plan.once(self.gpu, &steps[0])?;
                let want = chosen_by_experts(&self.job.logits, experts as usize, capacity as usize, tokens as usize);
                let (got, weighed) =
                    (words(self.gpu, &chosen, outputs as usize)?, words(self.gpu, &weights, outputs as usize)?);
                let same = got == want.tokens && weighed.iter().zip(&want.weights).all(|(a, b)| *a == b.to_bits());
                let wrong = "its tokens are not the CPU's".to_owned();
                (variant.to_string(), if same { Ok((steps, tokens as usize)) } else { Err(Standing::Wrong(wrong)) })
            }
        };
        self.push(name, self.variants.expert_choice.is_some(), self.yardstick(), entry);
        Ok(())
    }

    fn bind_expert_choice(
        &self,
        spec: &expert_choice::Spec,
        chosen: &wgpu::Buffer,
        weights: &wgpu::Buffer,
    ) -> Result<(expert_choice::Variant, Vec<Steps>), HostError> {
        let kernel = self.gpu.library.expert_choice(spec)?;
        let (tokens, experts, capacity) = (spec.tokens, spec.experts, spec.capacity);
        let scratch = self.gpu.allocate(kernel.scratch_bytes(tokens, experts))?;
        let bind = |src: &wgpu::Buffer| {
            let bound = kernel.bind(&expert_choice::Operands::new(
                Matrix::new(src, tokens, experts),
                Matrix::new(chosen, experts, capacity),
                Matrix::new(weights, experts, capacity),
                Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX)),
            ))?;
            Ok::<_, HostError>(Steps(vec![bound]))
        };
        let steps = self.src.iter().map(bind).collect::<Result<_, _>>()?;
        Ok((kernel.variant(), steps))
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (yardstick, bytes) = (self.yardstick(), self.bytes());
        let (name, mut unit) = match yardstick {
            Yardstick::Empty => empty(self.gpu, self.plan, bytes)?,
            _ => fastest_read(self.gpu, self.plan, &self.src, self.job.logits.len())?,
        };
        let timed = self.entries.iter_mut().filter_map(|e| e.candidate.as_mut().ok());
        take_turns(self.gpu, self.plan, std::iter::once(&mut unit).chain(timed), tell)?;
        let entrants = self.entries.iter().map(|entry| {
            let base = match (entry.over, &self.entries[0].candidate) {
                (Yardstick::Route, Ok(route)) => route,
                _ => &unit,
            };
            let standing = match &entry.candidate {
                Ok(runner) => Standing::Timed(runner.timing(base, self.plan.cpu, None, entry.checked)),
                Err(standing) => standing.clone(),
            };
            Entrant { name: entry.name.clone(), role: entry.role, over: entry.over, standing }
        });
        let (tokens, experts, choices) = self.shape;
        let entrants = entrants.collect();
        Ok(Outcome {
            shape: (tokens, experts),
            choices: Some(choices),
            title: format!("{tokens} token{}, {choices} of {experts} experts", if tokens == 1 { "" } else { "s" }),
            yardstick,
            unit: (name, unit.timing(&unit, self.plan.cpu, None, 0)),
            entrants,
        })
    }
}

/// So many tokens an expert that tokens have as many experts as they would choose.
pub fn capacity((tokens, experts, choices): (u32, u32, u32)) -> u32 {
    (u64::from(tokens) * u64::from(choices)).div_ceil(u64::from(experts.max(1))).max(1) as u32
}

#[cfg(test)]
mod tests {
    use onesum::router::Scoring;

    use super::*;

    /// The models that the shapes are those of, and which of them are measured twice.
    #[test]
    fn shapes_are_models() {
        for (tokens, experts, choices) in SHAPES {
            let model = Preset::ALL.into_iter().find(|p| {
                let spec = p.spec(tokens);
                (spec.shape.cols, spec.choices) == (experts, choices)
            });
            let spec = model.unwrap().spec(tokens);
            let plain = spec == Spec::new(Shape::new(tokens, experts), choices);
            assert_eq!(plain, spec.scoring == Scoring::Softmax && spec.renormalize.is_some(), "{model:?}");
        }
    }
}
