alias Dst = vec2<u32>;

fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    dst[base + quad] = vec2(half_bits(y.x) | (half_bits(y.y) << 16u), half_bits(y.z) | (half_bits(y.w) << 16u));
}
