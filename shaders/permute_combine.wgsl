// Adds up the rows of each token's slots, choice by choice: every product rounded, then every sum, in this order.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let work = work_of(index, at);
    for (var i = 0u; i < work.rows; i++) {
        add_up(work.row + i, work.first, work.end);
    }
}

// +0, but no compiler knows: one that does may drop the first sum, and with it +0 + -0 = +0.
fn nothing() -> vec4<f32> {
    return fenced(vec4<f32>());
}

fn add_up(token: u32, first: u32, end: u32) {
    look_up(token);
    let into = params.dst_offset + token * params.dst_stride;
    var quad = first;
    // Four at a time: their loads do not wait for each other.
    for (; quad + 3u * LANES < end; quad += 4u * LANES) {
        var a = nothing();
        var b = a;
        var c = a;
        var d = a;
        var some = false;
        for (var j = 0u; j < choice_count(); j++) {
            let slot = slot_of(token, j);
            if (slot < params.count) {
                let weight = factor_of(token, j);
                let row = params.src_offset + slot * params.src_stride;
                let p = load_quad(row, quad);
                let q = load_quad(row, quad + LANES);
                let r = load_quad(row, quad + 2u * LANES);
                let s = load_quad(row, quad + 3u * LANES);
                a = fenced(a + weighed(p, weight));
                b = fenced(b + weighed(q, weight));
                c = fenced(c + weighed(r, weight));
                d = fenced(d + weighed(s, weight));
                some = true;
            }
        }
        finish(into, quad, a, some);
        finish(into, quad + LANES, b, some);
        finish(into, quad + 2u * LANES, c, some);
        finish(into, quad + 3u * LANES, d, some);
    }
    for (; quad < end; quad += LANES) {
        var sum = nothing();
        var some = false;
        for (var j = 0u; j < choice_count(); j++) {
            let slot = slot_of(token, j);
            if (slot < params.count) {
                let cell = load_quad(params.src_offset + slot * params.src_stride, quad);
                sum = fenced(sum + weighed(cell, factor_of(token, j)));
                some = true;
            }
        }
        finish(into, quad, sum, some);
    }
}
