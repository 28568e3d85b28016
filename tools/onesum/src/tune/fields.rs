//! Who takes part at a shape: each variant built, bound, and held against the CPU reference by the benchmark's contests.

use onesum::expert_choice;
use onesum::host::{Gpu, HostError};
use onesum::noise::Stream;
use onesum::permute::{CombineSpec, DispatchSpec};
use onesum::softmax::{Dtype, Operands, PARTIAL_BYTES, PerRow};
use onesum::tuning::Tunable;
use onesum::{Bound, Matrix, permute, plan, router, sample, softmax, stats};

use super::Shape;
use crate::bench::contest::{self, PATTERN, random_logits};
use crate::bench::permuting;
use crate::bench::rounds::{Plan, Runner, Standing};
use crate::bench::routing::{self, capacity};
use crate::bench::sampling;
use crate::check::{self, Making, Verdict};
use crate::elements::{decode_into, encode};
use crate::failure::Failure;
use crate::job::Job;

/// What runs, in the order of the candidates, or why it does not.
pub type Entered = Result<Vec<Result<Runner, Standing>>, Failure>;

/// Lets candidates enter.
pub type Field<S> = fn(&Gpu, &Plan, &S, Shape, &[<S as Tunable>::Variant]) -> Entered;

/// Softmax of this type.
pub fn softmax_spec((rows, cols, _): Shape, dtype: Dtype) -> softmax::Spec {
    softmax::Spec { input: dtype, output: dtype, ..softmax::Spec::new(softmax::Shape::new(rows, cols)) }
}

/// Those of softmax.
pub fn softmax(gpu: &Gpu, plan: &Plan, spec: &softmax::Spec, _: Shape, candidates: &[softmax::Variant]) -> Entered {
    let logits = random_logits(spec.shape.rows as usize * spec.shape.cols as usize);
    let mut contest = contest::Contest::new(gpu, plan, spec.shape, &logits)?;
    candidates.iter().try_for_each(|&variant| contest.enter(variant))?;
    Ok(contest.into_runners())
}

/// Softmax with noise.
pub fn gumbel_spec(shape: Shape, dtype: Dtype) -> softmax::Spec {
    let options = softmax::Options { gumbel: true, ..softmax::Options::default() };
    softmax::Spec { options, ..softmax_spec(shape, dtype) }
}

/// Those of softmax with noise, which is no contest of the benchmark.
pub fn gumbel(gpu: &Gpu, plan: &Plan, spec: &softmax::Spec, _: Shape, candidates: &[softmax::Variant]) -> Entered {
    let (rows, cols) = (spec.shape.rows as usize, spec.shape.cols as usize);
    let noise = Some(Stream { seed: 0, position: 0 });
    let job = Job { noise, ..Job::new(random_logits(rows * cols), rows, cols) };
    let wanted: Vec<_> = check::sample(rows, (plan.checked / cols).max(2))
        .into_iter()
        .map(|row| (row, check::reference_row(&job, row)))
        .collect();
    let encoded = encode(&job.src, Dtype::F32);
    let sets = plan.rotate.div_ceil(encoded.len().max(1) as u64 * 2).clamp(1, 64);
    let src = (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<Vec<_>, _>>()?;
    let dst = (0..sets).map(|_| gpu.allocate(encoded.len() as u64)).collect::<Result<Vec<_>, _>>()?;
    let seeds: Vec<u32> = (0..rows).filter_map(|row| job.noise_of(row)).flat_map(|s| s.words_of_seed()).collect();
    let seeds = gpu.upload(&crate::routing::bytes(&seeds))?;
    let enter = |&variant: &softmax::Variant| {
        let bounds =
            match bind_gumbel(gpu, &softmax::Spec { variant: Some(variant), ..spec.clone() }, &src, &dst, &seeds) {
                Ok(bounds) => bounds,
                Err(e) => return Ok(Err(Standing::Refused(e.to_string()))),
            };
        gpu.queue.write_buffer(&dst[0], 0, &vec![PATTERN; dst[0].size() as usize]);
        gpu.run(&[&bounds[0]])?;
        let mut got = Vec::with_capacity(job.src.len());
        decode_into(&gpu.download(&dst[0], encoded.len() as u64)?, Dtype::F32, &mut got);
        let making = Making { schedule: variant.schedule, output: Dtype::F32, log: false };
        let mut verdict = Verdict::default();
        for (row, want) in &wanted {
            verdict.merge(check::check_row(*row, want, making, &got[row * cols..(row + 1) * cols], None));
        }
        Ok(match verdict.wrong {
            Some(wrong) => {
                Err(Standing::Wrong(format!("row {}: got {:e}, want {:e}", wrong.row, wrong.got, wrong.want)))
            }
            None => Ok(Runner::of(bounds, encoded.len() as u64 * 2)),
        })
    };
    candidates.iter().map(enter).collect()
}

fn bind_gumbel(
    gpu: &Gpu,
    spec: &softmax::Spec,
    src: &[wgpu::Buffer],
    dst: &[wgpu::Buffer],
    seeds: &wgpu::Buffer,
) -> Result<Vec<Bound>, HostError> {
    let (rows, cols) = (spec.shape.rows, spec.shape.cols);
    let kernel = gpu.library.softmax(spec)?;
    let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols).max(PARTIAL_BYTES))?;
    let words = u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX);
    let bind = |(src, dst)| {
        Ok(kernel.bind_with(&Operands {
            seeds: Some(PerRow::each(Matrix::new(seeds, rows, 4))),
            scratch: Some(Matrix::new(&scratch, 1, words)),
            ..Operands::new(Matrix::new(src, rows, cols), Matrix::new(dst, rows, cols))
        })?)
    };
    src.iter().zip(dst).map(bind).collect()
}

