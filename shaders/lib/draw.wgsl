// Gumbel-max sampling: the column of the greatest logit + temperature * noise has the distribution of a softmax of
// logit / temperature. No division, and at temperature 0 the plain arg max. Of a candidate, the anchor of a Partial is the
// score, the exponent minus the column, and high the logit.

// The columns that can have won, each component of the quads for itself: the one with the greatest bound on its score, its
// quad, and the greatest bound of all others.
struct Race {
    first: vec4<f32>,
    second: vec4<f32>,
    quad: vec4<u32>,
}

// Bounds are rounded like scores, and the slack of `gumbel_bound` is far above their rounding.
fn bound_of(draw: Draw, quad: u32, x: vec4<f32>) -> vec4<f32> {
    let bound = gumbel_bound(noise_words(draw.row.stream, COLUMN, quad));
    return x + draw.temperature * bound;    // unfenced: the slack is above what rounding does
}

fn entered(race: Race, quad: u32, bound: vec4<f32>) -> Race {
    let ahead = bound > race.first;
    let behind = select(bound, race.first, ahead);
    return Race(
        select(race.first, bound, ahead),
        select(race.second, behind, behind > race.second),
        select(race.quad, vec4(quad), ahead),
    );
}

fn scores(draw: Draw, x: vec4<f32>, words: vec4<u32>) -> vec4<f32> {
    return fenced(x) + fenced(draw.temperature * gumbel(words));
}

// The best of those that are first.
fn winner(draw: Draw, race: Race) -> Partial {
    var x = excluded4();
    var words = vec4(0u);
    for (var i = 0u; i < 4u; i++) {
        let own = vec4(0u, 1u, 2u, 3u) == vec4(i);
        x = select(x, logits(draw.row, race.quad[i]), own);
        words = select(words, noise_words(draw.row.stream, COLUMN, race.quad[i]), own);
    }
    let score = select(excluded4(), scores(draw, x, words), race.first > excluded4());
    var best = no_mass();
    for (var i = 0u; i < 4u; i++) {
        if (score[i] > bitcast<f32>(params.excluded)) {
            best = merge(best, Partial(score[i], -i32(race.quad[i] * 4u + i), x[i], 0.0), true);
        }
    }
    return best;
}

struct Drawn {
    best: Partial,
    tally: Tally,       // an invocation's own
}

// The best of the quads [first, end) of a row: for all invocations that share it. Few columns can win, and only for those are
// there logarithms. Where the bounds leave more than one, all are computed. At temperature 0 no noise is made, and the bounds
// are the scores themselves: the first of equals was there first.
fn drawn_of(draw: Draw, at: Lane, subgroup_size: u32, first: u32, end: u32) -> Drawn {
    let row = draw.row;
    var race = Race(excluded4(), excluded4(), vec4(0u));
    var seen = no_class();
    var tally = tallied_nothing();
    let frozen = (bitcast<u32>(draw.temperature) & 0x7fffffffu) == 0u;
    for (var q = first + at.first; q < select(0u, end, frozen); q += 4u * at.step) {
        let a = logits(row, q);
        let b = logits_or_nothing(row, q + at.step, end);
        let c = logits_or_nothing(row, q + 2u * at.step, end);
        let d = logits_or_nothing(row, q + 3u * at.step, end);
        seen = classed_four(seen, a, b, c, d);
        race = entered(race, q, a);
        race = entered(race, q + at.step, b);
        race = entered(race, q + 2u * at.step, c);
        race = entered(race, q + 3u * at.step, d);
    }
    for (var q = first + at.first; q < select(end, 0u, frozen); q += 4u * at.step) {
        let a = logits(row, q);
        let b = logits_or_nothing(row, q + at.step, end);
        let c = logits_or_nothing(row, q + 2u * at.step, end);
        let d = logits_or_nothing(row, q + 3u * at.step, end);
        seen = classed_four(seen, a, b, c, d);
        race = entered(race, q, bound_of(draw, q, a));
        race = entered(race, q + at.step, bound_of(draw, q + at.step, b));
        race = entered(race, q + 2u * at.step, bound_of(draw, q + 2u * at.step, c));
        race = entered(race, q + 3u * at.step, bound_of(draw, q + 3u * at.step, d));
        tally = tallied(tally, draw, a, b, c, d);
    }
    var mine = with_class(winner(draw, race), seen);
    if (!draw.possible) {
        mine.exponent = NOT_A_NUMBER;
    }
    mine = reduce(at, subgroup_size, mine, true);
    let clear = frozen || all(race.second < vec4(mine.anchor)) || mine.exponent >= INFINITE;
    var winning = no_mass();
    for (var q = first + at.first; q < select(end, 0u, clear); q += at.step) {
        let x = logits(row, q);
        winning = better(winning, x, scores(draw, x, noise_words(row.stream, COLUMN, q)), q);
    }
    return Drawn(reduce(at, subgroup_size, merge(mine, winning, true), true), tally);
}
