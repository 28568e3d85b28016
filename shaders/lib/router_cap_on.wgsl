// cap tanh(x / cap)
fn capped(x: vec4<f32>) -> vec4<f32> {
    return settled(hyperbolic_tangent(settled(settled(x) * params.inverse_cap)) * params.cap);
}
