// What is known of a row, or of a part of it, after a pass over its logits: 16 bytes, mergeable in any
// order and any tree. The `sum_*` fragments say what high and low mean and how two are merged.

struct Partial {
    anchor: f32,
    exponent: i32,
    high: f32,
    low: f32,
}

// Exponents that mean something else: no mass yet, +inf seen, NaN seen. The greater one prevails.
const NOTHING = -0x7fffffff;
const INFINITE = 0x7ffffffe;
const NOT_A_NUMBER = 0x7fffffff;

const LOWEST = -0x1.fffffep+127;

fn no_mass() -> Partial {
    return Partial(LOWEST, NOTHING, 0.0, 0.0);
}

// One order for all: special classes first, then the frame of the greater numbers. In a row of
// temperature 0 the anchor is the greatest logit and the exponent minus its index: the lowest index wins.
fn above(a: Partial, b: Partial) -> bool {
    if (max(a.exponent, b.exponent) >= INFINITE) {
        return a.exponent > b.exponent;
    }
    return a.anchor > b.anchor || (a.anchor == b.anchor && a.exponent > b.exponent);
}

// Neither empty nor of a special class.
fn is_ordinary(p: Partial) -> bool {
    return p.exponent < INFINITE && p.exponent != NOTHING;
}

// NaN and infinities are told by their bits: a compiler may assume that floats have none. As integers, bits of positive
// floats rise with the float, those of negative ones fall.
struct Class {
    most: i32,      // greatest as signed numbers: NaN, then +inf, are at the top
    last: u32,      // greatest as unsigned numbers: negative NaN are above -inf
    least: u32,     // least as unsigned numbers: of negative floats only, the greatest float
}

fn no_class() -> Class {
    return Class(-0x7fffffff, 0u, 0xffffffffu);
}

fn classed(seen: Class, x: vec4<f32>) -> Class {
    let i = bitcast<vec4<i32>>(x);
    let u = bitcast<vec4<u32>>(x);
    return Class(
        max(seen.most, max(max(i.x, i.y), max(i.z, i.w))),
        max(seen.last, max(max(u.x, u.y), max(u.z, u.w))),
        min(seen.least, min(min(u.x, u.y), min(u.z, u.w))),
    );
}

fn classed_four(seen: Class, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Class {
    return classed(classed(classed(classed(seen, a), b), c), d);
}

// The greatest of the floats, if none of them is NaN.
fn greatest(seen: Class) -> f32 {
    return bitcast<f32>(select(seen.least, bitcast<u32>(seen.most), seen.most >= 0));
}

fn with_class(partial: Partial, seen: Class) -> Partial {
    var p = partial;
    if (seen.most == 0x7f800000) {
        p.exponent = INFINITE;
    }
    if (seen.most > 0x7f800000 || seen.last > 0xff800000u) {
        p.exponent = NOT_A_NUMBER;
    }
    return p;
}

fn largest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

// Temperature 0: the greatest logit so far and minus its index. Columns come in rising order, so that a
// strict comparison keeps the lowest index; -0 and +0 are equal.
fn best(so_far: Partial, x: vec4<f32>, first_column: u32) -> Partial {
    let peak = largest(x);
    let first_mass = so_far.exponent == NOTHING && peak > bitcast<f32>(params.excluded);
    if (peak > so_far.anchor || first_mass) {
        let at = select(select(select(3u, 2u, x.z == peak), 1u, x.y == peak), 0u, x.x == peak);
        return Partial(peak, -i32(first_column + at), 1.0, 0.0);
    }
    return so_far;
}
