// The greater one, for a `b` that is no NaN. The built-in max takes three operations on some CPUs.
fn at_least(a: vec4<f32>, b: f32) -> vec4<f32> {
    return select(vec4(b), a, a > vec4(b));
}
