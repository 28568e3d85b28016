// Four quads that an invocation keeps on chip, LANES apart, the first at lane + first * LANES. They have names and no
// index: what is indexed by a variable does not stay in registers.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

fn quad_of(at: Lane, i: u32) -> u32 {
    return at.local % LANES + i * LANES;
}

fn four(row: Row, at: Lane, first: u32, quads: u32) -> Four {
    return Four(
        logits_or_nothing(row, quad_of(at, first), quads),
        logits_or_nothing(row, quad_of(at, first + 1u), quads),
        logits_or_nothing(row, quad_of(at, first + 2u), quads),
        logits_or_nothing(row, quad_of(at, first + 3u), quads),
    );
}

fn sum_four(sum: Sum, row: Row, at: Lane, first: u32, x: Four) -> Sum {
    if (row.hard) {
        return best_with(sum, quad_of(at, first), LANES, x.a, x.b, x.c, x.d);
    }
    return add(sum, x.a, x.b, x.c, x.d);
}

fn write_one(to: Target, q: u32, x: vec4<f32>) {
    if (q < to.quads) {
        store_quad(to.base, q, output(to.row, to.total, to.normal, x, q * 4u));
    }
}

fn write_four(to: Target, at: Lane, first: u32, x: Four) {
    write_one(to, quad_of(at, first), x.a);
    write_one(to, quad_of(at, first + 1u), x.b);
    write_one(to, quad_of(at, first + 2u), x.c);
    write_one(to, quad_of(at, first + 3u), x.d);
}

// Where a row's results go, and what they are made with.
struct Target {
    row: Row,
    base: u32,
    quads: u32,
    total: Partial,
    normal: Normal,
}
