// The greater one, for a `b` that is no NaN.
fn at_least(a: vec4<f32>, b: f32) -> vec4<f32> {
    return max(a, vec4(b));
}
