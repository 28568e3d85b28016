// Gumbel-max sampling: the column of the greatest logit + temperature * noise has the distribution of a softmax of
// logit / temperature. No division, and at temperature 0 the plain arg max. `exponent` of a Partial is minus the column.

struct Draw {
    row: Row,
    stream: Stream,
    temperature: f32,
    bits: u32,
    possible: bool,     // the temperature has a distribution, and no score overflows
}

// 2^96: 22.88 of it is less than half an ULP of the greatest float.
const HOTTEST = 0x6f800000u;

fn draw_of(row: Row) -> Draw {
    let t = temperature_of(row.index);
    let bits = bitcast<u32>(t);
    return Draw(row, stream_of(row.index), t, bits_of(row.index), bits <= HOTTEST || bits == 0x80000000u);
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

fn drawn(so_far: Partial, draw: Draw, quad: u32, x: vec4<f32>) -> Partial {
    let words = noise_words(draw.stream, quad);
    // Few columns can still win: the logarithms are for those. Bounds are rounded like scores, and the slack of
    // `gumbel_bound` is far above their rounding.
    let most = largest(x + draw.temperature * gumbel_bound(words));
    if (most <= so_far.anchor && so_far.exponent != NOTHING) {
        return so_far;
    }
    return best(so_far, x + rounded(draw.temperature * gumbel(words)), quad * 4u);
}

// The best of the quads [first, end) of a row that are this invocation's.
fn drawn_of(draw: Draw, at: Lane, first: u32, end: u32) -> Partial {
    var mine = no_mass();
    var seen = no_class();
    let margin = draw.temperature * GUMBEL_MOST;
    for (var q = first + at.first; q < end; q += 4u * at.step) {
        let a = candidates(draw, q);
        let b = candidates_or_nothing(draw, q + at.step, end);
        let c = candidates_or_nothing(draw, q + 2u * at.step, end);
        let d = candidates_or_nothing(draw, q + 3u * at.step, end);
        seen = classed_four(seen, a, b, c, d);
        if (largest(max(max(a, b), max(c, d))) + margin <= mine.anchor && mine.exponent != NOTHING) {
            continue;
        }
        mine = drawn(mine, draw, q, a);
        mine = drawn(mine, draw, q + at.step, b);
        mine = drawn(mine, draw, q + 2u * at.step, c);
        mine = drawn(mine, draw, q + 3u * at.step, d);
    }
    mine = with_class(mine, seen);
    if (!draw.possible) {
        mine.exponent = NOT_A_NUMBER;
    }
    return mine;
}