/// One draw a row.
pub fn sample_spec((rows, cols, _): Shape, input: Dtype) -> sample::Spec {
    sample::Spec { input, ..sample::Spec::new(softmax::Shape::new(rows, cols)) }
}

/// Those of sampling.
pub fn sample(gpu: &Gpu, plan: &Plan, spec: &sample::Spec, _: Shape, candidates: &[sample::Variant]) -> Entered {
    let logits = random_logits(spec.shape.rows as usize * spec.shape.cols as usize);
    let mut contest = sampling::Contest::new(gpu, plan, spec.shape, &logits)?;
    candidates.iter().try_for_each(|&variant| contest.enter(variant))?;
    Ok(contest.into_runners())
}

/// The softmax of the chosen.
pub fn router_spec((tokens, experts, choices): Shape, input: Dtype) -> router::Spec {
    router::Spec { input, ..router::Spec::new(softmax::Shape::new(tokens, experts), choices) }
}

/// Those of routing.
pub fn router(gpu: &Gpu, plan: &Plan, spec: &router::Spec, shape: Shape, candidates: &[router::Variant]) -> Entered {
    spec.check(spec.shape.cols)?;
    let mut contest = routing::Contest::new(gpu, plan, shape, routing::Variants::default())?;
    candidates.iter().try_for_each(|&variant| contest.enter_router(variant))?;
    Ok(contest.into_runners())
}

/// A plan without blocks and capacities.
pub fn plan_spec((tokens, experts, choices): Shape, _: Dtype) -> plan::Spec {
    plan::Spec::new(tokens, choices, experts)
}

/// Those of planning what has been routed.
pub fn plan(gpu: &Gpu, plan: &Plan, _: &plan::Spec, shape: Shape, candidates: &[plan::Variant]) -> Entered {
    let mut contest = routed(gpu, plan, shape)?;
    candidates.iter().try_for_each(|&variant| contest.enter_plan_alone(variant))?;
    Ok(after_routing(contest))
}

/// The load, by softmax.
pub fn stats_spec((tokens, experts, _): Shape, input: Dtype) -> stats::Spec {
    stats::Spec { input, ..stats::Spec::new(softmax::Shape::new(tokens, experts)) }
}

/// Those of counting what has been routed.
pub fn stats(gpu: &Gpu, plan: &Plan, _: &stats::Spec, shape: Shape, candidates: &[stats::Variant]) -> Entered {
    let mut contest = routed(gpu, plan, shape)?;
    candidates.iter().try_for_each(|&variant| contest.enter_stats(variant))?;
    Ok(after_routing(contest))
}

/// A contest in which the batch has been routed, by the default.
fn routed<'a>(gpu: &'a Gpu, plan: &'a Plan, shape: Shape) -> Result<routing::Contest<'a>, Failure> {
    let spec = router_spec(shape, Dtype::F32);
    spec.check(spec.shape.cols)?;
    let mut contest = routing::Contest::new(gpu, plan, shape, routing::Variants::default())?;
    contest.enter_router(spec.select(gpu.library.caps()))?;
    Ok(contest)
}

/// Those that entered after the routing: nobody, if that is wrong.
fn after_routing(contest: routing::Contest<'_>) -> Vec<Result<Runner, Standing>> {
    let mut all = contest.into_runners();
    let routed = all.remove(0);
    let refused = || Standing::Refused("the routing that it works on is wrong or does not run".into());
    all.into_iter().map(|entrant| if routed.is_ok() { entrant } else { Err(refused()) }).collect()
}

/// As many tokens an expert as choose it otherwise.
pub fn expert_choice_spec(shape: Shape, input: Dtype) -> expert_choice::Spec {
    expert_choice::Spec { input, ..expert_choice::Spec::new(shape.0, shape.1, capacity(shape)) }
}

/// Those of expert choice.
pub fn expert_choice(
    gpu: &Gpu,
    plan: &Plan,
    _: &expert_choice::Spec,
    shape: Shape,
    candidates: &[expert_choice::Variant],
) -> Entered {
    let mut contest = routing::Contest::new(gpu, plan, shape, routing::Variants::default())?;
    candidates.iter().try_for_each(|&variant| contest.enter_experts(variant))?;
    Ok(contest.into_runners())
}

fn moved((tokens, hidden, choices): Shape) -> permute::Shape {
    permute::Shape::new(tokens, choices, hidden)
}

/// Without weights.
pub fn dispatch_spec(shape: Shape, dtype: Dtype) -> DispatchSpec {
    DispatchSpec { dtype, ..DispatchSpec::new(moved(shape)) }
}

/// Those of dispatch.
pub fn dispatch(gpu: &Gpu, plan: &Plan, spec: &DispatchSpec, shape: Shape, candidates: &[permute::Variant]) -> Entered {
    permutation(gpu, plan, spec.dtype, shape, candidates)
}

/// With weights, from one type to the same.
pub fn combine_spec(shape: Shape, dtype: Dtype) -> CombineSpec {
    CombineSpec { input: dtype, output: dtype, ..CombineSpec::new(moved(shape)) }
}

/// Those of combine.
pub fn combine(gpu: &Gpu, plan: &Plan, spec: &CombineSpec, shape: Shape, candidates: &[permute::Variant]) -> Entered {
    permutation(gpu, plan, spec.input, shape, candidates)
}

fn permutation(gpu: &Gpu, plan: &Plan, dtype: Dtype, shape: Shape, candidates: &[permute::Variant]) -> Entered {
    let mut contest = permuting::Contest::new(gpu, plan, shape, dtype, None)?;
    candidates.iter().try_for_each(|&variant| contest.enter(variant))?;
    Ok(contest.into_runners())
}
