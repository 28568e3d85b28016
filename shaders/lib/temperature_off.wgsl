fn temperature_of(row: u32) -> f32 {
    return 1.0;
}

fn is_hard(temperature: f32) -> bool {
    return false;
}

fn tempered(row: Row, x: vec4<f32>) -> vec4<f32> {
    return x;
}
