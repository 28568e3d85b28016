// Four quads of an invocation, `step` apart, the first at `q`, in a row of temperature 0.
fn best_with(so_far: Sum, q: u32, step: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Sum {
    var sum = so_far;
    sum.seen = classed_four(sum.seen, a, b, c, d);
    sum.partial = best(sum.partial, a, params.first_column + q * 4u);
    sum.partial = best(sum.partial, b, params.first_column + (q + step) * 4u);
    sum.partial = best(sum.partial, c, params.first_column + (q + 2u * step) * 4u);
    sum.partial = best(sum.partial, d, params.first_column + (q + 3u * step) * 4u);
    return sum;
}

// Adds what is no column: the sink, by the first of those who share the row.
fn finished(row: Row, at: Lane, columns: Sum, with_sink: bool) -> Partial {
    var sum = columns;
    if (HAS_SINK && with_sink && at.first == 0u) {
        let none = excluded4();
        let sink = vec4(sink_of(row), none.yzw);
        if (row.hard) {
            sum.seen = classed(sum.seen, sink);
            sum.partial = best(sum.partial, sink, SINK_COLUMN);
        } else {
            sum = add(sum, sink, none, none, none);
        }
    }
    return with_class(sum.partial, sum.seen);
}

// Pass 1 over the quads [first, end) of a row: what one of its invocations finds. Rows of temperature 0 have a loop of their
// own, because some devices step through both sides of a branch within a loop.
fn sum_of(row: Row, at: Lane, first: u32, end: u32, with_sink: bool) -> Partial {
    var sum = start();
    let soft_end = select(end, 0u, row.hard);
    var q = first + at.first;
    for (; q + 3u * at.step < soft_end; q += 4u * at.step) {
        sum = add(sum, logits(row, q), logits(row, q + at.step), logits(row, q + 2u * at.step), logits(row, q + 3u * at.step));
    }
    if (q < soft_end) {
        let b = logits_or_nothing(row, q + at.step, end);
        let c = logits_or_nothing(row, q + 2u * at.step, end);
        sum = add(sum, logits(row, q), b, c, excluded4());
    }
    for (; q < select(0u, end, row.hard); q += 4u * at.step) {
        let b = logits_or_nothing(row, q + at.step, end);
        let c = logits_or_nothing(row, q + 2u * at.step, end);
        let d = logits_or_nothing(row, q + 3u * at.step, end);
        sum = best_with(sum, q, at.step, logits(row, q), b, c, d);
    }
    return finished(row, at, sum, with_sink);
}
