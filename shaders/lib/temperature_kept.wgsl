// The temperature multiplies the noise; logits are not divided by it.
fn temperature_of(row: u32) -> f32 {
    return temperature[entry(params.temperature, row)];
}

fn is_hard(temperature: f32) -> bool {
    return true;
}

fn tempered(row: Row, x: vec4<f32>) -> vec4<f32> {
    return x;
}

// For what is not the draw itself.
fn divided(row: Row, x: vec4<f32>) -> vec4<f32> {
    return select(x * row.inverse_temperature, x, is_excluded(x));
}
