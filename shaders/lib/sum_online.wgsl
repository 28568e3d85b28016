// The rival: a running maximum and the sum of exp(x - maximum), with the built-in exp
// (Milakov & Gimelshein, arXiv 1805.02867). high is the sum, anchor the maximum, exponent 0.

fn merge(a: Partial, b: Partial, hard: bool) -> Partial {
    let first = above(a, b);
    var top = a;
    var rest = b;
    if (!first) {
        top = b;
        rest = a;
    }
    if (hard || top.exponent >= INFINITE || rest.exponent == NOTHING) {
        return top;
    }
    return Partial(top.anchor, top.exponent, top.high + rest.high * exp(rest.anchor - top.anchor), 0.0);
}

struct Sum {
    partial: Partial,
    seen: Class,
}

fn start() -> Sum {
    return Sum(no_mass(), no_class());
}

fn framed(peak: f32) -> Sum {
    var s = start();
    if (peak > bitcast<f32>(params.excluded)) {
        s.partial = Partial(peak, 0, 0.0, 0.0);
    }
    return s;
}

fn add_quad(sum: Sum, x: vec4<f32>) -> Sum {
    var s = sum;
    let e = exp(x - s.partial.anchor);
    s.partial.high += (e.x + e.y) + (e.z + e.w);
    return s;
}

fn add(sum: Sum, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Sum {
    var s = sum;
    s.seen = classed_four(s.seen, a, b, c, d);
    let peak = largest(max(max(a, b), max(c, d)));
    if (peak > s.partial.anchor || (s.partial.exponent == NOTHING && peak > bitcast<f32>(params.excluded))) {
        s.partial = Partial(peak, 0, s.partial.high * exp(s.partial.anchor - peak), 0.0);
    }
    s = add_quad(s, a);
    s = add_quad(s, b);
    s = add_quad(s, c);
    return add_quad(s, d);
}
