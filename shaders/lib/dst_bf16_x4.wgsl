alias Dst = vec2<u32>;

fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    dst[base + quad] = vec2(brain_bits(y.x) | (brain_bits(y.y) << 16u), brain_bits(y.z) | (brain_bits(y.w) << 16u));
}
