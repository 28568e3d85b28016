// The same bits by half as many stores, where a store costs as much however wide it is: lavapipe's take one lane after the other.
alias Dst = u64;

fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    let low = brain_bits(y.x) | (brain_bits(y.y) << 16u);
    let high = brain_bits(y.z) | (brain_bits(y.w) << 16u);
    dst[base + quad] = u64(low) | (u64(high) << 32u);
}
