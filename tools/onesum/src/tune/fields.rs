//! Who takes part at a shape: each variant built, bound, and held against the CPU reference by the benchmark's contests.

use onesum::host::Gpu;
use onesum::permute::{self, CombineSpec, DispatchSpec};
use onesum::softmax::Dtype;
use onesum::tuning::Tunable;
use onesum::{expert_choice, plan, router, sample, softmax, stats};

use crate::bench::contest::{self, random_logits};
use crate::bench::definitions::{PermuteOptions, SampleOptions, Size, SoftmaxOptions, Types};
use crate::bench::rounds::{Plan, Runner, Standing};
use crate::bench::{permuting, routing, sampling};
use crate::failure::Failure;

/// What runs, in the order of the candidates, or why it does not.
pub type Entered = Result<Vec<Result<Runner, Standing>>, Failure>;

/// Lets candidates enter.
pub type Field<S> = fn(&Gpu, &Plan, &S, Size, &[<S as Tunable>::Variant]) -> Entered;

/// Softmax of this type.
pub fn softmax_spec(size: Size, dtype: Dtype) -> softmax::Spec {
    softmax::Spec { input: dtype, output: dtype, ..softmax::Spec::new(size.shape()) }
}

/// Softmax with noise.
pub fn gumbel_spec(size: Size, dtype: Dtype) -> softmax::Spec {
    let options = softmax::Options { gumbel: true, ..softmax::Options::default() };
    softmax::Spec { options, ..softmax_spec(size, dtype) }
}

/// Those of softmax, with and without noise.
pub fn softmax(gpu: &Gpu, plan: &Plan, spec: &softmax::Spec, size: Size, candidates: &[softmax::Variant]) -> Entered {
    let types = Types { input: spec.input, output: spec.output };
    let options = SoftmaxOptions { noise: spec.options.gumbel, ..SoftmaxOptions::default() };
    let logits = random_logits(size.elements());
    let mut contest = contest::Contest::new(gpu, plan, size.shape(), types, options, &logits)?;
    candidates.iter().try_for_each(|&variant| contest.enter(variant))?;
    Ok(contest.into_runners())
}

/// One draw a row.
pub fn sample_spec(size: Size, input: Dtype) -> sample::Spec {
    sample::Spec { input, ..sample::Spec::new(size.shape()) }
}

/// Those of sampling.
pub fn sample(gpu: &Gpu, plan: &Plan, spec: &sample::Spec, size: Size, candidates: &[sample::Variant]) -> Entered {
    let mut contest = sampling::Contest::new(gpu, plan, size.shape(), spec.input, SampleOptions::default())?;
    candidates.iter().try_for_each(|&variant| contest.enter(variant))?;
    Ok(contest.into_runners())
}

/// The softmax of the chosen.
pub fn router_spec(size: Size, input: Dtype) -> router::Spec {
    router::Spec { input, ..router::Spec::new(size.shape(), size.choices) }
}

/// Those of routing.
pub fn router(gpu: &Gpu, plan: &Plan, spec: &router::Spec, size: Size, candidates: &[router::Variant]) -> Entered {
    let mut contest = to_route(gpu, plan, size, spec.input)?;
    candidates.iter().try_for_each(|&variant| contest.enter_variant(variant))?;
    Ok(contest.into_runners())
}

/// A contest that nobody has entered.
fn to_route<'a>(gpu: &'a Gpu, plan: &'a Plan, size: Size, input: Dtype) -> Result<routing::Contest<'a>, Failure> {
    let spec = router_spec(size, input);
    spec.check(size.cols)?;
    routing::Contest::new(gpu, plan, size, spec)
}

/// A plan without blocks and capacities.
pub fn plan_spec(size: Size, _: Dtype) -> plan::Spec {
    plan::Spec::new(size.rows, size.choices, size.cols)
}

/// Those of planning what has been routed.
pub fn plan(gpu: &Gpu, plan: &Plan, _: &plan::Spec, size: Size, candidates: &[plan::Variant]) -> Entered {
    let mut contest = routed(gpu, plan, size, Dtype::F32)?;
    candidates.iter().try_for_each(|&variant| contest.enter_plan_alone(variant))?;
    Ok(after_routing(contest))
}

/// The load, by softmax.
pub fn stats_spec(size: Size, input: Dtype) -> stats::Spec {
    stats::Spec { input, ..stats::Spec::new(size.shape()) }
}

/// Those of counting what has been routed.
pub fn stats(gpu: &Gpu, plan: &Plan, spec: &stats::Spec, size: Size, candidates: &[stats::Variant]) -> Entered {
    let mut contest = routed(gpu, plan, size, spec.input)?;
    contest.enter_stats(candidates)?;
    Ok(after_routing(contest))
}

/// A contest in which the batch has been routed, by the default.
fn routed<'a>(gpu: &'a Gpu, plan: &'a Plan, size: Size, input: Dtype) -> Result<routing::Contest<'a>, Failure> {
    let mut contest = to_route(gpu, plan, size, input)?;
    contest.enter_variant(router_spec(size, input).select(gpu.library.caps()))?;
    Ok(contest)
}

/// Those that entered after the routing: nobody, if that is wrong.
fn after_routing(contest: routing::Contest<'_>) -> Vec<Result<Runner, Standing>> {
    let mut all = contest.into_runners();
    let routed = all.remove(0);
    let refused = || Standing::Refused("the routing that it works on is wrong or does not run".into());
    all.into_iter().map(|entrant| if routed.is_ok() { entrant } else { Err(refused()) }).collect()
}

/// Those of expert choice.
pub fn expert_choice(
    gpu: &Gpu,
    plan: &Plan,
    spec: &expert_choice::Spec,
    size: Size,
    candidates: &[expert_choice::Variant],
) -> Entered {
    let mut contest = to_route(gpu, plan, size, spec.input)?;
    contest.enter_expert_choice(candidates)?;
    Ok(contest.into_runners())
}

fn moved(Size { rows: tokens, cols: hidden, choices }: Size) -> permute::Shape {
    permute::Shape::new(tokens, choices, hidden)
}

/// Without weights.
pub fn dispatch_spec(size: Size, dtype: Dtype) -> DispatchSpec {
    DispatchSpec { dtype, ..DispatchSpec::new(moved(size)) }
}

/// Those of dispatch.
pub fn dispatch(gpu: &Gpu, plan: &Plan, spec: &DispatchSpec, size: Size, candidates: &[permute::Variant]) -> Entered {
    permutation(gpu, plan, spec.dtype, size, candidates)
}

/// With weights, from one type to the same.
pub fn combine_spec(size: Size, dtype: Dtype) -> CombineSpec {
    CombineSpec { input: dtype, output: dtype, ..CombineSpec::new(moved(size)) }
}

/// Those of combine.
pub fn combine(gpu: &Gpu, plan: &Plan, spec: &CombineSpec, size: Size, candidates: &[permute::Variant]) -> Entered {
    permutation(gpu, plan, spec.input, size, candidates)
}

fn permutation(gpu: &Gpu, plan: &Plan, dtype: Dtype, size: Size, candidates: &[permute::Variant]) -> Entered {
    let mut contest = permuting::Contest::new(gpu, plan, size, dtype, PermuteOptions::default())?;
    candidates.iter().try_for_each(|&variant| contest.enter(variant.kernel, variant))?;
    Ok(contest.into_runners())
}
