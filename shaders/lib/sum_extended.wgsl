// The partition function of a row, sum of exp(x), as an extended-exponent number that neither overflows
// nor underflows:
//
//     (high + low) * 2^exponent * e^anchor
//
// The anchor is a multiple of 1024 next to the row's largest logit, on the side of zero. For every x
// within 104 of that maximum x - anchor is then exact and below 1128 in magnitude, where exp4 is
// accurate; logits under 1024 in magnitude have the anchor 0. docs/accuracy.md has the proof.

const ANCHOR_STEP = 1024.0;
// e^-1024 = 2^-1478 (HIGH + LOW)
const STEP_EXPONENT = -1478;
const STEP_HIGH = 0x1.9a3a14p+0;
const STEP_LOW = -0x1.a22f28p-25;

// `sum` in the frame of (anchor, exponent), which is not below its own.
fn moved(sum: Partial, anchor: f32, exponent: i32) -> Two {
    let down = max(sum.exponent, -8192) - exponent;
    if (sum.anchor == anchor) {
        let f = power_of_two(down);
        return Two(sum.high * f, sum.low * f);
    }
    if (anchor - sum.anchor > ANCHOR_STEP) {
        return Two(0.0, 0.0);   // at least e^980 times smaller
    }
    let f = power_of_two(down + STEP_EXPONENT);
    let high = two_product(sum.high, STEP_HIGH);
    return Two(high.sum * f, (high.error + sum.high * STEP_LOW + sum.low * STEP_HIGH) * f);
}

fn merge(a: Partial, b: Partial, hard: bool) -> Partial {
    let first = above(a, b);
    var top = a;
    var rest = b;
    if (!first) {
        top = b;
        rest = a;
    }
    if (hard || top.exponent >= INFINITE) {
        return top;
    }
    let low = moved(rest, top.anchor, top.exponent);
    let sum = two_sum(top.high, low.sum);
    return Partial(top.anchor, top.exponent, sum.sum, (top.low + low.error) + sum.error);
}

// A sum that one invocation is adding to.
struct Sum {
    partial: Partial,
    ceiling: f32,       // a logit further above the anchor needs another frame
    floor: f32,         // a logit this far above the anchor, or less, counts for nothing
    rounder: Rounder,   // of 127 - exponent: what exp4 shifts is then the float 2^(n - exponent)
    seen: Class,
}

fn start() -> Sum {
    return Sum(no_mass(), bitcast<f32>(params.excluded), 0.0, Rounder(0.0, 0.0), no_class());
}

// A frame in which `peak` is at home: its exponential is near 1.
fn reframed(sum: Sum, peak: f32) -> Sum {
    var s = sum;
    let anchor = trunc(peak * (1.0 / ANCHOR_STEP)) * ANCHOR_STEP;
    // round() would do; the clamp keeps +inf and NaN from an undefined conversion.
    let n = clamp(round((peak - anchor) * LOG2E), -1500.0, 1500.0);
    let exponent = i32(n);
    if (s.partial.high > 0.0) {
        let old = moved(s.partial, anchor, exponent);
        s.partial.high = old.sum;
        s.partial.low = old.error;
    }
    s.partial.anchor = anchor;
    s.partial.exponent = exponent;
    s.ceiling = (n + 64.0) * LN2;
    s.floor = (n - 120.0) * LN2;
    s.rounder = rounder(f32(127 - exponent));
    return s;
}

fn add_quad(sum: Sum, x: vec4<f32>) -> Sum {
    var s = sum;
    // A logit at the floor adds 2^-120 of the frame instead of nothing: 2^24 of them, 2^-96.
    let e = exp4(at_least(x - s.partial.anchor, s.floor), s.rounder, 0.0);
    let w = bitcast<vec4<f32>>(e.shift);
    let wp = w * e.p;
    // The powers of two and their small parts apart, so that 1 + p is never rounded.
    let powers = (w.x + w.y) + (w.z + w.w);
    let parts = (wp.x + wp.y) + (wp.z + wp.w);
    let quad = opaque(powers + parts);
    let total = two_sum(s.partial.high, quad);
    s.partial.high = total.sum;
    s.partial.low += total.error + (parts - (quad - powers));
    return s;
}

// A frame for the greatest logit seen, if it does not fit into the present one.
fn fitted(sum: Sum) -> Sum {
    let peak = greatest(sum.seen);
    if (peak - sum.partial.anchor > sum.ceiling) {
        return reframed(sum, peak);
    }
    return sum;
}

fn add_one(sum: Sum, x: vec4<f32>) -> Sum {
    var s = sum;
    s.seen = classed(s.seen, x);
    return add_quad(fitted(s), x);
}

// Adds exp of four quads. The frame is looked at once for all of them.
fn add(sum: Sum, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Sum {
    var s = sum;
    s.seen = classed_four(s.seen, a, b, c, d);
    s = fitted(s);
    s = add_quad(s, a);
    s = add_quad(s, b);
    s = add_quad(s, c);
    return add_quad(s, d);
}
