// The row's partition function beside the draw, for log-probabilities.
struct Tally {
    sum: Sum,
}

fn tallied_nothing() -> Tally {
    return Tally(start());
}

fn tallied(so_far: Tally, draw: Draw, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Tally {
    if (draw.cold) {
        return so_far;
    }
    let row = draw.row;
    return Tally(add(so_far.sum, divided(row, a), divided(row, b), divided(row, c), divided(row, d)));
}

fn total_of(at: Lane, subgroup_size: u32, tally: Tally) -> Partial {
    return reduce(at, subgroup_size, with_class(tally.sum.partial, tally.sum.seen), false);
}
