// What invocations that share a row tell each other. A candidate: its key and its column. Or a mass, a sum of exponentials
// as an integer of three words, which comes out the same in any order and any tree:
//
//     (exponent 2^40 + high 2^20 + low) 2^(anchor - 60)
//
// with an anchor that is a multiple of 20, and odd if there was a NaN, which adds nothing. What is below the last word is cut off, whenever it was added: rounding, too,
// is the same in any order. (After Demmel & Nguyen, "Fast reproducible floating-point summation", 2013.)
struct Partial {
    anchor: i32,
    exponent: u32,
    high: u32,
    low: u32,
}

fn is_odd(anchor: i32) -> i32 {
    return anchor & 1;
}

fn no_mass() -> Partial {
    return Partial(EXCLUDED, 0u, 0u, 0u);
}

fn precedes(key: i32, column: u32, other: Partial) -> bool {
    return key > other.anchor || (key == other.anchor && column < other.exponent);
}

fn lowered(mass: Partial, anchor: i32) -> Partial {
    let steps = u32(anchor - (mass.anchor & -2)) / 20u;
    if (steps == 0u) {
        return mass;
    }
    let one = steps == 1u;
    return Partial(
        anchor,
        0u,
        select(0u, mass.exponent, one),
        select(select(0u, mass.exponent, steps == 2u), mass.high, one),
    );
}

fn merge(a: Partial, b: Partial, candidates: bool) -> Partial {
    if (candidates) {
        if (precedes(b.anchor, b.exponent, a)) {
            return b;
        }
        return a;
    }
    let anchor = max(a.anchor & -2, b.anchor & -2);
    let c = lowered(a, anchor);
    let d = lowered(b, anchor);
    return Partial(anchor | is_odd(a.anchor | b.anchor), c.exponent + d.exponent, c.high + d.high, c.low + d.low);
}
