// No compiler may fuse the product with the sum that it goes into.
fn scaled(x: vec4<f32>) -> vec4<f32> {
    return fenced(x * params.scale);
}
