// A split row's best candidates, in order: draws without replacement (Gumbel-top-k: Vieira 2014; Kool, van Hoof & Welling,
// arXiv 1903.06059). Each part has left its best; the part that wins is looked through again for its next.

fn below(score: f32, column: i32, last: Partial) -> bool {
    return score < last.anchor || (score == last.anchor && column > -last.exponent);
}

// The next best of the quads [first, end) after `last`: one invocation's.
fn next_of(draw: Draw, at: Lane, first: u32, end: u32, last: Partial) -> Partial {
    var next = no_mass();
    for (var q = first + at.first; q < end; q += at.step) {
        let x = logits(draw.row, q);
        var score = scores(draw, x, noise_words(draw.row.stream, COLUMN, q));
        for (var i = 0u; i < 4u; i++) {
            if (!below(score[i], i32(q * 4u + i), last)) {
                score[i] = bitcast<f32>(params.excluded);
            }
        }
        next = better(next, x, score, q);
    }
    return next;
}

fn run(index: u32, at: Lane, subgroup_size: u32) {
    if (index >= params.rows) {
        return;
    }
    let draw = draw_of(row_of(index));
    let slots = first_partial(index);
    var mass = no_mass();
    for (var part = at.first; part < params.parts; part += at.step) {
        mass = merge(mass, total_at(slots + part * SLOT), draw.cold);
    }
    let total = reduce(at, subgroup_size, mass, draw.cold);
    var has_distribution = false;
    for (var n = 0u; n < params.draws; n++) {
        var mine = no_mass();
        for (var part = at.first; part < params.parts; part += at.step) {
            mine = merge(mine, partial_at(slots + part * SLOT), true);
        }
        let best = reduce(at, subgroup_size, mine, true);
        has_distribution = has_distribution || (n == 0u && is_ordinary(best));
        if (at.first == 0u) {
            put_choice(index, n, best);
            put_log_probability(draw, n, has_distribution, best, total);
            if (n == 0u) {
                put_log_sum_exp(draw, best, total);
            }
        }
        // Only the invocation that reads a part's slot writes it.
        let part = u32(-best.exponent) / 4u / params.part_quads;
        let first = part * params.part_quads;
        let end = min(first + params.part_quads, quads_in(draw.row.limit));
        let more = is_ordinary(best) && n + 1u < params.draws;
        let next = reduce(at, subgroup_size, next_of(draw, at, first, select(0u, end, more), best), true);
        if (more && part % at.step == at.first) {
            put_partial(slots + part * SLOT, next);
        }
    }
}
