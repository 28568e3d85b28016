// Gumbel-max sampling: the column of the greatest logit + temperature * noise has the distribution of a softmax of
// logit / temperature. No division, and at temperature 0 the plain arg max. `exponent` of a Partial is minus the column.

struct Draw {
    row: Row,
    temperature: f32,
    bits: u32,
    possible: bool,     // the temperature has a distribution, and no score overflows
}

// 2^96: 22.88 of it is less than half an ULP of the greatest float.
const HOTTEST = 0x6f800000u;

fn draw_of(row: Row) -> Draw {
    let t = temperature_of(row.index);
    let bits = bitcast<u32>(t);
    return Draw(row, t, bits_of(row.index), bits <= HOTTEST || bits == 0x80000000u);
}

fn candidates(draw: Draw, quad: u32) -> vec4<f32> {
    return allowed(draw.bits, quad, logits(draw.row, quad));
}

fn candidates_or_nothing(draw: Draw, quad: u32, quads: u32) -> vec4<f32> {
    if (quad < quads) {
        return candidates(draw, quad);
    }
    return excluded4();
}

// The columns that can have won, each component of the quads for itself: the one with the greatest bound on its score, its
// quad, and the greatest bound of all others.
struct Race {
    first: vec4<f32>,
    second: vec4<f32>,
    quad: vec4<u32>,
}

// Bounds are rounded like scores, and the slack of `gumbel_bound` is far above their rounding.
fn entered(race: Race, draw: Draw, quad: u32, x: vec4<f32>) -> Race {
    let bound = x + draw.temperature * gumbel_bound(noise_words(draw.row.stream, quad));
    let ahead = bound > race.first;
    let behind = select(bound, race.first, ahead);
    return Race(
        select(race.first, bound, ahead),
        select(race.second, behind, behind > race.second),
        select(race.quad, vec4(quad), ahead),
    );
}

fn scores(draw: Draw, x: vec4<f32>, words: vec4<u32>) -> vec4<f32> {
    return x + fenced(draw.temperature * gumbel(words));
}

// The best of those that are first.
fn winner(draw: Draw, race: Race) -> Partial {
    var x = excluded4();
    var words = vec4(0u);
    for (var i = 0u; i < 4u; i++) {
        let own = vec4(0u, 1u, 2u, 3u) == vec4(i);
        x = select(x, candidates(draw, race.quad[i]), own);
        words = select(words, noise_words(draw.row.stream, race.quad[i]), own);
    }
    let score = select(excluded4(), scores(draw, x, words), race.first > excluded4());
    var best = no_mass();
    for (var i = 0u; i < 4u; i++) {
        if (score[i] > bitcast<f32>(params.excluded)) {
            best = merge(best, Partial(score[i], -i32(race.quad[i] * 4u + i), 1.0, 0.0), true);
        }
    }
    return best;
}

// The best of the quads [first, end) of a row: for all invocations that share it. Few columns can win, and only for those are
// there logarithms. Where the bounds leave more than one, all are computed.
fn drawn_of(draw: Draw, at: Lane, subgroup_size: u32, first: u32, end: u32) -> Partial {
    var race = Race(excluded4(), excluded4(), vec4(0u));
    var seen = no_class();
    for (var q = first + at.first; q < end; q += 4u * at.step) {
        let a = candidates(draw, q);
        let b = candidates_or_nothing(draw, q + at.step, end);
        let c = candidates_or_nothing(draw, q + 2u * at.step, end);
        let d = candidates_or_nothing(draw, q + 3u * at.step, end);
        seen = classed_four(seen, a, b, c, d);
        race = entered(race, draw, q, a);
        race = entered(race, draw, q + at.step, b);
        race = entered(race, draw, q + 2u * at.step, c);
        race = entered(race, draw, q + 3u * at.step, d);
    }
    var mine = with_class(winner(draw, race), seen);
    if (!draw.possible) {
        mine.exponent = NOT_A_NUMBER;
    }
    mine = reduce(at, subgroup_size, mine, true);
    let clear = all(race.second < vec4(mine.anchor)) || mine.exponent >= INFINITE;
    var winning = no_mass();
    for (var q = first + at.first; q < select(end, 0u, clear); q += at.step) {
        let x = candidates(draw, q);
        winning = best(winning, scores(draw, x, noise_words(draw.row.stream, q)), q * 4u);
    }
    return reduce(at, subgroup_size, merge(mine, winning, true), true);
}
