// Logits have been divided by the temperature, if there is one.
fn divided(row: Row, x: vec4<f32>) -> vec4<f32> {
    return x;
}
