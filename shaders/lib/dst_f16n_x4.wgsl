alias Dst = vec4<f16>;

// The rounding is ours, the type the device's.
fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    let low = bitcast<vec2<f16>>(half_bits(y.x) | half_bits(y.y) << 16u);
    let high = bitcast<vec2<f16>>(half_bits(y.z) | half_bits(y.w) << 16u);
    dst[base + quad] = vec4(low, high);
}
