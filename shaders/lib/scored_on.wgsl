// `best` is the row's first choice. At temperature 0 all of the mass is on it, and the log-sum-exp is the greatest logit,
// as in a softmax.
fn put_log_sum_exp(draw: Draw, best: Partial, total: Partial) {
    var kind = special(best);
    if (!kind.is && !draw.cold) {
        kind = special(total);
    }
    let value = select(log_sum_exp(normal_of(total)), best.high, draw.cold);
    put_logprob(draw.row.index, 0u, select(value, kind.lse, kind.is));
}

// Of choice `n`: -inf if the row has no such column, NaN if it has no distribution.
fn put_log_probability(draw: Draw, n: u32, has_distribution: bool, best: Partial, total: Partial) {
    let none = bitcast<f32>(params.excluded);
    var value = log_probability(normal_of(total), divided(draw.row, vec4(best.high))).x;
    if (draw.cold) {
        value = select(none, 0.0, n == 0u);
    }
    if (!draw.cold && total.exponent >= INFINITE) {
        value = bitcast<f32>(params.nan);
    }
    if (best.exponent == NOTHING) {
        value = none;
    }
    put_logprob(draw.row.index, 1u + n, select(bitcast<f32>(params.nan), value, has_distribution));
}
