alias Dst = vec4<f16>;

fn rounded(y: f32) -> f32 {
    return half_value(half_bits(y));
}

// Rounded by us, so that the conversion to the device's type is exact.
fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    dst[base + quad] = vec4<f16>(vec4(rounded(y.x), rounded(y.y), rounded(y.z), rounded(y.w)));
}
