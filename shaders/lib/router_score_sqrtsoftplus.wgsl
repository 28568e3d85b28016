fn scored(z: vec4<f32>) -> vec4<f32> {
    return root(softplus(z));
}
